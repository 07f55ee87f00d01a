"""The folder that a restore writes to. Every step below it goes through a descriptor and follows no symlink."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict
from contextlib import suppress

from catalog.errors import LocalError
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.base import Disk, Status
from mount.restore.disk.flags import CLOEXEC, DIRECTORY, NOFOLLOW, PATH

UNFINISHED = 0o1700  # mode of a folder that a restore has made and not yet finished: how the next run knows it
_FOLDER = os.O_RDONLY | DIRECTORY | NOFOLLOW | CLOEXEC
_PASSAGE = _FOLDER | PATH
_OPEN_FOLDERS = 192
LEFTOVER = b".rpdrive-"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class Refused(OSError):
    """A path that would leave the target."""


class Handle:
    """A descriptor, closed when nobody holds it any more: it can be dropped from a table while a thread uses it."""

    __slots__ = ("_disk", "fd")

    def __init__(self, disk: Disk, fd: int) -> None:
        self._disk, self.fd = disk, fd

    def __del__(self) -> None:
        self._disk.close(self.fd)


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
    """Folders below `top` on a disk, by number. Thread-safe once planned."""

    def __init__(self, disk: Disk, top: bytes, *, make: bool) -> None:
        self.disk, self.top = disk, top
        self._lock = threading.Lock()
        self._open: OrderedDict[int, Handle] = OrderedDict()
        self.root = Folder(0, None, b"", None)
        self.folders = [self.root]
        self._handle: Handle | None = None
        self._open_top(make)

    def _open_top(self, make: bool) -> None:
        try:
            if make:
                self.disk.makedirs(self.top)
            elif not self._top_exists():
                return
            # The user named this one: symlinks in it are followed.
            self._handle = Handle(self.disk, self.disk.open(self.top, _FOLDER & ~NOFOLLOW))
            self.root.exists = True
            self.look(self.root, self.disk.fstat(self._handle.fd))
        except FileExistsError as e:
            raise LocalError(f"{os.fsdecode(self.top)} is not a folder", "name a folder to restore to") from e
        except OSError as e:
            text = os.fsdecode(self.top)
            raise LocalError(f"the folder {text} can't be used: {e.strerror}", "restore to another one") from e

    def _top_exists(self) -> bool:
        try:
            self.disk.lstat(self.top)
        except OSError:
            return False
        return True

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
            held = Handle(self.disk, open_folder(self.disk, step.name, held.fd))
            with self._lock:
                self._open[step.number] = held
                if len(self._open) > _OPEN_FOLDERS:
                    self._open.popitem(last=False)
        return held

    def make(self, folder: Folder) -> None:
        """Make a folder whose parent exists. OSError; FileExistsError if something is there."""
        assert folder.parent is not None
        self.disk.mkdir(folder.name, UNFINISHED, dir_fd=self.handle(folder.parent).fd)
        folder.exists = folder.fresh = True
        folder.plain = folder.parent.plain

    def look(self, folder: Folder, st: Status) -> None:
        """Note what matters of a folder that was there before."""
        folder.plain = (
            not st.st_mode & stat.S_ISGID
            and st.st_gid == self.disk.getegid()
            and not self.disk.has_default_acl(self.handle(folder).fd)
        )

    def status(self, folder: Folder, name: bytes) -> Status | None:
        """lstat of a name in a folder that exists; None if nothing is there. OSError."""
        try:
            return self.disk.lstat(name, dir_fd=self.handle(folder).fd)
        except FileNotFoundError:
            return None

    def leftovers(self, folder: Folder) -> list[bytes]:
        """Names of temporary files in a folder that was there before."""
        if folder.leftovers is None:
            with suppress(OSError):
                fd = self.disk.open(b".", _FOLDER, dir_fd=self.handle(folder).fd)
                try:
                    folder.leftovers = [name for name in self.disk.names(fd) if is_leftover(name)]
                finally:
                    self.disk.close(fd)
        return folder.leftovers or []

    def close(self) -> None:
        self._open.clear()
        self._handle = None


def open_folder(disk: Disk, name: bytes, parent: int) -> int:
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


def reason(e: OSError) -> str:
    """Why an entry could not be written, for a report."""
    if isinstance(e, Refused):
        return "a symlink or file stands in its way; restoring through it would leave the target"
    return f"it could not be written: {e.strerror or e}"


def is_leftover(name: bytes) -> bool:
    """Whether a name is one that `temporary_name` makes."""
    return len(name) == 39 and name.startswith(LEFTOVER) and name.endswith(b".part")


def temporary_name(mark: bytes, token: bytes) -> bytes:
    """`mark`: 8 bytes that say which file it will be; `token`: 4 bytes of this run."""
    return LEFTOVER + mark.hex().encode() + b"-" + token.hex().encode() + b".part"
