"""Jobs of a vault and of this machine, as text and JSON."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import NamedTuple

from catalog.errors import AmbiguousName, Damaged, NewerFormat, NotFound, ObjectNotFound, RpdriveError
from catalog.format.records import Job, JobName, Machine, Outcome, Problem
from catalog.format.sealed import Kind
from catalog.jobs.local import LocalJob
from catalog.jobs.recent import job_of, names_with_id, newest_jobs, newest_names
from catalog.machines.registry import machine_named, machine_names
from catalog.schedule.history import DAY, RUNNING, Ran
from catalog.screen.text import duration_text, iso_time, local_time, safe_text, short_ids, size_text, text_json
from catalog.vault import Vault

JOB_COLUMNS = (
    "JOB",
    "BEGAN",
    "TOOK>",
    "WHAT",
    "MACHINE",
    "ITEM",
    "FILES>",
    "SIZE>",
    "STORED>",
    "WARNINGS>",
    "OUTCOME",
)
PRUNE = "prune"  # the kind of a job that prunes
CHECK = "check"  # of one that reads what is there
_BROKEN = (Damaged, NewerFormat, ObjectNotFound)


class JobProblem(NamedTuple):
    """Why a file was not saved or restored as it is. `path` is None if the reason contains it."""

    path: bytes | None
    reason: str


class JobRow(NamedTuple):
    """A job recorded in the vault or on this machine. Sizes in bytes, times in ns since the epoch (UTC).

    `machine` is the machine's name today; `machine_shown` distinguishes machines of the same name. `record` is the
    record in the vault; None for a job recorded on this machine. `problems` is None unless they were requested;
    `warnings` counts all of them. `session` is that of the page that asked for the job; empty for a command.
    """

    id: str
    kind: str
    outcome: str
    began: int
    finished: int
    machine: str
    machine_shown: str
    item: str
    point: str
    target: str
    files: int
    bytes: int
    warnings: int
    error: str
    record: Job | None = None
    problems: list[JobProblem] | None = None
    session: str = ""

    @property
    def seconds(self) -> float:
        return round(max(self.finished - self.began, 0) / 10**9, 3)


def job_rows(
    vault: Vault,
    local: Sequence[LocalJob],
    machine: str | None,
    last: int,
    *,
    ran: Sequence[Ran] = (),
    now: int | None = None,
) -> tuple[list[JobRow], list[RpdriveError]]:
    """The `last` jobs (all if 0), oldest first, and an error for each record that can't be read.

    `machine` is a name or id; a restore belongs to the machine whose points it restored. `ran` is this machine's
    history, which says of its jobs without an end whether they are at work or were killed. Costs 2 listings, and 1
    request for each record of a job or its machine not seen before. Raises NotFound, AmbiguousName and StoreError.
    """
    chosen = machine_named(vault, machine) if machine is not None else None
    here = [
        job
        for job in local
        if job.vault in ("", vault.id.hex()) and (chosen is None or chosen.name in job.machine.split(", "))
    ]
    names = newest_names(vault, chosen.id if chosen else None)
    if last:
        first = list(islice(names, last))
        begun = sorted([job_of(n).time for n in first] + [job.started for job in here])[-last:]
        since = begun[0] if begun else 0
        here = [job for job in here if job.started >= since]
        wanted = sum(job_of(n).time >= since for n in first)
        jobs, damaged = newest_jobs(vault, chain(first, names), wanted)
    else:
        every = list(names)
        jobs, damaged = newest_jobs(vault, iter(every), len(every))
    kept = {job.id for job in here}
    jobs = [job for job in jobs if job.outcome != RUNNING or job.id.hex() not in kept]
    fates(jobs, ran, time.time_ns() if now is None else now)
    there = {job.id.hex() for job in jobs}
    of = {job.machine.hex() for job in jobs}
    machines = vault.machines(of) if of else {}
    rows = [_vault_row(job, machines) for job in jobs] + [_local_row(job) for job in here if job.id not in there]
    rows.sort(key=lambda row: (row.began, row.id))
    return rows[-last:], damaged


def fates(jobs: Iterable[Job], ran: Sequence[Ran], now: int) -> None:
    """Set the outcome of jobs that only have a start: running, or killed. docs/format.md, "Job"."""
    here, newest, begun = {row.id: row for row in ran}, dict[bytes, Job](), dict[bytes, int]()
    for job in jobs:
        if job.kind == "backup" and job.time <= now:  # one of a machine runs at a time
            begun[job.machine] = max(begun.get(job.machine, 0), job.time)
        if job.boot and job.time > (newest[job.machine].time if job.machine in newest else -1):
            newest[job.machine] = job
    for job in jobs:
        if job.outcome != RUNNING:
            continue
        row, last = here.get(job.id.hex()), newest.get(job.machine)
        if row is not None:
            job.outcome, job.finished = row.outcome, row.finished
        elif (
            (last is not None and job.boot and last.boot != job.boot)
            or now - job.time > DAY
            or (job.kind == "backup" and job.time < begun.get(job.machine, 0))
        ):
            job.outcome = Outcome.KILLED
        if job.outcome in (RUNNING, Outcome.KILLED):
            job.finished = max(now, job.time) if job.outcome == RUNNING else 0


def one_job(vault: Vault, local: Sequence[LocalJob], spec: str, *, ran: Sequence[Ran] = ()) -> JobRow:
    """The job whose id starts with `spec`, with its problems.

    Raises NotFound, AmbiguousName, Damaged and StoreError.
    """
    text = spec.lower()
    names = list(names_with_id(vault, text))
    kept = {job.id for job in local}
    names = [n for n in names if isinstance(n, JobName) or n.job.id.hex() not in kept]
    there = {job_of(n).id.hex() for n in names}
    here = [job for job in local if job.id.startswith(text) and job.id not in there]
    if len(names) + len(here) > 1:
        raise AmbiguousName(f"{len(names) + len(here)} jobs have ids that start with {spec}", "give more of the id")
    if names:
        job = vault.read_checked(Kind.JOB, Job, names[0])
        fates([job], ran, time.time_ns())
        problems = [JobProblem(p.path, p.reason) for p in _problems(vault, job)]
        return _vault_row(job, vault.machines({job.machine.hex()}))._replace(problems=problems)
    if here:
        return _local_row(here[0])._replace(problems=[JobProblem(None, text) for text in here[0].warnings])
    raise NotFound(f"there is no job {spec}", "see `rpdrive jobs` for ids")


def _problems(vault: Vault, job: Job) -> list[Problem]:
    """A job's problems. If its point still exists, they come from there: a point lists more of them."""
    if job.point is None or job.item is None or job.problem_count <= len(job.problems):
        return job.problems
    for name in vault.point_names(job.machine, job.item):
        if name.id == job.point:
            try:
                return vault.point(name).problems
            except _BROKEN:
                break
    return job.problems


