"""One backup: compare with the previous point, store what is new, commit one recovery point."""

from __future__ import annotations

import logging
import sqlite3

from backup.attempt import Attempt, Start
from backup.evidence import Evidence, Fatal, StartOver
from backup.lineage import Ancestry
from backup.mirrorfile import is_malformed
from backup.mirroring import read_index
from backup.run import Result, Run
from backup.systems.base import File, Folder, Stat
from catalog.errors import Damaged, LocalError
from catalog.interruption import came

ATTEMPTS = (
    5  # before a run gives up because packs keep vanishing, or because the mirror is malformed again and again
)
_log = logging.getLogger("rpdrive.backup")


def perform(run: Run[Folder, File, Stat], *, dry: bool = False) -> Result:
    """Back up and commit; `dry` writes nothing. A file that can't be read is a problem of the run, not an error.

    Raises StoreError; LocalError if the mirror can't be used, or packs vanish again and again; MissingData if the
    point was written but can't be relied on.
    """
    run.vault.on_damage = run.damaged.note
    mark = run.problems.mark()
    left = ATTEMPTS
    while True:
        try:
            return _perform(run, dry)
        except sqlite3.Error as e:
            if came():  # in a callback of SQLite, say: it is not the file that failed
                raise KeyboardInterrupt from e
            left -= 1
            if not (left and is_malformed(e)):
                raise LocalError(
                    f"the index mirror failed: {e}", "check that the disk of the state folder has room"
                ) from e
            _log.info("the index mirror is malformed, and made anew: %s", e)
            run.mirror.remake()
            run.problems.back_to(mark)


def _perform(run: Run[Folder, File, Stat], dry: bool) -> Result:
    try:
        return _attempts(run, dry)
    except Fatal as e:
        raise e.error from e


def _attempts(run: Run[Folder, File, Stat], dry: bool) -> Result:
    start, evidence, ancestry = Start.now(), Evidence(run), Ancestry(run)
    if not dry:
        evidence.look()
        read_index(run)
    mark = run.problems.mark()
    unusable: Damaged | None = None
    record_bytes = 0
    left = ATTEMPTS
    while True:
        lineage = ancestry.find()
        if unusable is not None:  # read all files and compare their contents
            why = f"the tree of the previous point can't be used ({unusable}); all files were read again"
            run.problems.add(b"", why)
            lineage = lineage.without_parent()
        attempt = Attempt(run, ancestry, lineage, evidence, start, dry=dry, record_bytes=record_bytes)
        try:
            return attempt.run()
        except StartOver as e:
            left -= 1
            if not left:
                raise LocalError(str(e), e.advice) from e
            _log.info("%s: the backup starts over", e)
        except Fatal as e:
            raise e.error from e
        except Damaged as e:
            if lineage.parent is None:
                raise
            unusable = e
        record_bytes = attempt.record_bytes
        run.problems.back_to(mark)
