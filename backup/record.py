"""The record of a backup: what it did and how it ended. `rpdrive jobs` shows it."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from backup.progress import Progress
from backup.run import Problems, Result
from catalog.errors import AccessDenied, RpdriveError, StoreUnreachable
from catalog.format.records import Item, Job, Machine, Outcome, Problem
from catalog.interruption import was_stopped
from catalog.jobs.local import LocalJob, LocalJobs
from catalog.schedule.noted import Running
from catalog.vault import Vault

PATIENCE = 10.0  # seconds to wait for the record to reach the vault; the point is there already
_LISTED, _ERROR = 100, 4 << 10  # problems in a record, characters of its error
_log = logging.getLogger("rpdrive.backup")


class Record:
    """The record of one run, from its beginning. It is kept in the vault, or on this machine if that fails.

    No error here makes a backup fail.
    """

    def __init__(self, vault: Vault, state: Path, machine: Machine, item: Item) -> None:
        self._vault, self._state = vault, state
        self._problems = Problems(_LISTED)
        self._running: Running | None = None
        self._job = Job(
            id=os.urandom(16), machine=machine.id, item=item.id, kind="backup", outcome=Outcome.FAILED,
            machine_name=machine.name, item_name=item.name, hostname=machine.hostname, time=time.time_ns(),
            finished=0,
        )  # fmt: skip

    def begin(self) -> None:
        """Note that the run begins: a run that is killed leaves that."""
        self._running = Running(self._vault, self._state, self._job)

    @property
    def id(self) -> str:
        return self._job.id.hex()

    def problem(self, problem: Problem) -> None:
        """Add a problem when it occurs: a run that fails has no other list of them."""
        self._problems.add(problem.path, problem.reason)

    def completed(self, result: Result) -> int:
        """Keep the record of a run that made a point. Returns the size of the records in the vault, in bytes."""
        job, point = self._job, result.point
        job.outcome = Outcome.WITH_WARNINGS if result.problem_count else Outcome.COMPLETED
        job.point = point.id if point else None
        job.entries, job.files, job.bytes = result.totals.entries, result.totals.files, result.totals.bytes
        self._fill(result.progress, result.record_bytes)
        job.problems, job.problem_count = result.problems[:_LISTED], result.problem_count
        return self._keep(in_vault=True)

    def ended(self, error: BaseException, progress: Progress) -> None:
        """Keep the record of a run that made no point."""
        job = self._job
        stopped = was_stopped(error)
        job.outcome = Outcome.INTERRUPTED if stopped else Outcome.FAILED
        job.error_kind, job.error = type(error).__name__, "" if stopped else _plain(str(error))[:_ERROR]
        job.entries, job.files, job.bytes = progress.entries, progress.files, progress.totals().bytes
        self._fill(progress, 0)
        job.problems, job.problem_count = self._problems.listed, self._problems.count
        # A store that has just refused, or not answered, is not asked again.
        self._keep(in_vault=not isinstance(error, StoreUnreachable | AccessDenied))

    def _fill(self, progress: Progress, record_bytes: int) -> None:
        job, sent = self._job, progress.sent
        job.new, job.changed, job.removed = progress.new, progress.changed, progress.removed
        job.unchanged, job.read_bytes, job.new_bytes = progress.unchanged, progress.read_bytes, sent.new_bytes
        job.stored_bytes = sent.data_bytes + sent.tree_bytes + record_bytes
        job.finished = time.time_ns()

    def _keep(self, *, in_vault: bool) -> int:
        stored: list[int] = []
        if self._running is not None:
            self._running.ended(self._job)

        def write() -> None:
            try:
                stored.append(self._vault.add_job(self._job))
            except Exception as e:  # noqa: BLE001 - no error may fail the backup
                _log.info("the job could not be recorded in the vault: %s", e)

        if in_vault:
            # In a thread of its own: an unreachable store may take a minute to fail.
            thread = threading.Thread(target=write, name="job record", daemon=True)
            thread.start()
            thread.join(PATIENCE)
        if not stored:
            self._keep_here()
        return sum(stored) + (0 if self._running is None else self._running.size)

    def _keep_here(self) -> None:
        job = self._job
        texts = [f"/{p.path.decode(errors='replace')}: {p.reason}" if p.path else p.reason for p in job.problems]
        row = LocalJob(
            id=job.id.hex(), kind=job.kind, vault=self._vault.id.hex(), point=job.point.hex() if job.point else "",
            machine=job.machine_name, item=job.item_name, target="", started=job.time, finished=job.finished,
            bytes=job.bytes, files=job.files, warnings=texts, warning_count=job.problem_count,
            outcome=job.outcome, error=job.error,
        )  # fmt: skip
        try:
            LocalJobs(self._state).add(row)
        except RpdriveError:
            pass


def _plain(text: str) -> str:
    return text.encode(errors="replace").decode()
