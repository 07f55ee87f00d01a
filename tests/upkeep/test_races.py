"""Histories that went wrong once, or that the design names, with real backups and upkeep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from tests.upkeep.vaultlife import EAGER, HOUR, LAZY, WEEK, Life

# Where a backup waits: its calls, in their order.
CALLS = [
    ("list", "packs/"), ("list", "meta/"), ("list", "points/"), ("create", "packs/"), ("create", "meta/"),
    ("create", "index/"), ("list", "places/"), ("list", "ledger/"), ("create", "points/"),
]  # fmt: skip


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    life = Life(tmp_path, monkeypatch)
    yield life
    for actor in [*life.busy]:
        life.kill(actor, after=False)


def test_a_number_is_not_folded_by_a_listing_that_is_older_than_its_point(life: Life) -> None:
    """Two runs of one machine give the same number; one of the points is forgotten at once, and goes.

    The other is stored just after a run of upkeep has listed the points, which then sleeps for a week.
    """
    life.edit(1, 3, 3)
    life.go_to(life.start_backup(1), "create", "points/")
    life.run(life.start_backup(0))
    first = max(life.names(), key=lambda name: name.sequence)
    life.forget(first)
    life.run(life.start_prune(1, LAZY))
    assert first not in life.names()
    life.go_to(life.start_prune(0, LAZY), "list", "packs/")  # it has listed the points
    life.run("writer1")
    second = max(life.names(), key=lambda name: name.sequence)
    assert second.sequence == first.sequence
    life.clock.now += WEEK + HOUR
    life.run("host0")
    life.check()
    life.run(life.start_prune(0, LAZY))
    life.check()


def dead(life: Life) -> None:
    """The only point with a content is gone. The backup takes that from its mirror."""
    life.edit(0, 3, 3)
    life.run(life.start_backup(0))
    life.edit(0, 3, 0)
    life.run(life.start_backup(0))
    life.forget(life.names()[-2])
    life.run(life.start_prune(0, LAZY))
    life.edit(0, 4, 3)


def hidden(life: Life) -> None:
    """The same, and it may go at once."""
    dead(life)
    life.run(life.start_prune(0, LAZY))
    life.clock.now += WEEK + HOUR


def parent(life: Life) -> None:
    """What only the last point has. That is forgotten while the backup runs."""
    life.edit(0, 3, 3)
    life.run(life.start_backup(0))
    life.clock.now += WEEK + HOUR
    life.edit(0, 4, 4)


@pytest.mark.parametrize("scene", [dead, hidden, parent])
def test_upkeep_runs_while_a_backup_waits(
    scene: Callable[[Life], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each kind of call, for an instant or for weeks: what it writes can be read, now and weeks later."""
    reached = set()
    for n, ((kind, prefix), weeks) in enumerate(product(CALLS, (0, 1))):
        life = Life(tmp_path / str(n), monkeypatch)
        scene(life)
        life.go_to(life.start_backup(0), kind, prefix)
        if "writer0" in life.busy:
            reached.add(prefix)
        if scene is parent:
            life.forget(max(life.names(), key=lambda name: name.sequence))
        for _ in range(3):
            life.clock.now += weeks * (WEEK + HOUR)
            life.run(life.start_prune(0, (LAZY, EAGER)[n % 2]))
        life.run("writer0")
        life.check()
        for _ in range(2):
            life.clock.now += WEEK + HOUR
            life.run(life.start_prune(1, LAZY))
            life.check()
    assert reached >= {prefix for _kind, prefix in CALLS} - {"packs/", "index/"}
