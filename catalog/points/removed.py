"""Says what was removed from items, so that every gap in their numbers is explained or named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from catalog.format.ledger import How
from catalog.format.records import Machine, Point
from catalog.ledger.listed import Key, Listed
from catalog.ledger.records import Ledger
from catalog.machines.registry import machine_names
from catalog.points.seen import Gap
from catalog.screen.text import counted

WAYS = {
    How.BY_HAND: "by hand",
    How.BY_POLICY: "by policy",
    How.SHORTENED: "since the policy was shortened",
    How.MISSING: "missing, which was accepted",
    How.DAMAGED: "damaged, which was accepted",
}


def way_text(how: int) -> str:
    """How a point was removed, e.g. `by policy`."""
    return WAYS.get(how, WAYS[How.BY_HAND])  # type: ignore[call-overload, no-any-return]


def removed_from(ledger: Ledger) -> Counter[str]:
    """How many points are gone from an item, in each way."""
    found = Counter(way_text(row.how) for row in ledger.gone.values())
    for row in ledger.past:
        for how, count in enumerate(row.removed, 1):
            found[way_text(how)] += count
    return +found


class Removed:
    """What ledgers took from the items of a listing."""

    def __init__(self, listed: Listed, machines: Mapping[bytes, Machine]) -> None:
        self._listed, self._machines = listed, machines

    def unexplained(self, gaps: Iterable[Gap]) -> list[Gap]:
        """The gaps without what ledgers explain."""
        found = []
        for gap in gaps:
            ledger = self._listed.ledger(gap.machine, gap.item)
            for first, last in ledger.gaps((), gap.last, gap.first):
                found.append(gap._replace(first=first, last=last))
        return found

    def lines(self, points: Sequence[Point]) -> list[str]:
        """A line for each item of these points from which some were removed."""
        names = machine_names(self._machines)
        items = {(p.machine, p.item): p for p in points}
        there = {
            key: sum(self._listed.forgotten(n) is not None for n in self._listed.stored.of(key)) for key in items
        }
        lines = []
        for key, p in items.items():
            ledger = self._listed.ledger(*key)
            said = [f"{counted(n, 'point')} {way}" for way, n in removed_from(ledger).items()]
            parts = [f"removed: {', '.join(said)}"] if said else []
            parts += [f"forgotten: {there[key]:,} (`rpdrive points --deleted`)"] if there[key] else []
            if parts:
                lines.append(f"{p.item_name} of {names.get(p.machine, p.machine_name)}: {'; '.join(parts)}")
        return lines

    def json(self, keys: Collection[Key]) -> list[dict[str, Any]]:
        """What is gone from items, and what is forgotten. Times of ledgers are not given: a ledger has them."""
        rows = []
        for machine, item in sorted(keys):
            ledger = self._listed.ledger(machine, item)
            if removed_from(ledger) or ledger.forgotten:
                rows.append({
                    "machine_id": machine.hex(), "item_id": item.hex(), "gone": dict(removed_from(ledger)),
                    "forgotten": len(ledger.forgotten),
                })  # fmt: skip
        return rows
