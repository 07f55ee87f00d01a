"""The system state of a Linux machine as the source of a backup: `rpdrive backup --system-state`.

What the collector finds stands at /.system in the point, and nowhere on the machine; the files that configure the
machine are saved under their own paths.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from backup.request import Request, selected
from backup.selection import Selection
from backup.sources.base import Begun, Source
from backup.sources.staging import Staging
from backup.systems.base import File, Folder, Stat, System
from catalog.errors import LocalError, UsageError
from catalog.format.records import ItemKind
from catalog.inventory.collect import Wanted, collect

FOLDER = b"/.system"
NAME = "system state"  # of its item, if the user gives none
# What configures a machine, where it is there: of /usr only what no package brings.
PATHS = (
    "/etc", "/boot", "/efi", "/usr/local", "/var/lib/dpkg", "/var/lib/apt/extended_states", "/var/lib/rpm",
    "/usr/lib/sysimage/rpm", "/var/lib/dnf", "/var/lib/pacman/local", "/lib/apk/db", "/var/cache/debconf",
    "/var/spool/cron", "/var/spool/at", "/var/lib/alternatives", "/var/lib/snapd/state.json", "/var/lib/dkms",
    "/var/lib/systemd/linger", "/var/lib/AccountsService", "/var/lib/NetworkManager", "/var/lib/sss/secrets",
)  # fmt: skip


class SystemStateSource:
    """Collects into a staging folder when the backup begins, and has `files` read the rest. Closes it, too."""

    kind = ItemKind.SYSTEM

    def __init__(self, files: Source, state: Path, lock: Callable[[int], None], wanted: Wanted) -> None:
        self._files, self._state, self._lock, self._wanted = files, state, lock, wanted
        self._staging: Staging | None = None
        self._handle = -1
        self._begun: Begun | None = None

    def begin(self) -> Begun:
        if self._begun is None:
            self._staging = Staging(self._state, self._lock)
            try:
                found = collect(self._staging.path, self._wanted)
                _without_times(self._staging.path)
                self._handle = os.open(self._staging.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as e:
                raise LocalError(
                    f"the system state can't be kept in {self._staging.path}: {e.strerror}",
                    "check the free space of the state folder's disk",
                ) from e
            begun = self._files.begin()
            begun.top.at(FOLDER).handle = self._handle
            if not found.by_root:
                begun.problems.append(found.notes[0])
            self._begun = begun
        return self._begun

    def check(self, *, final: bool = False) -> None:
        self._files.check(final=final)

    def close(self) -> None:
        self._files.close()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        if self._staging is not None:
            self._staging.close()


def system_selection(request: Request, system: System[Folder, File, Stat]) -> Selection:
    """What a backup of the system state selects. Raises UsageError if paths are given, or the system has none."""
    if system.name != "Linux":
        raise UsageError(
            f"the system state of {system.name} can't be collected", "it works on Linux, and on Windows servers"
        )
    if request.paths:
        raise UsageError(
            "--system-state chooses what it saves", "leave the paths out, or save them as an item of their own"
        )
    from backup.sources.files import leaves_out  # which does not load on Windows

    there = [Path(path) for path in PATHS if os.path.exists(path)]
    selection = selected(msgspec.structs.replace(request, paths=there), system)
    # Nobody gave these paths, so it is no problem if a rule leaves one out.
    selection.paths = sorted(
        [*(path for path in selection.paths if not leaves_out(selection.exclusions, path)), FOLDER]
    )
    return selection


def _without_times(folder: Path) -> None:
    """Give all that was collected the same times: that it was collected again is no change."""
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, ns=(0, 0), follow_symlinks=False)
