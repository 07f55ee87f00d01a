"""`rpdrive backup --system-state` on Windows: what it reads, and what earlier ones left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backup.request import Request
from backup.selection import Selection
from backup.snapshot.base import Options
from backup.snapshot.marks import JobMark, clean
from backup.snapshot.vss.choice import windows_providers
from backup.sources.wbadmin import Wbadmin, staged, staging_letter
from backup.systems.base import System
from backup.systems.windows import WindowsSystem
from catalog.errors import UsageError
from catalog.program import STAGING
from catalog.windows.console import Run, run
from catalog.windows.registry import Registry, WindowsRegistry


def server_selection(request: Request, environ: Mapping[str, str] = os.environ) -> Selection:
    """The folder that wbadmin will make, and the file beside it. Raises UsageError."""
    if request.paths:
        raise UsageError(
            "--system-state chooses what it saves", "leave the paths out, or save them as an item of their own"
        )
    if not (request.staging or environ.get(STAGING)):
        raise UsageError(
            "on Windows, --system-state needs a drive for what wbadmin writes",
            "name one that Windows does not need to start, with 10 GiB of room: --staging E: or RPDRIVE_STAGING",
        )
    if request.dry:
        raise UsageError("what wbadmin would write can't be known before", "leave --dry-run out")
    return Selection(staged(_letter(request, environ)))


def _letter(request: Request, environ: Mapping[str, str] = os.environ) -> str:
    return staging_letter(request.staging or environ.get(STAGING, ""))


@contextmanager
def prepared_server(
    request: Request, system: System[Any, Any, Any], state: Path, *, registry: Registry | None = None,
    runner: Run = run,
) -> Iterator[Wbadmin]:  # fmt: skip
    """The Source; leaving closes it. Raises UsageError if this system has no wbadmin."""
    if not isinstance(system, WindowsSystem):
        raise UsageError(f"{system.name} has no wbadmin", "leave --system-state out")
    mark, api = JobMark(state), system.api
    providers = windows_providers(api, Options(), state=state, runner=runner)
    source = Wbadmin(
        api, _letter(request), mark, registry or WindowsRegistry(), runner, sfc=request.sfc,
        before=lambda: clean(state, providers), close=mark.close,
    )  # fmt: skip
    try:
        yield source
    finally:
        source.close()
