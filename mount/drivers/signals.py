"""The signals that ask the process of a drive to end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")  # SIGHUP is of Unix, SIGBREAK of Windows
_TICK = 0.1  # seconds between two attempts to wake the main thread
_LOOK = 0.5  # seconds between two looks whether a foreign loop is over


@contextmanager
def on_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have `handler` called on these signals; does nothing outside the main thread: no other may set one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        handled.set()
        handler(number, frame)

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    with nullcontext() if sys.platform == "win32" else _waking_main_thread(numbers, handled):
        before = {number: signal.signal(number, handle) for number in numbers}
        try:
            yield
        finally:
            for number, former in before.items():
                signal.signal(number, former)


if sys.platform != "win32":
    _WAKE = signal.SIGURG  # ignored by default, so a late one does no harm

    @contextmanager
    def _waking_main_thread(numbers: list[signal.Signals], handled: threading.Event) -> Iterator[None]:
        """Interrupt the main thread's system call if one of these signals arrives, until one is handled.

        Handlers run in the main thread, but the kernel may give a signal to any other, as it does when several
        arrive together. A main thread that waits in a system call would not notice.
        """
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)

        def wake() -> None:
            main = threading.main_thread().ident
            assert main is not None
            while arrived := os.read(read_end, 64):
                while not handled.wait(_TICK) and not set(numbers).isdisjoint(arrived):
                    signal.pthread_kill(main, _WAKE)
            os.close(read_end)

        former = signal.signal(_WAKE, lambda _number, _frame: None)
        other = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        threading.Thread(target=wake, name="signals", daemon=True).start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(other)
            signal.signal(_WAKE, former)
            handled.set()
            os.close(write_end)  # ends the thread

    @contextmanager
    def broken_pipes_ignored() -> Iterator[None]:
        """Have SIGPIPE do nothing, also once a loop of libfuse has ended; for the main thread, as above.

        Python ignores SIGPIPE. libfuse takes that for its own setting, and restores the default when its loop ends:
        from then on, writing to a closed connection ends the process. It leaves a handler alone.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = signal.signal(signal.SIGPIPE, lambda _number, _frame: None)
        try:
            yield
        finally:
            signal.signal(signal.SIGPIPE, former)

    @contextmanager
    def interrupted_once(over: Callable[[], bool]) -> Iterator[None]:
        """Interrupt the system calls of this thread once `over` is true; does nothing outside the main thread.

        For a loop of a library that notes a signal and then waits: a signal given to another thread, or one that
        arrives just before it waits, does not wake it.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        me, ended = threading.get_ident(), threading.Event()

        def look() -> None:
            while not ended.wait(_LOOK):
                if over():
                    signal.pthread_kill(me, _WAKE)

        former = signal.signal(_WAKE, lambda _number, _frame: None)
        thread = threading.Thread(target=look, name="over?", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            signal.signal(_WAKE, former)
