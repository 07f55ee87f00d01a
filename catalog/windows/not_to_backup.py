"""The files that Windows and its programs ask backups to leave out, as rules.

Two lists in the registry: FilesNotToBackup (page file, hibernation, caches, temporary files), and
FilesNotToSnapshot, whose files Windows deletes from shadow copies while it makes them. An entry is
`[drive][path]\\name [/s]`, with environment variables and, in the second list, $UserProfile$ and $AllVolumes$;
`/s` means the folders below, too. One that can't be a rule is left out. Sources: the pages "FilesNotToBackup" and
"Excluding Files from Shadow Copies" of Microsoft.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from catalog.windows.registry import Registry

_CONTROL = "SYSTEM\\CurrentControlSet\\Control\\BackupRestore\\"
_PROFILES = "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\ProfileList"
_DRIVE = re.compile(r"[A-Za-z]:\\")
_VARIABLE = re.compile(r"%([^%\\]+)%")
_ALL_VOLUMES, _USER_PROFILE = "$allvolumes$", "$userprofile$"
_MOST = 1000  # entries of a list
_RULES = 5000  # that a backup gets
_LONGEST = 1000  # characters of an entry


def rules(registry: Registry, environment: Mapping[str, str] = os.environ, *, snapshot: bool) -> list[str]:
    """The rules for a backup, as of `--exclude`. With `snapshot`, those for files that no shadow copy has, too."""
    found = _entries(registry, "FilesNotToBackup")
    if snapshot:
        found += _entries(registry, "FilesNotToSnapshot")
    variables = {name.lower(): value for name, value in environment.items()}
    profiles = _profiles(registry, variables) if any(_USER_PROFILE in each.lower() for each in found) else []
    made: dict[str, None] = {}
    for entry in found:
        for rule in _rules_of(entry, variables, profiles):
            made.setdefault(rule)
    return list(made)[:_RULES]


def _entries(registry: Registry, name: str) -> list[str]:
    found: list[str] = []
    for value in registry.values(_CONTROL + name).values():
        if isinstance(value, list):
            found += [each for each in value if isinstance(each, str) and len(each) <= _LONGEST]
    return found[:_MOST]


def _profiles(registry: Registry, variables: Mapping[str, str]) -> list[str]:
    found = []
    for name in registry.keys(_PROFILES):
        path = registry.values(f"{_PROFILES}\\{name}").get("ProfileImagePath")
        if isinstance(path, str) and _DRIVE.match(path := _expanded(path, variables)):
            found.append(path.rstrip("\\"))
    return found[:_MOST]


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match[1].lower(), match[0]), text)


def _rules_of(entry: str, variables: Mapping[str, str], profiles: Sequence[str]) -> list[str]:
    """The rules of an entry. The last one counts, as in a .gitignore file."""
    text = entry.strip()
    below = text.lower().endswith((" /s", "\t/s"))
    if below:
        text = text[:-2].rstrip()
    text = _expanded(text, variables)
    low = text.lower()
    if low.startswith(_USER_PROFILE):
        paths = [profile + text[len(_USER_PROFILE) :] for profile in profiles]
    elif low.startswith(_ALL_VOLUMES):
        paths = [text[len(_ALL_VOLUMES) :]]
    else:
        paths = [text]
    return [rule for path in paths for rule in _rule(path, below=below)]


def _rule(path: str, *, below: bool) -> list[str]:
    drive = "*"
    if _DRIVE.match(path):
        drive, path = path[0].upper(), path[2:]
    if not path.startswith("\\") or path.startswith("\\\\") or "%" in path or "$UserProfile$" in path:
        return []
    *folders, name = (_escaped(part) for part in path.split("\\")[1:])
    if not name or not all(folders) or {".", ".."} & {name, *folders} or any(ord(c) < 32 for c in path):
        return []
    above = "/".join(["", drive, *folders])
    everything = name in ("*", "*.*")
    if everything and not folders:
        return []  # no program may ask for whole drives to be left out
    if below:
        return [f"{above}/**" if everything else f"{above}/**/{name}"]
    if everything:
        return [f"{above}/*", f"!{above}/*/"]  # files only
    return [f"{above}/{name}"]


def _escaped(name: str) -> str:
    """A name with Windows's wildcards as one of a rule."""
    return name.replace("[", "\\[").rstrip(" ") if name != "*.*" else "*.*"
