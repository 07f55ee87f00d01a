"""The Windows calls that backup and restore need, and no others: paths and handles in, bytes out.

Structures are returned as documented (files.py parses them); no policy is here. Paths are str, long ones as
`\\\\?\\C:\\…`, and may contain lone surrogates. Errors are Failed, an OSError whose `strerror` is fit for users.
The function that loads the libraries is an argument, so that tests can replace Windows.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int32, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any, NamedTuple

# dwDesiredAccess
READ_DATA, WRITE_DATA = 0x1, 0x2
READ_EA, WRITE_EA = 0x8, 0x10
READ_ATTRIBUTES, WRITE_ATTRIBUTES = 0x80, 0x100
DELETE, READ_CONTROL, WRITE_DAC, WRITE_OWNER, SYNCHRONIZE = 0x10000, 0x20000, 0x40000, 0x80000, 0x100000
ACCESS_SYSTEM_SECURITY = 0x1000000

CREATE_NEW, OPEN_EXISTING = 1, 3
BACKUP_SEMANTICS, OPEN_REPARSE_POINT = 0x02000000, 0x00200000
_SHARE_ALL = 7  # reading, writing, deleting: a backup must not block other programs

# FILE_INFO_BY_HANDLE_CLASS
BASIC_INFO, DISPOSITION_INFO, END_OF_FILE_INFO, STREAM_INFO, TAG_INFO = 0, 4, 6, 7, 9
DIRECTORY_INFO, DIRECTORY_RESTART_INFO = 10, 11

QUERY_ALLOCATED_RANGES, SET_SPARSE, SET_COMPRESSION = 0x940CF, 0x900C4, 0x9C040
GET_REPARSE_POINT, SET_REPARSE_POINT = 0x900A8, 0x900A4

# SECURITY_INFORMATION
OWNER, GROUP, DACL, SACL, LABEL, ATTRIBUTE, SCOPE, BACKUP = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x40, 0x10000
PROTECTED_DACL, PROTECTED_SACL = 0x80000000, 0x40000000
UNPROTECTED_DACL, UNPROTECTED_SACL = 0x20000000, 0x10000000

BACKUP_PRIVILEGE, RESTORE_PRIVILEGE, SECURITY_PRIVILEGE, SYMLINK_PRIVILEGE = (
    "SeBackupPrivilege",
    "SeRestorePrivilege",
    "SeSecurityPrivilege",
    "SeCreateSymbolicLinkPrivilege",
)
MOVE_REPLACE = 1
FIXED_DRIVES = (2, 3)  # DRIVE_REMOVABLE, DRIVE_FIXED

_FILE_NOT_FOUND, _PATH_NOT_FOUND, _ACCESS_DENIED = 2, 3, 5
_NO_MORE_FILES, _HANDLE_EOF, _INSUFFICIENT_BUFFER, _MORE_DATA = 18, 38, 122, 234
_NOT_ALL_ASSIGNED = 1300
UNSUPPORTED = frozenset((1, 50, 87, 120, 124))  # ERROR_INVALID_FUNCTION … INVALID_LEVEL: the file system lacks it
NOT_A_REPARSE_POINT = 4390
_ABSENT = frozenset((_FILE_NOT_FOUND, _PATH_NOT_FOUND))
_DENIED = frozenset((_ACCESS_DENIED, 19, 1314, 1307))
_THERE = frozenset((80, 183))
_FULL = frozenset((39, 112))
_TEXTS = {
    _FILE_NOT_FOUND: "there is no such file",
    _PATH_NOT_FOUND: "there is no such folder",
    _ACCESS_DENIED: "access is denied",
    19: "the disk is write-protected",
    32: "another program has it open and does not share it",
    33: "another program has locked a part of it",
    39: "the disk is full",
    80: "there is a file of that name",
    112: "the disk is full",
    145: "the folder is not empty",
    183: "there is a file of that name",
    362: "its cloud service is not running",
    1307: "setting this owner needs an administrator's rights",
    1314: "this needs an administrator's rights",
    6002: "it is encrypted, and this user lacks its key",
}
_STATUS_NO_EAS = frozenset((0xC000004F, 0xC0000051, 0xC0000052, 0x80000012, 0xC00000BB, 0xC0000010))
_STATUS_OVERFLOW = frozenset((0x80000005, 0xC0000023))
_EAS_MAX = 64 << 10
_READ_MAX = 1 << 24  # bytes per call


class Failed(OSError):
    """A failed call. `code` is from GetLastError, or an NTSTATUS."""

    code = 0


class NotThere(Failed, FileNotFoundError):
    pass


class Denied(Failed, PermissionError):
    pass


class There(Failed, FileExistsError):
    pass


def failure(code: int) -> Failed:
    """The error for a code."""
    kind, number = Failed, errno.EIO
    if code in _ABSENT:
        kind, number = NotThere, errno.ENOENT
    elif code in _DENIED:
        kind, number = Denied, errno.EACCES
    elif code in _THERE:
        kind, number = There, errno.EEXIST
    elif code in _FULL:
        number = errno.ENOSPC
    elif code in UNSUPPORTED:
        number = errno.EINVAL
    text = _TEXTS.get(code)
    if text is None:
        said = vars(ctypes).get("FormatError")
        text = f"{said(code).strip()} ({code})" if said is not None else f"error {code} of Windows"
    error = kind(number, text)
    error.code = code
    return error


class VolumeFacts(NamedTuple):
    """Of GetVolumeInformation."""

    label: str
    serial: int
    file_system: str
    flags: int


class _Overlapped(ctypes.Structure):
    """OVERLAPPED, used only for the position of a read or write."""

    _fields_ = (
        ("internal", c_size_t),
        ("internal_high", c_size_t),
        ("offset", c_uint32),
        ("offset_high", c_uint32),
        ("event", c_void_p),
    )


class _LuidAndAttributes(ctypes.Structure):
    """TOKEN_PRIVILEGES with one entry."""

    _pack_ = 4
    _fields_ = (("count", c_uint32), ("luid", c_uint64), ("attributes", c_uint32))


_BOOL, _HANDLE, _TEXT, _DWORD, _DWORDS = c_int32, c_void_p, c_char_p, c_uint32, POINTER(c_uint32)
PROTOTYPES: dict[str, dict[str, tuple[Any, ...]]] = {  # result first
    "kernel32": {
        "CreateFileW": (_HANDLE, _TEXT, _DWORD, _DWORD, c_void_p, _DWORD, _DWORD, _HANDLE),
        "CloseHandle": (_BOOL, _HANDLE),
        "GetFileInformationByHandle": (_BOOL, _HANDLE, c_void_p),
        "GetFileInformationByHandleEx": (_BOOL, _HANDLE, c_int32, c_void_p, _DWORD),
        "SetFileInformationByHandle": (_BOOL, _HANDLE, c_int32, c_void_p, _DWORD),
        "DeviceIoControl": (_BOOL, _HANDLE, _DWORD, c_void_p, _DWORD, c_void_p, _DWORD, _DWORDS, c_void_p),
        "ReadFile": (_BOOL, _HANDLE, c_void_p, _DWORD, _DWORDS, c_void_p),
        "WriteFile": (_BOOL, _HANDLE, c_void_p, _DWORD, _DWORDS, c_void_p),
        "FlushFileBuffers": (_BOOL, _HANDLE),
        "LockFile": (_BOOL, _HANDLE, _DWORD, _DWORD, _DWORD, _DWORD),
        "CreateDirectoryW": (_BOOL, _TEXT, c_void_p),
        "CreateHardLinkW": (_BOOL, _TEXT, _TEXT, c_void_p),
        "MoveFileExW": (_BOOL, _TEXT, _TEXT, _DWORD),
        "DeleteFileW": (_BOOL, _TEXT),
        "RemoveDirectoryW": (_BOOL, _TEXT),
        "GetLogicalDrives": (_DWORD,),
        "GetDriveTypeW": (_DWORD, _TEXT),
        "GetVolumeInformationW": (
            _BOOL, _TEXT, c_void_p, _DWORD, _DWORDS, _DWORDS, _DWORDS, c_void_p, _DWORD,
        ),
        "GetVolumeNameForVolumeMountPointW": (_BOOL, _TEXT, c_void_p, _DWORD),
        "GetDiskFreeSpaceExW": (_BOOL, _TEXT, POINTER(c_uint64), POINTER(c_uint64), POINTER(c_uint64)),
        "GetCurrentProcess": (_HANDLE,),
    },
    "advapi32": {
        "OpenProcessToken": (_BOOL, _HANDLE, _DWORD, POINTER(_HANDLE)),
        "LookupPrivilegeValueW": (_BOOL, _TEXT, _TEXT, POINTER(c_uint64)),
        "AdjustTokenPrivileges": (_BOOL, _HANDLE, _BOOL, c_void_p, _DWORD, c_void_p, c_void_p),
        "GetKernelObjectSecurity": (_BOOL, _HANDLE, _DWORD, c_void_p, _DWORD, _DWORDS),
        "SetKernelObjectSecurity": (_BOOL, _HANDLE, _DWORD, c_void_p),
        "LookupAccountSidW": (_BOOL, _TEXT, c_void_p, c_void_p, _DWORDS, c_void_p, _DWORDS, _DWORDS),
        "OpenEncryptedFileRawW": (_DWORD, _TEXT, _DWORD, POINTER(c_void_p)),
        "ReadEncryptedFileRaw": (_DWORD, c_void_p, c_void_p, c_void_p),
        "WriteEncryptedFileRaw": (_DWORD, c_void_p, c_void_p, c_void_p),
        "CloseEncryptedFileRaw": (None, c_void_p),
        "EncryptFileW": (_BOOL, _TEXT),
    },
    "ntdll": {
        "NtQueryEaFile": (
            _DWORD, _HANDLE, c_void_p, c_void_p, _DWORD, c_uint8, c_void_p, _DWORD, c_void_p, c_uint8,
        ),
        "NtSetEaFile": (_DWORD, _HANDLE, c_void_p, c_void_p, _DWORD),
    },
}  # fmt: skip
_INVALID = c_void_p(-1).value


def wide(text: str) -> bytes:
    """Text for Windows: UTF-16 with a terminating zero."""
    return text.encode("utf-16-le", "surrogatepass") + b"\0\0"


def narrow(data: bytes) -> str:
    """Text from Windows, up to the terminating zero."""
    return data.decode("utf-16-le", "surrogatepass").split("\0", 1)[0]


def _load(name: str) -> Any:
    return vars(ctypes)["WinDLL"](name, use_last_error=True)


class Api:
    """The Windows calls. `load` returns a library by its name; `last_error` replaces GetLastError."""

    def __init__(self, load: Callable[[str], Any] = _load, last_error: Callable[[], int] | None = None) -> None:
        self._last_error = last_error or vars(ctypes)["get_last_error"]
        self._callback = vars(ctypes).get("WINFUNCTYPE", ctypes.CFUNCTYPE)
        self._calls: dict[str, Any] = {}
        for library, functions in PROTOTYPES.items():
            loaded = load(library)
            for name, (result, *arguments) in functions.items():
                function = getattr(loaded, name)
                function.restype, function.argtypes = result, arguments
                self._calls[name] = function

    def _fails(self) -> Failed:
        return failure(self._last_error())

    def _do(self, name: str, *arguments: Any) -> None:
        if not self._calls[name](*arguments):
            raise self._fails()

    # --- handles ----------------------------------------------------------------------------------------------

    def open(self, path: str, access: int, flags: int = 0, *, new: bool = False) -> int:
        """Open a file or folder, or create a `new` file. Returns a handle. Links are not followed."""
        handle = self._calls["CreateFileW"](
            wide(path), access | SYNCHRONIZE, _SHARE_ALL, None, CREATE_NEW if new else OPEN_EXISTING,
            BACKUP_SEMANTICS | flags, None,
        )  # fmt: skip
        if handle == _INVALID or handle is None:
            raise self._fails()
        return int(handle)

    def close(self, handle: int) -> None:
        self._calls["CloseHandle"](handle)

    @contextmanager
    def opened(self, path: str, access: int, flags: int = OPEN_REPARSE_POINT) -> Iterator[int]:
        """A context manager: `open`, then close."""
        handle = self.open(path, access, flags)
        try:
            yield handle
        finally:
            self.close(handle)

    def identity(self, handle: int) -> bytes:
        """The file's BY_HANDLE_FILE_INFORMATION."""
        buffer = ctypes.create_string_buffer(52)
        self._do("GetFileInformationByHandle", handle, buffer)
        return buffer.raw

    def information(self, handle: int, kind: int, size: int) -> bytes:
        """The data of a FILE_INFO_BY_HANDLE_CLASS, up to `size` bytes; empty at the end of a list."""
        while True:
            buffer = ctypes.create_string_buffer(size)
            if self._calls["GetFileInformationByHandleEx"](handle, kind, buffer, size):
                return buffer.raw
            code = self._last_error()
            if code in (_NO_MORE_FILES, _HANDLE_EOF):
                return b""
            if code not in (_MORE_DATA, _INSUFFICIENT_BUFFER) or size > 1 << 24:
                raise failure(code)
            size *= 4

    def set_information(self, handle: int, kind: int, data: bytes) -> None:
        self._do("SetFileInformationByHandle", handle, kind, data, len(data))

    def control(self, handle: int, code: int, data: bytes, size: int) -> tuple[bytes, bool]:
        """DeviceIoControl: its output, up to `size` bytes, and whether there is more."""
        buffer, got = ctypes.create_string_buffer(max(size, 1)), c_uint32()
        done = self._calls["DeviceIoControl"](
            handle, code, data or None, len(data), buffer if size else None, size, byref(got), None
        )
        if not done and (error := self._last_error()) != _MORE_DATA:
            raise failure(error)
        return buffer.raw[: got.value], not done

    # --- contents ---------------------------------------------------------------------------------------------

    def read(self, handle: int, buffer: memoryview, position: int) -> int:
        """Read into a buffer. Returns the number of bytes read, 0 at the end."""
        length, got = min(len(buffer), _READ_MAX), c_uint32()
        at = _Overlapped(offset=position & 0xFFFFFFFF, offset_high=position >> 32)
        place = (ctypes.c_char * length).from_buffer(buffer)
        if not self._calls["ReadFile"](handle, place, length, byref(got), byref(at)):
            code = self._last_error()
            if code == _HANDLE_EOF:
                return 0
            raise failure(code)
        return got.value

    def write(self, handle: int, data: memoryview, position: int) -> None:
        """Write all of the data."""
        while data:
            part, got = bytes(data[:_READ_MAX]), c_uint32()
            at = _Overlapped(offset=position & 0xFFFFFFFF, offset_high=position >> 32)
            self._do("WriteFile", handle, part, len(part), byref(got), byref(at))
            if not got.value:
                raise failure(112)
            data, position = data[got.value :], position + got.value

    def flush(self, handle: int) -> None:
        self._do("FlushFileBuffers", handle)

    def lock(self, handle: int) -> None:
        """Lock a file, by a byte beyond any file's end. Raises Failed if another handle has the lock."""
        self._do("LockFile", handle, 0, 0x7FFFFFFF, 1, 0)

    # --- metadata ---------------------------------------------------------------------------------------------

    def security(self, handle: int, parts: int) -> bytes:
        """The security descriptor, self-relative. `parts` is a SECURITY_INFORMATION."""
        size = 1024
        while True:
            buffer, needed = ctypes.create_string_buffer(size), c_uint32()
            if self._calls["GetKernelObjectSecurity"](handle, parts, buffer, size, byref(needed)):
                return buffer.raw[: needed.value or size]
            if self._last_error() != _INSUFFICIENT_BUFFER or needed.value <= size:
                raise self._fails()
            size = needed.value

    def set_security(self, handle: int, parts: int, descriptor: bytes) -> None:
        self._do("SetKernelObjectSecurity", handle, parts, descriptor)

    def extended(self, handle: int) -> bytes:
        """Extended attributes: a list of FILE_FULL_EA_INFORMATION; empty if there are none."""
        status, size = ctypes.create_string_buffer(16), 4096
        while True:
            buffer = ctypes.create_string_buffer(size)
            code = self._calls["NtQueryEaFile"](handle, status, buffer, size, 0, None, 0, None, 1)
            if code == 0:
                return buffer.raw[: int.from_bytes(status.raw[8:16], "little")]
            if code in _STATUS_NO_EAS:
                return b""
            if code not in _STATUS_OVERFLOW or size >= 2 * _EAS_MAX:
                raise failure(code)
            size = 2 * _EAS_MAX

    def set_extended(self, handle: int, data: bytes) -> None:
        code = self._calls["NtSetEaFile"](handle, ctypes.create_string_buffer(16), data, len(data))
        if code:
            raise failure(code)

    def export_encrypted(self, path: str, write: Callable[[bytes], object]) -> None:
        """Export an encrypted file in its raw form, piece by piece. Also raises what `write` raises."""
        failed: list[BaseException] = []

        def take(data: int, _context: Any, length: int) -> int:
            try:
                write(ctypes.string_at(data, length))
            except BaseException as e:  # noqa: BLE001 - it may not pass through Windows; raised below
                failed.append(e)
                return 1
            return 0

        function = self._callback(c_uint32, c_void_p, c_void_p, c_uint32)(take)
        self._raw(path, 0, lambda context: self._calls["ReadEncryptedFileRaw"](function, None, context), failed)

    def import_encrypted(self, path: str, read: Callable[[int], bytes], *, folder: bool) -> None:
        """Create an encrypted file from a raw export. `read(n)` returns up to n bytes, none at the end."""
        failed: list[BaseException] = []

        def give(place: int, _context: Any, length: Any) -> int:
            try:
                data = read(length[0])
                ctypes.memmove(place, data, len(data))
                length[0] = len(data)
            except BaseException as e:  # noqa: BLE001 - it may not pass through Windows; raised below
                failed.append(e)
                return 1
            return 0

        function = self._callback(c_uint32, c_void_p, c_void_p, _DWORDS)(give)
        write = self._calls["WriteEncryptedFileRaw"]
        self._raw(path, 1 | 2 * folder, lambda context: write(function, None, context), failed)

    def encrypt(self, path: str) -> None:
        """Encrypt a file, or mark a folder so that new files in it are encrypted."""
        self._do("EncryptFileW", wide(path))

    def _raw(self, path: str, flags: int, work: Callable[[Any], int], failed: list[BaseException]) -> None:
        context = c_void_p()
        code = self._calls["OpenEncryptedFileRawW"](wide(path), flags, byref(context))
        if code:
            raise failure(code)
        try:
            code = work(context)
        finally:
            self._calls["CloseEncryptedFileRaw"](context)
        if failed:
            raise failed[0]
        if code:
            raise failure(code)

    # --- names --------------------------------------------------------------------------------------------------

    def make_folder(self, path: str) -> None:
        self._do("CreateDirectoryW", wide(path), None)

    def link(self, path: str, new: str) -> None:
        """Create a hard link."""
        self._do("CreateHardLinkW", wide(new), wide(path), None)

    def move(self, path: str, new: str, *, replace: bool = False) -> None:
        """Rename. Raises There if `new` exists, unless `replace`."""
        self._do("MoveFileExW", wide(path), wide(new), MOVE_REPLACE if replace else 0)

    def remove(self, path: str) -> None:
        self._do("DeleteFileW", wide(path))

    def remove_folder(self, path: str) -> None:
        self._do("RemoveDirectoryW", wide(path))

    # --- the machine --------------------------------------------------------------------------------------------

    def drives(self) -> list[str]:
        """Letters of fixed and removable disks, from `A`."""
        mask = self._calls["GetLogicalDrives"]()
        letters = [chr(65 + n) for n in range(26) if mask >> n & 1]
        return [d for d in letters if self._calls["GetDriveTypeW"](wide(f"{d}:\\")) in FIXED_DRIVES]

    def drive_type(self, root: str) -> int:
        """DRIVE_FIXED and the like of a root such as `C:\\`."""
        return int(self._calls["GetDriveTypeW"](wide(root)))

    def file_system(self, root: str) -> tuple[str, int]:
        """The name (`NTFS`) and the flags (FILE_NAMED_STREAMS …) of a volume's file system."""
        found = self.volume(root)
        return found.file_system, found.flags

    def volume(self, root: str) -> VolumeFacts:
        """What Windows knows of the volume of a root such as `C:\\`. Raises Failed, e.g. if there is no disk."""
        name, label = ctypes.create_string_buffer(512), ctypes.create_string_buffer(512)
        serial, flags = c_uint32(), c_uint32()
        self._do("GetVolumeInformationW", wide(root), label, 256, byref(serial), None, byref(flags), name, 256)
        return VolumeFacts(narrow(label.raw), serial.value, narrow(name.raw), flags.value)

    def volume_name(self, root: str) -> str:
        """`\\\\?\\Volume{…}\\`: the name of a volume, whatever its letter. Raises Failed."""
        name = ctypes.create_string_buffer(200)
        self._do("GetVolumeNameForVolumeMountPointW", wide(root), name, 100)
        return narrow(name.raw)

    def room(self, root: str) -> tuple[int, int]:
        """The bytes that this user may still write to a volume, and its size. Raises Failed."""
        free, size = c_uint64(), c_uint64()
        self._do("GetDiskFreeSpaceExW", wide(root), byref(free), byref(size), None)
        return free.value, size.value

    def take_privileges(self, names: Sequence[str]) -> set[str]:
        """Enable privileges of this process. Returns the ones that this user has, which are enabled now."""
        token, taken = c_void_p(), set()
        process = self._calls["GetCurrentProcess"]()
        self._do("OpenProcessToken", process, 0x28, byref(token))
        try:
            for name in names:
                luid = c_uint64()
                self._do("LookupPrivilegeValueW", None, wide(name), byref(luid))
                wanted = _LuidAndAttributes(1, luid.value, 2)
                self._do("AdjustTokenPrivileges", token, 0, byref(wanted), ctypes.sizeof(wanted), None, None)
                if self._last_error() != _NOT_ALL_ASSIGNED:
                    taken.add(name)
        finally:
            self.close(token.value or 0)
        return taken

    def account(self, sid: bytes) -> str:
        """`DOMAIN\\name` of a SID. Raises Failed if it has no name."""
        name, domain = ctypes.create_string_buffer(1024), ctypes.create_string_buffer(1024)
        lengths = c_uint32(512), c_uint32(512), c_uint32()
        self._do(
            "LookupAccountSidW", None, sid, name, byref(lengths[0]), domain, byref(lengths[1]), byref(lengths[2])
        )
        where, who = narrow(domain.raw), narrow(name.raw)
        return f"{where}\\{who}" if where else who
