"""Restoring on Windows: file system calls by handle, with the privileges of backup programs."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from catalog.format.blocks import Buffer
from catalog.format.windows import Windows, name_bytes
from catalog.windows import api as w
from catalog.windows import files
from catalog.windows.reparse import MOUNT_POINT, is_link, tag_of
from catalog.windows.times import from_filetime, to_filetime
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.base import ConvertWindows, Ground, PathOf, ReportProblem, Values
from mount.restore.disk.flags import DIRECTORY, NOFOLLOW
from mount.restore.disk.windows_handles import WindowsHandles, rooted
from mount.restore.disk.windows_metadata import NEW_FILE, WindowsMetadata, make_link

_UNFINISHED = files.READONLY | files.NOT_INDEXED  # of a folder: a combination that no folder has by itself


class WindowsStatus(NamedTuple):
    """The fields of os.stat_result that a restore reads (implements Status)."""

    st_mode: int
    st_size: int
    st_mtime_ns: int
    st_ino: int
    st_dev: int
    st_nlink: int = 1
    st_uid: int = 0
    st_gid: int = 0
    st_rdev: int = 0


class WindowsDisk:
    """The file system of Windows (implements Disk)."""

    def __init__(self, api: w.Api | None = None) -> None:
        self._handles = WindowsHandles(api)

    @property
    def _api(self) -> w.Api:
        return self._handles.api

    # --- descriptors ------------------------------------------------------------------------------------------

    def open(self, name: bytes, flags: int, mode: int = 0, /, *, dir_fd: int | None = None) -> int:
        path = self._handles.path(name, dir_fd)
        if flags & os.O_CREAT:
            return self._handles.add(path, self._api.open(path, NEW_FILE, w.OPEN_REPARSE_POINT, new=True))
        st = self._look(path)
        if flags & DIRECTORY:
            if not stat.S_ISDIR(st.st_mode) and (flags & NOFOLLOW or not stat.S_ISLNK(st.st_mode)):
                raise OSError(errno.ENOTDIR, "not a folder")
            return self._handles.add(path, None)
        if not stat.S_ISREG(st.st_mode):
            raise OSError(errno.ELOOP, "not a regular file")
        access = NEW_FILE if flags & (os.O_RDWR | os.O_WRONLY) else w.READ_DATA | w.READ_ATTRIBUTES
        return self._handles.add(path, self._api.open(path, access, w.OPEN_REPARSE_POINT))

    def close(self, fd: int, /) -> None:
        self._handles.close(fd)

    def lock(self, fd: int, /) -> None:
        self._api.lock(self._handles.handle_of(fd))

    # --- what exists ----------------------------------------------------------------------------------------

    def _look(self, path: str) -> WindowsStatus:
        if not path:  # the parent of all drives
            return WindowsStatus(stat.S_IFDIR | 0o755, 0, 0, 0, 0)
        with self._api.opened(rooted(path), w.READ_ATTRIBUTES) as handle:
            return self._status(handle)

    def _status(self, handle: int) -> WindowsStatus:
        s = files.look(self._api, handle)
        if s.tag and is_link(s.tag):
            mode = stat.S_IFLNK | 0o777
        elif s.attributes & files.DIRECTORY:
            unfinished = s.attributes & _UNFINISHED == _UNFINISHED
            mode = stat.S_IFDIR | (0o1700 if unfinished else 0o755)
        else:
            mode = stat.S_IFREG | 0o644
        return WindowsStatus(mode, s.size, from_filetime(s.written), s.file_id, s.serial)

    def fstat(self, fd: int, /) -> WindowsStatus:
        if self._handles.is_folder(fd):
            return self._look(self._handles.path_of(fd))
        return self._status(self._handles.handle_of(fd))

    def lstat(self, name: bytes, /, *, dir_fd: int | None = None) -> WindowsStatus:
        return self._look(self._handles.path(name, dir_fd))

    def readlink(self, name: bytes, /, *, dir_fd: int | None = None) -> bytes:
        with self._api.opened(self._handles.path(name, dir_fd), w.READ_ATTRIBUTES) as handle:
            return self._api.control(handle, w.GET_REPARSE_POINT, b"", 16 << 10)[0]

    def names(self, fd: int, /) -> list[bytes]:
        with self._api.opened(rooted(self._handles.path_of(fd)), w.READ_DATA | w.READ_ATTRIBUTES) as handle:
            return [name_bytes(found.name) for found in files.listed(self._api, handle)]

    def let_owner_in(self, fd: int, /) -> None:
        pass

    def set_time(self, fd: int, mtime: int, /) -> None:
        with self._api.opened(rooted(self._handles.path_of(fd)), w.WRITE_ATTRIBUTES) as handle:
            basic = files.Basic(0, 0, to_filetime(mtime), 0, 0)
            self._api.set_information(handle, w.BASIC_INFO, files.basic_bytes(basic))

    def is_read_only(self, fd: int, /) -> bool:
        return False  # its errors say so: none is EROFS

    def mount_points(self) -> set[bytes]:
        return set()  # a mounted folder is a reparse point

    def ground(self, path: bytes, /) -> Ground:
        native = os.path.abspath(path.decode("utf-8", "surrogatepass"))
        there = native
        while not os.path.exists(there) and os.path.dirname(there) != there:
            there = os.path.dirname(there)
        root = f"{os.path.splitdrive(there)[0][:2]}\\"
        found, (free, _size) = self._api.volume(root), self._api.room(root)
        return Ground(
            exists=os.path.isdir(native),
            mounted_at=os.fsencode(root),
            file_system=found.file_system,
            uuid=f"{found.serial >> 16:04X}-{found.serial & 0xFFFF:04X}",
            free=free,
            runs_system=root[:2].upper() == os.environ.get("SYSTEMDRIVE", "C:").upper(),
        )

    def renumbers(self, device: int, /) -> bool:
        return False

    def has_default_acl(self, fd: int, /) -> bool:
        return False

    def geteuid(self) -> int:
        return 0  # the st_uid of every WindowsStatus

    getegid = geteuid

    def makedev(self, major: int, minor: int, /) -> int:
        return major << 32 | minor

    # --- contents ---------------------------------------------------------------------------------------------

    def pread(self, fd: int, length: int, position: int, /) -> bytes:
        buffer = bytearray(length)
        view, got, handle = memoryview(buffer), 0, self._handles.handle_of(fd)
        while got < length:
            count = self._api.read(handle, view[got:], position + got)
            if not count:
                break
            got += count
        return bytes(view[:got])

    def pwrite(self, fd: int, data: Buffer, position: int, /) -> int:
        self._api.write(self._handles.handle_of(fd), memoryview(data), position)
        return len(data)

    def ftruncate(self, fd: int, size: int, /) -> None:
        handle = self._handles.handle_of(fd)
        with suppress(OSError):  # a file system without holes
            self._api.control(handle, w.SET_SPARSE, b"", 0)
        self._api.set_information(handle, w.END_OF_FILE_INFO, size.to_bytes(8, "little"))

    def next_data(self, fd: int, position: int, /) -> int:
        """Holes are not looked up: everything counts as data."""
        if position >= self.fstat(fd).st_size:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        return position

    def fsync(self, fd: int, /) -> None:
        self._api.flush(self._handles.handle_of(fd))

    def sync(self) -> None:
        """Do nothing: Windows has no call that flushes a whole disk."""

    def drop_cache(self, fd: int, /) -> None:
        """Do nothing: Windows has no call that drops the cache of a file."""

    # --- names ------------------------------------------------------------------------------------------------

    def mkdir(self, name: bytes, mode: int, /, *, dir_fd: int | None = None) -> None:
        path = self._handles.path(name, dir_fd)
        self._api.make_folder(path)
        if mode & stat.S_ISVTX:  # mount/restore/target.py: UNFINISHED
            with suppress(OSError):
                self._set_attributes(path, files.DIRECTORY | _UNFINISHED)

    def makedirs(self, path: bytes, /) -> None:
        whole = self._handles.path(path, None)
        try:
            if not stat.S_ISDIR(self._look(whole).st_mode):
                raise FileExistsError(errno.EEXIST, "not a folder")
        except FileNotFoundError:
            above = whole.rpartition("\\")[0]
            if len(above) > len("\\\\?\\"):
                self.makedirs(above.encode("utf-8", "surrogatepass"))
            self._api.make_folder(whole)

    def _set_attributes(self, path: str, attributes: int) -> None:
        with self._api.opened(path, w.WRITE_ATTRIBUTES) as handle:
            self._api.set_information(handle, w.BASIC_INFO, files.basic_bytes(files.Basic(0, 0, 0, 0, attributes)))

    def _writable(self, path: str, work: Callable[[], None]) -> None:
        """Do something that a read-only file at a path refuses: clear the attribute if needed."""
        try:
            work()
        except PermissionError:
            self._set_attributes(path, files.NORMAL)
            work()

    def rmdir(self, name: bytes, /, *, dir_fd: int | None = None) -> None:
        path = self._handles.path(name, dir_fd)
        self._writable(path, lambda: self._api.remove_folder(path))

    def unlink(self, name: bytes, /, *, dir_fd: int | None = None) -> None:
        path = self._handles.path(name, dir_fd)
        self._handles.forget_exchange(path)
        self._writable(path, lambda: self._api.remove(path))

    def rename(
        self, name: bytes, new: bytes, /, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        path, to = self._handles.path(name, src_dir_fd), self._handles.path(new, dst_dir_fd)
        path = self._handles.exchanged(path)
        self._writable(to, lambda: self._api.move(path, to, replace=True))

    def rename_new(self, folder: int, name: bytes, new: bytes, /) -> None:
        to = self._handles.path(new, folder)
        if self._exists(to):  # before an exchange, which is expensive
            raise FileExistsError(errno.EEXIST, "there is a file of that name")
        self._api.move(self._handles.exchanged(self._handles.path(name, folder)), to)

    def _exists(self, path: str) -> bool:
        try:
            self._look(path)
        except FileNotFoundError:
            return False
        return True

    def open_unnamed(self, _folder: int, _mode: int, /) -> int:
        raise OSError(errno.EOPNOTSUPP, "files of Windows have names")

    def give_name(self, _fd: int, _folder: int, _name: bytes, /) -> None:
        raise OSError(errno.EOPNOTSUPP, "files of Windows have names")

    def link(self, name: bytes, new: bytes, /, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        self._api.link(self._handles.path(name, src_dir_fd), self._handles.path(new, dst_dir_fd))

    def symlink(self, target: bytes, name: bytes, /, *, dir_fd: int | None = None) -> None:
        """Make a link; `target` is a reparse point, as `readlink` returns it.

        If it must be a link to a folder, WindowsMetadata makes it one later.
        """
        make_link(self._api, self._handles.path(name, dir_fd), target, folder=tag_of(target) == MOUNT_POINT)

    def mknod(self, name: bytes, mode: int, device: int, /, *, dir_fd: int | None = None) -> None:
        raise OSError(errno.EINVAL, "Windows has no such kind of file")

    # --- metadata ---------------------------------------------------------------------------------------------

    def metadata(
        self, values: Values, problem: ReportProblem, *, permissions: bool, owners_by_name: bool
    ) -> WindowsMetadata:
        """`owners_by_name` has no effect: owners are part of security descriptors."""
        return WindowsMetadata(self._handles, values, problem, permissions=permissions)

    def windows_converter(
        self, values: Values, problem: ReportProblem, *, permissions: bool, fetch: bool
    ) -> ConvertWindows:
        return _keep_all


def _keep_all(a: Attributes, windows: Windows, _path: PathOf) -> Attributes:
    return a._replace(windows=windows, incomplete=False)
