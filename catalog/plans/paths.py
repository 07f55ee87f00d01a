"""Paths of a plan: as a person types them for a machine, and in the form that points have."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from catalog.errors import LocalError, UsageError

WINDOWS = "Windows"  # as platform.system() says it, and the record of a machine


def path_here(path: Path, system: str, *, links: bool = False) -> bytes:
    """A path of this machine, without `..`, and unless with `links` without them.

    Raises LocalError if it can't be found.
    """
    try:
        return path_on(system, os.path.abspath(path) if links else str(path.resolve()))
    except (OSError, RuntimeError) as e:  # the current folder was removed; symlinks form a loop
        raise LocalError(f"{path} can't be found: {e}", "check the path") from e


def path_on(system: str, text: str) -> bytes:
    """An absolute path of a machine with this system. Raises UsageError if it is not absolute."""
    if system == WINDOWS:
        pure = PureWindowsPath(text.removeprefix("\\\\?\\"))
        if len(pure.drive) != 2 or pure.drive[1] != ":" or not pure.root or ".." in pure.parts:
            raise UsageError(f"{text!r} is no whole path on a drive", "write e.g. C:\\Users\\anna")
        return b"/" + "/".join((pure.drive[0].upper(), *pure.parts[1:])).encode(errors="surrogatepass")
    posix = PurePosixPath(text)
    if not posix.is_absolute() or ".." in posix.parts:
        raise UsageError(f"{text!r} is no whole path", "write it from the root on, e.g. /home/anna")
    return b"/" + os.fsencode(str(posix)).lstrip(b"/")


def shown_path(path: bytes, system: str = "") -> str:
    """A path of a plan as it is typed on a machine with this system; also how a backup on it names it."""
    text = os.fsdecode(path)
    if system != WINDOWS:
        return text
    try:
        plain = path.lstrip(b"/").decode(errors="surrogatepass")
    except UnicodeDecodeError:  # no name that Windows has
        return text
    drive, _, rest = plain.partition("/")
    return f"{drive}:\\" + rest.replace("/", "\\")
