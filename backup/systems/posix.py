"""Reading a POSIX source: what stands in a folder, an entry's metadata, a file's data and holes.

The module is a System (base.py) as it stands. Everything goes through folder descriptors, so that paths of any
length work and a folder that is swapped for a symlink meanwhile can't lead elsewhere. Errors are
OSError: the run reports them and goes on.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import platform
import pwd
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

from backup.systems.base import Beside
from catalog.format.nodes import Node
from catalog.format.values import Owner, kind_of
from catalog.format.windows import Windows
from catalog.mountinfo import mounts

name = platform.system()
keeps_more = False
close = os.close
file_status = os.fstat
_NOATIME = getattr(os, "O_NOATIME", 0)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NO_XATTRS = {errno.ENOTSUP, errno.ENOSYS, errno.EPERM}
_has_xattrs = hasattr(os, "listxattr")


def raise_limits() -> None:
    """Allow as many open files as this process may have: a walk holds one for each level."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def lock(file: int) -> None:
    """Lock a file for this process, until it ends. OSError if another has."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def point_path(path: Path) -> bytes:
    """An absolute path as a point has it."""
    return os.fsencode(path)


def identity(path: Path) -> tuple[int, int] | None:
    """st_dev and st_ino of a path; None if nothing is there."""
    try:
        st = path.stat()
    except OSError:
        return None
    return st.st_dev, st.st_ino


def open_top() -> int:
    """A descriptor of the root."""
    return open_folder(b"/")


def open_folder(name: bytes, parent: int | None = None) -> int:
    """A descriptor of a folder; a symlink is refused below a parent."""
    flags = _FOLDER | (os.O_NOFOLLOW if parent is not None else 0)
    return _open(name, flags, parent)


def open_passage(name: bytes, parent: int) -> int:
    """A descriptor of a folder of which only named entries are wanted: it need not be readable."""
    try:
        return open_folder(name, parent)
    except PermissionError:
        if not hasattr(os, "O_PATH"):
            raise
        return os.open(name, _FOLDER | os.O_NOFOLLOW | os.O_PATH, dir_fd=parent)


def open_file(name: bytes, parent: int) -> int:
    """A descriptor of a file, never of what a symlink points to."""
    return _open(name, _FILE, parent)


def _open(name: bytes, flags: int, parent: int | None) -> int:
    try:
        return os.open(name, flags | _NOATIME, dir_fd=parent)
    except PermissionError:  # O_NOATIME is for the owner and root only
        return os.open(name, flags, dir_fd=parent)


def names(folder: int) -> list[bytes]:
    """Names in a folder, sorted as bytes."""
    return sorted(map(os.fsencode, os.listdir(folder)))


def is_empty(folder: int) -> bool:
    """Whether nothing is in a folder."""
    return not os.listdir(folder)


def status(name: bytes, folder: int) -> os.stat_result:
    """lstat within a folder."""
    return os.stat(name, dir_fd=folder, follow_symlinks=False)


class Owners:
    """Names of users and groups, looked up once each."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], Owner] = {}

    def of(self, st: os.stat_result) -> Owner:
        key = (st.st_uid, st.st_gid)
        owner = self._seen.get(key)
        if owner is None:
            owner = self._seen[key] = Owner(*key, _user(key[0]), _group(key[1]))
        return owner


def owners() -> Owners:
    """A new Owners."""
    return Owners()


def node(name: bytes, st: os.stat_result, owners: Owners) -> Node:
    """An entry of this status, still without content and extended attributes."""
    return Node(
        name, kind_of(st.st_mode), st.st_mode & 0o7777, owners.of(st), st.st_size, st.st_mtime_ns, st.st_ctime_ns,
        st.st_ino,
    )  # fmt: skip


def _text(name: str) -> str:
    """A name as UTF-8 can hold it; the ids beside it stay exact."""
    return name.encode(errors="replace").decode()


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


def readlink(name: bytes, folder: int) -> bytes:
    """What a symlink points to."""
    return os.readlink(name, dir_fd=folder)


def beside(target: int | bytes, folder: int) -> Beside:
    """Never asked for: all that POSIX keeps is in a status and in extended attributes."""
    raise NotImplementedError


def of_name(name: bytes, folder: int) -> Callable[[Windows | None], Windows | None]:
    """Never asked for."""
    raise NotImplementedError


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
            if e.errno != errno.ENODATA:  # removed meanwhile
                raise
    return values


def read_small(file: int, size: int, most: int) -> bytes:
    """A whole small file; should it have changed its size, as much as there is, up to `most` bytes and some."""
    data = os.pread(file, size + 1, 0)
    if len(data) == size:
        return data
    parts, length = [data], len(data)
    while data and length < most:
        data = os.pread(file, 1 << 20, length)
        parts.append(data)
        length += len(data)
    return b"".join(parts)


def fill(file: int, buffer: memoryview, position: int) -> int:
    """Read until the buffer is full or the file ends. Returns the bytes read."""
    got = 0
    while got < len(buffer):
        count = os.preadv(file, [buffer[got:]], position + got)
        if not count:
            break
        got += count
    return got


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


def unwanted_mounts() -> set[bytes]:
    """Mount points of file systems that hold no files of their own (proc, sysfs …), rpdrive's drives included."""
    pseudo = {
        "proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "securityfs", "debugfs", "tracefs", "bpf",
        "pstore", "efivarfs", "configfs", "fusectl", "mqueue", "hugetlbfs", "binfmt_misc", "autofs", "rpc_pipefs",
        "nsfs", "fuse.rpdrive",
    }  # fmt: skip
    try:
        return {mount.place for mount in mounts() if mount.file_system in pseudo}
    except OSError:
        return set()  # not Linux
