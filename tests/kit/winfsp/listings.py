"""Adding entries to listings, and WinFsp's directory buffers (src/dll/dirbuf.c)."""

from __future__ import annotations

import threading
from typing import Any

from tests.kit.winfsp.bindings import NULL, function
from tests.kit.winfsp.layout import types
from tests.kit.winfsp.memory import address, allocate, check_copy, fault, kept, where
from tests.kit.winfsp.status import Status


def _add(info: Any, buffer: Any, length: int, transferred: Any) -> int:
    """Append an entry, aligned to 8 bytes, or the end mark if `info` is NULL; 0 if it does not fit."""
    if info == NULL:
        source, size, room = b"\0\0", 2, 2
    else:
        size = types.cast("UINT16 *", info)[0]
        source, room = types.buffer(info, size), -(-size // 8) * 8
    if transferred[0] + room > length:
        return 0
    to = types.cast("char *", buffer) + transferred[0]
    check_copy(to, size)
    types.memmove(to, source, size)
    transferred[0] += room
    return 1


@function("BOOLEAN(*)(FSP_FSCTL_DIR_INFO *, PVOID, ULONG, PULONG)")
def FspFileSystemAddDirInfo(info: Any, buffer: Any, length: int, transferred: Any) -> int:
    if info != NULL and info.Size < types.sizeof("FSP_FSCTL_DIR_INFO"):
        fault(f"a directory entry of {info.Size} bytes, at {where()}")
    return _add(info, buffer, length, transferred)


@function("BOOLEAN(*)(FSP_FSCTL_STREAM_INFO *, PVOID, ULONG, PULONG)")
def FspFileSystemAddStreamInfo(info: Any, buffer: Any, length: int, transferred: Any) -> int:
    return _add(info, buffer, length, transferred)


class _DirectoryBuffer:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: list[tuple[str, bytes]] = []


_directory_buffers: dict[int, _DirectoryBuffer] = {}
_directory_buffers_lock = threading.Lock()


def _order(name: str) -> tuple[int, bytes]:
    """`.` and `..` first, then by UTF-16 unit."""
    return (0 if name == "." else 1 if name == ".." else 2), name.encode("utf-16-be", "surrogatepass")


@function("BOOLEAN(*)(PVOID *, BOOLEAN, PNTSTATUS)")
def FspFileSystemAcquireDirectoryBuffer(place: Any, reset: int, result: Any) -> int:
    if result != NULL:
        result[0] = Status.SUCCESS
    with _directory_buffers_lock:
        new = place[0] == NULL
        if new:
            place[0] = allocate(8)
            _directory_buffers[address(place[0])] = _DirectoryBuffer()
        buffer = _directory_buffers[address(place[0])]
    if not new and not reset:
        return 0
    buffer.lock.acquire()
    buffer.entries.clear()
    return 1


@function("BOOLEAN(*)(PVOID *, FSP_FSCTL_DIR_INFO *, PNTSTATUS)")
def FspFileSystemFillDirectoryBuffer(place: Any, info: Any, result: Any) -> int:
    if info == NULL:
        if result != NULL:
            result[0] = Status.INVALID_PARAMETER
        return 0
    raw = bytes(types.buffer(info, info.Size))
    name = raw[types.sizeof("FSP_FSCTL_DIR_INFO") :].decode("utf-16-le", "surrogatepass")
    _directory_buffers[address(place[0])].entries.append((name, raw))
    return 1


@function("void(*)(PVOID *)")
def FspFileSystemReleaseDirectoryBuffer(place: Any) -> None:
    buffer = _directory_buffers[address(place[0])]
    buffer.entries.sort(key=lambda entry: _order(entry[0]))
    buffer.lock.release()


@function("void(*)(PVOID *, PWSTR, PVOID, ULONG, PULONG)")
def FspFileSystemReadDirectoryBuffer(place: Any, marker: Any, buffer: Any, length: int, transferred: Any) -> None:
    if place[0] != NULL:
        directory = _directory_buffers[address(place[0])]
        after = None if marker == NULL else _order(types.string(marker))
        with directory.lock:
            for name, raw in directory.entries:
                if after is not None and _order(name) <= after:
                    continue
                entry = types.from_buffer(raw)
                if not _add(types.cast("FSP_FSCTL_DIR_INFO *", entry), buffer, length, transferred):
                    return
    _add(NULL, buffer, length, transferred)


@function("void(*)(PVOID *)")
def FspFileSystemDeleteDirectoryBuffer(place: Any) -> None:
    if place[0] != NULL:
        _directory_buffers.pop(address(place[0]))
        kept.pop(address(place[0]))
        place[0] = NULL
