"""What a backup shows: a bar on a terminal, plain lines elsewhere, a summary at the end."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from backup.census import Census
from backup.progress import Progress
from backup.run import Outcome
from backup.selection import Selection
from catalog.format.records import Problem
from catalog.text import local_time, safe_text, size_text

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_EVERY = 0.2  # s between two looks on a terminal
_LINE_EVERY = 30.0  # s between two lines elsewhere
_SHOWN = 20  # problems on the screen; all (to 1,000) stand in the point


class Display:
    """Watches a run's progress from a thread of its own, on stderr. A context manager."""

    def __init__(self, progress: Progress, selection: Selection, *, quiet: bool = False) -> None:
        self._progress = progress
        self._census = Census(selection)
        self._quiet = quiet
        self._terminal = sys.stderr.isatty() and not quiet
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._shown = 0
        self._began = time.monotonic()

    def __enter__(self) -> Display:
        if not self._quiet:
            if self._terminal:
                self._make_bar()
                self._census.start()
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
            self._show()

    def _show(self) -> None:
        p = self._progress
        if self._bar is not None and self._task is not None:
            # The previous point tells at once how much there is; a count of what is there now tells better.
            expected = self._census.total or (p.previous.bytes if p.previous else None)
            total = max(expected, p.size) if expected else None
            path = safe_text(p.path.decode(errors="replace"))
            self._bar.update(
                self._task, completed=p.size, total=total, description=f"{p.files:,} files  {path[-50:]}"
            )
            return
        speed = p.size / max(time.monotonic() - self._began, 0.001)
        print(
            f"{p.files:,} files, {size_text(p.size)}, {size_text(int(speed))}/s, "
            f"{size_text(p.sent.data_bytes + p.sent.tree_bytes)} stored",
            file=sys.stderr,
        )

    def problem(self, problem: Problem) -> None:
        """Say at once what could not be saved."""
        self._shown += 1
        if self._quiet or self._shown > _SHOWN:
            return
        text = f"/{safe_text(problem.path.decode(errors='replace'))}: {safe_text(problem.reason)}"
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._bar is not None:
            self._census.stop()
            self._bar.stop()


def summary(outcome: Outcome, item: str) -> list[str]:
    """What was done, in a few lines."""
    p, totals = outcome.progress, outcome.totals
    what = f"{p.new:,} new, {p.changed:,} changed, {p.removed:,} removed, {p.unchanged:,} unchanged"
    if outcome.point is None:
        return [
            f"Dry run of {item}: nothing was stored",
            f"  {totals.files:,} files, {size_text(totals.bytes)}: {what}",
            f"  {size_text(p.read_bytes)} would be read",
        ]
    stored = p.sent.data_bytes + p.sent.tree_bytes + outcome.record_bytes
    lines = [
        f"Recovery point {outcome.point.id.hex()[:8]} of {item}, {local_time(outcome.point.time)}",
        f"  {totals.files:,} files, {size_text(totals.bytes)}: {what}",
        f"  {size_text(p.read_bytes)} read, {size_text(p.sent.new_bytes)} of it new, "
        f"{size_text(stored)} stored, {outcome.seconds:.1f} s",
    ]
    if outcome.problem_count:
        things = "1 problem" if outcome.problem_count == 1 else f"{outcome.problem_count:,} problems"
        lines.append(f"  {things}: see `rpdrive points {outcome.point.id.hex()[:8]} --json` or above")
    return lines
