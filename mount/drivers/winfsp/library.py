"""Loads winfspy, explains why it can't be loaded, and adds what its bindings lack."""

from __future__ import annotations

import struct
from typing import Any

from catalog.errors import MountFailed
from mount.drivers.winfsp import ntstatus

LINK = "https://winfsp.dev/rel/"
OLDEST = (1, 12)  # version of WinFsp; earlier ones have crashed machines
try:
    import winfspy
    from winfspy import BaseFileContext, BaseFileSystemOperations, FileSystem, NTStatusError, WinFSPyError
    from winfspy.operations import configure_file_info
    from winfspy.plumbing import cook_ntstatus, ffi, lib
except ImportError as e:
    raise MountFailed(
        f"winfspy can't be loaded: {e}",
        "on Windows, install rpdrive with Python 3.11: winfspy does not support later versions",
    ) from e
except RuntimeError as e:
    raise MountFailed(f"WinFsp is not on this machine: {e}", f"install it, 1.12 or later: {LINK}") from e

__all__ = [
    "BaseFileContext", "BaseFileSystemOperations", "FileSystem", "NTStatusError", "WinFSPyError",
    "configure_file_info", "ffi", "lib", "winfspy",
]  # fmt: skip
READ, QUERY_DIRECTORY = 5, 14  # FspFsctlTransact…Kind
DIR_INFO = struct.Struct("<H6xIIQQQQQQQII24x")  # FSP_FSCTL_DIR_INFO without the name; 104 bytes
STREAM_INFO = struct.Struct("<H6xQQ")  # FSP_FSCTL_STREAM_INFO without the name; 24 bytes
_RESPONSE = struct.Struct("<HHIQII")  # how FSP_FSCTL_TRANSACT_RSP begins


def check_version() -> None:
    """Raise MountFailed if this machine's WinFsp is older than OLDEST."""
    version = ffi.new("UINT32 *")
    lib.FspVersion(version)
    found = (version[0] >> 16, version[0] & 0xFFFF)
    if found < OLDEST:
        raise MountFailed(
            f"WinFsp {found[0]}.{found[1]} is too old: versions before 1.12 have crashed machines",
            f"install a newer one: {LINK}",
        )


def why(status: int) -> str:
    """The name of an NTSTATUS, for messages."""
    try:
        return str(cook_ntstatus(status).name)
    except ValueError:
        return f"NTSTATUS 0x{status:08X}"


def dir_info(name: str, info: dict[str, int]) -> bytes:
    """A FSP_FSCTL_DIR_INFO."""
    text, get = name.encode("utf-16-le", "surrogatepass"), info.get
    return DIR_INFO.pack(
        DIR_INFO.size + len(text), get("file_attributes", 0), get("reparse_tag", 0), get("allocation_size", 0),
        get("file_size", 0), get("creation_time", 0), get("last_access_time", 0), get("last_write_time", 0),
        get("change_time", 0), get("index_number", 0), 0, 0,
    ) + text  # fmt: skip


def stream_info(name: str, size: int, allocated: int) -> bytes:
    """A FSP_FSCTL_STREAM_INFO."""
    text = name.encode("utf-16-le", "surrogatepass")
    return STREAM_INFO.pack(STREAM_INFO.size + len(text), size, allocated) + text


def fill(data: bytes, buffer: Any, size: Any) -> None:
    """Copy into a buffer of `size` bytes, and set `size` to the length. Raises NTStatusError if it is small."""
    if len(data) > size[0]:
        raise NTStatusError(ntstatus.BUFFER_TOO_SMALL)
    ffi.memmove(buffer, data, len(data))
    size[0] = len(data)


def set_name(file_info: Any, name: str) -> None:
    """Set the true name of a file opened in another case: the FILE_INFO of Open is an OPEN_FILE_INFO."""
    opened = ffi.cast("FSP_FSCTL_OPEN_FILE_INFO *", file_info)
    text = name.encode("utf-16-le", "surrogatepass")
    if opened.NormalizedName != ffi.NULL and len(text) + 2 <= opened.NormalizedNameSize:
        ffi.memmove(opened.NormalizedName, text + b"\0\0", len(text) + 2)
        opened.NormalizedNameSize = len(text)


def set_reparse(io_status: Any, tag: int) -> None:
    """Fill an IO_STATUS_BLOCK, whose fields winfspy does not define."""
    block = ffi.cast("uint64_t *", io_status)
    block[0], block[1] = ntstatus.REPARSE, tag


def hint() -> int | None:
    """The id by which a later answer names its request; None in a thread that is not the dispatcher's."""
    context = lib.FspFileSystemGetOperationContext()
    return None if context == ffi.NULL else int(ffi.cast("uint64_t *", context.Request)[1])


def respond(file_system: Any, kind: int, hint: int, status: int, length: int) -> None:
    """Answer a pending request."""
    response = ffi.new("FSP_FSCTL_TRANSACT_RSP *")
    size = ffi.sizeof("FSP_FSCTL_TRANSACT_RSP")
    ffi.buffer(response, size)[: _RESPONSE.size] = _RESPONSE.pack(0, size, kind, hint, length, status)
    lib.FspFileSystemSendResponse(file_system, response)
