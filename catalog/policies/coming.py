"""What policies would remove, now and in the days to come, of each item."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from catalog.errors import RpdriveError
from catalog.format.records import Point
from catalog.points.health import Health
from catalog.points.opening import chosen, listed_points, read_points
from catalog.points.why import facts, holds_of
from catalog.policies.records import Policies
from catalog.policies.setting import Fields, changed
from catalog.retention.forecast import Going, forecast
from catalog.retention.policy import Level
from catalog.vault import Vault


class Coming(NamedTuple):
    """What would go of an item: by day, and how many points are left in the end.

    `point` is its newest point, and `by_id` has all.
    """

    point: Point
    by_id: Mapping[bytes, Point]
    going: Sequence[Going]
    left: int


def levels_of(vault: Vault, policies: Policies, machine: str | None, item: str | None) -> list[Level]:
    """The levels that count for the vault, a machine or an item, the nearest first. Raises NotFound."""
    a_machine, an_item = chosen(vault, machine, item)
    levels = [policies.of_vault()]
    if an_item is not None and a_machine is None:
        found = vault.machine(an_item.machine)
        name = found[1].name if found else an_item.machine.hex()[:8]
        levels.insert(0, policies.level("machine", name, an_item.machine))
    elif a_machine is not None:
        levels.insert(0, policies.level("machine", a_machine.name, a_machine.id))
    if an_item is not None:
        levels.insert(0, policies.level("item", an_item.name, an_item.id))
    return levels


def coming(
    vault: Vault, machine: str | None, item: str | None, fields: Fields, days: int
) -> tuple[list[Coming], list[RpdriveError]]:
    """What would go of each item in so many days if backups go on daily, and the errors of bad records.

    `fields` are tried as the nearest level's, and not written. Raises NotFound and StoreError.
    """
    policies, now = Policies(vault), time.time_ns()
    if fields:
        policies.suppose(changed(levels_of(vault, policies, machine, item)[0], fields))
    listed = listed_points(vault, machine, item)
    points, damaged = read_points(vault, listed.visible())
    health = Health.of(vault, {p.machine for p in points}, vault.machines())
    by_id: dict[bytes, Point] = {p.id: p for p in points}
    found = []
    for (of_machine, of_item), some in facts(points, listed.stored, health).items():
        policy = policies.policy(of_machine, of_item)
        holds = holds_of(listed.ledger(of_machine, of_item))
        going, left = forecast(some, policy, holds, now, days)
        found.append(Coming(by_id[some[-1].id], {p.id: by_id[p.id] for p in some}, going, left))
    return found, vault.passed_over.lost("policies/") + damaged
