"""Runs `rpdrive system check`: says which file systems a bare-metal rebuild would still need."""

from __future__ import annotations

import time
from typing import Any

from catalog.access.session import Session
from catalog.errors import WITH_PROBLEMS, NotFound
from catalog.format.records import ItemKind, Machine, Point
from catalog.inventory.blocks import blocks
from catalog.inventory.filesystems import mounted
from catalog.inventory.held import Holding, holdings
from catalog.inventory.here import Here
from catalog.inventory.stored import newest_of_items, state_of
from catalog.inventory.tools import Tools
from catalog.inventory.values import Mounted
from catalog.ledger.listed import list_points
from catalog.machines.registry import id_here
from catalog.points.opening import chosen
from catalog.screen.output import print_json, print_table, say
from catalog.screen.text import duration_text, iso_time
from catalog.vault import Vault

COLUMNS = ("PLACE", "DEVICE", "TYPE", "NEEDED", "HELD BY", "POINT", "AGE")


def check_held(session: Session, vault: Vault, machine: str | None, *, as_json: bool) -> int:
    """Print what of a machine the vault holds. Returns the exit code: 3 if a rebuild would miss something.

    Of this machine, unless another one is named; what that one had mounted is in its system state. Raises NotFound.
    """
    here = id_here(session.settings, vault)
    wanted = here if machine is None else _id(vault, machine)
    if wanted is None:
        raise NotFound(
            "this machine is not registered in this vault", "name a machine with --machine, or make a first backup"
        )
    points = newest_of_items(vault, list_points(vault, wanted, None))
    states = [point for point in points if point.kind == ItemKind.SYSTEM]
    state = max(states, key=lambda p: p.time, default=None)
    found = holdings(vault, _mounts(vault, state, is_here=wanted == here), points)
    missing = [holding.place for holding in found if holding.is_missing]
    name = vault.machines().get(wanted)
    if as_json:
        print_json(_json(name, state, found, missing))
    else:
        _print(state, found, missing)
    return WITH_PROBLEMS if missing or state is None or not found else 0


def _id(vault: Vault, name: str) -> bytes | None:
    machine, _item = chosen(vault, name)
    return None if machine is None else machine.id


def _mounts(vault: Vault, state: Point | None, *, is_here: bool) -> list[Mounted]:
    """The mounts of the machine now, or as they were in its system state."""
    if is_here:
        here = Here(None, Tools())
        found = mounted(here, blocks(here))
        if found:
            return found
    return [] if state is None else state_of(vault, state).state.mounts


def _age(point: Point) -> float:
    return max(0.0, (time.time_ns() - point.time) / 1e9)  # s


def _print(state: Point | None, found: list[Holding], missing: list[str]) -> None:
    if found:
        print_table(COLUMNS, [_row(holding) for holding in found])
    if state is None:
        say("The vault has no system state of this machine: make one with `rpdrive backup --system-state`")
    else:
        say(f"System state: {state.id.hex()[:8]} of {state.item_name}, {duration_text(_age(state))} ago")
    if not found:
        say("Which file systems the machine has is not known")
    elif missing:
        say(f"A rebuild would still need {', '.join(missing)}: back them up, e.g. with `rpdrive backup --volume`")
    else:
        say("All file systems that a rebuild needs are in the vault")


def _row(holding: Holding) -> list[str]:
    point = holding.point
    held = "-" if point is None else point.item_name + (f" ({holding.remark})" if holding.remark else "")
    return [
        holding.place,
        holding.device,
        holding.type,
        "yes" if holding.is_needed else "data",
        held,
        "" if point is None else point.id.hex()[:8],
        "" if point is None else duration_text(_age(point)),
    ]


def _json(machine: Machine | None, state: Point | None, found: list[Holding], missing: list[str]) -> dict[str, Any]:
    return {
        "machine": None if machine is None else machine.name,
        "complete": bool(found) and not missing and state is not None,
        "missing": missing,
        "system_state": None if state is None else _point_json(state),
        "file_systems": [
            {
                "place": holding.place,
                "device": holding.device,
                "type": holding.type,
                "needed": holding.is_needed,
                "held": None if holding.point is None else _point_json(holding.point),
                "remark": holding.remark,
            }
            for holding in found
        ],
    }


def _point_json(point: Point) -> dict[str, Any]:
    return {
        "point": point.id.hex(),
        "item": point.item_name,
        "kind": point.kind or "files",
        "time": iso_time(point.time),
        "age": round(_age(point)),  # s
    }
