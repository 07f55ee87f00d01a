"""A run: the objects that its parts share, its problems, and its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol

import msgspec

from backup.mirror import Mirror
from backup.pipeline import LEVEL
from backup.progress import Progress
from backup.selection import Selection
from backup.sources.base import Begun, LiveFiles, Source
from backup.systems.base import File, Folder, Stat, System
from catalog.access.damage import DamagedPacks
from catalog.format.records import Item, Machine, Point, Problem
from catalog.format.values import Totals
from catalog.points.seen import Seen
from catalog.tree import PageSource
from catalog.vault import Vault

PARTIAL_SECONDS = 15 * 60.0  # a partial point this often
LISTED, LISTED_BYTES = 1000, 1 << 20  # problems in a point, and bytes of all of them
PATH_BYTES, REASON_LENGTH = 4 << 10, 1 << 10  # of one problem; the rest of a longer path or reason is cut off


class Problems:
    """Files that could not be saved: all are counted, the first ones listed. `on_problem` gets each of them.

    Lists at most `most` of them, and 1 MiB: names and depth of folders are up to any user of the machine, and a
    record that is too large could not be read again.
    """

    def __init__(self, most: int = LISTED) -> None:
        self.listed: list[Problem] = []
        self.count = 0
        self.on_problem: Callable[[Problem], None] = lambda problem: None
        self._most, self._bytes = most, 0

    def add(self, path: bytes, reason: str) -> None:
        problem = Problem(path[:PATH_BYTES], _valid(reason)[:REASON_LENGTH])
        self.count += 1
        if len(self.listed) < self._most:
            self._bytes += _size(problem)
            if self._bytes <= LISTED_BYTES:
                self.listed.append(problem)
            else:
                self._most = len(self.listed)  # the list ends here: no gaps
        self.on_problem(problem)

    def mark(self) -> Marked:
        """The problems so far, for `back_to`."""
        return Marked(self.count, len(self.listed), self._most, self._bytes)

    def back_to(self, mark: Marked) -> None:
        """Keep only the problems before `mark`, for another attempt."""
        self.count, listed, self._most, self._bytes = mark
        del self.listed[listed:]


class Marked(NamedTuple):
    """A place in a list of problems."""

    counted: int
    listed: int
    most: int
    size: int


def _size(problem: Problem) -> int:
    return len(problem.path) + len(problem.reason.encode()) + 16


def _valid(text: str) -> str:
    """The text without surrogates, which no record can hold."""
    return text.encode(errors="replace").decode()


class Guard(Protocol):
    """What must be so while files are read, e.g. that a database holds still. Raises RpdriveError if it is not."""

    def begin(self) -> None:
        """Called before an attempt reads files. No effect if it has begun and not ended."""

    def check(self) -> None:
        """Called now and then while files are read."""

    def end(self) -> None:
        """Called when all files are read, and before a recovery point says so."""


class NoGuard:
    """A Guard of nothing."""

    def begin(self) -> None:
        pass

    def check(self) -> None:
        pass

    def end(self) -> None:
        pass


class Run(msgspec.Struct, Generic[Folder, File, Stat]):
    """One run for one item of this machine. `pages` has the tree pages of earlier points.

    `seen` and `damaged` are this machine's notes about the vault. `progress` may be read by another thread at any
    time. `begun` is what is read, once the first attempt has begun.
    """

    vault: Vault
    pages: PageSource
    mirror: Mirror
    machine: Machine
    item: Item
    selection: Selection
    system: System[Folder, File, Stat]
    seen: Seen
    damaged: DamagedPacks
    level: int = LEVEL
    partial_seconds: float = PARTIAL_SECONDS
    progress: Progress = msgspec.field(default_factory=Progress)
    problems: Problems = msgspec.field(default_factory=Problems)
    guard: Guard = msgspec.field(default_factory=NoGuard)
    source: Source = msgspec.field(default_factory=LiveFiles)
    begun: Begun | None = None
    # Whether this machine wrote an index object that its mirror does not know, as it travels on a disk.
    is_own_index: Callable[[str], bool] = lambda name: False

    def begin(self, *, dry: bool) -> None:
        """Make ready what is read, while databases hold still if hooks have them do so. Raises RpdriveError."""
        if not dry and (self.begun is None or not self.begun.holds):
            self.guard.begin()
        if self.begun is None:
            self.begun = self.source.begin()
            self.selection.skip = self.selection.skip | self.begun.skip
        for text in self.begun.problems:  # with each attempt, as the problems of one that failed are dropped
            self.problems.add(b"", text)
        if not dry and self.begun.holds:
            self.guard.end()

    @property
    def reads(self) -> Begun:
        """What is read. Only after `begin`."""
        assert self.begun is not None
        return self.begun


class Result(msgspec.Struct):
    """The result of a run. `point` is None for a dry run; sizes in bytes, `seconds` from start to commit.

    `notes` are lines for people that are no problems.
    """

    point: Point | None
    previous: Point | None
    totals: Totals
    progress: Progress
    record_bytes: int
    problems: list[Problem]
    problem_count: int
    seconds: float
    notes: list[str] = []
