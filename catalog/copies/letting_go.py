"""What a copy lets go, since its source has: only what a record of the vault explains, a week after it was missed.

A source that was wiped takes nothing from its copy: points go by the signed ledger alone, packs only if the copy's
own points don't need them, and the rest only where all points of the machine are explained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from catalog.copies.missing import Missing
from catalog.copies.plan import Count, Held, kind_of
from catalog.copies.rounds import Job
from catalog.errors import LocalError, RpdriveError, StoreError
from catalog.format.blocks import PackKind
from catalog.format.ledger import ledger_named
from catalog.format.packs import SERIES_BYTES, pack_name, pack_named
from catalog.format.places import HIDDEN, places_named
from catalog.format.records import JobName, PointName, StartName
from catalog.ledger.records import Ledgers
from catalog.mark.last import LastMark, mark_on
from catalog.mark.live import Span
from catalog.mark.roots import find_roots
from catalog.mark.run import Marked, mark
from catalog.places import Run
from catalog.prune.deleting import Deleter
from catalog.prune.records import read_newest
from catalog.prune.scope import Scope, Series
from catalog.prune.tidying import JOBS
from catalog.vault import Vault

_AT_A_TIME = 1000  # objects that are deleted between two looks at vault.json
G = HIDDEN  # ns from when an object is missed to when it goes


class Gone(NamedTuple):
    """What went, or would. `stays` counts by kind what is due and stays, as no record says that it may go.

    `needed` counts packs that the source has lost, and points of the copy still need. `why` says what else kept
    something.
    """

    by_kind: dict[str, Count]
    refused: int
    stays: dict[str, int]
    needed: int
    why: tuple[str, ...]
    stopped: bool


class LettingGo:
    """Lets go of what is due. `doubted` are machines with points that no record explains, `held` those behind.

    In `state` the last marks of the copy are kept; None: nowhere.
    """

    def __init__(self, job: Job, held: Held, doubted: Collection[bytes], state: Path | None) -> None:
        assert job.copy is not None
        self._job, self._copy, self._held, self._state = job, job.copy, held, state
        self._before = job.now - G
        self._doubted = set(doubted)
        self._superseded: set[str] = set()
        self._lost: set[bytes] = set()  # series with packs that the source lacks, though points need them
        self._scope: Scope | None = None
        self._ledgers: Ledgers | None = None
        self._places: dict[bytes, int] = {}  # the numbers of the records of places that count, by series
        self._why: list[str] = []
        self._stays: Counter[str] = Counter()
        self._needed = 0

    def run(self, delete: Deleter | None) -> Gone:
        """Find out what goes, and delete it in an order that leaves a whole copy at any time. None: it stays.

        Raises StoreError.
        """
        by_kind: dict[str, Count] = {}
        # Points before what they need; what says that they are gone goes last.
        for step in (self._points, self._packs, self._records, self._words):
            due = step()
            if delete is not None:
                done = self._delete(delete, due)
                due = [one for one, went in zip(due, done, strict=True) if went]
            for one in due:
                kind = kind_of(one.name)
                by_kind[kind] = by_kind.get(kind, Count()).plus(one.size)
        refused = delete.refused if delete is not None else 0
        why = (*self._why, *(delete.problems if delete is not None else ()))
        stopped = delete is not None and delete.stopped
        return Gone(by_kind, refused, dict(self._stays), self._needed, tuple(why), stopped)

    def _delete(self, delete: Deleter, due: Sequence[Missing]) -> list[bool]:
        """Delete objects, a few at a time: once the copy is promoted, new points may need what old ones did not."""
        went: list[bool] = []
        for start in range(0, len(due), _AT_A_TIME):
            self._job.check_follows()
            went += delete.sized([(one.name, one.size) for one in due[start : start + _AT_A_TIME]])
        return went

    def _due(self, *kinds: str) -> list[Missing]:
        return [one for kind in kinds for one in self._job.notes.all(kind, self._before)]

    def _sort(self, due: Iterable[Missing], may_go: Callable[[Missing], bool]) -> list[Missing]:
        found = []
        for one in due:
            if may_go(one):
                found.append(one)
            else:
                self._stays[kind_of(one.name)] += 1
        return found

    # --- points -------------------------------------------------------------------------------------------

    def _points(self) -> list[Missing]:
        """Points of which the signed ledger says that they are gone, and partial ones that a whole one replaced."""
        return self._sort(self._due("points"), lambda one: one.why is not None)

    def _is_gone(self, name: PointName) -> bool:
        """Whether a point of the copy is no root: the ledger says so, or it went with those that are due."""
        if str(name) in self._superseded:
            return True
        return self._known_ledgers().of(name.machine, name.item).is_gone(name)

    def _known_ledgers(self) -> Ledgers:
        if self._ledgers is None:
            self._ledgers = Ledgers(self._job.words)
        return self._ledgers

    # --- packs --------------------------------------------------------------------------------------------

    def _packs(self) -> list[Missing]:
        due: dict[bytes, list[Missing]] = {}
        for one in self._due("packs", "meta"):
            pack = pack_named(one.name)
            if pack is not None:
                due.setdefault(pack[:SERIES_BYTES], []).append(one)
        if not due:
            return []
        self._superseded = {one.name for one in self._job.notes.all("points") if one.why == "superseded"}
        found: list[Missing] = []
        for series, some in sorted(due.items()):
            needed = self._needed_of(series, {one.name for one in some})
            if needed is None:
                self._stays.update(kind_of(one.name) for one in some)
                continue
            if needed:  # the source has lost them: nothing there is a reason to let others go
                self._lost.add(series)
                self._needed += len(needed)
                self._stays.update(kind_of(one.name) for one in some)
            else:
                found += some
        return found

    def _needed_of(self, series: bytes, due: Collection[str]) -> set[str] | None:
        """Which of these packs and carriers of a series the copy's points need; None if it is not known."""
        scope = self._known_scope()
        own = [one for one in (*scope.machines, *scope.doubtful) if one[:SERIES_BYTES] == series]
        if not own:
            self._why.append(f"packs of {series.hex()} stay: no machine of the copy has them")
            return None
        if self._is_held(series, own[0]):
            return None
        try:
            with self._marked(scope.series(own[0])) as marked:
                if marked.is_blind:
                    fault = marked.damaged[0].reason if marked.damaged else "a point can't be read"
                    self._why.append(f"packs of {series.hex()} stay: {fault}; run `rpdrive check` on the copy")
                    return None
                return {name for name in _holders(self._job.words, marked) if name in due}
        except (StoreError, LocalError):
            raise
        except RpdriveError as e:
            self._why.append(f"packs of {series.hex()} stay: {e}")
            return None

    def _marked(self, series: Series) -> Marked:
        scope, words = self._known_scope(), self._job.words
        roots = find_roots(self._copy, series.machines, self._is_gone)
        shared = {one for m in series.machines if m in scope.machines for one in scope.machines[m].shares}
        all_series = {one[:SERIES_BYTES] for one in (*series.machines, *shared)} | {series.id}
        places = [record for one in sorted(all_series) for record in words.places.newest(one)]
        if self._state is None or self._job.dry:
            return mark(self._copy, roots, machines=scope.machines, places=places, follow=self._job.follow)
        last = LastMark(self._state, self._copy, series.machines)
        return mark_on(
            last, self._copy, roots, self._job.now, machines=scope.machines, places=places, follow=self._job.follow
        )

    def _known_scope(self) -> Scope:
        if self._scope is None:
            self._scope = Scope.of(self._copy)
        return self._scope

    def _is_held(self, series: bytes, machine: bytes) -> bool:
        """Whether something of a series is behind, or in doubt: nothing of it is let go."""
        scope = self._known_scope()
        machines = scope.series(machine).machines
        behind = self._held.all or series in self._held.series or not self._held.machines.isdisjoint(machines)
        return behind or not self._doubted.isdisjoint(machines)

    # --- the rest -----------------------------------------------------------------------------------------

    def _records(self) -> list[Missing]:
        """Index objects of machines of which all is explained, and old jobs."""
        due = self._sort(self._due("index"), lambda one: self._is_clear(_id(one.name)))
        return due + self._sort(self._due("jobs"), self._is_old_job)

    def _is_clear(self, machine: bytes | None) -> bool:
        if machine is None or machine in self._doubted or machine[:SERIES_BYTES] in self._lost:
            return False
        return not self._held.has_machine(machine, {machine[:SERIES_BYTES]})

    def _is_old_job(self, one: Missing) -> bool:
        start = StartName.parse(one.name)
        name = JobName.parse(one.name) if start is None else start.job
        return name is not None and name.time + JOBS < self._job.now

    def _words(self) -> list[Missing]:
        """Records of places and ledgers of which a newer one is there that counts."""
        due = self._sort(self._due("places"), self._is_older_place)
        due += self._sort(self._due("ledger"), self._is_older_ledger)
        for kind in ("machines", "items", "policies", "plans", "seeds"):
            self._stays[kind] += sum(1 for _ in self._job.notes.all(kind, self._before))
        self._stays += Counter()  # without zeros
        return due

    def _is_older_place(self, one: Missing) -> bool:
        named = places_named(one.name)
        if named is None or named[1] or self._held.has_places(one.name):
            return False
        try:
            if named[0] not in self._places:
                self._places[named[0]] = read_newest(self._copy, named[0]).number
        except StoreError:
            raise
        except RpdriveError:
            self._places[named[0]] = 0
        return named[2] < self._places[named[0]]

    def _is_older_ledger(self, one: Missing) -> bool:
        named = ledger_named(one.name)
        if named is None or named[0] in self._held.machines or self._held.all:
            return False
        try:
            return named[2] < self._known_ledgers().of(named[0], named[1]).number
        except StoreError:
            raise
        except RpdriveError:
            return False


def _holders(words: Vault, marked: Marked) -> Iterable[str]:
    """The names of the objects from which live blocks are read; of a block that no record has, of its own pack."""
    for kind in (PackKind.DATA, PackKind.TREE):
        for pack, spans in marked.live.spans(kind):
            runs = words.places.runs(kind, pack)
            if not runs or not _covered(spans, runs):
                yield pack_name(kind, pack)
            for run in runs:
                if any(start < run.end and end > run.start for start, end in spans):
                    yield pack_name(kind, run.holder)


def _covered(spans: Iterable[Span], runs: tuple[Run, ...]) -> bool:
    """Whether runs (in order) have every byte of the spans."""
    for start, end in spans:
        at = start
        for run in runs:
            if run.start <= at < run.end:
                at = run.end
        if at < end:
            return False
    return True


def _id(name: str) -> bytes | None:
    try:
        return bytes.fromhex(name.split("/")[1])
    except (IndexError, ValueError):
        return None
