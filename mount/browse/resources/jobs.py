"""Jobs: those that the vault records of all machines, and those that this machine records, newest first."""

from __future__ import annotations

import heapq
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from catalog.errors import LocalError, NotFound, RpdriveError, UsageError
from catalog.format.records import Job, JobName, Machine, StartName
from catalog.format.sealed import Kind
from catalog.jobs.listing import JobProblem, JobRow, fates, one_job
from catalog.jobs.local import LocalJob, LocalJobs
from catalog.jobs.recent import job_of, newest_names
from catalog.machines.registry import machine_names
from catalog.schedule.history import RESTORE_TEST, RUNNING, History, Ran
from catalog.screen.text import safe_text
from mount.browse.resources.looks import settled
from mount.browse.resources.opened import Opened
from mount.browse.resources.wire import bounded, counted_safely, short, when
from mount.browse.running.files import RestoreFiles

MOST = 500  # jobs of an answer
READ = 2_000  # records that are read for one answer: a filter may fit none of them
AT_ONCE = 64  # records
PROBLEMS = 1_000  # of one job
LOGGED = 64 << 10  # bytes of the end of a log
_LOCAL = {"restore": "restore", RESTORE_TEST: "restore test"}  # kinds that leave nothing in the vault
_CURSOR = re.compile(r"([0-9]{1,20})-([0-9a-f]{32})")


class JobSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A job. Times ISO 8601, sizes in bytes; `finished` is null while it runs, or if it was killed.

    `kept` says where it is recorded: `vault`, or `here` for restores and their tests. `machine` and `item` are ids,
    empty where only names are known.
    """

    id: str
    kind: str
    machine: str
    machine_name: str
    item: str
    item_name: str
    started: str | None
    finished: str | None
    seconds: float | None
    outcome: str
    files: int
    bytes: int
    stored: int
    warnings: int
    error: str
    running: bool
    kept: str


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs, the newest first. `next` is the cursor for older ones, null at the end.

    `searched`: so many records were read for it, after which it stopped, though there may be more that fit.
    `damaged` are records that can't be read.
    """

    jobs: list[JobSummary]
    next: str | None
    searched: int
    damaged: list[str]


