"""The system state of a Windows server: made by Windows Server Backup on a staging volume, saved from there,
removed.

Microsoft supports no other way to bring a system state back, so its own tool makes and recovers it, and rpdrive
keeps the folder WindowsImageBackup that it makes. Beside that folder stands a file with the mark of the backup:
what carries a mark that rpdrive noted is removed, at the end or by a later start, and no other folder of that name
ever is.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

import msgspec

from backup.snapshot.base import Mark
from backup.snapshot.vss.meanings import meaning
from backup.snapshot.vss.provider import rights
from backup.snapshot.vss.staging import PROVIDER, SOON, Staging, staging_path
from backup.snapshot.vss.volumes import recorded, volume_of
from backup.sources.base import Begun
from catalog.errors import LocalError, UsageError
from catalog.format.records import ItemKind
from catalog.program import child_environment
from catalog.screen.text import size_text
from catalog.windows import files, trees
from catalog.windows.api import READ_DATA, Api, Failed
from catalog.windows.console import Run, run, system_program
from catalog.windows.image_backup import FACTS, FOLDER, Facts, backups_in, faults
from catalog.windows.registry import Registry
from catalog.windows.server import SERVICES, Asked, Server, ask, this_server

LONGEST = 12 * 3600.0  # s for wbadmin
_SFC = 3600.0  # s
ROOM = 10 << 30  # bytes that must be free on the staging volume
_LETTER = re.compile(r"([A-Za-z]):?\\?")
_HRESULT = re.compile(r"0x8[0-9A-Fa-f]{7}")


def staging_letter(text: str) -> str:
    """The letter of `--staging X:`. Raises UsageError."""
    match = _LETTER.fullmatch(text)
    if match is None:
        raise UsageError(f"--staging takes the letter of a drive, not {text!r}", "e.g. --staging E:")
    return match[1].upper()


def staged(letter: str) -> list[bytes]:
    """What is to be saved of a drive, in the form of points."""
    return [f"/{letter}/{name}".encode() for name in (FOLDER, FACTS)]


class Wbadmin:
    """The Source of a Windows server's system state. `sfc`: have Windows check its own files first.

    `before` is called before the checks, and returns problems.
    """

    kind = ItemKind.SYSTEM

    def __init__(
        self, api: Api, letter: str, mark: Mark, registry: Registry, runner: Run = run, *, sfc: bool = False,
        longest: float = LONGEST, environment: Mapping[str, str] = os.environ,
        before: Callable[[], list[str]] = list, close: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._api, self._letter, self._mark, self._registry, self._run = api, letter, mark, registry, runner
        self._sfc, self._longest, self._environment = sfc, longest, environment
        self._before, self._close = before, close
        self._staging = Staging(api, runner)
        self._name = ""  # of the volume, once there is something to be removed
        self._begun: Begun | None = None

    def begin(self) -> Begun:
        """See Source. Raises LocalError, which names everything that is in the way at once."""
        if self._begun is not None:
            return self._begun
        server = this_server(self._registry, self._environment)
        if server.is_client:
            raise LocalError(
                f"{server.product} is no server: Windows makes system state backups of servers only",
                "back up the files of this computer (`rpdrive backup C:\\`), and reinstall Windows if it is lost",
            )
        problems = self._before()
        asked = ask(self._run, server, child_environment(self._environment))
        refused = [*self._refusals(server, asked)]
        if refused:
            raise LocalError(
                f"no system state was backed up: {'; '.join(refused)}", "see docs/windows-system-state.md"
            )
        problems += self._checked_files()
        began = time.time_ns()
        facts = Facts(
            tag=self._mark.tag, computer=server.computer, product=server.product, build=server.build,
            domain_controller=server.is_domain_controller, tombstone=asked.tombstone, time=began,
        )  # fmt: skip
        volume = volume_of(self._api, self._letter)
        self._mark.note(PROVIDER, volume.source.decode())
        self._name = volume.source.decode()
        try:
            trees.write(self._api, staging_path(self._letter, FACTS), msgspec.json.encode(facts))
        except Failed as e:
            raise LocalError(f"{self._letter}:\\{FACTS} can't be written: {e.strerror}") from e
        self._make()
        rows = backups_in(self._names())
        said = [fault for row in rows for fault in faults(row)] or ([] if rows else [f"{FOLDER} is empty"])
        if said:
            raise LocalError(f"wbadmin ended well, but {'; '.join(said)}", "try it without rpdrive")
        # The contents are of one instant: wbadmin itself reads from shadow copies, with writers.
        self._begun = Begun(volumes=[recorded(self._api, volume, "", 0)], time=began, problems=problems)
        return self._begun

    # --- before ---------------------------------------------------------------------------------------------------

    def _refusals(self, server: Server, asked: Asked) -> Iterator[str]:
        """What is in the way, with what to do about it."""
        if why_not := rights(self._api):
            yield why_not
        if asked.feature and asked.feature != "Installed":
            yield "Windows Server Backup is not installed (`Install-WindowsFeature Windows-Server-Backup`)"
        yield from self._staging_refusals(server)
        if server.restart_is_due:
            yield "a restart of Windows is due, and its files are not complete before it"
        for service in asked.services:
            if service.name in SERVICES and service.start == "Disabled":
                yield f"the service {service.name} is disabled (`sc config {service.name} start= demand`)"

    def _staging_refusals(self, server: Server) -> Iterator[str]:
        letter, root = self._letter, f"{self._letter}:\\"
        if letter not in self._api.drives():
            yield f"{letter}: is no local disk (--staging)"
            return
        try:
            file_system, _flags = self._api.file_system(root)
            free, _size = self._api.room(root)
            taken = [name for name in (FOLDER, FACTS) if trees.exists(self._api, staging_path(letter, name))]
        except Failed as e:
            yield f"{letter}: can't be used: {e.strerror}"
            return
        room = ROOM
        if letter in server.critical:
            if not server.any_volume:
                yield (
                    f"{letter}: is a volume that Windows needs to start, which wbadmin refuses: use another disk,"
                    " or set AllowSSBToAnyVolume (docs/windows-system-state.md)"
                )
            room *= 2
        if file_system.upper() not in ("NTFS", "REFS"):
            yield f"{letter}: has {file_system}, and wbadmin needs NTFS"
        if free < room:
            yield f"{letter}: has {size_text(free)} of room, and {size_text(room)} are needed"
        for name in taken:
            yield f"{letter}:\\{name} is there already, and not this backup's: use another volume, or move it away"

    def _checked_files(self) -> list[str]:
        if not self._sfc:
            return []
        done = self._run([system_program("sfc.exe"), "/verifyonly"], _SFC, child_environment(self._environment))
        if done.in_time and done.code == 0:
            return []
        how = done.last(2)[:300] if done.in_time else "it took longer than an hour"
        return [f"sfc /verifyonly found fault with the files of Windows: {how}; run `sfc /scannow`"]

    # --- wbadmin --------------------------------------------------------------------------------------------------

    def _make(self) -> None:
        done = self._staging.wbadmin(
            self._longest, "start", "systemstatebackup", f"-backupTarget:{self._letter}:", "-quiet"
        )
        if not done.in_time:
            self._staging.wbadmin(SOON, "stop", "job", "-quiet")  # the service goes on without its command
            raise LocalError(
                f"wbadmin was stopped after {self._longest / 3600:.0f} hours",
                "see how far it comes without rpdrive",
            )
        if done.code:
            code = _HRESULT.search(done.text)
            found = meaning(int(code[0], 16)) if code else None
            why = f" ({found.text})" if found else ""
            advice = found.advice if found else "try `wbadmin start systemstatebackup` without rpdrive"
            raise LocalError(f"wbadmin ended with code {done.code}: {done.last()[-500:]}{why}", advice)

    def _names(self) -> Iterator[str]:
        """Paths of files below the folder, at most four folders deep."""
        stack = [("", 0)]
        while stack:
            below, depth = stack.pop()
            path = staging_path(self._letter, FOLDER) + (f"\\{below}" if below else "")
            names: Sequence[str] = []
            with suppress(Failed), self._api.opened(path, READ_DATA) as handle:
                if not files.look(self._api, handle).attributes & files.DIRECTORY:
                    yield below
                else:
                    names = [name for name, _short in files.listed(self._api, handle)]
            stack += [(f"{below}\\{name}" if below else name, depth + 1) for name in names if depth < 4]

    # --- after ----------------------------------------------------------------------------------------------------

    def check(self, *, final: bool = False) -> None:
        """See Source: the folder is ours until it is removed."""
        if final and self._staging.facts(self._letter).tag != self._mark.tag:
            raise LocalError(f"{self._letter}:\\{FOLDER} was replaced while it was saved", "run the backup again")

    def close(self) -> None:
        """See Source."""
        if self._name:
            with suppress(LocalError):  # else the next start does, by the mark
                self._staging.clear(self._letter)
                self._mark.forget(PROVIDER, self._name)
                self._name = ""
        self._close()
