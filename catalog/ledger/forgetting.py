"""What stops points from being forgotten by hand, and which of them vanished."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from catalog.errors import UsageError
from catalog.format.records import Point, PointName
from catalog.ledger.brake import looks_encrypted, too_many
from catalog.ledger.chosen import Group
from catalog.ledger.listed import Key, Listed
from catalog.ledger.request import Forgetting
from catalog.points.opening import first_that_opens
from catalog.points.why import holds_of, until_text
from catalog.policies.records import Policies
from catalog.retention.decide import Fact, decide
from catalog.screen.text import local_time
from catalog.vault import Vault


def check_forgetting(vault: Vault, listed: Listed, groups: Sequence[Group], request: Forgetting, now: int) -> None:
    """Raise UsageError if points must not be forgotten, or only if that is confirmed."""
    for group in groups:
        check_held(group, now)
        shown = [n for n in listed.stored.of(group.key) if not group.ledger.is_hidden(n)]
        going = [n for n in group.names if not group.ledger.is_hidden(n)]
        if vault.file.immutable is not None:
            _check_immutable(vault, listed, group, shown, going, now)
        _check_newest(vault, group, shown, going, request)


def check_held(group: Group, now: int) -> None:
    """Raise UsageError if a point is held."""
    for name in group.names:
        row = group.ledger.held.get(name.id)
        if row is not None and group.ledger.is_held(name.id, now):
            until = "" if row.until is None else f" until {local_time(row.until)[:16]}"
            why = f" ({row.reason})" if row.reason else ""
            raise UsageError(
                f"the recovery point {name.id.hex()[:8]} is held{until}{why}", "use `rpdrive release` first"
            )


def _check_newest(
    vault: Vault, group: Group, shown: Collection[PointName], going: Sequence[PointName], request: Forgetting
) -> None:
    """The newest whole point of an item, and more than a quarter of its points, must be confirmed."""
    if not going:
        return
    left = _newest(vault, set(shown) - set(going))
    above = [n for n in going if left is None or _age(n) > _age(PointName.of(left))]
    newest = None if request.newest else _newest(vault, above)
    if newest is not None:
        raise UsageError(
            f"{newest.id.hex()[:8]} is the newest recovery point of {newest.item_name}",
            "if it is meant, add --newest",
        )
    many = too_many(len(going), len(shown), few=1)
    if many is None and len(going) > 1 and left is not None:
        many = looks_encrypted(left)
    if many is not None and not request.yes and not request.dry_run:
        raise UsageError(many, "if that is right, add --yes; --dry-run shows them")


def _newest(vault: Vault, names: Collection[PointName]) -> Point | None:
    """The newest of these points whose record opens."""
    found = first_that_opens(vault, iter(sorted(names, key=_age, reverse=True)))
    return found if isinstance(found, Point) else None


def _age(name: PointName) -> tuple[int, int, bytes]:
    return name.sequence, name.time, name.id


def _check_immutable(
    vault: Vault, listed: Listed, group: Group, shown: Sequence[PointName], going: Sequence[PointName], now: int
) -> None:
    """In an immutable vault, what its days or a policy keep can't be forgotten by hand."""
    policy = Policies(vault).policy(*group.key)
    facts = [Fact(n.id, n.sequence, n.time, listed.stored[n]) for n in shown]
    ids = {name.id for name in going}
    for d in decide(facts, policy, holds_of(group.ledger), now):
        if d.keep and d.point.id in ids:
            until = f" until {until_text(d)}" if d.until is not None else ""
            raise UsageError(
                f"this vault is immutable, and its policy keeps the recovery point {d.point.id.hex()[:8]}{until}",
                "`rpdrive points --why` says why; points that no rule keeps go by themselves",
            )


def newest_number(vault: Vault, names: Collection[PointName]) -> int:
    """The highest number of a point that opens; 0 if none does. The name of another proves no number."""
    newest = _newest(vault, names)
    return newest.sequence if newest is not None else 0


def vanished(vault: Vault, listed: Listed, seen: Mapping[Key, int]) -> dict[Key, list[tuple[int, int]]]:
    """Numbers of points that vanished, by item. `seen` are the highest numbers that this machine saw.

    Of an item of which nothing is listed any more, its ledger or `seen` tell.
    """
    items: dict[Key, list[PointName]] = {key: [] for key in {*seen, *listed.ledgers.keys}}
    for name in listed.stored:
        items.setdefault((name.machine, name.item), []).append(name)
    found = {}
    for key, names in sorted(items.items()):
        ledger = listed.ledgers.of(*key)
        highest = max(ledger.highest, seen.get(key, 0), newest_number(vault, names))
        there = {name.sequence for name in names}
        gaps = ledger.gaps(there, highest, skipped=vault.jumps.skipped(key, there))
        if gaps:
            found[key] = gaps
    return found
