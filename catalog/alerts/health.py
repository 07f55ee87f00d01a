"""How well each item is protected, on one screen: pure, from a look at the vault and the alerts that are open.

The exit code is that of a monitoring plugin: 0 for fine, 1 for a warning, 2 for what is critical.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from catalog.alerts.jobs import GOOD, Names
from catalog.alerts.looking import Look
from catalog.alerts.overdue import Protected, expectations
from catalog.alerts.rules import rank
from catalog.alerts.state import Alert
from catalog.alerts.vaults import names_of, protected
from catalog.alerts.watching import Room
from catalog.format.records import Outcome
from catalog.notify.event import Severity
from catalog.schedule.due import BACKUP, next_slot
from catalog.schedule.history import Ran
from catalog.screen.text import counted, iso_time, local_time, safe_text, size_text, table

FINE, WARNING, CRITICAL = 0, 1, 2
UPKEEP = ("prune", "check 1", "check 2", "check 3", "restore-test")
COLUMNS = ("MACHINE", "ITEM", "STATE", "LAST POINT", "EXPECTED", "POINTS>", "ALERTS>")


class ItemHealth(NamedTuple):
    """One item. Times in ns, 0 for none: `last` of its newest good point, `expected` of the next one.

    `planned`: it has a schedule.
    """

    machine: str
    item: str
    machine_name: str
    item_name: str
    state: str
    last: int
    expected: int
    planned: bool
    paused: bool
    points: int
    alerts: int


class Upkeep(NamedTuple):
    """The last success of a kind of upkeep of a machine (ns; 0: none), and when the next is due (0: never)."""

    machine: str
    machine_name: str
    what: str
    last: int
    expected: int


class Health(NamedTuple):
    """All of it. `code` is the exit code."""

    vault: str
    items: Sequence[ItemHealth]
    upkeep: Sequence[Upkeep]
    alerts: Sequence[Alert]
    room: Room | None
    code: int


def code_of(alerts: Iterable[Alert]) -> int:
    """The exit code for some open alerts. Those that a person has acknowledged, and mere news, don't count."""
    worst = max((rank(a.severity) for a in alerts if a.is_open and not a.acknowledged), default=0)
    return (FINE, WARNING, CRITICAL)[worst]


def health_of(
    look: Look, alerts: Iterable[Alert], room: Room | None, only: Collection[str] = (), here: str = ""
) -> Health:
    """The health of a vault, or only of some of its machines (ids in hex). `here` is this one, whose restore tests
    are known, too."""
    names = names_of(look)
    shown = [a for a in alerts if a.is_open and (not only or a.machine in only or not a.machine)]
    shown.sort(key=lambda a: (-rank(a.severity), a.opened, a.key))
    plans = {(one.machine, one.item): one for one in protected(look, here)}
    keys = {(m.hex(), i.hex()) for m, i in {*look.items, *look.newest}}
    forgotten = {one.hex() for one, machine in look.machines.items() if machine.forgotten}
    counts: dict[tuple[str, str], int] = {}
    for machine, item in look.points.keys_of_items():
        ledger, some = look.ledgers.get((machine, item)), look.points.of((machine, item))
        counts[machine.hex(), item.hex()] = sum(ledger is None or not ledger.is_hidden(name) for name in some)
    items = [
        _item(look, names, key, plans.get(key), shown, counts.get(key, 0))
        for key in sorted(keys, key=lambda k: (names.machine(k[0]), names.item(*k), k))
        if (not only or key[0] in only) and (key[0] not in forgotten or key[0] in only)
    ]
    machines = sorted({item.machine for item in items}, key=lambda m: (names.machine(m), m))
    upkeep = [row for one in machines for row in _upkeep(look, names, one, plans.get((one, "")))]
    return Health(look.vault.hex(), items, upkeep, shown, room, code_of(shown))


def _item(
    look: Look, names: Names, key: tuple[str, str], plan: Protected | None, alerts: Sequence[Alert], points: int
) -> ItemHealth:
    newest = look.newest.get((bytes.fromhex(key[0]), bytes.fromhex(key[1])))
    own = [a for a in alerts if (a.machine, a.item) == key]
    expected = paused = 0
    if plan is not None:
        slots = [e.slot for e in expectations(plan, look.now) if e.duty == BACKUP]
        expected = slots[0] if slots else 0
        if plan.plan.schedule is not None and not plan.plan.runs_at(look.now):
            paused = 1
            expected = next_slot(plan.plan, look.now) or 0
    state = ("fine", "warning", "critical")[code_of(own)]
    if paused and state == "fine":
        state = "paused"
    return ItemHealth(
        machine=key[0], item=key[1], machine_name=names.machine(key[0]), item_name=names.item(*key), state=state,
        last=newest.time if newest is not None else 0, expected=expected,
        planned=plan is not None and plan.plan.schedule is not None, paused=bool(paused), points=points,
        alerts=len(own),
    )  # fmt: skip


