"""Shadow copies by WMI: the fallback, for where the Volume Shadow Copy Service does not answer rpdrive.

They are persistent: they outlive rpdrive, and a restart of Windows. So each is noted by its id, by PowerShell
itself in the moment in which it was made, and removed by that id only, at the end or by a later start. No writer
is told, and several volumes are copied one after the other.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from backup.snapshot.base import Found, Mark, Options, Snapshot, Volume, tag_in
from backup.snapshot.vss.meanings import wmi_meaning
from backup.snapshot.vss.provider import Shadow, rights
from backup.snapshot.vss.volumes import is_device, letter_of, why_not
from catalog.errors import LocalError, SnapshotFailed, SnapshotLost
from catalog.program import child_environment
from catalog.windows.api import Api
from catalog.windows.console import Output, Run, run
from catalog.windows.server import powershell

_ID = re.compile(r"\{[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}")
_HEAD = "$ErrorActionPreference = 'Stop'; $ProgressPreference = 'SilentlyContinue'; "
# Arguments come by the environment, so that no text of a user becomes a part of a script.
MAKE = _HEAD + (
    "$r = Invoke-CimMethod -ClassName Win32_ShadowCopy -MethodName Create"
    " -Arguments @{Volume = $env:RPDRIVE_VOLUME; Context = 'ClientAccessible'}; "
    "$d = ''; if ($r.ReturnValue -eq 0) {"
    " [IO.File]::AppendAllText($env:RPDRIVE_NOTE, $env:RPDRIVE_NAME + ' ' + $r.ShadowID + \"`n\"); "
    "$d = (Get-CimInstance Win32_ShadowCopy | Where-Object { $_.ID -eq $r.ShadowID }).DeviceObject }; "
    "ConvertTo-Json -Compress -InputObject @{code = $r.ReturnValue; id = $r.ShadowID; device = $d}"
)
LIST = _HEAD + (
    "ConvertTo-Json -Compress -InputObject @(Get-CimInstance Win32_ShadowCopy | ForEach-Object {"
    " @{id = $_.ID; volume = $_.VolumeName} })"
)
REMOVE = _HEAD + (
    "Get-CimInstance Win32_ShadowCopy | Where-Object { $_.ID -eq $env:RPDRIVE_ID } | Remove-CimInstance; '{}'"
)
_QUICK = 60.0  # s
_MAKING = 600.0  # s in which a PowerShell whose rpdrive was killed may still note what it makes


class _Made(msgspec.Struct):
    code: int
    id: str | None = None
    device: str | None = None


class _Row(msgspec.Struct):
    id: str
    volume: str | None = None


class Wmi:
    """The Provider `wmi`. `notes` is the folder of its files, one a backup, with the ids of its shadow copies."""

    name = "wmi"

    def __init__(self, api: Api, notes: Path, options: Options | None = None, runner: Run = run) -> None:
        self._api, self._notes, self._options, self._run = api, notes, options or Options(), runner
        self.problems: list[str] = []

    def takes(self, volume: Volume) -> str:
        """See Provider."""
        return why_not(volume) or rights(self._api)

    def within(self, volume: Volume) -> list[Volume]:
        """See Provider."""
        return []

    def make(self, volumes: list[Volume], mark: Mark) -> list[Snapshot]:
        """See Provider: one after the other."""
        note = self._notes / f"{mark.tag}.wmi"
        try:
            self._notes.mkdir(parents=True, exist_ok=True)
            note.touch(mode=0o600)
        except OSError as e:
            raise LocalError(f"{note} can't be written: {e.strerror}", "check the permissions and the room") from e
        made: list[Snapshot] = []
        try:
            for volume in volumes:
                name = f"{mark.tag}-{letter_of(volume.place)}"
                mark.note(self.name, name)
                try:
                    made.append(self._make(volume, name, note, mark))
                except BaseException:
                    with suppress(LocalError):  # else a later start does
                        self.delete(name, note)
                        mark.forget(self.name, name)
                    raise
        except BaseException:
            for shadow in made:
                with suppress(LocalError):
                    shadow.remove()
            raise
        return made

    def _make(self, volume: Volume, name: str, note: Path, mark: Mark) -> Shadow:
        letter = letter_of(volume.place)
        before = time.time_ns()
        variables = {"RPDRIVE_VOLUME": f"{letter}:\\", "RPDRIVE_NAME": name, "RPDRIVE_NOTE": str(note)}
        found = self._powershell(MAKE, _Made, self._options.timeout, variables)
        if found.code:
            meaning = wmi_meaning(found.code)
            raise SnapshotFailed(f"no shadow copy of {letter}: was made: {meaning.text}", meaning.advice)
        if not _ID.fullmatch(found.id or "") or not is_device(found.device or ""):
            raise SnapshotFailed("Windows named a shadow copy in an unknown way", "please report it")
        return Shadow(volume, name, before, found.device or "", _One(self, name, note), self.name, mark)

    def found(self) -> list[Found]:
        """See Provider: those that were noted and are there."""
        noted = {name: id for note in self._notes.glob("*.wmi") for name, id in _noted(note).items()}
        rows = self._listed() if noted else {}
        return [Found(self.name, name, tag_in(name), rows[id]) for name, id in noted.items() if id in rows]

    def reaches(self, name: str) -> bool:
        """See Provider. A PowerShell that was about to make it may outlive its rpdrive."""
        note = self._notes / f"{tag_in(name)}.wmi"
        with suppress(OSError):
            if name not in _noted(note) and time.time() - note.stat().st_mtime < _MAKING:
                return False
            self._forget(name, note)
        return True

    def remove(self, found: Found) -> None:
        """See Provider. Only what was noted is removed, whoever asks."""
        for note in self._notes.glob("*.wmi"):
            if found.name in _noted(note):
                self.delete(found.name, note)

    def delete(self, name: str, note: Path) -> None:
        """Delete a shadow copy that a file notes, if it does. Raises SnapshotFailed."""
        id = _noted(note).get(name)
        if id is not None:
            self._powershell(REMOVE, dict[str, Any], _QUICK, {"RPDRIVE_ID": id.upper()})
        with suppress(OSError):
            self._forget(name, note)

    @staticmethod
    def _forget(name: str, note: Path) -> None:
        left = {other: id for other, id in _noted(note).items() if other != name}
        if left:
            note.write_text("".join(f"{other} {id}\n" for other, id in left.items()), encoding="ascii")
        else:
            note.unlink(missing_ok=True)

    def is_there(self, name: str, note: Path) -> bool:
        """Whether a shadow copy exists. Raises SnapshotFailed."""
        return _noted(note).get(name) in self._listed()

    def _listed(self) -> dict[str, str]:
        """All shadow copies of this machine: ids, and names of volumes."""
        rows = self._powershell(LIST, list[_Row], _QUICK, {})
        return {row.id.lower(): row.volume or "" for row in rows}

    def _powershell(self, script: str, kind: Any, timeout: float, variables: dict[str, str]) -> Any:
        """Run a script. Returns the JSON that it ends with. Raises SnapshotFailed."""
        try:
            done: Output = self._run(powershell(script), timeout, child_environment() | variables)
        except LocalError as e:
            raise SnapshotFailed(str(e), e.advice) from e
        if not done.in_time:
            raise SnapshotFailed(
                f"PowerShell did not answer within {timeout:.0f} s", "--snapshot-timeout gives it longer"
            )
        line = next((each for each in reversed(done.text.splitlines()) if each.strip()), "")
        try:
            if done.code:
                raise ValueError
            return msgspec.convert(json.loads(line), kind)
        except (ValueError, RecursionError, msgspec.ValidationError) as e:
            said = done.last() or f"it ended with code {done.code}"
            raise SnapshotFailed(f"PowerShell could not do it: {said[:300]}", "try --snapshot-provider vss") from e


class _One:
    """The holder of one shadow copy."""

    def __init__(self, wmi: Wmi, name: str, note: Path) -> None:
        self._wmi, self._name, self._note = wmi, name, note

    def check(self) -> None:
        if not self._wmi.is_there(self._name, self._note):
            raise SnapshotLost("the shadow copy was deleted while it was read", wmi_meaning(6).advice)

    def drop(self) -> None:
        self._wmi.delete(self._name, self._note)


def _noted(note: Path) -> dict[str, str]:
    """Names and ids in a file. A line that is none counts for nothing."""
    try:
        text = note.read_bytes()[: 64 << 10].decode("ascii", "replace")
    except OSError:
        return {}
    rows = (line.split(" ") for line in text.splitlines())
    own = tag_in(note.name)
    return {
        row[0]: row[1].lower() for row in rows if len(row) == 2 and _ID.fullmatch(row[1]) and tag_in(row[0]) == own
    }
