"""The home screen: how well each item is protected, what runs now, and what is wrong, with how to mend it."""

from __future__ import annotations

from collections.abc import Container, Sequence

import msgspec

from catalog.alerts.overdue import hours
from catalog.errors import LocalError
from catalog.plans.listing import state_text
from catalog.schedule.due import next_slot
from catalog.schedule.history import Ran
from catalog.screen.text import safe_text
from mount.browse.resources.alerts import AlertRow, alert_rows, known_alerts
from mount.browse.resources.backups import BackupRow, backups_of, planned_here
from mount.browse.resources.looks import Found, ItemSeen, looks_of, running_here
from mount.browse.resources.opened import Opened
from mount.browse.resources.strips import Calendar, Strip, packed, strip
from mount.browse.resources.wire import bounded, short, when
from mount.browse.running.files import RestoreFiles
from mount.browse.running.status import ACTIVE
from mount.process.registry import Registry
from mount.process.this import PROCESSES

MOST = 200  # items of an answer
ALERTS = 5  # of an answer; /alerts has all
RUNNING = 100
RANKS = ("critical", "warning", "unknown", "paused", "fine")  # the worst first


class ItemRow(msgspec.Struct, frozen=True, kw_only=True):
    """An item and how well it is protected. `state` is fine, warning, critical, paused or unknown.

    `words` says why. `last` is the time of its newest good point, `last_point` its id, `expected` when the next is
    to come; `guessed`: by the gaps of the points so far, as no plan says one. `next` is when the next backup is to
    begin; if it is null, `schedule` says why. `can_back_up` at once, from the page: it has a plan on this machine.
    """

    machine: str
    machine_name: str
    item: str
    item_name: str
    kind: str
    state: str
    words: str
    last: str | None
    last_point: str | None
    age_seconds: int | None
    overdue: bool
    guessed: bool
    expected: str | None
    next: str | None
    schedule: str
    points: int
    alerts: int
    can_back_up: bool
    strip: Strip


class UpkeepRow(msgspec.Struct, frozen=True, kw_only=True):
    """The last success of a kind of upkeep of a machine, and when the next is expected; null: never."""

    machine: str
    machine_name: str
    what: str
    last: str | None
    expected: str | None
    overdue: bool


class RunningRow(msgspec.Struct, frozen=True, kw_only=True):
    """What runs now. `here`: on this machine. `link` is its screen."""

    id: str
    kind: str
    machine_name: str
    item_name: str
    started: str | None
    here: bool
    link: str


