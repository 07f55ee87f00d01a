"""The work of `rpdrive timer show`: what is installed, when it last ran, what it would do."""

from __future__ import annotations

import time

from catalog.access.session import Session
from catalog.errors import WITH_PROBLEMS
from catalog.plans.local import LocalPlans
from catalog.schedule.due import next_slot
from catalog.schedule.marks import Marks
from catalog.schedule.timers.this import timer_state
from catalog.screen.output import print_json, say
from catalog.screen.text import iso_time, local_time

LATE = 20 * 60 * 10**9  # ns without a tick, after which the timer does not fire


def show_timer(session: Session, *, as_json: bool) -> int:
    """Print it. Returns the exit code: 3 if there is no timer, or something is wrong with it."""
    state, now = timer_state(), time.time_ns()
    folder = session.settings.where("state")
    last = Marks.read(folder).last
    faults = list(state.faults) if state is not None else ["there is no timer; run `rpdrive timer install`"]
    if state is not None and last and now - last > LATE:
        faults.append("the timer did not fire in the last 20 minutes")
    plans = LocalPlans(folder).all()
    faults += [str(error) for error in plans.errors]
    faults += [f"in the plans of {vault.address}: {fault}" for vault in plans.vaults for fault in vault.faults]
    items = [(vault, item) for vault in plans.vaults for item in vault.items]
    slots = [(next_slot(item.plan, now), vault, item) for vault, item in items]
    if as_json:
        kept = None if state is None else {"kind": state.kind, "where": state.where, "active": state.is_active}
        print_json({
            "timer": kept,
            "last_tick": iso_time(last) if last else None,
            "next": [
                {"vault": vault.address, "item": item.name, "at": None if slot is None else iso_time(slot)}
                for slot, vault, item in slots
            ],
            "faults": faults,
        })  # fmt: skip
        return WITH_PROBLEMS if faults else 0
    if state is not None:
        say(f"timer      {state.kind}, {state.where}")
        say(f"last look  {local_time(last) if last else 'none yet'}")
    for slot, _vault, item in slots:
        say(f"next       {item.name}: {'never by itself' if slot is None else local_time(slot)}")
    for fault in faults:
        say(f"wrong      {fault}")
    return WITH_PROBLEMS if faults else 0
