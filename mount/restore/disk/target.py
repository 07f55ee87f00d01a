"""The folder that a restore writes to. Every step below it goes through a descriptor and follows no symlink."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict
from contextlib import suppress

from catalog.errors import LocalError
from catalog.systems.this import SYSTEM
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.calls import CLOEXEC, DIRECTORY, NOFOLLOW, disk

UNFINISHED = 0o1700  # mode of a folder that a restore has made and not yet finished: how the next run knows it
_FOLDER = os.O_RDONLY | DIRECTORY | NOFOLLOW | CLOEXEC
_PASSAGE = _FOLDER | getattr(os, "O_PATH", 0)
_OPEN_FOLDERS = 192
_NO_NOREPLACE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}
LEFTOVER = b".rpdrive-"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class Refused(OSError):
    """A path that would leave the target."""


class Handle:
    """A descriptor, closed when nobody holds it any more: it can be dropped from a table while a thread uses it."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        disk.close(self.fd)


class Folder:
    """A folder of the target. `attributes` are what it shall get at the end; None: it is left as it is.

    `exists`: it is on the disk. `fresh`: this run made it, so that it is empty but for what this run put in it.
    `plain`: files made in it get this process's group and no ACL from it.
    """

    __slots__ = ("attributes", "exists", "fresh", "leftovers", "name", "number", "parent", "plain")

    def __init__(self, number: int, parent: Folder | None, name: bytes, attributes: Attributes | None) -> None:
        self.number = number
        self.parent = parent
        self.name = name
        self.attributes = attributes
        self.exists = False
        self.fresh = False
        self.plain = False
        self.leftovers: list[bytes] | None = None

    def path(self, name: bytes = b"") -> bytes:
        """From the target's top, with a slash between parts."""
        parts = [name] if name else []
        at: Folder | None = self
        while at is not None and at.parent is not None:
            parts.append(at.name)
            at = at.parent
        return b"/".join(reversed(parts))


class Target:
    """Folders below `top`, by number. Thread-safe once planned."""

    def __init__(self, top: bytes, *, make: bool) -> None:
        self.top = top
        self._lock = threading.Lock()
        self._open: OrderedDict[int, Handle] = OrderedDict()
        self.root = Folder(0, None, b"", None)
        self.folders = [self.root]
        self.device = 0
        self._handle: Handle | None = None
        self._open_top(make)

    def _open_top(self, make: bool) -> None:
        try:
            if make:
                disk.makedirs(self.top, exist_ok=True)
            elif not disk.path.lexists(self.top):
                return
            # The user named this one: symlinks in it are followed.
            self._handle = Handle(disk.open(self.top, _FOLDER & ~NOFOLLOW))
            self.root.exists = True
            self.look(self.root, disk.fstat(self._handle.fd))
        except FileExistsError as e:
            raise LocalError(f"{os.fsdecode(self.top)} is not a folder", "name a folder to restore to") from e
        except OSError as e:
            text = os.fsdecode(self.top)
            raise LocalError(f"the folder {text} can't be used: {e.strerror}", "restore to another one") from e

    def add(self, parent: Folder, name: bytes, attributes: Attributes | None) -> Folder:
        folder = Folder(len(self.folders), parent, name, attributes)
        self.folders.append(folder)
        return folder

    def handle(self, folder: Folder) -> Handle:
        """A descriptor of a folder that exists. OSError; Refused if a symlink stands in its way."""
        if folder.parent is None:
            assert self._handle is not None
            return self._handle
        with self._lock:
            held = self._open.get(folder.number)
            if held is not None:
                self._open.move_to_end(folder.number)
                return held
        way: list[Folder] = []
        at: Folder = folder
        while at.parent is not None:
            with self._lock:
                held = self._open.get(at.number)
            if held is not None:
                break
            way.append(at)
            at = at.parent
        if held is None:
            assert self._handle is not None
            held = self._handle
        for step in reversed(way):
            held = Handle(open_folder(step.name, held.fd))
            with self._lock:
                self._open[step.number] = held
                if len(self._open) > _OPEN_FOLDERS:
                    self._open.popitem(last=False)
        return held

    def make(self, folder: Folder) -> None:
        """Make a folder whose parent exists. OSError; FileExistsError if something is there."""
        assert folder.parent is not None
        disk.mkdir(folder.name, UNFINISHED, dir_fd=self.handle(folder.parent).fd)
        folder.exists = folder.fresh = True
        folder.plain = folder.parent.plain

    def look(self, folder: Folder, st: os.stat_result) -> None:
        """Note what matters of a folder that was there before."""
        folder.plain = not st.st_mode & stat.S_ISGID and st.st_gid == disk.getegid() and not self._has_acl(folder)

    def _has_acl(self, folder: Folder) -> bool:
        try:
            return bool(disk.getxattr(self.handle(folder).fd, "system.posix_acl_default"))
        except OSError as e:
            return e.errno not in (errno.ENODATA, errno.ENOTSUP)
        except AttributeError:  # no extended attributes on this system
            return False

    def status(self, folder: Folder, name: bytes) -> os.stat_result | None:
        """lstat of a name in a folder that exists; None if nothing is there. OSError."""
        try:
            return disk.stat(name, dir_fd=self.handle(folder).fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def leftovers(self, folder: Folder) -> list[bytes]:
        """Names of temporary files in a folder that was there before."""
        if folder.leftovers is None:
            with suppress(OSError):
                fd = disk.open(b".", _FOLDER, dir_fd=self.handle(folder).fd)
                try:
                    with disk.scandir(fd) as rows:
                        names = [os.fsencode(row.name) for row in rows if row.name.startswith(".rpdrive-")]
                finally:
                    disk.close(fd)
                folder.leftovers = [name for name in names if is_leftover(name)]
        return folder.leftovers or []

    def close(self) -> None:
        self._open.clear()
        self._handle = None


def open_folder(name: bytes, parent: int) -> int:
    """A descriptor of a folder in a folder. OSError; Refused for a symlink."""
    try:
        try:
            return disk.open(name, _FOLDER, dir_fd=parent)
        except PermissionError:  # it may let pass all the same
            return disk.open(name, _PASSAGE, dir_fd=parent)
    except OSError as e:
        if e.errno in (errno.ELOOP, errno.ENOTDIR):
            raise Refused(e.errno, "a symlink or file stands where a folder should be") from e
        raise


def is_leftover(name: bytes) -> bool:
    """Whether a name is one that `temporary_name` makes."""
    return len(name) == 39 and name.startswith(LEFTOVER) and name.endswith(b".part")


def temporary_name(mark: bytes, token: bytes) -> bytes:
    """`mark`: 8 bytes that say which file it will be; `token`: 4 bytes of this run."""
    return LEFTOVER + mark.hex().encode() + b"-" + token.hex().encode() + b".part"


def rename_new(folder: int, old: bytes, new: bytes) -> None:
    """Rename within a folder. FileExistsError if there is something at the new name; it is left alone."""
    if hasattr(disk, "rename_new"):
        disk.rename_new(folder, old, new)
        return
    try:
        SYSTEM.rename_new(old, new, dir_fd=folder)
        return
    except OSError as e:
        if e.errno not in _NO_NOREPLACE:
            raise
    try:
        disk.link(old, new, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as e:
        if e.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        # A file system with neither: the name is taken first, and what took it is replaced.
        disk.close(disk.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | CLOEXEC, 0o600, dir_fd=folder))
        disk.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)
        return
    disk.unlink(old, dir_fd=folder)
