"""Runs `rpdrive plan set|show|list|refresh` on an open vault."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from catalog.access.session import Session
from catalog.errors import NotFound, UsageError
from catalog.format.keys import ID_BYTES
from catalog.format.records import Item, ItemKind, Machine
from catalog.machines.items import check_kind, item_name, this_item
from catalog.machines.registry import find_machine, id_here, this_machine
from catalog.plans.effective import Level, Plan, effective
from catalog.plans.fields import SETTABLE, Fields
from catalog.plans.listing import (
    COLUMNS,
    LIST_COLUMNS,
    level_json,
    next_runs,
    plan_json,
    plan_rows,
    state_text,
)
from catalog.plans.paths import path_here, path_on
from catalog.plans.records import Plans, add_plan, refresh
from catalog.plans.setting import Times, change, raise_misplaced, schedule_from
from catalog.points.opening import chosen
from catalog.schedule.due import next_slot
from catalog.screen.output import print_json, print_table, say
from catalog.screen.text import local_time
from catalog.vault import Vault


class Chosen(NamedTuple):
    """The levels that count for the vault, a machine or an item, the nearest first, and the machine."""

    levels: list[Level]
    machine: Machine | None
    is_here: bool

    @property
    def nearest(self) -> Level:
        return self.levels[0]

    @property
    def system(self) -> str:
        return "" if self.machine is None else self.machine.system


def choose(
    session: Session, vault: Vault, plans: Plans, machine: str | None, item: str | None, *, everywhere: bool
) -> Chosen:
    """What is named: an item, a machine, or (`everywhere`) the vault; else this machine.

    An item without a machine is looked for on this machine first. Raises NotFound and UsageError.
    """
    here = id_here(session.settings, vault)
    if everywhere:
        if machine is not None or item is not None:
            raise UsageError("--everywhere means the whole vault", "give it without --machine and --item")
        return Chosen([plans.of_vault()], None, False)
    if machine is None and item is None:
        if here is None:
            raise NotFound(
                "this machine is not registered in the vault, so it has no plan",
                "name another one with --machine, or run `rpdrive protect PATH` here",
            )
        machine = here.hex()
    if item is not None and machine is None and here is not None:
        try:
            a_machine, an_item = chosen(vault, here.hex(), item)
        except NotFound:
            a_machine, an_item = chosen(vault, None, item)
    else:
        a_machine, an_item = chosen(vault, machine, item)
    if an_item is not None and a_machine is None:
        found = vault.machine(an_item.machine)
        a_machine = found[1] if found else _unnamed(an_item.machine)
    assert a_machine is not None
    of_item = (an_item.id, an_item.name) if an_item is not None else (b"", "")
    return Chosen(plans.levels(a_machine.id, a_machine.name, *of_item), a_machine, a_machine.id == here)


def _unnamed(machine: bytes) -> Machine:
    return Machine(id=machine, name=machine.hex()[:8], hostname="", system="", created=0)


def choose_for_paths(
    session: Session,
    vault: Vault,
    plans: Plans,
    paths: Sequence[Path],
    machine: str | None,
    item: str | None,
    *,
    kind: str = ItemKind.FILES,
) -> tuple[Chosen, list[bytes]]:
    """The item that paths are backed up as, which is made if it is not there, and the paths as a point has them.

    Without a machine, it is this one, which is registered if it is not yet.
    """
    state = session.settings.state
    here = id_here(session.settings, vault)
    far = find_machine(vault.machines(), machine) if machine is not None else None
    if far is None or far.id == here:
        if machine is not None and far is None:
            raise NotFound(f"there is no machine {machine!r}", "see `rpdrive machine list`")
        one = this_machine(vault, state)
        links = kind == ItemKind.IMAGE  # what they lead to may be another device tomorrow
        points = sorted({path_here(path, one.system, links=links) for path in paths})
        name = _name_of(vault, one.id, item) or item_name(points, kind)
        found = this_item(vault, state, one, name, points, kind=kind)
        return Chosen(plans.levels(one.id, one.name, found.id, found.name), one, True), points
    points = sorted({path_on(far.system, os.fspath(path)) for path in paths})
    name = _name_of(vault, far.id, item) or item_name(points, kind)
    for known in vault.items(far.id).values():
        if known.name == name:
            check_kind(known, kind)
            break
    else:
        known = Item(id=os.urandom(16), machine=far.id, name=name, paths=points, created=time.time_ns(), kind=kind)
        vault.add_item(known)
    return Chosen(plans.levels(far.id, far.name, known.id, known.name), far, False), points


def _name_of(vault: Vault, machine: bytes, item: str | None) -> str | None:
    """The name of an item that may be given by its id."""
    if item is None or len(item) != 2 * ID_BYTES:
        return item
    return next((one.name for one in vault.items(machine).values() if one.id.hex() == item.lower()), item)


def set_plan(
    session: Session,
    vault: Vault,
    paths: Sequence[Path],
    machine: str | None,
    item: str | None,
    fields: Fields,
    times: Times,
    *,
    everywhere: bool,
    anew: bool,
    as_json: bool,
) -> None:
    """Write the next record of the vault's, a machine's or an item's level."""
    times.check()
    plans = Plans(vault)
    given: dict[str, Any] = dict(fields)
    kind = given.get("what") or ItemKind.FILES
    if paths or kind == ItemKind.SYSTEM:
        if everywhere:
            raise UsageError("paths are of an item, and not of the vault", "leave --everywhere out")
        raise_misplaced("item", given)  # before an item is made
        where, points = choose_for_paths(session, vault, plans, paths, machine, item, kind=kind)
        given |= {"paths": points} if points else {}
    else:
        where = choose(session, vault, plans, machine, item, everywhere=everywhere)
    now = time.time_ns()
    if times.is_given:
        if "schedule" in given:
            raise UsageError("there are two schedules", "give it in the file or by options")
        given["schedule"] = schedule_from(times, effective(where.levels), now)
    new = change(where.levels, given, is_here=where.is_here, anew=anew)
    nearest, *wider = where.levels
    if new.record is not None:
        nearest = add_plan(vault, nearest, new.record)
    plan = effective([nearest, *wider])
    faults = refresh_if_here(session, vault)
    others = _saying_otherwise(vault, plans, nearest, set(given))
    if as_json:
        row = {"vault": session.address, **level_json(nearest), "changed": new.record is not None}
        row |= {"saying_otherwise": [str(level) for level in others], "faults": faults}
        print_json({**row, **plan_json(plan, now)})
        return
    say(f"{'Set' if new.record is not None else 'Nothing to change in'} the plan of {nearest}")
    print_plan(plan, where.system, now)
    if others:
        say(f"These say otherwise, and keep that: {', '.join(str(level) for level in others)}")
    for fault in faults:
        say(f"On this machine: {fault}")
    if not where.is_here and where.machine is not None:
        say(f"{where.machine.name} takes it over with its next job")


