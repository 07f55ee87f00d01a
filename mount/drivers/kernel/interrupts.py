"""Requests whose caller gets a signal while it waits: given up if the signal ends the caller, and only then.

The kernel lets no caller die before its request is answered. A program that handles the signal must get its answer
all the same: no program expects a lookup on a disk to fail with "Interrupted system call". The kernel reports only
the first signal, without its number, so /proc is read until the request is answered.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path

TICK = 0.1  # seconds between checks of a caller that got a signal and still waits
_HARMLESS = sum(
    1 << number - 1
    for number in (
        signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH,
        signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
    )
)  # fmt: skip
_log = logging.getLogger("rpdrive.drive")
_KILL = 1 << signal.SIGKILL - 1


def is_dying(thread: int, proc: Path = Path("/proc")) -> bool:
    """Whether a thread (by its id) has a pending signal that ends it. False if unknown."""
    if thread <= 0:
        return False  # in another PID namespace
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
    if own & _KILL:  # the kernel turns any fatal signal without a core dump into SIGKILL, for each thread
        return True
    if fields.get("TracerPid", "0").strip() != "0":
        return False  # a debugger may discard the signal
    return bool((own | shared) & ~(blocked | ignored | caught | _HARMLESS))


class Interrupts:
    """Watches callers that got a signal. `waiting` returns the thread whose request is not answered yet.

    `give_up` is called for a request (by its unique number) whose caller is dying, possibly from a thread of ours.
    """

    def __init__(self, waiting: Callable[[int], int | None], give_up: Callable[[int], None]) -> None:
        self._waiting = waiting
        self._give_up = give_up
        self._lock = threading.Lock()
        self._watched: set[int] = set()
        self._over = threading.Event()

    def add(self, unique: int) -> None:
        """The caller of a request got a signal."""
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
        """Whether the request needs no more checks: it is answered, or given up."""
        thread = self._waiting(unique)
        if thread is None:
            return True
        if not is_dying(thread):
            return False
        self._give_up(unique)
        return True

    def _watch(self) -> None:
        while not self._over.wait(TICK):
            for unique in self._watched.copy():
                if self._needs_no_more(unique):
                    with self._lock:
                        self._watched.discard(unique)
                        if not self._watched:
                            return  # the next signal starts another thread

    def _needs_no_more(self, unique: int) -> bool:
        try:
            return self._look(unique)
        except Exception:  # noqa: BLE001 - the others must still be watched; this one is answered in time
            _log.exception("cannot determine whether a caller is dying")
            return True
