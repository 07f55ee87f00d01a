"""`ffi` and `lib` as winfspy's compiled bindings offer them, over a WinFsp that lives in this process.

Every function goes through a C function pointer of the declared type, so that arguments are converted, and refused,
as cffi does with the real library; so do the file system's operations, which are called by the pointers in its
FSP_FILE_SYSTEM_INTERFACE. After WinFsp's src/dll (fs.c, fsop.c, dirbuf.c, mount.c, security.c).

What would corrupt memory or crash on Windows is noted in `faults` instead, as far as it can be seen: a copy past
the end of a buffer that WinFsp lent, a file context used after Close, memory given back twice. Every test should
end with `faults` empty.
"""

from __future__ import annotations

import itertools
import os
import struct
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cffi

from tests.winfsp import security
from tests.winfsp.layout import ARGUMENTS, FLAGS, NUMBERS, TIMEOUT_FLAGS, TIMEOUTS, types
from tests.winfsp.status import Status, succeeded
from tests.winfsp.volume import Parameters, Volume

faults: list[str] = []
version = (2, 1)  # what FspVersion says: major, minor
drives_taken: set[str] = {"C:"}  # letters that something else has

NULL = types.NULL
_volumes: dict[int, Volume] = {}
_kept: dict[int, Any] = {}  # address -> what was allocated there and not freed yet
_lent = threading.local()


def fault(text: str) -> None:
    faults.append(text)


def volume_of(file_system: Any) -> Volume:
    return _volumes[_address(file_system)]


def volume_at(mount_point: str) -> Volume | None:
    """The volume whose mount point this is: a drive, a folder or \\\\server\\share."""
    wanted = mount_point.rstrip("\\").casefold()
    for volume in _volumes.values():
        if volume.mount_point is None:
            continue
        names = {volume.mount_point.casefold()}
        if volume.network:
            names.add("\\" + volume.parameters.prefix.casefold())
        if wanted in names:
            return volume
    return None


def forget() -> None:
    """Take down what a test left mounted; each is a fault."""
    for volume in list(_volumes.values()):
        fault(f"{volume.mount_point or 'a volume'} was not deleted")
        volume.stop()
        _unmount(volume)
    _volumes.clear()


@contextmanager
def lent(buffer: Any, size: int) -> Iterator[None]:
    """A buffer of `size` bytes is in the file system's hands: copies beyond its end are noted and not made."""
    buffers = _lent.__dict__.setdefault("buffers", [])
    buffers.append((_address(buffer), size))
    try:
        yield
    finally:
        buffers.pop()


def _address(pointer: Any) -> int:
    return int(types.cast("uintptr_t", pointer))


