"""Runs `rpdrive plan export|import` on an open vault: plans as TOML, out and in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.access.session import Session
from catalog.documents import Entry, document, entries, head_of
from catalog.errors import UsageError
from catalog.format.plan import PlanRecord
from catalog.plans.effective import Level
from catalog.plans.fields import SETTABLE, Fields, checked, toml_value, value_of
from catalog.plans.listing import level_json
from catalog.plans.records import Plans, add_plan
from catalog.plans.setting import Change, change
from catalog.plans.show import Chosen, choose, machines_with_items, refresh_if_here
from catalog.screen.output import print_json, say
from catalog.vault import Vault


def export_plans(
    session: Session, vault: Vault, machine: str | None, item: str | None, *, everywhere: bool, as_json: bool
) -> None:
    """Print what levels say themselves, as a document: one, or without a name all of them.

    Raises the error of a level none of whose records can be read, and prints nothing then.
    """
    plans = Plans(vault)
    if machine is None and item is None and not everywhere:
        levels = every_level(vault, plans)
    else:
        where = choose(session, vault, plans, machine, item, everywhere=everywhere)
        name = "" if where.machine is None else where.machine.name
        levels = [(where.nearest, name)]
    lost = vault.passed_over.lost("plans/")
    if lost:
        raise lost[0]
    rows = [(level, machine_name, own_fields(level.record)) for level, machine_name in levels if level.record]
    parts = [
        (level.what, head_of(level.what, level.id, level.name, machine_name), fields)
        for level, machine_name, fields in rows
        if fields
    ]
    if as_json:
        found = [{"level": what, **head, "fields": fields} for what, head, fields in parts]
        print_json({"vault": session.address, "levels": found})
    else:
        print(document(parts), end="")


def every_level(vault: Vault, plans: Plans) -> list[tuple[Level, str]]:
    """The levels that have records, the widest first, each with the name of its machine."""
    levels, found = [(plans.of_vault(), "")], machines_with_items(vault, plans)
    levels += [(plans.level("machine", m.name, m.id), m.name) for m, _items in found]
    levels += [(plans.level("item", i.name, i.id), m.name) for m, items in found for i in items]
    return levels


def own_fields(record: PlanRecord) -> dict[str, Any]:
    """What a record says, as values for TOML."""
    values = {name: getattr(record, name) for name in SETTABLE}
    return {name: toml_value(name, value) for name, value in values.items() if value is not None}


def import_plans(session: Session, vault: Vault, file: Path, *, dry_run: bool, as_json: bool) -> None:
    """Make each level that a document names say what it says there, and nothing else. Others stay as they are.

    Everything is checked before the first record is written. Raises UsageError and NotFound.
    """
    plans = Plans(vault)
    new: dict[bytes, tuple[Chosen, Change]] = {}
    for entry in entries(file, SETTABLE):
        fields = fields_of(entry)
        where = _level_of(session, vault, plans, entry)
        if where.nearest.id in new:
            raise UsageError(f"{entry.where} is there twice", "leave one of them out")
        levels = [where.nearest, *(_changed(level, new) for level in where.levels[1:])]
        try:
            new[where.nearest.id] = where, change(levels, fields, is_here=where.is_here, anew=True)
        except UsageError as e:
            raise UsageError(f"{entry.where}: {e}", e.advice) from e
    lost = vault.passed_over.lost("plans/")
    if lost:
        raise lost[0]
    rows = []
    for where, made in new.values():
        level = where.nearest
        if made.record is not None and not dry_run:
            level = add_plan(vault, level, made.record)
        rows.append({**level_json(level), "changed": made.record is not None})
    if not dry_run:
        refresh_if_here(session, vault)
    if as_json:
        print_json({"vault": session.address, "dry_run": dry_run, "levels": rows})
        return
    for where, made in new.values():
        said = "Would set" if dry_run else "Set"
        say(f"{said} the plan of {where.nearest}" if made.record else f"Unchanged: {where.nearest}")


def _changed(level: Level, new: Mapping[bytes, tuple[Chosen, Change]]) -> Level:
    found = new.get(level.id)
    return level if found is None or found[1].record is None else level._replace(record=found[1].record)


def fields_of(entry: Entry) -> Fields:
    """The values of an entry. Raises UsageError, which names the field."""
    try:
        return checked({name: value_of(name, value) for name, value in entry.fields.items()})
    except UsageError as e:
        raise UsageError(f"{entry.where}: {e}", e.advice) from e


def _level_of(session: Session, vault: Vault, plans: Plans, entry: Entry) -> Chosen:
    name = entry.id.hex() if entry.id else entry.name
    match entry.what:
        case "vault":
            return choose(session, vault, plans, None, None, everywhere=True)
        case "machine":
            return choose(session, vault, plans, name, None, everywhere=False)
        case _:
            return choose(session, vault, plans, entry.machine or None, name, everywhere=False)
