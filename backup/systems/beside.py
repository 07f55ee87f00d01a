"""What Windows keeps of a file beside its contents, as a backup reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from catalog.format.values import OutOfLine, Owner
from catalog.format.windows import Stream, Value, Windows
from catalog.format.writing import INLINE_XATTR, WritePage

NOBODY = Owner(-1, -1)


class Kept:
    """Attributes, security descriptor, reparse point, extended attributes, streams of one file.

    `streams` gives each stream's name, and what opens it. `problems` says what could not be read.
    """

    def __init__(self, windows: Windows, mode: int, owner: Owner = NOBODY) -> None:
        self.mode, self.owner = mode, owner
        self.streams: list[tuple[str, Callable[[], Any]]] = []
        self.problems: list[str] = []
        self._windows = windows

    def store_large(self, write: WritePage) -> None:
        """Put what is large out of line, into the tree."""

        def stored(value: Value | None) -> Value | None:
            return OutOfLine(write(value)) if isinstance(value, bytes) and len(value) > INLINE_XATTR else value

        w = self._windows
        w.security, w.reparse, w.extended = stored(w.security), stored(w.reparse), stored(w.extended)

    def windows(self, streams: list[Stream]) -> Windows:
        """What stands in the entry, once the contents of the streams have their places."""
        self._windows.streams = streams
        return self._windows
