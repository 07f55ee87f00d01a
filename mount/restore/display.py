"""What a restore shows: a bar on a terminal, plain lines elsewhere, a summary at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from catalog.jobs.local import LocalJob, restore_word
from catalog.screen.progress import Look, Watch
from catalog.screen.text import iso_time, safe_text, size_text, text_json
from mount.restore.report import Report

_SHOWN = 20  # problems on the screen


class Display:
    """Watches a report. A context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._report: Report | None = None
        self._watch = Watch(self._look, quiet=quiet)

    def watch(self, report: Report) -> None:
        """From now on, show this."""
        self._report = report

    def __enter__(self) -> Display:
        self._watch.__enter__()
        return self

    def _look(self, seconds: float) -> Look | None:
        r = self._report
        if r is None:
            return None
        done = r.written_bytes + r.same_bytes
        files = f"{r.written + r.same:,} of {r.files:,} files"
        speed = r.written_bytes / max(seconds, 0.001)
        left = (r.size - done) / speed if speed and not r.planning else 0
        tail = f", {left:.0f} s left" if left > 0 else ""
        line = f"{files}, {size_text(done)} of {size_text(r.size)}, {size_text(int(speed))}/s{tail}"
        if not r.planning:
            return Look(done, r.size, files, line)
        path = safe_text(r.path.decode(errors="replace"))
        return Look(done, None, f"planning: {r.files:,} files  {path[-50:]}", line)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.__exit__(kind, error, trace)


def summary(r: Report, job: LocalJob) -> list[str]:
    """What was done, in a few lines."""
    seconds = (job.finished - job.started) / 10**9
    lines = [
        f"Restored {_count(r.written, 'entry', 'entries')}, {size_text(r.written_bytes)}, "
        f"{'back in place' if job.target == '/' else f'to {safe_text(job.target)}'} in {seconds:.1f} s"
    ]
    rest = [
        f"{count:,} {what}"
        for count, what in (
            (r.same, "there already"), (r.copies, "as copies"), (r.replaced, "overwritten"),
            (r.kept, "left as they were"), (r.verified, "read back and compared"),
        )
        if count
    ]  # fmt: skip
    if rest:
        lines.append("  " + ", ".join(rest))
    return lines + renamed_lines(r, _top(job)) + problem_lines(r, _top(job))


def renamed_lines(r: Report, top: str = "") -> list[str]:
    """How many entries have other names here, and the first of them."""
    if not r.renamed_count:
        return []
    lines = [f"  {_count(r.renamed_count, 'name', 'names')} changed, which can't be had here (docs/names.md):"]
    lines += [
        f"    {top}{safe_text(os.fsdecode(path))}, in the point {safe_text(os.fsdecode(name))}"
        for path, name in r.renames[:3]
    ]
    if r.renamed_count > 3:
        lines.append(f"    and {r.renamed_count - 3:,} more: see --json")
    return lines


def problem_lines(r: Report, top: str = "") -> list[str]:
    """Every reason with its count, and the first paths, which begin with `top`."""
    if not r.problem_count:
        return []
    lines = [f"  {_count(r.problem_count, 'problem', 'problems')}:"]
    for reason, count in r.reasons.most_common(_SHOWN):
        paths = [p.path for p in r.problems if p.reason == reason][:3]
        names = ", ".join(top + safe_text(os.fsdecode(p)) or "/" for p in paths)
        more = f" and {count - len(paths):,} more" if count > len(paths) else ""
        lines.append(f"    {safe_text(reason)}: {names}{more}")
    if len(r.reasons) > _SHOWN:
        lines.append(f"    and {len(r.reasons) - _SHOWN:,} reasons more: see --json")
    return lines


_VERBS = {
    "write": "new", "replace": "overwrite", "copy": "copy", "keep": "keep", "same": "same", "refuse": "refuse",
}  # fmt: skip


def dry_lines(r: Report, job: LocalJob) -> Iterator[str]:
    """What would be done, path by path, then in sum."""
    counts: dict[str, int] = {}
    for path, action, _size, note in r.planned:
        counts[action] = counts.get(action, 0) + 1
        text = _top(job) + safe_text(os.fsdecode(path))
        yield f"{_VERBS[action]:<10} {text}" + (f" -> {safe_text(note)}" if note else "")
    words = ", ".join(f"{count:,} {_VERBS[action]}" for action, count in counts.items()) or "nothing to do"
    yield f"Dry run: nothing was written; {size_text(r.size)}: {words}"
    yield from renamed_lines(r, _top(job))
    yield from problem_lines(r, _top(job))


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
        "kept": r.kept,
        "copies": r.copies,
        "replaced": r.replaced,
        "verified": r.verified,
        "lost": r.lost,
        "renamed": r.renamed_count,
        "renames": [{**text_json("path", n.path), **text_json("name", n.name)} for n in r.renames],
        "problem_count": r.problem_count,
        "problems": [{**text_json("path", p.path), "reason": p.reason} for p in r.problems],
    }
    if dry:
        row["planned"] = [
            {
                **text_json("path", p.path),
                "action": p.action,
                "bytes": p.size,
                **({"name": safe_text(p.note)} if p.note else {}),
            }
            for p in r.planned
        ]
    return row


def _count(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def _top(job: LocalJob) -> str:
    """What paths begin with: they are told from the target's top, or in full where things go back in place."""
    return "/" if job.target == "/" else ""
