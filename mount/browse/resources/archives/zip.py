"""A folder as a zip archive, as a stream: its exact length is known from the tree before any data is read.

The CRC-32 of a member stands in the directory at the end, so a download can't go on where it broke off. What is not
UTF-8, or would be a path or a drive to some system, is spelled as on a Windows drive (catalog.names) and listed in
`_names.txt`: no name leads out of the folder that the archive is extracted to.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from zlib import crc32

from cache.reader import Reader
from catalog.errors import Damaged
from catalog.format.blocks import Buffer
from catalog.format.values import TYPE_BITS, NodeKind
from catalog.names import is_text, shown
from mount.browse.resources.archives import zip_records as records
from mount.browse.resources.archives.contents import PIECE, contents, gathered, named
from mount.browse.resources.archives.missing import Lines, written
from mount.browse.resources.archives.stopping import Stopped
from mount.browse.resources.archives.tops import MISSING, NAMES, Top
from mount.browse.resources.archives.walking import Member, Walk

CHECK = 1024  # members between two looks at whether the archive is still wanted
PROBLEMS = 10_000  # folders that can't be read
_FILE, _FOLDER, _SYMLINK = int(NodeKind.FILE), int(NodeKind.FOLDER), int(NodeKind.SYMLINK)
_SOCKET = int(NodeKind.SOCKET)
# Controls, `\`, `:`, and U+F000 to U+F0FF in UTF-8: spelled names hold such a character, so no others may.
_OTHER = re.compile(b"[\0-\x1f\x7f\\\\:]|\xef[\x80-\x83][\x80-\xbf]")
_Row = tuple[records.Fields, bytes, Member | None]  # fields, contents if they are in the tree, else whose they are


class Zip:
    """The archive of some places. For any number of readers at once.

    `length` in bytes, `members` counts the entries in it. `missing` counts those that are not in it. Making it
    walks the tree: raises StoreError, Damaged if there is too much damage, and Stopped once `stopped` says so.
    """

    resumable = False
    etag = ""

    def __init__(self, reader: Reader, tops: Sequence[Top], stopped: Callable[[], bool] = lambda: False) -> None:
        self._reader = reader
        self._walk = Walk(reader, tops)
        self._time = tops[0].point.time
        names = Lines("Names in this archive that had to be spelled otherwise, and what they are:")
        lines = Lines("These could not be put into this archive:")
        self._own: tuple[tuple[bytes, bytes], ...] = ()
        self.members, self._end, self._directory = self._measure(names, lines, stopped)
        self.missing = lines.count
        self.length = self._end + self._directory + len(records.end(self.members, self._end, self._directory))

    def read(self, start: int = 0) -> Iterator[bytes]:
        """The archive in pieces. Raises CutShort and Damaged: then the rest can't be had."""
        assert start == 0
        return gathered(self._read())

    def _measure(self, names: Lines, lines: Lines, stopped: Callable[[], bool]) -> tuple[int, int, int]:
        """The number of members, where the directory begins, and its size."""
        stops = self._walk.stops

        def broken(key: int, path: bytes, number: int, error: Damaged) -> None:
            stops[key] = number
            lines.add(f"{written(path)}: the rest of this folder: {error}")
            if len(stops) > PROBLEMS:
                raise Damaged(f"more than {PROBLEMS} folders can't be read")

        offset = size = count = 0
        for n, member in enumerate(self._walk.members(0, broken)):
            if not n % CHECK and stopped():
                raise Stopped
            try:
                row = self._row(member)
            except Damaged as e:
                lines.add(f"{written(member.path)}: {e}")
                continue
            if row is None:
                continue
            fields = row[0]
            folder, _, name = member.path.rpartition(b"/")
            if not _is_plain(name):
                spelled = fields.name.rstrip(b"/").decode()
                names.add(f"{spelled}  is  {written(folder + b'/' + name if folder else name)}")
            count += 1
            size += records.central_size(fields, offset)
            offset += records.member_size(fields)
        self._own = tuple((name, text) for name, text in ((NAMES, names.text()), (MISSING, lines.text())) if text)
        for fields, _text in self._own_rows():
            count += 1
            size += records.central_size(fields, offset)
            offset += records.member_size(fields)
        return count, offset, size

    def _row(self, member: Member) -> _Row | None:
        """A member's row; None for a socket, of which nothing can be kept. Reads nothing; raises Damaged."""
        name, leaf, entry = spelled(member.path), member.leaf, member.entry
        if len(name) >= records.NAME_MAX:
            raise Damaged("its path is too long for a zip archive")
        if leaf is None or entry is None:
            time = self._walk.tops[member.key >> 32].point.time
            return records.Fields(name + b"/", TYPE_BITS[_FOLDER] | 0o755, time, -1, -1, 0, False), b"", None
        kind = entry.kind
        if kind == _SOCKET:
            return None
        leaf.check(entry)
        if kind not in (_FILE, _FOLDER, _SYMLINK):
            raise Damaged("a zip archive can't hold devices and FIFOs")
        text: bytes = entry.content if kind == _SYMLINK else b""
        size = entry.size if kind == _FILE else len(text)
        owner, mode = leaf.owner(entry), TYPE_BITS[kind] | entry.mode & 0o7777
        fields = records.Fields(
            name + b"/" if kind == _FOLDER else name, mode, entry.mtime, owner.uid, owner.gid, size,
            later=kind == _FILE and size > PIECE,
        )  # fmt: skip
        return fields, text, member if kind == _FILE else None

    def _own_rows(self) -> Iterator[tuple[records.Fields, bytes]]:
        """The lists that the archive carries of itself."""
        for name, text in self._own:
            yield records.Fields(name, TYPE_BITS[_FILE] | 0o644, self._time, -1, -1, len(text), False), text

    def _rows(self) -> Iterator[_Row]:
        """The rows of all members, as they were measured."""
        for member in self._walk.members():
            try:
                row = self._row(member)
            except Damaged:
                continue
            if row is not None:
                yield row
        for fields, text in self._own_rows():
            yield fields, text, None

    # --- bytes ------------------------------------------------------------------------------------------------

    def _read(self) -> Iterator[Buffer]:
        sums = array("I")
        offset = 0
        for fields, text, member in self._rows():
            crc = 0
            if not fields.later:
                parts: list[Buffer] = [text] if member is None else list(self._contents(member))
                for part in parts:
                    crc = crc32(part, crc)
                yield records.local(fields, crc)
                yield from parts
            else:
                assert member is not None
                yield records.local(fields, 0)
                for part in self._contents(member):
                    crc = crc32(part, crc)
                    yield part
                yield records.descriptor(fields, crc)
            sums.append(crc)
            offset += records.member_size(fields)
        if offset != self._end or len(sums) != self.members:
            raise _changed()
        offset = 0
        for (fields, _text, _member), crc in zip(self._rows(), sums, strict=True):
            yield records.central(fields, crc, offset)
            offset += records.member_size(fields)
        yield records.end(self.members, self._end, self._directory)

    def _contents(self, member: Member) -> Iterator[Buffer]:
        leaf, entry = member.leaf, member.entry
        assert leaf is not None and entry is not None
        return named(member.path, contents(self._reader, leaf.pieces(entry), entry.size))


def spelled(path: bytes) -> bytes:
    """A path as it stands in the archive, in UTF-8."""
    if _is_plain(path):
        return path
    return b"/".join(name if _is_plain(name) else shown(name).encode() for name in path.split(b"/"))


def _is_plain(name: bytes) -> bool:
    return _OTHER.search(name) is None and is_text(name)


def _changed() -> Damaged:
    return Damaged("the pages of this folder are not what they were a moment ago", "start the download again")
