"""A folder as a tar archive: its bytes are a pure function of recovery point, path and VERSION.

Names, sizes and times are in the tree, so one walk over its pages gives the length and the offset of everything,
and reads no data. The walk keeps the offset of every STRIDE-th member; from there on, any part of the archive is
made again, when a download goes on. So the bytes of all members must never change without a new VERSION.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

from blake3 import blake3

from cache.reader import Reader
from catalog.errors import Damaged, RpdriveError
from catalog.format.blocks import Buffer, PackKind
from catalog.format.pages import Entry, Leaf
from catalog.format.values import NodeKind, OutOfLine
from mount.browse.resources.archives import tar_headers as tar
from mount.browse.resources.archives.contents import CutShort, contents, gathered, named
from mount.browse.resources.archives.missing import Lines, written
from mount.browse.resources.archives.stopping import Stopped
from mount.browse.resources.archives.tops import MISSING, Top
from mount.browse.resources.archives.walking import Member, Walk

VERSION = 1
STRIDE = 128  # members between two that are kept, at first
KEPT = 1 << 16  # members kept at most, of 16 bytes; then every second one is
LINKS = 250_000  # files of several names that are known as such; the others are stored once for each name
PROBLEMS = 10_000  # folders that can't be read
_FILE, _SYMLINK, _SOCKET = int(NodeKind.FILE), int(NodeKind.SYMLINK), int(NodeKind.SOCKET)
_TYPES = {
    _FILE: tar.FILE,
    int(NodeKind.FOLDER): tar.FOLDER,
    _SYMLINK: tar.SYMLINK,
    int(NodeKind.CHAR_DEVICE): tar.CHAR_DEVICE,
    int(NodeKind.BLOCK_DEVICE): tar.BLOCK_DEVICE,
    int(NodeKind.FIFO): tar.FIFO,
}


class Tar:
    """The archive of some places. For any number of readers at once.

    `length` in bytes, `members` counts the entries in it. `missing` counts those that are not in it because their
    entries can't be read. Making it walks the tree: raises StoreError, Damaged if there is too much damage, and
    Stopped once `stopped` says so.
    """

    resumable = True

    def __init__(self, reader: Reader, tops: Sequence[Top], stopped: Callable[[], bool] = lambda: False) -> None:
        self._reader = reader
        self._walk = Walk(reader, tops)
        self._offsets, self._keys = array("Q"), array("Q")
        self._first = _Links()
        self._last_link = (-1, b"")  # the key and path of the first member that was looked up last
        lines = Lines("These could not be read in the recovery point, and are not in this archive:")
        self.members, self._end = self._measure(lines, stopped)
        self._first.freeze()
        self.missing = lines.count
        self._tail = _tail(lines.text(), tops[0].point.time)
        self.length = self._end + len(self._tail)
        self.etag = self._etag(tops)

    def read(self, start: int = 0) -> Iterator[bytes]:
        """The archive from an offset on, in pieces. Raises CutShort and Damaged: then the rest can't be had."""
        return gathered(self._read(start))

    # --- the walk that measures -----------------------------------------------------------------------------

    def _measure(self, lines: Lines, stopped: Callable[[], bool]) -> tuple[int, int]:
        """The number of members, and where they end."""
        stops = self._walk.stops

        def broken(key: int, path: bytes, number: int, error: Damaged) -> None:
            stops[key] = number
            lines.add(f"{written(path)}: the rest of this folder: {error}")
            if len(stops) > PROBLEMS:
                raise Damaged(f"more than {PROBLEMS} folders can't be read")

        offset = members = 0
        stride, due = STRIDE, 0
        for member in self._walk.members(0, broken):
            if not due:
                if stopped():
                    raise Stopped
                self._offsets.append(offset)
                self._keys.append(member.key)
                due = stride
                if len(self._offsets) >= KEPT:
                    self._offsets, self._keys = self._offsets[::2], self._keys[::2]
                    stride *= 2
            due -= 1
            try:
                fields = self._fields(member, first=True)
            except Damaged as e:
                lines.add(f"{written(member.path)}: {e}")
                continue
            if fields is None:
                continue
            if fields.type == tar.HARD_LINK:
                fields = self._linked(fields, member)
            members += 1
            offset += tar.header_size(fields) + fields.size + tar.padding(fields.size)
        return members, offset

    def _etag(self, tops: Sequence[Top]) -> str:
        digest = blake3(b"rpdrive tar %d %d\0" % (VERSION, self.length))
        for top in tops:
            for part in (top.name, top.point.id, top.spot.path):
                digest.update(len(part).to_bytes(4, "big") + part)
        for key, number in self._walk.stops.items():
            digest.update(key.to_bytes(8, "big") + number.to_bytes(8, "big"))
        return digest.hexdigest(length=16)

    # --- members ----------------------------------------------------------------------------------------------

    def _fields(self, member: Member, *, first: bool = False) -> tar.Fields | None:
        """A member's fields, but for the target of a hard link, and with zeros for values stored elsewhere.

        None if there is none for it: sockets are nothing that can be kept. Reads nothing; raises Damaged.
        `first`: the walk that measures.
        """
        leaf, entry = member.leaf, member.entry
        if leaf is None or entry is None:
            time = self._walk.tops[member.key >> 32].point.time
            return tar.Fields(member.path + b"/", tar.FOLDER, 0o755, 0, 0, 0, time)
        kind = entry.kind
        if kind == _SOCKET:
            return None
        leaf.check(entry)
        if entry.link and kind == _FILE:
            link = member.key & ~0xFFFFFFFF | entry.link
            if (self._first.note(link, member.key) if first else self._first.of(link, member.key)) != member.key:
                return self._shape(member.path, tar.HARD_LINK, leaf, entry, 0)
        path = member.path + b"/" if kind == NodeKind.FOLDER else member.path
        return self._shape(path, _TYPES[kind], leaf, entry, entry.size if kind == _FILE else 0)

    def _shape(self, path: bytes, type_: bytes, leaf: Leaf, entry: Entry, size: int) -> tar.Fields:
        target, device = b"", (0, 0)
        content = entry.content
        if type_ == tar.SYMLINK:
            target = content
        elif type_ in (tar.CHAR_DEVICE, tar.BLOCK_DEVICE):
            device = (content[0], content[1])
            if max(device) > tar.MAX_DEVICE:
                raise Damaged("the number of this device has no room in a tar archive")
        owner = leaf.owner(entry)
        xattrs = leaf.xattrs(entry) if type_ != tar.HARD_LINK else None
        values = [
            (name, value if isinstance(value, bytes) else bytes(value.at.length)) for name, value in xattrs.items()
        ] if xattrs else ()  # fmt: skip
        return tar.Fields(
            path, type_, entry.mode & 0o7777, max(owner.uid, 0), max(owner.gid, 0), size, entry.mtime, target,
            owner.user.encode(), owner.group.encode(), device, tuple(values),
        )  # fmt: skip

    def _linked(self, fields: tar.Fields, member: Member) -> tar.Fields:
        """The fields of a hard link with its target: the path of the first member of the same file."""
        assert member.entry is not None
        key = self._first.of(member.key & ~0xFFFFFFFF | member.entry.link, member.key)
        known, path = self._last_link
        if known != key:
            path = self._walk.member(key).path
            self._last_link = key, path
        return fields._replace(target=path)

    def _complete(self, fields: tar.Fields, member: Member) -> tar.Fields:
        """The fields with all that has to be read for them. Raises CutShort."""
        try:
            if fields.type == tar.HARD_LINK:
                return self._linked(fields, member)
            if fields.xattrs and member.leaf is not None and member.entry is not None:
                found = member.leaf.xattrs(member.entry) or {}
                if any(isinstance(value, OutOfLine) for value in found.values()):
                    return fields._replace(xattrs=tuple((name, self._value(v)) for name, v in found.items()))
        except RpdriveError as e:
            raise CutShort(member.path, e) from e
        return fields

    def _value(self, value: bytes | OutOfLine) -> bytes:
        return value if isinstance(value, bytes) else bytes(self._reader.chunk(PackKind.TREE, value.at))

    # --- bytes ------------------------------------------------------------------------------------------------

    def _read(self, start: int) -> Iterator[Buffer]:
        if start >= self._end:
            yield self._tail[start - self._end :]
            return
        n = bisect_right(self._offsets, start) - 1
        offset = self._offsets[n]
        for member in self._walk.members(self._keys[n]):
            if n < len(self._keys) and member.key == self._keys[n]:
                if offset != self._offsets[n]:
                    raise _changed()
                n += 1
            try:
                fields = self._fields(member)
            except Damaged:
                continue  # as when it was measured
            if fields is None:
                continue
            head = tar.header(self._complete(fields, member))
            if start < offset + len(head):
                yield head[max(start - offset, 0) :]
            offset += len(head)
            if not fields.size:
                continue
            assert member.leaf is not None and member.entry is not None
            end = offset + fields.size
            if start < end:
                pieces = member.leaf.pieces(member.entry)
                yield from named(member.path, contents(self._reader, pieces, fields.size, max(start - offset, 0)))
            padded = end + tar.padding(fields.size)
            if start < padded:
                yield bytes(padded - max(start, end))
            offset = padded
        if offset != self._end or n != len(self._keys):
            raise _changed()
        yield self._tail


