"""The work of `rpdrive seed import` and `seed export`: run them and say what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from catalog.access.session import Session
from catalog.errors import WITH_PROBLEMS, Damaged
from catalog.screen.output import print_json, say
from catalog.screen.phases import NoFollower, PhaseScreen
from catalog.screen.stderr import warn
from catalog.seeds.databox import export_seed
from catalog.seeds.importing import Request, import_seed
from catalog.seeds.listing import export_json, export_lines, missing_lines, result_json, result_lines


def show_import(session: Session, request: Request, *, as_json: bool) -> int:
    """Import as a command. Returns the exit code: 0, WITH_PROBLEMS if something is missing, or that of Damaged.

    Raises what `import_seed` does.
    """
    with nullcontext() if as_json else PhaseScreen() as screen:
        result = import_seed(session, request, screen or NoFollower())
    missing = list(missing_lines(result))
    if as_json:
        print_json(result_json(result))
    else:
        for line in result_lines(result):
            say(line)
        for note in result.notes:
            warn(note, prefix="warning")
        for line in missing:
            warn(line)
    if result.has_damage:
        return Damaged.exit_code
    return WITH_PROBLEMS if missing else 0


def show_export(session: Session, sources: Sequence[str], to: Path, container: str, *, as_json: bool) -> int:
    """Export as a command. Returns the exit code: 0, or that of Damaged. Raises what `export_seed` does."""
    with nullcontext() if as_json else PhaseScreen() as screen:
        export = export_seed(session, sources, to, container, screen or NoFollower())
    if as_json:
        print_json(export_json(export))
    else:
        for line in export_lines(export):
            say(line)
        for error in export.problems:
            warn(f"{error}; {error.advice}" if error.advice else str(error))
    bad = export.problems or any(disk.bad_count for disk in export.disks)
    return Damaged.exit_code if bad else 0
