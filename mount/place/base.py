"""The interface to the operating system for the places of drives: their spelling, and checks before mounting."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from catalog.errors import MountFailed


class User(NamedTuple):
    """A process that uses a drive; `pid` is 0 where the system doesn't say which processes do."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})" if self.pid else self.name


class OpenDrive(Protocol):
    """A drive of this process, as something that can be unmounted."""

    @property
    def place(self) -> Path: ...

    def unmount(self) -> int:
        """Unmount the drive. Returns 0, or an errno: EBUSY if it is in use. Raises MountFailed."""
        ...

    def detach(self) -> None:
        """Unmount the drive at once, even if it is in use. Raises MountFailed."""
        ...

    def users(self) -> list[User]:
        """The processes that use the drive, as far as this user may see them."""
        ...


Identity: TypeAlias = tuple[int, int]  # of a folder: its device and inode


class Held(Protocol):
    """A place that was looked at, and stays the same until it is closed, whoever can change what is above it."""

    @property
    def identity(self) -> Identity | None:
        """The folder, so that another process can hold the same one; None if the place is no folder."""
        ...

    @property
    def path(self) -> str:
        """Where to mount: a name of this very folder, if the system has one."""
        ...

    def check(self) -> None:
        """Raise MountFailed unless the drive that was just mounted is at the place, and no other one is there."""
        ...

    def undo(self) -> None:
        """Unmount the drive that was just mounted, wherever the folder is now. Never raises."""
        ...

    def close(self) -> None: ...


class Places(Protocol):
    """The places where drives can be mounted on one operating system."""

    def absolute(self, path: Path) -> Path:
        """The place as the registry spells it, with or without a drive. Raises MountFailed if there is none."""
        ...

    def is_next_free(self, path: Path) -> bool:
        """Whether this path means "the next free place", which `prepare` chooses."""
        ...

    def check(self, *, allow_other: bool) -> None:
        """Raise MountFailed if this user may not mount with this option."""
        ...

    def prepare(self, path: Path, forbidden: Iterable[tuple[str, Path]]) -> Path:
        """The place to mount at, which is free and empty. Raises MountFailed if the path can't be used.

        `forbidden` are folders (and what they are) that the drive itself reads from or writes to: a mount over or
        inside one would make the drive wait for itself.
        """
        ...

    def hold(self, place: Path, identity: Identity | None = None) -> Held:
        """Hold a place that `prepare` has returned. Follows no symlinks. Raises MountFailed.

        `identity`: it must be this folder still.
        """
        ...

    def answers(self, place: Path) -> bool:
        """Whether a drive that was just mounted is there. Raises OSError if it is there and fails to answer."""
        ...

    def quoted(self, place: Path) -> str:
        """The place as a word of the system's shell."""
        ...


def check_no_overlap(place: Path, path: Path, forbidden: Iterable[tuple[str, Path]]) -> None:
    """Raise MountFailed if a place, which the user wrote as `path`, overlaps one of the forbidden folders."""
    for what, folder in forbidden:
        if place == folder or folder in place.parents or place in folder.parents:
            raise MountFailed(f"the mount point {path} overlaps {what} ({folder})", "name another folder")


def check_empty(folder: Path, path: Path) -> None:
    """Raise MountFailed if a folder, which the user wrote as `path`, can't be listed or is not empty."""
    try:
        with os.scandir(folder) as entries:
            empty = next(entries, None) is None
    except OSError as e:
        raise MountFailed(f"the mount point {path} can't be opened: {e.strerror}", "check its permissions") from e
    if not empty:
        raise MountFailed(f"the mount point {path} is not empty", "name an empty folder")
