"""The folder WindowsImageBackup of Windows Server Backup, and how Windows is recovered from it. Pure: no I/O.

    WindowsImageBackup\\\\COMPUTER\\\\Backup 2026-11-27 160000\\\\*.vhdx, *.xml
    WindowsImageBackup\\\\COMPUTER\\\\Catalog\\\\GlobalCatalog, BackupGlobalCatalog
    WindowsImageBackup\\\\COMPUTER\\\\MediaId

Sources: the pages of wbadmin of Microsoft; its tool names a version by the time (UTC) in the folder's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

FOLDER = "WindowsImageBackup"
FACTS = "WindowsImageBackup.json"  # beside it
FACTS_MAX = 64 << 10  # bytes
PATH_MAX = 110  # characters of an image's path; with more, recovery from Windows's own medium ends with 0x80070001
TOMBSTONE = 60  # days, where the directory says nothing: Microsoft's lowest
DAY = 86_400 * 10**9
_VERSION = re.compile(r"Backup (\d{4}-\d\d-\d\d \d{6})")
_COMPUTER = re.compile(r"[^\x00-\x1f\\/:*?\"<>|.][^\x00-\x1f\\/:*?\"<>|]{0,62}")


class Facts(msgspec.Struct, omit_defaults=True):
    """What rpdrive notes beside the folder, which `tag` marks as ours. `time` is ns (UTC), `tombstone` in days."""

    tag: str = ""
    computer: str = ""
    product: str = ""
    build: str = ""
    domain_controller: bool = False
    tombstone: int = 0
    time: int = 0


class Backups(msgspec.Struct):
    """What a folder holds: a computer's versions, the newest first, and paths below the folder of disk images."""

    computer: str
    versions: list[str]
    images: list[str]
    has_catalog: bool


def read_facts(data: bytes) -> Facts:
    """The facts in a file; empty ones if it holds none."""
    try:
        return msgspec.json.decode(data[:FACTS_MAX], type=Facts)
    except (msgspec.DecodeError, RecursionError):
        return Facts()


def version_of(folder: str) -> str:
    """wbadmin's name for the version in a folder: `MM/DD/YYYY-HH:MM` (UTC). Empty if the folder has none."""
    match = _VERSION.fullmatch(folder)
    if match is None:
        return ""
    try:
        return datetime.strptime(match[1], "%Y-%m-%d %H%M%S").strftime("%m/%d/%Y-%H:%M")
    except ValueError:
        return ""


def backups_in(paths: Iterable[str]) -> list[Backups]:
    """What is in the folder, from the paths of its files, e.g. `SRV01\\\\MediaId`. A row a computer."""
    found: dict[str, Backups] = {}
    folders: dict[str, set[str]] = {}
    for path in paths:
        computer, _, rest = path.partition("\\")
        if not rest:
            continue
        row = found.setdefault(computer, Backups(computer, [], [], has_catalog=False))
        above, _, name = rest.rpartition("\\")
        if above == "Catalog" and name == "GlobalCatalog":
            row.has_catalog = True
        if name.lower().endswith((".vhd", ".vhdx")) and version_of(above):
            row.images.append(path)
            folders.setdefault(computer, set()).add(above)
    for computer, row in found.items():
        row.versions = [version_of(folder) for folder in sorted(folders.get(computer, ()), reverse=True)]
    return list(found.values())


def faults(row: Backups) -> list[str]:
    """Why Windows Server Backup would not find it; empty if it would."""
    said = []
    if not row.versions:
        said.append(f"{row.computer} holds no disk image of a backup")
    if not row.has_catalog:
        said.append(f"{row.computer}\\Catalog\\GlobalCatalog is missing")
    if not _COMPUTER.fullmatch(row.computer):
        said.append(f"{row.computer!r} is no name of a computer")
    return said


def too_long(row: Backups, target: str) -> list[str]:
    """The images whose path at a target such as `D:\\\\` is longer than recovery takes."""
    paths = [f"{target.rstrip(chr(92))}\\{FOLDER}\\{image}" for image in row.images]
    return [path for path in paths if len(path) > PATH_MAX]


def steps(row: Backups, drive: str, facts: Facts, now: int, *, controller: bool = False) -> list[str]:
    """How to recover from it, once it is at the root of `drive` (`D:`). `now` is ns, UTC."""
    at = f"-backupTarget:{drive} -machine:{row.computer}"
    version = row.versions[0]
    lines = [
        f"The system state of {row.computer}{_of(facts)} is ready for Windows Server Backup.",
        "Recover it on the same or a later Windows, on hardware like the old. It can't be undone.",
        "In a prompt opened with 'Run as administrator':",
    ]
    recover = f"    wbadmin start systemstaterecovery -version:{version} {at} -quiet"
    controller = controller or facts.domain_controller
    if controller:
        lines += [
            "It is a domain controller: start it in Directory Services Restore Mode first (its own password):"
        ]
        lines += ["    bcdedit /set safeboot dsrepair", "    shutdown /r /t 0"]
    lines += [f"    wbadmin get versions {at}", recover]
    if controller:
        lines += [
            "    (add -authsysvol only if this copy of SYSVOL is to win over those of all other controllers)",
            "    bcdedit /deletevalue safeboot",
            "    shutdown /r /t 0",
        ]
    else:
        lines += ["    shutdown /r /t 0"]
    lines += [f"After the restart: wbadmin start systemstaterecovery -version:{version} -showsummary"]
    if len(row.versions) > 1:
        lines += [f"Other versions: {', '.join(row.versions[1:6])}"]
    if controller:
        lines += _age(version, facts, now)
    return lines


def _of(facts: Facts) -> str:
    return f" ({facts.product}, build {facts.build})" if facts.product and facts.build else ""


def _age(version: str, facts: Facts, now: int) -> list[str]:
    """A warning if the directory has forgotten by now what this backup may hold."""
    made = int(datetime.strptime(version, "%m/%d/%Y-%H:%M").replace(tzinfo=UTC).timestamp()) * 10**9
    days, life = (now - made) // DAY, facts.tombstone or TOMBSTONE
    known = "" if facts.tombstone else " (not known: Microsoft's lowest)"
    if days >= life:
        return [
            f"WARNING: this backup is {days} days old, and the tombstone lifetime is {life} days{known}:",
            "other domain controllers would not accept it. Promote a new one instead, or recover the whole forest.",
        ]
    left = f"within the tombstone lifetime of {life} days{known}"
    return [f"It is {max(days, 0)} days old, and must be recovered {left}."]
