"""Records of jobs on this machine: of restores, and of backups whose record could not reach the vault."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from catalog.access.settings import private_folder, remove_unfinished, write_private
from catalog.format.records import Outcome

# Earlier words for the outcome of a restore: in files already written, and still in `restore --json`, for scripts.
_RESTORED = {"complete": Outcome.COMPLETED, "warnings": Outcome.WITH_WARNINGS}


class LocalJob(msgspec.Struct, kw_only=True):
    """The record of one job. Times in ns since the epoch (UTC); `bytes` and `files` count what was written.

    `outcome` is an Outcome, or a word that a later version wrote; `warning_count` may exceed the warnings listed.
    `session` names the session of `rpdrive browse` that asked for it; it is empty for a command.
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
    session: str = ""


def new_job_id() -> str:
    return os.urandom(16).hex()


def restore_word(outcome: str) -> str:
    """The word of `rpdrive restore --json` for an outcome."""
    return next((word for word, meaning in _RESTORED.items() if meaning == outcome), outcome)


class LocalJobs:
    """The records in the folder `jobs` of a state folder: one file each, so that concurrent jobs never conflict."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "jobs"

    def add(self, job: LocalJob) -> Path:
        """Write a record. Returns its file. Raises LocalError."""
        when = datetime.fromtimestamp(job.started // 10**9, UTC).strftime("%Y%m%dT%H%M%SZ")
        path = private_folder(self._folder) / f"{when}-{job.id}.json"
        remove_unfinished(self._folder)
        write_private(path, msgspec.json.encode(job) + b"\n")
        return path

    def all(self) -> list[LocalJob]:
        """All records, oldest first. Files that can't be read are skipped."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                job = msgspec.json.decode(path.read_bytes(), type=LocalJob)
            except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
                continue
            job.outcome = _RESTORED.get(job.outcome, job.outcome)
            found.append(job)
        return sorted(found, key=lambda job: (job.started, job.id))
