"""The work of the command `backup`: run a job, show its progress, print its result."""

from __future__ import annotations

import json
from contextlib import nullcontext

from backup.display import result_json, summary
from backup.job import opened
from backup.request import Request
from backup.systems.this import this_system
from catalog.access.session import Session
from catalog.errors import WITH_PROBLEMS, LocalError
from catalog.format.records import PointName
from catalog.points.elsewhere import behind
from catalog.screen.output import print_last
from catalog.screen.stderr import Screen, warn
from catalog.vault import Vault


def back_up(session: Session, vault: Vault, request: Request, *, as_json: bool) -> int:
    """Run a backup as a command. Returns the exit code. Raises what `opened` and `Job.run` do."""
    with (
        opened(session, vault, request, this_system(fetch=request.fetch)) as job,
        nullcontext() if as_json else Screen() as screen,
    ):
        result = job.run(screen)
    if result.point is not None:
        late = behind(session, vault, [PointName.of(result.point)])
        if late is not None:  # backups went to another place of the vault since
            result.notes = [*result.notes, str(late)]
    if as_json:
        traffic = session.meter.snapshot() if session.meter else None
        text = json.dumps(result_json(result, job.machine, job.item, job.id, traffic), indent=2)
    else:
        text = "\n".join(summary(result, job.item.name, job.id))
    failed = print_last(text)
    if failed is not None and result.point is not None:
        # The exit code must say that there is a new point.
        warn(f"the recovery point {result.point.id.hex()[:8]} was made, but its summary can't be shown: {failed}")
        return WITH_PROBLEMS
    if failed is not None:
        raise LocalError(failed, "check where stdout goes")
    return WITH_PROBLEMS if result.problem_count else 0
