"""Interruptions: Ctrl-C, and signals that end a job as Ctrl-C does. A command that got one ends with exit code 130.

Python raises KeyboardInterrupt in whatever code the main thread runs just then, and there it can be lost: what a
destructor or a callback of C code raises is dropped, and an error of the cleaning up in a `finally` takes its
place, which a loop may answer by trying again. So `interrupt` notes the interruption before it raises it, and
`check` raises again what was lost: before each request to a store, in long loops, and when the command ends.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs


class _Noted:
    """The state of this process: whether interruptions are noted, and whether one came; whether one waits."""

    listening = came = False
    deferring = 0  # contexts that are entered
    waits = False


@contextmanager
def listening() -> Iterator[None]:
    """While entered, interruptions are noted; when it is left, they are forgotten.

    SIGINT is one, unless it is ignored (as below nohup) or has a handler other than Python's own.
    """
    if _Noted.listening or threading.current_thread() is not threading.main_thread():
        yield
        return
    own, hook = signal.getsignal(signal.SIGINT) is signal.default_int_handler, sys.unraisablehook

    def dropped(what: UnraisableHookArgs) -> None:
        if not (_Noted.came and issubclass(what.exc_type, KeyboardInterrupt)):  # it is raised again
            hook(what)

    _Noted.listening, _Noted.came = True, False
    try:
        sys.unraisablehook = dropped
        if own:
            signal.signal(signal.SIGINT, interrupt)
        yield
    finally:
        if own:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = hook
        _Noted.listening = _Noted.came = False


def interrupt(_number: int = 0, _frame: FrameType | None = None) -> None:
    """Note an interruption, and raise KeyboardInterrupt unless it is deferred. A handler of signals."""
    _Noted.came = _Noted.listening
    if not _Noted.deferring:
        raise KeyboardInterrupt
    _Noted.waits = True


@contextmanager
def deferred() -> Iterator[None]:
    """While entered, an interruption waits: what was started, and is not noted anywhere yet, must not be lost."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _Noted.deferring += 1
    try:
        yield
    finally:
        _Noted.deferring -= 1
        if _Noted.waits and not _Noted.deferring:  # in place of an error, too
            _Noted.waits = False
            raise KeyboardInterrupt


def came() -> bool:
    """Whether an interruption was noted."""
    return _Noted.came


def check() -> None:
    """Raise KeyboardInterrupt if an interruption was noted, and is lost: nothing handles it now.

    Only in the main thread: it alone is interrupted, and decides what that means for the others.
    """
    if _Noted.came and threading.current_thread() is threading.main_thread() and not is_cause(sys.exc_info()[1]):
        raise KeyboardInterrupt


def is_cause(error: BaseException | None) -> bool:
    """Whether an error is an interruption, or was raised while one was handled."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


def was_stopped(error: BaseException) -> bool:
    """Whether a job that ended with an error did not fail, but was told to end."""
    return not isinstance(error, Exception) or is_cause(error)