class _Links:
    """The first members of files that have several names: by top and link number, their keys."""

    def __init__(self) -> None:
        self._noted: dict[int, int] = {}
        self._links, self._keys = array("Q"), array("Q")

    def note(self, link: int, key: int) -> int:
        """The key of the first member, which is `key` if there was none."""
        if len(self._noted) < LINKS:
            return self._noted.setdefault(link, key)
        return self._noted.get(link, key)

    def freeze(self) -> None:
        """Keep them in 16 bytes each: all members were seen."""
        links = sorted(self._noted)
        self._links, self._keys = array("Q", links), array("Q", map(self._noted.__getitem__, links))
        self._noted = {}

    def of(self, link: int, key: int) -> int:
        """The same as `note` had returned."""
        if self._noted:
            return self._noted.get(link, key)
        n = bisect_left(self._links, link)
        return self._keys[n] if n < len(self._links) and self._links[n] == link else key


def _tail(missing: bytes, time: int) -> bytes:
    """The end of an archive, with the list of what is missing if there is one."""
    if not missing:
        return tar.END
    head = tar.header(tar.Fields(MISSING, tar.FILE, 0o644, 0, 0, len(missing), time))
    return b"".join((head, missing, bytes(tar.padding(len(missing))), tar.END))


def _changed() -> Damaged:
    return Damaged("the pages of this folder are not what they were a moment ago", "start the download again")
