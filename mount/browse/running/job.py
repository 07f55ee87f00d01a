"""The job that a request stands for."""

from __future__ import annotations

import os

from catalog.access.session import Session
from mount.browse.running.status import Request
from mount.restore.job import Job
from mount.restore.source import PointPath


def job_of(session: Session, request: Request, *, dry_run: bool) -> Job:
    """The job. Raises UsageError, e.g. for a target in the vault. Costs no request."""
    return Job(
        session,
        [PointPath(bytes.fromhex(place.point), place.path) for place in request.places],
        to=None if request.to is None else os.fsdecode(request.to),
        in_place=request.to is None,
        on_conflict=request.on_conflict,
        verify=request.verify,
        permissions=request.permissions,
        include=[],
        exclude=[],
        dry_run=dry_run,
    )
