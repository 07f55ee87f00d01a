"""The progress of a run: figures that another thread may read at any time."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from backup.pipeline import Sent
from catalog.format.values import TOTAL_MAX, Totals
from catalog.screen.progress import JobProgress


class Progress(msgspec.Struct):
    """Entries, files and bytes that the walk has passed, and how many files and bytes of them were read.

    `size` includes all of the current file; `left` are the bytes of it that are still to be read.

    `new`, `changed` and `removed` compare with the previous point, whose totals are `previous`. `path` returns the
    path of the current file (from the root, without a leading slash), which is built only when it is shown.
    """

    entries: int = 0
    files: int = 0
    size: int = 0
    left: int = 0
    read_files: int = 0
    read_bytes: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    path: Callable[[], bytes] = bytes
    sent: Sent = msgspec.field(default_factory=Sent)
    previous: Totals | None = None

    @property
    def done(self) -> int:
        """Bytes read and processed; uploads may be pending."""
        return max(self.size - self.left, 0)

    def totals(self) -> Totals:
        """The totals of all entries that the walk has passed."""
        return Totals(self.entries, self.files, min(self.size, TOTAL_MAX), 0)

    def report(self, seconds: float, counted: int | None) -> JobProgress:
        """The progress for observers. `counted` are the bytes of all files, once they are counted."""
        # The previous point's size is known at once, and used until the count is complete.
        expected = counted or (self.previous.bytes if self.previous else None)
        return JobProgress(
            seconds,
            self.files,
            None,
            self.done,
            max(expected, self.size) if expected else None,
            stored=self.sent.data_bytes + self.sent.tree_bytes,
            path=self.path(),
        )

    def reset(self, sent: Sent, previous: Totals | None) -> None:
        """Start from zero."""
        fresh = Progress(sent=sent, previous=previous)
        for name in self.__struct_fields__:
            setattr(self, name, getattr(fresh, name))
