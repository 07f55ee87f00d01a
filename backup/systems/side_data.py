"""Windows metadata of a file, besides its contents, as a backup reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from catalog.format.values import OutOfLine, Owner
from catalog.format.windows import Stream, Value, Windows
from catalog.format.writing import INLINE_XATTR, WritePage

File = TypeVar("File")

UNKNOWN_OWNER = Owner(-1, -1)


class SideData(Generic[File]):
    """Attributes, security descriptor, reparse point, extended attributes and streams of one file.

    `mode` and `owner` are what a system without security descriptors shows. `streams` has the name of each
    alternate data stream, and what opens it as a file. `problems` are reasons why a part could not be read.
    """

    def __init__(self, windows: Windows, mode: int, owner: Owner = UNKNOWN_OWNER) -> None:
        self.mode, self.owner = mode, owner
        self.streams: list[tuple[str, Callable[[], File]]] = []
        self.problems: list[str] = []
        self._windows = windows

    def store_large(self, write: WritePage) -> None:
        """Move large values out of the entry into pages of the tree."""

        def stored(value: Value | None) -> Value | None:
            return OutOfLine(write(value)) if isinstance(value, bytes) and len(value) > INLINE_XATTR else value

        w = self._windows
        w.security, w.reparse, w.extended = stored(w.security), stored(w.reparse), stored(w.extended)

    def windows(self, streams: list[Stream]) -> Windows:
        """The value for the entry, with streams whose contents have their places."""
        self._windows.streams = streams
        return self._windows
