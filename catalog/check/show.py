"""Runs `rpdrive check` on an open vault, and prints what it finds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from catalog.access.session import Session
from catalog.check.deep import Plan
from catalog.check.group import Request
from catalog.check.job import check
from catalog.check.level2 import Budget
from catalog.check.listing import cost_line, lines, report_json
from catalog.check.options import Options
from catalog.check.packs import CHEAP_READ, READ
from catalog.check.report import Report
from catalog.cost.before import Before
from catalog.cost.use import Use
from catalog.errors import Damaged
from catalog.machines.registry import id_here
from catalog.points.opening import scope
from catalog.points.seen import Seen
from catalog.screen.output import print_json, say
from catalog.screen.phases import PhaseScreen
from catalog.screen.stderr import warn
from catalog.vault import Vault


def run_check(
    session: Session, vault: Vault, machine: str | None, item: str | None, options: Options, *, as_json: bool
) -> int:
    """Check, and print the findings. The exit code: that of damage if any was found. Raises UsageError."""
    before, trees = Before(session), Use()

    def announce(plans: Sequence[Plan]) -> None:
        if not as_json:
            warn(cost_line(plans, before))

    def listed(requests: int, size: int) -> None:
        """Say once that reading trees costs much: the first time that what is known of them does."""
        nonlocal trees
        trees += Use(read=requests, received=size)
        line = before.line("reading the folders of points", trees)
        if line and not as_json:
            warn(line)

    seconds = options.seconds()
    own = id_here(session.settings, vault) or bytes(16)
    budget = Budget(
        options.share(), None if seconds is None else time.monotonic() + seconds, own,
        CHEAP_READ if session.is_local else READ, announce,
    )  # fmt: skip
    request = Request(options.level, *scope(vault, machine, item), budget, listed)
    state = session.settings.state_to_read
    seen = Seen(state, vault).highest()
    with nullcontext() if as_json else PhaseScreen() as screen:
        report = check(vault, request, state, highest=seen, follow=screen)
    return show(session, vault, report, as_json=as_json)


def show(
    session: Session, vault: Vault, report: Report, *, as_json: bool, more: Mapping[str, object] | None = None
) -> int:
    """Print the findings; `more` is added to the JSON. Returns the exit code: that of damage if any was found."""
    if as_json:
        print_json({"vault": session.address} | report_json(report) | dict(more or {}))
    else:
        for line in lines(report, vault.machines(), vault.file):
            say(line)
    return Damaged.exit_code if report.is_damaged else 0
