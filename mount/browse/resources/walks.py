"""The tables of the folders that are open in pages: each is filled by one walk, in the background, for all who ask.

A folder is known by where its pages are, so the same folder in two recovery points is one.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TypeAlias

from catalog.errors import Damaged, StoreUnreachable
from catalog.format.packs import Extent
from catalog.format.values import Subtree
from catalog.tree import PageSource, check_level
from mount.browse.resources.table import Table
from mount.browse.resources.wire import name_of

LIMIT = 64 << 20  # bytes of all tables
IDLE = 10.0  # seconds after which a walk ends that nobody asks for any more
AT_ONCE = 4  # walks
AT_FIRST = 0.06  # seconds that an asker waits for all of a folder, before the first rows will do
_PROBLEMS = 100
_FAILED = 3  # walks that an asker begins, if they are cancelled
_Clock: TypeAlias = Callable[[], float]


class Open:
    """A folder that is open. `whole`: all entries are in the table, but for those that `problems` names."""

    def __init__(self, folder: Subtree | None, now: float) -> None:
        self.folder, self.asked = folder, now
        self.table = Table()
        self.whole = folder is None
        self.cancelled = False
        self.error: Exception | None = None
        self.problems: list[str] = []
        self.changed = threading.Condition()

    @property
    def ended(self) -> bool:
        return self.whole or self.cancelled or self.error is not None

    def told(self) -> None:
        with self.changed:
            self.changed.notify_all()


class Folders:
    """The folders that are open, the most recently used last; their tables take `limit` bytes at most, or are one.

    `idle` in seconds, of `clock`. Thread-safe.
    """

    def __init__(
        self,
        source: PageSource,
        *,
        limit: int = LIMIT,
        idle: float = IDLE,
        at_first: float = AT_FIRST,
        clock: _Clock = time.monotonic,
    ) -> None:
        self._source, self._limit, self._idle, self._at_first, self._clock = source, limit, idle, at_first, clock
        self._open: OrderedDict[Subtree, Open] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = threading.Semaphore(AT_ONCE)

    @property
    def memory(self) -> int:
        """The bytes that the tables take, about."""
        return sum(one.table.memory for one in list(self._open.values()))

    def get(self, folder: Subtree | None, rows: int = 0, patience: float = 1.0) -> Open:
        """An open folder: whole, or with `rows` entries at least, or with what was read in `patience` seconds.

        Raises Damaged if nothing of it can be read, and StoreError.
        """
        if folder is None:
            return Open(None, 0.0)
        for _ in range(_FAILED):
            one = self._asked(folder)
            self._wait(one, rows, patience)
            if one.error is not None:
                raise one.error
            if one.whole and not one.table.count and one.problems:
                raise Damaged(one.problems[0], "open another recovery point, or run `rpdrive check`")
            if not one.cancelled:
                self._make_room()
                return one
        raise StoreUnreachable("the folder could not be read", "try again")

    def _wait(self, one: Open, rows: int, patience: float) -> None:
        begun = time.monotonic()
        with one.changed:
            while not one.ended:
                is_enough = one.table.count > 0 and one.table.count >= rows
                left = begun + (self._at_first if is_enough else patience) - time.monotonic()
                if left <= 0:
                    return
                one.changed.wait(left)

    def _asked(self, folder: Subtree) -> Open:
        with self._lock:
            one = self._open.pop(folder, None)
            if one is None or one.cancelled or one.error is not None:
                one = Open(folder, self._clock())
                threading.Thread(target=self._fill, args=(one, folder), name="folder", daemon=True).start()
            self._open[folder] = one
            one.asked = self._clock()
            return one

    def _make_room(self) -> None:
        """Drop the tables that were used longest ago."""
        with self._lock:
            while len(self._open) > 1 and self.memory > self._limit:
                _folder, oldest = self._open.popitem(last=False)
                oldest.cancelled = oldest.cancelled or not oldest.whole

    # --- the walk -----------------------------------------------------------------------------------------

    def _fill(self, one: Open, folder: Subtree) -> None:
        try:
            with self._turns:
                self._walk(one, folder)
        except Exception as e:  # noqa: BLE001 - raised again in the thread that asks
            one.error = e
        finally:
            if one.cancelled or one.error is not None:
                with self._lock:
                    if self._open.get(folder) is one:
                        del self._open[folder]
            one.told()

    def _walk(self, one: Open, folder: Subtree) -> None:
        check_level(folder.level)
        for _ in self._pages(one, folder.level, folder.at, 1, b"", b""):
            one.told()
            if one.cancelled or self._clock() - one.asked > self._idle:
                one.cancelled = True
                return
            if one.table.memory > self._limit:
                one.problems.insert(
                    0, f"only the first {one.table.count:,} names of this folder are shown: it has more"
                )
                break
        one.whole = True

    def _pages(self, one: Open, level: int, at: Extent, number: int, first: bytes, end: bytes) -> Iterator[None]:
        """Add all pages below one, whose first entry has this number. A page that is damaged costs its names.

        They are from `first` up to `end`, or to the end of the folder.
        """
        try:
            if level == 0:
                one.table.add(self._source.leaf(at), number)
                yield
                return
            index = self._source.folder_index(at)
        except Damaged as e:
            if len(one.problems) < _PROBLEMS:
                one.problems.append(_lost(first, end, e))
            yield
            return
        children = index.children
        for n, child in enumerate(children):
            after = children[n + 1].first if n + 1 < len(children) else end
            yield from self._pages(one, level - 1, index.at(child), number, child.first, after)
            number += child.totals.entries


def _lost(first: bytes, end: bytes, error: Damaged) -> str:
    if not first and not end:
        return f"the names of this folder can't be read: {error}"
    ends = f"up to {name_of(end)[0]!r}" if end else "on"
    return f"the names from {name_of(first)[0]!r} {ends} can't be read: {error}"
