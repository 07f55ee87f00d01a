"""What differs between systems for the place of a drive: how it is written, and whether it will do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

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
        """0, or an errno: EBUSY if it is in use. Raises MountFailed."""
        ...

    def detach(self) -> None:
        """Unmount it although it is in use. Raises MountFailed."""
        ...

    def users(self) -> list[User]:
        """The processes that use it, as far as this user may see them."""
        ...


class Places(Protocol):
    """The places for drives on one system."""

    def absolute(self, path: Path) -> Path:
        """A place as the registry has it, whether a drive is there or not. Raises MountFailed if it names none."""
        ...

    def is_next_free(self, path: Path) -> bool:
        """Whether this means the next free place, which `prepare` chooses."""
        ...

    def check(self, *, allow_other: bool) -> None:
        """Raises MountFailed if this user may not mount like that."""
        ...

    def prepare(self, path: Path, forbidden: Iterable[tuple[str, Path]]) -> Path:
        """The place to mount at, which is free and empty. Raises MountFailed with what is wrong.

        `forbidden` are folders (and what they are) that the drive itself reads from or writes to: a mount over or
        inside one would make the drive wait for itself.
        """
        ...

    def answers(self, place: Path) -> bool:
        """Whether a drive that was just mounted is there. Raises OSError if it is there and fails to answer."""
        ...

    def quoted(self, place: Path) -> str:
        """The place as a word of the system's shell."""
        ...


def check_no_overlap(place: Path, path: Path, forbidden: Iterable[tuple[str, Path]]) -> None:
    """Raises MountFailed if a place, which the user wrote as `path`, overlaps a folder."""
    for what, folder in forbidden:
        if place == folder or folder in place.parents or place in folder.parents:
            raise MountFailed(f"the mount point {path} overlaps {what} ({folder})", "name another folder")