class JobProblemRow(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was not saved or restored as it is, and why."""

    path: str
    reason: str


class JobDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One job in full. `facts` are further numbers; `log` has the last lines of a restore of a page."""

    job: JobSummary
    point: str | None
    target: str
    hostname: str
    facts: dict[str, int]
    problems: list[JobProblemRow]
    problem_count: int
    error_kind: str
    log: list[str] | None


class _At(NamedTuple):
    """The place of a job in the order: the newest first, and by id among those of one instant."""

    time: int
    id: str


class _Filter(NamedTuple):
    kind: str
    outcome: str

    def fits(self, kind: str, outcome: str) -> bool:
        return (not self.kind or kind == self.kind) and (not self.outcome or outcome == self.outcome)


_ALL = _Filter("", "")


def jobs(
    opened: Opened,
    *,
    cursor: str = "",
    count: int = 50,
    kind: str = "",
    outcome: str = "",
    machine: str = "",
    now: int | None = None,
) -> JobPage:
    """Jobs that began before `cursor` says, the newest first; only of a kind, an outcome, a machine (id in hex).

    Costs 1 listing where there are few, and 1 request for each record not seen before: at most READ for an answer.
    Raises UsageError if the cursor is malformed, and StoreError.
    """
    now = time.time_ns() if now is None else now
    vault, start, count = opened.vault, _parsed(cursor), max(1, min(count, MOST))
    wanted = _Filter(kind, outcome)
    machines = vault.machines()
    local, runs = _here(opened, now)
    chosen = bytes.fromhex(machine) if machine else None
    name = machines[chosen].name if chosen in machines else machine
    here = sorted(
        (job for job in local if not machine or name in job.machine.split(", ")),
        key=_of,
        reverse=True,
    )
    names = (n for n in newest_names(vault, chosen) if _is_after(_at(n), start))
    ours = [job for job in here if _is_after(_of(job), start)]
    return _page(opened, names, ours, {job.id for job in local}, machines, runs, wanted, count, now)


def _page(
    opened: Opened,
    names: Iterator[JobName | StartName],
    ours: list[LocalJob],
    kept: set[str],
    machines: dict[bytes, Machine],
    runs: Sequence[Ran],
    wanted: _Filter,
    count: int,
    now: int,
) -> JobPage:
    """The first jobs of both orders together, read some at a time."""
    vault, found, damaged, read = opened.vault, list[JobSummary](), list[str](), 0
    titles = machine_names(machines)
    merged = heapq.merge(
        ((_at(n), n) for n in names), ((_of(job), job) for job in ours),
        key=lambda row: row[0], reverse=True,
    )  # fmt: skip
    there: set[str] = set()
    last, left = _At(0, ""), True
    while left and len(found) < count and read < READ:
        at_once = min(count - len(found) if wanted == _ALL else AT_ONCE, READ - read)
        some = list[tuple[_At, JobName | StartName | LocalJob]]()
        for row in merged:
            some.append(row)
            if len(some) == at_once:
                break
        else:
            left = False
        asked = [one for _place, one in some if not isinstance(one, LocalJob)]
        records: dict[object, Job | RpdriveError] = dict(
            zip(asked, vault.read_each(Kind.JOB, Job, asked), strict=True)
        )
        read += len(asked)
        # The end of a backup that could not be recorded in the vault is recorded here: its start is not meant.
        whole = [
            j for j in records.values() if isinstance(j, Job) and not (j.outcome == RUNNING and j.id.hex() in kept)
        ]
        meant = {job.id.hex() for job in whole}
        fates(whole, runs, now)
        there |= meant
        for passed, (place, one) in enumerate(some, 1):
            last = place
            if isinstance(one, LocalJob):
                if wanted.fits(one.kind, one.outcome) and one.id not in there:
                    found.append(_of_local(one))
            else:
                job = records[one]
                if isinstance(job, RpdriveError):
                    vault.passed_over.note(str(one), job)
                    damaged.append(str(job))
                elif job.id.hex() in meant and wanted.fits(job.kind, job.outcome):
                    found.append(_of_vault(job, machines, titles))
            if len(found) == count:
                left = passed < len(some) or next(merged, None) is not None
                break
    return JobPage(
        jobs=found, next=f"{last.time}-{last.id}" if left else None,
        searched=read if left and len(found) < count else 0, damaged=damaged[:100],
    )  # fmt: skip


def job(opened: Opened, one: str, now: int | None = None) -> JobDetail:
    """A job by its id (hex). Raises NotFound, AmbiguousName, Damaged and StoreError."""
    if not re.fullmatch(r"[0-9a-f]{32}", one):
        raise NotFound(f"there is no job {safe_text(one)[:40]}", "see the list of jobs")
    local, runs = _here(opened, time.time_ns() if now is None else now)
    row = one_job(opened.vault, local, one, ran=runs)
    record = row.record
    summary = _of_row(row)
    if row.error:
        summary = msgspec.structs.replace(summary, error=short(row.error, 10_000))
    problems = [_problem(p) for p in (row.problems or [])[:PROBLEMS]]
    return JobDetail(
        job=summary, point=short(row.point) or None, target=short(row.target),
        hostname=short(record.hostname) if record else "",
        facts=_facts(record), problems=problems, problem_count=counted_safely(row.warnings),
        error_kind=short(record.error_kind) if record else "", log=_log(opened, row.id) if record is None else None,
    )  # fmt: skip


def _log(opened: Opened, one: str) -> list[str] | None:
    """The end of what the process of a page's restore logged; None without one."""
    with suppress(OSError, LocalError), RestoreFiles(opened.session.settings).log(one).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - LOGGED, 0))
        lines = file.read(LOGGED).decode(errors="replace").splitlines()
        return [safe_text(line)[:1_000] for line in lines[1 if size > LOGGED else 0 :]]
    return None


def _facts(record: Job | None) -> dict[str, int]:
    if record is None:
        return {}
    numbers = {
        "entries": record.entries, "new files": record.new, "changed files": record.changed,
        "removed": record.removed, "unchanged files": record.unchanged, "bytes read": record.read_bytes,
        "bytes new": record.new_bytes, "bytes stored": record.stored_bytes, "bytes in use": record.live_bytes,
        "bytes hidden": record.hidden_bytes, "bytes freed": record.freed_bytes, "level": record.level,
    }  # fmt: skip
    return {name: counted_safely(number) for name, number in numbers.items() if number}


