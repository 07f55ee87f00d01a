"""The calls for rpdrive's own files on Linux, macOS and other POSIX systems."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path

from catalog.systems.base import Folder, PathLike, require_known

_AT_FDCWD = -100
_PR_SET_DUMPABLE = 4
_RENAME_NOREPLACE = 1
_PRIVATE_FOLDER = 0o700
_PATH: int = getattr(os, "O_PATH", 0)  # Linux: opens a folder that may be passed through, but not listed
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_BLOCK = 1 << 20  # bytes
_AT_ONCE, _MOST_SOON = 128 << 10, 2 << 20  # bytes that a disk is asked for at a time, and of one range
# Errors of copy_file_range(2) where it can't be used: other file systems, or none that knows it.
_NO_COPY = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EBADF}


class PosixSystem:
    """Implements System on POSIX."""

    read_flags = os.O_RDONLY
    no_follow = os.O_NOFOLLOW
    pread = staticmethod(os.pread)

    def forget_pages(self, descriptor: int) -> None:
        if sys.platform == "linux":
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def read_soon(self, descriptor: int, offset: int, length: int) -> None:
        # Each part is a request to the disk, which serves several at a time: 0.75 ms for 1 MiB instead of 1.05 ms.
        # Long ranges come in several requests anyway, and in larger pages, which take less processor time.
        if sys.platform == "linux" and _AT_ONCE < length <= _MOST_SOON:
            end = offset + length
            with suppress(OSError):
                for at in range(offset, end, _AT_ONCE):
                    os.posix_fadvise(descriptor, at, min(_AT_ONCE, end - at), os.POSIX_FADV_WILLNEED)

    def sync_folder(self, folder: Folder) -> None:
        _sync(folder.prefix or ".", folder.descriptor)

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
        parts = folder.split("/") if folder else []
        how = os.O_RDONLY | os.O_DIRECTORY | (0 if listed and not parts else _PATH)
        here = os.open(top, how)
        try:
            require_known(os.fstat(here), known, top)
            for number, part in enumerate(parts, 1):
                how = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                if not (listed and number == len(parts)):
                    how |= _PATH
                deeper = _open_folder(part, how, here, make)
                os.close(here)
                here = deeper
            yield Folder(here, "")
        finally:
            os.close(here)

    def open_file(self, path: str, *, dir_fd: int | None = None) -> int:
        try:
            descriptor = os.open(path, _FILE, dir_fd=dir_fd)
        except BlockingIOError:
            # Somebody has a lease on it, e.g. a file server: opening waits until it is given up, some seconds.
            descriptor = _open_leased(path, dir_fd)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a symlink; a socket
                raise FileNotFoundError(errno.ENOENT, "not a file", path) from error
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, "not a file", path)
        return descriptor

    def open_below(self, top: str, name: str) -> int:
        # One call where there is no symlink, as Linux tells: half the time of a step for each folder.
        descriptor = self.open_file(f"{top}/{name}")
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}") == f"{_real(top)}/{name}":
                return descriptor
        except OSError:
            pass  # no /proc
        os.close(descriptor)
        folder, _slash, file = name.rpartition("/")
        with self.below(top, folder) as place:
            return self.open_file(place.path(file), dir_fd=place.descriptor)

    def lock(self, descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def try_lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def rename_new(
        self, old: PathLike, new: PathLike, *, dir_fd: int | None = None, to_fd: int | None = None
    ) -> None:
        folder = _AT_FDCWD if dir_fd is None else dir_fd
        target = folder if to_fd is None else to_fd
        code = find_renameat2()(folder, os.fsencode(old), target, os.fsencode(new))
        if code:
            raise OSError(code, os.strerror(code), os.fspath(new))

    def named_at(self, path: PathLike, status: os.stat_result) -> int:
        # A link or rename sets the time of the inode's last change; writing sets the other.
        return max(status.st_mtime_ns, status.st_ctime_ns)

    def copy_range(self, source: int, offset: int, length: int, target: int) -> int:
        copied = _copied_by_the_kernel(source, offset, length, target)
        while copied < length:
            data = os.pread(source, min(length - copied, _BLOCK), offset + copied)
            if not data:
                break
            view = memoryview(data)
            while view:
                view = view[os.write(target, view) :]
            copied += len(data)
        return copied

    def is_own(self, status: os.stat_result) -> bool:
        return status.st_uid == os.geteuid()

    def is_trusted(self, status: os.stat_result) -> bool:
        others_write = stat.S_IMODE(status.st_mode) & 0o022
        return stat.S_ISREG(status.st_mode) and status.st_uid in (0, os.geteuid()) and not others_write

    def is_trusted_folder(self, status: os.stat_result) -> bool:
        others_write = stat.S_IMODE(status.st_mode) & 0o022
        return stat.S_ISDIR(status.st_mode) and status.st_uid in (0, os.geteuid()) and not others_write

    def end_group(self, process: int, *, by_force: bool) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL if by_force else signal.SIGTERM)

    def is_private(self, status: os.stat_result) -> bool:
        return not stat.S_IMODE(status.st_mode) & 0o077

    def make_private(self, folder: Path, status: os.stat_result) -> None:
        if stat.S_IMODE(status.st_mode) != _PRIVATE_FOLDER:
            folder.chmod(_PRIVATE_FOLDER)

    def protect_memory(self) -> None:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        if sys.platform == "linux":
            import ctypes

            # Also hides /proc/PID/environ and mem, and refuses ptrace(2), to all but root.
            with suppress(OSError, AttributeError):
                ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

    def has_ended(self, pid: int) -> bool:
        """See System."""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # it is another user's
            pass
        return False

    def process_start(self, pid: int) -> str:
        """See System. Kernel ticks since the machine's start; empty where there is no /proc."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] == b"Z" else fields[19].decode()

    def boot_id(self) -> str:
        with suppress(OSError):
            return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return ""

    def has_terminal(self) -> bool:
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        except OSError:
            return False
        return True


