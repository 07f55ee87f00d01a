"""Makes a plan of what a dry run found, and a result of what a restore did."""

from __future__ import annotations

import hashlib

import msgspec

from catalog.jobs.local import LocalJob
from mount.browse.running.space import Space
from mount.browse.running.status import LISTED, LONGEST, PLANNED, Plan, Planned, Result, Trouble, clean
from mount.restore.conflict import Action
from mount.restore.display import summary
from mount.restore.report import Planned as Row
from mount.restore.report import Problem, Report

_WRITES = (Action.WRITE, Action.REPLACE, Action.COPY)
_UNCHANGED = (Action.SAME, Action.KEEP)
# Action and the word for it, which is also the field of Plan that counts it.
_WORDS: dict[str, str] = {
    Action.WRITE: "new", Action.REPLACE: "overwritten", Action.COPY: "copies", Action.KEEP: "skipped",
    Action.SAME: "same", Action.CORRECT: "attributes", Action.REFUSE: "refused",
}  # fmt: skip
# What happens at a path, in the words of the page.
WHAT: dict[str, str] = {
    Action.WRITE: "new", Action.REPLACE: "overwrite", Action.COPY: "copy", Action.KEEP: "skip",
    Action.SAME: "same", Action.CORRECT: "attributes", Action.REFUSE: "refuse",
}  # fmt: skip


def plan_of(report: Report, target: bytes) -> Plan:
    """The plan that a dry run into `target` stands for."""
    plan, space, digest = Plan(), Space(), hashlib.sha256()
    unchanged: list[Planned] = []
    for row in report.planned:
        digest.update(msgspec.msgpack.encode(row))
        final = final_path(target, row)
        entry = Planned(final[:LONGEST], WHAT.get(row.action, row.action), row.size)
        quiet = row.action in _UNCHANGED
        some = unchanged if quiet else plan.first
        if len(some) < PLANNED:
            some.append(entry)
        if row.path.endswith(b"/"):
            plan.folders += row.action == Action.WRITE
            continue
        plan.files += 1
        word = _WORDS.get(row.action)
        if word is not None:
            setattr(plan, word, getattr(plan, word) + 1)
        if row.action in _WRITES:
            plan.bytes += row.size
            space.add(final, row.size, replaces=row.action == Action.REPLACE)
    plan.first = [*plan.first, *unchanged][:PLANNED]  # what changes something comes first
    plan.refusals = [clean(text) for text in report.refusals[:LISTED]]
    plan.problems, plan.problem_count = troubles(report.problems, target), report.problem_count
    plan.room = space.rooms()
    for text in (*plan.refusals, *sorted(report.reasons)):
        digest.update(text.encode(errors="backslashreplace") + b"\0")
    digest.update(msgspec.msgpack.encode(space.numbers()))  # a disk that was mounted or unmounted since
    plan.digest = digest.hexdigest()
    return plan


def final_path(target: bytes, row: Row) -> bytes:
    """Where an entry would be: the name of a copy is its note."""
    path = row.path
    if row.note:
        path = path[: path.rfind(b"/") + 1] + row.note
    return target.rstrip(b"/") + b"/" + path.lstrip(b"/")


def troubles(problems: list[Problem], target: bytes) -> list[Trouble]:
    """The first problems, with whole paths."""
    top = target.rstrip(b"/") + b"/"
    return [
        Trouble((top + p.path.lstrip(b"/"))[:LONGEST] if p.path else b"", clean(p.reason))
        for p in problems[:LISTED]
    ]


def result_of(report: Report, job: LocalJob) -> Result:
    return Result(
        files=report.written, bytes=report.written_bytes, new=report.written - report.replaced - report.copies,
        overwritten=report.replaced, copies=report.copies, skipped=report.kept, same=report.same,
        attributes=report.corrected, verified=report.verified, renamed=report.renamed_count, lost=report.lost,
        lines=[clean(line) for line in summary(report, job)[:LISTED]],
    )  # fmt: skip
