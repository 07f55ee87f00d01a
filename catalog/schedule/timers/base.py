"""The interface to the systems that can run the tick every five minutes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from catalog.program import HOME, SNAPSHOT, STAGING, lasting_environment, main_command

# Where rpdrive keeps its files, and what a job needs: a timer doesn't see the environment of the user's shell.
KEPT = (HOME, "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "FUSE_LIBRARY_PATH", "RPDRIVE_ALLOW_HTTP",
        SNAPSHOT, STAGING)  # fmt: skip


class TimerState(NamedTuple):
    """What is installed. `where` is a file or a name, `is_active` None if it can't be told.

    `faults` say what is wrong with it, each with what mends it.
    """

    kind: str
    where: str
    is_installed: bool
    is_active: bool | None = None
    faults: tuple[str, ...] = ()


class Timer(Protocol):
    """One way to run the tick. `system`: for the whole machine, by root; otherwise for this user."""

    kind: str

    def is_usable(self) -> bool:
        """Whether this system runs here."""
        ...

    def install(self) -> list[str]:
        """Install and start it; a line for the user for each step. Raises LocalError."""
        ...

    def remove(self) -> list[str]:
        """Stop and remove it; no line if there is none. Raises LocalError."""
        ...

    def state(self) -> TimerState:
        """What is installed. Raises nothing."""
        ...


def tick_command() -> list[str]:
    """The command line of the tick: not the whole `rpdrive`, which takes twice as long to load."""
    return main_command("catalog.schedule.tick")


def tick_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that the tick needs."""
    return {name: value for name, value in lasting_environment(KEPT, environ).items() if name != "PYTHONPATH"}
