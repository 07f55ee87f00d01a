"""Runs the commands `rpdrive policy …` on an open vault."""

from __future__ import annotations

from catalog.access.session import Session
from catalog.policies.coming import coming, levels_of
from catalog.policies.listing import COLUMNS, going_json, going_lines, level_json, policy_json, policy_rows
from catalog.policies.records import Policies, add_retention, immutable_days
from catalog.policies.setting import Fields, changed, check
from catalog.retention.policy import Level, Policy, effective, shortened
from catalog.screen.output import print_json, print_table, say
from catalog.screen.text import counted
from catalog.vault import Vault


def set_policy(
    session: Session,
    vault: Vault,
    machine: str | None,
    item: str | None,
    fields: Fields,
    *,
    anew: bool,
    short: bool,
    as_json: bool,
) -> None:
    """Write the next record of the vault's, a machine's or an item's level."""
    policies, immutable = Policies(vault), vault.file.immutable
    nearest, *wider = levels_of(vault, policies, machine, item)
    if not anew:
        _raise_unreadable(vault)
    days = immutable_days(vault)
    old = effective([nearest, *wider], days)
    new = changed(nearest, fields, anew=anew)
    locked = immutable is not None and immutable.locked
    policy = check([new, *wider], fields, old, days, locked=locked, short=short)
    assert new.record is not None
    number = add_retention(vault, nearest, new.record, new.unknown)
    stored = effective([new._replace(number=number), *wider], days)
    less = shortened(old, policy)
    if as_json:
        row = {**level_json(nearest), "number": number}
        print_json({"vault": session.address, **row, "shortened": less, **policy_json(stored)})
        return
    say(f"Set the policy of {nearest}")
    print_table(COLUMNS, policy_rows(stored))
    if less:
        say(f"It keeps less than before ({', '.join(less)}): see `rpdrive policy preview`")
        days = vault.file.soft_delete_days
        say(f"What goes because of that can be brought back for {days} days with `rpdrive undelete`")


def show_policy(session: Session, vault: Vault, machine: str | None, item: str | None, *, as_json: bool) -> None:
    """Print the policy of the vault, a machine or an item, and where each value comes from.

    Raises the error of a record that can't be read, after the others are printed.
    """
    policies = Policies(vault)
    levels = levels_of(vault, policies, machine, item)
    policy = effective(levels, immutable_days(vault))
    lost = vault.passed_over.lost("policies/")
    others = len([level for level in policies.ids if level not in {one.id for one in levels}])
    if as_json:
        row = {"vault": session.address, "levels": [level_json(level) for level in levels], **policy_json(policy)}
        print_json({**row, "other_levels": others, "damaged": vault.passed_over.json()})
    else:
        _print_policy(policy, levels[0])
        if others:
            what = "is 1 other machine or item" if others == 1 else f"are {others} other machines and items"
            say(f"There {what} with a policy of its own: name it with --machine or --item")
    if lost:
        raise lost[0]


def _print_policy(policy: Policy, level: Level) -> None:
    if policy.origins:
        print_table(COLUMNS, policy_rows(policy))
    if policy.immutable:
        say(f"The vault is immutable: every point is kept for {counted(policy.immutable, 'day')}")
    if policy.unknown:
        say(f"Nothing is removed: this rpdrive does not know {', '.join(policy.unknown)}")
    elif not policy.is_complete:
        say(f"No policy says how long points of {level} are kept, so all are; see `rpdrive policy set --help`")


def preview(
    session: Session,
    vault: Vault,
    machine: str | None,
    item: str | None,
    fields: Fields,
    days: int,
    *,
    as_json: bool,
) -> None:
    """Print what policies would remove, now and in the days to come; `fields` are tried, and not written.

    Raises the error of the first record that can't be read, after the others are printed.
    """
    found, lost = coming(vault, machine, item, fields, days)
    rows = []
    for row in found:
        one, count = row.point, len(row.by_id)
        if as_json:
            rows.append({
                "machine": one.machine_name, "machine_id": one.machine.hex(),
                "item": one.item_name, "item_id": one.item.hex(),
                "going": going_json(row.going, row.by_id), "points": count, "kept": row.left,
            })  # fmt: skip
            continue
        then = f"{row.left:,} of them are left after {counted(days, 'day')}"
        say(f"{one.item_name} of {one.machine_name}: {counted(count, 'point')}, {then}")
        for line in going_lines(row.going, row.by_id):
            say(line)
    if as_json:
        print_json({"vault": session.address, "days": days, "items": rows, "damaged": vault.passed_over.json()})
    elif not found:
        say("There are no recovery points here yet")
    else:
        say("If backups go on daily. `rpdrive prune` removes them, and nothing else does")
    if lost:
        raise lost[0]


def _raise_unreadable(vault: Vault) -> None:
    lost = vault.passed_over.lost("policies/")
    if lost:
        raise lost[0]
