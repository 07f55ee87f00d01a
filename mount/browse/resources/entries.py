"""All that is known of one entry of a recovery point: owner, permissions, attributes, streams."""

from __future__ import annotations

import stat
import struct
from contextlib import suppress
from typing import Any

import msgspec

from catalog.errors import Damaged, RpdriveError, UsageError
from catalog.format.blocks import PackKind
from catalog.format.pages import Entry, Leaf
from catalog.format.values import TYPE_BITS, NodeKind, OutOfLine, Owner, Paged, Xattrs
from catalog.format.windows import Windows, name_bytes
from catalog.points.listing import entry_size, kind_name
from catalog.tree import allocated
from catalog.windows import reparse
from catalog.windows.descriptor import to_sddl
from mount.browse.resources.folders import SAFE, EntryRow
from mount.browse.resources.opened import At, Opened
from mount.browse.resources.wire import Named, name_of, path64, when

_ACCESS, _DEFAULT = b"system.posix_acl_access", b"system.posix_acl_default"
_ACL_HEAD, _ACL_ROW = struct.Struct("<I"), struct.Struct("<HHI")  # linux/posix_acl_xattr.h
_ACL_VERSION = 2
_TAGS = {0x01: "user::", 0x02: "user:{}:", 0x04: "group::", 0x08: "group:{}:", 0x10: "mask::", 0x20: "other::"}
_ROWS = 1000  # of an ACL, and streams
_XATTRS = 100
_TEXT, _HEX = 4096, 256  # bytes shown of an extended attribute
_FETCHED = 64 << 10  # bytes of a value stored out of line, above which it isn't fetched
_ATTRIBUTES = {
    0x1: "read-only", 0x2: "hidden", 0x4: "system", 0x10: "folder", 0x20: "archive", 0x40: "device", 0x80: "normal",
    0x100: "temporary", 0x200: "sparse", 0x400: "reparse point", 0x800: "compressed", 0x1000: "offline",
    0x2000: "not indexed", 0x4000: "encrypted", 0x8000: "integrity stream", 0x20000: "no scrub data",
    0x40000: "recall on open", 0x80000: "pinned", 0x100000: "unpinned", 0x400000: "recall on access",
}  # fmt: skip


class XattrInfo(Named, kw_only=True, omit_defaults=True):
    """An extended attribute: its size in bytes, and the begin of its value as text or in hex, if it was fetched."""

    size: int
    text: str | None = None
    hex: str | None = None
    cut: bool = False


class StreamInfo(Named, kw_only=True, omit_defaults=True):
    """An alternate data stream of Windows, and its size in bytes."""

    size: int


class WindowsInfo(msgspec.Struct, kw_only=True):
    """What only Windows has: attributes as a number and in words, and a link's target as Windows spells it."""

    attributes: int
    words: list[str]
    created: str | None
    short_name: str
    encrypted_size: int | None
    reparse_tag: str | None
    reparse_target: str | None
    extended_size: int | None


class EntryInfo(EntryRow, kw_only=True, omit_defaults=False):
    """All of an entry. Sizes in bytes; `mtime_ns` is the time as text, in ns since the epoch (UTC).

    `pieces` is the number of extents of a file, if it is kept with the entry, and `holes` the bytes in holes.
    `problem` says what of the entry could not be read.
    """

    path: str
    path64: str
    mode: str = ""
    mode_text: str = "??????????"
    uid: int | None = None
    gid: int | None = None
    user: str = ""
    group: str = ""
    nlink: int = 1
    ctime: str | None = None
    mtime_ns: str | None = None
    device: list[int] | None = None
    pieces: int | None = None
    holes: int = 0
    acl: list[str] = msgspec.field(default_factory=list)
    xattrs: list[XattrInfo] = msgspec.field(default_factory=list)
    xattr_count: int = 0
    streams: list[StreamInfo] = msgspec.field(default_factory=list)
    windows: WindowsInfo | None = None
    sddl: str | None = None
    problem: str | None = None


def entry(opened: Opened, point: str, at: bytes | int) -> EntryInfo:
    """What is known of an entry: of a malformed one, its name. Raises NotFound, Damaged and StoreError.

    Costs a request for a value that is stored outside the entry's page.
    """
    return entry_of(opened, opened.find(point, at))


def entry_of(opened: Opened, place: At) -> EntryInfo:
    """As `entry`, of a place."""
    name, raw = name_of(place.path.rpartition(b"/")[2] or b"/")
    found = EntryInfo(
        name=name, name_bytes=raw, n=place.number, kind="folder", size=0, time=None,
        path=name_of(place.path)[0], path64=path64(place.path), hidden=name.startswith("."),
    )  # fmt: skip
    if place.page is None:
        totals = place.tree.point.totals
        found.size, found.files = min(totals.bytes, SAFE), totals.files
        found.time = when(place.tree.point.time)
        found.mode_text = ""
        return found
    leaf, e = place.page.leaf, place.page.leaf.entries[place.index]
    try:
        leaf.check(e)
        _describe(found, leaf, e)
        _more(opened, found, leaf, e)
    except Damaged as error:
        found.problem = str(error)
        if e.kind not in TYPE_BITS:
            found.kind = "malformed"
    return found


