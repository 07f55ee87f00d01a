"""Follows the walk of a restore: is told of each name that is restored, of each file and each folder's end."""

from __future__ import annotations

from typing import Protocol

from catalog.format.pages import Entry, Leaf
from mount.restore.conflict import Action
from mount.restore.folder import Folder


class Watch(Protocol):
    """Follows one walk. All calls come from the thread that walks."""

    def named(self, folder: Folder, name: bytes, leaf: Leaf, entry: Entry) -> None:
        """An entry of the point has this name in a folder of the target."""

    def wrote(self, action: Action, folder: Folder, name: bytes, leaf: Leaf, entry: Entry, there: int) -> None:
        """A file is or would be written by this action. `there`: bytes of what exists at its name."""

    def made(self) -> None:
        """In a dry run: an entry is not there yet, and would be made."""

    def left(self, folder: Folder) -> None:
        """All entries of the point in a folder are named."""

    def unknown(self, folder: Folder) -> None:
        """What else the point has in a folder can't be read."""

    def blocked(self, folder: Folder, name: bytes) -> bool:
        """A folder is where another entry belongs, or the reverse. Whether it will be out of the way later."""


class NoWatch:
    """Follows nothing."""

    def named(self, folder: Folder, name: bytes, leaf: Leaf, entry: Entry) -> None:
        pass

    def wrote(self, action: Action, folder: Folder, name: bytes, leaf: Leaf, entry: Entry, there: int) -> None:
        pass

    def made(self) -> None:
        pass

    def left(self, folder: Folder) -> None:
        pass

    def unknown(self, folder: Folder) -> None:
        pass

    def blocked(self, folder: Folder, name: bytes) -> bool:
        return False
