"""Shows a job's progress on stderr: a bar on a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from catalog.screen.progress import JobProgress
from catalog.screen.redacted import redacted
from catalog.screen.text import counted, duration_text, safe_text, size_text

if TYPE_CHECKING:
    from catalog.screen.bar import Bar

_BAR_EVERY, _LINE_EVERY = 0.2, 30.0  # s between two reports
_PROBLEMS = 20  # that are shown while the job runs; its record has more of them
_PATH = 50  # characters of a path, from its end


class Screen:
    """An Observer (catalog.screen.progress), and a context manager."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.every = _BAR_EVERY if self.live else _LINE_EVERY
        self._bar: Bar | None = None
        self._problems = 0

    def __enter__(self) -> Screen:
        if self.live:
            from catalog.screen.bar import Bar  # imports rich: 30 ms, on a terminal only

            self._bar = Bar()
        return self

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar away meanwhile, e.g. to ask something."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        try:
            yield
        finally:
            self.__enter__()

    def progress(self, progress: JobProgress) -> None:
        if self._bar is None:
            _print(line(progress))
        else:
            self._bar.show(progress.done, progress.total, beside_bar(progress))

    def problem(self, path: bytes, reason: str) -> None:
        """Print a problem, above the bar if there is one. It has no path if it is no file's."""
        self._problems += 1
        if self._problems > _PROBLEMS:
            return
        text = f"/{safe_text(path.decode(errors='replace'))}: " * bool(path) + safe_text(reason)
        if self._bar is None:
            _print(text)
        else:
            self._bar.print_above(text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def warn(text: str, *, prefix: str = "rpdrive") -> None:
    """Print a warning or an error, one line. Without a prefix, e.g. for JSON, the text alone."""
    _print(f"{prefix}: {safe_text(text)}" if prefix else safe_text(text))


def _print(text: str) -> None:
    """Print a line on stderr. No job fails because stderr is closed or its disk is full."""
    try:
        print(redacted(text).encode(errors="backslashreplace").decode(), file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # Python flushes once more at its end, and would fail


def beside_bar(p: JobProgress) -> str:
    """The text next to the bar: the number of files, and a path while the total number is not known."""
    if p.files_total is not None:
        return _files(p)
    path = safe_text(p.path.decode(errors="replace"))[-_PATH:]
    return f"{'planning: ' if p.planning else ''}{_files(p)}  {path}"


def line(p: JobProgress) -> str:
    """The progress as a whole line, for a log."""
    if p.planning:
        return f"planning: {_files(p)}"
    exact = p.total if p.files_total is not None else None
    parts = [
        _files(p),
        size_text(p.done) + ("" if exact is None else f" of {size_text(exact)}"),
        f"{size_text(p.speed)}/s",
    ]
    if p.stored is not None:
        parts.append(f"{size_text(p.stored)} stored")
    if exact is not None and p.speed and exact > p.done:
        parts.append(f"{duration_text((exact - p.done) / p.speed)} left")
    return ", ".join(parts)


def _files(p: JobProgress) -> str:
    return counted(p.files, "file") if p.files_total is None else f"{p.files:,} of {counted(p.files_total, 'file')}"
