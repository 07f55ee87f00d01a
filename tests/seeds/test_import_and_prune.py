"""Prune beside an import, with its clock moved on: nothing that has arrived goes before the points come."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from catalog.prune import job
from catalog.prune.job import Request
from catalog.prune.run import Context
from catalog.screen.phases import NoFollower
from tests.kit.pruning import DAY
from tests.kit.seeding import Seed, WatchedStore

STEP = 7.1  # days: what one run of prune hides, one so much later deletes


def pruner(seed: Seed, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """Prunes the vault as the command does that an admin runs, at the time of the test's clock."""
    monkeypatch.setattr(job, "Context", partial(Context, clock=lambda: seed.world.now))
    session = seed.session()

    def prune() -> None:
        results = job.prune(session, seed.world.opened(), Request(), NoFollower())
        assert [result.error for result in results] == [None]

    return prune


def test_prune_at_each_call_of_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each object arrives a week after the one before, and prune runs before and after each."""
    seed = Seed(tmp_path, 3, expires=360)
    prune = pruner(seed, monkeypatch)

    def look() -> None:
        seed.world.later(STEP / 2)
        prune()
        assert not seed.seen() or not seed.lost()

    assert seed.run(*seed.disks, store=WatchedStore(seed.memory, look)).is_whole
    assert seed.world.now < seed.expires
    assert {n: seed.memory.objects.get(n) for n in seed.carried} == seed.carried
    assert len(seed.seen()) == 2
    for _ in range(6):
        seed.world.later(STEP)
        prune()
    assert len(seed.seen()) == 2
    seed.world.check()


def test_prune_between_disks_that_come_weeks_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = Seed(tmp_path, 3, expires=360)
    prune = pruner(seed, monkeypatch)
    for disk in (2, 0, 1, 2):
        seed.run(seed.disks[disk])
        for _ in range(3):
            seed.world.later(STEP)
            prune()
    assert {n: seed.memory.objects.get(n) for n in seed.carried} == seed.carried
    for _ in range(6):
        seed.world.later(STEP)
        prune()
    assert len(seed.seen()) == 2


def test_prune_frees_what_never_got_a_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the seed has expired, what arrived of it is what nobody needs. Later imports are refused."""
    seed = Seed(tmp_path, 3, expires=30)
    prune = pruner(seed, monkeypatch)
    seed.run(seed.disks[0])
    arrived = [name for name in seed.carried if name in seed.memory.objects]
    seed.world.now = seed.expires + DAY
    for _ in range(6):
        seed.world.later(STEP)
        prune()
    left = [name for name in arrived if name in seed.memory.objects and not name.startswith("index/")]
    assert arrived and not left


def test_the_world_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points of the machine beside the seed keep all they need, and prune goes on once the seed has ended."""
    seed = Seed(tmp_path, 2, expires=360)
    prune = pruner(seed, monkeypatch)
    seed.run(*seed.disks)
    seed.world.backup(1, publish=True)
    for name in list(seed.world.points)[:2]:
        seed.world.forget(name)
    for _ in range(6):
        seed.world.later(STEP)
        prune()
    assert len(seed.seen()) == 1
    seed.world.check()
