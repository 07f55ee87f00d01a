"""What a restore shows: a bar on a terminal, plain lines elsewhere, a summary at the end."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from catalog.jobs import LocalJob
from catalog.text import iso_time, safe_text, size_text, text_json
from mount.restore.report import Report

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_EVERY = 0.2  # s between two looks on a terminal
_LINE_EVERY = 30.0  # s between two lines elsewhere
_SHOWN = 20  # problems on the screen


class Display:
    """Watches a report from a thread of its own, on stderr. A context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty() and not quiet
        self._report: Report | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._began = time.monotonic()

    def watch(self, report: Report) -> None:
        """From now on, show this."""
        self._report = report

    def __enter__(self) -> Display:
        if not self._quiet:
            if self._terminal:
                self._make_bar()
            self._thread = threading.Thread(target=self._watch, name="display", daemon=True)
            self._thread.start()
        return self

    def _make_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            BarColumn(24),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)
        self._bar.start()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY if self._terminal else _LINE_EVERY):
            if self._report is not None:
                self._show(self._report)

    def _show(self, r: Report) -> None:
        done = r.written_bytes + r.same_bytes
        if self._bar is not None and self._task is not None:
            text = f"{r.written + r.same:,} of {r.files:,} files"
            if r.planning:
                path = safe_text(r.path.decode(errors="replace"))
                text = f"planning: {r.files:,} files  {path[-50:]}"
            total = None if r.planning else r.size
            self._bar.update(self._task, completed=done, total=total, description=text)
            return
        speed = r.written_bytes / max(time.monotonic() - self._began, 0.001)
        left = (r.size - done) / speed if speed and not r.planning else 0
        tail = f", {left:.0f} s left" if left > 0 else ""
        print(
            f"{r.written + r.same:,} of {r.files:,} files, {size_text(done)} of {size_text(r.size)}, "
            f"{size_text(int(speed))}/s{tail}",
            file=sys.stderr,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._bar is not None:
            self._bar.stop()


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
    return lines + problem_lines(r, _top(job))


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
        "outcome": "dry run" if dry else job.outcome,
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
