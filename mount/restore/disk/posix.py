"""Restoring on POSIX: the functions of `os`, and what Linux adds to them."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

from catalog.filesystems import file_system_of
from catalog.mountinfo import mount_of, mounts
from catalog.systems.posix import find_renameat2
from mount.restore.disk.base import ConvertWindows, Ground, ReportProblem, Values
from mount.restore.disk.flags import CLOEXEC
from mount.restore.disk.posix_metadata import PosixMetadata
from mount.restore.disk.windows_xattrs import WindowsXattrs

STATUS = Path("/proc/self/status")  # of this process; Linux alone has it
# Linux numbers their files as it meets them. Owners mean nothing there: all files belong to who has mounted them.
_RENUMBERING = {"vfat", "msdos", "exfat", "fuse", "fuseblk"}
_NO_NOREPLACE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}
_renameat2 = find_renameat2()  # looked up once: every restored file is renamed


class PosixDisk:
    """The file system of POSIX (implements Disk). Hot calls are the functions of `os` themselves, with no layer."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    fstat = staticmethod(os.fstat)
    lstat = staticmethod(os.lstat)
    readlink = staticmethod(os.readlink)
    geteuid = staticmethod(os.geteuid)
    getegid = staticmethod(os.getegid)
    makedev = staticmethod(os.makedev)
    pread = staticmethod(os.pread)
    pwrite = staticmethod(os.pwrite)
    ftruncate = staticmethod(os.ftruncate)
    fsync = staticmethod(os.fsync)
    sync = staticmethod(os.sync)
    mkdir = staticmethod(os.mkdir)
    unlink = staticmethod(os.unlink)
    rmdir = staticmethod(os.rmdir)
    rename = staticmethod(os.rename)
    symlink = staticmethod(os.symlink)
    mknod = staticmethod(os.mknod)

    @staticmethod
    def lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @staticmethod
    def let_owner_in(fd: int) -> None:
        if os.geteuid() and os.path.isdir("/proc/self/fd"):  # it may be open as a path only
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(os.fstat(fd).st_mode) | 0o700)

    @staticmethod
    def set_time(fd: int, mtime: int) -> None:
        os.utime(fd, ns=(os.fstat(fd).st_atime_ns, mtime))

    @staticmethod
    def is_read_only(fd: int) -> bool:
        return bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY)

    @staticmethod
    def mount_points() -> set[bytes]:
        try:
            return {mount.place for mount in mounts()}
        except OSError:  # not Linux
            return set()

    @staticmethod
    def ground(path: bytes) -> Ground:
        there = os.path.realpath(path)
        while not os.path.exists(there):
            there = os.path.dirname(there)
        st, fs = os.stat(there), os.statvfs(there)
        mount = mount_of(there)
        found = None if mount is None else file_system_of(mount)
        return Ground(
            exists=os.path.isdir(path),
            mounted_at=b"" if mount is None else mount.place,
            device=st.st_dev,
            file_system="" if found is None else found.file_system,
            uuid="" if found is None else found.uuid,
            read_only=bool(fs.f_flag & os.ST_RDONLY),
            free=(fs.f_bavail if os.geteuid() else fs.f_bfree) * fs.f_frsize,
            free_files=fs.f_favail if fs.f_files else None,
            block=fs.f_frsize,
            name_max=fs.f_namemax,
            runs_system=st.st_dev in _devices("/", "/usr", sys.executable, __file__),
        )

    @staticmethod
    def renumbers(device: int) -> bool:
        number = f"{os.major(device)}:{os.minor(device)}"
        try:
            kinds = {mount.file_system.partition(".")[0] for mount in mounts() if mount.device == number}
        except OSError:  # not Linux
            return False
        return not kinds.isdisjoint(_RENUMBERING)

    @staticmethod
    def names(fd: int) -> list[bytes]:
        return [os.fsencode(name) for name in os.listdir(fd)]

    @staticmethod
    def has_default_acl(fd: int) -> bool:
        if not hasattr(os, "getxattr"):
            return False
        try:
            return bool(os.getxattr(fd, "system.posix_acl_default"))
        except OSError as e:
            return e.errno not in (errno.ENODATA, errno.ENOTSUP)

    @staticmethod
    def next_data(fd: int, position: int) -> int:
        return os.lseek(fd, position, os.SEEK_DATA)

    @staticmethod
    def drop_cache(fd: int) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    @staticmethod
    def makedirs(path: bytes) -> None:
        os.makedirs(path, exist_ok=True)

    @staticmethod
    def rename_new(folder: int, name: bytes, new: bytes) -> None:
        code = _renameat2(folder, name, folder, new)
        if code in _NO_NOREPLACE:
            _rename_by_link(folder, name, new)
        elif code:
            raise OSError(code, os.strerror(code))

    @staticmethod
    def open_unnamed(folder: int, mode: int) -> int:
        if not hasattr(os, "O_TMPFILE"):  # Linux alone has it
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return os.open(b".", os.O_RDWR | os.O_TMPFILE | CLOEXEC, mode, dir_fd=folder)

    @staticmethod
    def give_name(fd: int, folder: int, name: bytes) -> None:
        os.link(b"/proc/self/fd/%d" % fd, name, dst_dir_fd=folder, follow_symlinks=True)

    @staticmethod
    def link(name: bytes, new: bytes, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        os.link(name, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=False)

    @staticmethod
    def metadata(
        values: Values, problem: ReportProblem, *, permissions: bool, owners_by_name: bool
    ) -> PosixMetadata:
        return PosixMetadata(
            values, problem, permissions=permissions, owners_by_name=owners_by_name, umask=current_umask()
        )

    @staticmethod
    def windows_converter(
        values: Values, problem: ReportProblem, *, permissions: bool, fetch: bool
    ) -> ConvertWindows:
        return WindowsXattrs(values, problem, permissions=permissions, fetch=fetch).convert


def _devices(*paths: str) -> set[int]:
    found = set()
    for path in paths:
        with suppress(OSError):
            found.add(os.stat(path).st_dev)
    return found


def current_umask() -> int:
    """This process's umask.

    Linux shows it in /proc. Elsewhere it can only be read by setting it, so files that other threads create at that
    instant are accessible to their owner only.
    """
    try:
        for line in STATUS.read_text(errors="replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    except (OSError, ValueError, IndexError):
        pass
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _rename_by_link(folder: int, name: bytes, new: bytes) -> None:
    """As `rename_new`, for systems and file systems without renameat2(RENAME_NOREPLACE)."""
    try:
        os.link(name, new, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as e:
        if e.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without hard links either: an empty file reserves the name and is then replaced.
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | CLOEXEC, 0o600, dir_fd=folder))
        os.rename(name, new, src_dir_fd=folder, dst_dir_fd=folder)
        return
    os.unlink(name, dir_fd=folder)
