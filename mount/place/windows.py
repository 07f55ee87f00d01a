"""Places for drives on Windows: a drive letter, an empty folder, or a network path."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from catalog.errors import MountFailed
from catalog.windows.machine import free_letter, is_taken, taken_letters
from mount.place.base import Identity, check_empty, check_no_overlap
from mount.place.spelling import Place

_NEXT_FREE = ("*", "*:")


class HeldPlace:
    """Implements Held on Windows, where WinFsp itself refuses a place that is taken."""

    identity = None

    def __init__(self, place: Path) -> None:
        self.path = str(place)

    def check(self) -> None: ...

    def undo(self) -> None: ...

    def close(self) -> None: ...


class WindowsPlaces:
    """Implements Places on Windows. `taken` returns a bit for each drive letter in use, see taken_letters."""

    def __init__(self, taken: Callable[[], int] = taken_letters) -> None:
        self._taken = taken

    def absolute(self, path: Path) -> Path:
        if self.is_next_free(path):
            raise MountFailed("`*` means a free letter: it works for new drives only", "see `rpdrive mounts`")
        return Path(self.place(path).shown)

    def is_next_free(self, path: Path) -> bool:
        return str(path) in _NEXT_FREE

    def check(self, *, allow_other: bool) -> None:
        """Do nothing: on Windows, every user may mount with every option."""

    def prepare(self, path: Path, forbidden: Iterable[tuple[str, Path]]) -> Path:
        place = self.place(path)
        if not place.is_folder:
            if self._is_occupied(place):
                raise MountFailed(f"{place.shown} is already in use", "name another letter, or `*`")
            return Path(place.shown)
        folder = Path(place.mount_point)
        check_no_overlap(folder, path, forbidden)
        if not folder.parent.is_dir():
            raise MountFailed(
                f"the folder above the mount point {path} does not exist",
                f"create it first: `mkdir {path.parent}`",
            )
        if os.path.lexists(folder) and not folder.is_dir():
            raise MountFailed(f"the mount point {path} is not a folder", "name an empty folder")
        if folder.is_dir():
            check_empty(folder, path)
        return folder

    def _is_occupied(self, place: Place) -> bool:
        # WinFsp would put the drive in front of what has the letter, e.g. an empty DVD drive.
        if place.mount_point:
            return is_taken(place.mount_point[0], self._taken())
        return self.answers(Path(place.shown))

    def hold(self, place: Path, identity: Identity | None = None) -> HeldPlace:
        return HeldPlace(place)

    def answers(self, place: Path) -> bool:
        """See Places. False for a moment after the drive's start."""
        try:
            os.stat(self.place(place).root)
        except OSError:
            return False
        return True

    def quoted(self, place: Path) -> str:
        return f'"{place}"' if " " in str(place) else str(place)

    def place(self, path: Path) -> Place:
        """The place that a user's path means; a folder may be relative to the current one. Raises MountFailed."""
        text = str(path)
        if not text.startswith("\\\\") and text not in _NEXT_FREE and not text[1:].startswith(":"):
            text = os.path.abspath(path)
        return Place.of(text, free_letter=lambda: free_letter(self._taken()))