def refresh_if_here(session: Session, vault: Vault) -> list[str]:
    """Replace this machine's copy of its plans, if it is registered: what was changed counts from now on.

    Returns what is wrong with them.
    """
    made = None if id_here(session.settings, vault) is None else refresh(vault, session.address, session.settings)
    return [] if made is None else made.faults


def _saying_otherwise(vault: Vault, plans: Plans, changed: Level, names: set[str]) -> list[Level]:
    """The narrower levels with a value of their own for one of these fields. One request for each level."""
    if changed.what == "item" or not names:
        return []
    found = []
    for machine, items in machines_with_items(vault, plans):
        levels = []
        if changed.what == "vault":
            levels.append(plans.level("machine", machine.name, machine.id))
        if changed.what == "vault" or machine.id == changed.id:
            levels += [plans.level("item", f"{i.name} of {machine.name}", i.id) for i in items]
        for level in levels:
            if level.record is not None and any(getattr(level.record, name) is not None for name in names):
                found.append(level)
    return found


def machines_with_items(vault: Vault, plans: Plans) -> list[tuple[Machine, list[Item]]]:
    """All machines by name, each with those of its items that have plans of their own. 2 listings, and 1 request
    for each record that is not cached."""
    known, machines = set(plans.ids), vault.machines()
    items: dict[bytes, list[Item]] = {}
    if known - {vault.id} - machines.keys():
        for item in vault.all_items():
            if item.id in known:
                items.setdefault(item.machine, []).append(item)
    return [
        (machine, sorted(items.get(machine.id, []), key=lambda i: (i.name, i.id)))
        for machine in sorted(machines.values(), key=lambda m: (m.name, m.id))
    ]