def _problem(problem: JobProblem) -> JobProblemRow:
    path = "" if problem.path is None else "/" + problem.path.decode(errors="replace").lstrip("/")
    return JobProblemRow(path=short(path, 4_096), reason=short(problem.reason))


# --- rows -----------------------------------------------------------------------------------------------------


def _of_vault(job: Job, machines: dict[bytes, Machine], titles: dict[bytes, str]) -> JobSummary:
    ended = job.finished if job.outcome != RUNNING else 0
    known = machines.get(job.machine)
    return bounded(JobSummary(
        id=job.id.hex(), kind=job.kind, machine=job.machine.hex(),
        machine_name=titles.get(job.machine, known.name if known else job.machine_name),
        item=job.item.hex() if job.item else "", item_name=job.item_name, started=when(job.time),
        finished=when(ended), seconds=_seconds(job.time, ended), outcome=job.outcome,
        files=job.files, bytes=job.bytes, stored=job.stored_bytes, warnings=job.problem_count, error=job.error,
        running=job.outcome == RUNNING, kept="vault",
    ))  # fmt: skip


def _of_local(job: LocalJob) -> JobSummary:
    ended = job.finished if job.outcome != RUNNING else 0
    return bounded(JobSummary(
        id=job.id, kind=job.kind, machine="", machine_name=job.machine, item="", item_name=job.item,
        started=when(job.started), finished=when(ended), seconds=_seconds(job.started, ended),
        outcome=job.outcome, files=job.files, bytes=job.bytes, stored=0, warnings=job.warning_count,
        error=job.error, running=job.outcome == RUNNING, kept="here",
    ))  # fmt: skip


def _of_row(row: JobRow) -> JobSummary:
    record, ended = row.record, row.finished if row.outcome != RUNNING else 0
    return bounded(JobSummary(
        id=row.id, kind=row.kind, machine=record.machine.hex() if record else "", machine_name=row.machine_shown,
        item=record.item.hex() if record and record.item else "", item_name=row.item, started=when(row.began),
        finished=when(ended), seconds=_seconds(row.began, ended), outcome=row.outcome,
        files=row.files, bytes=row.bytes, stored=record.stored_bytes if record else 0, warnings=row.warnings,
        error=row.error, running=row.outcome == RUNNING, kept="vault" if record else "here",
    ))  # fmt: skip


def _seconds(began: int, ended: int) -> float | None:
    return round(max(ended - began, 0) / 10**9, 3) if ended else None


# --- this machine, places -------------------------------------------------------------------------------------


def _here(opened: Opened, now: int) -> tuple[list[LocalJob], list[Ran]]:
    """The jobs recorded on this machine for this vault, those without an end included, and its history."""
    state = opened.session.settings.where("state")
    vault = opened.vault.id.hex()
    local = [job for job in LocalJobs(state).all() if job.vault in ("", vault)]
    runs = settled(History(state).all())
    known = {job.id for job in local}
    open_ended = [ran for ran in runs if ran.kind in _LOCAL and ran.id not in known and ran.vault == vault]
    return local + [_without_end(ran, now) for ran in open_ended], runs


def _without_end(ran: Ran, now: int) -> LocalJob:
    """A restore, or a test of one, that runs or was killed: its record is written at its end."""
    return LocalJob(
        id=ran.id, kind=_LOCAL[ran.kind], vault=ran.vault, point=ran.point, machine="", item=ran.item_name,
        target="", started=ran.started, finished=now if ran.outcome == RUNNING else ran.finished, bytes=ran.bytes,
        files=ran.files, warnings=[], warning_count=ran.problem_count, outcome=ran.outcome, error=ran.error,
    )  # fmt: skip


def _at(name: JobName | StartName) -> _At:
    job = job_of(name)
    return _At(job.time, job.id.hex())


def _of(job: LocalJob) -> _At:
    return _At(job.started // 10**9 * 10**9, job.id)  # names of jobs have whole seconds


def _is_after(place: _At, start: _At | None) -> bool:
    return start is None or place < start


def _parsed(cursor: str) -> _At | None:
    if not cursor:
        return None
    m = _CURSOR.fullmatch(cursor)
    if m is None:
        raise UsageError("the cursor of the list of jobs is malformed", "begin at the newest job")
    return _At(int(m[1]), m[2])
