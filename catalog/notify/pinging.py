"""Signs of life of this machine's jobs. Without notify.toml, this costs one look for a file.

Only jobs that are noted in the state folder of this process's settings give them: others are not this machine's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.access.settings import Settings
from catalog.errors import RpdriveError
from catalog.notify.event import Ping, PingWhat

if TYPE_CHECKING:
    from catalog.notify.notifier import Notifier

_ENDS = {
    "completed": PingWhat.SUCCESS,
    "completed with warnings": PingWhat.SUCCESS,
    "failed": PingWhat.FAIL,
}


def ping_start(state: Path, kind: str, item: str, run: str) -> None:
    """Say that a job begins. `item` is a name, `run` the id of the run (hex). Returns at once, raises nothing."""
    _ping(state, lambda: Ping(what=PingWhat.START, kind=kind, item=item, run=run, time=time.time_ns()))


def ping_end(state: Path, kind: str, item: str, run: str, outcome: str, text: str) -> None:
    """Say how a job ended, with its last words. Takes seconds at most, raises nothing.

    Nothing is said of one that a person interrupted: whoever misses it will ask.
    """
    what = _ENDS.get(outcome)
    if what is not None:
        words = f"{outcome}: {text}" if text else outcome
        _ping(state, lambda: Ping(what=what, kind=kind, item=item, run=run, text=words, time=time.time_ns()))


def _ping(state: Path, ping: Callable[[], Ping]) -> None:
    settings = Settings()
    try:
        config = settings.where("config")
        if settings.where("state") != state or not (config / "notify.toml").exists():
            return
    except (RpdriveError, OSError):
        return
    from catalog.notify.notifier import Notifier

    made = ping()
    before = _starting.pop(made.run, None)
    if before is not None:
        before.wait()  # a start that comes after the end would look like a run without one
    notifier = Notifier(config, state)
    if made.what is PingWhat.START:
        _starting[made.run] = notifier
    notifier.ping(made)


_starting: dict[str, Notifier] = {}  # by run: what may still be sending its start
