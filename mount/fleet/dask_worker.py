"""What a piece learns of the Dask worker that runs it."""

from __future__ import annotations

from collections.abc import Callable

from distributed import get_worker
from distributed.core import Status

_GONE = ("cancelled", "forgotten", "released")


def watch_task() -> tuple[str, Callable[[], bool]]:
    """The address of this worker, and whether what it does now is still wanted: called by the task's own thread."""
    worker = get_worker()
    key = worker.get_current_task()

    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        there = worker.status in (Status.running, Status.paused, Status.closing_gracefully)
        return there and task is not None and task.state not in _GONE

    return worker.address, is_wanted
