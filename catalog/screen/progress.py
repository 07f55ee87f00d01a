"""Showing how far something is: a bar on a terminal, plain lines now and then elsewhere; both on stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_EVERY = 0.2  # s between two looks on a terminal
_LINE_EVERY = 30.0  # s between two lines elsewhere
_NUMBERS = 67  # columns that bar, bytes, speed and time left may take; a longer line would break in two


class Look(NamedTuple):
    """How far it is: bytes done and in all (None: not known yet), a text beside the bar, and a plain line."""

    done: int
    total: int | None
    text: str
    line: str


class Watch:
    """Looks from a thread of its own while it is entered. `look` gets the seconds since; None shows nothing."""

    def __init__(self, look: Callable[[float], Look | None], *, quiet: bool = False) -> None:
        self.terminal = sys.stderr.isatty() and not quiet
        self._look, self._quiet = look, quiet
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._began = time.monotonic()

    def __enter__(self) -> Watch:
        if not self._quiet:
            if self.terminal:
                self._make_bar()
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
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

    def _run(self) -> None:
        while not self._stop.wait(_EVERY if self.terminal else _LINE_EVERY):
            look = self._look(time.monotonic() - self._began)
            if look is None:
                continue
            if self._bar is not None and self._task is not None:
                text = look.text[: max(self._bar.console.width - _NUMBERS, 0)]
                self._bar.update(self._task, completed=look.done, total=look.total, description=text)
            else:
                print(look.line, file=sys.stderr)

    def say(self, text: str) -> None:
        """A line of its own, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif not self._quiet:
            print(text, file=sys.stderr)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._bar is not None:
            self._bar.stop()
