"""Runs `rpdrive policy list|export|import` on an open vault: policies of all levels, and as TOML out and in."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from catalog.access.session import Session
from catalog.documents import Entry, document, entries, head_of
from catalog.errors import UsageError
from catalog.format.retention import Retention
from catalog.policies.coming import levels_of
from catalog.policies.listing import level_json, said_text
from catalog.policies.records import Policies, add_retention, immutable_days
from catalog.policies.setting import Fields, changed, check, values_of
from catalog.retention.policy import FIELDS, Level, Policy, effective, shortened
from catalog.screen.output import print_json, print_table, say
from catalog.vault import Vault

COLUMNS = ("OF", "POLICY")


class _Change(NamedTuple):
    """A level as it is and as it will be, and the fields by which the policy is shorter then."""

    before: Level
    after: Level
    less: list[str]

    @property
    def is_new(self) -> bool:
        return own_fields(self.before.record) != own_fields(self.after.record)


def every_level(vault: Vault, policies: Policies) -> list[tuple[Level, str]]:
    """The levels that have records, the widest first, each with the name of its machine."""
    levels = [(policies.of_vault(), "")]
    machines = sorted(vault.machines().values(), key=lambda m: (m.name, m.id))
    known = set(policies.ids)
    levels += [(policies.level("machine", m.name, m.id), m.name) for m in machines if m.id in known]
    if known - {vault.id} - {m.id for m in machines}:
        names = {m.id: m.name for m in machines}
        items = [i for i in vault.all_items() if i.id in known and i.machine in names]
        items.sort(key=lambda i: (names[i.machine], i.machine, i.name, i.id))
        levels += [(policies.level("item", i.name, i.id), names[i.machine]) for i in items]
    return levels


def own_fields(record: Retention | None) -> dict[str, str]:
    """What a record says itself, as values for TOML."""
    values = {name: None if record is None else getattr(record, name) for name in FIELDS}
    return {name: said_text(name, value) for name, value in values.items() if value is not None}


def list_policies(session: Session, vault: Vault, *, as_json: bool) -> None:
    """Print what each level says itself. Raises the error of a record that can't be read, after the others."""
    policies = Policies(vault)
    levels = [row for row in every_level(vault, policies) if row[0].number]
    lost = vault.passed_over.lost("policies/")
    if as_json:
        rows = [
            {**level_json(level), "machine": m or None, "fields": own_fields(level.record)} for level, m in levels
        ]
        print_json({"vault": session.address, "levels": rows, "damaged": vault.passed_over.json()})
    elif levels:
        print_table(COLUMNS, [[_named(level, machine), _line(level)] for level, machine in levels])
    elif not lost:
        say("There is no policy yet, so all recovery points are kept; see `rpdrive policy set --help`")
    if lost:
        raise lost[0]


def _named(level: Level, machine: str) -> str:
    return f"{level} of {machine}" if level.what == "item" else str(level)


def _line(level: Level) -> str:
    if level.record is None:
        return "can't be read"
    return "; ".join(f"{name.replace('_', ' ')}: {text}" for name, text in own_fields(level.record).items()) or "-"


def export_policies(
    session: Session, vault: Vault, machine: str | None, item: str | None, *, as_json: bool
) -> None:
    """Print what levels say themselves, as a document: one, or without a name all of them.

    Raises the error of a record that can't be read, and prints nothing then.
    """
    policies = Policies(vault)
    if machine is None and item is None:
        levels = every_level(vault, policies)
    else:
        nearest, *wider = levels_of(vault, policies, machine, item)
        levels = [(nearest, wider[0].name)]
    lost = vault.passed_over.lost("policies/")
    if lost:
        raise lost[0]
    parts = [
        (level.what, head_of(level.what, level.id, level.name, m), fields)
        for level, m in levels
        if (fields := own_fields(level.record))
    ]
    if as_json:
        rows = [{"level": what, **head, "fields": fields} for what, head, fields in parts]
        print_json({"vault": session.address, "levels": rows})
    else:
        print(document(parts), end="")


def import_policies(
    session: Session, vault: Vault, file: Path, *, short: bool, dry_run: bool, as_json: bool
) -> None:
    """Make each level that a document names say what it says there, and nothing else. Others stay as they are.

    Everything is checked before the first record is written. Raises UsageError and NotFound, and as `set_policy`.
    """
    policies, immutable = Policies(vault), vault.file.immutable
    days, new = immutable_days(vault), dict[bytes, _Change]()
    for entry in entries(file, FIELDS):
        fields = _fields_of(entry)
        nearest, *wider = _levels_of(vault, policies, entry)
        if nearest.id in new:
            raise UsageError(f"{entry.where} is there twice", "leave one of them out")
        after = [new[level.id].after if level.id in new else level for level in wider]
        old = effective([nearest, *wider], days)
        try:
            made = changed(nearest, fields)
            policy = _checked(
                [made, *after], fields, old, days, locked=immutable is not None and immutable.locked, short=short
            )
        except UsageError as e:
            raise UsageError(f"{entry.where}: {e}", e.advice) from e
        new[nearest.id] = _Change(nearest, made, shortened(old, policy))
    lost = vault.passed_over.lost("policies/")
    if lost:
        raise lost[0]
    rows = []
    for change in new.values():
        level, record = change.before, change.after.record
        if change.is_new and not dry_run:
            assert record is not None
            number = add_retention(vault, level, record, change.after.unknown)
            level = level._replace(number=number)
        rows.append({**level_json(level), "changed": change.is_new, "shortened": change.less})
    if as_json:
        print_json({"vault": session.address, "dry_run": dry_run, "levels": rows})
        return
    for change in new.values():
        said = "Would set" if dry_run else "Set"
        less = f", which keeps less than before ({', '.join(change.less)})" if change.less else ""
        say(f"{said} the policy of {change.before}{less}" if change.is_new else f"Unchanged: {change.before}")


def _checked(levels: list[Level], fields: Fields, old: Policy, days: int, *, locked: bool, short: bool) -> Policy:
    """As `check`; a level that says nothing, and need not, is none that is checked."""
    if not any(value is not None for value in fields.values()) and effective(levels, days).is_complete:
        return effective(levels, days)
    return check(levels, fields, old, days, locked=locked, short=short)


def _fields_of(entry: Entry) -> Fields:
    """A value for each field: None for one that the entry does not have. Raises UsageError."""
    try:
        return {**dict.fromkeys(FIELDS), **values_of(entry.fields)}
    except UsageError as e:
        raise UsageError(f"{entry.where}: {e}", e.advice) from e


def _levels_of(vault: Vault, policies: Policies, entry: Entry) -> list[Level]:
    name = entry.id.hex() if entry.id else entry.name
    match entry.what:
        case "vault":
            return levels_of(vault, policies, None, None)
        case "machine":
            return levels_of(vault, policies, name, None)
        case _:
            return levels_of(vault, policies, entry.machine or None, name)