def _vault_row(job: Job, machines: Mapping[bytes, Machine]) -> JobRow:
    return JobRow(
        id=job.id.hex(),
        kind=job.kind,
        outcome=job.outcome,
        began=job.time,
        finished=job.finished,
        machine=machines[job.machine].name if job.machine in machines else job.machine_name,
        machine_shown=machine_names(machines).get(job.machine, job.machine_name),
        item=job.item_name,
        point=job.point.hex() if job.point else "",
        target="",
        files=job.files,
        bytes=job.bytes,
        warnings=job.problem_count,
        error=job.error,
        record=job,
    )


def _local_row(job: LocalJob) -> JobRow:
    return JobRow(
        id=job.id,
        kind=job.kind,
        outcome=job.outcome,
        began=job.started,
        finished=job.finished,
        machine=job.machine,
        machine_shown=job.machine,
        item=job.item,
        point=job.point,
        target=job.target,
        files=job.files,
        bytes=job.bytes,
        warnings=job.warning_count,
        error=job.error,
        session=job.session,
    )


def row_json(row: JobRow) -> dict[str, object]:
    """A row for --json. A job that is recorded on this machine has fewer fields."""
    job = row.record
    found: dict[str, object] = {
        "id": row.id,
        "kind": row.kind,
        "outcome": row.outcome,
        "began": iso_time(row.began),
        "began_ns": row.began,
        "finished": iso_time(row.finished) if row.finished else None,
        "seconds": row.seconds if row.finished else None,
        "machine": row.machine,
        "machine_shown": row.machine_shown,
        "machine_id": job.machine.hex() if job else None,
        "item": row.item,
        "point": row.point or None,
        "target": row.target or None,
        "files": row.files,
        "bytes": row.bytes,
        "warnings": row.warnings,
        "error": row.error or None,
        "kept": "vault" if job else "here",
        "session": row.session or None,
    }
    if job is not None:
        found |= {
            "hostname": job.hostname,
            "item_id": job.item.hex() if job.item else None,
            "entries": job.entries,
            "new": job.new,
            "changed": job.changed,
            "removed": job.removed,
            "unchanged": job.unchanged,
            "read_bytes": job.read_bytes,
            "new_bytes": job.new_bytes,
            "stored_bytes": job.stored_bytes,
            "live_bytes": job.live_bytes,
            "hidden_bytes": job.hidden_bytes,
            "freed_bytes": job.freed_bytes,
            "error_kind": job.error_kind or None,
        }
    if row.problems is not None:
        found["problems"] = [
            ({} if p.path is None else text_json("path", p.path)) | {"reason": p.reason} for p in row.problems
        ]
    return found


