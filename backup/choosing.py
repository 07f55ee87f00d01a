"""Which entries of a source are saved, and which folders are walked: by rules, and by what a backup never saves."""

from __future__ import annotations

import stat
from collections.abc import Callable

from backup.exclusions import Layer
from backup.selection import Selection
from backup.snapshot.base import is_own_subvolume
from backup.systems.base import File, Folder, Stat, Status, System
from backup.systems.names import ManyNames, Names
from catalog.names import are_distinct, folded, shown
from catalog.patterns import Rule

OWN_FOLDER = "not saved: a vault, cache or state folder of rpdrive"
PSEUDO = "contents not saved: a pseudo file system or an rpdrive drive"
ELSEWHERE = "contents not saved: it is on another file system"


def left_out(selection: Selection, layer: Layer | None, name: bytes, st: Status) -> Rule | str | None:
    """Why an entry is left out: the rule, or a reason in words. None: it is saved."""
    is_folder = stat.S_ISDIR(st.st_mode)
    if layer is not None:
        rule = layer.deciding(name, is_folder=is_folder)
        if rule is not None and not rule.negated:
            return rule
    if is_folder and ((st.st_dev, st.st_ino) in selection.skip or is_own_subvolume(name, st.st_ino)):
        return OWN_FOLDER
    return None


def not_walked(
    selection: Selection, unwanted: set[bytes], st: Status, device: int, path: Callable[[], bytes], *, asked: bool
) -> str:
    """Why a folder is saved as an empty one; empty: it is walked. `device` is that of the folder above it.

    A path that was `asked` for is walked even if it is the root of another file system.
    """
    if st.st_dev == device:
        return ""
    if b"/" + path() in unwanted:
        return PSEUDO
    return ELSEWHERE if selection.one_file_system and not asked else ""


def contents(system: System[Folder, File, Stat], folder: Folder, name: bytes, most: int) -> bytes | None:
    """The first bytes of a regular file in a folder; None if it can't be read, or is none."""
    try:
        if not stat.S_ISREG(system.status(name, folder).st_mode):
            return None
        file = system.open_file(name, folder)
    except OSError:
        return None
    try:
        buffer = memoryview(bytearray(most))
        return bytes(buffer[: system.fill(file, buffer, 0)])
    except OSError:
        return None
    finally:
        system.close(file)


def are_all_distinct(names: Names) -> bool:
    """Whether no two names of a folder differ only in case or Unicode form."""
    if isinstance(names, list):
        return are_distinct(names)
    if names.are_plain:
        return True
    before = None
    for key in ManyNames(folded(shown(name)).encode(errors="surrogatepass") for name in names):
        if key == before:
            return False
        before = key
    return True
