"""The folders of a restore, by number. Those that the walk has left are kept on the disk, beyond a few thousand."""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from mount.restore.folder import Folder, Identity
from mount.restore.spill import AttributesRow, pack_attributes, unpack_attributes
from mount.restore.spool import Spool

_RECENT = 5_000  # folders in memory that the walk has left: 3 MB
_NOWHERE = -1


class _FolderRow(msgspec.Struct, array_like=True, gc=False):
    """A Folder that the walk has left, as a list in the spool."""

    parent: int
    name: bytes
    exists: bool
    fresh: bool
    plain: bool
    identity: tuple[int, int] | None
    attributes: AttributesRow | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_FolderRow).decode


class FolderTable:
    """All folders, from the root (number 0) on. A folder may change until it is `settle`d.

    `get` is thread-safe, while others are added and settled, too; the rest is for one thread.
    """

    def __init__(self, root: Folder) -> None:
        self.root = root
        self._walked: dict[int, Folder] = {0: root}  # those that may still change
        self._recent: OrderedDict[int, Folder] = OrderedDict()
        self._places = array("q", [_NOWHERE])  # positions in the spool, by number
        self._spool = Spool()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, parent: Folder, name: bytes) -> Folder:
        folder = Folder(len(self._places), parent, name)
        self._walked[folder.number] = folder
        self._places.append(_NOWHERE)
        return folder

    def settle(self, folder: Folder) -> None:
        """Note that a folder will not change any more."""
        if folder is self.root:
            return
        with self._lock:
            if self._walked.pop(folder.number, None) is not None:
                self._remember(folder)

    def get(self, number: int) -> Folder:
        with self._lock:
            return self._get(number)

    def _get(self, number: int) -> Folder:
        rows: list[tuple[int, _FolderRow]] = []
        while (folder := self._here(number)) is None:
            rows.append((number, _decode(self._spool.read(self._places[number]))))
            number = rows[-1][1].parent
        for number, row in reversed(rows):
            folder = _unpack(number, folder, row)
            self._remember(folder)
        return folder

    def _here(self, number: int) -> Folder | None:
        folder = self._walked.get(number) or self._recent.get(number)
        if number in self._recent:
            self._recent.move_to_end(number)
        return folder

    def backwards(self) -> Iterator[Folder]:
        """All folders, the last that was added first."""
        for number in range(len(self._places) - 1, -1, -1):
            yield self.get(number)

    def close(self) -> None:
        self._spool.close()

    def _remember(self, folder: Folder) -> None:
        self._recent[folder.number] = folder
        if len(self._recent) > _RECENT:
            number, oldest = self._recent.popitem(last=False)
            if self._places[number] == _NOWHERE:
                self._places[number] = self._spool.append(_pack(oldest))


def _pack(f: Folder) -> bytes:
    assert f.parent is not None
    identity = None if f.identity is None else (*f.identity,)
    attributes = None if f.attributes is None else pack_attributes(f.attributes)
    return _encode(_FolderRow(f.parent.number, f.name, f.exists, f.fresh, f.plain, identity, attributes))


def _unpack(number: int, parent: Folder, row: _FolderRow) -> Folder:
    folder = Folder(number, parent, row.name)
    folder.exists, folder.fresh, folder.plain = row.exists, row.fresh, row.plain
    folder.identity = None if row.identity is None else Identity(*row.identity)
    folder.attributes = None if row.attributes is None else unpack_attributes(row.attributes)
    return folder
