"""Histories that went wrong once, or that the design names, with real backups and upkeep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.upkeep.vaultlife import HOUR, LAZY, WEEK, Life


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
