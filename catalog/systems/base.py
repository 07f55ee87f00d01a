"""The interface to the operating system for rpdrive's own files: a vault in a folder, settings, secrets."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

PathLike: TypeAlias = "str | bytes | os.PathLike[str]"


class Folder(NamedTuple):
    """A folder for calls of the system: as a descriptor for `dir_fd`, or, on Windows, by its path.

    `prefix` goes before a name in it: "" with a descriptor, otherwise the folder's path and a slash.
    """

    descriptor: int | None
    prefix: str

    def path(self, name: str) -> str:
        """The path of a name in this folder, relative to the descriptor."""
        return self.prefix + name

    def open(self, path: str, flags: int) -> int:
        """Open a path that `path` returned: an opener for open()."""
        return os.open(path, flags, 0o666, dir_fd=self.descriptor)

    def scan(self) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        """The entries. Needs a descriptor that was opened for listing."""
        return os.scandir(self.prefix if self.descriptor is None else self.descriptor)


class System(Protocol):
    """The calls of one operating system. All of them raise OSError."""

    read_flags: int  # for os.open: read a file's bytes unchanged
    no_follow: int  # for os.open: refuse a symlink; 0 on Windows, where making one needs a privilege

    def pread(self, descriptor: int, length: int, offset: int, /) -> bytes:
        """Read up to `length` bytes from `offset`, from any number of threads."""
        ...

    def forget_pages(self, descriptor: int) -> None:
        """Let what memory holds of a file go, so that the next read asks the disk. Best effort."""
        ...

    def read_soon(self, descriptor: int, offset: int, length: int) -> None:
        """Have the system begin to read a short range, in several requests at once. Best effort."""
        ...

    def sync_folder(self, folder: Folder) -> None:
        """Make the names in a folder durable."""
        ...

    def below(
        self,
        top: str,
        folder: str,
        *,
        make: bool = False,
        listed: bool = False,
        known: tuple[int, int] | None = None,
    ) -> AbstractContextManager[Folder]:
        """The folder `folder` ("" or a path) below `top`, reached without following a symlink below `top`.

        With `make`, missing folders are made durably, but `top` is not; with `listed`, it can be listed. Raises
        NotADirectoryError if a part is a symlink or a file, and OSError with ESTALE if `top` is not the folder
        with the `known` device and inode: what is opened is compared, so that nothing comes between.
        """
        ...

    def open_file(self, path: str, *, dir_fd: int | None = None) -> int:
        """Open a file for reading, without following a symlink. Raises FileNotFoundError if it is not a file.

        Never waits, as opening a FIFO would.
        """
        ...

    def lock(self, descriptor: int) -> None:
        """Wait until this process alone holds the file, and hold it until the descriptor is closed."""
        ...

    def try_lock(self, descriptor: int) -> bool:
        """Hold the file alone until the descriptor is closed. False at once if somebody else holds it."""
        ...

    def rename_new(
        self, old: PathLike, new: PathLike, *, dir_fd: int | None = None, to_fd: int | None = None
    ) -> None:
        """Rename a file unless `new` exists; paths are relative to the folder `dir_fd`, if given.

        `new` is relative to `to_fd`, if that is given.

        Raises FileExistsError if `new` exists, and OSError with ENOSYS, EINVAL or EOPNOTSUPP if the system or
        the file system has no such call.
        """
        ...

    def open_below(self, top: str, name: str) -> int:
        """Open the file `name` (a path) below `top` for reading, as `below` and `open_file` would together."""
        ...

    def named_at(self, path: PathLike, status: os.stat_result) -> int:
        """When the file at `path`, of which `status` is known, got its name or its contents: ns since the epoch.

        It is never earlier than the last time that the file was written, linked or renamed; another change of
        what the file system notes of it may make it later.
        """
        ...

    def copy_range(self, source: int, offset: int, length: int, target: int) -> int:
        """Copy bytes of one file to the current position of another, without a detour if the system can.

        Returns how many were copied: fewer than `length` only at the end of the source.
        """
        ...

    def is_own(self, status: os.stat_result) -> bool:
        """Whether a file belongs to the user of this process."""
        ...

    def is_trusted(self, status: os.stat_result) -> bool:
        """Whether a regular file belongs to the user of this process or to root, and no other user may write it."""
        ...

    def is_trusted_folder(self, status: os.stat_result) -> bool:
        """The same of a folder: whether no other user may put files into it, or exchange those in it."""
        ...

    def end_group(self, process: int, *, by_force: bool) -> None:
        """End a process that leads a group of its own, and its whole group. Raises nothing if they have ended."""
        ...

    def is_private(self, status: os.stat_result) -> bool:
        """Whether permissions keep other users out of a file."""
        ...

    def make_private(self, folder: Path, status: os.stat_result) -> None:
        """Keep other users out of a folder of this user."""
        ...

    def protect_memory(self) -> None:
        """Keep what this process remembers out of core dumps, and from other processes of the same user.

        Raises nothing: where that can't be done, it isn't.
        """
        ...

    def has_ended(self, pid: int) -> bool:
        """Whether no process has this id; False where that can't be told."""
        ...

    def process_start(self, pid: int) -> str:
        """When a process was started, in the system's own form; empty if it has ended, or that can't be told."""
        ...

    def boot_id(self) -> str:
        """What tells this start of the machine from others; empty if that can't be told. Raises nothing."""
        ...

    def has_terminal(self) -> bool:
        """Whether there is a terminal on which a passphrase can be typed."""
        ...


def require_known(status: os.stat_result, known: tuple[int, int] | None, path: str) -> None:
    """Raise OSError with ESTALE if a folder has not the device and inode that it is known by, if it is."""
    if known is not None and (status.st_dev, status.st_ino) != known:
        raise OSError(errno.ESTALE, "another folder has taken its place", path)
