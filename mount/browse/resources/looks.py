"""Looks at the vault in the background, and keeps what counts of the last look: nobody waits for the store.

A look costs some listings and one request for each new record, as `rpdrive health` does. What is kept of it is
bounded by the number of items, not by that of points.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple
from weakref import WeakKeyDictionary, ref

import msgspec

from catalog.access.session import Session
from catalog.alerts.health import Health, ItemHealth, health_of
from catalog.alerts.keeping import Kept
from catalog.alerts.looking import Look, Looker, Planned
from catalog.alerts.overdue import expectations
from catalog.alerts.rules import DAY
from catalog.alerts.state import Alert, Facts, step
from catalog.alerts.vaults import boots_of, is_forgotten, protected, vault_facts
from catalog.alerts.watching import known_of, own_facts, room_of
from catalog.errors import LocalError, RpdriveError
from catalog.format.records import Item, ItemKind, PointName
from catalog.machines.registry import id_here
from catalog.schedule.due import BACKUP
from catalog.schedule.history import KILLED, RESTORE_TEST, RUNNING, History, Ran, is_alive
from catalog.vault import Vault
from mount.browse.resources.opened import Opened
from mount.browse.resources.strips import DAYS, Calendar

FRESH = 30.0  # seconds for which a look serves
SHARE = 0.05  # of the time that looks may take: one that took long serves longer
AFTER_FAILURE = 15.0  # seconds before another one after it failed
GAPS_OF = 10  # the newest points of an item whose gaps say when the next one is to come, if no plan does
LEAST_GAPS = 2  # with fewer of them nothing is guessed
LEAST_GAP = 15 * 60 * 10**9  # ns: no plan is quicker, so points that were quicker were made by hand
LEAST_GUESS = 2 * 3600 * 10**9  # ns that a point may be late in any case
PATHS = 8  # of an item; of one with more, none are kept
RUNS_OF = 200  # runs of an item that are kept
NOT_READ = 100  # reasons that are kept
STATES = ("fine", "warning", "critical")  # by exit code
_NO_POINTS = (0,) * DAYS
_log = logging.getLogger(__name__)


class ItemSeen(NamedTuple):
    """An item at the last look. Times in ns, 0 for none. `due` is when it is overdue; `guessed` from the gaps.

    `paths` are those that it saves, if they are few; `gap` is the median gap of its newest points.
    `points` has how many the last thirty days have, by day.
    """

    health: ItemHealth
    kind: str
    system: str
    paths: tuple[bytes, ...]
    due: int
    guessed: bool
    gap: int
    points: tuple[int, ...]
    runs: tuple[Ran, ...]
    planned: Planned | None
    alerts: tuple[Alert, ...]
    newest: str = ""  # the id of its newest point that opens

    def is_overdue(self, now: int) -> bool:
        return 0 < self.due < now

    def state(self, now: int) -> str:
        """fine, warning, critical, paused; or unknown, while it has no recovery point."""
        found = self.health.state
        if found == "fine" and not self.health.last:
            return "unknown"
        return "warning" if found == "fine" and self.is_overdue(now) else found


class Found(NamedTuple):
    """What a look found, at a time (ns) by this machine's clock. `here` is this machine's id (hex), or empty."""

    when: int
    health: Health
    items: tuple[ItemSeen, ...]
    here: str
    running: tuple[Ran, ...]
    unread: tuple[str, ...]

    def state(self, now: int) -> str:
        """That of all together: fine, warning, critical; or unknown, while nothing has a recovery point."""
        worst, states = STATES[self.health.code], [item.state(now) for item in self.items]
        if worst == "fine" and all(state == "unknown" for state in states):  # nothing is saved: all else than fine
            return "unknown"
        return "warning" if worst == "fine" and {"warning", "critical"}.intersection(states) else worst


class State(NamedTuple):
    """What is known now: the last look that came to an end, and why a later one did not.

    `looking` is for how long one has been under way (seconds), None if none is.
    """

    found: Found | None
    error: RpdriveError | None
    looking: float | None


class Looks:
    """The looks at one vault. Thread-safe. Looks only when somebody asks, and never twice at once.

    `changed` is called after a look that found other alerts, points or runs than the one before, or an error;
    `check` is told the machines that have points, and may raise NoVault; `seen` is told the newest points.
    """

    def __init__(
        self,
        session: Session,
        vault: Vault,
        *,
        changed: Callable[[], object] = lambda: None,
        check: Callable[[set[bytes]], object] = lambda _machines: None,
        seen: Callable[[list[PointName]], object] = lambda _names: None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._session, self._vault, self._changed, self._clock = session, vault, changed, clock
        self._check, self._seen = check, seen
        self._lock = threading.Condition()
        self._looker: Looker | None = None
        self._found: Found | None = None
        self._error: RpdriveError | None = None
        self._since: float | None = None
        self._due = 0.0

    def now(self) -> int:
        return self._clock()

    def state(self, wait: float = 0.0) -> State:
        """What is known; begins a look if the last one is old. Waits at most `wait` seconds, for the first one."""
        with self._lock:
            if self._since is None and time.monotonic() >= self._due:
                self._since = time.monotonic()
                threading.Thread(target=self._look, name="look", daemon=True).start()
            if self._found is None:
                self._lock.wait_for(lambda: self._since is None, wait)
            looking = None if self._since is None else time.monotonic() - self._since
            return State(self._found, self._error, looking)

    def known(self) -> Found | None:
        """What the last look found. Begins none: no request."""
        return self._found

    def _look(self) -> None:
        before, error, found, pause = self._found, None, None, FRESH
        try:
            found = self._looked()
        except RpdriveError as e:
            error, pause = e, AFTER_FAILURE
        except Exception as e:  # noqa: BLE001 - the thread must end in order, whatever it was
            _log.exception("cannot look at the vault")
            error, pause = LocalError(f"the vault can't be judged: {e}", "run `rpdrive health`"), AFTER_FAILURE
        with self._lock:
            other = str(error) != str(self._error) or (found is not None and _differ(before, found))
            self._found, self._error = found or before, error
            took = time.monotonic() - (self._since or 0.0)
            self._since, self._due = None, time.monotonic() + max(pause, took / SHARE if error is None else 0.0)
            self._lock.notify_all()
        if other:
            self._changed()

    def _looked(self) -> Found:
        now, session, vault = self._clock(), self._session, self._vault
        state = session.settings.where("state")
        if self._looker is None:
            self._looker = Looker(state, vault.id)
        look = self._looker.look(vault, now)
        self._check({n.machine for n in look.points if not _is_hidden(look, n)})
        self._seen([PointName.of(point) for point in look.newest.values()])
        facts = vault_facts(look, known_of(state, vault.state_id))
        own = Facts(tuple(own_facts(session, vault.id.hex(), now)))
        unread = [f"the ledger of item {item.hex()[:8]} can't be read" for _machine, item in look.unread]
        kept = Kept(state)
        before = list[Alert]()
        try:
            before, elsewhere = list(kept.of(vault.id.hex())), list(kept.of(""))
        except LocalError as e:
            elsewhere = []
            unread.append(str(e))
        alerts = [*step(before, facts.and_also(own), now).alerts, *elsewhere]
        known = id_here(session.settings, vault)
        here = known.hex() if known is not None else ""
        tests = [ran for ran in History(state).all() if ran.vault == vault.id.hex() and ran.kind == RESTORE_TEST]
        look = look._replace(runs=(*look.runs, *(msgspec.structs.replace(ran, machine=here) for ran in tests)))
        unread += [str(row) for row in vault.passed_over.rows("")]
        return reduced(look, health_of(look, alerts, room_of(session), (), here), here, unread)


def _differ(before: Found | None, after: Found) -> bool:
    """Whether what a page shows has changed, times that pass aside."""
    if before is None:
        return True
    return _marks(before) != _marks(after)


def _marks(found: Found) -> object:
    items = [(one.health.machine, one.health.item, one.health.last, one.health.points) for one in found.items]
    alerts = [(a.key, a.severity, a.count, a.acknowledged) for a in found.health.alerts]
    return items, alerts, [ran.id for ran in found.running]


# --- pure -----------------------------------------------------------------------------------------------------


def reduced(look: Look, health: Health, here: str, unread: Iterable[str]) -> Found:
    """What is kept of a look."""
    calendar, now = Calendar(look.now), look.now
    newest, days = _points(look, calendar)
    plans = {(one.machine, one.item): one for one in protected(look, here) if one.item}
    runs: dict[tuple[str, str], list[Ran]] = {}
    for ran in look.runs:
        if ran.kind == BACKUP.kind and calendar.starts[0] <= ran.started <= now + DAY:
            runs.setdefault((ran.machine, ran.item), []).append(ran)
    alerts: dict[tuple[str, str], list[Alert]] = {}
    for alert in health.alerts:
        alerts.setdefault((alert.machine, alert.item), []).append(alert)
    found = []
    for one in health.items:
        key = one.machine, one.item
        raw = bytes.fromhex(one.machine), bytes.fromhex(one.item)
        machine = look.machines.get(raw[0])
        record, point, planned = look.items.get(raw), look.newest.get(raw), look.plans.get(raw)
        gap, due, guessed = _gap(newest.get(key, ())), 0, False
        plan = plans.get(key)
        if plan is not None and planned is not None and planned.plan.schedule is not None:
            due = next((e.overdue for e in expectations(plan, now) if e.duty == BACKUP), 0)
        elif gap and one.last:
            due, guessed = one.last + max(2 * gap, LEAST_GUESS), True
        kind = record.kind if record is not None else point.kind if point is not None else ""
        found.append(
            ItemSeen(
                one, kind, machine.system if machine is not None else "", _paths(record), due, guessed, gap,
                days.get(key, _NO_POINTS), tuple(runs.get(key, ())[-RUNS_OF:]), planned, tuple(alerts.get(key, ())),
                point.id.hex() if point is not None else "",
            )
        )  # fmt: skip
    return Found(now, health, tuple(found), here, running_of(look), tuple(unread)[:NOT_READ])


def _paths(item: Item | None) -> tuple[bytes, ...]:
    """What an item of files saves, if that can be typed."""
    few = item is not None and item.kind == ItemKind.FILES and len(item.paths) <= PATHS
    return tuple(item.paths) if item is not None and few and all(len(p) <= 1_000 for p in item.paths) else ()


def _points(
    look: Look, calendar: Calendar
) -> tuple[dict[tuple[str, str], list[int]], dict[tuple[str, str], tuple[int, ...]]]:
    """The times of the newest points of each item, ascending, and how many each day has."""
    newest: dict[tuple[bytes, bytes], list[int]] = {}
    counts: dict[tuple[bytes, bytes], list[int]] = {}
    for name in look.points:
        key = name.machine, name.item
        if _is_hidden(look, name):
            continue
        some = newest.setdefault(key, [])
        if len(some) < GAPS_OF:
            heapq.heappush(some, name.time)
        else:
            heapq.heappushpop(some, name.time)
        day = calendar.day_of(name.time)
        if day is not None:
            counts.setdefault(key, [0] * DAYS)[day] += 1
    return (
        {(m.hex(), i.hex()): sorted(times) for (m, i), times in newest.items()},
        {(m.hex(), i.hex()): tuple(row) for (m, i), row in counts.items()},
    )


def _is_hidden(look: Look, name: PointName) -> bool:
    ledger = look.ledgers.get((name.machine, name.item))
    return ledger is not None and ledger.is_hidden(name)


def _gap(times: Iterable[int]) -> int:
    """The median gap between instants in order (ns); 0 if there are too few, or it is too short for a plan."""
    some = list(times)
    gaps = sorted(b - a for a, b in pairwise(some) if b > a)
    median = gaps[len(gaps) // 2] if len(gaps) >= LEAST_GAPS else 0
    return median if median >= LEAST_GAP else 0


def running_of(look: Look) -> tuple[Ran, ...]:
    """The runs in the vault that have begun and show no sign of having been killed. docs/format.md, "Job"."""
    boots, begun, found = boots_of(look.runs), dict[str, int](), list[Ran]()
    for ran in look.runs:
        if ran.kind == BACKUP.kind and ran.started <= look.now:  # one of a machine runs at a time
            begun[ran.machine] = max(begun.get(ran.machine, 0), ran.started)
    for ran in look.runs:
        late = look.now - ran.started > DAY
        again = ran.kind == BACKUP.kind and ran.started < begun.get(ran.machine, 0)
        boot = bool(ran.boot) and boots.get(ran.machine) != ran.boot
        if ran.outcome == RUNNING and not (late or again or boot or is_forgotten(look, ran.machine)):
            found.append(ran)
    return tuple(found)


def settled(runs: Iterable[Ran]) -> list[Ran]:
    """This machine's runs, with those that were killed: as `History.settle`, which also writes that down."""
    return [
        msgspec.structs.replace(ran, outcome=KILLED) if ran.outcome == RUNNING and not is_alive(ran) else ran
        for ran in runs
    ]