def job_columns(rows: Sequence[JobRow]) -> list[list[str]]:
    """Cells for JOB_COLUMNS."""
    return [
        [
            short,
            local_time(row.began),
            duration_text(row.seconds) if row.finished else "",
            row.kind,
            row.machine_shown,
            row.item,
            f"{row.files:,}",
            size_text(row.bytes),
            size_text(row.record.stored_bytes) if row.record else "",
            f"{row.warnings:,}" if row.warnings else "",
            row.outcome,
        ]
        for short, row in zip(short_ids([row.id for row in rows]), rows, strict=True)
    ]


def job_text(row: JobRow) -> str:
    """One job in full, for people."""
    lines = [
        f"job       {row.id}",
        f"what      {row.kind} of {row.item}, {row.machine_shown}"
        if row.item
        else f"what      {row.kind} of {row.machine_shown}",
        f"outcome   {row.outcome}",
        f"began     {local_time(row.began)}" + (f", took {duration_text(row.seconds)}" if row.finished else ""),
    ]
    if row.error:
        lines.append(f"error     {row.error}")
    if row.point:
        lines.append(f"point     {row.point}")
    if row.target:
        lines.append(f"target    {row.target}")
    if row.session:
        lines.append(f"asked by  a page of `rpdrive browse`, session {row.session}")
    job = row.record
    if job is not None and job.kind == PRUNE:
        lines.append(
            f"bytes     {size_text(row.bytes)} in the vault, {size_text(job.live_bytes)} in use, "
            f"{size_text(job.hidden_bytes)} hidden"
        )
        lines.append(
            f"changes   {size_text(job.freed_bytes)} freed, {size_text(job.stored_bytes)} moved, "
            f"{job.removed:,} recovery points let go"
        )
    elif job is not None and job.kind == CHECK:
        lines.append(f"read      {job.entries:,} entries, {size_text(job.read_bytes)} of packs")
    else:
        lines.append(f"files     {row.files:,}, {size_text(row.bytes)}")
    if job is not None and job.kind not in (PRUNE, CHECK):
        lines.append(
            f"changes   {job.new:,} new, {job.changed:,} changed, "
            f"{job.removed:,} removed, {job.unchanged:,} unchanged"
        )
        lines.append(
            f"bytes     {size_text(job.read_bytes)} read, {size_text(job.new_bytes)} of it new, "
            f"{size_text(job.stored_bytes)} stored"
        )
    lines.append(f"warnings  {row.warnings:,}")
    problems = row.problems or []
    for problem in problems:
        path = "" if not problem.path else f"/{problem.path.decode(errors='replace')}: "
        lines.append(f"  {path}{problem.reason}")
    if row.warnings > len(problems):
        lines.append(f"  and {row.warnings - len(problems):,} more, of which only the number was recorded")
    return "\n".join(safe_text(line) for line in lines)
