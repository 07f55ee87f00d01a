"""A progress bar on a terminal. Imports rich."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_NUMBERS = 67  # columns that bar, bytes, speed and time left may take; a longer line would break in two


class Bar:
    """Bytes, speed and time left on stderr, from now until it is closed."""

    def __init__(self) -> None:
        self._bar = Progress(
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

    def show(self, done: int, total: int | None, text: str) -> None:
        """Show this state of the job; `text` is cut to the space next to the bar."""
        width = max(self._bar.console.width - _NUMBERS, 0)
        self._bar.update(self._task, completed=done, total=total, description=text[:width])

    def print_above(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Remove the bar from the screen."""
        self._bar.stop()
