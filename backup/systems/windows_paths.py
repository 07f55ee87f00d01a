"""Paths of Windows: in a point, on the machine, and in a shadow copy."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from catalog.errors import LocalError
from catalog.format.windows import name_bytes, name_text

_SHADOW = "\\\\?\\GLOBALROOT\\Device\\"


def point_path(path: Path) -> bytes:
    """An absolute path in the form of points. Raises LocalError if it is on no drive of this machine."""
    pure = PureWindowsPath(str(path).removeprefix("\\\\?\\"))
    if len(pure.drive) != 2 or pure.drive[1] != ":" or not pure.root:
        raise _elsewhere(path, pure)
    return b"/" + b"/".join(map(name_bytes, (pure.drive[0].upper(), *pure.parts[1:])))


def _elsewhere(path: Path, pure: PureWindowsPath) -> LocalError:
    """Why a path can't be saved."""
    if pure.drive.startswith("\\\\"):
        return LocalError(f"{path} is on a network drive", "back it up on the computer that has its disk")
    if str(pure).lower().startswith("volume{"):
        return LocalError(f"{path} is on a volume without a drive letter", "give it one, and back that up")
    return LocalError(f"{path} is not on a drive of this machine", "give a path as C:\\Users\\anna")


def native(path: bytes) -> str:
    """The Windows path for a path of a point."""
    drive, *parts = map(name_text, path.strip(b"/").split(b"/"))
    return "\\".join((f"\\\\?\\{drive}:", *parts))


def is_shadow(path: str) -> bool:
    """Whether a path leads into a shadow copy."""
    return path.startswith(_SHADOW)


def rooted(path: str) -> str:
    """A path that Windows takes for a drive's root folder: without the backslash it would mean the drive."""
    is_root = path.endswith(":") and path.count("\\") == 3
    return path + "\\" if is_root or (is_shadow(path) and path.count("\\") == 5) else path