def running_here(session: Session, vault: Vault) -> list[Ran]:
    """What runs on this machine for a vault. No request. Raises nothing."""
    with suppress(OSError):
        runs: Mapping[str, Ran] = {
            ran.id: ran for ran in settled(History(session.settings.where("state")).all()) if ran.outcome == RUNNING
        }
        return [ran for ran in runs.values() if ran.vault == vault.id.hex()]
    return []


# --- of an opened vault ---------------------------------------------------------------------------------------

_looks: WeakKeyDictionary[Opened, Looks] = WeakKeyDictionary()
_making = threading.Lock()


def looks_of(opened: Opened, clock: Callable[[], int] = time.time_ns) -> Looks:
    """The looks at an opened vault: all pages share them, and the clock of who asks first."""
    with _making:
        found = _looks.get(opened)
        if found is None:
            bus, shown = opened.bus, ref(opened)  # which has this as long as it lives

            def check(machines: set[bytes]) -> None:
                still = shown()
                if still is not None:
                    still.saw(machines)

            def seen(names: list[PointName]) -> None:
                still = shown()
                if still is not None:
                    still.remember(names)

            found = _looks[opened] = Looks(
                opened.session,
                opened.vault,
                changed=lambda: bus.publish("alert"),
                check=check,
                seen=seen,
                clock=clock,
            )
        return found
