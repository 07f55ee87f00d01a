"""What a backup shows: a bar on a terminal, plain lines elsewhere, a summary at the end."""

from __future__ import annotations

import os
from contextlib import ExitStack
from types import TracebackType

from backup.census import Census
from backup.progress import Progress
from backup.run import Result
from backup.selection import Selection
from catalog.format.records import Problem
from catalog.screen.progress import Look, Watch
from catalog.screen.text import counted, local_time, safe_text, size_text

_SHOWN = 20  # problems on the screen; all (to 1,000) stand in the point


class Display:
    """Watches a run's progress. A context manager."""

    def __init__(self, progress: Progress, selection: Selection, *, quiet: bool = False) -> None:
        self._progress = progress
        self._census = Census(selection)
        self._watch = Watch(self._look, quiet=quiet)
        self._stack = ExitStack()
        self._shown = 0

    def __enter__(self) -> Display:
        self._stack.enter_context(self._watch)
        if self._watch.terminal and os.name == "posix":  # it looks by itself, at POSIX paths
            self._census.start()
            self._stack.callback(self._census.stop)
        return self

    def _look(self, seconds: float) -> Look:
        p = self._progress
        # The previous point tells at once how much there is; a count of what is there now tells better.
        expected = self._census.total or (p.previous.bytes if p.previous else None)
        path = safe_text(p.path.decode(errors="replace"))
        files = counted(p.files, "file")
        return Look(
            p.done,
            max(expected, p.size) if expected else None,
            f"{files}  {path[-50:]}",
            f"{files}, {size_text(p.done)}, {size_text(int(p.done / max(seconds, 0.001)))}/s, "
            f"{size_text(p.sent.data_bytes + p.sent.tree_bytes)} stored",
        )

    def problem(self, problem: Problem) -> None:
        """Say at once what could not be saved."""
        self._shown += 1
        if self._shown <= _SHOWN:
            path = safe_text(problem.path.decode(errors="replace"))
            self._watch.say(f"/{path}: {safe_text(problem.reason)}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def summary(outcome: Result, item: str, job: str | None) -> list[str]:
    """What was done, in a few lines. `job` is its id in `rpdrive jobs`."""
    p, totals = outcome.progress, outcome.totals
    what = f"{p.new:,} new, {p.changed:,} changed, {p.removed:,} removed, {p.unchanged:,} unchanged"
    if outcome.point is None:
        lines = [
            f"Dry run of {item}: nothing was stored",
            f"  {counted(totals.files, 'file')}, {size_text(totals.bytes)}: {what}",
            f"  {size_text(p.read_bytes)} would be read",
        ]
        return lines + ([f"  {counted(outcome.problem_count, 'problem')}"] if outcome.problem_count else [])
    stored = p.sent.data_bytes + p.sent.tree_bytes + outcome.record_bytes
    lines = [
        f"Recovery point {outcome.point.id.hex()[:8]} of {item}, {local_time(outcome.point.time)}",
        f"  {counted(totals.files, 'file')}, {size_text(totals.bytes)}: {what}",
        f"  {size_text(p.read_bytes)} read, {size_text(p.sent.new_bytes)} of it new, "
        f"{size_text(stored)} stored, {outcome.seconds:.1f} s",
    ]
    if outcome.problem_count:
        things = counted(outcome.problem_count, "problem")
        lines.append(f"  {things}" + (f": see above, or `rpdrive jobs {job[:8]}`" if job else ""))
    return lines
