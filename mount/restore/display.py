"""The output of a complete restore."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from catalog.jobs.local import LocalJob, restore_word
from catalog.screen.text import counted, iso_time, safe_text, size_text, text_json
from mount.restore.report import Report
from mount.restore.volume.surplus import Surplus

_SHOWN = 20  # problems on the screen
_LISTED = 100  # entries that are shown before a person confirms that they are removed


def summary(r: Report, job: LocalJob) -> list[str]:
    """The result of a restore, in a few lines."""
    seconds = (job.finished - job.started) / 10**9
    lines = [
        f"Restored {counted(r.written, 'entry', 'entries')}, {size_text(r.written_bytes)}, "
        f"{'back in place' if job.target == '/' else f'to {safe_text(job.target)}'} in {seconds:.1f} s"
    ]
    only = "file: only attributes" if r.corrected == 1 else "files: only attributes"
    rest = [
        f"{count:,} {what}"
        for count, what in (
            (r.same, "there already"), (r.corrected, only), (r.copies, "as copies"), (r.replaced, "overwritten"),
            (r.kept, "left as they were"), (r.removed, "removed"), (r.verified, "read back and compared"),
        )
        if count
    ]  # fmt: skip
    if rest:
        lines.append("  " + ", ".join(rest))
    steps = ["", *map(safe_text, r.next_steps)] if r.next_steps else []
    return lines + renamed_lines(r, _top(job)) + problem_lines(r, _top(job)) + steps


def renamed_lines(r: Report, top: str = "") -> list[str]:
    """Lines with the number of changed names, and the first of them."""
    if not r.renamed_count:
        return []
    lines = [f"  {counted(r.renamed_count, 'name')} changed: this system can't store them (docs/names.md):"]
    lines += [
        f"    {top}{safe_text(os.fsdecode(path))}, in the point {safe_text(os.fsdecode(name))}"
        for path, name in r.renames[:3]
    ]
    if r.renamed_count > 3:
        lines.append(f"    and {r.renamed_count - 3:,} more: see --json")
    return lines


def problem_lines(r: Report, top: str = "") -> list[str]:
    """The reasons, each with its first paths; `top` is put in front of paths."""
    if not r.problem_count:
        return []
    lines = [f"  {counted(r.problem_count, 'problem')}:"]
    for reason, count in r.limits.most_common() + r.reasons.most_common(_SHOWN):
        paths = [p.path for p in r.problems if p.reason == reason][:3]
        names = ", ".join(top + safe_text(os.fsdecode(p)) or "/" for p in paths)
        more = f" and {count - len(paths):,} more" if count > len(paths) else ""
        lines.append(f"    {safe_text(reason)}: {names}{more}")
    if len(r.reasons) > _SHOWN:
        lines.append(f"    and {len(r.reasons) - _SHOWN:,} more reasons: see --json")
    return lines


_VERBS = {
    "write": "new", "replace": "overwrite", "copy": "copy", "keep": "keep", "same": "same", "refuse": "refuse",
    "attributes": "attributes", "remove": "remove",
}  # fmt: skip


def dry_lines(r: Report, job: LocalJob) -> Iterator[str]:
    """A line for each path with the action that would be taken, then the totals."""
    counts: dict[str, int] = {}
    for path, action, _size, note in r.planned:
        counts[action] = counts.get(action, 0) + 1
        text = _top(job) + safe_text(os.fsdecode(path))
        yield f"{_VERBS[action]:<10} {text}" + (f" -> {safe_text(os.fsdecode(note))}" if note else "")
    words = ", ".join(f"{count:,} {_VERBS[action]}" for action, count in counts.items()) or "nothing to do"
    yield f"Dry run: nothing was written; {size_text(r.size)}: {words}"
    yield from renamed_lines(r, _top(job))
    yield from problem_lines(r, _top(job))


def surplus_lines(surplus: Surplus, job: LocalJob) -> Iterator[str]:
    """What a roll-back removes, for a person who is asked: the first entries, each with what is in it."""
    where = safe_text(job.target)
    found = counted(surplus.count, "entry", "entries")
    yield f"{found} of {where} ({size_text(surplus.size)}) are not in the recovery point, and would be removed:"
    for top in surplus.tops[:_LISTED]:
        inside = f"  ({counted(top.entries, 'entry', 'entries')}, {size_text(top.size)})" if top.entries > 1 else ""
        yield f"  {safe_text(os.fsdecode(top.path))}{inside}"
    more = surplus.count - sum(top.entries for top in surplus.tops[:_LISTED])
    if more:
        yield f"  and {more:,} more: see --dry-run"
    for reason, count in surplus.kept_count.items():
        paths = ", ".join(safe_text(os.fsdecode(k.path)) for k in surplus.kept if k.reason == reason)
        yield f"  stays, as {reason}: {paths if count <= 3 else counted(count, 'entry', 'entries')}"


def report_json(r: Report, job: LocalJob, *, dry: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "job": None if dry else job.id,
        "point": job.point,
        "machine": job.machine,
        "item": job.item,
        "target": job.target,
        "started": iso_time(job.started),
        "finished": iso_time(job.finished),
        "seconds": round((job.finished - job.started) / 10**9, 3),
        "outcome": "dry run" if dry else restore_word(job.outcome),
        "entries": r.entries,
        "files": r.files,
        "bytes": r.size,
        "written": r.written,
        "written_bytes": r.written_bytes,
        "same": r.same,
        "only_attributes": r.corrected,
        "kept": r.kept,
        "copies": r.copies,
        "replaced": r.replaced,
        "surplus": r.surplus,
        "removed": r.removed,
        "removed_bytes": r.removed_bytes,
        "refusals": r.refusals,
        "verified": r.verified,
        "lost": r.lost,
        "renamed": r.renamed_count,
        "renames": [{**text_json("path", n.path), **text_json("name", n.name)} for n in r.renames],
        "limits": [{"reason": reason, "entries": count} for reason, count in r.limits.most_common()],
        "problem_count": r.problem_count,
        "problems": [{**text_json("path", p.path), "reason": p.reason} for p in r.problems],
        "next_steps": r.next_steps,
    }
    return row


def planned_json(r: Report) -> Iterator[dict[str, Any]]:
    """What a dry run would do, for --json."""
    for p in r.planned:
        name = {"name": safe_text(os.fsdecode(p.note))} if p.note else {}
        yield {**text_json("path", p.path), "action": p.action, "bytes": p.size, **name}


def _top(job: LocalJob) -> str:
    """The prefix of reported paths: a slash if the target is the root."""
    return "/" if job.target == "/" else ""
