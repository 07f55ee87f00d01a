"""One run of pruning for one series, in the order of the model: docs/prune-design.md, "Upkeep".

Nothing is deleted, and no carrier counts, before this run's own record of places is stored. A run that is stopped
anywhere leaves a vault that can be read, and that the next run goes on with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from catalog.errors import AccessDenied, ObjectChanged, RpdriveError, StoreFull, TooLate
from catalog.format.blocks import PackKind
from catalog.format.keys import GENERATION
from catalog.format.ledger import ledger_folder
from catalog.format.numbers import written_number
from catalog.format.packs import SERIES_BYTES, pack_name
from catalog.format.places import PlacesRecord, places_folder
from catalog.format.records import PointName
from catalog.ledger.expiry import Expiry, expire
from catalog.ledger.records import Ledgers
from catalog.ledger.state import Ledger
from catalog.mark.last import LastMark, mark_on
from catalog.mark.objects import Objects
from catalog.mark.roots import Roots, read_roots
from catalog.mark.run import Marked, mark
from catalog.points.health import Health
from catalog.policies.records import Policies
from catalog.prune.blind import REPAIR, reason_of
from catalog.prune.carrying import READ_BACK, Carrying
from catalog.prune.clock import Seen, check_listed, check_now, check_quiet, check_stored
from catalog.prune.deleting import Deleter
from catalog.prune.doubts import ADVICE, Words, doubtful_packs
from catalog.prune.gaps import find_gap
from catalog.prune.locks import holders, lengthen_locks
from catalog.prune.notes import Notes, find_ends
from catalog.prune.plan import DELETING, HOUR, WAIT, Facts, G, Limits, LivePack, Move, Object, Plan, Totals
from catalog.prune.points import old_partials
from catalog.prune.records import Newest, Signer, old_names, read_newest, store_next
from catalog.prune.scope import Scope, Series
from catalog.prune.state import Key
from catalog.prune.tidying import Tidying
from catalog.screen.phases import Follower, NoFollower, Phase
from catalog.store.base import Store
from catalog.store.deadline import Deadline, steady
from catalog.store.reading import time_to_read
from catalog.vault import Vault

DAY = 24 * HOUR
SLEPT = 30 * DAY  # since its beginning: a run that takes longer starts over
RECORDS, LEAST = 90 * DAY, 3  # records of places that are older go, but for the newest three
TRIES = 3  # while other runs are faster
_GENERATION_AT = 4  # byte of a pack's id
_MOST_PROBLEMS = 100
_MORE = "give more time with --max-time"


class Refused(RpdriveError):
    """A series can't be pruned: something must be seen to first. Nothing of it was changed."""


class TimeIsUp(RpdriveError):
    """The time allowed is over, and nothing was changed yet."""


class Outlook(NamedTuple):
    """What a run is about to do, told before it does. Bytes; `going` are points by name.

    `objects` with `freed` bytes are deleted; `moves` packs with `moved` bytes are copied to `carriers`, of which
    about `read` bytes go through this machine. `requests` is an estimate.
    """

    series: Series
    name: str
    totals: Totals
    objects: int
    freed: int
    moves: int
    carriers: int
    moved: int
    read: int
    requests: int
    going: tuple[PointName, ...]
    partials: tuple[PointName, ...]
    expiries: tuple[Expiry, ...]
    changed: bool


class Context(NamedTuple):
    """What all runs of a command share.

    `signer` is the key that signs; None for a dry run, which writes and deletes nothing. `deleting` is the store
    without retries: a request that is repeated after this machine slept could delete too late. `highest` are the
    highest sequence numbers that this machine has seen, by machine and item; `saw` is told of points that were
    listed, and of those that opened. In `state` the last mark is kept; None: nowhere. `clock` is this machine's
    time (ns); `g` and `wait` (ns; None: as long as the protocol says) are shorter in tests only. `until` (seconds,
    `steady`) is when to stop. `by` is the id of this machine in the vault.
    """

    vault: Vault
    scope: Scope
    policies: Policies
    notes: Notes
    signer: Signer | None
    deleting: Store
    by: bytes
    highest: Mapping[tuple[bytes, bytes], int]
    state: Path | None = None
    limits: Limits = Limits()
    until: float | None = None
    yes: bool = False
    g: int | None = None
    wait: int | None = None
    follow: Follower = NoFollower()
    clock: Callable[[], int] = time.time_ns
    tell: Callable[[Outlook], None] = lambda outlook: None
    saw: Callable[[Iterable[PointName], Iterable[PointName]], object] = lambda names, opened: None


