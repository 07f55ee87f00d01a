"""What differs between two points below a path: worked out once, in a thread, and asked for a page at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Literal, TypeAlias
from weakref import WeakKeyDictionary

import msgspec

from catalog.errors import NotFound, RpdriveError, StoreError
from catalog.format.records import Point
from catalog.heap import give_back
from catalog.history.difference import AFTER, BEFORE, Change, difference, exists, root_of
from catalog.history.listing import Counts
from catalog.points.choice import path_text
from mount.browse.resources.folders import SAFE
from mount.browse.resources.opened import Opened
from mount.browse.resources.scanning import Ended, Watched, shape
from mount.browse.resources.wire import name_of, path64

AT_ONCE = 2  # comparisons that run; another one ends the one that was asked for least recently
KEPT = 20  # comparisons,
KEPT_BYTES = 16 << 20  # and what their changes take
MOST = 10_000  # changes kept of one,
MOST_BYTES = 8 << 20  # and what they take
PATIENCE = 2.0  # seconds for which an answer waits for the first changes
FIRST = 50  # changes that are worth an answer before that
_PROBLEMS = 100

_Key: TypeAlias = tuple[str, str, bytes]
_log = logging.getLogger("rpdrive.browse")


class ChangeRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A path that differs. `mark`: + added, - removed, M other content, U other metadata only, T another kind.

    Kind and size are those after, or before for what was removed; `before` is the size before, if both are files.
    """

    path: str
    name_bytes: str | None = None
    path64: str
    mark: str
    kind: str
    size: int
    before: int | None = None
    what: list[str]


class ChangeCounts(msgspec.Struct, kw_only=True):
    """How many paths changed, and the bytes of files that were added, removed and changed (as they are after)."""

    added: int
    removed: int
    changed: int
    metadata: int
    type: int
    added_bytes: int
    removed_bytes: int
    changed_bytes: int


class Comparison(msgspec.Struct, kw_only=True):
    """Some changes, in the order of a walk; `next` is the cursor of those after them, None at the end.

    While `state` is running there may be more changes later, and `counts` is None. Of `total` changes the first
    `kept` can be asked for. `problems` says what could not be read, and so not be compared.
    """

    state: Literal["running", "done"]
    changes: list[ChangeRow]
    next: str | None
    total: int
    kept: int
    counts: ChangeCounts | None
    problems: list[str]


class _Work:
    """A comparison: what was found so far."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.rows: list[ChangeRow] = []
        self.cost = self.total = 0
        self.counts: ChangeCounts | None = None
        self.problems: list[str] = []
        self.error: Exception | None = None
        self.ended = self.ending = False

    def check(self) -> None:
        if self.ending:
            raise Ended

    def add(self, row: ChangeRow) -> None:
        with self.changed:
            self.total += 1
            if len(self.rows) < MOST and self.cost < MOST_BYTES:
                self.rows.append(row)
                self.cost += 600 + 3 * len(row.path64)
                if len(self.rows) % FIRST == 0:
                    self.changed.notify_all()

    def problem(self, text: str) -> None:
        if len(self.problems) < _PROBLEMS:
            self.problems.append(text)


class Comparisons:
    """The comparisons of a page. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, _Work] = OrderedDict()

    def page(self, opened: Opened, key: _Key, start: int, count: int) -> Comparison:
        work = self._find(opened, key)
        until = time.monotonic() + PATIENCE
        with work.changed:
            while not work.ended and len(work.rows) < start + min(count, FIRST):
                left = until - time.monotonic()
                if left <= 0:
                    break
                work.changed.wait(left)
            if work.error is not None:
                self._drop(key, work)
                raise work.error
            rows = work.rows[start : start + count]
            more = start + len(rows)
            full = len(work.rows) < work.total
            at_end = more >= len(work.rows) and (work.ended or full)
            return Comparison(
                state="done" if work.ended else "running", changes=rows, next=None if at_end else str(more),
                total=work.total, kept=len(work.rows), counts=work.counts, problems=list(work.problems),
            )  # fmt: skip

    def close(self) -> None:
        """End all that run."""
        with self._lock:
            for work in self._kept.values():
                work.ending = True

    def _find(self, opened: Opened, key: _Key) -> _Work:
        with self._lock:
            work = self._kept.get(key)
            if work is not None and not work.ending:
                self._kept.move_to_end(key)
                return work
        points = opened.point(key[0]), opened.point(key[1])
        with self._lock:
            work = self._kept.get(key)
            if work is None or work.ending:
                work = self._kept[key] = _Work()
                threading.Thread(
                    target=_run, args=(opened, work, points, key[2]), name="compare", daemon=True
                ).start()
            self._kept.move_to_end(key)
            running = [one for one in self._kept.values() if not one.ended and not one.ending]
            for one in running[:-AT_ONCE]:
                one.ending = True
            while len(self._kept) > 1 and (len(self._kept) > KEPT or self._cost() > KEPT_BYTES):
                self._kept.popitem(last=False)[1].ending = True
        return work

    def _cost(self) -> int:
        return sum(work.cost for work in self._kept.values())

    def _drop(self, key: _Key, work: _Work) -> None:
        """Begin anew the next time: what failed may succeed then."""
        with self._lock:
            if self._kept.get(key) is work:
                del self._kept[key]


