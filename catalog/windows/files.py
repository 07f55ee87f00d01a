"""Parses what Windows reports about files: structures as documented, from bytes. Times remain FILETIMEs.

Sources: the pages of BY_HANDLE_FILE_INFORMATION, FILE_BASIC_INFO, FILE_ATTRIBUTE_TAG_INFO, FILE_STREAM_INFO,
FILE_ID_BOTH_DIR_INFO and FILE_ALLOCATED_RANGE_BUFFER, all little-endian.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from struct import error as StructError
from typing import Any, NamedTuple

from catalog.windows.api import BASIC_INFO, DIRECTORY_INFO, DIRECTORY_RESTART_INFO, TAG_INFO, Api

READONLY, HIDDEN, SYSTEM, DIRECTORY, ARCHIVE, NORMAL = 0x1, 0x2, 0x4, 0x10, 0x20, 0x80
SPARSE, REPARSE_POINT, COMPRESSED, OFFLINE, ENCRYPTED = 0x200, 0x400, 0x800, 0x1000, 0x4000
NOT_INDEXED = 0x2000
RECALL_ON_OPEN, RECALL_ON_DATA_ACCESS = 0x40000, 0x400000

_LIST = 64 << 10  # bytes of a folder listing per call
_identity = Struct("<IQQQIIIIII")
_basic = Struct("<qqqqI4x")
_tag = Struct("<II")
_stream = Struct("<IIqq")
_range = Struct("<qq")
_entry = Struct("<II6q3IBx24s2xq")


class Identity(NamedTuple):
    """BY_HANDLE_FILE_INFORMATION. `size` in bytes; `file_id` is unique within the volume `serial`."""

    attributes: int
    created: int
    accessed: int
    written: int
    serial: int
    size: int
    links: int
    file_id: int


class Basic(NamedTuple):
    """FILE_BASIC_INFO. A time of 0 is not kept by the file system; when setting, 0 leaves a time unchanged."""

    created: int
    accessed: int
    written: int
    changed: int
    attributes: int


class Name(NamedTuple):
    """A name in a folder, and its 8.3 name if that differs."""

    name: str
    short: str


class Seen(NamedTuple):
    """Metadata of an open file. Times are FILETIMEs, `changed` is 0 if not kept, `tag` 0 if not a reparse point."""

    attributes: int
    created: int
    written: int
    changed: int
    serial: int
    size: int
    links: int
    file_id: int
    tag: int


def look(api: Api, handle: int) -> Seen:
    """Read a file's metadata. Raises Failed."""
    i = identity(api.identity(handle))
    changed = basic(api.information(handle, BASIC_INFO, _basic.size)).changed
    found = tag(api.information(handle, TAG_INFO, _tag.size)) if i.attributes & REPARSE_POINT else 0
    return Seen(i.attributes, i.created, i.written, changed, i.serial, i.size, i.links, i.file_id, found)


def listed(api: Api, handle: int) -> Iterator[Name]:
    """The names in an open folder. Raises Failed."""
    kind = DIRECTORY_RESTART_INFO
    while data := api.information(handle, kind, _LIST):
        yield from names(data)
        kind = DIRECTORY_INFO


def identity(data: bytes) -> Identity:
    attributes, created, accessed, written, serial, high, low, links, upper, lower = _identity.unpack_from(data)
    return Identity(
        attributes, created, accessed, written, serial, high << 32 | low, links, upper << 32 | lower
    )  # fmt: skip


def basic(data: bytes) -> Basic:
    return Basic(*_basic.unpack_from(data))


def basic_bytes(b: Basic) -> bytes:
    return _basic.pack(*b)


def tag(data: bytes) -> int:
    """The reparse tag in a FILE_ATTRIBUTE_TAG_INFO."""
    return int(_tag.unpack_from(data)[1])


def streams(data: bytes) -> list[tuple[str, int]]:
    """Alternate data streams in a list of FILE_STREAM_INFO: names without `:` and `:$DATA`, and sizes in bytes."""
    found = []
    for length, size, _allocated, rest in _chain(_stream, data):
        name = _text(rest, length)
        if name.endswith(":$DATA") and name != "::$DATA":
            found.append((name[1:-6], size))
    return found


def names(data: bytes) -> list[Name]:
    """The names in a list of FILE_ID_BOTH_DIR_INFO, without `.` and `..`."""
    found = []
    for row in _chain(_entry, data):
        length, short, short_length, rest = row[8], row[11], row[10], row[13]
        name = _text(rest, length)
        if name not in (".", ".."):
            other = _text(short, short_length)
            found.append(Name(name, other if other != name else ""))
    return found


def range_bytes(start: int, end: int) -> bytes:
    """A FILE_ALLOCATED_RANGE_BUFFER."""
    return _range.pack(start, end - start)


def ranges(data: bytes) -> list[tuple[int, int]]:
    """Start and end of each range in a list of FILE_ALLOCATED_RANGE_BUFFER."""
    return [(start, start + length) for start, length in _range.iter_unpack(data)]


def _chain(shape: Struct, data: bytes) -> Iterator[tuple[Any, ...]]:
    """Rows of a list, each with the bytes after it, and without its first field: the distance to the next row."""
    at = 0
    while data:
        step, *row = shape.unpack_from(data, at)
        yield (*row, data[at + shape.size : at + step if step else len(data)])
        if not step:
            return
        at += step


def _text(data: bytes, length: int) -> str:
    if length > len(data):
        raise StructError("a name is longer than its row")
    return data[:length].decode("utf-16-le", "surrogatepass")
