"""The process of a restore, which is re-executed: nothing of the page's memory is left in it but the master key.

It leads a session of its own, and goes on when the page, the browser or whoever serves the page has ended.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from catalog.access.memory import protect_memory
from catalog.errors import RpdriveError
from catalog.interruption import interrupt, listening, was_stopped
from mount.process.base import Pipes
from mount.process.this import PROCESSES

if TYPE_CHECKING:
    from catalog.access.session import Session
    from catalog.screen.progress import JobProgress
    from catalog.vault import Vault
    from mount.browse.running.files import RestoreFiles
    from mount.browse.running.order import Order
    from mount.browse.running.status import Plan, Status
    from mount.restore.job import Job
    from mount.restore.report import Report

TAKEN = b"taken\n"  # the answer: the process has the order, and writes its status itself
EVERY = 0.5  # seconds between two notes of the progress
_log = logging.getLogger("rpdrive.restore")


def main(order_pipe: int, answer_pipe: int) -> None:
    """Run the process. The arguments represent the pipes, see Processes.inherited."""
    from catalog.screen.redacted import log_to_stderr, protect_stderr

    protect_memory()
    protect_stderr()
    log_to_stderr("%(asctime)s %(levelname)s %(message)s", logging.WARNING)
    pipes = PROCESSES.inherited(Pipes(order_pipe, answer_pipe))
    import msgspec

    from catalog.access.session import Session
    from mount.browse.running.files import RestoreFiles
    from mount.browse.running.order import Order

    with os.fdopen(pipes.order, "rb") as pipe:
        data = pipe.read()
    if not data:
        return  # whoever started it has ended before it could say what to do
    order = msgspec.msgpack.decode(data, type=Order)
    os.environ.update(order.secrets)
    session = Session()
    session.address, session.also_given = order.address, order.also
    files = RestoreFiles(session.settings)

    def taken() -> None:
        try:
            os.write(pipes.answer, TAKEN)
        except OSError:
            pass  # the page is gone; the restore goes on
        os.close(pipes.answer)

    try:
        RunningRestore(order, session, files).run(taken)
    except RpdriveError as e:
        _log.error("%s", e)
        logging.shutdown()
        os._exit(e.exit_code)
    logging.shutdown()


class RunningRestore:
    """The restore of this process, or its plan. An Observer of its job."""

    every = EVERY
    live = True

    def __init__(self, order: Order, session: Session, files: RestoreFiles) -> None:
        """Raises NotFound if it was removed meanwhile."""
        self._order, self._session, self._files = order, session, files
        self._status: Status = files.read(order.id)
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._phase = "planning" if order.plan else "checking"
        self._ended = False

    def run(self, taken: Callable[[], None]) -> None:
        """Do the work, and note how it ended. `taken` is called at the beginning. Raises LocalError."""
        status = self._status
        status.pid = os.getpid()
        status.process = PROCESSES.started(status.pid) or ""
        self._files.set_aside(status.id)
        self._files.write(status)
        taken()
        with listening(), _Stopped(self._stopping) as stopped:
            try:
                self._work(stopped)
            except (KeyboardInterrupt, Exception) as e:  # noqa: BLE001 - the page has to be told, whatever it is
                if was_stopped(e):
                    self._interrupted()
                elif isinstance(e, RpdriveError):
                    self._failed(e.kind, str(e), e.advice)
                else:
                    _log.exception("the restore failed")
                    self._failed("Unexpected", f"{type(e).__name__}: {e}", f"see {self._files.log(status.id)}")
            stopped.ignore()
            status.finished = time.time_ns()
            if self._order.plan and status.state == "stopped":
                self._files.remove(status.id)  # nobody wants a plan that was dropped
            else:
                self._files.write_last(status)

    def _work(self, stopped: _Stopped) -> None:
        from catalog.throttle.given import Given
        from catalog.throttle.limiting import limit_traffic

        limit_traffic(self._session, Given())
        vault = self._session.open_vault(master=self._order.master, reading=True)
        status = self._status
        plan = self._plan(vault)
        if self._order.plan:
            status.plan, status.state, status.progress = plan, "planned", None
            return
        if status.plan is None or status.plan.digest != plan.digest:
            status.plan, status.state, status.progress = plan, "planned", None
            status.changed = "the target has changed since the plan was made: look at the new plan, and start again"
            return
        self._phase = "restoring"
        job = self._made(dry_run=False)
        job.record.id, job.record.session = status.id, status.session
        try:
            report = job.run(vault, status.request.machine, None, self)
        finally:
            stopped.ignore()
            if job.report is not None:
                self._take(job, job.report)
        self._done(report)

    def _plan(self, vault: Vault) -> Plan:
        from mount.browse.running.plan import plan_of

        job = self._made(dry_run=True)
        report = job.run(vault, self._status.request.machine, None, self)
        return plan_of(report, job.target)

    def _made(self, *, dry_run: bool) -> Job:
        from mount.browse.running.job import job_of

        self._job = job_of(self._session, self._status.request, dry_run=dry_run)
        return self._job

    # --- how it ends --------------------------------------------------------------------------------------------

    def _take(self, job: Job, report: Report) -> None:
        """Keep what a restore did, however it ended."""
        from mount.browse.running.plan import result_of, troubles

        status = self._status
        with self._lock:
            self._ended = True
        status.problems, status.problem_count = troubles(report.problems, job.target), report.problem_count
        status.result = result_of(report, job.record)

    def _done(self, report: Report) -> None:
        self._status.state = "problems" if report.problem_count else "done"

    def _stopping(self) -> None:
        self._phase = "stopping"

    def _interrupted(self) -> None:
        self._status.state = "stopped"

    def _failed(self, kind: str, message: str, advice: str) -> None:
        from mount.browse.running.status import Failure, clean

        self._status.failure = Failure(*map(clean, (kind, message, advice)))
        self._status.state = "failed"

    # --- an Observer ----------------------------------------------------------------------------------------------

    def progress(self, progress: JobProgress) -> None:
        from mount.browse.running.plan import troubles
        from mount.browse.running.status import LONGEST, Progress

        job = self._job
        with self._lock:
            if self._ended or job is None:
                return
            if job.report is not None and not job.dry_run:
                # A copy: the job's threads add to the list meanwhile.
                self._status.problems = troubles(list(job.report.problems), job.target)
                self._status.problem_count = job.report.problem_count
            self._status.progress = Progress(
                phase=self._phase, files=progress.files, files_total=progress.files_total, bytes=progress.done,
                bytes_total=progress.total, current=(b"/" + progress.path)[:LONGEST] if progress.path else b"",
                seconds=round(progress.seconds, 1),
            )  # fmt: skip
            self._files.note(self._status)

    def problem(self, path: bytes, reason: str) -> None:
        """A restore reports its problems otherwise."""


class _Stopped:
    """While entered, the first SIGTERM, SIGINT or SIGHUP interrupts the main thread; further ones are ignored."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._numbers = [getattr(signal, n) for n in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, n)]
        self._before: list[object] = []

    def __enter__(self) -> _Stopped:
        self._before = [signal.signal(number, self._interrupt) for number in self._numbers]
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in zip(self._numbers, self._before, strict=True):
            signal.signal(number, handler)  # type: ignore[arg-type]

    def ignore(self) -> None:
        for number in self._numbers:
            signal.signal(number, signal.SIG_IGN)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self.ignore()
        self._tell()
        interrupt()