def _run(opened: Opened, work: _Work, points: tuple[Point, Point], path: bytes) -> None:
    try:
        _compare(opened, work, points, path)
    except Ended:
        work.error = StoreError("the comparison was ended for others", "try again")
    except RpdriveError as e:
        work.error = e
    except Exception as e:  # noqa: BLE001 - the page is told, and the terminal
        _log.error("a comparison ended unexpectedly", exc_info=e)
        work.error = e
    with work.changed:
        work.ended = True
        work.changed.notify_all()
    give_back()


def _compare(opened: Opened, work: _Work, points: tuple[Point, Point], path: bytes) -> None:
    source = Watched(opened.direct(), work.check)
    before, after = root_of(points[0]), root_of(points[1])
    if not exists(source, before, after, path):
        raise NotFound("this path is in neither of the two points", "look for it in others, by `versions`")
    lost: dict[bytes, int] = {}  # folders of which the trees lack a part

    def note(folder: bytes, trees: int, error: RpdriveError) -> None:
        if len(lost) < 10_000:
            lost[folder] = lost.get(folder, 0) | trees
        which = "older" if trees == BEFORE else "newer" if trees == AFTER else "older and the newer"
        work.problem(f"a part of {path_text(folder)} in the {which} point can't be read, nor compared: {error}")

    def certain(changes: Iterator[Change]) -> Iterator[Change]:
        """Without what only seems to be new, or gone, because the other point's page can't be read."""
        for change in changes:
            work.check()
            lacking = BEFORE if change.mark == "+" else AFTER if change.mark == "-" else 0
            if not (lacking and lost and any(lost.get(above, 0) & lacking for above in _above(change.path))):
                yield change

    counts = Counts()
    for change in counts.of(certain(difference(source, before, after, path, note))):
        work.add(_row(change))
    found = counts.json()
    work.counts = ChangeCounts(**{name: min(int(value), SAFE) for name, value in found.items()})


def _above(path: bytes) -> Iterator[bytes]:
    """The folders above a path; the root is empty."""
    while path:
        path = path.rpartition(b"/")[0]
        yield path


def _row(change: Change) -> ChangeRow:
    sides = [None if v is None else shape(v.leaf, v.entry) for v in (change.before, change.after)]
    shown = sides[1] or sides[0]
    assert shown is not None
    old = sides[0]
    path = change.path or b"/"
    text, raw = name_of(path)
    return ChangeRow(
        path=text, name_bytes=raw, path64=path64(path), mark=change.mark, kind=shown[0], size=min(shown[1], SAFE),
        before=min(old[1], SAFE) if old is not None and old[0] == shown[0] == "file" and sides[1] else None,
        what=list(change.what),
    )  # fmt: skip


_all: WeakKeyDictionary[Opened, Comparisons] = WeakKeyDictionary()
_lock = threading.Lock()


def compare(opened: Opened, before: str, after: str, path: bytes, start: int = 0, count: int = 200) -> Comparison:
    """The changes from one point to another at a path (absolute) and below, from the one with number `start` on.

    Equal parts of the trees are skipped unread, and no contents are read. Waits a moment for the first changes.
    Raises NotFound, also if neither has the path, Damaged and StoreError.
    """
    with _lock:
        found = _all.get(opened)
        if found is None:
            found = _all[opened] = Comparisons()
            opened.at_close(found.close)
    return found.page(opened, (before, after, b"" if path == b"/" else path), start, count)
