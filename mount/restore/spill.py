"""Runs: sorted rows of a plan in a temporary file, as batches of MessagePack, each after its length.

Only the process that wrote a run reads it, so the format has no version.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, TypeAlias

import msgspec

from catalog.format.packs import Extent
from catalog.format.values import Hole, OutOfLine, Owner, Paged, Piece
from catalog.format.windows import Stream, Value, Windows
from mount.restore.disk.attributes import Attributes
from mount.restore.file_plan import FilePlan, Row
from mount.restore.target import Folder, Identity

_BATCH = 512  # rows
_LENGTH = 4  # bytes of a batch's length
_ExtentRow: TypeAlias = tuple[bytes, int, int, int, int, bytes]


class _FileRow(msgspec.Struct, array_like=True, gc=False):
    """A FilePlan, as a list in the file."""

    number: int
    folder: int
    name: bytes
    final: bytes
    size: int
    kind: int
    mode: int
    owner: tuple[int, int, str, str]
    mtime: int
    xattrs: list[tuple[bytes, bytes | _ExtentRow]] | None
    incomplete: bool
    replace: bool
    link: int
    time: int
    whole: bool
    todo: int
    temporary: tuple[bytes, tuple[int, int]] | None
    windows: Any


class _PieceRow(msgspec.Struct, array_like=True, gc=False):
    """A Row, as a list in the file."""

    pack: int
    offset: int
    stored: int
    inner: int
    length: int
    chunk: bytes
    number: int
    position: int
    file: _FileRow


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_PieceRow]).decode


def write_run(run: IO[bytes], rows: list[Row]) -> None:
    """Write sorted rows. Raises OSError."""
    for n in range(0, len(rows), _BATCH):
        data = _encode([_PieceRow(*row[:8], _pack_file(row.file)) for row in rows[n : n + _BATCH]])
        run.write(len(data).to_bytes(_LENGTH, "big") + data)


def read_run(run: IO[bytes], folders: list[Folder]) -> Iterator[Row]:
    """The rows of a run, in order; `folders` by number. Other reads of the run may take turns with this one."""
    position = 0
    while True:
        run.seek(position)
        head = run.read(_LENGTH)
        if not head:
            return
        data = run.read(int.from_bytes(head, "big"))
        position = run.tell()
        for p in _decode(data):
            yield Row(
                p.pack, p.offset, p.stored, p.inner, p.length, p.chunk, p.number, p.position,
                _unpack_file(p.file, folders),
            )  # fmt: skip


def _pack_file(file: FilePlan) -> _FileRow:
    a = file.attributes
    xattrs = None
    if a.xattrs is not None:
        xattrs = [(n, (*v.at,) if isinstance(v, OutOfLine) else v) for n, v in a.xattrs.items()]
    return _FileRow(
        file.number, file.folder.number, file.name, file.final, file.size, a.kind, a.mode, (*a.owner,), a.mtime,
        xattrs, a.incomplete, file.replace, file.link, file.time, file.whole, file.todo,
        file.temporary and (file.temporary[0], (*file.temporary[1],)), pack_windows(a.windows),
    )  # fmt: skip


def _unpack_file(row: _FileRow, folders: list[Folder]) -> FilePlan:
    xattrs = None
    if row.xattrs is not None:
        xattrs = {n: v if isinstance(v, bytes) else OutOfLine(Extent(*v)) for n, v in row.xattrs}
    attributes = Attributes(
        row.kind, row.mode, Owner(*row.owner), row.mtime, xattrs, row.incomplete, unpack_windows(row.windows)
    )
    return FilePlan(
        row.number, folders[row.folder], row.name, row.final, row.size, attributes, row.replace,
        row.link, row.time, row.whole, row.todo,
        row.temporary and (row.temporary[0], Identity(*row.temporary[1])),
    )  # fmt: skip


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
