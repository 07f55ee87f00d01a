"""Machines, as text and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from catalog.screen.text import iso_time
from catalog.vault import Vault

MACHINE_COLUMNS = ("MACHINE", "NAME", "HOST", "SYSTEM", "POINTS>", "LAST POINT (UTC)", "")


def machines_json(vault: Vault, here: str | None) -> list[dict[str, Any]]:
    """Machines for --json, by name; `here` is the id (hex) of the one that the command runs on. 2 listings."""
    machines = vault.machines()
    points = vault.point_names()
    rows = []
    for machine in sorted(machines.values(), key=lambda m: (m.name, m.created, m.id)):
        own = [p for p in points if p.machine == machine.id]
        rows.append(
            {
                "id": machine.id.hex(),
                "name": machine.name,
                "hostname": machine.hostname,
                "system": machine.system,
                "registered": iso_time(machine.created),
                "points": len(own),
                "last_point": iso_time(max(p.time for p in own)) if own else None,
                "this_machine": machine.id.hex() == here,
                "forgotten": machine.forgotten,
            }
        )
    return rows


def machine_rows(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows for MACHINE_COLUMNS, from `machines_json`."""
    return [
        [
            row["id"][:8],
            row["name"],
            row["hostname"],
            row["system"],
            f"{row['points']:,}",
            row["last_point"] or "",
            ", ".join(
                text for key, text in (("this_machine", "this machine"), ("forgotten", "forgotten")) if row[key]
            ),
        ]
        for row in rows
    ]