def _copied_by_the_kernel(source: int, offset: int, length: int, target: int) -> int:
    """How many bytes copy_file_range(2) has copied: all, or fewer if it ends early, or none if it can't be used."""
    call: Callable[[int, int, int, int], int] | None = getattr(os, "copy_file_range", None)
    copied = 0
    try:
        while call and copied < length:
            step = call(source, target, length - copied, offset + copied)
            if step == 0:
                break
            copied += step
    except OSError as error:
        if error.errno not in _NO_COPY:
            raise
    return copied


@lru_cache(16)
def _real(path: str) -> str:
    """A path without symlinks. One that has changed since only costs the quick way in `open_below`."""
    return os.path.realpath(path).rstrip("/")


def _open_folder(name: str, how: int, folder: int, make: bool) -> int:
    """Open a folder in a folder; with `make`, make it if it is missing."""
    try:
        return os.open(name, how, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", name) from error
        raise
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    _sync(".", folder)
    return _open_folder(name, how, folder, False)


def _open_leased(path: str, folder: int | None) -> int:
    """Open a regular file and wait for it. What it is, is looked at before: opening a FIFO waits without end."""
    known = os.open(path, _PATH | os.O_NOFOLLOW, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(known).st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a file", path)
        return os.open(f"/proc/self/fd/{known}", os.O_RDONLY)
    finally:
        os.close(known)


def _sync(folder: str, dir_fd: int | None) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY, dir_fd=dir_fd)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems can't, and make names durable by themselves.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


@cache
def find_renameat2() -> Callable[[int, bytes, int, bytes], int]:
    """renameat2(2) with RENAME_NOREPLACE, which Linux alone has. It returns the errno, 0 for success."""
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return lambda *_: errno.ENOSYS
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]

    def rename(old_folder: int, old: bytes, new_folder: int, new: bytes) -> int:
        done = call(old_folder, old, new_folder, new, _RENAME_NOREPLACE) == 0
        return 0 if done else ctypes.get_errno()

    return rename