class DiskRoom(msgspec.Struct, frozen=True, kw_only=True):
    """The disk of a vault in a folder (bytes)."""

    size: int
    free: int


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Why the vault could not be looked at; as errors of the interface are."""

    kind: str
    message: str
    advice: str


class HealthPage(msgspec.Struct, frozen=True, kw_only=True):
    """What the home screen shows: items `from` one on, of `shown` that were asked for, of `total`.

    `checked` is when the vault was last looked at, null if never; `looking` for how long (seconds) that has been
    going on now, null if it is not. `counts` are items by state. `reasons` say what could not be read.
    """

    checked: str | None
    age_seconds: int | None
    looking: float | None
    error: Trouble | None
    state: str
    counts: dict[str, int]
    total: int
    shown: int
    from_: int = msgspec.field(name="from")
    items: list[ItemRow]
    upkeep: list[UpkeepRow]
    alerts: list[AlertRow]
    alerts_total: int
    drives: int
    running: list[RunningRow]
    backups: list[BackupRow]
    room: DiskRoom | None
    here: str
    reasons: list[str]


def health(
    opened: Opened, *, start: int = 0, count: int = 50, text: str = "", only: str = "", wait: float = 0.0
) -> HealthPage:
    """The home screen: `count` items from `start` on, whose names contain `text` and whose state is in `only`.

    `only` is one state, `attention` for those that are neither fine nor paused, or empty for all. Machines with
    something wrong come first. Never waits for the vault longer than `wait` seconds.
    """
    looks = looks_of(opened)
    known = looks.state(wait)
    found, now = known.found, looks.now()
    alerts = known_alerts(opened, found)
    trouble = None
    if known.error is not None:
        trouble = Trouble(kind=known.error.kind, message=str(known.error), advice=known.error.advice)
    rows = [] if found is None else ordered(found, now)
    chosen = [item for item in rows if _is_meant(item, text, only, now)]
    page = chosen[start : start + min(count, MOST)]
    counts = dict.fromkeys(RANKS, 0)
    for item in rows:
        counts[item.state(now)] += 1
    calendar, planned = Calendar(now), {} if opened.read_only else planned_here(opened)
    return HealthPage(
        checked=None if found is None else when(found.when),
        age_seconds=None if found is None else max(now - found.when, 0) // 10**9,
        looking=None if known.looking is None else round(known.looking, 1), error=trouble,
        state="unknown" if found is None else found.state(now), counts=counts, total=len(rows),
        shown=len(chosen), from_=start,
        items=[_row(item, found, calendar, planned, now) for item in page] if found is not None else [],
        upkeep=_upkeep(found, page, now), alerts=alert_rows(opened, alerts[:ALERTS], found),
        alerts_total=len(alerts), drives=drive_count(opened), running=running(opened, found),
        backups=backups_of(opened).rows(), room=_room(found),
        here="" if found is None else found.here,
        reasons=[] if found is None else [short(why) for why in found.unread],
    )  # fmt: skip


def ordered(found: Found, now: int) -> list[ItemSeen]:
    """The items by machine, those of machines with something wrong first, and of each the worst first."""
    rank = {id(item): RANKS.index(item.state(now)) for item in found.items}
    worst: dict[str, int] = {}
    for item in found.items:
        one = item.health.machine
        worst[one] = min(worst.get(one, len(RANKS)), rank[id(item)])

    def place(item: ItemSeen) -> tuple[object, ...]:
        h = item.health
        return worst[h.machine], h.machine_name, h.machine, rank[id(item)], h.item_name, h.item

    return sorted(found.items, key=place)


def _is_meant(item: ItemSeen, text: str, only: str, now: int) -> bool:
    state, wanted = item.state(now), text.casefold()
    if only == "attention" and state in ("fine", "paused"):
        return False
    if only not in ("", "attention", state):
        return False
    return wanted in f"{item.health.machine_name}\n{item.health.item_name}".casefold()


# --- rows -----------------------------------------------------------------------------------------------------


def _row(item: ItemSeen, found: Found, calendar: Calendar, here: Container[str], now: int) -> ItemRow:
    """An item. `here` are those that this machine backs up by itself."""
    one, planned = item.health, item.planned
    plan = planned.plan if planned is not None and planned.plan.schedule is not None else None
    coming = None if plan is None else next_slot(plan, now)
    since = 0 if planned is None else planned.since if planned.since <= found.when else 0
    expected = one.expected if one.planned else one.last + item.gap if item.gap and one.last else 0
    return ItemRow(
        machine=one.machine, machine_name=short(one.machine_name), item=one.item, item_name=short(one.item_name),
        kind=short(item.kind),
        state=item.state(now), words=words(item, now), last=when(one.last),
        last_point=item.newest or None,
        age_seconds=max(now - one.last, 0) // 10**9 if one.last else None, overdue=item.is_overdue(now),
        guessed=item.guessed, expected=when(expected),
        next=when(coming), schedule=_schedule(item, now), points=one.points,
        alerts=one.alerts,
        can_back_up=one.machine == found.here and one.item in here,
        strip=packed(strip(calendar, item.points, item.runs, plan, since, now)),
    )  # fmt: skip


def words(item: ItemSeen, now: int) -> str:
    """Why an item is in its state, in a sentence."""
    one, said = item.health, list[str]()
    for alert in item.alerts:
        if not alert.acknowledged:
            said.append(f"{alert.title}: {alert.text}" if alert.text else alert.title)
    if item.guessed and item.is_overdue(now):
        said.append(
            f"no new point for {hours(now - one.last)}, and the usual gap is {hours(item.gap)}: "
            "a guess, as no plan says when one is due"
        )
    if not one.last:
        said.append("it has no recovery point yet")
    if not said:
        said.append("paused" if one.paused else "in time by its plan" if one.planned else "nothing is wrong")
        if not one.planned and not item.guessed:
            said[0] += ", but nothing says when it is due: it has no plan, and too few points at a distance"
    return safe_text("; ".join(said))[:1_000]


def _schedule(item: ItemSeen, now: int) -> str:
    if item.planned is None or item.planned.plan.schedule is None:
        return "no plan"
    return safe_text(state_text(item.planned.plan, now))


def _upkeep(found: Found | None, page: Sequence[ItemSeen], now: int) -> list[UpkeepRow]:
    """The upkeep of the machines on the page."""
    if found is None:
        return []
    wanted = {item.health.machine for item in page}
    return [
        UpkeepRow(
            machine=row.machine, machine_name=short(row.machine_name), what=row.what.replace("-", " "),
            last=when(row.last), expected=when(row.expected),
            overdue=0 < row.expected < now,
        )
        for row in found.health.upkeep
        if row.machine in wanted
    ]  # fmt: skip


def _room(found: Found | None) -> DiskRoom | None:
    room = None if found is None else found.health.room
    return None if room is None else DiskRoom(size=room.size, free=room.free)


# --- what is going on -----------------------------------------------------------------------------------------


def running(opened: Opened, found: Found | None) -> list[RunningRow]:
    """What runs now: on this machine, and what the vault knows of others."""
    restores = _restores(opened)
    here = [ran for ran in running_here(opened.session, opened.vault) if ran.id not in {row.id for row in restores}]
    known = {ran.id for ran in here}
    names = {} if found is None else {i.health.machine: i.health.machine_name for i in found.items}
    rows = [*restores, *_downloads(opened), *(_running(ran, names, True) for ran in here)]
    own = "" if found is None else found.here
    for ran in found.running if found is not None else ():
        if ran.id not in known and ran.machine != own:  # this machine's own history says more of its own
            rows.append(_running(ran, names, False))
    return rows[:RUNNING]


def _restores(opened: Opened) -> list[RunningRow]:
    """The restores of pages, of which each has a screen that shows how far it is."""
    try:
        found = RestoreFiles(opened.session.settings).all(opened.vault.id.hex())
    except LocalError:
        return []
    return [
        RunningRow(
            id=one.id, kind="restore" if one.state == "running" else "plan of a restore", machine_name="",
            item_name=", ".join(place.path.decode(errors="replace") for place in one.request.places[:3])[:300],
            started=when(one.started or one.made), here=True, link=f"/restore/{one.id}",
        )
        for one in found
        if one.state in ACTIVE
    ]  # fmt: skip


def _downloads(opened: Opened) -> list[RunningRow]:
    """What is saved from a page just now; what a page shows in itself is left out."""
    return [
        RunningRow(
            id=row.id, kind="download", machine_name="", item_name=safe_text(row.name)[:300],
            started=when(row.started), here=True, link="/jobs",
        )
        for row in opened.streams.running()
        if row.what != "inline"
    ]  # fmt: skip


def _running(ran: Ran, names: dict[str, str], here: bool) -> RunningRow:
    return bounded(RunningRow(
        id=ran.id, kind=ran.kind.replace("-", " "), machine_name=names.get(ran.machine, ran.machine[:8]),
        item_name=ran.item_name or ran.item[:8], started=when(ran.started), here=here, link=f"/jobs/{ran.id}",
    ))  # fmt: skip


def drive_count(opened: Opened) -> int:
    """How many drives of this user are open. No request."""
    try:
        return len(Registry(opened.session.settings, PROCESSES).drives())
    except LocalError:
        return 0