class Ffi:
    """winfspy's `ffi`."""

    NULL = types.NULL
    error = cffi.FFIError

    def __init__(self) -> None:
        self._handles: dict[int, weakref.ref[Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(types, name)

    def def_extern(self, name: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Fill one of the functions that WinFsp calls. What it raises is printed, and 0 (success!) returned."""

        def fill(function: Callable[..., Any]) -> Callable[..., Any]:
            target = name or function.__name__
            lib.__dict__[target] = _callback(_EXTERNS[target], function)
            return function

        return fill

    def new_handle(self, value: Any) -> Any:
        handle = types.new_handle(value)
        self._handles[_address(handle)] = weakref.ref(handle)
        return handle

    def from_handle(self, handle: Any) -> Any:
        known = self._handles.get(_address(handle))
        if known is None or known() is None:
            fault(f"a handle used that is not alive, at {_where()}")
            raise SystemError("ffi.from_handle(): dead or bogus handle")
        return types.from_handle(handle)

    def memmove(self, dest: Any, src: Any, size: int) -> None:
        if isinstance(dest, types.CData):
            address = _address(
                types.cast("void *", dest) if types.typeof(dest).kind == "pointer" else types.addressof(dest)
            )
            for start, length in getattr(_lent, "buffers", ()):
                if start <= address < start + max(length, 1) and address + size > start + length:
                    fault(
                        f"{size} bytes copied into a buffer with room for {start + length - address}, at {_where()}"
                    )
                    raise MemoryError("a copy past the end of a buffer")
        types.memmove(dest, src, size)


def _where() -> str:
    """The innermost frames outside this file, innermost last."""
    frames = [frame for frame in traceback.extract_stack() if Path(frame.filename) != Path(__file__)]
    return " <- ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-3:]))


def _callback(type_: Any, function: Callable[..., Any]) -> Any:
    def failed(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        fault(f"{function.__name__} raised {error!r}")
        traceback.print_exception(kind, error, trace, file=sys.stderr)

    return types.callback(type_, function, onerror=failed)


class Lib:
    """winfspy's `lib`: functions are added below, operations by winfspy itself through def_extern."""

    STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE = -10, -11, -12
    FSP_FILE_SYSTEM_OPERATION_GUARD_STRATEGY_FINE = 0
    FSP_FILE_SYSTEM_OPERATION_GUARD_STRATEGY_COARSE = 1
    FspCleanupDelete = 0x01
    FspCleanupSetAllocationSize = 0x02
    FspCleanupSetArchiveBit = 0x10
    FspCleanupSetLastAccessTime = 0x20
    FspCleanupSetLastWriteTime = 0x40
    FspCleanupSetChangeTime = 0x80
    WFSPY_SECURITY_DESCRIPTOR_REVISION = 1
    WFSPY_STRING_SECURITY_DESCRIPTOR_REVISION = 1
    WFSPY_OWNER_SECURITY_INFORMATION = 1
    WFSPY_GROUP_SECURITY_INFORMATION = 2
    WFSPY_DACL_SECURITY_INFORMATION = 4
    WFSPY_SACL_SECURITY_INFORMATION = 8
    WFSPY_FILE_ATTRIBUTE_INVALID_FILE_ATTRIBUTES = 0xFFFFFFFF
    WFSPY_FSP_FSCTL_DRIVER_NAME = types.new("WCHAR[]", "WinFsp")
    WFSPY_FSP_FSCTL_DISK_DEVICE_NAME = types.new("WCHAR[]", "WinFsp.Disk")
    WFSPY_FSP_FSCTL_NET_DEVICE_NAME = types.new("WCHAR[]", "WinFsp.Net")
    WFSPY_FSP_FSCTL_MUP_DEVICE_NAME = types.new("WCHAR[]", "WinFsp.Mup")
    WFSPY_FILE_DIRECTORY_FILE = 0x1
    WFSPY_FILE_WRITE_THROUGH = 0x2
    WFSPY_FILE_SEQUENTIAL_ONLY = 0x4
    WFSPY_FILE_NO_INTERMEDIATE_BUFFERING = 0x8
    WFSPY_FILE_SYNCHRONOUS_IO_ALERT = 0x10
    WFSPY_FILE_SYNCHRONOUS_IO_NONALERT = 0x20
    WFSPY_FILE_NON_DIRECTORY_FILE = 0x40
    WFSPY_FILE_CREATE_TREE_CONNECTION = 0x80
    WFSPY_FILE_COMPLETE_IF_OPLOCKED = 0x100
    WFSPY_FILE_NO_EA_KNOWLEDGE = 0x200
    WFSPY_FILE_RANDOM_ACCESS = 0x800
    WFSPY_FILE_DELETE_ON_CLOSE = 0x1000
    WFSPY_FILE_OPEN_BY_FILE_ID = 0x2000
    WFSPY_FILE_OPEN_FOR_BACKUP_INTENT = 0x4000
    WFSPY_FILE_OPEN_REQUIRING_OPLOCK = 0x10000
    WFSPY_FILE_RESERVE_OPFILTER = 0x100000
    WFSPY_FILE_OPEN_REPARSE_POINT = 0x200000


ffi = Ffi()
lib = Lib()

_INTERFACE = types.typeof("FSP_FILE_SYSTEM_INTERFACE").fields
_EXTERNS = {
    f"_trampolin_fs_{name}": field.type for name, field in _INTERFACE if not name.startswith("_")
} | {  # two that the wheel defines, though its FSP_FILE_SYSTEM_INTERFACE has no place for them
    "_trampolin_fs_Control": types.typeof(
        "NTSTATUS(*)(FSP_FILE_SYSTEM *, PVOID, UINT32, PVOID, ULONG, PVOID, ULONG, PULONG)"
    ),
    "_trampolin_fs_SetDelete": types.typeof("NTSTATUS(*)(FSP_FILE_SYSTEM *, PVOID, PWSTR, BOOLEAN)"),
}


def _function(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """One of the library's functions; `signature` as in its header, with `(*)` where its name stands."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        setattr(lib, function.__name__, _callback(types.typeof(signature), function))
        return function

    return add


# --- memory and errors of Windows ---

_last_error = threading.local()


def _allocate(size: int) -> Any:
    block = types.new("char[]", max(size, 1))
    _kept[_address(block)] = block
    return types.cast("void *", block)


def _place(raw: bytes) -> Any:
    block = _allocate(len(raw))
    types.memmove(block, raw, len(raw))
    return block


@_function("void *(*)(SIZE_T)")
def malloc(size: int) -> Any:
    return _allocate(size)


@_function("HANDLE(*)(HANDLE)")
def LocalFree(block: Any) -> Any:
    if block != NULL and _kept.pop(_address(block), None) is None:
        fault(f"LocalFree of what was not allocated, or is freed already, at {_where()}")
    return NULL


@_function("DWORD(*)(void)")
def GetLastError() -> int:
    return getattr(_last_error, "code", 0)


@_function("HANDLE(*)(DWORD)")
def GetStdHandle(_number: int) -> Any:
    return NULL


@_function("SIZE_T(*)(const WCHAR *)")
def wcslen(text: Any) -> int:
    return next(length for length in itertools.count() if text[length] == "\0")


# --- security descriptors ---


def descriptor_bytes(pointer: Any) -> bytes:
    """The self-relative descriptor at `pointer`. Raises ValueError if there is none."""
    header = bytes(types.buffer(pointer, 20))
    end = 20
    for offset in (int.from_bytes(header[at : at + 4], "little") for at in (4, 8)):
        if offset:
            sid = bytes(types.buffer(pointer, offset + 8))[offset:]
            end = max(end, offset + 8 + 4 * sid[1])
    for offset in (int.from_bytes(header[at : at + 4], "little") for at in (12, 16)):
        if offset:
            acl = bytes(types.buffer(pointer, offset + 8))[offset:]
            end = max(end, offset + int.from_bytes(acl[2:4], "little"))
    return bytes(types.buffer(pointer, end))


@_function("BOOL(*)(LPCWSTR, DWORD, PSECURITY_DESCRIPTOR *, PULONG)")
def ConvertStringSecurityDescriptorToSecurityDescriptorW(text: Any, revision: int, result: Any, size: Any) -> int:
    try:
        raw = security.from_sddl(types.string(text))
    except (ValueError, KeyError):
        _last_error.code = 1336  # ERROR_INVALID_ACL
        return 0
    if revision != 1:
        _last_error.code = 1305  # ERROR_UNKNOWN_REVISION
        return 0
    result[0] = types.cast("SECURITY_DESCRIPTOR *", _place(raw))
    if size != NULL:
        size[0] = len(raw)
    return 1


@_function("BOOL(*)(PSECURITY_DESCRIPTOR, DWORD, UINT32, PWSTR *, PULONG)")
def ConvertSecurityDescriptorToStringSecurityDescriptorW(
    descriptor: Any, _revision: int, which: int, result: Any, length: Any
) -> int:
    try:
        text = security.to_sddl(descriptor_bytes(descriptor), which)
    except ValueError:
        _last_error.code = 1338  # ERROR_INVALID_SECURITY_DESCR
        return 0
    result[0] = types.cast("PWSTR", _place((text + "\0").encode("utf-16-le")))
    if length != NULL:
        length[0] = len(text) + 1
    return 1


@_function("DWORD(*)(PSECURITY_DESCRIPTOR)")
def GetSecurityDescriptorLength(descriptor: Any) -> int:
    return len(descriptor_bytes(descriptor))


@_function("BOOL(*)(PSECURITY_DESCRIPTOR)")
def IsValidSecurityDescriptor(descriptor: Any) -> int:
    try:
        security.parse(descriptor_bytes(descriptor))
    except ValueError:
        return 0
    return 1


@_function("NTSTATUS(*)(PSECURITY_DESCRIPTOR, SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSECURITY_DESCRIPTOR *)")
def FspSetSecurityDescriptor(old: Any, which: Any, modification: Any, result: Any) -> int:
    result[0] = NULL
    if old == NULL:
        return Status.NO_SECURITY_ON_OBJECT
    raw = security.changed(descriptor_bytes(old), which._value, descriptor_bytes(modification))
    result[0] = types.cast("SECURITY_DESCRIPTOR *", _place(raw))
    return Status.SUCCESS


# --- file systems ---


_TYPES = dict.fromkeys(ARGUMENTS[:3], "UINT16") | {"volume_creation_time": "UINT64"}
_TYPES |= {"prefix": "WCHAR *", "file_system_name": "WCHAR *"}


@_function(f"void(*)(FSP_FSCTL_VOLUME_PARAMS *, {', '.join(_TYPES.get(name, 'UINT32') for name in ARGUMENTS)})")
def configure_FSP_FSCTL_VOLUME_PARAMS(volume_params: Any, *arguments: Any) -> None:
    """As winfspy's C helper does it, with its slip: it takes the two texts' room for half of what it is."""
    values = dict(zip(ARGUMENTS, arguments, strict=True))
    volume_params.Version = types.sizeof("FSP_FSCTL_VOLUME_PARAMS")
    for name, field in (NUMBERS | TIMEOUTS).items():
        setattr(volume_params, field, values[name])
    volume_params._Flags = sum(bit for name, bit in FLAGS.items() if values[name])
    volume_params._TimeoutFlags = sum(bit for name, bit in TIMEOUT_FLAGS.items() if values[name])
    for name, field, room in (("prefix", "Prefix", 192), ("file_system_name", "FileSystemName", 16)):
        fits = types.string(values[name]).encode("utf-16-le")[: room - 2]
        setattr(volume_params, field, fits.decode("utf-16-le", "ignore"))


@_function("NTSTATUS(*)(PUINT32)")
def FspVersion(result: Any) -> int:
    result[0] = version[0] << 16 | version[1]
    return Status.SUCCESS


@_function("NTSTATUS(*)(PWSTR, PWSTR)")
def FspFileSystemPreflight(device: Any, mount_point: Any) -> int:
    if types.string(device) not in ("WinFsp.Disk", "WinFsp.Net"):
        return Status.NO_SUCH_DEVICE
    if mount_point == NULL:
        return Status.SUCCESS
    wanted = types.string(mount_point)
    taken = wanted.upper() in _drives() if _is_drive(wanted) else Path(wanted).exists()
    return Status.OBJECT_NAME_COLLISION if taken else Status.SUCCESS


@_function(
    "NTSTATUS(*)(PWSTR, const FSP_FSCTL_VOLUME_PARAMS *, const FSP_FILE_SYSTEM_INTERFACE *, FSP_FILE_SYSTEM **)"
)
def FspFileSystemCreate(device: Any, volume_params: Any, interface: Any, result: Any) -> int:
    result[0] = NULL
    parameters = Parameters(volume_params)
    if parameters.um_file_context_is_user_context2 and parameters.um_file_context_is_full_context:
        return Status.INVALID_PARAMETER
    network = types.string(device) == "WinFsp.Net"
    if not network and types.string(device) != "WinFsp.Disk":
        return Status.NO_SUCH_DEVICE
    prefix = parameters.prefix
    if network and not (prefix.startswith("\\") and prefix[1:2] not in ("", "\\") and "\\" in prefix[1:]):
        return Status.INVALID_PARAMETER
    raw = types.new("FSP_FILE_SYSTEM *")
    raw.Interface = interface
    raw.VolumeName = "\\Device\\Volume{00000000-0000-0000-0000-000000000000}"
    raw.UmFileContextIsUserContext2 = parameters.um_file_context_is_user_context2
    raw.UmFileContextIsFullContext = parameters.um_file_context_is_full_context
    _kept[_address(raw)] = raw
    _volumes[_address(raw)] = Volume(raw, parameters, interface, network)
    result[0] = raw
    return Status.SUCCESS


@_function("void(*)(FSP_FILE_SYSTEM *)")
def FspFileSystemDelete(file_system: Any) -> None:
    volume = _volumes.pop(_address(file_system), None)
    if volume is None:
        fault(f"FspFileSystemDelete of a file system that is gone, at {_where()}")
        return
    if volume.running:
        fault(f"FspFileSystemDelete while its dispatcher runs, at {_where()}")
    _unmount(volume)
    _kept.pop(_address(file_system))


def _is_drive(mount_point: str) -> bool:
    return len(mount_point) == 2 and mount_point[0].isalpha() and mount_point[1] == ":"


def _drives() -> set[str]:
    mounted = (volume.mount_point for volume in _volumes.values())
    return drives_taken | {point for point in mounted if point and _is_drive(point)}


@_function("NTSTATUS(*)(FSP_FILE_SYSTEM *, PWSTR)")
def FspFileSystemSetMountPoint(file_system: Any, mount_point: Any) -> int:
    return _set_mount_point(file_system, mount_point)


@_function("NTSTATUS(*)(FSP_FILE_SYSTEM *, PWSTR, PSECURITY_DESCRIPTOR)")
def FspFileSystemSetMountPointEx(file_system: Any, mount_point: Any, _descriptor: Any) -> int:
    return _set_mount_point(file_system, mount_point)


def _set_mount_point(file_system: Any, mount_point: Any) -> int:
    """A letter, `*:` for the next free one from Z down, or a folder, which must not exist: it is made, and goes.

    WinFsp sets a letter that is taken before what had it; here that is refused, as FspFileSystemPreflight would.
    """
    volume = volume_of(file_system)
    if volume.mount_point is not None:
        return Status.INVALID_PARAMETER
    wanted = "*:" if mount_point == NULL else types.string(mount_point)
    if wanted == "*:":
        free = [f"{chr(letter)}:" for letter in range(ord("Z"), ord("C"), -1) if f"{chr(letter)}:" not in _drives()]
        if not free:
            return Status.NO_SUCH_DEVICE
        wanted = free[0]
    elif _is_drive(wanted):
        if wanted.upper() in _drives():
            return Status.OBJECT_NAME_COLLISION
        wanted = wanted.upper()
    else:
        if volume.network:
            return Status.NETWORK_ACCESS_DENIED
        try:
            Path(wanted).mkdir()
        except FileExistsError:
            return Status.OBJECT_NAME_COLLISION
        except FileNotFoundError:
            return Status.OBJECT_PATH_NOT_FOUND
    volume.mount_point = wanted
    text = types.new("WCHAR[]", wanted)
    _kept[_address(file_system)] = (_kept[_address(file_system)], text)
    file_system.MountPoint = text
    return Status.SUCCESS


@_function("void(*)(FSP_FILE_SYSTEM *)")
def FspFileSystemRemoveMountPoint(file_system: Any) -> None:
    _unmount(volume_of(file_system))


def _unmount(volume: Volume) -> None:
    if volume.mount_point is not None and not _is_drive(volume.mount_point):
        Path(volume.mount_point).rmdir()
    volume.mount_point = None
    volume.raw.MountPoint = NULL


@_function("NTSTATUS(*)(FSP_FILE_SYSTEM *, ULONG)")
def FspFileSystemStartDispatcher(file_system: Any, threads: int) -> int:
    return volume_of(file_system).start(threads)


@_function("void(*)(FSP_FILE_SYSTEM *)")
def FspFileSystemStopDispatcher(file_system: Any) -> None:
    volume_of(file_system).stop()


@_function("void(*)(FSP_FILE_SYSTEM *, UINT32)")
def FspFileSystemSetDebugLogF(file_system: Any, mask: int) -> None:
    file_system.DebugLog = mask


@_function("void(*)(HANDLE)")
def FspDebugLogSetHandle(_handle: Any) -> None:
    pass


@_function("void(*)(FSP_FILE_SYSTEM *, FSP_FILE_SYSTEM_OPERATION_GUARD_STRATEGY)")
def FspFileSystemSetOperationGuardStrategyF(file_system: Any, strategy: int) -> None:
    file_system.OpGuardStrategy = strategy


@_function("PWSTR(*)(FSP_FILE_SYSTEM *)")
def FspFileSystemMountPointF(file_system: Any) -> Any:
    return file_system.MountPoint


# --- listings ---


def _add(info: Any, buffer: Any, length: int, transferred: Any) -> int:
    """Append an entry, aligned to 8 bytes, or the end mark if `info` is NULL; 0 if it does not fit."""
    if info == NULL:
        source, size, room = b"\0\0", 2, 2
    else:
        size = types.cast("UINT16 *", info)[0]
        source, room = types.buffer(info, size), -(-size // 8) * 8
    if transferred[0] + room > length:
        return 0
    types.memmove(types.cast("char *", buffer) + transferred[0], source, size)
    transferred[0] += room
    return 1


@_function("BOOLEAN(*)(FSP_FSCTL_DIR_INFO *, PVOID, ULONG, PULONG)")
def FspFileSystemAddDirInfo(info: Any, buffer: Any, length: int, transferred: Any) -> int:
    if info != NULL and info.Size < types.sizeof("FSP_FSCTL_DIR_INFO"):
        fault(f"a directory entry of {info.Size} bytes, at {_where()}")
    return _add(info, buffer, length, transferred)


@_function("BOOLEAN(*)(FSP_FSCTL_STREAM_INFO *, PVOID, ULONG, PULONG)")
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


@_function("BOOLEAN(*)(PVOID *, BOOLEAN, PNTSTATUS)")
def FspFileSystemAcquireDirectoryBuffer(place: Any, reset: int, result: Any) -> int:
    if result != NULL:
        result[0] = Status.SUCCESS
    with _directory_buffers_lock:
        new = place[0] == NULL
        if new:
            place[0] = _allocate(8)
            _directory_buffers[_address(place[0])] = _DirectoryBuffer()
        buffer = _directory_buffers[_address(place[0])]
    if not new and not reset:
        return 0
    buffer.lock.acquire()
    buffer.entries.clear()
    return 1


@_function("BOOLEAN(*)(PVOID *, FSP_FSCTL_DIR_INFO *, PNTSTATUS)")
def FspFileSystemFillDirectoryBuffer(place: Any, info: Any, result: Any) -> int:
    if info == NULL:
        if result != NULL:
            result[0] = Status.INVALID_PARAMETER
        return 0
    raw = bytes(types.buffer(info, info.Size))
    name = raw[types.sizeof("FSP_FSCTL_DIR_INFO") :].decode("utf-16-le", "surrogatepass")
    _directory_buffers[_address(place[0])].entries.append((name, raw))
    return 1


@_function("void(*)(PVOID *)")
def FspFileSystemReleaseDirectoryBuffer(place: Any) -> None:
    buffer = _directory_buffers[_address(place[0])]
    buffer.entries.sort(key=lambda entry: _order(entry[0]))
    buffer.lock.release()


@_function("void(*)(PVOID *, PWSTR, PVOID, ULONG, PULONG)")
def FspFileSystemReadDirectoryBuffer(place: Any, marker: Any, buffer: Any, length: int, transferred: Any) -> None:
    if place[0] != NULL:
        directory = _directory_buffers[_address(place[0])]
        after = None if marker == NULL else _order(types.string(marker))
        with directory.lock:
            for name, raw in directory.entries:
                if after is not None and _order(name) <= after:
                    continue
                entry = types.from_buffer(raw)
                if not _add(types.cast("FSP_FSCTL_DIR_INFO *", entry), buffer, length, transferred):
                    return
    _add(NULL, buffer, length, transferred)


@_function("void(*)(PVOID *)")
def FspFileSystemDeleteDirectoryBuffer(place: Any) -> None:
    if place[0] != NULL:
        _directory_buffers.pop(_address(place[0]))
        _kept.pop(_address(place[0]))
        place[0] = NULL


# --- reparse points ---

_BY_NAME = "NTSTATUS(*)(FSP_FILE_SYSTEM *, PVOID, PWSTR, BOOLEAN, PVOID, PSIZE_T)"
RESPONSE_ROOM = 16 * 1024 - 128  # bytes of data in an answer to the kernel
_SYMLINK = struct.Struct("<IHHHHHHI")  # tag, length, -, substitute offset, length, print offset, length, flags
TAG_SYMLINK, TAG_MOUNT_POINT = 0xA000000C, 0xA0000003
RELATIVE = 1
_LINKS_MOST = 32


def _units(pointer: Any) -> str:
    """A NUL-terminated string with one character for each UTF-16 unit: surrogates stay apart."""
    raw = bytes(types.buffer(pointer, 2 * wcslen(pointer)))
    return "".join(map(chr, struct.unpack(f"<{len(raw) // 2}H", raw)))


def _wide(text: str) -> Any:
    raw = text.encode("utf-16-le", "surrogatepass")
    buffer = types.new("WCHAR[]", len(raw) // 2 + 1)
    types.memmove(buffer, raw, len(raw))
    return buffer


@_function(f"BOOLEAN(*)(FSP_FILE_SYSTEM *, {_BY_NAME}, PVOID, PWSTR, PUINT32)")
def FspFileSystemFindReparsePoint(file_system: Any, by_name: Any, context: Any, name: Any, index: Any) -> int:
    """Is there a reparse point among the folders on the way to `name`?"""
    path = _units(name)
    start = end = 0
    while True:
        start = next((at for at in range(end, len(path)) if path[at] != "\\"), len(path))
        end = path.find("\\", start)
        if end < 0 or ":" in path[start:end]:
            return 0
        status = by_name(file_system, context, _wide(path[:end]), 1, NULL, NULL)
        if status == Status.NOT_A_REPARSE_POINT:
            continue
        if not succeeded(status):
            return 0
        if index != NULL:
            index[0] = start
        return 1


@_function(
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
            status = by_name(file_system, context, _wide(path[:at]), is_folder, place, room)
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


def stat(path: str | os.PathLike[str]) -> os.stat_result:
    """os.stat of a mount point, as winfspy does it after the start: it opens the volume's root."""
    from tests.winfsp.caller import Caller
    from tests.winfsp.status import NtError

    volume = volume_at(os.fspath(path))
    if volume is None:
        return os.stat(path)
    try:
        Caller(volume).open("\\", access=security.FILE_READ_ATTRIBUTES).close()
    except NtError as error:
        raise WindowsError(22 if error.status == Status.CANCELLED else 5, str(error), error.status) from error
    return os.stat("/")


class WindowsError(OSError):
    """OSError as it is on Windows."""

    def __init__(self, errno: int, text: str, status: int) -> None:
        super().__init__(errno, text)
        self.winerror = {Status.CANCELLED: 995, Status.ACCESS_DENIED: 5, Status.OBJECT_NAME_NOT_FOUND: 2}.get(
            Status(status), 1117
        )
