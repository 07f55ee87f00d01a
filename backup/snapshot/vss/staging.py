"""What Windows Server Backup made on a staging volume: found by its mark, and removed.

Beside the folder WindowsImageBackup stands a file with the mark of the backup that had it made. What carries a
mark that rpdrive noted is removed, at the end or by a later start, and no other folder of that name ever is.
"""

from __future__ import annotations

from contextlib import suppress

from backup.snapshot.base import OTHER, Found, Mark, Snapshot, Volume, tag_in
from catalog.errors import SnapshotFailed
from catalog.program import child_environment
from catalog.windows import trees
from catalog.windows.api import BACKUP_PRIVILEGE, RESTORE_PRIVILEGE, Api, Failed
from catalog.windows.console import Output, Run, run, system_program
from catalog.windows.image_backup import FACTS, FACTS_MAX, FOLDER, Facts, read_facts

PROVIDER = "wbadmin"  # in marks
SOON = 300.0  # s for what wbadmin does at once


def staging_path(letter: str, name: str) -> str:
    """A name at the root of a drive, for the calls of Windows."""
    return f"\\\\?\\{letter}:\\{name}"


class Staging:
    """What wbadmin made on a volume: found by its file, and removed. As a Provider, for `rpdrive snapshots`."""

    name = PROVIDER

    def __init__(self, api: Api, runner: Run = run) -> None:
        self._api, self._run = api, runner

    def takes(self, volume: Volume) -> str:
        """See Provider: it makes no snapshots."""
        return OTHER

    def within(self, volume: Volume) -> list[Volume]:
        """See Provider."""
        return []

    def make(self, volumes: list[Volume], mark: Mark) -> list[Snapshot]:
        """See Provider."""
        raise SnapshotFailed("a staging folder is no snapshot", "please report it")

    def found(self) -> list[Found]:
        """See Provider: folders that carry a mark, on any drive."""
        rows = []
        for letter in self._api.drives():
            facts = self.facts(letter)
            if tag_in(facts.tag):
                with suppress(OSError):
                    name = self._api.volume_name(f"{letter}:\\")
                    rows.append(Found(PROVIDER, name, tag_in(facts.tag), f"{letter}:\\{FOLDER}", facts.time))
        return rows

    def facts(self, letter: str) -> Facts:
        """The file on a drive; empty facts if it has none that can be read."""
        with suppress(OSError):
            return read_facts(trees.contents(self._api, staging_path(letter, FACTS), FACTS_MAX))
        return Facts()

    def reaches(self, name: str) -> bool:
        """See Provider."""
        return any(found == name for found in self._volumes().values())

    def _volumes(self) -> dict[str, str]:
        found = {}
        for letter in self._api.drives():
            with suppress(OSError):
                found[letter] = self._api.volume_name(f"{letter}:\\")
        return found

    def remove(self, found: Found) -> None:
        """See Provider. The backup that made it was killed: wbadmin may still be at work on it."""
        for letter, name in self._volumes().items():
            if name == found.name and tag_in(self.facts(letter).tag) == found.tag:
                self.wbadmin(SOON, "stop", "job", "-quiet")
                self.clear(letter)

    def clear(self, letter: str) -> None:
        """Remove the folder, then its mark. Raises SnapshotFailed."""
        # Windows Server Backup has its own list of backups, and shadow copies of the volume, which go with this.
        self.wbadmin(SOON, "delete", "systemstatebackup", f"-backupTarget:{letter}:", "-keepVersions:0", "-quiet")
        try:
            with suppress(OSError):
                self._api.take_privileges((BACKUP_PRIVILEGE, RESTORE_PRIVILEGE))
            for name in (FOLDER, FACTS):  # the mark last: what is left of the folder is known by it
                if trees.exists(self._api, staging_path(letter, name)):
                    trees.remove(self._api, staging_path(letter, name))
        except Failed as e:
            raise SnapshotFailed(
                f"{letter}:\\{FOLDER} can't be removed: {e.strerror}", "the next start tries again"
            ) from e

    def wbadmin(self, timeout: float, *words: str) -> Output:
        """Run wbadmin. Raises LocalError if it can't be started."""
        return self._run([system_program("wbadmin.exe"), *words], timeout, child_environment())