class Done(NamedTuple):
    """What a run did. `refused` counts objects that the store did not let go: they are tried again."""

    outlook: Outlook
    record: int = 0  # the number of the record of places; 0: none was needed
    deleted: int = 0
    freed: int = 0
    moved: int = 0
    carriers: int = 0
    points: int = 0
    partials: int = 0
    refused: int = 0
    stopped: bool = False  # by the time allowed: the next run goes on
    problems: tuple[str, ...] = ()


def prune_series(context: Context, series: Series) -> Done:
    """Prune a series. Raises Refused, TimeIsUp, WrongClock, another StoreError, or Damaged."""
    for left in reversed(range(TRIES)):
        run = _Run(context, series)
        try:
            return run.run()
        except (ObjectChanged, TooLate):
            if not left:
                raise
        except Refused:  # what is missing may have gone since the ledgers were read
            if not left or not run.has_new_ledgers():
                raise
    raise AssertionError


class _Run:
    def __init__(self, context: Context, series: Series) -> None:
        self._c, self._series = context, series
        self._vault, self._store = context.vault, context.vault.store
        self._ledgers: dict[bytes, Ledgers] = {}
        self._problems: list[str] = []
        self._seen = Seen()
        self._live: list[Key] = []  # packs of which points need something, in an immutable vault
        self._listed = Objects()
        self._foreign: dict[bytes, int] = {}  # when the marks began that the newest records of other series rest on
        self._deleter = Deleter(context.deleting, context.follow, context.until)

    def run(self) -> Done:
        c, vault = self._c, self._vault
        # Records before the time, and the time before the listings.
        self._ledgers = {machine: Ledgers(vault, machine) for machine in self._series.machines}
        newest = read_newest(vault, self._series.id)
        began = self._now()
        check_now(began, c.clock())
        stored = self._points()
        own = {machine: self._ledgers[machine] for machine in self._series.own}
        words = Words.of(vault, self._series.id, newest, own, c.policies, stored)
        doubt = None if c.yes else words.doubt(c.notes)
        if doubt is not None:
            raise self._refused(doubt, ADVICE)
        roots = read_roots(vault, stored, self._is_gone)
        gap = find_gap(stored, roots, self._ledgers, c.highest, vault.jumps)
        if gap is not None:
            raise self._refused(str(gap), gap.advice)
        with self._marked(roots, newest, began) as marked:
            plan = self._plan(newest, began, marked)
        if plan.refusal():
            raise self._refused(plan.refusal(), REPAIR)
        expiries = self._expire(roots, stored, began)
        due = self._due(roots, expiries, began)
        up = {n for n in due if n.machine in self._series.own and self._may_go(n, stored[n])}
        needed = any(n.machine in self._series.others for n in due)  # the record, before points of others may go
        partials = old_partials(stored, began)
        rotten = c.notes.rotten(self._series.id, began)
        groups = plan.moves(rotten)
        outlook = self._outlook(plan, groups, up, partials, expiries)
        c.tell(outlook)
        if c.signer is None:
            return Done(outlook, problems=tuple(self._problems))
        if (plan.deletes or up or partials) and not c.yes:
            check_quiet(self._seen.newest, began)
        carriers, moved, stopped = self._carry(plan, groups, rotten, began)
        number = 0
        if plan.is_changed() or plan.deletes or up or partials or needed:
            number = self._store_record(plan, newest, began, c.signer)
            self._deleter.objects(plan.deletes)
        self._lengthen(plan, stored, up, number or newest.number)
        gone = self._let_go(up, stored, began, c.signer)
        lingering = [name for name in stored if name not in up and self._is_gone(name)]
        self._deleter.names([*map(str, gone), *map(str, lingering), *map(str, partials)])
        self._deleter.names(old_names(self._series.id, newest, began - RECORDS, LEAST))
        for machine in self._series.own:
            self._deleter.names(self._ledgers[machine].old_names(machine, began - RECORDS, LEAST))
        self._tidy(plan, began)
        words.numbers[places_folder(self._series.id)] = number or newest.number
        words.keep(c.notes)
        c.saw(stored, [root.name for root in roots.roots])
        return Done(
            outlook,
            number,
            self._deleter.deleted,
            self._deleter.freed,
            moved,
            carriers,
            len(gone),
            len(partials),
            self._deleter.refused,
            stopped or self._deleter.stopped,
            tuple((*self._problems, *self._deleter.problems)[:_MOST_PROBLEMS]),
        )

    def _now(self) -> int:
        """The store's time (ns); for a dry run, this machine's if the store's takes a write."""
        return time_to_read(self._store) if self._c.signer is None else self._store.now()

    def has_new_ledgers(self) -> bool:
        """Whether another run has let points go since this one began."""
        return any(ledgers.refresh() for ledgers in self._ledgers.values())

    # --- reading ------------------------------------------------------------------------------------------

    def _refused(self, reason: str, advice: str) -> Refused:
        return Refused(f"nothing of {self.name} was pruned: {reason}", advice)

    @property
    def name(self) -> str:
        """The machines of the series, for people."""
        machines = self._c.scope.machines
        names = [machines[one].name if one in machines else one.hex()[:8] for one in self._series.own]
        return ", ".join(names)

    def _points(self) -> dict[PointName, int]:
        """All points that may refer to the series, and when they were stored (ns)."""
        stored: dict[PointName, int] = {}
        for machine in self._series.machines:
            stored.update(self._vault.stored_points(machine))
        self._seen.add(stored.items(), str)
        return stored

    def _is_gone(self, name: PointName) -> bool:
        return self._ledgers[name.machine].of(name.machine, name.item).is_gone(name)

    def _expire(self, roots: Roots, stored: Mapping[PointName, int], began: int) -> tuple[Expiry, ...]:
        """What goes by policy, written into the ledgers."""
        c, found = self._c, list[Expiry]()
        opened = {root.name for root in roots.roots}
        if not c.policies.ids:
            return ()
        verified = Health.of(self._vault, self._series.own, c.scope.machines).verified_ids(stored)
        for machine in self._series.own:
            found += expire(
                self._vault, machine, began, c.signer, yes=c.yes, stored=stored,
                ledgers=self._ledgers[machine], policies=c.policies, opened=opened, verified=verified,
            )  # fmt: skip
        for one in found:
            if one.error is not None:
                self._problems.append(f"no point of item {one.item.hex()[:8]} goes by its policy: {one.error}")
            elif one.braked is not None:
                what = f"{len(one.rows)} points of item {one.item.hex()[:8]} would go by policy, and stay"
                self._problems.append(f"{what}: {one.braked}; if that is right, run the command again with --yes")
        return tuple(found)

    def _marked(self, roots: Roots, newest: Newest, began: int) -> Marked:
        """All that the points refer to, or more. Raises Refused if it is not known."""
        c, series = self._c, self._series.id
        shared = {one for m in self._series.machines if m in c.scope.machines for one in c.scope.machines[m].shares}
        others = {one[:SERIES_BYTES] for one in (*self._series.machines, *shared)} - {series}
        places = [record for one in sorted(others) for record in self._vault.places.newest(one)]
        for record in places:
            self._foreign[record.series] = min(record.began, self._foreign.get(record.series, record.began))
        if newest.record is not None:
            places.append(newest.record)
        follow = _Timed(c.follow, c.until)
        if c.state is None:
            marked = mark(self._vault, roots, machines=c.scope.machines, places=places, follow=follow)
        else:
            last = LastMark(c.state, self._vault, self._series.machines)
            marked = mark_on(
                last, self._vault, roots, began, machines=c.scope.machines, places=places, follow=follow
            )
        if marked.is_blind:
            reason, advice = reason_of(marked)
            marked.close()
            raise self._refused(reason, advice)
        return marked

    def _plan(self, newest: Newest, began: int, marked: Marked) -> Plan:
        """List the packs, and decide. Raises WrongClock if one is younger than the store's time."""
        self._c.follow.phase(Phase("listing packs"))
        listed = self._listed = Objects.of(self._store, [self._series.id])
        self._seen.add(((obj, obj.modified) for obj in listed), lambda obj: pack_name(obj.kind, obj.id))
        self._seen.add(newest.stored.items(), lambda n: places_folder(self._series.id) + written_number(n))
        check_listed(self._seen, self._now())
        immutable = self._vault.file.immutable
        rests = immutable.days * DAY if immutable is not None else 0
        g = G if self._c.g is None else self._c.g
        wait = WAIT if self._c.wait is None else self._c.wait
        ledgers = (some.of(*key) for some in self._ledgers.values() for key in some.keys)
        given_up = max((ledger.given_up for ledger in ledgers), default=0)
        doubtful = doubtful_packs(self._vault, self._series.own, self._c.scope.machines, newest.record)
        facts = Facts(newest.record, newest.created, began, max(g, rests), rests, g, wait, given_up, doubtful)
        plan = Plan(facts, self._c.limits)

        def objects() -> Iterator[Object]:
            for obj in listed:
                if obj.id[_GENERATION_AT] == GENERATION:  # others are a later version's: they stay
                    yield Object(Key(int(obj.kind), obj.id), obj.size, obj.modified)

        def live() -> Iterator[LivePack]:
            for kind in (PackKind.DATA, PackKind.TREE):
                for pack, spans in marked.live.spans(kind):
                    if pack.startswith(self._series.id):
                        if rests:
                            self._live.append(Key(int(kind), pack))
                        yield LivePack(Key(int(kind), pack), spans)

        plan.take(objects(), live(), lambda some: find_ends(self._vault, self._c.notes, some))
        return plan

    def _due(self, roots: Roots, expiries: Iterable[Expiry], began: int) -> set[PointName]:
        """Points whose time is up, and that this run had as roots."""
        dry: set[bytes] = set()
        if self._c.signer is None:
            rows = [row for one in expiries if one.braked is None for row in one.rows]
            dry = {row.point for row in rows if row.until <= began}
        found = set()
        for root in roots.roots:
            name = root.name
            ledger = self._ledgers[name.machine].of(name.machine, name.item)
            if ledger.is_due(name.id, began) or (name.id in dry and not ledger.is_held(name.id, began)):
                found.add(name)
        return found

    def _may_go(self, name: PointName, stored: int) -> bool:
        """Whether a point that is up may go now, which was stored at a time (ns).

        What it refers to must have been found alive by a mark that began later, and whose record was stored: here
        by this run, in other series by the runs there.
        """
        return all(
            self._foreign.get(one, 0) > stored for one in self._c.scope.foreign(name.machine, self._series.id)
        )

    def _outlook(
        self,
        plan: Plan,
        groups: list[list[Move]],
        up: Iterable[PointName],
        partials: Iterable[PointName],
        expiries: tuple[Expiry, ...],
    ) -> Outlook:
        moves = [move for group in groups for move in group]
        moved = sum(move.kept for move in moves)
        read = min(moved, self._allowed(plan)) + moved // 64
        up, partials = tuple(sorted(up)), tuple(partials)
        requests = len(plan.deletes) + 4 * len(moves) + 8 * len(groups) + 2 * len(up) + len(partials)
        return Outlook(
            self._series, self.name, plan.totals, len(plan.deletes), plan.freed(), len(moves), len(groups), moved,
            read, requests, up, partials, expiries, plan.is_changed(),
        )  # fmt: skip

    @staticmethod
    def _allowed(plan: Plan) -> int:
        """How many bytes of blocks may be read back from carriers."""
        return max(READ_BACK, plan.totals.stored // 400)

    # --- writing ------------------------------------------------------------------------------------------

    def _carry(
        self, plan: Plan, groups: list[list[Move]], rotten: Mapping[Key, int], began: int
    ) -> tuple[int, int, bool]:
        """Make carriers. How many, the bytes in them, and whether the time allowed has stopped that."""
        carrying = Carrying(self._vault, self._allowed(plan))
        carriers = moved = 0
        stopped = False
        for n, group in enumerate(groups):
            self._c.follow.phase(Phase("moving packs", n, len(groups), "carriers"))
            if self._c.until is not None and steady() > self._c.until:
                stopped = True
                break
            made = carrying.make(group)
            if made is not None:
                plan.moved(made.carrier, made.packs)
                carriers, moved = carriers + 1, moved + made.size
            if carrying.is_full:
                break
        self._problems += carrying.problems
        if carrying.rotten:
            self._c.notes.keep_rotten(self._series.id, {**rotten, **dict.fromkeys(carrying.rotten, began)})
        return carriers, moved, stopped

    def _store_record(self, plan: Plan, newest: Newest, began: int, signer: Signer) -> int:
        """Store the next record of places. Raises WrongClock if its time is not that of now.

        Raises ObjectChanged if this run has slept for so long that the record after the one it read may have been
        stored by another run, and deleted as old.
        """
        self._deleter.until = Deadline.after(DELETING)  # from before the record is stored
        if self._store.now() - began > SLEPT:
            raise ObjectChanged("this run has slept for weeks, and what it knows is old", "run the command again")

        def record(number: int) -> PlacesRecord:
            return plan.state.record(self._series.id, "", number, self._c.by, began)

        stored = store_next(self._vault, signer, record, newest.number, self._deleter.until)
        check_stored(stored.modified, self._store.now())
        return stored.number

    def _lengthen(self, plan: Plan, stored: Iterable[PointName], up: Collection[PointName], record: int) -> None:
        """In an immutable vault, lengthen the store's locks on what stays."""
        if self._vault.file.immutable is None:
            return
        points = [name for name in stored if name not in up and not self._is_gone(name)]
        records = [f"{places_folder(self._series.id)}{written_number(record)}"]
        for ledgers in self._ledgers.values():
            numbers = [(*key, ledgers.of(*key).number) for key in ledgers.keys]
            records += [ledger_folder(machine, item) + written_number(n) for machine, item, n in numbers]
        done = lengthen_locks(
            self._vault, self._series.id, self._series.own, holders(self._live, plan.state), points, records
        )
        if done is not None and done.error is not None:
            self._problems.append(f"locks of {done.failed} objects could not be lengthened: {done.error}")

    def _let_go(
        self, up: Collection[PointName], stored: Mapping[PointName, int], began: int, signer: Signer
    ) -> list[PointName]:
        """Write into the ledgers that points are gone. Those that are, by the ledgers as they are now.

        Numbers are folded by the time of the listing: a writer may have stored a point with one of them since.
        Those that were skipped when this place was promoted are written down as missing: its copies then know, too.
        """
        items: dict[tuple[bytes, bytes], list[PointName]] = {}
        for name in stored:
            if name.machine in self._series.own:
                items.setdefault((name.machine, name.item), []).append(name)
        now = self._store.now()
        for (machine, item), names in sorted(items.items()):
            due = [name.id for name in names if name in up]
            there = {name.sequence for name in names}
            skipped = self._vault.jumps.skipped((machine, item), there)

            def changed(
                ledger: Ledger, due: list[bytes] = due, names: list[PointName] = names, there: set[int] = there,
                skipped: tuple[int, int] | None = skipped,
            ) -> Ledger:  # fmt: skip
                after = ledger.take(due, now).fold(names, began)
                return after if skipped is None else after.accept(after.gaps(there, skipped[1], skipped[0]), now)

            self._ledgers[machine].change(machine, item, changed, signer, now, despite=self._c.yes)
        return sorted(name for name in up if self._is_gone(name))

    def _tidy(self, plan: Plan, began: int) -> None:
        """Old jobs and index objects. A store that is full, or refuses, is left alone."""

        def there(kind: PackKind, pack: bytes) -> bool:
            return self._listed.size(kind, pack) is not None

        for machine in self._series.own:
            try:
                Tidying(self._vault, self._c.notes, self._deleter, machine, began, plan.state, there).run()
            except (StoreFull, AccessDenied) as e:
                self._problems.append(f"index objects were not put together: {e}")


class _Timed(NamedTuple):
    """Follows a mark, and ends it when the time allowed is over."""

    follow: Follower
    until: float | None

    def phase(self, phase: Phase) -> None:
        if self.until is not None and steady() > self.until:
            raise TimeIsUp("the time allowed was over before it was known what can go; nothing was changed", _MORE)
        self.follow.phase(phase)
