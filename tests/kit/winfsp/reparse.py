"""Following links within a volume: FspFileSystemFindReparsePoint and ...ResolveReparsePoints (src/dll/fsop.c)."""

from __future__ import annotations

import struct
from typing import Any

from tests.kit.winfsp.bindings import NULL, function
from tests.kit.winfsp.layout import types
from tests.kit.winfsp.memory import lent
from tests.kit.winfsp.names import wide
from tests.kit.winfsp.status import Status, succeeded
from tests.kit.winfsp.values import RESPONSE_ROOM
from tests.kit.winfsp.win32 import wcslen

_BY_NAME = "NTSTATUS(*)(FSP_FILE_SYSTEM *, PVOID, PWSTR, BOOLEAN, PVOID, PSIZE_T)"
_SYMLINK = struct.Struct("<IHHHHHHI")  # tag, length, -, substitute offset, length, print offset, length, flags
TAG_SYMLINK, TAG_MOUNT_POINT = 0xA000000C, 0xA0000003
RELATIVE = 1
_LINKS_MOST = 32


def _units(pointer: Any) -> str:
    """A NUL-terminated string with one character for each UTF-16 unit: surrogates stay apart."""
    raw = bytes(types.buffer(pointer, 2 * wcslen(pointer)))
    return "".join(map(chr, struct.unpack(f"<{len(raw) // 2}H", raw)))


@function(f"BOOLEAN(*)(FSP_FILE_SYSTEM *, {_BY_NAME}, PVOID, PWSTR, PUINT32)")
def FspFileSystemFindReparsePoint(file_system: Any, by_name: Any, context: Any, name: Any, index: Any) -> int:
    """Is there a reparse point among the folders on the way to `name`?"""
    path = _units(name)
    start = end = 0
    while True:
        start = next((at for at in range(end, len(path)) if path[at] != "\\"), len(path))
        end = path.find("\\", start)
        if end < 0 or ":" in path[start:end]:
            return 0
        status = by_name(file_system, context, wide(path[:end]), 1, NULL, NULL)
        if status == Status.NOT_A_REPARSE_POINT:
            continue
        if not succeeded(status):
            return 0
        if index != NULL:
            index[0] = start
        return 1


@function(
    f"NTSTATUS(*)(FSP_FILE_SYSTEM *, {_BY_NAME}, PVOID, PWSTR, UINT32, BOOLEAN, PIO_STATUS_BLOCK, PVOID, PSIZE_T)"
)
def FspFileSystemResolveReparsePoints(
    file_system: Any,
    by_name: Any,
    context: Any,
    name: Any,
    index: int,
    last: int,
    block: Any,
    buffer: Any,
    size: Any,
) -> int:
    """Follow the links in `name` from `index` on, as far as that goes within the volume."""
    path, at, resolve_last, tag = _units(name), index, bool(last), 0
    links = _LINKS_MOST
    flags = RELATIVE
    if _SYMLINK.size + 2 * (len(path) + 1) > size[0]:
        return Status.REPARSE_POINT_NOT_RESOLVED
    while True:
        start = next((place for place in range(at, len(path)) if path[place] != "\\"), len(path))
        at = next((place for place in range(start, len(path)) if path[place] in "\\:"), len(path))
        is_folder = path[at : at + 1] == "\\"
        if not is_folder:
            if not resolve_last:
                break
            resolve_last = False
        component = path[start:at]
        if component in (".", ".."):
            start = path.rfind("\\", 0, start)
            if component == "..":
                start = max(path.rfind("\\", 0, len(path[:start].rstrip("\\"))), 0)
            path, at, resolve_last = path[:start] + path[at:], start, bool(last)
            continue
        room = types.new("SIZE_T *", RESPONSE_ROOM)
        place = types.new("char[]", RESPONSE_ROOM)
        with lent(place, RESPONSE_ROOM):
            status = by_name(file_system, context, wide(path[:at]), is_folder, place, room)
        if status == Status.NOT_A_REPARSE_POINT:
            continue
        if status == Status.OBJECT_NAME_NOT_FOUND and not is_folder:
            break
        if not succeeded(status):
            return status if status == Status.OBJECT_NAME_NOT_FOUND else Status.OBJECT_PATH_NOT_FOUND
        data = bytes(types.buffer(place, room[0]))
        tag = int.from_bytes(data[:4], "little")
        if tag != TAG_SYMLINK:
            if tag == TAG_MOUNT_POINT:
                data = data[:6] + (2 * (len(path) - at)).to_bytes(2, "little") + data[8:]
            return _reparsed(data, tag, block, buffer, size)
        links -= 1
        if not links:
            return Status.REPARSE_POINT_NOT_RESOLVED
        _tag, _length, _reserved, offset, length, _print, _print_length, link_flags = _SYMLINK.unpack_from(data)
        raw = data[_SYMLINK.size + offset : _SYMLINK.size + offset + length]
        target = "".join(map(chr, struct.unpack(f"<{len(raw) // 2}H", raw)))
        start = 0 if target.startswith("\\") else start
        path, at, resolve_last = path[:start] + target + path[at:], start, bool(last)
        if target.startswith("\\") and not link_flags & RELATIVE:
            flags = 0
            break
    encoded = path.encode("utf-16-le", "surrogatepass")
    data = _SYMLINK.pack(TAG_SYMLINK, 12 + len(encoded), 0, 0, len(encoded), 0, len(encoded), flags) + encoded
    return _reparsed(data, tag, block, buffer, size)


def _reparsed(data: bytes, tag: int, block: Any, buffer: Any, size: Any) -> int:
    if len(data) > size[0]:
        return Status.REPARSE_POINT_NOT_RESOLVED if tag == TAG_SYMLINK else Status.IO_REPARSE_DATA_INVALID
    types.memmove(buffer, data, len(data))
    size[0] = len(data)
    block._content[0], block._content[1] = Status.REPARSE, tag
    return Status.REPARSE
