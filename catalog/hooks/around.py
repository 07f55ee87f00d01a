"""Runs hooks around a job, in their order, each once."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

from catalog.errors import HookFailed, LocalError, RpdriveError
from catalog.format.records import Outcome
from catalog.hooks.config import Hook, Hooks, Mode, Stage
from catalog.hooks.process import HookProcess
from catalog.interruption import deferred, interrupt, was_stopped
from catalog.program import child_environment

_log = logging.getLogger("rpdrive.hooks")
_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # no SIGHUP on Windows
Handler: TypeAlias = Callable[[int, FrameType | None], None] | signal.Handlers


class Facts(dict[str, str]):
    """What hooks get to know of a job: names without `RPDRIVE_` and values, added as they are known."""

    def environment(self, stage: Stage) -> dict[str, str]:
        """This process's environment without secrets, and the facts."""
        known = {f"RPDRIVE_{name}": value.replace("\0", "?") for name, value in self.items()}
        return child_environment() | known | {"RPDRIVE_STAGE": str(stage)}


class Around:
    """The hooks of one job. `warn` gets a line for each failure that does not fail the job.

    `facts` may change while the job runs. Also a guard of the files that are read: see `begin`, `check` and `end`.
    """

    def __init__(self, hooks: Hooks, item: str, facts: Facts, warn: Callable[[str], None]) -> None:
        self._hooks, self._item, self.facts, self._warn = hooks, item, facts, warn
        self.held: list[HookProcess] = []
        self._async: list[tuple[HookProcess, float]] = []

    @contextmanager
    def job(self, before: Stage, after: Stage, failure: Stage | None = None) -> Iterator[None]:
        """A context around the job. Raises HookFailed if an essential hook fails before it.

        When it is left, held processes are ended, and `after` runs, whatever happened; Ctrl-C and SIGTERM end the
        job and then wait for it. Failures of hooks after the job are warnings: what it did is done.
        """
        if not self._hooks.rows:
            yield
            return
        with terminated():
            try:
                for hook in self._hooks.of(before, self._item):
                    self.run(hook)
                yield
            except BaseException as e:
                self._ended(e)
                with _undisturbed():
                    self._drop_held()
                    if failure is not None:
                        self._after(failure)
                    self._after(after)
                    self._join()
                raise
            with _undisturbed():
                self._drop_held()
                self._after(after)
                self._join()

    # --- while files are read -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the held processes, and wait until each is ready. Raises HookFailed."""
        if self.held:
            return
        for hook in self._hooks.of(Stage.HOLD, self._item):
            try:
                with deferred():
                    process = HookProcess(hook, self.facts.environment(Stage.HOLD), held=True)
                    self.held.append(process)
            except LocalError as e:
                self._failed(hook, str(e))
                continue
            process.ready.wait(hook.timeout)
            if not process.said_ready:
                self.held.remove(process)
                if process.running() and not process.ready.is_set():
                    process.kill()
                    self._failed(hook, f"the hook {hook.name!r} (hold) was not ready within {hook.timeout:g} s")
                else:
                    self._lost(process, "before it was ready")

    def check(self) -> None:
        """Raise HookFailed if an essential held process has ended by itself."""
        for process in [p for p in self.held if not p.running()]:
            self.held.remove(process)
            self._lost(process, "while files were read")

    def end(self) -> None:
        """End the held processes, now that all files are read. Raises HookFailed if one is not there."""
        self.check()
        held, self.held = self.held, []
        for process in reversed(held):
            process.release()
            ended = process.wait(process.hook.timeout)
            if ended.fault:
                self._failed(process.hook, ended.text(process.hook))

    def _lost(self, process: HookProcess, when: str) -> None:
        ended = process.wait(0.0)
        said = f": {ended.output}" if ended.output else ""
        self._failed(process.hook, f"the hook {process.hook.name!r} (hold) ended {when}{said}")

    def _drop_held(self) -> None:
        """End what is still held, of a job that failed."""
        held, self.held = self.held, []
        for process in reversed(held):
            process.release()
            ended = process.wait(process.hook.timeout)
            if ended.fault:
                self._warn(ended.text(process.hook))

    # --- one hook -----------------------------------------------------------------------------------------

    def run(self, hook: Hook) -> None:
        """Run one hook. Raises HookFailed if it is essential and fails."""
        started: list[HookProcess] = []
        try:
            with deferred():
                started.append(HookProcess(hook, self.facts.environment(hook.stage)))
                if hook.mode is Mode.ASYNC:
                    self._async.append((started[0], time.monotonic() + hook.timeout))
        except LocalError as e:
            self._failed(hook, str(e))
            return
        except KeyboardInterrupt:
            if hook.mode is not Mode.ASYNC and started:
                started[0].kill()
            raise
        if hook.mode is Mode.ASYNC:
            return
        ended = started[0].wait(hook.timeout)
        _log.info("the hook %r (%s) printed: %s", hook.name, hook.stage, ended.output)
        if ended.fault:
            self._failed(hook, ended.text(hook))

    def _failed(self, hook: Hook, text: str) -> None:
        if hook.mode is Mode.ESSENTIAL:
            raise HookFailed(text)
        self._warn(text)

    def _after(self, stage: Stage) -> None:
        for hook in self._hooks.of(stage, self._item):
            try:
                self.run(hook)
            except HookFailed as e:
                self._warn(str(e))

    def _join(self) -> None:
        for process, until in self._async:
            ended = process.wait(until - time.monotonic())
            if ended.fault:
                self._warn(ended.text(process.hook))
        self._async.clear()

    def _ended(self, error: BaseException) -> None:
        self.facts["OUTCOME"] = str(Outcome.INTERRUPTED if was_stopped(error) else Outcome.FAILED)
        if isinstance(error, RpdriveError):
            self.facts["ERROR"] = str(error)


def job_facts(**facts: str) -> Facts:
    """Facts by their lower-case names; empty ones are left out."""
    return Facts({name.upper(): value for name, value in facts.items() if value})


@contextmanager
def terminated() -> Iterator[None]:
    """SIGTERM and SIGHUP (a terminal that is gone, but not with nohup) end the job as Ctrl-C does.

    So hooks after it run, and its snapshots are removed.
    """
    with _handling({number: interrupt for number in _ENDS if signal.getsignal(number) is not signal.SIG_IGN}):
        yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No such signal keeps the hooks after a job from running to their end, or to their time limit."""
    with _handling(dict.fromkeys((*_ENDS, signal.SIGINT), signal.SIG_IGN)):
        yield


@contextmanager
def _handling(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {}
    try:
        for number, handler in handlers.items():
            before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
