"""Runs `rpdrive fleet check` on an open vault, and prints what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from catalog.access.session import Session
from catalog.check.group import Request
from catalog.check.level2 import Budget
from catalog.check.listing import Planned, cost_line
from catalog.check.options import Options
from catalog.check.packs import CHEAP_READ, READ
from catalog.check.show import show
from catalog.cost.before import Before
from catalog.errors import WITH_PROBLEMS
from catalog.machines.registry import id_here
from catalog.points.opening import scope
from catalog.points.seen import Seen
from catalog.screen.phases import NoFollower, PhaseScreen
from catalog.screen.stderr import warn
from catalog.vault import Vault
from mount.fleet.checking import Checking
from mount.fleet.engine import Fleet
from mount.fleet.listing import counts_json, tell_counts


def check_fleet(
    session: Session,
    vault: Vault,
    fleet: Fleet,
    machine: str | None,
    item: str | None,
    options: Options,
    *,
    as_json: bool,
) -> int:
    """Check, and print the findings. Returns the exit code. Raises UsageError, FleetFailed and StoreError."""
    before = Before(session)

    def announce(plans: Sequence[Planned]) -> None:
        if not as_json:
            warn(cost_line(plans, before))

    own = id_here(session.settings, vault) or bytes(16)
    budget = Budget(options.share(), by=own, most=CHEAP_READ if session.is_local else READ)
    request = Request(options.level, *scope(vault, machine, item), budget)
    state = session.settings.state_to_read
    highest = Seen(state, vault).highest()
    with nullcontext() if as_json else PhaseScreen() as screen:
        checking = Checking(
            vault, request, state, fleet, highest, screen or NoFollower(), options.seconds(), announce
        )
        report = checking.run().report
    for error in checking.errors:
        warn(f"{error}; {error.advice}" if error.advice else str(error))
    errors = [{"kind": e.kind, "message": str(e), "advice": e.advice} for e in checking.errors]
    code = show(
        session, vault, report, as_json=as_json, more={"errors": errors, "fleet": counts_json(fleet.counts)}
    )
    tell_counts(fleet, vault, as_json=as_json)
    return code or (WITH_PROBLEMS if checking.errors else 0)
