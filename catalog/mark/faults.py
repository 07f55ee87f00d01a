"""What a mark finds wrong in the trees of recovery points, and how it is told to the pages above."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from catalog.format.blocks import PackKind
from catalog.format.records import PointName

MOST_FAULTS = 20  # below one page that are named, of those that stop deletions and of the others
MOST_PATHS = 100  # of harmed files of a point that are named
MOST_POINTS = 1000  # of one fault that are named


class FaultKind(StrEnum):
    """What is wrong. The words are stable: `--json` has them."""

    POINT = "unreadable point"  # its record
    PAGE = "unreadable page"
    ENTRY = "malformed entry"
    STRANGER = "foreign pack"  # a page refers to a series that the machine's record does not name
    VALUE = "unreadable value"  # of an extended attribute, or of Windows
    CONTENT = "lost content"  # of a file: its block is bad, by what the caller of the mark knows
    SHORT = "cut content"  # the same: its pack is there, and ends too early
    TREE = "wrong tree"  # totals, names or lengths differ from what the pages above say


class Place(NamedTuple):
    """A sealed block in a pack (bytes); all of the pack if `stored` is 0."""

    kind: PackKind
    pack: bytes
    offset: int = 0
    stored: int = 0


# After these it is not known what is live: nothing may be deleted.
BLINDING = frozenset({FaultKind.POINT, FaultKind.PAGE, FaultKind.ENTRY, FaultKind.STRANGER})


class Fault(NamedTuple):
    """One fault, and where people meet it.

    `at` is the tree block that can't be read or has the fault, or the data block that is bad; `object`, if known,
    the name of the object that is at fault. `path` is a folder or file that has it, without a leading slash;
    `points` are those that do, at most 1,000. A fault of a tree block that a record of places acknowledges
    (`broken`) stops nothing.
    """

    kind: FaultKind
    path: bytes
    reason: str
    points: tuple[PointName, ...]
    at: Place = Place(PackKind.TREE, b"")
    object: str = ""
    acknowledged: bool = False

    @property
    def is_blinding(self) -> bool:
        """Whether it hides what is live, so that nothing may be deleted."""
        return self.kind in BLINDING and not self.acknowledged


class Bad(NamedTuple):
    """Why a block can't be read: known from elsewhere, as from listings. Equal ones are one fault.

    `at` is the block, or all of its pack. `short`: `object` is there, and ends before the block does.
    """

    object: str
    reason: str
    at: Place
    short: bool = False


# Kind, pack, and the first and last + 1 byte of a block -> why it can't be read; None if it can.
IsBad: TypeAlias = Callable[[PackKind, bytes, int, int], Bad | None]


class Harmed(NamedTuple):
    """How many files of a point can't be given back whole, and the first of their paths, without a leading slash.

    A path that ends in a slash is that of a folder whose own pages can't be read.
    """

    files: int
    paths: tuple[bytes, ...]


class Problem(NamedTuple):
    """A fault before the points that have it are known.

    `sure`: the bytes are damaged or missing, and not only out of this program's reach.
    """

    kind: FaultKind
    at: Place
    inner: int
    reason: str
    object: str = ""
    acknowledged: bool = False
    sure: bool = True

    @property
    def is_blinding(self) -> bool:
        return self.kind in BLINDING and not self.acknowledged


class Harm:
    """What is wrong in a page and below it, with paths from the page's folder."""

    def __init__(self) -> None:
        self.problems: dict[Problem, bytes] = {}
        self.hides = False  # it is not known what there is below
        self.files = 0
        self.paths: list[bytes] = []
        self._counted: set[bytes] = set()  # names of files in this page that are counted

    def __bool__(self) -> bool:
        return bool(self.problems)

    def add(self, problem: Problem, path: bytes) -> None:
        self.hides |= problem.kind in BLINDING
        if problem not in self.problems and self._room(problem):
            self.problems[problem] = path

    def _room(self, problem: Problem) -> bool:
        """Whether one more of its sort is kept: many of one must not hide the only one of the other."""
        return sum(p.is_blinding == problem.is_blinding for p in self.problems) < MOST_FAULTS

    def lose_file(self, name: bytes) -> None:
        """Count a file of this page, or the one whose pieces this page has (without a name); once."""
        if name not in self._counted:
            self._counted.add(name)
            self._lose(1, [name])

    def lose_folder(self, files: int) -> None:
        """Count the files in and below a page of a folder that can't be read."""
        self._lose(files, [b"/"])

    def _lose(self, files: int, paths: list[bytes]) -> None:
        self.files += files
        self.paths += paths[: MOST_PATHS - len(self.paths)]

    def take(self, name: bytes, below: Harm, *, is_file: bool) -> None:
        """Add what is wrong in a page below: of the folder or file with this name, or, without one, of this one."""
        self.hides |= below.hides
        for problem, path in below.problems.items():
            self.add(problem, _join(name, path))
        if not below.files and not below.paths:
            return
        if is_file:
            self.lose_file(name)
        else:
            self._lose(below.files, [_join(name, path) for path in below.paths])


def _join(name: bytes, path: bytes) -> bytes:
    if not name or not path:
        return name or path
    return name + path if path == b"/" else name + b"/" + path
