"""Gives up points that nobody can read: those that vanished, and those whose own record is damaged.

No run of pruning can have such a point as a root, so nothing is deleted within 7 days after it was given up: a
backup may be about to commit a point that rests on it (docs/prune-design.md). The time in the row must be that of
the record: each has a deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from catalog.access.session import Session
from catalog.errors import Damaged, MissingData, NewerFormat, NotFound, RpdriveError, UsageError
from catalog.format.ledger import GoneRow, How
from catalog.format.records import Machine, Point, PointName
from catalog.format.sealed import Kind
from catalog.ledger.chosen import Group, read_groups
from catalog.ledger.forgetting import check_held, newest_number, vanished
from catalog.ledger.listed import Key, Listed, list_points
from catalog.ledger.records import Ledger
from catalog.ledger.request import MOST_REASON, Forgetting
from catalog.machines.registry import machine_names
from catalog.points.opening import named_by_id, scope
from catalog.points.seen import Seen
from catalog.retention.slots import DAY
from catalog.screen.output import print_json, say
from catalog.screen.text import counted, iso_time
from catalog.signing import signing_key
from catalog.store.deadline import Deadline
from catalog.store.reading import time_to_read
from catalog.vault import Vault

IN_TIME = 3600.0  # s from the time in a row until no attempt begins to store it
_COPY = "bring them back from a copy of the vault, or confirm with --yes"


def accept_missing(session: Session, vault: Vault, request: Forgetting, *, as_json: bool) -> None:
    """Accept that points vanished. Raises NotFound, UsageError, Locked, Damaged and StoreError."""
    ids = scope(vault, request.choice.machine, request.choice.item)
    listed = list_points(vault, *ids)
    seen = Seen(session.settings.state_to_read, vault).highest()
    gaps = vanished(vault, listed, {key: n for key, n in seen.items() if _is_within(key, ids)})
    count = sum(last - first + 1 for some in gaps.values() for first, last in some)
    if not gaps:
        raise NotFound("no recovery point is missing here", "`rpdrive points` names those that vanished")
    if not request.yes and not request.dry_run:
        raise UsageError(f"{counted(count, 'recovery point')} vanished, and would be given up", _COPY)
    if not request.dry_run:
        groups = read_groups(listed, (), gaps)
        _write(vault, listed, groups, lambda group, ledger, now: ledger.accept(gaps[group.key], now))
    rows = [
        {"machine_id": machine.hex(), "item_id": item.hex(), "first": first, "last": last}
        for (machine, item), some in gaps.items()
        for first, last in some
    ]
    if as_json:
        print_json({"vault": session.address, "accepted": rows, "dry_run": request.dry_run})
        return
    machines = vault.machines()
    for key, some in gaps.items():
        which = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in some)
        said = "Would accept" if request.dry_run else "Accepted"
        say(f"{said} that points {which} of {item_text(vault, machines, key)} are missing")


def give_up_damaged(session: Session, vault: Vault, request: Forgetting, *, as_json: bool) -> None:
    """Give up points whose own record does not open. Raises as `accept_missing`."""
    listed = list_points(vault, *scope(vault, request.choice.machine, request.choice.item))
    seen = Seen(session.settings.state_to_read, vault).highest()
    damaged = _damaged(vault, listed, request)
    groups = read_groups(listed, damaged)
    now = time_to_read(vault.store) if request.dry_run else vault.store.now()
    for group in groups:
        check_held(group, now)
        _check_numbers(vault, listed, group, seen)
    if vault.file.immutable is not None:
        _check_age(listed, damaged, vault.file.immutable.days, now)
    if not request.yes and not request.dry_run:
        raise UsageError(f"{counted(len(damaged), 'damaged recovery point')} would be given up for good", _COPY)

    def give_up(group: Group, ledger: Ledger, now: int) -> Ledger:
        why = {n.id: (request.reason or str(damaged[n]))[:MOST_REASON] for n in group.names}
        return ledger.give_up(GoneRow(n.id, n.sequence, now, How.DAMAGED, why[n.id]) for n in group.names)

    if not request.dry_run:
        _write(vault, listed, groups, give_up)
    if as_json:
        print_json({"vault": session.address, "given_up": _json(damaged), "dry_run": request.dry_run})
        return
    machines = vault.machines()
    for group in groups:
        said = "Would give up" if request.dry_run else "Gave up"
        which = ", ".join(f"{n.sequence} ({n.id.hex()[:8]})" for n in group.names)
        say(f"{said} {_points(group.names)} {which} of {item_text(vault, machines, group.key)}")
    if not request.dry_run:
        say("The next run of `rpdrive prune` goes on; it deletes no data of theirs within 7 days")


def _points(names: Sequence[PointName]) -> str:
    return "point" if len(names) == 1 else "points"


def _is_within(key: Key, ids: tuple[bytes | None, bytes | None]) -> bool:
    return ids[0] in (None, key[0]) and ids[1] in (None, key[1])


def _damaged(vault: Vault, listed: Listed, request: Forgetting) -> dict[PointName, RpdriveError]:
    """The points that are meant, and why each does not open. Reads them as the store has them now."""
    if request.choice.every:
        names = [name for name in listed.stored if not listed.is_gone(name)]
    else:
        names = [_named(listed, spec) for spec in dict.fromkeys(request.choice.specs)]
    found: dict[PointName, RpdriveError] = {}
    stored = Vault(vault.store, vault.keys, vault.file)  # without the cache, which may have the last good copy
    records = stored.read_each(Kind.POINT, Point, names, _without_problems)
    for name, record in zip(names, records, strict=True):
        if isinstance(record, Damaged) and not isinstance(record, MissingData):
            found[name] = record
        elif not request.choice.every:
            raise _not_damaged(name, record)
    if not found:
        raise NotFound("no recovery point here has a damaged record", "`rpdrive check` names those that do")
    return found


def _without_problems(point: Point) -> Point:
    return replace(point, problems=[])


def _named(listed: Listed, spec: str) -> PointName:
    name = named_by_id(listed, spec)
    if name is None:
        raise NotFound(
            f"there is no recovery point with the id {spec[:50]}", "name damaged points by their ids, as prune does"
        )
    return name


def _not_damaged(name: PointName, record: Point | RpdriveError) -> UsageError:
    which = f"the recovery point {name.id.hex()[:8]}"
    if isinstance(record, Point):
        return UsageError(f"{which} is not damaged: its record opens", "forget it without --damaged")
    if isinstance(record, NewerFormat):
        return UsageError(f"{which} is not damaged: {record}", "use a newer version of rpdrive")
    return UsageError(f"{which} is not known to be damaged: {record}", "run `rpdrive check`")


def _check_numbers(vault: Vault, listed: Listed, group: Group, seen: Mapping[Key, int]) -> None:
    """Raise UsageError if a number is not the next one: whoever may create objects can give one any number.

    What the ledger says of a number is believed; a number far above all others would make a gap of those between.
    """
    highest = max(newest_number(vault, listed.stored.of(group.key)), seen.get(group.key, 0), group.ledger.highest)
    for name in group.names:
        if name.sequence > highest + 1:
            raise UsageError(
                f"{name.id.hex()[:8]} has the number {name.sequence}, and no point that opens has one near it",
                f"delete the object {name} from the store: prune then goes on",
            )
        highest = max(highest, name.sequence)


def _check_age(listed: Listed, names: Mapping[PointName, object], days: int, now: int) -> None:
    """In an immutable vault no point is given up before it is so old: the store may have another version of it."""
    for name in names:
        if now - listed.stored[name] < days * DAY:
            raise UsageError(
                f"this vault is immutable, and {name.id.hex()[:8]} was stored less than {days} days ago",
                "bring back an earlier version of its object, which the store may have kept",
            )


def _write(
    vault: Vault, listed: Listed, groups: Sequence[Group], change: Callable[[Group, Ledger, int], Ledger]
) -> None:
    """Write the ledger of each group, soon after the time that it says."""
    signer = signing_key(vault)
    for group in groups:
        until, now = Deadline.after(IN_TIME), vault.store.now()

        def changed(ledger: Ledger, group: Group = group, now: int = now) -> Ledger:
            return change(group, ledger, now)

        listed.ledgers.change(*group.key, changed, signer, now, until=until)


def _json(damaged: Mapping[PointName, RpdriveError]) -> list[dict[str, Any]]:
    return [
        {
            "id": n.id.hex(), "sequence": n.sequence, "time": iso_time(n.time), "machine_id": n.machine.hex(),
            "item_id": n.item.hex(), "reason": str(error),
        }
        for n, error in damaged.items()
    ]  # fmt: skip


def item_text(vault: Vault, machines: Mapping[bytes, Machine], key: Key) -> str:
    """An item, for people."""
    machine, item = key
    record = vault.items(machine).get(item)
    name = record.name if record is not None else item.hex()[:8]
    return f"{name} of {machine_names(machines).get(machine, machine.hex()[:8])}"
