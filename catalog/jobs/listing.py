"""Jobs of a vault and of this machine, as text and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from catalog.errors import AmbiguousName, Damaged, MissingData, NewerFormat, NotFound, ObjectNotFound, RpdriveError
from catalog.format.records import Job, JobName, Machine, Problem
from catalog.jobs.local import LocalJob
from catalog.machines.registry import choose_named, machine_names
from catalog.screen.text import duration_text, iso_time, local_time, safe_text, size_text, text_json
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
_BROKEN = (Damaged, NewerFormat, ObjectNotFound)
Row = dict[str, Any]


def job_rows(
    vault: Vault, local: Sequence[LocalJob], machine: str | None, last: int
) -> tuple[list[Row], list[RpdriveError]]:
    """The `last` jobs (all if 0), oldest first, and an error for each that can't be read.

    `machine` is a name or id; restores count to the machine whose points they restored. Costs 2 listings, and 1
    request for each record not seen before. NotFound, AmbiguousName, StoreError.
    """
    machines = vault.machines()
    chosen = choose_named(machines, machine, "machine") if machine is not None else None
    names = vault.job_names(chosen.id if chosen else None)
    here = [
        job
        for job in local
        if job.vault in ("", vault.id.hex()) and (chosen is None or chosen.name in job.machine.split(", "))
    ]
    if last:
        begun = sorted([n.time for n in names] + [job.started for job in here])[-last:]
        since = begun[0] if begun else 0
        names, here = [n for n in names if n.time >= since], [job for job in here if job.started >= since]
    jobs, damaged = _read(vault, names)
    there = {job.id.hex() for job in jobs}
    rows = [job_json(job, machines) for job in jobs] + [local_json(job) for job in here if job.id not in there]
    rows.sort(key=lambda row: (row["began_ns"], row["id"]))
    return rows[-last:], damaged


def _read(vault: Vault, names: list[JobName]) -> tuple[list[Job], list[RpdriveError]]:
    try:
        return vault.jobs(names), []
    except _BROKEN:
        pass
    found, damaged = list[Job](), list[RpdriveError]()
    for name in names:
        try:
            found += vault.jobs([name])
        except ObjectNotFound as e:
            damaged.append(MissingData(f"the job {name} is missing from the vault"))
            damaged[-1].__cause__ = e
        except (Damaged, NewerFormat) as e:
            damaged.append(e)
    return found, damaged


def one_job(vault: Vault, local: Sequence[LocalJob], spec: str) -> Row:
    """The job whose id starts with `spec`, with its problems. NotFound, AmbiguousName, Damaged, StoreError."""
    text = spec.lower()
    names = [n for n in vault.job_names() if n.id.hex().startswith(text)]
    there = {n.id.hex() for n in names}
    here = [job for job in local if job.id.startswith(text) and job.id not in there]
    if len(names) + len(here) > 1:
        raise AmbiguousName(f"{len(names) + len(here)} jobs have ids that start with {spec}", "give more of the id")
    if names:
        (job,) = vault.jobs(names)
        row = job_json(job, vault.machines())
        row["problems"] = [_problem_json(p) for p in _problems(vault, job)]
        return row
    if here:
        return local_json(here[0]) | {"problems": [{"reason": text} for text in here[0].warnings]}
    raise NotFound(f"there is no job {spec}", "see `rpdrive jobs` for ids")


def _problems(vault: Vault, job: Job) -> list[Problem]:
    """The point lists more of them than the job, if it is still there."""
    if job.point is None or job.item is None or job.problem_count <= len(job.problems):
        return job.problems
    for name in vault.point_names(job.machine, job.item):
        if name.id == job.point:
            try:
                return vault.point(name).problems
            except _BROKEN:
                break
    return job.problems


def _problem_json(problem: Problem) -> dict[str, str]:
    return {**text_json("path", problem.path), "reason": problem.reason}


def job_json(job: Job, machines: Mapping[bytes, Machine]) -> Row:
    """A job of a vault for --json. Sizes in bytes, times UTC; a machine has the name that it has now."""
    return {
        "id": job.id.hex(),
        "kind": job.kind,
        "outcome": job.outcome,
        "began": iso_time(job.time),
        "began_ns": job.time,
        "finished": iso_time(job.finished),
        "seconds": round(max(job.finished - job.time, 0) / 10**9, 3),
        "machine": machines[job.machine].name if job.machine in machines else job.machine_name,
        "machine_shown": machine_names(machines).get(job.machine, job.machine_name),
        "machine_id": job.machine.hex(),
        "hostname": job.hostname,
        "item": job.item_name,
        "item_id": job.item.hex() if job.item else None,
        "point": job.point.hex() if job.point else None,
        "target": None,
        "entries": job.entries,
        "files": job.files,
        "bytes": job.bytes,
        "new": job.new,
        "changed": job.changed,
        "removed": job.removed,
        "unchanged": job.unchanged,
        "read_bytes": job.read_bytes,
        "new_bytes": job.new_bytes,
        "stored_bytes": job.stored_bytes,
        "warnings": job.problem_count,
        "error_kind": job.error_kind or None,
        "error": job.error or None,
        "kept": "vault",
    }


def local_json(job: LocalJob) -> Row:
    """A job that is kept on this machine, with the same fields where it has them."""
    return {
        "id": job.id,
        "kind": job.kind,
        "outcome": job.outcome,
        "began": iso_time(job.started),
        "began_ns": job.started,
        "finished": iso_time(job.finished),
        "seconds": round(max(job.finished - job.started, 0) / 10**9, 3),
        "machine": job.machine,
        "machine_shown": job.machine,
        "machine_id": None,
        "item": job.item,
        "point": job.point or None,
        "target": job.target or None,
        "files": job.files,
        "bytes": job.bytes,
        "warnings": job.warning_count,
        "error": job.error or None,
        "kept": "here",
    }


def job_columns(rows: Sequence[Row]) -> list[list[str]]:
    """Rows for JOB_COLUMNS. Ids have 8 digits, or as many as tell these jobs apart."""
    digits = 8
    while len({row["id"][:digits] for row in rows}) < len(rows):
        digits += 1
    return [
        [
            row["id"][:digits],
            local_time(row["began_ns"]),
            duration_text(row["seconds"]),
            row["kind"],
            row["machine_shown"],
            row["item"],
            f"{row['files']:,}",
            size_text(row["bytes"]),
            size_text(row["stored_bytes"]) if "stored_bytes" in row else "",
            f"{row['warnings']:,}" if row["warnings"] else "",
            row["outcome"],
        ]
        for row in rows
    ]


def job_text(row: Row) -> str:
    """One job in full."""
    lines = [
        f"job       {row['id']}",
        f"what      {row['kind']} of {row['item']}, {row['machine_shown']}",
        f"outcome   {row['outcome']}",
        f"began     {local_time(row['began_ns'])}, took {duration_text(row['seconds'])}",
    ]
    if row["error"]:
        lines.append(f"error     {row['error']}")
    if row["point"]:
        lines.append(f"point     {row['point']}")
    if row["target"]:
        lines.append(f"target    {row['target']}")
    lines.append(f"files     {row['files']:,}, {size_text(row['bytes'])}")
    if "new" in row:
        counts = ", ".join(f"{row[key]:,} {key}" for key in ("new", "changed", "removed", "unchanged"))
        lines.append(f"changes   {counts}")
        lines.append(
            f"bytes     {size_text(row['read_bytes'])} read, {size_text(row['new_bytes'])} of it new, "
            f"{size_text(row['stored_bytes'])} stored"
        )
    lines.append(f"warnings  {row['warnings']:,}")
    for problem in row["problems"]:
        path = f"/{problem['path']}: " if "path" in problem else ""
        lines.append(f"  {path}{problem['reason']}")
    if row["warnings"] > len(row["problems"]):
        lines.append(f"  and {row['warnings'] - len(row['problems']):,} more, of which only the number was kept")
    return "\n".join(safe_text(line) for line in lines)
