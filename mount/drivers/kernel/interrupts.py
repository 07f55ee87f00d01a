"""Requests whose caller got a signal while it waits: given up if the caller is dying of it, and only then.

The kernel lets nobody die before we have answered. A program that handles its signal has to get its answer all the
same, for no program expects that looking up a name on a disk fails with "Interrupted system call". The kernel tells
of the first signal alone and not of its kind, so /proc is asked, until there is an answer.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path

TICK = 0.1  # seconds between looks at somebody who got a signal and still waits
_HARMLESS = sum(
    1 << number - 1
    for number in (
        signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH,
        signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
    )
)  # fmt: skip
_KILL = 1 << signal.SIGKILL - 1


def is_dying(thread: int, proc: Path = Path("/proc")) -> bool:
    """Whether a thread (by its id) has a signal before it that ends it. False if that can't be known."""
    if thread <= 0:
        return False  # of another PID namespace
    try:
        text = (proc / str(thread) / "status").read_text(errors="replace")
    except OSError:
        return False
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    try:
        own, shared, blocked, ignored, caught = (
            int(fields[name], 16) for name in ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")
        )
    except (KeyError, ValueError):
        return False
    if own & _KILL:  # any signal that ends a process without a core dump becomes this one, for each thread
        return True
    if fields.get("TracerPid", "0").strip() != "0":
        return False  # a debugger may take the signal away
    return bool((own | shared) & ~(blocked | ignored | caught | _HARMLESS))


class Interrupts:
    """Callers that got a signal. `waiting` has the thread of each request that is not answered yet.

    `give_up` is called for a request (by its unique number) whose caller is dying, maybe by a thread of this.
    """

    def __init__(self, waiting: Callable[[int], int | None], give_up: Callable[[int], None]) -> None:
        self._waiting = waiting
        self._give_up = give_up
        self._lock = threading.Lock()
        self._watched: set[int] = set()
        self._over = threading.Event()

    def add(self, unique: int) -> None:
        """Somebody who waits got a signal."""
        if self._look(unique):
            return
        with self._lock:
            begin = not self._watched
            self._watched.add(unique)
        if begin:
            threading.Thread(target=self._watch, name="interrupts", daemon=True).start()

    def close(self) -> None:
        self._over.set()

    def _look(self, unique: int) -> bool:
        """Whether there is nothing more to look for: it has its answer."""
        thread = self._waiting(unique)
        if thread is None:
            return True
        if not is_dying(thread):
            return False
        self._give_up(unique)
        return True

    def _watch(self) -> None:
        while not self._over.wait(TICK):
            for unique in tuple(self._watched):
                if self._look(unique):
                    with self._lock:
                        self._watched.discard(unique)
                        if not self._watched:
                            return
