"""Files, rows of a plan and attributes as bytes, for spools and for sorting.

Only the process that wrote them reads them, so the format has no version.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import msgspec

from catalog.format.blocks import Buffer
from catalog.format.packs import Extent
from catalog.format.values import Hole, OutOfLine, Owner, Paged, Piece, Xattrs
from catalog.format.windows import Stream, Value, Windows
from mount.restore.disk.attributes import Attributes
from mount.restore.file_plan import FilePlan, Row
from mount.restore.folder import Folder, Identity

FolderOf: TypeAlias = Callable[[int], Folder]
_XattrRow: TypeAlias = list[tuple[bytes, bytes | Extent]] | None
# The beginning of a packed row. As bytes, rows sort as their fields do: pack, offset, stored, inner, the file's
# number, position. The piece's length, the folder's number and flags follow.
_HEAD = struct.Struct(">IQQQQQQQB")
_BLOCK = struct.Struct(">IQQ")
BLOCK = _BLOCK.size  # bytes of a packed row that are the same for all rows of a block
_REST = struct.Struct(">QQB")
_REST_AT = _HEAD.size - _REST.size
_SIMPLE, _COPY = 1, 2
NO_BLOCK = Extent(b"", 0, 0, 0, 0, b"")  # the place of a file without data

# Tuples: msgspec makes them, and the tuples with names in them, twice as fast as structs.
_AttributesRow: TypeAlias = tuple[int, int, Owner, int, _XattrRow, bool, Any]
# folder, name, final name if it is another, size, replace, link, time, whole, todo, temporary, attributes
_FileRow: TypeAlias = tuple[
    int, bytes, bytes | None, int, bool, int, int, bool, int, tuple[bytes, Identity] | None, int, int, Owner, int,
    _XattrRow, bool, Any,
]  # fmt: skip
_encode = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(tuple[bytes, _FileRow]).decode
_decode_file = msgspec.msgpack.Decoder(tuple[int, _FileRow]).decode


def pack_row(order: int, at: Extent, position: int, file: FilePlan) -> bytes:
    """A piece of a file, in the pack with this number."""
    _pack, offset, stored, inner, length, chunk = at
    folder, number = file.folder.number, file.number
    flags = _SIMPLE * _is_simple(file) | _COPY * (file.final != file.name)
    head = _HEAD.pack(order, offset, stored, inner, number, position, length, folder, flags)
    return head + _encode((chunk, _file_row(file)))


def block_of(packed: bytes) -> tuple[int, int, int]:
    """The block of a packed row: the number of its pack, its place in it, and its stored length."""
    return _BLOCK.unpack_from(packed)


def brief_of(packed: bytes) -> Brief:
    """What is needed to pass a row on."""
    length, folder, flags = _REST.unpack_from(packed, _REST_AT)
    return Brief(length, folder, bool(flags & _SIMPLE), bool(flags & _COPY))


def unpack_row(packed: bytes, folder: FolderOf) -> Row:
    pack, offset, stored, inner, number, position, length, _folder, _flags = _HEAD.unpack_from(packed)
    chunk, file = _decode_row(packed[_HEAD.size :])
    return Row(pack, offset, stored, inner, length, chunk, number, position, _file(number, file, folder))


def unpack_new(packed: bytes) -> tuple[tuple[int, int, bytes], int, int, bytes, int, Attributes]:
    """A simple file, for a helper, which makes nothing else and has no other folders.

    Its place in the decoded block, length and chunk id; its number, its folder's, its name, size and attributes.
    """
    _pack, _offset, _stored, inner, number, _position, length, folder, _flags = _HEAD.unpack_from(packed)
    chunk, row = _decode_row(packed[_HEAD.size :])
    xattrs = row[14]
    a = Attributes(row[10], row[11], row[12], row[13], None if xattrs is None else _xattrs(xattrs), row[15])
    return (inner, length, chunk), number, folder, row[1] if row[2] is None else row[2], row[3], a


def _is_simple(file: FilePlan) -> bool:
    """Whether a file is made in one go, replaces nothing, and has all its metadata in its entry."""
    if not file.whole or file.replace or file.link or file.attributes.windows is not None:
        return False
    xattrs = file.attributes.xattrs
    return not xattrs or not any(isinstance(value, OutOfLine) for value in xattrs.values())


class Brief(NamedTuple):
    """Of a packed row: the piece's length (bytes), the number of the file's folder; whether a helper can make the
    file, and whether that is a copy next to an existing one."""

    length: int
    folder: int
    simple: bool
    copy: bool


def pack_file(file: FilePlan) -> bytes:
    return _encode((file.number, _file_row(file)))


def unpack_file(data: Buffer, folder: FolderOf) -> FilePlan:
    number, row = _decode_file(data)
    return _file(number, row, folder)


def _file_row(f: FilePlan) -> _FileRow:
    a, name = f.attributes, f.name
    return (
        f.folder.number, name, None if f.final == name else f.final, f.size, f.replace, f.link, f.time, f.whole,
        f.todo, f.temporary, a.kind, a.mode, a.owner, a.mtime, _xattr_row(a.xattrs), a.incomplete,
        a.windows and pack_windows(a.windows),
    )  # fmt: skip


def _file(number: int, row: _FileRow, folder: FolderOf) -> FilePlan:
    (
        where, name, final, size, replace, link, time, whole, todo, temporary, kind, mode, owner, mtime, xattrs,
        incomplete, windows,
    ) = row  # fmt: skip
    a = Attributes(kind, mode, owner, mtime, _xattrs(xattrs), incomplete, windows and unpack_windows(windows))
    return FilePlan(
        number, folder(where), name, name if final is None else final, size, a, replace, link, time, whole, todo,
        temporary,
    )  # fmt: skip


class AttributesRow(msgspec.Struct, array_like=True, gc=False):
    """Attributes, as a list."""

    kind: int
    mode: int
    owner: Owner
    mtime: int
    xattrs: _XattrRow
    incomplete: bool
    windows: Any


def pack_attributes(a: Attributes) -> AttributesRow:
    return AttributesRow(
        a.kind, a.mode, a.owner, a.mtime, _xattr_row(a.xattrs), a.incomplete, pack_windows(a.windows)
    )


def unpack_attributes(row: AttributesRow) -> Attributes:
    xattrs = _xattrs(row.xattrs)
    return Attributes(row.kind, row.mode, row.owner, row.mtime, xattrs, row.incomplete, unpack_windows(row.windows))


def _xattr_row(xattrs: Xattrs | None) -> _XattrRow:
    if xattrs is None:
        return None
    return [(name, value.at if isinstance(value, OutOfLine) else value) for name, value in xattrs.items()]


def _xattrs(row: _XattrRow) -> Xattrs | None:
    if row is None:
        return None
    return {name: value if isinstance(value, bytes) else OutOfLine(value) for name, value in row}


# --- Windows metadata


def pack_windows(w: Windows | None) -> list[Any] | None:
    """Windows metadata as lists, numbers, text and bytes."""
    if w is None:
        return None
    streams = [(s.name.encode("utf-8", "surrogatepass"), s.size, _content(s.content)) for s in w.streams]
    values = [(*v.at,) if isinstance(v, OutOfLine) else v for v in (w.security, w.reparse, w.extended)]
    return [w.attributes, w.created, *values, streams, w.efs]


def unpack_windows(row: list[Any] | None) -> Windows | None:
    """The reverse of `pack_windows`, without the 8.3 name, which a restore does not set."""
    if row is None:
        return None
    attributes, created, security, reparse, extended, streams, efs = row
    return Windows(
        attributes, created, _value(security),
        [Stream(name.decode("utf-8", "surrogatepass"), size, _pieces(content)) for name, size, content in streams],
        _value(reparse), _value(extended), efs=efs,
    )  # fmt: skip


def _content(content: list[Piece] | Paged) -> Any:
    if isinstance(content, Paged):
        return {"paged": (content.level, (*content.at,), content.allocated, content.digest)}
    return [(p.length,) if isinstance(p, Hole) else (*p,) for p in content]


def _pieces(content: Any) -> list[Piece] | Paged:
    if isinstance(content, dict):
        level, at, allocated, digest = content["paged"]
        return Paged(level, Extent(*at), allocated, digest)
    return [Hole(*row) if len(row) == 1 else Extent(*row) for row in content]


def _value(value: Any) -> Value | None:
    return value if value is None or isinstance(value, bytes) else OutOfLine(Extent(*value))
