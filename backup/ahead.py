"""Small files that are opened before their turn, so that the system reads several of them at once.

All actions keep the order of the walk. One thread does everything: it asks the system to read a file soon, goes on
with the next names, and takes the contents later, when they are in memory. With 32 files open ahead, 38,000 small
files came from a cold disk in half the time of one after the other; 8 or 128 took as long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeAlias

from backup.systems.base import File

_FILES = 32  # open ahead, at most
_BYTES = 16 << 20  # asked for ahead, at most: they are in the memory of the system
_ACTIONS = 512  # waiting, at most

Action: TypeAlias = Callable[[], None]


class Ahead(Generic[File]):
    """What waits for its turn. `close` closes a file whose turn never comes; others are closed by their actions.

    `folders`: how many folders the walk may have open. Where few files may be open, few are opened ahead.
    """

    def __init__(self, close: Callable[[File], None], folders: int) -> None:
        self._close, self._most = close, min(_FILES, folders // 8)
        self._waiting: deque[tuple[Action, File | None, int]] = deque()
        self._files = self._bytes = 0
        self._running = False

    @property
    def is_behind(self) -> bool:
        """Whether an action must wait: others wait before it, and none of them runs now."""
        return bool(self._waiting) and not self._running

    @property
    def is_running(self) -> bool:
        """Whether an action runs whose turn came late: other entries after its own were walked."""
        return self._running

    def put(self, action: Action, file: File | None = None, size: int = 0) -> None:
        """Run an action in its turn; it reads an open `file` of so many bytes. Runs the first ones if many wait."""
        self._waiting.append((action, file, size))
        self._files += file is not None
        self._bytes += size
        while self._files > self._most or self._bytes > _BYTES or len(self._waiting) > _ACTIONS:
            self._run_first()

    def settle(self) -> None:
        """Run all actions, unless one of them calls this."""
        while self._waiting and not self._running:
            self._run_first()

    def _run_first(self) -> None:
        action, file, size = self._waiting[0]
        self._running = True
        try:
            self._waiting.popleft()
            self._files -= file is not None
            self._bytes -= size
            action()
        finally:
            self._running = False

    def close(self) -> None:
        """Drop all that waits, and close its files."""
        while self._waiting:
            file = self._waiting.popleft()[1]
            if file is not None:
                with suppress(OSError):
                    self._close(file)
