"""A run: the objects that its parts share, its problems, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic

from backup.mirror import Mirror
from backup.pipeline import LEVEL
from backup.progress import Progress
from backup.selection import Selection
from backup.systems.base import File, Folder, Stat, System
from catalog.format.records import Item, Machine, Point, Problem
from catalog.format.values import Totals
from catalog.tree import PageSource
from catalog.vault import Vault

PARTIAL_SECONDS = 15 * 60.0  # a partial point this often
_LISTED = 1000  # problems in a point


class Problems:
    """Files that could not be saved: all are counted, the first 1,000 listed. `on_problem` gets each of them."""

    def __init__(self) -> None:
        self.listed: list[Problem] = []
        self.count = 0
        self.on_problem: Callable[[Problem], None] = lambda problem: None

    def add(self, path: bytes, reason: str) -> None:
        problem = Problem(path, reason)
        self.count += 1
        if len(self.listed) < _LISTED:
            self.listed.append(problem)
        self.on_problem(problem)

    def back_to(self, count: int) -> None:
        """Keep only the first `count`, before a second attempt."""
        del self.listed[count:]
        self.count = count


@dataclass
class Run(Generic[Folder, File, Stat]):
    """One run for one item of this machine. `pages` has the tree pages of earlier points.

    `progress` may be read by another thread at any time.
    """

    vault: Vault
    pages: PageSource
    mirror: Mirror
    machine: Machine
    item: Item
    selection: Selection
    system: System[Folder, File, Stat]
    level: int = LEVEL
    partial_seconds: float = PARTIAL_SECONDS
    progress: Progress = field(default_factory=Progress)
    problems: Problems = field(default_factory=Problems)


@dataclass
class Result:
    """The result of a run. `point` is None for a dry run; sizes in bytes, `seconds` from start to commit."""

    point: Point | None
    previous: Point | None
    totals: Totals
    progress: Progress
    record_bytes: int
    problems: list[Problem]
    problem_count: int
    seconds: float
