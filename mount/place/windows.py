"""The place of a drive on Windows: whether it will do, whether the drive is there, and how to have it closed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from catalog.errors import MountFailed
from catalog.windows import machine as windows
from catalog.windows.machine import free_letter, is_taken, taken_letters
from mount.place.spelling import Place
from mount.process.registry import Registry, await_end, is_running
from mount.process.rows import DriveRow


def absolute(path: Path) -> Path:
    """A place as the registry has it. MountFailed."""
    if str(path) in ("*", "*:"):
        raise MountFailed("`*` is a place for new drives only", "see `rpdrive mounts`")
    return Path(_place(path).shown)


def _place(path: Path, free_letter: Callable[[], str | None] = lambda: None) -> Place:
    text = str(path)
    if not text.startswith("\\\\") and text not in ("*", "*:") and not text[1:].startswith(":"):
        text = os.path.abspath(path)  # a folder, from here
    return Place.of(text, free_letter=free_letter)


def is_open(place: Path) -> bool:
    """Whether something answers there: for a moment after its start a drive may not."""
    try:
        os.stat(_place(place).root)
    except OSError:
        return False
    return True


def prepare(path: Path, forbidden: Iterable[tuple[str, Path]], *, taken: Callable[[], int] = taken_letters) -> Path:
    """The place to mount at. MountFailed says what is wrong with it.

    `forbidden` are folders (and what they are) that the drive itself reads from or writes to.
    """
    place = _place(path, lambda: free_letter(taken()))
    if not place.is_folder:
        # WinFsp would put the drive before what has the letter, were it an empty DVD drive.
        if is_taken(place.mount_point[0], taken()) if place.mount_point else is_open(Path(place.shown)):
            raise MountFailed(f"there is something at {place.shown} already", "name another letter, or `*`")
        return Path(place.shown)
    folder = Path(place.mount_point)
    for what, other in forbidden:
        if folder == other or other in folder.parents or folder in other.parents:
            raise MountFailed(f"the mount point {path} overlaps {what} ({other})", "name another folder")
    if not folder.parent.is_dir():
        raise MountFailed(
            f"the mount point {path} has no folder to lie in", f"make it first: `mkdir {path.parent}`"
        )
    if os.path.lexists(folder) and not folder.is_dir():
        raise MountFailed(f"the mount point {path} is not a folder", "name an empty folder")
    try:
        empty = not folder.is_dir() or next(folder.iterdir(), None) is None
    except OSError as e:
        raise MountFailed(f"the mount point {path} can't be opened: {e.strerror}") from e
    if not empty:
        raise MountFailed(f"the mount point {path} is not empty", "name an empty folder")
    return folder


def unmount(registry: Registry, path: Path, *, lazy: bool = False) -> Path:
    """Have a drive closed by its process. MountFailed, also if it is in use.

    `lazy`: though files on it are open; a process that doesn't answer is ended, and WinFsp takes the drive off.
    """
    from mount.process.status_pipe import ask_to_close  # it loads much, for nothing on another system

    place = absolute(path)
    row = registry.drive_at(place)
    if row is None or row.pipe is None or row.token is None:
        raise MountFailed(f"no drive of rpdrive is at {path}", "see `rpdrive mounts`")
    refused = ask_to_close(row.pipe, row.token, lazy=lazy)
    if refused is None:
        _end(row, lazy)
    elif refused:
        raise MountFailed(
            f"the drive at {path} is in use: {refused}",
            "leave it and try again, or close it at once with --lazy",
        )
    await_end(row)
    return place


def _end(row: DriveRow, lazy: bool) -> None:
    if not lazy:
        raise MountFailed(f"the drive at {row.mount_point} does not answer", "try again, or end it with --lazy")
    if windows.IS_WINDOWS and is_running(row.pid, row.process_start):
        os.kill(row.pid, signal.SIGTERM)  # there: TerminateProcess
