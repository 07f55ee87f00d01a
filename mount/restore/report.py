"""Counts what a restore did, and lists what it could not do."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from catalog.errors import Damaged
from catalog.screen.progress import JobProgress
from mount.restore.disk.limits import LIMITS
from mount.restore.spool import Spool

LISTED = 1000  # problems, and changed names, kept with their paths; all are counted
REASONS = 10_000  # different reasons that are counted apart
OTHER = "another reason"
PAGE_LOST = "names are missing in this folder, as a page of it can't be read"


class Problem(NamedTuple):
    """An entry that was not restored as it was saved. `path` is its destination, from the target's top."""

    path: bytes
    reason: str


class Renamed(NamedTuple):
    """An entry whose `name` this system can't store. `path` is where it was restored, from the target's top."""

    path: bytes
    name: bytes


class Planned(NamedTuple):
    """The action that a restore would take at a path. `action` is an Action; `note` the name of a copy."""

    path: bytes
    action: str
    size: int
    note: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Planned).decode


class PlannedList:
    """What a dry run would do, in the order of the walk, in a spool: there may be millions of paths."""

    def __init__(self) -> None:
        self._spool = Spool()

    def append(self, planned: Planned) -> None:
        self._spool.append(_encode(planned))

    def __iter__(self) -> Iterator[Planned]:
        return map(_decode, self._spool.records())


@dataclass
class Report:
    """Counters of one restore. Another thread may read them at any time. Sizes in bytes.

    `files` and `size`: to restore. `written` and `written_bytes`: restored so far. `same` and `same_bytes`: already
    there. `corrected`: already there, and only their attributes were put back. `kept`: existing files left alone
    because of --on-conflict. `copies`: restored next to an existing file, under another name. `renamed_count`:
    restored under a name that this system can store. `blocked`: not restored yet, as what is to be removed has the
    name. `surplus`: entries that the point has not, `removed` those of them that were removed.
    A dry run fills `planned`, and `refusals` with what stands against the restore of a volume. `next_steps` are
    lines for people: what is still to be done by hand.
    """

    entries: int = 0
    files: int = 0
    size: int = 0
    written: int = 0
    written_bytes: int = 0
    same: int = 0
    same_bytes: int = 0
    corrected: int = 0
    kept: int = 0
    copies: int = 0
    replaced: int = 0
    verified: int = 0
    blocked: int = 0
    surplus: int = 0
    removed: int = 0
    removed_bytes: int = 0
    lost: int = 0  # files that could not be written at all
    damaged: int = 0  # of these, files whose data in the vault is damaged or missing
    planning: bool = True
    path: bytes = b""
    problems: list[Problem] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    limits: Counter[str] = field(default_factory=Counter)  # entries, by what the target can't keep
    renamed_count: int = 0
    renames: list[Renamed] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    planned: PlannedList = field(default_factory=PlannedList)
    next_steps: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def problem_count(self) -> int:
        return self.reasons.total() + len(self.limits)

    def progress(self, seconds: float) -> JobProgress:
        """The progress, `seconds` after the start."""
        if self.planning:
            return JobProgress(seconds, self.files, None, self.written_bytes, None, planning=True, path=self.path)
        return JobProgress(
            seconds,
            self.written + self.same + self.corrected,
            self.files,
            self.written_bytes + self.same_bytes,
            self.size,
            present=self.same_bytes,
        )

    def problem(self, path: bytes, reason: str) -> None:
        with self.lock:
            if reason in LIMITS:
                self.limits[reason] += 1
                if self.limits[reason] > 1:
                    return
            else:
                self._count(reason)
            if len(self.problems) < LISTED:
                self.problems.append(Problem(path, reason))

    def _count(self, reason: str) -> None:
        self.reasons[reason if reason in self.reasons or len(self.reasons) < REASONS else OTHER] += 1

    def renamed(self, path: bytes, name: bytes) -> None:
        """Record that an entry called `name` is restored as `path`."""
        with self.lock:
            self.renamed_count += 1
            if len(self.renames) < LISTED:
                self.renames.append(Renamed(path, name))

    def failed(self, path: bytes, reason: str, *, damaged: bool = False) -> None:
        """Record that a file was not restored."""
        self.problem(path, reason)
        with self.lock:
            self.lost += 1
            self.damaged += damaged


class LostPages:
    """Hears of the pages of one folder that can't be read. The first is a failure of the folder, and `first` runs.

    `path` gives the folder's destination, from the target's top.
    """

    def __init__(self, report: Report, path: Callable[[], bytes], first: Callable[[], None] = lambda: None) -> None:
        self._report, self._path, self._first = report, path, first
        self._told = False

    def __call__(self, error: Damaged) -> None:
        if self._told:
            return
        self._told = True
        self._report.failed(self._path(), f"{PAGE_LOST}: {error}", damaged=True)
        self._first()
