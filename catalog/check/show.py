"""Runs `rpdrive check` on an open vault, and prints what it finds."""

from __future__ import annotations

from contextlib import nullcontext

from catalog.access.session import Session
from catalog.check.job import HIGHEST, Request, check
from catalog.check.listing import lines, report_json
from catalog.errors import Damaged, UsageError
from catalog.points.opening import scope
from catalog.points.seen import Seen
from catalog.screen.output import print_json, say
from catalog.screen.phases import PhaseScreen
from catalog.vault import Vault


def run_check(
    session: Session, vault: Vault, machine: str | None, item: str | None, *, level: int, as_json: bool
) -> int:
    """Check, and print the findings. The exit code: that of damage if any was found. Raises UsageError."""
    if not 0 <= level <= HIGHEST:
        raise UsageError(f"there is no level {level} of `rpdrive check`", f"choose one from 0 to {HIGHEST}")
    request = Request(level, *scope(vault, machine, item))
    state = session.settings.state_to_read
    seen = Seen(state, vault.id).highest()
    with nullcontext() if as_json else PhaseScreen() as screen:
        report = check(vault, request, state, highest=seen, follow=screen)
    if as_json:
        print_json({"vault": session.address} | report_json(report))
    else:
        for line in lines(report, vault.machines()):
            say(line)
    return Damaged.exit_code if report.is_damaged else 0
