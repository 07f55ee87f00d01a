"""Recovery points with the reasons for which they are kept: `rpdrive points --why`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from catalog.format.records import Machine, Point, PointName
from catalog.ledger.listed import Listed
from catalog.ledger.records import Ledger
from catalog.machines.registry import machine_names
from catalog.points.health import Health
from catalog.policies.records import Policies
from catalog.retention.decide import Decision, Fact, Hold, Reason, Why, decide, stopped
from catalog.screen.text import iso_time, local_time, short_ids
from catalog.vault import Vault

Key = tuple[bytes, bytes]  # machine and item
_RULES = frozenset((Why.DAILY, Why.WEEKLY, Why.MONTHLY, Why.YEARLY, Why.HOURLY))
_TEXTS = {
    Why.LAST: "one of the last",
    Why.NEWEST: "the newest",
    Why.NEWEST_VERIFIED: "the newest that was verified",
    Why.NOT_REPLACED: "no newer point whose time the store confirms",
    Why.RECENT: "new",
    Why.TIME: "its time is not the store's",
    Why.HOLD: "held",
    Why.IMMUTABLE: "the vault is immutable",
    Why.NO_POLICY: "no policy",
    Why.UNKNOWN_FIELDS: "the policy can't be understood",
    Why.ERASE_AFTER: "erase after",
}


def facts(
    points: Iterable[Point | PointName], stored: Mapping[PointName, int], health: Health
) -> dict[Key, list[Fact]]:
    """What `decide` is told of points, by item. `stored` are the times of their objects in the store (ns)."""
    found: dict[Key, list[Fact]] = {}
    for p in points:
        when = stored[p if isinstance(p, PointName) else PointName.of(p)]
        fact = Fact(p.id, p.sequence, p.time, when, health.verified(p, when))
        found.setdefault((p.machine, p.item), []).append(fact)
    return found


def holds_of(ledger: Ledger) -> list[Hold]:
    """What `decide` is told of the points that are held."""
    return [Hold(row.point, row.until, row.reason) for row in ledger.held.values()]


class Reasons:
    """Why points are kept, in their order, which are among those `listed`.

    `others` are points of the same items that are not shown, by their names: they count, too, as a policy chooses
    among all. One listing, and one request for each level that has a policy. Raises as `Policies`.
    """

    columns = ("POINT", "TIME", "MACHINE", "ITEM", "KEPT UNTIL", "WHY")

    def __init__(
        self,
        vault: Vault,
        points: Sequence[Point],
        listed: Listed,
        health: Health,
        others: Iterable[PointName] = (),
    ) -> None:
        policies, now = Policies(vault), time.time_ns()
        self._points, self._still = points, dict[Key, int]()
        rows = dict[Key, Iterator[Decision]]()
        for key, some in facts([*points, *others], listed.stored, health).items():
            policy = policies.policy(*key)
            rows[key] = iter(decide(some, policy, holds_of(listed.ledger(*key)), now))
            self._still[key] = stopped(some, policy, now) or 0
        self._decided = [next(rows[p.machine, p.item]) for p in points]

    def rows(self, machines: Mapping[bytes, Machine]) -> list[list[str]]:
        """Cells for `columns`."""
        names = machine_names(machines)
        short = short_ids([p.id.hex() for p in self._points])
        return [
            [
                shown,
                local_time(p.time),
                names.get(p.machine, p.machine_name),
                p.item_name,
                until_text(d),
                reasons_text(d) if d.keep else ended_text(d),
            ]
            for shown, p, d in zip(short, self._points, self._decided, strict=True)
        ]

    def json(self) -> list[dict[str, Any]]:
        return [decision_json(d) for d in self._decided]

    def still(self) -> list[str]:
        """A line for each item whose rules stand still."""
        names = {(p.machine, p.item): f"{p.item_name} of {p.machine_name}" for p in self._points}
        return [
            f"Time stands still for {names[key]} since {_minute(when)}: no newer point has become a day old"
            for key, when in self._still.items()
            if when > 0
        ]


def until_text(decision: Decision) -> str:
    if not decision.keep:
        return "may go"
    return "" if decision.until is None else _minute(decision.until)


def reasons_text(decision: Decision) -> str:
    return ", ".join(_reason(r) for r in decision.reasons)


def ended_text(decision: Decision) -> str:
    """Why a point goes."""
    ended = [f"{_name(r)} ended {_minute(r.until)}" for r in decision.ended if r.until is not None]
    return ", ".join(ended) or "in no slot of a rule"


def _name(reason: Reason) -> str:
    return str(reason.why) if reason.why in _RULES else _TEXTS[reason.why]


def _reason(reason: Reason) -> str:
    note = f" ({reason.note})" if reason.note else ""
    return _name(reason) + note + ("" if reason.until is None else f" until {_minute(reason.until)}")


def _minute(ns: int) -> str:
    return local_time(ns)[:16]


def decision_json(d: Decision) -> dict[str, Any]:
    """A decision for --json. Times in UTC; `until` null: no end is known."""
    return {
        "keep": d.keep,
        "until": None if d.until is None else iso_time(d.until),
        "reasons": [_reason_json(r) for r in d.reasons],
        "ended": [_reason_json(r) for r in d.ended],
        "erase": None if d.erase is None else iso_time(d.erase),
        "stored": iso_time(d.point.modified),
    }


def _reason_json(r: Reason) -> dict[str, Any]:
    return {
        "why": str(r.why),
        "until": None if r.until is None else iso_time(r.until),
        "slot": None if r.slot is None else iso_time(r.slot),
        "note": r.note,
    }
