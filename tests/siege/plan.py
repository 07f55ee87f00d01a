"""What goes wrong inside one command, decided before it starts."""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass, replace
from typing import Literal

Act = Literal["nothing", "kill", "interrupt", "pause", "fail"]
Events = Literal["calls", "files", "entries"]


@dataclass(frozen=True)
class Plan:
    """At the `at`-th event (from 1), `act` happens; without one, the command runs undisturbed.

    `events` are requests to the store; or `files`, operations (open, rename, link, remove, mkdir, listing …) on
    what is below the command's home or vault; or `entries`, those on names without a folder, as the source is
    walked and a restore writes. Only events whose name contains `match` count.
    `after`: a request is done first, and its answer lost. `fail` raises OSError(`error`), of a request
    StoreUnreachable, from `at` on, `times` times. `hidden`: objects younger than so many seconds are left out of
    listings. `clock`: seconds that the machine's clock is wrong by. `partial`: seconds between two partial points.
    `sleeps`: moments (ns) at which everything, the store too, slept for so many ns.
    `remote`: the vault counts as far away, so that the disk cache is used. `small`: packs have a few KiB.
    """

    act: Act = "nothing"
    at: int = 0
    events: Events = "calls"
    match: str = ""
    after: bool = False
    error: int = errno.EIO
    times: int = 1
    hidden: float = 0.0
    clock: float = 0.0
    sleeps: tuple[tuple[int, int], ...] = ()
    partial: float | None = None
    remote: bool = False
    small: bool = True

    def but(self, **changes: object) -> Plan:
        return replace(self, **changes)  # type: ignore[arg-type]

    def __str__(self) -> str:
        default = Plan()
        rows = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return ", ".join(f"{k}={v}" for k, v in rows.items() if v != getattr(default, k)) or "undisturbed"


QUIET = Plan()


def usual(rng: random.Random) -> Plan:
    """The circumstances of a command that are no fault: how often partial points are written, and the like."""
    return Plan(
        partial=rng.choice([None, None, None, 0.01, 0.02, 0.05]),
        remote=rng.random() < 0.4,
        small=rng.random() < 0.9,
    )
