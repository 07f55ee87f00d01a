"""Runs `rpdrive points --deleted`: points that were forgotten, and what is gone."""

from __future__ import annotations

import time
from typing import Any

from catalog.access.session import Session
from catalog.format.ledger import ForgottenRow
from catalog.format.records import PointName
from catalog.ledger.listed import Key, Listed
from catalog.machines.registry import machine_names
from catalog.points.opening import listed_points
from catalog.points.removed import removed_from, way_text
from catalog.screen.output import print_json, print_table, say
from catalog.screen.text import counted, iso_time, local_time, short_ids
from catalog.vault import Vault

COLUMNS = ("POINT", "TIME", "MACHINE", "ITEM", "FORGOTTEN", "STAYS UNTIL", "WHY")


def show_deleted(session: Session, vault: Vault, machine: str | None, item: str | None, *, as_json: bool) -> None:
    """Print the points of a machine, an item or all that were forgotten and are still there, and what is gone.

    Costs what choosing points does, a listing each of machines and items, and a request for each of their records.
    Raises the error of the first ledger that can't be read, after the others are printed.
    """
    listed = listed_points(vault, machine, item)
    listed.read_ledgers()
    rows = [(name, row) for name in listed.stored if (row := listed.forgotten(name)) is not None]
    rows.sort(key=lambda both: (both[0].time, both[0].sequence))
    names = _Names(vault)
    gone = {key: removed_from(listed.ledger(*key)) for key in _keys(listed)}
    lost = vault.passed_over.lost("ledger/")
    if as_json:
        print_json({
            "vault": session.address,
            "points": [_json(listed, names, name, row) for name, row in rows],
            "gone": [
                {"machine_id": key[0].hex(), "item_id": key[1].hex(), **names.json(key), "ways": dict(ways)}
                for key, ways in sorted(gone.items())
                if ways
            ],
            "damaged": vault.passed_over.json(),
        })  # fmt: skip
    else:
        if rows:
            short = short_ids([name.id.hex() for name, _row in rows])
            print_table(COLUMNS, [_cells(listed, names, i, *both) for i, both in zip(short, rows, strict=True)])
        elif not lost:
            say("No recovery point here is forgotten and still there")
        for key, ways in sorted(gone.items()):
            if ways:
                said = ", ".join(f"{counted(n, 'point')} {way}" for way, n in ways.items())
                say(f"{names.item(key)} of {names.machine(key)}: gone for good: {said}")
    if lost:
        raise lost[0]


def _keys(listed: Listed) -> set[Key]:
    return {*listed.ledgers.keys, *listed.stored.keys_of_items()}


def _end(listed: Listed, name: PointName, row: ForgottenRow) -> str:
    """Until when a forgotten point stays, for people."""
    held = listed.ledger(name.machine, name.item).held.get(name.id)
    if held is not None and (held.until is None or held.until > max(row.until, time.time_ns())):
        return "held" if held.until is None else f"{local_time(held.until)[:16]} (held)"
    return "the next prune" if row.until <= time.time_ns() else local_time(row.until)[:16]


def _why(row: ForgottenRow) -> str:
    by = f" by {row.by}" if row.by else ""
    return f"{way_text(row.how)}{by}" + (f": {row.reason}" if row.reason else "")


def _cells(listed: Listed, names: _Names, short: str, name: PointName, row: ForgottenRow) -> list[str]:
    key = name.machine, name.item
    return [
        short, local_time(name.time), names.machine(key), names.item(key), local_time(row.since)[:16],
        _end(listed, name, row), _why(row),
    ]  # fmt: skip


def _json(listed: Listed, names: _Names, name: PointName, row: ForgottenRow) -> dict[str, Any]:
    """A forgotten point for --json. Times in UTC; `until`: it may go then."""
    key = name.machine, name.item
    held = listed.ledger(*key).held.get(name.id)
    held_until = None if held is None or held.until is None else iso_time(held.until)
    return {
        "id": name.id.hex(), "time": iso_time(name.time), "sequence": name.sequence, **names.json(key),
        "machine_id": name.machine.hex(), "item_id": name.item.hex(), "forgotten": iso_time(row.since),
        "until": iso_time(row.until), "way": way_text(row.how), "reason": row.reason, "by": row.by,
        "held": held is not None, "held_until": held_until,
    }  # fmt: skip


class _Names:
    """The names of machines and items, by their records; the beginnings of their ids for those without."""

    def __init__(self, vault: Vault) -> None:
        self._machines = machine_names(vault.machines())
        self._items = {(i.machine, i.id): i.name for i in vault.all_items()}

    def machine(self, key: Key) -> str:
        return self._machines.get(key[0], key[0].hex()[:8])

    def item(self, key: Key) -> str:
        return self._items.get(key, key[1].hex()[:8])

    def json(self, key: Key) -> dict[str, str]:
        return {"machine": self.machine(key), "item": self.item(key)}
