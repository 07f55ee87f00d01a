"""The folder that a restore writes to. Paths below it are opened step by step, and no symlink is followed."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict
from contextlib import suppress
from typing import NamedTuple

from catalog.errors import LocalError
from mount.restore.disk.base import Disk, Status
from mount.restore.disk.flags import CLOEXEC, DIRECTORY, NOFOLLOW, PATH
from mount.restore.disk.whole_file import NEW
from mount.restore.folder import Folder, Identity

UNFINISHED = 0o1700  # mode of a new folder until its contents are complete; the next run recognises it
PRIVATE = 0o600  # mode of a new file until its contents are complete
FOLDER = os.O_RDONLY | DIRECTORY | NOFOLLOW | CLOEXEC
KEPT_NAMES = frozenset({b"lost+found", b"System Volume Information", b"$RECYCLE.BIN"})  # of new file systems
_PASSAGE = FOLDER | PATH
_OPEN_FOLDERS = 192
PREFIX, _SUFFIX = b".rpdrive-", b".part"  # of temporary names
_MARK = TAG = 8  # bytes in a temporary name
_NAME = len(PREFIX) + 2 * _MARK + 1 + 2 * TAG + len(_SUFFIX)
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FREE_SPACE = "free some space and run the same command again: it continues where it stopped"
_READ_ONLY = "restore into another folder, or mount that file system for writing first"


class Refused(OSError):
    """A symlink or a file is where the path needs a folder."""


class Unsupported(OSError):
    """The target can't keep entries of this kind. `strerror` is one of LIMITS (mount/restore/disk/limits.py)."""


class Swapped(OSError):
    """What a name leads to is not what this restore made, or met, there."""

    def __init__(self, what: str) -> None:
        super().__init__(errno.ESTALE, f"another {what} has taken its place since; run the command again")


class New(NamedTuple):
    """What a file system gives a new file: its owner, and whether the mode is the one that was asked for."""

    uid: int
    keeps_modes: bool


class Handle:
    """A descriptor that is closed with its last reference: a table can drop it while a thread still uses it.

    So whoever uses the number must hold the handle, too: `with target.handle(folder) as fd:`.
    """

    __slots__ = ("_disk", "fd")

    def __init__(self, disk: Disk, fd: int) -> None:
        self._disk, self.fd = disk, fd

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *_error: object) -> None:
        """Keep the handle alive until here; it is closed with its last reference."""

    def __del__(self) -> None:
        self._disk.close(self.fd)


