"""Policies and plans in words, and what is due next."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.format.plan import Care, PlanRecord
from catalog.format.retention import Retention, RetentionRule
from catalog.plans.effective import Level, Plan
from catalog.plans.records import add_plan
from catalog.policies.records import Policies, add_retention
from catalog.retention.policy import Policy
from mount.browse.resources.health import health
from mount.browse.resources.policies import does, keeps, policies
from tests.browse.know.worlds import DAY, PATIENCE, World


def test_in_words(tmp_path: Path) -> None:
    world = World(tmp_path)
    key, bare = world.add("srv01"), world.add("srv02", "data")
    world.plan(key[1], 21 * 60, 13 * 60)
    care = PlanRecord(id=key[0], number=0, written=world.now, prune=Care(every=24))
    add_plan(world.vault, Level("machine", "srv01", key[0]), care)
    rules = Retention(
        id=world.vault.id, number=0, written=world.now, zone="UTC", daily=RetentionRule(keep=14),
        weekly=RetentionRule(keep=8), last=3, erase_after=400,
    )  # fmt: skip
    add_retention(world.vault, Policies(world.vault).of_vault(), rules, {})
    world.point(key, "srv01")
    world.now += DAY
    opened = world.opened()
    health(opened, wait=PATIENCE)
    page = policies(opened, clock=lambda: world.now)
    assert [row.item_name for row in page.items] == ["home", "data"] and page.damaged == []
    home, data = page.items
    assert home.does == "Backs up /home at 13:00, 21:00 (UTC)."
    assert home.keeps == (
        "One point for each of 14 days, 8 weeks on monday is kept. The last 3 points are kept in any case. "
        "A point goes after 400 days at the latest."
    )
    whats = [row.what for row in home.next]
    assert whats.count("backup") == 3 and "prune of the machine" in whats
    assert [row.when for row in home.next] == sorted(row.when for row in home.next)
    assert {line.field: line.level for line in home.plan}["schedule"] == "item home"
    assert {line.field: line.value for line in home.policy}["daily"] == "14 days"
    assert data.does == "Nothing is backed up by itself: no plan says when." and data.next == []
    assert (
        policies(opened, text="DATA").shown == 1 and policies(opened, start=1, count=1).items[0].item_name == "data"
    )
    assert bare[0].hex() == data.machine


def test_requests(tmp_path: Path) -> None:
    world = World(tmp_path)
    for n in range(5):
        world.plan(world.add(f"m{n}")[1], 60)
    opened = world.opened()
    health(opened, wait=PATIENCE)

    def cost() -> int:
        before = world.remote.requests
        assert len(policies(opened, count=3, clock=lambda: world.now).items) == 3
        return world.remote.requests - before

    assert cost() == 4 + 3, "listings: machines, items, policies, plans; and the plan of each item that is shown"
    assert cost() == 0


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Policy(), "Every point is kept, as no policy says how long."),
        (
            Policy(immutable=30),
            "Every point is kept, as no policy says how long. The vault keeps every point for 30 days in any case.",
        ),
        (Policy(unknown=("x",)), "Nothing is removed: this rpdrive does not know x."),
    ],
)  # fmt: skip
def test_policies_that_keep_all(policy: Policy, text: str) -> None:
    assert keeps(policy) == text


def test_a_plan_of_many_paths() -> None:
    from catalog.format.plan import Schedule

    paths = tuple(f"/srv/{n}".encode() for n in range(9))
    plan = Plan(paths=paths, schedule=Schedule(every=240), origins={"paths": "item x", "schedule": "item x"})
    assert does(plan) == "Backs up /srv/0, /srv/1, /srv/2, /srv/3, /srv/4 and 4 more every 4h."
