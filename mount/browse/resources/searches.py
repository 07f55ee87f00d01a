"""Searches that were started from a page: each a job with a thread of its own, kept under its id for a while."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Literal
from weakref import WeakKeyDictionary, ref

import msgspec

from catalog.errors import NotFound, RpdriveError, UsageError
from catalog.format.records import PointName
from catalog.heap import give_back
from mount.browse.resources.folders import SAFE
from mount.browse.resources.matching import Fits, matcher
from mount.browse.resources.opened import Opened
from mount.browse.resources.points import names_of
from mount.browse.resources.scanning import Ended, Found, Hit, Scan
from mount.browse.resources.wire import id_of, name_of, path64, path_of, when

AT_ONCE = 2  # searches that run
WAITING = 16  # searches that wait for their turn
LEFT = 4  # ended searches whose threads still wait for the store, without keeping others from running
KEPT = 50  # searches,
KEPT_BYTES = 24 << 20  # and what their hits take
_TOLD = 0.25  # seconds between two notices of a search that runs

State = Literal["running", "done", "cancelled", "failed"]
_log = logging.getLogger("rpdrive.browse")


class Wanted(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is searched for, and where: in one point, or in all of an item, a machine, or all machines."""

    text: str
    regex: bool = False
    ignore_case: bool = False
    point: str | None = None
    machine: str | None = None
    item: str | None = None
    below: str | None = None


class Started(msgspec.Struct, kw_only=True):
    """A search that was started."""

    id: str


class Scope(msgspec.Struct, kw_only=True):
    """Where a search looks; `below` is a path64."""

    point: str | None
    machine: str | None
    item: str | None
    below: str | None


class Progress(msgspec.Struct, kw_only=True):
    """How far a search is: points and names looked at. `fraction` is None if it is not known yet."""

    points: int
    points_total: int
    entries: int
    fraction: float | None


class Failure(msgspec.Struct, kw_only=True):
    """Why a search ended before it was done."""

    kind: str
    message: str
    advice: str


_UNEXPECTED = Failure(
    kind="Unexpected", message="something went wrong in rpdrive itself", advice="see the terminal that runs it"
)


class HitRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A path that was found in an item. `point` is the newest point that has it; size and time are from there.

    `points` and `versions` are those found so far, until `counted`.
    """

    path: str
    name_bytes: str | None = None
    path64: str
    kind: str
    size: int
    time: str | None
    points: int
    first: str | None
    last: str | None
    versions: int
    point: str
    machine: str
    item: str
    counted: bool


class SearchRow(msgspec.Struct, kw_only=True):
    """A search, for a list of them. `queued`: it waits for others to end."""

    id: str
    text: str
    regex: bool
    ignore_case: bool
    scope: Scope
    state: State
    queued: bool
    started: str | None
    error: Failure | None
    progress: Progress
    total: int


class SearchList(msgspec.Struct, kw_only=True):
    searches: list[SearchRow]


class SearchPage(SearchRow, kw_only=True):
    """A search and some of its hits, in the order in which they were found; `next` is what to ask for `after`.

    `total` counts all hits, of which `kept` are here. `problems` says what could not be read, up to 100 of
    `problem_count`.
    """

    kept: int
    hits: list[HitRow]
    next: int | None
    problems: list[str]
    problem_count: int


class _Search:
    """A search: what was asked for, what was found, and its state, which only `Searches` changes."""

    def __init__(self, wanted: Wanted, below: bytes, now: float) -> None:
        self.id = secrets.token_hex(16)
        self.wanted, self.below, self.started = wanted, below, now
        self.found = Found()
        self.state: State = "running"
        self.queued = True
        self.error: Failure | None = None
        self.ending = False
        self.told = 0.0

    def check(self) -> None:
        if self.ending:
            raise Ended

    @property
    def ended(self) -> bool:
        return self.state != "running"


class Searches:
    """All searches of a page. Thread-safe; each search runs in a thread of its own, two at a time."""

    def __init__(self, opened: Opened) -> None:
        self._ref = ref(opened)  # which keeps this
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Search] = OrderedDict()  # the least recently asked for first
        self._waiting: list[_Search] = []
        self._running: set[_Search] = set()
        self._left: set[_Search] = set()

    @property
    def _opened(self) -> Opened:
        opened = self._ref()
        if opened is None:
            raise Ended
        return opened

    def is_running(self) -> bool:
        """Whether a search runs or waits for its turn."""
        with self._lock:
            return bool(self._running or self._waiting)

    def start(self, wanted: Wanted) -> str:
        """Start a search, now or when others have ended. Returns its id. Raises UsageError and NotFound."""
        below = path_of(wanted.below) if wanted.below else b"/"
        if wanted.point and (wanted.machine or wanted.item):
            raise UsageError("a search is in one point, or in those of a machine", "choose one of them")
        if wanted.item and not wanted.machine:
            raise UsageError("an item is named without its machine", "name the machine, too")
        for given, what in ((wanted.machine, "machine"), (wanted.item, "item")):
            if given:
                id_of(given, what)
        search = _Search(wanted, b"" if below == b"/" else below, time.time())
        matcher(wanted.text, regex=wanted.regex, ignore_case=wanted.ignore_case)  # refused before it is a job
        if wanted.point:
            self._opened.name(wanted.point)
        with self._lock:
            if len(self._waiting) >= WAITING:
                raise UsageError(f"{WAITING} searches are waiting for their turn", "cancel some of them")
            self._kept[search.id] = search
            self._waiting.append(search)
            self._begin()
            self._drop_old()
        return search.id

    def page(self, search_id: str, after: int = 0, count: int = 500) -> SearchPage:
        """A search, and up to `count` hits after the first `after`. Raises NotFound."""
        search = self._find(search_id)
        row = _row(search)
        found = search.found
        with found.lock:
            hits = [_hit_row(hit) for hit in found.hits[after : after + count]]
            kept = len(found.hits)
            problems, problem_count = list(found.problems), found.problem_count
        more = after + len(hits)
        return SearchPage(
            **{name: getattr(row, name) for name in row.__struct_fields__}, kept=kept, hits=hits,
            next=more if more < kept or not search.ended else None, problems=problems, problem_count=problem_count,
        )  # fmt: skip

    def recent(self) -> SearchList:
        """All searches that are kept, the most recent first."""
        with self._lock:
            every = sorted(self._kept.values(), key=lambda search: search.started, reverse=True)
        return SearchList(searches=[_row(search) for search in every])

    def cancel(self, search_id: str) -> None:
        """End a search; what it found is kept. Nothing happens to one that has ended. Raises NotFound.

        Its thread may wait for the store a while longer.
        """
        search = self._find(search_id)
        with self._lock:
            if search.ended:
                return
            search.ending = True
            search.state, search.queued = "cancelled", False
            if search in self._waiting:
                self._waiting.remove(search)
            elif len(self._left) < LEFT:
                self._running.discard(search)
                self._left.add(search)
            self._begin()
        self._opened.bus.publish("search", search.id)

    def close(self) -> None:
        """End all searches."""
        with self._lock:
            self._waiting.clear()
            for search in (*self._running, *self._left):
                search.ending = True

    # --- within ------------------------------------------------------------------------------------------

    def _find(self, search_id: str) -> _Search:
        with self._lock:
            found = self._kept.get(search_id)
            if found is None:
                raise NotFound("this search is not kept any more", "start it again")
            self._kept.move_to_end(search_id)
        return found

    def _begin(self) -> None:
        """Start searches that wait, as long as there is room. With the lock."""
        while self._waiting and len(self._running) < AT_ONCE:
            search = self._waiting.pop(0)
            search.queued = False
            self._running.add(search)
            args = self._opened, search
            threading.Thread(target=self._run, args=args, name="search", daemon=True).start()

    def _drop_old(self) -> None:
        """Forget those that were asked for least recently, and have ended. With the lock."""
        size = sum(search.found.cost for search in self._kept.values())
        for search in list(self._kept.values()):
            if len(self._kept) <= KEPT and size <= KEPT_BYTES:
                break
            if search.ended:
                del self._kept[search.id]
                size -= search.found.cost

    def _run(self, opened: Opened, search: _Search) -> None:
        state: State = "done"
        error: Failure | None = None
        try:
            self._scan(opened, search)
        except Ended:
            state = "cancelled"
        except RpdriveError as e:
            state, error = "failed", Failure(kind=e.kind, message=str(e), advice=e.advice)
        except Exception as e:  # noqa: BLE001 - whatever it is, the page is told that the search has ended
            _log.error("a search ended unexpectedly", exc_info=e)
            state, error = "failed", _UNEXPECTED
        with self._lock:
            self._running.discard(search)
            self._left.discard(search)
            if not search.ended:
                search.state, search.error = state, error
            self._begin()
            self._drop_old()
        opened.bus.publish("search", search.id)
        give_back()

    def _scan(self, opened: Opened, search: _Search) -> None:
        def tell() -> None:
            now = time.monotonic()
            if now - search.told >= _TOLD:
                search.told = now
                opened.bus.publish("search", search.id)

        wanted = search.wanted
        fits: Fits = matcher(wanted.text, regex=wanted.regex, ignore_case=wanted.ignore_case, check=search.check)
        scan = Scan(
            opened.vault, opened.direct(), fits, search.found, below=search.below, check=search.check,
            tell=tell,
        )  # fmt: skip
        search.check()
        scan.run(self._groups(wanted))

    def _groups(self, wanted: Wanted) -> list[Callable[[], list[PointName]]]:
        """What lists the points to search: all of a machine at a time, so that no more names are kept."""
        opened = self._opened
        if wanted.point:
            name = opened.name(wanted.point)
            return [lambda: [name]]
        if wanted.machine:
            return [partial(names_of, opened, wanted.machine, wanted.item or "")]
        machines = opened.vault.machines()
        every = [one for one in opened.machines() if not (one in machines and machines[one].forgotten)]
        return [partial(names_of, opened, one.hex(), "") for one in every]


_all: WeakKeyDictionary[Opened, Searches] = WeakKeyDictionary()
_lock = threading.Lock()


def searches(opened: Opened) -> Searches:
    """The searches of a page."""
    with _lock:
        found = _all.get(opened)
        if found is None:
            found = _all[opened] = Searches(opened)
            opened.at_close(found.close)
        return found


def _row(search: _Search) -> SearchRow:
    wanted, found = search.wanted, search.found
    known = found.points_total > 0
    return SearchRow(
        id=search.id, text=wanted.text, regex=wanted.regex, ignore_case=wanted.ignore_case,
        scope=Scope(
            point=wanted.point, machine=wanted.machine, item=wanted.item,
            below=path64(search.below) if search.below else None,
        ),
        state=search.state, queued=search.queued, started=when(int(search.started * 10**9)), error=search.error,
        progress=Progress(
            points=found.points, points_total=found.points_total, entries=found.entries,
            fraction=round(found.fraction, 4) if known else None,
        ),
        total=found.total,
    )  # fmt: skip


def _hit_row(hit: Hit) -> HitRow:
    path, raw = name_of(hit.path)
    return HitRow(
        path=path, name_bytes=raw, path64=path64(hit.path), kind=hit.kind, size=min(hit.size, SAFE),
        time=when(hit.time), points=hit.points, first=when(hit.first or 1), last=when(hit.last or 1),
        versions=hit.versions, point=hit.point.hex(), machine=hit.machine.hex(), item=hit.item.hex(),
        counted=hit.counted,
    )  # fmt: skip
