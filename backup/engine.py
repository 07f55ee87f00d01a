"""One backup: compare with the previous point, store what is new, commit one recovery point."""

from __future__ import annotations

import sqlite3

from backup.attempt import Attempt, Lineage, Start
from backup.mirroring import refresh_mirror
from backup.run import Result, Run
from backup.systems.base import File, Folder, Stat
from catalog.errors import Damaged, LocalError, ObjectNotFound


def perform(run: Run[Folder, File, Stat], *, dry: bool = False) -> Result:
    """Back up and commit; `dry` writes nothing. A file that can't be read is a problem of the run, not an error.

    Raises StoreError; LocalError if the mirror fails or packs vanish during the run.
    """
    try:
        return _perform(run, dry)
    except sqlite3.Error as e:
        raise LocalError(
            f"the mirror of the index failed: {e}",
            "check that the disk of the state folder has room; if the file is damaged, remove it",
        ) from e


def _perform(run: Run[Folder, File, Stat], dry: bool) -> Result:
    start = Start.now()
    lineage = _lineage(run)
    refresh_mirror(run.mirror, run.vault, run.machine, run.problems, start.time, dry=dry)
    mark = run.problems.mark()
    attempt = Attempt(run, lineage, start, dry=dry)
    try:
        return attempt.run()
    except Damaged as e:
        if lineage.parent is None:
            raise
        # The parent's tree can't be read: read all files and compare their contents.
        run.problems.back_to(mark)
        run.problems.add(b"", f"the tree of the previous point can't be used ({e}); all files were read again")
        lineage = lineage._replace(parent=None)
        return Attempt(run, lineage, start, dry=dry, record_bytes=attempt.record_bytes).run()


def _lineage(run: Run[Folder, File, Stat]) -> Lineage:
    """Find the points before this one."""
    names = run.vault.point_names(run.machine.id, run.item.id, partial=True)
    newest = max((n for n in names if not n.partial), key=lambda n: n.sequence, default=None)
    best = max(names, key=lambda n: (n.sequence, not n.partial, n.time), default=None)
    parent = None
    if best is not None:
        try:
            parent = run.vault.point(best)
        except (Damaged, ObjectNotFound) as e:
            run.problems.add(b"", f"the previous point can't be used ({e}); all files are read again")
    return Lineage(newest, parent)
