"""The calls for rpdrive's own files on Windows.

Files in the user's profile inherit permissions that keep other users out, so none are set or checked here."""

from __future__ import annotations

import errno
import os
import signal
import stat
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from catalog.systems.base import Folder, PathLike, require_known

_O_BINARY = 0x8000  # <fcntl.h>

_BLOCK = 1 << 20  # bytes
_READ_ATTRIBUTES, _SHARE_ALL, _OPEN_EXISTING, _BACKUP_SEMANTICS = 0x80, 0x7, 3, 0x0200_0000  # <winnt.h>
_QUERY_LIMITED_INFORMATION, _STILL_ACTIVE = 0x1000, 259  # <winnt.h>, <minwinbase.h>
_BASIC_INFO = struct.Struct("<4qI4x")  # FILE_BASIC_INFO: four times, the last one ChangeTime, and attributes
_EPOCH = 116_444_736_000_000_000  # 1970 in units of 100 ns since 1601

_seeking = threading.Lock()


class WindowsSystem:
    """Implements System on Windows."""

    read_flags = os.O_RDONLY | _O_BINARY
    no_follow = 0

    def pread(self, descriptor: int, length: int, offset: int, /) -> bytes:
        with _seeking:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.read(descriptor, length)

    def forget_pages(self, descriptor: int) -> None:
        """Do nothing: there is no such call."""

    def read_soon(self, descriptor: int, offset: int, length: int) -> None:
        """Do nothing: there is no such call."""

    def sync_folder(self, folder: Folder) -> None:
        """Do nothing: os.open opens no folders on Windows, and NTFS keeps names in a journal."""

    @contextmanager
    def below(
        self,
        top: str,
        folder: str,
        *,
        make: bool = False,
        listed: bool = False,
        known: tuple[int, int] | None = None,
    ) -> Iterator[Folder]:
        path = f"{top}/{folder}" if folder else top
        if make:
            require_known(os.stat(top), known, top)
            os.makedirs(path, exist_ok=True)
        yield Folder(None, path + "/")

    def open_file(self, path: str, *, dir_fd: int | None = None) -> int:
        descriptor = os.open(path, self.read_flags, dir_fd=dir_fd)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, "not a file", path)
        return descriptor

    def open_below(self, top: str, name: str) -> int:
        return self.open_file(f"{top}/{name}")

    def lock(self, descriptor: int) -> None:
        locking: Any = import_module("msvcrt")
        while True:
            try:
                os.lseek(descriptor, 0, os.SEEK_SET)
                locking.locking(descriptor, locking.LK_LOCK, 1)
                return
            except OSError as error:
                if error.errno != errno.EDEADLK:  # that is: tried for ten seconds
                    raise

    def try_lock(self, descriptor: int) -> bool:
        locking: Any = import_module("msvcrt")
        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            locking.locking(descriptor, locking.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
            return False
        return True

    def rename_new(
        self, old: PathLike, new: PathLike, *, dir_fd: int | None = None, to_fd: int | None = None
    ) -> None:
        target = dir_fd if to_fd is None else to_fd
        os.rename(os.fsdecode(old), os.fsdecode(new), src_dir_fd=dir_fd, dst_dir_fd=target)

    def named_at(self, path: PathLike, status: os.stat_result) -> int:
        # st_ctime is the time of creation here, which a temporary file has before it gets its name.
        return max(status.st_mtime_ns, _change_time(os.fsdecode(path)))

    def copy_range(self, source: int, offset: int, length: int, target: int) -> int:
        copied = 0
        while copied < length and (data := self.pread(source, min(length - copied, _BLOCK), offset + copied)):
            view = memoryview(data)
            while view:
                view = view[os.write(target, view) :]
            copied += len(data)
        return copied

    def is_own(self, status: os.stat_result) -> bool:
        return True

    def is_trusted(self, status: os.stat_result) -> bool:
        return stat.S_ISREG(status.st_mode)  # the folder's permissions keep other users out

    def is_trusted_folder(self, status: os.stat_result) -> bool:
        return stat.S_ISDIR(status.st_mode)

    def end_group(self, process: int, *, by_force: bool) -> None:
        """Only the process itself: others that it started go on."""
        with suppress(OSError):
            os.kill(process, signal.SIGTERM)  # TerminateProcess

    def is_private(self, status: os.stat_result) -> bool:
        return True

    def make_private(self, folder: Path, status: os.stat_result) -> None:
        """Do nothing: the folder inherits permissions that keep other users out."""

    def protect_memory(self) -> None:
        """Do nothing: Windows writes no dump of a process to disk unless an administrator asks for that."""

    def has_ended(self, pid: int) -> bool:
        """See System. Here, a signal would end the process."""
        return False

    def process_start(self, pid: int) -> str:
        """See System. A FILETIME."""
        return process_start(pid) or ""

    def boot_id(self) -> str:
        """See System. The number of the start, which Windows counts in its registry."""
        key = r"SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters"
        with suppress(ImportError, OSError):
            registry: Any = import_module("winreg")
            with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, key) as found:
                return str(registry.QueryValueEx(found, "BootId")[0])
        return ""

    def has_terminal(self) -> bool:
        return sys.stdin is not None and sys.stdin.isatty()


def process_start(pid: int) -> str | None:
    """The start time of a process as FILETIME; None if it has ended, or this user may not query it."""
    import ctypes
    from ctypes import byref, c_int32, c_uint32, c_uint64, c_void_p

    kernel: Any = getattr(ctypes, "WinDLL")("kernel32", use_last_error=True)  # noqa: B009 - only on Windows
    kernel.OpenProcess.restype = c_void_p
    process = c_void_p(kernel.OpenProcess(c_uint32(_QUERY_LIMITED_INFORMATION), c_int32(0), c_uint32(pid)))
    if not process:
        return None
    try:
        code, times = c_uint32(), [c_uint64() for _ in range(4)]
        if not kernel.GetExitCodeProcess(process, byref(code)) or code.value != _STILL_ACTIVE:
            return None
        return str(times[0].value) if kernel.GetProcessTimes(process, *map(byref, times)) else None
    finally:
        kernel.CloseHandle(process)


def _change_time(path: str) -> int:
    """When the file or what is noted of it was last changed, in ns since the epoch; 0 where nobody notes it."""
    import ctypes

    kernel: Any = getattr(ctypes, "WinDLL")("kernel32", use_last_error=True)  # noqa: B009 - only on Windows
    kernel.CreateFileW.restype = ctypes.c_void_p
    handle = kernel.CreateFileW(path, _READ_ATTRIBUTES, _SHARE_ALL, None, _OPEN_EXISTING, _BACKUP_SEMANTICS, None)
    if handle is None or handle == ctypes.c_void_p(-1).value:
        raise getattr(ctypes, "WinError")(getattr(ctypes, "get_last_error")())  # noqa: B009
    try:
        info = ctypes.create_string_buffer(_BASIC_INFO.size)
        if not kernel.GetFileInformationByHandleEx(ctypes.c_void_p(handle), 0, info, _BASIC_INFO.size):
            raise getattr(ctypes, "WinError")(getattr(ctypes, "get_last_error")())  # noqa: B009
    finally:
        kernel.CloseHandle(ctypes.c_void_p(handle))
    changed: int = _BASIC_INFO.unpack(info.raw)[3]
    return max(changed - _EPOCH, 0) * 100
