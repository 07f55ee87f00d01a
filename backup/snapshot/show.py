"""Lists the snapshots that carry a mark of rpdrive, and removes those of jobs that are gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from backup.snapshot.base import Found, Options, Provider
from backup.snapshot.marks import Marked, clean, is_ours, marked
from backup.snapshot.this import barred, providers
from catalog.access.settings import Settings
from catalog.errors import WITH_PROBLEMS, LocalError, SnapshotFailed
from catalog.screen.output import print_json, say
from catalog.screen.stderr import warn
from catalog.screen.text import counted, iso_time, local_time, safe_text, table

IN_USE, LEFT, UNKNOWN, AWAY = "in use", "left behind", "unknown", "not there"
_MEANINGS = {
    UNKNOWN: "no backup of this user noted those that are unknown: rpdrive leaves them alone",
    AWAY: "those that are not there are noted, and their disk is not attached",
}


class Row(msgspec.Struct, frozen=True):
    """A snapshot. `process` is that of the job that uses it, 0 if none does."""

    found: Found
    state: str
    process: int = 0


def rows(state: Path, makers: Sequence[Provider]) -> tuple[list[Row], list[str]]:
    """All snapshots with a mark, and what could not be looked for, a line each."""
    files, said, result = marked(state), list[str](), list[Row]()
    for provider in makers:
        try:
            found = provider.found()
            result += [_row(one, is_ours(one, files)) for one in found]
            names = {one.name for one in found}
            for file in files:
                for one in file.noted:
                    if one.provider == provider.name and one.name not in names and not provider.reaches(one.name):
                        result.append(Row(Found(one.provider, one.name, file.path.stem), AWAY))
        except SnapshotFailed as e:
            said.append(f"{provider.name}: {e}")
    return result, said


def _row(found: Found, file: Marked | None) -> Row:
    if file is None:
        return Row(found, UNKNOWN)
    if not file.is_running:
        return Row(found, LEFT)
    return Row(found, IN_USE, file.maker.pid if file.maker is not None else 0)


def show_snapshots(settings: Settings, *, remove: bool, as_json: bool) -> int:
    """Print the snapshots, after removing those left behind with `remove`. Returns the exit code."""
    why = barred()
    if why:
        raise LocalError(f"snapshots can't be listed: {why}", "run the command as root")
    state, makers = settings.where("state"), providers(Options())
    before = rows(state, makers)[0] if remove else []
    problems = clean(state, makers) if remove else []
    found, said = rows(state, makers)
    there = {(row.found.provider, row.found.name) for row in found}
    gone = [row for row in before if row.state == LEFT and (row.found.provider, row.found.name) not in there]
    for text in problems + said:
        warn(text)
    if as_json:
        print_json({"removed": [_json(row) for row in gone], "snapshots": [_json(row) for row in found]})
    else:
        _print(found, len(gone) if remove else None)
    return WITH_PROBLEMS if problems or said else 0


def _print(found: list[Row], removed: int | None) -> None:
    if removed is not None:
        say(f"{counted(removed, 'snapshot')} removed")
    if not found:
        if removed is None:
            say("no snapshots")
        return
    lines = [
        [
            row.found.provider,
            local_time(row.found.time) if row.found.time else "-",
            row.state + (f" by process {row.process}" if row.process else ""),
            row.found.source,
            row.found.name,
        ]
        for row in found
    ]
    print(table(["KIND", "MADE", "STATE", "OF", "NAME"], [[safe_text(cell) for cell in line] for line in lines]))
    for state in dict.fromkeys(row.state for row in found):
        if state in _MEANINGS:
            say(_MEANINGS[state])


def _json(row: Row) -> dict[str, object]:
    return {
        "kind": row.found.provider,
        "name": row.found.name,
        "of": row.found.source,
        "time": iso_time(row.found.time) if row.found.time else None,
        "size": row.found.size or None,
        "state": row.state,
        "process": row.process or None,
    }
