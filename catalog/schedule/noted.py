"""Notes of a job while it runs: in this machine's history, and its start in the vault, where others see it.

A job that is killed leaves both without an end. No error here stops a job, or delays it by more than some seconds.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import msgspec

from catalog.format.records import Job, JobName, StartName
from catalog.format.sealed import Kind
from catalog.notify.pinging import ping_end, ping_start
from catalog.schedule.history import LISTED, RUNNING, History, Ran
from catalog.screen.text import counted
from catalog.systems.this import SYSTEM
from catalog.vault import Vault

SERVES = "RPDRIVE_SERVES"  # set by what starts due jobs: `<slot>/<missed>/<tries>`
PATIENCE = 10.0  # seconds to wait for the start to be stored
_log = logging.getLogger("rpdrive.schedule")


def begin(state: Path, ran: Ran) -> Ran:
    """Note a run of this process as begun. Returns it with the slot that it serves, and the process's marks."""
    slot, missed, tries = _serves()
    ping_start(state, ran.kind, ran.item_name, ran.id)
    return History(state).started(msgspec.structs.replace(ran, slot=slot, missed=missed, tries=tries))


def end(state: Path, ran: Ran, problems: Iterable[bytes] = (), **fields: object) -> None:
    """Note how a run ended: `fields` of Ran. `problems` are paths, or else reasons."""
    ended = msgspec.structs.replace(ran, problems=list(islice(problems, LISTED)), **fields)
    History(state).add(ended)
    ping_end(state, ended.kind, ended.item_name, ended.id, ended.outcome, _last_words(ended))


def _last_words(ran: Ran) -> str:
    """The error of a run, or what it did."""
    parts = [ran.error] if ran.error else []
    parts += [counted(ran.files, "file")] if ran.files else []
    parts += [f"{ran.bytes:,} bytes, {ran.new_bytes:,} of them new"] if ran.bytes else []
    parts += [counted(ran.problem_count, "problem")] if ran.problem_count else []
    return ", ".join(parts)


def _serves() -> tuple[int, int, int]:
    parts = os.environ.get(SERVES, "").split("/")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < 20 for part in parts):
        return 0, 0, 1
    slot, missed, tries = map(int, parts)
    return slot, missed, tries


class Running:
    """A job with a record in the vault. `level` is that of a check."""

    def __init__(self, vault: Vault, state: Path, job: Job, *, level: int = 0) -> None:
        job.boot = SYSTEM.boot_id()
        self._vault, self._state = vault, state
        ran = Ran(
            id=job.id.hex(), vault=vault.id.hex(), machine=job.machine.hex(), kind=job.kind, level=level,
            item=job.item.hex() if job.item else "", item_name=job.item_name, started=job.time,
        )  # fmt: skip
        self._ran = begin(state, ran)
        start = msgspec.structs.replace(job, outcome=RUNNING, finished=0)
        self.size = 0  # of the record of the start, in bytes
        # In a thread of its own: a store that does not answer may take a minute to fail.
        self._storing = threading.Thread(target=self._store, args=(start,), name="job start", daemon=True)
        self._storing.start()
        self._storing.join(PATIENCE)  # so that it is the job's first request, and others see it at once

    def _store(self, start: Job) -> None:
        try:
            self.size = self._vault.write_record(Kind.JOB, start, str(StartName(JobName.of(start))))
        except Exception as e:  # noqa: BLE001 - no error here may fail the job
            _log.info("the start of the job could not be recorded in the vault: %s", e)

    def ended(self, job: Job) -> None:
        """Note how it ended, on this machine; the record in the vault is the caller's to write."""
        self._storing.join(PATIENCE)
        point = job.point.hex() if job.point else ""
        problems = (problem.path or problem.reason.encode(errors="replace") for problem in job.problems)
        end(
            self._state, self._ran, problems, outcome=str(job.outcome), finished=job.finished, cause=job.error_kind,
            error=job.error, point=point, bytes=job.bytes, new_bytes=job.new_bytes, files=job.files,
            changed=job.new + job.changed, problem_count=job.problem_count,
        )  # fmt: skip
