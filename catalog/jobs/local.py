"""Jobs that leave no trace in the vault, such as restores: a record of each, on this machine.

Backups are kept in the vault, and here only when it could not be reached.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from catalog.access.settings import private_folder, write_private

COMPLETE, WITH_WARNINGS, FAILED, INTERRUPTED = "complete", "warnings", "failed", "interrupted"
# As backups are recorded in a vault (docs/format.md).
COMPLETED, COMPLETED_WITH_WARNINGS = "completed", "completed with warnings"


class LocalJob(msgspec.Struct, kw_only=True):
    """One run. Times in ns since the epoch (UTC); `bytes` and `files` are what was written.

    `outcome` is `complete`, `warnings`, `failed` or `interrupted`; `warning_count` may exceed the warnings listed.
    """

    id: str
    kind: str
    vault: str = ""
    point: str
    machine: str
    item: str
    target: str
    started: int
    finished: int
    bytes: int
    files: int
    warnings: list[str]
    warning_count: int
    outcome: str
    error: str = ""


def new_job_id() -> str:
    return os.urandom(16).hex()


class LocalJobs:
    """The records in `jobs/` of a state folder, a file each: two runs at once never meet."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "jobs"

    def add(self, job: LocalJob) -> Path:
        """Keep a record. Returns its file. LocalError."""
        when = datetime.fromtimestamp(job.started // 10**9, UTC).strftime("%Y%m%dT%H%M%SZ")
        path = private_folder(self._folder) / f"{when}-{job.id}.json"
        write_private(path, msgspec.json.encode(job) + b"\n")
        return path

    def all(self) -> list[LocalJob]:
        """Every record, the oldest first. Files that hold none are passed over."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=LocalJob))
            except (OSError, msgspec.DecodeError):
                continue
        return sorted(found, key=lambda job: (job.started, job.id))
