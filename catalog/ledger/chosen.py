"""The points that a command about ledgers means, by item."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from catalog.errors import NotFound
from catalog.format.records import PointName
from catalog.ledger.listed import Key, Listed
from catalog.ledger.records import Ledger
from catalog.ledger.request import Choice
from catalog.points.choice import by_id, with_id
from catalog.points.opening import named_by_id, open_point
from catalog.vault import Vault


class Group(NamedTuple):
    """Points of an item, by number, and its ledger."""

    key: Key
    names: list[PointName]
    ledger: Ledger


def choose(vault: Vault, listed: Listed, choice: Choice) -> list[PointName]:
    """The points that are meant; forgotten ones only by their ids. Raises NotFound and AmbiguousName.

    A point that is named by its id need not open: a damaged one can be forgotten, too.
    """
    if choice.every:
        found = listed.visible()
        if not found:
            raise NotFound("there are no recovery points here", "see `rpdrive points --deleted` for forgotten ones")
        return found
    chosen: dict[PointName, None] = {}
    for spec in choice.specs:
        name = named_by_id(listed, spec)
        chosen[name if name is not None else PointName.of(open_point(vault, listed, spec))] = None
    return list(chosen)


def choose_forgotten(listed: Listed, choice: Choice) -> list[PointName]:
    """The same, among points that were forgotten and are still there."""
    forgotten = [name for name in listed.stored if listed.forgotten(name) is not None]
    if choice.every:
        if not forgotten:
            raise NotFound("no recovery point here is forgotten and still there", "see `rpdrive points --deleted`")
        return forgotten
    chosen: dict[PointName, None] = {}
    for spec in choice.specs:
        name = by_id(forgotten, spec)
        if name is None:
            raise _not_forgotten(listed, spec)
        chosen[name] = None
    return list(chosen)


def _not_forgotten(listed: Listed, spec: str) -> NotFound:
    if any(not listed.is_hidden(name) for name in with_id(listed.stored, spec)):
        return NotFound(f"the recovery point {spec} is not forgotten", "`rpdrive points` lists it")
    return NotFound(
        f"there is no forgotten recovery point {spec} that could be brought back",
        "`rpdrive points --deleted` lists those that can, by their ids",
    )


def read_groups(listed: Listed, names: Iterable[PointName], keys: Iterable[Key] = ()) -> list[Group]:
    """Points by item, and items `keys` without points. Raises Damaged if a ledger can't be read."""
    found: dict[Key, list[PointName]] = {key: [] for key in keys}
    for name in names:
        found.setdefault((name.machine, name.item), []).append(name)
    return [
        Group(key, sorted(some, key=lambda n: (n.sequence, n.time, n.id)), listed.readable(*key))
        for key, some in sorted(found.items())
    ]
