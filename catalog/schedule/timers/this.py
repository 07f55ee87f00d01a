"""Chooses what runs the tick on the operating system that this process runs on."""

from __future__ import annotations

import os
from collections.abc import Sequence

from catalog.errors import LocalError
from catalog.schedule.timers.base import Timer, TimerState


def is_root() -> bool:
    """Whether this process is root: then the timer is the system's."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def timers(*, system: bool | None = None) -> list[Timer]:
    """The ways there are on this system, the best first. `system` is None for what suits this user."""
    for_all = is_root() if system is None else system
    if os.name == "nt":
        from catalog.schedule.timers.tasks import TaskTimer

        return [TaskTimer(system=for_all)]
    from catalog.schedule.timers.cron import CronTimer
    from catalog.schedule.timers.systemd import SystemdTimer

    return [SystemdTimer(system=for_all), CronTimer()]


def install_timer(ways: Sequence[Timer] | None = None) -> list[str]:
    """Have the tick run every five minutes; a line for the user for each step.

    Replaces what an earlier version installed in the same way. Raises LocalError, also if another way is in use.
    """
    found = timers() if ways is None else ways
    chosen = next((way for way in found if way.is_usable()), None)
    if chosen is None:
        raise LocalError(
            "there is neither systemd nor cron here", "have `rpdrive tick` run every five minutes by other means"
        )
    for way in found:
        if way is not chosen and way.state().is_installed:
            raise LocalError(
                f"the timer is installed by {way.kind} already ({way.state().where})",
                "run `rpdrive timer remove` first: two of them would only be in each other's way",
            )
    return chosen.install()


def remove_timer(ways: Sequence[Timer] | None = None) -> list[str]:
    """Remove the timer, in whatever way it is installed; no lines if it is in none. Raises LocalError."""
    return [line for way in (timers() if ways is None else ways) for line in way.remove()]


def timer_state(ways: Sequence[Timer] | None = None) -> TimerState | None:
    """What is installed; None if nothing is. Raises nothing."""
    found = [state for way in (timers() if ways is None else ways) if (state := way.state()).is_installed]
    if len(found) < 2:
        return found[0] if found else None
    kinds = " and ".join(state.kind for state in found)
    fault = f"the timer is installed twice, by {kinds}; run `rpdrive timer remove`, then `rpdrive timer install`"
    return found[0]._replace(faults=(*found[0].faults, fault))