class Target:
    """Folders below `top` on a disk, by number. Thread-safe once all folders are added.

    Raises LocalError if `top` can't be used. Without `make` it may be missing. `shared`: others restore into it at
    the same time, so that a folder that was made here may have entries at once.
    """

    def __init__(self, disk: Disk, top: bytes, *, make: bool, shared: bool = False) -> None:
        self.disk, self.top, self.shared = disk, top, shared
        self._lock = threading.Lock()
        self._open: OrderedDict[int, Handle] = OrderedDict()
        self.root = Folder(0, None, b"")
        self._handle: Handle | None = None
        self._new: dict[int, New] = {}  # by device
        self._open_top(make)

    def _open_top(self, make: bool) -> None:
        try:
            if make:
                self.disk.makedirs(self.top)
            elif not self._top_exists():
                return
            # The user named this path: symlinks in it are followed.
            self._handle = Handle(self.disk, self.disk.open(self.top, FOLDER & ~NOFOLLOW))
            self.root.exists = True
            self.note_existing(self.root, self.disk.fstat(self._handle.fd))
        except FileExistsError as e:
            raise LocalError(f"{os.fsdecode(self.top)} is not a folder", "choose a folder to restore into") from e
        except OSError as e:
            text = os.fsdecode(self.top)
            advice = _FREE_SPACE if e.errno in _FULL else "choose another folder"
            raise LocalError(f"cannot restore into {text}: {e.strerror}", advice) from e

    def _top_exists(self) -> bool:
        try:
            self.disk.lstat(self.top)
        except OSError:
            return False
        return True

    def handle(self, folder: Folder) -> Handle:
        """A descriptor of a folder that exists.

        Raises OSError: Refused if a symlink is part of its path, Swapped if a part is not the folder it was.
        """
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
            opened = Handle(self.disk, open_folder(self.disk, step.name, held.fd))
            self._recognise(step, self.disk.fstat(opened.fd))
            with self._lock:
                held = self._keep(step.number, opened)
        return held

    def make(self, folder: Folder) -> None:
        """Make a folder whose parent exists. Raises FileExistsError if the name is taken, or another OSError."""
        assert folder.parent is not None
        with self.handle(folder.parent) as parent:
            self.disk.mkdir(folder.name, UNFINISHED, dir_fd=parent)
            opened = Handle(self.disk, open_folder(self.disk, folder.name, parent))
            st = self.disk.fstat(opened.fd)
            new = self.is_new(st, is_unfinished(st), parent)
            if not new or (not self.shared and self._has_entries(opened.fd)):
                raise Swapped("folder")
        folder.identity = Identity.of(st)
        folder.exists = folder.fresh = True
        folder.plain = folder.parent.plain
        with self._lock:
            self._keep(folder.number, opened)

    def _keep(self, number: int, handle: Handle) -> Handle:
        """Put a handle into the table, unless another thread did so meanwhile. Returns the one to use."""
        held = self._open.setdefault(number, handle)
        if len(self._open) > _OPEN_FOLDERS:
            self._open.popitem(last=False)
        return held

    def _recognise(self, folder: Folder, st: Status) -> None:
        """Note which folder this is, when it is first opened. Later, raise Swapped if it is another one."""
        found = Identity.of(st)
        if folder.identity is None:
            folder.identity = found
        elif not self.is_same(folder.identity, found):
            raise Swapped("folder")

    def is_same(self, known: Identity, found: Identity) -> bool:
        """Whether two looks at a name found one file, as far as numbers of the file system show."""
        return found == known or (found.device == known.device and self.disk.renumbers(found.device))

    def _has_entries(self, fd: int) -> bool:
        try:
            return bool(self.disk.names(fd))
        except OSError:  # a default ACL of the parent lets nobody read it
            return False

    def is_new(self, st: Status, private: bool, folder: int) -> bool:
        """Whether a status can be that of something this process has made in the open `folder`.

        `private`: its mode is one that it can have got. File systems that store no modes, and servers that give
        new files to another user, are asked what they do with a new file.
        """
        if private and st.st_uid == self.disk.geteuid():
            return True
        new = self._new.get(st.st_dev)
        if new is None:
            new = self._new[st.st_dev] = self._try(folder)
        return st.st_uid == new.uid and (private or not new.keeps_modes)

    def is_own(self, fd: int, identity: Identity | None, mode: int, folder: int) -> bool:
        """Whether an open file is one that this user made with a mode, and that nobody else has a name for.

        `identity`: of the file it must be, if that is known; `folder`: the open folder that its name is in.
        """
        st = self.disk.fstat(fd)
        if not stat.S_ISREG(st.st_mode) or st.st_nlink != 1:
            return False
        if identity is not None and not self.is_same(identity, Identity.of(st)):
            return False
        return self.is_new(st, not _surplus(st, mode), folder)

    def _try(self, folder: int) -> New:
        """Make a file and look at it: only the descriptor that made a file shows for certain what it got."""
        name = temporary_name(os.urandom(_MARK), os.urandom(TAG))
        fd = self.disk.open(name, NEW, PRIVATE, dir_fd=folder)
        try:
            st = self.disk.fstat(fd)
            self.disk.unlink(name, dir_fd=folder)
        finally:
            self.disk.close(fd)
        return New(st.st_uid, not _surplus(st, PRIVATE))

    def open_up(self, folder: Folder, st: Status) -> None:
        """Let this user into a folder of its own whose mode will be set at the end. Raises OSError."""
        if st.st_uid != self.disk.geteuid() or folder.parent is None:
            return
        with self.handle(folder.parent) as parent:
            opened = Handle(self.disk, open_folder(self.disk, folder.name, parent))
        if not self.is_same(Identity.of(st), Identity.of(self.disk.fstat(opened.fd))):
            raise Swapped("folder")
        self.disk.let_owner_in(opened.fd)

    def note_existing(self, folder: Folder, st: Status) -> None:
        """Record the properties of a folder that existed before this run."""
        folder.identity = Identity.of(st)
        if st.st_mode & stat.S_ISGID or st.st_gid != self.disk.getegid():
            folder.plain = False
            return
        with self.handle(folder) as fd:
            folder.plain = not self.disk.has_default_acl(fd)

    def status(self, folder: Folder, name: bytes) -> Status | None:
        """The status of a name in a folder that exists, or None if it is free. Raises OSError."""
        try:
            with self.handle(folder) as fd:
                return self.disk.lstat(name, dir_fd=fd)
        except FileNotFoundError:
            return None

    def leftovers(self, folder: Folder) -> list[bytes]:
        """Names that look temporary in a folder that existed before this run."""
        if folder.leftovers is None:
            with suppress(OSError):
                with self.handle(folder) as parent:
                    fd = self.disk.open(b".", FOLDER, dir_fd=parent)
                try:
                    folder.leftovers = [name for name in self.disk.names(fd) if mark_in(name)]
                finally:
                    self.disk.close(fd)
        return folder.leftovers or []

    def check_usable(self, e: OSError) -> None:
        """Raise LocalError if an error of one entry is one of all: the disk is full or read-only."""
        if e.errno in _FULL:
            advice = _FREE_SPACE
        elif e.errno == errno.EROFS and self._handle is not None and self.disk.is_read_only(self._handle.fd):
            advice = _READ_ONLY
        else:
            return
        raise LocalError(f"cannot write to {os.fsdecode(self.top)}: {e.strerror}", advice) from e

    def close_folders(self) -> None:
        """Close the descriptors of folders that no thread uses; they are opened again when they are needed."""
        with self._lock:
            self._open.clear()

    def close(self) -> None:
        self.close_folders()
        self._handle = None


