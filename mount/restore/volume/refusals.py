"""Why a volume is not restored to a place: all reasons at once, before anything is written. No I/O here."""

from __future__ import annotations

import os
from typing import NamedTuple

from catalog.format.records import Volume
from catalog.screen.text import counted, safe_text, size_text
from mount.restore.disk.base import Ground
from mount.restore.volume.needs import Needs

_FAT = ("vfat", "msdos", "FAT32", "FAT")
_PLAIN = (*_FAT, "exfat", "exFAT")  # keep neither links, owners, permissions nor attributes, and ignore case
_NTFS = ("ntfs", "ntfs3", "NTFS")
_LONGEST_UNITS = 255  # UTF-16 units of a name of FAT, exFAT and NTFS


def ignores_case(ground: Ground) -> bool:
    """Whether names that differ only in case are equal on a file system."""
    return ground.file_system in (*_PLAIN, "NTFS", "apfs")


class Refusal(NamedTuple):
    """A reason against a restore. `is_final`: --force does not help."""

    reason: str
    is_final: bool = False


class Wish(NamedTuple):
    """What is asked for: the volume, and the folder to restore it to, which is its place if `home`.

    `system` is the one that the point was made on, `here` this one (as platform.system() says). `permissions`:
    owners and permissions are to be restored.
    """

    volume: Volume
    to: bytes
    home: bool
    system: str
    here: str
    permissions: bool


def refusals(wish: Wish, ground: Ground, needs: Needs) -> list[Refusal]:
    """The reasons against a restore, the worst first."""
    found = [*_system(wish), *_place(wish, ground), *_room(ground, needs), *_features(wish, ground, needs)]
    return sorted(found, key=lambda refusal: not refusal.is_final)


def _system(wish: Wish) -> list[Refusal]:
    if wish.system == wish.here or not wish.system:
        return []
    what = f"the volume is of {safe_text(wish.system)}, and this machine runs {wish.here}"
    if wish.home:
        return [Refusal(f"{what}: it has no such place", is_final=True)]
    return [Refusal(f"{what}, which can't keep all that files have there")]


def _place(wish: Wish, ground: Ground) -> list[Refusal]:
    to, found = _shown(wish.to), list[Refusal]()
    if wish.home and ground.runs_system:
        found.append(Refusal(
            f"this system runs from {to}, so that its files are in use: start a rescue system, mount the volume"
            " e.g. at /mnt, and restore it with --to /mnt", is_final=True,
        ))  # fmt: skip
    if ground.read_only:
        found.append(Refusal(f"{to} is on a file system that is mounted read-only", is_final=True))
    if ground.mounted_at and ground.mounted_at != os.path.realpath(wish.to) and not found:
        at = _shown(ground.mounted_at)
        why = f"nothing is mounted at {to}: the files would go to the file system of {at}"
        found.append(Refusal(why, is_final=wish.home))
    was, now = wish.volume.uuid, ground.uuid
    if wish.home and was and now and was != now and not found:
        found.append(Refusal(
            f"another file system is mounted at {to}: its UUID is {safe_text(now)}, and that of the volume was"
            f" {safe_text(was)}"
        ))  # fmt: skip
    return found


def _room(ground: Ground, needs: Needs) -> list[Refusal]:
    found = []
    room = needs.room + needs.largest_replaced
    if ground.free is not None and room > ground.free:
        found.append(Refusal(f"{size_text(room)} are needed, and {size_text(ground.free)} are free"))
    entries = max(needs.entries - needs.hard_links, 0)
    if ground.free_files is not None and entries > ground.free_files:
        found.append(Refusal(f"{entries:,} inodes are needed, and {ground.free_files:,} are free"))
    return found


def _features(wish: Wish, ground: Ground, needs: Needs) -> list[Refusal]:
    kind, found = ground.file_system, list[str]()
    is_plain, is_ntfs = kind in _PLAIN, kind in _NTFS
    if is_plain:
        lacks = [counted(n, what, many) for n, what, many in (
            (needs.symlinks, "symlink", "symlinks"),
            (needs.hard_links, "hard link", "hard links"),
            (needs.specials, "device, FIFO or socket", "devices, FIFOs and sockets"),
            (needs.xattrs, "entry with extended attributes", "entries with extended attributes"),
            (needs.acls if wish.permissions else 0, "ACL", "ACLs"),
        ) if n]  # fmt: skip
        if wish.permissions and needs.permissions:
            lacks.append("owners and permissions (--no-permissions does without)")
        if lacks:
            found.append(f"{kind} can't keep {_and(lacks)}")
    if needs.twins:
        names = counted(needs.twins, "name")
        found.append(f"{names} that {kind} can't tell from others, e.g. {_shown(needs.twin)}")
    if kind in _FAT and needs.over_4_gib:
        path = _shown(needs.largest.path)
        found.append(f"{counted(needs.over_4_gib, 'file')} of 4 GiB or more, e.g. {path}: {kind} has none so large")
    if is_plain or is_ntfs:
        if needs.forbidden:
            names = counted(needs.forbidden, "name")
            found.append(f"{names} that {kind} can't store, e.g. {_shown(needs.forbidden_name)}")
        if needs.longest_units.number > _LONGEST_UNITS:
            found.append(f"a name that is too long for {kind}: {_shown(needs.longest_units.path)}")
    elif ground.name_max is not None and needs.longest.number > ground.name_max:
        found.append(
            f"a name of {needs.longest.number} bytes, more than {ground.name_max}: {_shown(needs.longest.path)}"
        )
    return [Refusal(text) for text in found]


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _shown(path: bytes) -> str:
    return safe_text(os.fsdecode(path))
