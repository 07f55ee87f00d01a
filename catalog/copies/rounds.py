"""One round of copying: a listing of both sides, and what it shows to be missing, in the order of the groups."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from catalog.copies.missing import MissingObjects
from catalog.copies.plan import CLOCK, Count, Group, Held, Look, kind_of
from catalog.errors import AccessDenied, RpdriveError, StoreError, StoreFull
from catalog.format.records import PointName
from catalog.ledger.records import Ledgers
from catalog.prune.scope import Scope
from catalog.screen.phases import Follower, Phase
from catalog.store.base import Store
from catalog.store.deadline import steady
from catalog.transfer.differ import differ
from catalog.transfer.engine import transfer
from catalog.transfer.outcome import LISTED, Outcome, Wanted
from catalog.vault import Vault

_TOLD = 5000  # rows of a listing between two words about it
_NEVER = 2**63 - 1  # ns: nothing waits for a second listing


class Job(NamedTuple):
    """What all rounds share. `vault` is the source's, `copy` that of the target (None: in a dry run of a new one).

    `until` (seconds, `steady`) is when to stop. `now` is the time by the target's store (ns).
    `check_follows` raises VaultExists if the copy was promoted meanwhile.
    """

    vault: Vault
    copy: Vault | None
    target: Store
    notes: MissingObjects
    now: int
    dry: bool = False
    verify: bool = False
    until: float | None = None
    follow: Follower | None = None
    check_follows: Callable[[], object] = lambda: None

    @property
    def words(self) -> Vault:
        """The vault whose signed records count: the copy's own; for a dry run the source's, which it would get."""
        return self.vault if self.dry or self.copy is None else self.copy

    def is_over(self) -> bool:
        """Whether the time allowed is over."""
        return self.until is not None and steady() > self.until


class Done:
    """What rounds came to, summed up. `by_kind` counts what was copied, `more` explains what was held back."""

    def __init__(self) -> None:
        self.by_kind: dict[str, Count] = {}
        self.present: dict[str, Count] | None = None  # before the first round
        self.outcome = Outcome()
        self.rounds = 0
        self.stopped = False
        self.held_points = self.held_places = 0
        self.unexplained: list[PointName] = []
        self.unexplained_count = 0

    @property
    def copied(self) -> Count:
        counts = self.by_kind.values()
        return Count(sum(c.objects for c in counts), sum(c.bytes for c in counts))

    def on_copied(self, wanted: Wanted) -> None:
        kind = kind_of(wanted.name)
        self.by_kind[kind] = self.by_kind.get(kind, Count()).plus(wanted.size)


class Round:
    """One round. `waited` are the names that an earlier one said should wait. `close` removes temporary files."""

    def __init__(self, job: Job, done: Done, waited: Collection[str]) -> None:
        self._job, self._done = job, done
        done.rounds += 1
        began = _NEVER if job.dry else _began(job.vault.store)
        self.look = Look(began, waited, every=job.verify and not job.dry)
        self.held = Held()
        self.doubted = set[bytes]()  # machines with points that only the copy has, and no record says why
        self.gone: list[str] = []  # vanished from the source after they were listed; of many, not all
        self.copied = 0  # objects, in this round
        self.new_points = 0  # whole ones among them
        self._ledgers: Ledgers | None = None
        done.outcome.conflicts.clear()  # what this round finds is all there is
        done.outcome.damaged.clear()
        done.outcome.conflict_count = done.outcome.damaged_count = 0
        done.held_points = done.held_places = 0

    def list(self) -> None:
        """List both sides, and note what only the copy has."""
        job, notes = self._job, self._job.notes
        notes.begin()
        began = steady()
        for n, row in enumerate(differ(job.vault.store, job.target)):
            if self.look.add(row) and row.target is not None:
                notes.saw(row.name, row.target.size, job.now)
            if n % _TOLD == 0 and job.follow is not None:
                job.follow.phase(Phase("listing both sides", n, None, "objects"))
        notes.end()
        notes.keep()
        if (
            not job.dry
            and self.look.began
            and _began(job.vault.store) - self.look.began < (steady() - began) * 1e9 - CLOCK
        ):
            self.look.distrust()  # the source's clock was set back meanwhile: what came last may look old
        if self._done.present is None:
            self._done.present = self.look.present
        self._fault(self.look.outcome)

    def _compare(self) -> None:
        """Compare records that the source stored after the copy had them, once: they may be others."""
        job = self._job
        doubtful = {n: one for n, one in self.look.doubtful.items() if not job.notes.is_compared(n, one[1])}
        if not doubtful or job.dry:
            return
        outcome = Outcome()
        rows = self._in_time(Wanted(name, size) for name, (size, _) in doubtful.items())
        transfer(
            job.vault.store, job.target, rows, verify=True, on_copied=self._copied, follow=job.follow, into=outcome
        )
        self._fault(outcome)
        others = {*outcome.gone}.union(c.name for c in outcome.conflicts).union(f.name for f in outcome.damaged)
        listed = len(others) == outcome.gone_count + outcome.conflict_count + outcome.damaged_count
        if listed and not self._done.stopped:
            job.notes.note_compared((n, at) for n, (_, at) in doubtful.items() if n not in others)

    def copy(self) -> None:
        """Copy what is missing; nothing that refers to what could not be copied."""
        self._compare()
        for group in (Group.PACKS, Group.RECORDS, Group.LEDGERS):
            self._transfer(group, self.look.wants[group])
            if self._done.stopped:
                return
        self.explain()
        if self.gone:
            return  # listed, and gone since: the next round sees what there is now
        self._transfer(Group.PLACES, self._places())
        if self._done.stopped or self.gone:
            return
        if self.look.wants[Group.POINTS].count:
            self._transfer(Group.POINTS, self._points())

    @property
    def is_last(self) -> bool:
        """Whether this round leaves nothing that another one could copy."""
        return not self.gone and not self.look.waiting

    def _copied(self, wanted: Wanted) -> None:
        self._done.on_copied(wanted)
        self.copied += 1
        name = PointName.parse(wanted.name)
        self.new_points += name is not None and not name.partial

    def _transfer(self, group: Group, wanted: Iterable[Wanted]) -> None:
        wants = self.look.wants[group]
        if not wants.count:
            return
        outcome = Outcome()
        rows = self._in_time(wanted)
        if self._job.dry:
            for one in rows:
                self._copied(one)
        else:
            if group != Group.PACKS:  # what a promoted copy has of its own would get the same names and numbers
                self._job.check_follows()
            try:
                transfer(
                    self._job.vault.store, self._job.target, rows, verify=self._job.verify,
                    on_copied=self._copied, follow=self._job.follow, total=wants.bytes, into=outcome,
                )  # fmt: skip
            finally:
                self._fault(outcome)
        if group != Group.POINTS:
            self.gone += outcome.gone

    def _in_time(self, wanted: Iterable[Wanted]) -> Iterator[Wanted]:
        for one in wanted:
            if self._job.is_over():
                self._done.stopped = True
                return
            yield one

    def _fault(self, outcome: Outcome) -> None:
        self.held.note(outcome)
        total = self._done.outcome
        for conflict in outcome.conflicts:
            total.add_conflict(conflict)
        for fault in outcome.damaged:
            total.add_damaged(fault)
        total.conflict_count += outcome.conflict_count - min(outcome.conflict_count, len(outcome.conflicts))
        total.damaged_count += outcome.damaged_count - min(outcome.damaged_count, len(outcome.damaged))
        total.present += outcome.present

    # --- what only the copy has ---------------------------------------------------------------------------

    def explain(self) -> None:
        """Find out why points are missing at the source. Where no record says so, no record of places is believed.

        The source may have been pruned without these points: its records of places then say nothing of blocks that
        the copy needs for them.
        """
        why: list[tuple[str, str]] = []
        left: list[PointName] = []
        count = 0
        for one in self._job.notes.all("points"):
            name = PointName.parse(one.name)
            if name is None or one.why is not None:
                continue
            if (reason := self._reason(name)) is not None:
                why.append((one.name, reason))
                continue
            count += 1
            if len(left) < LISTED:
                left.append(name)
            self.doubted.add(name.machine)
        self._job.notes.explain(why)
        self._done.unexplained, self._done.unexplained_count = left, count

    def _reason(self, name: PointName) -> str | None:
        if self._is_gone(name):
            return "gone"
        if name.partial and self.look.highest.get((name.machine, name.item), 0) >= name.sequence:
            return "superseded"
        return None

    # --- what refers to others ----------------------------------------------------------------------------

    def _places(self) -> Iterator[Wanted]:
        wants = self.look.wants[Group.PLACES]
        doubted: set[bytes] = set()
        if wants.count and self.doubted:
            scope = Scope.of(self._job.words)
            for machine in self.doubted:
                series = _series(scope, machine)
                doubted |= {one.id for one in scope.all_series()} if series is None else series
        doubtful = Held()
        doubtful.series = doubted
        for one in wants:
            if one.name in self.look.both:
                yield one
            elif doubtful.has_places(one.name):
                self.held.name(one.name)
                self._done.held_places += 1
            elif self.held.has_places(one.name):
                self._done.held_places += 1
            else:
                yield one

    def _points(self) -> Iterator[Wanted]:
        scope = Scope.of(self._job.words) if self.held else None
        for one in self.look.wants[Group.POINTS]:
            name = PointName.parse(one.name)
            if name is not None and one.name not in self.look.both:
                if scope is not None and self.held.has_machine(name.machine, _series(scope, name.machine)):
                    self._done.held_points += not name.partial
                    continue
                if self._is_gone(name):
                    continue
            yield one

    def _is_gone(self, name: PointName) -> bool:
        if self._ledgers is None:
            self._ledgers = Ledgers(self._job.words)  # one listing of all of them
        try:
            return self._ledgers.of(name.machine, name.item).is_gone(name)
        except StoreError:
            raise
        except RpdriveError:
            return False  # nobody knows

    def close(self) -> None:
        self.look.close()


def _series(scope: Scope, machine: bytes) -> set[bytes] | None:
    """The series to which trees of a machine may refer; None: to any."""
    return None if machine in scope.doubtful or machine not in scope.machines else scope.foreign(machine, b"")


def _began(store: Store) -> int:
    """The store's time (ns); 0 if it can't be known: all that refers to others then waits for a second listing."""
    try:
        return store.now()
    except (AccessDenied, StoreFull):
        return 0
