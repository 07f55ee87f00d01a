"""The work of the command `vault copy`: run it, and say what it did."""

from __future__ import annotations

from contextlib import nullcontext

from catalog.access.session import Session
from catalog.copies.listing import copied_json, copied_lines, problems
from catalog.copies.run import Request, copy_vault
from catalog.errors import WITH_PROBLEMS
from catalog.screen.output import print_json, say
from catalog.screen.phases import NoFollower, PhaseScreen
from catalog.screen.stderr import warn
from catalog.throttle.limiting import limit_traffic


def copy_and_show(session: Session, request: Request, *, as_json: bool) -> int:
    """Copy as a command. Returns the exit code. Raises what `copy_vault` does."""
    limit_traffic(session, request.given)
    vault = session.open_vault()
    with nullcontext() if as_json else PhaseScreen() as screen:
        found = copy_vault(session, vault, request, screen or NoFollower())
    if as_json:
        print_json(copied_json(found, session.address))
    else:
        for line in copied_lines(found):
            say(line)
        for problem in problems(found):
            warn(problem)
    return WITH_PROBLEMS if found.has_problems else 0
