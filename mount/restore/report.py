"""What a restore did, and what it could not do."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from catalog.screen.progress import JobProgress

LISTED = 1000  # problems, and new names, kept in full; all are counted


class Problem(NamedTuple):
    """Something that did not come back as it was. `path` is where it was to land, from the target's top."""

    path: bytes
    reason: str


class Renamed(NamedTuple):
    """An entry that has another name here, because this system can't hold its own. `path` from the target's top."""

    path: bytes
    name: bytes


class Planned(NamedTuple):
    """What a dry run would do with a path: `write`, `replace`, `copy`, `keep` or `same`."""

    path: bytes
    action: str
    size: int
    note: str = ""


@dataclass
class Report:
    """Counters of one restore; another thread may read them at any time. Sizes in bytes.

    `files` and `size` are what was to be restored; `written` and `written_bytes` what was, so far; `same` and
    `same_bytes` what was there already; `kept` what stayed as it was because of --on-conflict; `copies` what
    got a name beside its original; `renamed_count` what is called otherwise here. `planned` is filled by a dry run.
    """

    entries: int = 0
    files: int = 0
    size: int = 0
    written: int = 0
    written_bytes: int = 0
    same: int = 0
    same_bytes: int = 0
    kept: int = 0
    copies: int = 0
    replaced: int = 0
    verified: int = 0
    lost: int = 0  # files that could not be written at all
    damaged: int = 0  # of them, those whose bytes in the vault are not what was written
    planning: bool = True
    path: bytes = b""
    problems: list[Problem] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    renamed_count: int = 0
    renames: list[Renamed] = field(default_factory=list)
    planned: list[Planned] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def problem_count(self) -> int:
        return self.reasons.total()

    def progress(self, seconds: float) -> JobProgress:
        """For those that follow the job."""
        if self.planning:
            return JobProgress(seconds, self.files, None, self.written_bytes, None, planning=True, path=self.path)
        return JobProgress(
            seconds,
            self.written + self.same,
            self.files,
            self.written_bytes + self.same_bytes,
            self.size,
            present=self.same_bytes,
        )

    def problem(self, path: bytes, reason: str) -> None:
        with self.lock:
            self.reasons[reason] += 1
            if len(self.problems) < LISTED:
                self.problems.append(Problem(path, reason))

    def renamed(self, path: bytes, name: bytes) -> None:
        """An entry called `name` lands at `path`."""
        with self.lock:
            self.renamed_count += 1
            if len(self.renames) < LISTED:
                self.renames.append(Renamed(path, name))

    def failed(self, path: bytes, reason: str, *, damaged: bool = False) -> None:
        """A file did not come back."""
        self.problem(path, reason)
        with self.lock:
            self.lost += 1
            self.damaged += damaged