def print_plan(plan: Plan, system: str, now: int) -> None:
    """Print the fields of a plan, its state, and the next backups."""
    rows = plan_rows(plan, system)
    if rows:
        print_table(COLUMNS, rows)
    state = state_text(plan, now)
    if state:
        say(f"It is {state}")
    if not plan.zone_is_known:
        say(f"This machine has no data for the time zone {plan.zone}: the times below are by UTC")
    runs = next_runs(plan, now)
    if runs and plan.saves:
        say(f"Next backups: {', '.join(local_time(slot)[:16] for slot in runs)} (local time of this machine)")


def show_plan(
    session: Session, vault: Vault, machine: str | None, item: str | None, *, everywhere: bool, as_json: bool
) -> None:
    """Print the plan of the vault, a machine or an item, and where each value comes from.

    Raises the error of a level none of whose records can be read, after the others are printed.
    """
    plans, now = Plans(vault), time.time_ns()
    where = choose(session, vault, plans, machine, item, everywhere=everywhere)
    plan = effective(where.levels)
    lost = vault.passed_over.lost("plans/")
    if as_json:
        levels = [level_json(level) for level in where.levels]
        row = {"vault": session.address, "levels": levels, **plan_json(plan, now)}
        print_json({**row, "damaged": vault.passed_over.json()})
    else:
        if not plan.origins:
            say(f"No plan says what {where.nearest} does by itself; see `rpdrive protect --help`")
        print_plan(plan, where.system, now)
    if lost:
        raise lost[0]


def list_plans(session: Session, vault: Vault, machine: str | None, *, as_json: bool) -> None:
    """Print what each machine backs up by itself. Raises as `show_plan`."""
    plans, now, rows = Plans(vault), time.time_ns(), list[dict[str, Any]]()
    only = None if machine is None else chosen(vault, machine)[0]
    cells = []
    for one, items in machines_with_items(vault, plans):
        if (only is not None and one.id != only.id) or (only is None and one.forgotten):
            continue
        for item in items:
            plan = effective(plans.levels(one.id, one.name, item.id, item.name))
            if not plan.saves:
                continue
            slot = next_slot(plan, now)
            when = "-" if slot is None else local_time(slot)[:16]
            schedule = next((row[1] for row in plan_rows(plan) if row[0] == "schedule"), "by hand")
            cells.append([one.name, item.name, schedule, when, state_text(plan, now)])
            rows.append({
                "machine": one.name, "machine_id": one.id.hex(), "item": item.name, "item_id": item.id.hex(),
                **plan_json(plan, now),
            })  # fmt: skip
    lost = vault.passed_over.lost("plans/")
    if as_json:
        print_json({"vault": session.address, "plans": rows, "damaged": vault.passed_over.json()})
    elif cells:
        print_table(LIST_COLUMNS, cells)
    elif not lost:
        say("Nothing is backed up by itself yet; see `rpdrive protect --help`")
    if lost:
        raise lost[0]


def refresh_here(session: Session, vault: Vault, *, as_json: bool) -> None:
    """Replace this machine's copy of its plans."""
    made = refresh(vault, session.address, session.settings)
    if made is None:
        raise NotFound(
            "this machine is not registered in the vault", "run `rpdrive protect PATH` or a backup first"
        )
    if as_json:
        print_json({"vault": session.address, "items": [item.name for item in made.items], "faults": made.faults})
        return
    say(f"This machine has its plans of {len(made.items)} items")
    for fault in made.faults:
        say(fault)


assert set(SETTABLE) >= {"schedule", "paths"}
