"""What a vault has to say about the protection of its machines: one look at it, in few requests.

A look again costs the listings, and one request for what is new: jobs, records and ledgers that were read before
are remembered. Nothing that is read is believed as a whole: what does not open costs itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from heapq import nsmallest
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from catalog.alerts.rules import DAY
from catalog.errors import Damaged, LocalError, NotSupported, RpdriveError
from catalog.format.ledger import How
from catalog.format.records import Item, Job, JobName, Machine, Point, PointName, StartName
from catalog.format.sealed import Kind
from catalog.format.vaultfile import VaultFile
from catalog.ledger.records import Ledgers
from catalog.ledger.state import Ledger, find_gaps
from catalog.ledger.table import PointTable
from catalog.plans.effective import Plan, effective
from catalog.plans.records import Plans
from catalog.points.opening import first_that_opens
from catalog.points.seen import Seen
from catalog.policies.records import Policies
from catalog.retention.decide import TRUSTED
from catalog.retention.policy import Level, shortened
from catalog.retention.policy import effective as effective_policy
from catalog.schedule.history import RUNNING, History, Ran
from catalog.seeds.record import read_seeds
from catalog.vault import Vault

Key = tuple[bytes, bytes]  # machine and item
JOBS_SINCE = 35 * DAY  # ns before now, from which records of jobs are read
MOST_JOBS = 5_000  # records of jobs that are read at one look
JOBS, LEAST_JOBS = 10_000, 20  # the newest so many of a vault count, as many of each machine, and so many at least
SHORTENED_SINCE = 14 * DAY  # ns before now, from which changes of policies are compared
AHEAD = DAY  # ns by which the time of a job may be ahead of this machine's
_MOST_UNTRUSTED = 1_000


class Shortened(NamedTuple):
    """A policy of the vault, a machine or an item (`level`) that keeps less than before, by these fields."""

    level: Level
    number: int
    when: int
    fields: tuple[str, ...]


class Planned(NamedTuple):
    """A plan, and since when it counts (ns, the clock of whoever wrote it)."""

    plan: Plan
    since: int


class Look(NamedTuple):
    """What was found. Times in ns since the epoch (UTC).

    `now` is this machine's time, `stored_now` the store's (0: it can't be read). `points` are listed, with the
    times of their objects; `newest` is the newest of each item that opens. `gaps` are numbers, first and last,
    of points that vanished. `untrusted` are points whose time the store's clock does not confirm. `unread` are
    items whose ledger can't be read. `plans` are by item, and by machine with b"". `dense` are ids of backups
    whose new contents could not be compressed. `alive` are items of which a part was stored in the last day, by
    a backup that is at work or was stopped. `place` says what the store does to keep objects. `locked_until` is
    when the first lock of a point ends; None if there are none. `travelling` are items whose backups are on their
    way to the vault on disks; with b"" for the item, all of a machine without points here.
    """

    vault: bytes
    now: int
    stored_now: int
    file: VaultFile
    machines: Mapping[bytes, Machine]
    items: Mapping[Key, Item]
    points: PointTable
    newest: Mapping[Key, Point]
    ledgers: Mapping[Key, Ledger]
    unread: frozenset[Key]
    gaps: Mapping[Key, list[tuple[int, int]]]
    untrusted: tuple[PointName, ...]
    runs: tuple[Ran, ...]
    dense: frozenset[str]
    alive: frozenset[Key]
    plans: Mapping[Key, Planned]
    shortened: tuple[Shortened, ...]
    place: Mapping[str, str]
    locked_until: int | None
    travelling: frozenset[Key] = frozenset()


class Looker:
    """Looks at one vault, again and again, or only at one `machine` in it (its id).

    `state` is the state folder, where it notes the jobs it has read.
    """

    def __init__(self, state: Path, vault_id: bytes, machine: bytes | None = None) -> None:
        self._state, self._machine = state, machine
        self._history = History(state / "alerts" / vault_id.hex())
        self._ledgers: Ledgers | None = None
        self._dense: set[str] = set()
        self._bad: set[JobName | StartName] = set()  # records that don't open

    def look(self, vault: Vault, now: int | None = None) -> Look:
        """Look at the vault. Raises StoreError if the store itself fails, and LocalError."""
        now = time.time_ns() if now is None else now
        stored_now = _clock(vault)  # at the same moment: a first look may take minutes
        machines, items = self._records(vault)
        recent, partial = (stored_now or now) - DAY, set[Key]()

        def stored() -> Iterator[tuple[PointName, int]]:
            for name, when in vault.stored_points(self._machine):
                if name.partial and when > recent:
                    partial.add((name.machine, name.item))
                yield name, when

        whole = PointTable(stored())
        alive = frozenset(partial)
        ledgers, unread = self._read_ledgers(vault)
        newest = self._newest(vault, whole, ledgers)
        gaps = self._gaps(vault, whole, newest, ledgers)
        runs = self._runs(vault, now, len(machines))
        travelling = {
            (one.record.machine, item)
            for one in read_seeds(vault, stored_now or now).open
            for item in one.record.items or [b""]
        }
        return Look(
            vault=vault.id, now=now, stored_now=stored_now, file=vault.file, machines=machines, items=items,
            points=whole, newest=newest, ledgers=ledgers, unread=unread, gaps=gaps,
            untrusted=_untrusted(vault, whole, ledgers), runs=runs, dense=frozenset(self._dense), alive=alive,
            plans=_plans(vault, {*items, *newest}, machines), shortened=_shortened(vault, items, machines, now),
            place=_place(vault), locked_until=_locked_until(vault, whole), travelling=frozenset(travelling),
        )  # fmt: skip

    def _records(self, vault: Vault) -> tuple[dict[bytes, Machine], dict[Key, Item]]:
        one = self._machine
        if one is None:
            return vault.machines(), {(item.machine, item.id): item for item in vault.all_items()}
        found = vault.machine(one)
        return {one: found[1]} if found else {}, {(one, item.id): item for item in vault.items(one).values()}

    def _read_ledgers(self, vault: Vault) -> tuple[dict[Key, Ledger], frozenset[Key]]:
        if self._ledgers is None:
            self._ledgers = Ledgers(vault, self._machine)
        else:
            self._ledgers.refresh()
        self._ledgers.read(self._ledgers.keys)
        found, unread = dict[Key, Ledger](), set[Key]()
        for key in self._ledgers.keys:
            try:
                found[key] = self._ledgers.of(*key)
            except Damaged as e:
                vault.passed_over.note(f"ledger/{key[0].hex()}/{key[1].hex()}/", e)
                unread.add(key)
        return found, frozenset(unread)

    def _newest(self, vault: Vault, points: PointTable, ledgers: Mapping[Key, Ledger]) -> dict[Key, Point]:
        """The newest point of each item that is shown and opens."""

        def shown(key: Key) -> Iterator[PointName]:
            ledger = ledgers.get(key)
            return (name for name in points.of(key) if ledger is None or not ledger.is_hidden(name))

        def order(name: PointName) -> tuple[int, int, bytes]:
            return name.sequence, name.time, name.id

        each = (max(shown(key), key=order, default=None) for key in points.keys_of_items())
        tops = [name for name in each if name is not None]
        found = {}
        for name, top in zip(tops, vault.read_each(Kind.POINT, Point, tops), strict=True):
            key = name.machine, name.item
            ranked = sorted(shown(key), key=order, reverse=True) if not isinstance(top, Point) else []
            best = top if isinstance(top, Point) else first_that_opens(vault, iter(ranked))
            if isinstance(best, Point):
                best.problems = []
                found[key] = best
        return found

    def _gaps(
        self,
        vault: Vault,
        points: PointTable,
        newest: Mapping[Key, Point],
        ledgers: Mapping[Key, Ledger],
    ) -> dict[Key, list[tuple[int, int]]]:
        seen = Seen(self._state, vault)
        known = {key: n for key, n in seen.highest().items() if self._machine in (None, key[0])}
        opened = {key: PointName.of(point) for key, point in newest.items()}
        found: dict[Key, list[tuple[int, int]]] = {}
        for key in sorted({*ledgers, *known, *newest}):  # one after the other: the names of an item are in memory
            some = [opened[key]] if key in opened else []
            ledger = {key: ledgers.get(key, Ledger(*key))}
            for _key, first, last in find_gaps(points.of(key), some, ledger, known, vault.jumps):
                found.setdefault(key, []).append((first, last))
        seen.check((), opened.values())
        return found

    # --- jobs ---------------------------------------------------------------------------------------------

    def _runs(self, vault: Vault, now: int, machines: int) -> tuple[Ran, ...]:
        """The runs of all machines: those that were read before, and the new ones, newest first."""
        known = {ran.id: ran for ran in self._history.all()}
        ended, alone, each = list[JobName](), list[StartName](), jobs_of_each(machines)
        self._history.each = each
        for done, begun in self._recent(vault, now, each):
            for name in done:
                before = known.get(name.id.hex())
                if before is None or before.outcome == RUNNING:
                    ended.append(name)
            alone += [start for start in begun if start.job.id.hex() not in known]
        ended.sort(key=lambda name: name.time, reverse=True)
        names: list[JobName | StartName] = [*ended[:MOST_JOBS], *alone[:MOST_JOBS]]
        fresh = self._read(vault, [name for name in names if name not in self._bad])
        self._history.note(fresh)
        every = {**known, **{ran.id: ran for ran in fresh}}
        return tuple(sorted(every.values(), key=lambda ran: (ran.started, ran.id)))

    def _recent(self, vault: Vault, now: int, each: int) -> Iterator[tuple[Collection[JobName], list[StartName]]]:
        """Of each machine, the newest `each` jobs since JOBS_SINCE, and those of them that only have begun."""

        def dated() -> Iterator[JobName | StartName]:
            for info in vault.store.list("jobs/" if self._machine is None else f"jobs/{self._machine.hex()}/"):
                name = StartName.parse(info.name) or JobName.parse(info.name)
                if name is not None and now - JOBS_SINCE <= _job(name).time <= now + AHEAD:
                    yield name

        for _machine, names in groupby(dated(), lambda name: _job(name).machine):  # a listing is in order
            done, begun = deque[JobName](maxlen=each), deque[StartName](maxlen=each)
            for name in names:
                if isinstance(name, StartName):
                    begun.append(name)
                else:
                    done.append(name)
            ends = set(done)
            first = done[0].time if len(done) == each else 0  # the ends of earlier ones are not known
            yield done, [start for start in begun if start.job not in ends and start.job.time >= first]

    def _read(self, vault: Vault, names: Sequence[JobName | StartName]) -> list[Ran]:
        found = list[Ran]()
        for name, job in zip(names, vault.read_each(Kind.JOB, Job, names), strict=True):
            if isinstance(job, Job):
                found.append(ran_of(vault.id, job))
                if is_dense(job):
                    self._dense.add(found[-1].id)
            else:
                vault.passed_over.note(str(name), job)
                self._bad.add(name)
        return found


def jobs_of_each(machines: int) -> int:
    """How many jobs of each machine of a vault count, by the number of its machines."""
    return max(LEAST_JOBS, JOBS // max(machines, 1))


def _job(name: JobName | StartName) -> JobName:
    return name.job if isinstance(name, StartName) else name


def ran_of(vault: bytes, job: Job) -> Ran:
    """A job of the vault as a run. A file that is new where another one went counts as changed: it was renamed."""
    return Ran(
        id=job.id.hex(), vault=vault.hex(), machine=job.machine.hex(), kind=job.kind.replace(" ", "-"),
        level=job.level, boot=job.boot, item=job.item.hex() if job.item else "", item_name=job.item_name,
        started=job.time, finished=job.finished, outcome=str(job.outcome), cause=job.error_kind, error=job.error,
        point=job.point.hex() if job.point else "", bytes=job.bytes, new_bytes=job.new_bytes, files=job.files,
        changed=job.changed + min(job.new, job.removed), problem_count=job.problem_count,
        problems=[problem.path for problem in job.problems],
    )  # fmt: skip


def is_dense(job: Job) -> bool:
    """Whether most of a backup was new and could not be compressed: the data at hand for a jump of entropy."""
    few = 64 << 20
    return bool(
        job.kind == "backup"
        and (job.changed or job.removed)
        and job.new_bytes >= few
        and job.new_bytes > 0.6 * job.bytes
        and job.stored_bytes >= 0.95 * job.new_bytes
    )


# --- times, plans, policies, the place ------------------------------------------------------------------------


def _clock(vault: Vault) -> int:
    try:
        return vault.store.now()
    except RpdriveError:
        return 0  # it can be read only by writing, and this access may not


def _untrusted(vault: Vault, points: PointTable, ledgers: Mapping[Key, Ledger]) -> tuple[PointName, ...]:
    """The points that are shown and open, and claim a time that the store's clock does not confirm."""

    def suspects() -> Iterator[PointName]:
        for name, when in points.each():
            if abs(when - name.time) > TRUSTED:
                ledger = ledgers.get((name.machine, name.item))
                if ledger is None or not ledger.is_hidden(name):
                    yield name

    found = nsmallest(_MOST_UNTRUSTED, suspects(), key=str)
    read = vault.read_each(Kind.POINT, Point, found)
    return tuple(name for name, point in zip(found, read, strict=True) if isinstance(point, Point))


def _plans(vault: Vault, items: Collection[Key], machines: Mapping[bytes, Machine]) -> dict[Key, Planned]:
    """The plans of items and of machines, those only that some level says something of."""
    plans, found = Plans(vault), dict[Key, Planned]()
    if not plans.ids:
        return {}
    for machine, item in [*sorted(items), *((machine, b"") for machine in machines)]:
        levels = plans.levels(machine, "", item)
        written = [level.record.written for level in levels if level.record is not None]
        if written:
            found[machine, item] = Planned(effective(levels), max(written))
    return found


def _shortened(
    vault: Vault, items: Mapping[Key, Item], machines: Mapping[bytes, Machine], now: int
) -> tuple[Shortened, ...]:
    """The policies that were made shorter in the last two weeks, each under the same wider ones."""
    policies = Policies(vault)
    owners = {item.id: item for item in items.values()}
    found = []
    levels = {vault.id, *machines, *owners}
    for one in policies.changed_since(now - SHORTENED_SINCE):
        if one not in levels:
            continue
        wider = list[Level]()
        with suppress(Damaged, LocalError):
            if one == vault.id:
                level = policies.of_vault()
            elif one in machines:
                level, wider = policies.level("machine", machines[one].name, one), [policies.of_vault()]
            else:
                item = owners[one]
                level = policies.level("item", item.name, one)
                wider = [policies.level("machine", "", item.machine), policies.of_vault()]
            for when, before, after in policies.changes(level, now - SHORTENED_SINCE):
                old, new = effective_policy([before, *wider]), effective_policy([after, *wider])
                # Without any rule all points are kept: the first policy is no shorter one.
                fields = shortened(old, new) if old.is_complete else []
                if fields:
                    found.append(Shortened(level, after.number, when, tuple(fields)))
    return tuple(found)


def _place(vault: Vault) -> dict[str, str]:
    """What the place of the store does to keep objects, by name. Nothing where nothing can be asked."""
    try:
        return {fact.name: str(fact.state) for fact in vault.store.protection(["vault.json"])}
    except RpdriveError:
        return {}


def _locked_until(vault: Vault, points: PointTable) -> int | None:
    """When the first lock of a point ends; None if no point is locked, or the store has no locks. One listing."""
    if vault.file.immutable is None:
        return None

    def is_listed(name: str) -> bool:
        point = PointName.parse(name)
        return point is not None and not point.partial and (point.machine, point.item) in there

    there = set(points.keys_of_items())
    try:
        return min(
            (lock.until for lock in vault.store.locks("points/") if lock.until and is_listed(lock.name)),
            default=None,
        )
    except (NotSupported, RpdriveError):
        return None


def forgotten_by_hand(ledger: Ledger) -> list[tuple[bytes, int, int, str, str]]:
    """Points that somebody forgot: id, number, when, the reason and who; of those that are gone, without who."""
    rows = [
        (r.point, r.sequence, r.since, r.reason, r.by) for r in ledger.forgotten.values() if r.how == How.BY_HAND
    ]
    rows += [(r.point, r.sequence, r.since, r.reason, "") for r in ledger.gone.values() if r.how == How.BY_HAND]
    return sorted(rows, key=lambda row: (row[2], row[1]))