def _describe(found: EntryInfo, leaf: Leaf, e: Entry) -> None:
    """Fill in what stands in the entry itself."""
    found.kind, found.nlink = kind_name(e), e.nlink
    found.time, found.ctime, found.mtime_ns = when(e.mtime or 1), when(e.ctime or 1), str(e.mtime)
    found.mode, found.mode_text = f"{e.mode:04o}", stat.filemode(e.mode | TYPE_BITS[e.kind])
    owner = leaf.owner(e)
    found.uid, found.gid = (None if n == -1 else n for n in owner[:2])
    found.user, found.group = owner.user, owner.group
    found.size = min(entry_size(leaf, e), SAFE)
    if e.kind == NodeKind.FOLDER:
        below = leaf.subtree(e)
        found.files = below.totals.files if below is not None else 0
    elif e.kind == NodeKind.FILE:
        content = leaf.pieces(e)
        found.pieces = None if isinstance(content, Paged) else len(content)
        found.holes = min(max(e.size - allocated(content), 0), SAFE)
    elif e.kind == NodeKind.SYMLINK:
        found.target, found.target_bytes = name_of(e.content)
    elif e.kind in (NodeKind.CHAR_DEVICE, NodeKind.BLOCK_DEVICE):
        found.device = list(e.content)


def _more(opened: Opened, found: EntryInfo, leaf: Leaf, e: Entry) -> None:
    """Fill in ACLs and attributes, some of which may be stored elsewhere."""

    def fetched(value: bytes | OutOfLine) -> bytes | None:
        if not isinstance(value, OutOfLine):
            return value
        if value.at.length > _FETCHED:
            return None
        return bytes(opened.reader.chunk(PackKind.TREE, value.at))

    xattrs: Xattrs = leaf.xattrs(e) or {}
    found.xattr_count = len(xattrs)
    for name, value in sorted(xattrs.items())[:_XATTRS]:
        size = value.at.length if isinstance(value, OutOfLine) else len(value)
        data: bytes | None = None
        try:
            data = fetched(value)
        except Damaged as error:
            found.problem = f"the attribute {name_of(name)[0]!r} can't be read: {error}"
        if data is not None and name in (_ACCESS, _DEFAULT):
            found.acl += acl_lines(data, leaf.owner(e), is_default=name == _DEFAULT)
        found.xattrs.append(_xattr(name, size, data))
    windows = leaf.windows(e)
    if windows is not None:
        _windows(found, windows, fetched)


def _xattr(name: bytes, size: int, data: bytes | None) -> XattrInfo:
    text, raw = name_of(name)
    row = XattrInfo(name=text, name_bytes=raw, size=size)
    if data is None:
        return row
    with suppress(UnicodeDecodeError):
        shown = data.removesuffix(b"\0").decode()
        if all(c.isprintable() or c in "\n\t" for c in shown):
            row.text, row.cut = shown[:_TEXT], len(shown) > _TEXT
            return row
    row.hex, row.cut = data[:_HEX].hex(), len(data) > _HEX
    return row


def acl_lines(data: bytes, owner: Owner, *, is_default: bool) -> list[str]:
    """A POSIX ACL as getfacl writes it, with numbers for the users and groups that it names."""
    prefix = "default:" if is_default else ""
    if (
        len(data) < _ACL_HEAD.size
        or (len(data) - _ACL_HEAD.size) % _ACL_ROW.size
        or _ACL_HEAD.unpack_from(data)[0] != _ACL_VERSION
    ):
        return [f"{prefix}malformed"]
    known = {(0x02, owner.uid): owner.user, (0x08, owner.gid): owner.group}
    lines: list[str] = []
    for tag, may, who in _ACL_ROW.iter_unpack(data[_ACL_HEAD.size :]):
        if len(lines) == _ROWS:
            lines.append(f"{prefix}…")
            break
        letters = "".join(c if may & bit else "-" for c, bit in (("r", 4), ("w", 2), ("x", 1)))
        lines.append(prefix + _TAGS.get(tag, f"tag {tag}:{{}}:").format(known.get((tag, who)) or who) + letters)
    return lines


def _windows(found: EntryInfo, w: Windows, fetched: Any) -> None:
    found.hidden = found.hidden or bool(w.attributes & 0x2)
    words = [word for bit, word in _ATTRIBUTES.items() if w.attributes & bit]
    unknown = w.attributes & ~sum(_ATTRIBUTES)
    words += [f"0x{unknown:x}"] if unknown else []
    info = found.windows = WindowsInfo(
        attributes=w.attributes, words=words, created=when(w.created),
        short_name=_plain(w.short_name), encrypted_size=None if w.efs is None else min(w.efs, SAFE),
        reparse_tag=None, reparse_target=None, extended_size=None,
    )  # fmt: skip
    for stream in w.streams[:_ROWS]:
        name, raw = name_of(name_bytes(stream.name))
        found.streams.append(StreamInfo(name=name, name_bytes=raw, size=min(stream.size, SAFE)))
    if w.extended is not None:
        info.extended_size = w.extended.at.length if isinstance(w.extended, OutOfLine) else len(w.extended)
    try:
        if w.security is not None:
            descriptor = fetched(w.security)
            with suppress(Damaged, UsageError):
                found.sddl = to_sddl(descriptor) if descriptor is not None else None
        buffer = None if w.reparse is None else fetched(w.reparse)
    except Damaged as error:
        found.problem = f"the metadata of Windows can't be read: {error}"
        return
    if buffer is not None:
        info.reparse_tag = f"0x{reparse.tag_of(buffer):08x}"
        with suppress(OSError, RpdriveError, struct.error):
            info.reparse_target = _plain(reparse.parse(buffer).path)


def _plain(name: str) -> str:
    """A name of Windows without lone surrogates, which JSON has no room for."""
    return name.encode("utf-8", "replace").decode()