def _upkeep(look: Look, names: Names, machine: str, plan: Protected | None) -> list[Upkeep]:
    """The last success of each kind, by level. A check of a deeper level is one of the lesser ones, too."""
    runs = [ran for ran in look.runs if ran.machine == machine and ran.outcome in GOOD and ran.kind != "backup"]
    expected: dict[str, int] = {}
    if plan is not None:
        for e in expectations(plan, look.now):
            expected[_what(e.duty.kind, e.duty.level)] = e.slot
    found = []
    for what in UPKEEP:
        last = max((ran.started for ran in runs if _counts(ran, what)), default=0)
        if last or what in expected:
            found.append(Upkeep(machine, names.machine(machine), what, last, expected.get(what, 0)))
    return found


def _what(kind: str, level: int) -> str:
    return f"{kind} {level}" if kind == "check" else kind


def _counts(ran: Ran, what: str) -> bool:
    kind = ran.kind.replace(" ", "-")
    if kind != "check":
        return kind == what
    return what.startswith("check ") and ran.level >= int(what[-1]) and ran.outcome == Outcome.COMPLETED


# --- text and JSON --------------------------------------------------------------------------------------------


def alert_line(alert: Alert) -> str:
    """An alert in a line: its id, how bad, what kind, what about, and what happened."""
    about = ", ".join(name for name in (alert.item_name, alert.machine_name) if name)
    count = f" ({alert.count:,} times)" if alert.count > 1 else ""
    quiet = "; acknowledged" if alert.acknowledged and alert.is_open else ""
    what = f"{about + ': ' if about else ''}{alert.title}{count}: {alert.text or alert.cause}"
    return safe_text(f"{alert.ref}  {alert.severity:<8}  {alert.id}  {what}{quiet}")


def _time(ns: int) -> str:
    return local_time(ns)[:16] if ns else "-"


def _state(item: ItemHealth) -> str:
    return "nothing yet" if item.state == "fine" and not item.last else item.state


def health_text(health: Health) -> str:
    """The screen. What has no recovery point is not called fine."""
    well = "OK" if any(i.last for i in health.items) else "NOTHING YET"
    first = {FINE: well, WARNING: "WARNING", CRITICAL: "CRITICAL"}[health.code]
    bad = [a for a in health.alerts if not a.acknowledged and a.severity is not Severity.INFO]
    count = counted(len(bad), "open alert") if bad else "no open alert"
    lines = [f"{first}: {counted(len(health.items), 'item')}, {count}"]
    if health.items:
        rows = [
            [
                safe_text(i.machine_name), safe_text(i.item_name), _state(i), _time(i.last),
                _time(i.expected) if i.planned else "no schedule", f"{i.points:,}",
                f"{i.alerts:,}" if i.alerts else "",
            ]
            for i in health.items
        ]  # fmt: skip
        lines += ["", table(COLUMNS, rows)]
    if health.upkeep:
        rows = [
            [safe_text(u.machine_name), u.what.replace("-", " "), _time(u.last), _time(u.expected)]
            for u in health.upkeep
        ]
        lines += ["", table(("MACHINE", "UPKEEP", "LAST", "EXPECTED"), rows)]
    if health.room is not None:
        room = health.room
        lines += ["", f"room: {size_text(room.free)} of {size_text(room.size)} free, {room.used:.0%} used"]
    if health.alerts:
        lines += ["", *map(alert_line, health.alerts)]
    return "\n".join(lines)


def alert_json(alert: Alert) -> dict[str, Any]:
    """An alert for --json. Times in UTC, null for what has not happened."""
    return {
        "id": alert.ref, "alert": alert.id, "severity": str(alert.severity), "security": alert.security,
        "vault": alert.vault or None, "machine": alert.machine_name or None, "machine_id": alert.machine or None,
        "item": alert.item_name or None, "item_id": alert.item or None, "cause": alert.cause, "title": alert.title,
        "text": alert.text, "details": dict(alert.details), "count": alert.count, "open": alert.is_open,
        "opened": iso_time(alert.opened), "reminded": _iso(alert.reminded), "resolved": _iso(alert.resolved),
        "acknowledged": _iso(alert.acknowledged), "reason": alert.reason or None,
    }  # fmt: skip


def _iso(ns: int) -> str | None:
    return iso_time(ns) if ns else None


def health_json(health: Health) -> dict[str, Any]:
    """The screen for --json."""
    room = health.room
    return {
        "vault": health.vault,
        "state": ("fine", "warning", "critical")[health.code],
        "code": health.code,
        "items": [
            {
                "machine": i.machine_name, "machine_id": i.machine, "item": i.item_name, "item_id": i.item,
                "state": i.state, "last_point": _iso(i.last), "expected": _iso(i.expected), "scheduled": i.planned,
                "paused": i.paused, "points": i.points, "alerts": i.alerts,
            }
            for i in health.items
        ],
        "upkeep": [
            {
                "machine": u.machine_name, "machine_id": u.machine, "what": u.what, "last": _iso(u.last),
                "expected": _iso(u.expected),
            }
            for u in health.upkeep
        ],
        "room": None if room is None else {"size": room.size, "free": room.free, "used": round(room.used, 4)},
        "alerts": [alert_json(a) for a in health.alerts],
    }  # fmt: skip
