"""The tick: looks every five minutes what is due, at files of this machine alone, and starts it as a child.

It imports little, sends no request, and while its child works it goes on with the duties of this machine: what
waits to be told, and the alerts. A second tick beside it does only these.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from catalog.access.settings import Settings
from catalog.errors import LocalError, RpdriveError
from catalog.plans.local import LocalPlans
from catalog.program import child_environment, main_command, secret_environment
from catalog.schedule.agenda import agenda
from catalog.schedule.conditions import Facts, here
from catalog.schedule.history import History
from catalog.schedule.marks import Marks, beat, last_beat, single
from catalog.systems.this import SYSTEM

EVERY = 300.0  # s between ticks
HUNG = 24 * 3600.0  # s without progress after which the child is stopped
_ENDING = 300.0  # s that it gets to end by itself
_log = logging.getLogger("rpdrive.schedule")


class Child(Protocol):
    """A started process: what subprocess.Popen offers."""

    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


def start_child() -> Child:
    """Start `rpdrive run-due`, in a session of its own: nobody is there to type a passphrase."""
    return subprocess.Popen(
        [*main_command("rpdrive"), "run-due"],
        env=child_environment() | secret_environment(), stdin=subprocess.DEVNULL, start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )  # fmt: skip


class Edge(NamedTuple):
    """The outside: the clock (ns), what the machine tells of itself, how the child is started."""

    now: Callable[[], int] = time.time_ns
    facts: Facts = here()
    start: Callable[[], Child] = start_child
    steady: Callable[[], float] = time.monotonic


def tick(settings: Settings, edge: Edge | None = None) -> int:
    """One tick. Returns the exit code of the child, 0 if nothing was due. Raises LocalError."""
    edge = edge or Edge()
    if not settings.where("state").exists():
        return 0  # rpdrive has never run here
    state = settings.state
    with single(state / "tick.lock") as is_alone:
        if not is_alone:
            local_duties(settings, edge.now())
            return 0
        now = edge.now()
        marks = Marks.read(state).ticked(now, SYSTEM.boot_id())
        marks.write(state)
        is_due = _is_due(state, now, marks.resumed, edge.facts)
        local_duties(settings, now)
        return _run(settings, state, edge) if is_due else 0


def _is_due(state: Path, now: int, resumed: int, facts: Facts) -> bool:
    found = LocalPlans(state).all()
    for error in found.errors:
        print(f"rpdrive: {error}", file=sys.stderr)
    history = History(state)
    plan = agenda(found.vaults, history.settle(now), now, resumed, facts)
    history.note(plan.rows)
    return bool(plan.work)


def _run(settings: Settings, state: Path, edge: Edge) -> int:
    """Start the child and wait for it, with the local duties meanwhile."""
    beat(state)
    gc.enable()  # it may wait for days
    try:
        child = edge.start()
    except OSError as e:
        raise LocalError(f"the jobs can't be started: {e.strerror}", "check the free memory") from e
    seen, since = last_beat(state), edge.steady()  # not by the wall clock, which may be set
    while True:
        try:
            return child.wait(EVERY)
        except subprocess.TimeoutExpired:
            pass
        now = edge.now()
        Marks.read(state).ticked(now, SYSTEM.boot_id()).write(state)
        history = History(state)
        history.note(agenda(LocalPlans(state).all().vaults, history.settle(now), now, 0, edge.facts).rows)
        local_duties(settings, now)
        if (latest := last_beat(state)) != seen:
            seen, since = latest, edge.steady()
        elif edge.steady() - since > HUNG:
            print("rpdrive: the jobs did not get on for 24 hours; stopping them", file=sys.stderr)
            return _stop(child)


def _stop(child: Child) -> int:
    """End a child that hangs: as by Ctrl-C, so that it notes how its job ended, and then at once."""
    with suppress(OSError, ValueError):
        child.send_signal(signal.SIGINT)
    try:
        return child.wait(_ENDING)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def local_duties(settings: Settings, now: int) -> None:
    """What this machine does by itself: alerts, what waits to be told, metrics, the digest. Raises nothing."""
    try:
        from catalog.alerts.local import step_here
        from catalog.notify.notifier import Notifier
        from catalog.report.duties import tell

        state = settings.where("state")
        notifier = Notifier(settings.where("config"), state)
        step_here(state, now, notifier)
        tell(notifier, state, now)
    except Exception as e:  # noqa: BLE001 - no fault of these may stop the backups
        _log.warning("the alerts of this machine: %s", e)


def main(arguments: Sequence[str] = ()) -> None:
    """Entry point of the timer."""
    os.umask(0o077)
    gc.disable()  # it makes many objects and no cycles, and ends: 20% of its CPU with a long history
    try:
        code = tick(Settings())
    except RpdriveError as e:
        print(f"rpdrive: {e}{'; ' if e.advice else ''}{e.advice}", file=sys.stderr)
        code = e.exit_code
    sys.exit(code)
