"""Reading a POSIX source: the names in a folder, an entry's metadata, a file's data and holes.

Everything goes through folder descriptors, so that paths of any length work and a folder that is replaced by a
symlink during the walk can't lead elsewhere. The methods are static, and some are the functions of `os` themselves:
a walk calls them for each file, and a layer of calls would show.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import platform
import pwd
import resource
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from backup.systems.base import kept_time
from backup.systems.names import Names, sorted_names
from catalog.errors import LocalError
from catalog.filesystems import file_system_of
from catalog.format.nodes import Node
from catalog.format.records import Volume
from catalog.format.values import Owner, kind_of
from catalog.mountinfo import PSEUDO, mount_of, mounts

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_NOATIME = getattr(os, "O_NOATIME", 0)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_LEASES = 600.0  # seconds that one run waits for files under a lease: a user can take one after the other
_SPARE = 256  # open files beside the folders of a walk
_NO_XATTRS = {errno.ENOTSUP, errno.ENOSYS, errno.EPERM}
_SMALL_RANGE = 256 << 10  # bytes; so little is left to the kernel to forget
_has_xattrs = hasattr(os, "listxattr")


class PosixSystem:
    """The System of POSIX."""

    name = platform.system()
    ignores_case = name == "Darwin"
    status_has_mode = True
    opens_ahead = hasattr(os, "posix_fadvise") and hasattr(os, "RWF_NOWAIT")
    paths_are_native = True
    side_data_reader = None
    image_reader = None
    close = staticmethod(os.close)
    file_status = staticmethod(os.fstat)

    def __init__(self) -> None:
        self._owners: dict[tuple[int, int], Owner] = {}
        self._patience = _LEASES

    @staticmethod
    def raise_limits() -> int:
        """Raise the limit of open files to the hard limit: a walk holds one folder open for each level."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            with suppress(OSError, ValueError):  # macOS has a lower limit of its own
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
                soft = hard
        return 1 << 20 if soft == resource.RLIM_INFINITY else max(soft - _SPARE, soft // 2)

    @staticmethod
    def lock(file: int) -> None:
        """Lock a file until this process ends. Raises OSError if another process holds the lock."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @staticmethod
    def point_path(path: Path) -> bytes:
        """An absolute path in the form that points use."""
        return os.fsencode(path)

    @staticmethod
    def identity(path: Path) -> tuple[int, int] | None:
        """st_dev and st_ino of a path; None if there is nothing."""
        try:
            st = path.stat()
        except OSError:
            return None
        return st.st_dev, st.st_ino

    @staticmethod
    def open_top() -> int:
        """A descriptor of the root folder."""
        return PosixSystem.open_folder(b"/")

    @staticmethod
    def open_folder(name: bytes, parent: int | None = None) -> int:
        """A descriptor of a folder. With a parent, symlinks are refused."""
        flags = _FOLDER | (os.O_NOFOLLOW if parent is not None else 0)
        return _open(name, flags, parent)

    @staticmethod
    def open_passage(name: bytes, parent: int) -> int:
        """A descriptor of a folder in which only known names will be looked up: it need not be readable."""
        try:
            return PosixSystem.open_folder(name, parent)
        except PermissionError:
            if not hasattr(os, "O_PATH"):
                raise
            return os.open(name, _FOLDER | os.O_NOFOLLOW | os.O_PATH, dir_fd=parent)

    def open_file(self, name: bytes, parent: int) -> int:
        """A descriptor of a file; symlinks are refused, and no FIFO is waited for."""
        try:
            return _open(name, _FILE, parent)
        except BlockingIOError as e:
            return self._open_leased(name, parent, e)

    def _open_leased(self, name: bytes, parent: int, refusal: OSError) -> int:
        """A descriptor of a file on which a program has a lease (Samba: each file that a client has open).

        Opening it without O_NONBLOCK asks the program to give the lease back, and takes at most
        /proc/sys/fs/lease-break-time (45 s). Raises `refusal` if it can't be done.
        """
        if not hasattr(os, "O_PATH") or self._patience <= 0:
            raise refusal
        place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        began = time.monotonic()
        try:
            if not stat.S_ISREG(os.fstat(place).st_mode):  # a FIFO could be waited for for ever
                raise refusal
            return _open(b"/proc/self/fd/%d" % place, os.O_RDONLY | os.O_CLOEXEC, None)
        except FileNotFoundError:  # no /proc
            raise refusal from None
        finally:
            self._patience -= time.monotonic() - began
            os.close(place)

    def volume(self, path: Path) -> Volume:
        """The file system that is mounted at a path."""
        place = os.fsencode(path)
        mount = mount_of(place)
        if (place != mount.place) if mount is not None else not os.path.ismount(path):
            where = path if mount is None else os.fsdecode(mount.place)
            raise LocalError(
                f"{path} is not where a file system is mounted, but a folder in the one at {where}",
                f"give --volume {where} for all of it, or the folder without --volume",
            )
        if place in self.unwanted_mounts():
            raise LocalError(
                f"what is mounted at {path} has no files of its own", "give the path of a disk's volume"
            )
        if mount is not None and mount.root != b"/" and mount.file_system != "btrfs":
            raise LocalError(
                f"{path} shows only a part of its file system, {os.fsdecode(mount.root)}",
                "give the place where all of it is mounted, or the path without --volume",
            )
        try:
            fs = os.statvfs(path)
        except OSError as e:
            raise LocalError(f"{path} can't be read: {e.strerror}", "check its permissions") from e
        size, used = fs.f_blocks * fs.f_frsize, (fs.f_blocks - fs.f_bfree) * fs.f_frsize
        if mount is None:
            return Volume(place=place, size=size, used=used)
        found = file_system_of(mount)
        return Volume(
            place=place, file_system=found.file_system, uuid=found.uuid, label=found.label,
            source=mount.source.decode(errors="replace"),
            options=",".join(dict.fromkeys([*mount.options.split(","), *mount.super_options.split(",")])),
            size=size, used=used,
        )  # fmt: skip

    @staticmethod
    def unwanted_mounts() -> set[bytes]:
        """Mount points of file systems that hold no files of their own, and of rpdrive's drives."""
        try:
            return {mount.place for mount in mounts() if mount.file_system in PSEUDO}
        except OSError:
            return set()  # not Linux

    @staticmethod
    def names(folder: int) -> Names:
        """Names in a folder, sorted as bytes."""
        with os.scandir(folder) as entries:
            # os.fsencode does the same, in three times the time.
            return sorted_names(entry.name.encode(_ENCODING, _ERRORS) for entry in entries)

    @staticmethod
    def status(name: bytes, folder: int) -> os.stat_result:
        """lstat within a folder."""
        return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def owner(self, st: os.stat_result) -> Owner:
        """Owner and group with their names, each looked up once."""
        key = (st.st_uid, st.st_gid)
        owner = self._owners.get(key)
        if owner is None:
            owner = self._owners[key] = Owner(_known(key[0]), _known(key[1]), _user(key[0]), _group(key[1]))
        return owner

    def node(self, name: bytes, st: os.stat_result) -> Node:
        """An entry of this status, without content and extended attributes."""
        return Node(
            name, kind_of(st.st_mode), st.st_mode & 0o7777, self.owner(st), st.st_size, kept_time(st.st_mtime_ns),
            kept_time(st.st_ctime_ns), st.st_ino,
        )  # fmt: skip

    @staticmethod
    def readlink(name: bytes, folder: int) -> bytes:
        """The target of a symlink."""
        return os.readlink(name, dir_fd=folder)

    @staticmethod
    def xattrs(target: int | bytes, folder: int) -> dict[bytes, bytes]:
        """Extended attributes (ACLs among them) of an open file, or of a name in a folder."""
        if not _has_xattrs:
            return {}
        path: int | bytes = target if isinstance(target, int) else b"/proc/self/fd/%d/%s" % (folder, target)
        follow = isinstance(path, int)
        try:
            found = os.listxattr(path, follow_symlinks=follow)
        except OSError as e:
            if e.errno in _NO_XATTRS:
                return {}
            raise
        values: dict[bytes, bytes] = {}
        for name in found:
            try:
                values[os.fsencode(name)] = os.getxattr(path, name, follow_symlinks=follow)
            except OSError as e:
                if e.errno != errno.ENODATA:  # removed since the listing
                    raise
        return values

    @staticmethod
    def read_small(file: int, size: int, most: int) -> bytes:
        """A whole file of `size` bytes. If it has grown, reads on to its end, or to a little more than `most`."""
        data = os.pread(file, size + 1, 0)
        if len(data) == size:
            return data
        parts, length = [data], len(data)
        while data and length < most:
            data = os.pread(file, 1 << 20, length)
            parts.append(data)
            length += len(data)
        return b"".join(parts)

    @staticmethod
    def fill(file: int, buffer: memoryview, position: int) -> int:
        """Read until the buffer is full or the file ends. Returns the number of bytes read."""
        got = 0
        while got < len(buffer):
            count = os.preadv(file, [buffer[got:]], position + got)
            if not count:
                break
            got += count
        return got

    @staticmethod
    def expect(file: int, position: int, length: int) -> bool:
        """Have the kernel read a range of a file soon. Returns whether its end was not in memory.

        (Its beginning may be: the kernel reads on a little by itself.)
        """
        if not PosixSystem.opens_ahead:
            return False
        is_cold = False
        with suppress(OSError):  # a FIFO has taken its place, for example
            if length > _SMALL_RANGE:
                try:
                    os.preadv(file, [bytearray(1)], position + length - 1, os.RWF_NOWAIT)
                except BlockingIOError:
                    is_cold = True
                except OSError:
                    pass  # the file system can't say
            os.posix_fadvise(file, position, length, os.POSIX_FADV_WILLNEED)
        return is_cold

    @staticmethod
    def release(file: int, position: int, length: int) -> None:
        """Let the kernel drop a range of a file that was read for a backup only, and keep what others use."""
        with suppress(OSError):
            os.posix_fadvise(file, position, length, os.POSIX_FADV_DONTNEED)

    @staticmethod
    def data_ranges(file: int, st: os.stat_result) -> Iterator[tuple[int, int]]:
        """The ranges of a file (start, end in bytes) that are not holes, in order."""
        size = st.st_size
        if st.st_blocks * 512 >= size or not hasattr(os, "SEEK_DATA"):
            if size:
                yield 0, size
            return
        position = 0
        while position < size:
            try:
                start = os.lseek(file, position, os.SEEK_DATA)
            except OSError as e:
                if e.errno == errno.ENXIO:  # a hole until the end
                    return
                if e.errno in (errno.EINVAL, errno.ENOTSUP):
                    yield position, size
                    return
                raise
            end = min(os.lseek(file, start, os.SEEK_HOLE), size)
            if start >= size:
                return
            yield start, end
            position = end


def _open(name: bytes, flags: int, parent: int | None) -> int:
    try:
        return os.open(name, flags | _NOATIME, dir_fd=parent)
    except PermissionError:  # only the owner and root may use O_NOATIME
        return os.open(name, flags, dir_fd=parent)


def _text(name: str) -> str:
    """The name with `?` for each byte that is not UTF-8. Owner also has the exact ids."""
    return name.encode(errors="replace").decode()


def _known(one: int) -> int:
    """A uid or gid; -1 for one that no system call accepts, which odd file systems report."""
    return one if 0 <= one < 2**32 - 1 else -1


def _user(uid: int) -> str:
    try:
        return _text(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return ""


def _group(gid: int) -> str:
    try:
        return _text(grp.getgrgid(gid).gr_name)
    except KeyError:
        return ""
