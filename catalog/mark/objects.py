"""The packs and carriers that a store lists, in little memory, and whether blocks are in them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from catalog.errors import AccessDenied, Damaged, ObjectNotFound
from catalog.format.blocks import PackKind
from catalog.format.keys import ID_BYTES
from catalog.format.packs import SERIES_BYTES, pack_name, pack_named, series_folder
from catalog.store.base import Store
from catalog.store.reading import time_to_read
from catalog.vault import Vault

_KEY = 1 + ID_BYTES  # kind, and the id in the order of listings
_KEPT = 4096  # answers that are kept
_ASKED = 1000  # objects that are asked for one by one


class Listed(NamedTuple):
    """A pack or carrier. `size` in bytes, `modified` by the store's clock (ns since the epoch, UTC)."""

    kind: PackKind
    id: bytes
    size: int
    modified: int


class Objects:
    """The packs and carriers of some series, as they were listed. 33 bytes of memory for each. Not thread-safe."""

    def __init__(self) -> None:
        self._keys = bytearray()
        self._sizes, self._times = array("Q"), array("Q")
        self._known: dict[tuple[int, bytes], int | None] = {}
        self.requests = 0

    @classmethod
    def of(cls, store: Store, machines: Iterable[bytes], strange: Callable[[str], object] = str) -> Objects:
        """List the packs and carriers of these machines (ids). One request for 5,000, two at least for each.

        `strange` is called with the names of objects among them that are neither.
        """
        found, folders = cls(), set[tuple[PackKind, bytes]]()
        for machine in machines:
            folders |= {(kind, machine[:SERIES_BYTES]) for kind in (PackKind.DATA, PackKind.TREE)}
        for kind, series in sorted(folders):
            for info in store.list(series_folder(kind, series)):
                pack = pack_named(info.name)
                if pack is not None:
                    found.add(kind, pack, info.size, info.modified)
                else:
                    strange(info.name)
        return found

    def add(self, kind: PackKind, one: bytes, size: int, modified: int) -> None:
        """Add an object. In the order of kinds, and of listings in each."""
        key = _key(kind, one)
        if self._sizes and self._keys[-_KEY:] >= key:
            at, there = self._find(key)
            if there:
                return
        else:
            at = len(self._sizes)
        self._keys[at * _KEY : at * _KEY] = key
        self._sizes.insert(at, size)
        self._times.insert(at, modified)
        self._known.clear()

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[Listed]:
        """All objects, data packs first, otherwise in the order of listings."""
        for n, (size, modified) in enumerate(zip(self._sizes, self._times, strict=True)):
            kind, one = _unkey(bytes(self._keys[n * _KEY : (n + 1) * _KEY]))
            yield Listed(kind, one, size, modified)

    def size(self, kind: int, one: bytes) -> int | None:
        """The size (bytes) of an object; None if it is not listed."""
        try:
            return self._known[kind, one]
        except KeyError:
            at, there = self._find(_key(kind, one))
            if len(self._known) >= _KEPT:
                self._known.clear()
            found = self._known[kind, one] = self._sizes[at] if there else None
            return found

    def _find(self, key: bytes) -> tuple[int, bool]:
        """Where a key is, or belongs; whether it is there."""
        low, high, keys = 0, len(self._sizes), self._keys
        while low < high:
            middle = (low + high) // 2
            if keys[middle * _KEY : (middle + 1) * _KEY] < key:
                low = middle + 1
            else:
                high = middle
        return low, keys[low * _KEY : (low + 1) * _KEY] == key


class Absence(NamedTuple):
    """Why a block can't be where the records of places and the listings say. `object` is the name of an object.

    `short`: the object is there, but ends before the block does.
    """

    object: str
    reason: str
    short: bool


class Presence:
    """Whether blocks are in the objects that were listed, in packs or in carriers.

    An object that is not listed is asked for, up to 1,000 of them: listings may be behind.
    """

    def __init__(self, objects: Objects, vault: Vault) -> None:
        self._objects, self._vault = objects, vault
        self._asked: set[tuple[int, bytes]] = set()

    def absence(self, kind: PackKind, pack: bytes, start: int, end: int) -> Absence | None:
        """Why not all bytes from `start` to `end` of a pack can be there; None if they can."""
        runs = self._vault.places.runs(kind, pack)
        if not runs:
            return self._absent_in(kind, pack, end, pack)
        position = start
        for run in runs:
            if run.end <= position or position < run.start:
                continue
            absent = self._absent_in(kind, run.holder, min(end, run.end) + run.shift, pack)
            if absent is not None:
                return absent
            position = min(end, run.end)
            if position == end:
                return None
        name = pack_name(kind, pack)
        return Absence(name, f"no carrier holds byte {position} of {name}, which was moved", False)

    def _absent_in(self, kind: PackKind, holder: bytes, end: int, pack: bytes) -> Absence | None:
        size, name = self._size(kind, holder), pack_name(kind, holder)
        what = "" if holder == pack else f", which holds blocks of {pack_name(kind, pack)}"
        if size is None:
            return Absence(name, f"{name} is missing{what}", False)
        if end > size:
            return Absence(name, f"{name} has {size} bytes, fewer than recovery points refer to{what}", True)
        return None

    def _size(self, kind: PackKind, one: bytes) -> int | None:
        size = self._objects.size(kind, one)
        if size is None and (kind, one) not in self._asked and len(self._asked) < _ASKED:
            self._asked.add((kind, one))
            try:
                size = self._vault.object_size(kind, one)
            except (ObjectNotFound, Damaged, AccessDenied):
                return None
            self._objects.add(kind, one, size, time_to_read(self._vault.store))
        return size


def _key(kind: int, one: bytes) -> bytes:
    # Names of packs have the byte after the generation before the rest.
    return bytes((kind,)) + one[:4] + one[5:6] + one[4:5] + one[6:]


def _unkey(key: bytes) -> tuple[PackKind, bytes]:
    return PackKind(key[0]), key[1:5] + key[6:7] + key[5:6] + key[7:]
