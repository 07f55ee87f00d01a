"""Stores for tests whose calls happen in an order that the test chooses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from catalog.store.base import Store
from catalog.store.wrapper import Request, StoreWrapper, T

MOST = 2**30  # bytes; more than any object of a test has
PATIENCE = 120.0  # seconds until an actor that does nothing is taken for stuck


class Gone(BaseException):
    """The actor ended here, by the test's will. Not an Exception, so that nothing on the way can swallow it."""


class _Call:
    """One call that waits to be let go."""

    def __init__(self, actor: str, request: Request) -> None:
        self.actor, self.request = actor, request
        self.end: str | None = None  # "go", "gone" (not done) or "after" (done, and the answer never seen)
        self.done = False


class Pending(NamedTuple):
    """A call that an actor is about to make."""

    actor: str
    request: Request


class Scheduler:
    """Runs actors, each in a thread of its own, and lets one call to a store happen at a time.

    Nothing moves between two steps: after each, every actor waits before its next call or has ended. An actor may
    use more threads; its calls then wait in the order in which they came.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: list[_Call] = []
        self._threads: dict[str, threading.Thread] = {}
        self._ended: set[str] = set()
        self._gone: set[str] = set()
        self.errors: dict[str, BaseException] = {}

    def start(self, actor: str, work: Callable[[], object]) -> None:
        """Start an actor, and return when it waits before its first call, or has ended."""

        def run() -> None:
            try:
                work()
            except Gone:
                pass
            except BaseException as error:  # noqa: BLE001 - for the test to look at
                self.errors[actor] = error
            with self._changed:
                self._ended.add(actor)
                self._changed.notify_all()

        self._threads[actor] = threading.Thread(target=run, name=actor, daemon=True)
        self._ended.discard(actor)
        self._gone.discard(actor)
        self._threads[actor].start()
        self._settle(actor)

    def pending(self) -> list[Pending]:
        """The calls that wait, in the order in which they came."""
        with self._changed:
            return [Pending(call.actor, call.request) for call in self._calls]

    def ended(self, actor: str) -> bool:
        """Whether the actor has returned; if by an error, it is in `errors`."""
        with self._changed:
            return actor in self._ended

    def step(self, actor: str) -> Request | None:
        """Let the actor's first waiting call happen, and return it when the actor waits again or has ended.

        None if the actor has ended.
        """
        return self._let(actor, "go")

    def stop(self, actor: str, *, after: bool = False) -> None:
        """End an actor at its next call, as a process ends that is killed: before it, or `after` it took effect."""
        with self._changed:
            self._gone.add(actor)
        self._let(actor, "after" if after else "gone")
        with self._changed:
            for call in self._calls:
                if call.actor == actor:
                    call.end = "gone"
            self._changed.notify_all()
        self._threads[actor].join(PATIENCE)

    def run(self, actor: str) -> None:
        """Let an actor make all its calls. Raises the error that it ended with."""
        while self.step(actor) is not None:
            pass
        if actor in self.errors:
            raise self.errors.pop(actor)

    def wait(self, actor: str, request: Request) -> Callable[[], None]:
        """Called by StepStore before a call: returns when it may happen. The result is to be called after it."""
        call = _Call(actor, request)
        with self._changed:
            if actor in self._gone:
                raise Gone
            self._calls.append(call)
            self._changed.notify_all()
            self._changed.wait_for(lambda: call.end is not None)
            if call.end == "gone":
                self._finish(call)
                raise Gone
        return lambda: self._happened(call)

    def _happened(self, call: _Call) -> None:
        with self._changed:
            self._finish(call)
        if call.end == "after":
            raise Gone

    def _finish(self, call: _Call) -> None:
        call.done = True
        if call in self._calls:
            self._calls.remove(call)
        self._changed.notify_all()

    def _let(self, actor: str, end: str) -> Request | None:
        with self._changed:
            call = next((c for c in self._calls if c.actor == actor), None)
            if call is None:
                return None
            call.end = end
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: call.done, PATIENCE):
                raise TimeoutError(f"{actor}: {call.request} does not end")
        self._settle(actor)
        return call.request

    def _settle(self, actor: str) -> None:
        """Wait until the actor waits before a call, or has ended."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: actor in self._ended or any(c.actor == actor and c.end is None for c in self._calls),
                PATIENCE,
            ):
                raise TimeoutError(f"{actor} neither calls its store nor ends")


class StepStore(StoreWrapper):
    """Each call waits until the scheduler lets `actor` make it."""

    def __init__(self, inner: Store, scheduler: Scheduler, actor: str) -> None:
        super().__init__(inner)
        self._scheduler, self._actor = scheduler, actor

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        happened = self._scheduler.wait(self._actor, request)
        try:
            return call()
        finally:
            happened()
