"""The work of the command `backup`: run a job, show its progress, print its result."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from backup.display import result_json, summary
from backup.job import Request, opened
from backup.systems.this import this_system
from catalog.access.session import Session
from catalog.errors import WITH_PROBLEMS
from catalog.screen.output import print_json
from catalog.screen.stderr import Screen
from catalog.vault import Vault

__all__ = ["Request", "back_up"]


def back_up(session: Session, vault: Vault, request: Request, *, as_json: bool) -> int:
    """Run a backup as a command. Returns the exit code. Raises what `opened` and `Job.run` do."""
    with (
        opened(session, vault, request, this_system(fetch=request.fetch)) as job,
        nullcontext() if as_json else Screen() as screen,
        rare_collections(),
    ):
        result = job.run(screen)
    if as_json:
        traffic = session.meter.snapshot() if session.meter else None
        print_json(result_json(result, job.machine, job.item, job.id, traffic))
    else:
        for line in summary(result, job.item.name, job.id):
            print(line)
    return WITH_PROBLEMS if result.problem_count else 0


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect garbage rarely. A run makes many long-lived objects and no cycles: the defaults cost it 5%."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