def open_folder(disk: Disk, name: bytes, parent: int) -> int:
    """A descriptor of a folder in a folder. Raises OSError, or Refused for a symlink."""
    try:
        try:
            return disk.open(name, FOLDER, dir_fd=parent)
        except PermissionError:  # not readable, but perhaps searchable
            return disk.open(name, _PASSAGE, dir_fd=parent)
    except OSError as e:
        if e.errno in (errno.ELOOP, errno.ENOTDIR):
            raise Refused(e.errno, "a symlink or file is where a folder belongs") from e
        raise


def is_unfinished(st: Status) -> bool:
    """Whether a folder has the mode that a restore gives it until it is complete.

    A setgid parent adds its bit; a default ACL of the parent can take bits off, but never the sticky one.
    """
    return bool(st.st_mode & stat.S_ISVTX) and not _surplus(st, UNFINISHED | stat.S_ISGID)


def _surplus(st: Status, mode: int) -> int:
    """The permissions beyond a mode that was asked for: a default ACL or the umask can only take bits off."""
    return stat.S_IMODE(st.st_mode) & ~mode


def reason(e: OSError) -> str:
    """Why an entry could not be written, for a report."""
    if isinstance(e, Swapped | Unsupported):
        return str(e.strerror)
    if isinstance(e, Refused):
        return "a symlink or file is where one of its folders belongs; restoring through it would leave the target"
    return f"it could not be written: {e.strerror or e}"


def temporary_name(mark: bytes, tag: bytes) -> bytes:
    """The name of a temporary file. `mark`: 8 bytes that identify the file; `tag`: 8 bytes (see TemporaryNames)."""
    return PREFIX + mark.hex().encode() + b"-" + tag.hex().encode() + _SUFFIX


def mark_in(name: bytes) -> bytes | None:
    """The mark in a name that looks like one of `temporary_name`; None if it does not."""
    if len(name) != _NAME or not name.startswith(PREFIX) or not name.endswith(_SUFFIX):
        return None
    try:
        return bytes.fromhex(name[len(PREFIX) : len(PREFIX) + 2 * _MARK].decode())
    except ValueError:
        return None
