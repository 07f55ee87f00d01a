"""Machines, as text and JSON."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from catalog.format.records import Machine
from catalog.ledger.listed import hiding
from catalog.screen.text import iso_time
from catalog.vault import Vault

MACHINE_COLUMNS = ("MACHINE", "NAME", "HOST", "SYSTEM", "POINTS>", "LAST POINT (UTC)", "")


class MachineRow(NamedTuple):
    """A machine, the number of its points, and the time of the last one (ns, UTC; None without points)."""

    machine: Machine
    points: int
    last_point: int | None
    is_here: bool

    @property
    def forgotten(self) -> bool:
        return self.machine.forgotten


def machine_rows(vault: Vault, here: str | None) -> list[MachineRow]:
    """All machines, by name. `here` is the id (hex) of the machine you are on.

    Costs 3 listings, and 1 request for each ledger.
    """
    machines, hidden = vault.machines(), hiding(vault)
    counts, newest = Counter[bytes](), dict[bytes, int]()
    for name in vault.each_point_name():
        if not name.partial and not hidden.is_hidden(name):
            counts[name.machine] += 1
            newest[name.machine] = max(name.time, newest.get(name.machine, 0))
    return [
        MachineRow(machine, counts[machine.id], newest.get(machine.id), machine.id.hex() == here)
        for machine in sorted(machines.values(), key=lambda m: (m.name, m.created, m.id))
    ]


def machine_json(row: MachineRow) -> dict[str, object]:
    """A row for --json."""
    machine = row.machine
    return {
        "id": machine.id.hex(),
        "name": machine.name,
        "hostname": machine.hostname,
        "system": machine.system,
        "registered": iso_time(machine.created),
        "points": row.points,
        "last_point": None if row.last_point is None else iso_time(row.last_point),
        "this_machine": row.is_here,
        "forgotten": row.forgotten,
    }


def machine_cells(row: MachineRow) -> list[str]:
    """A row for MACHINE_COLUMNS."""
    machine = row.machine
    marks = [text for text, is_so in (("this machine", row.is_here), ("forgotten", row.forgotten)) if is_so]
    last = None if row.last_point is None else iso_time(row.last_point)
    cells = [machine.id.hex()[:8], machine.name, machine.hostname, machine.system, f"{row.points:,}"]
    return [*cells, last or "", ", ".join(marks)]
