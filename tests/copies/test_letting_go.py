"""What a copy lets go once its source has, what stays, and what a source that was wiped takes: nothing."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from pathlib import Path

import pytest

from catalog.copies.letting_go import _covered
from catalog.copies.listing import copied_json, copied_lines
from catalog.places import Run
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from tests.kit.copying import TARGET, Pair, lose, requests
from tests.kit.faults import (
    RefusingStore,
    spoilt,
)
from tests.kit.pruning import random_edits
from tests.kit.vaultmaker import MACHINE


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_the_copy_follows_a_source_that_is_pruned(pair: Pair) -> None:
    """Whatever upkeep does at the source, the copy's points stay whole, and it ends up as the source is."""
    world = pair.world
    names = random_edits(world, 6)
    pair.copy()
    world.forget(*names[:4])
    let_go = Counter[str]()
    for _week in range(8):
        world.later(7.1)
        world.prune(yes=True)
        dry = pair.copy(dry=True)
        before = dict(pair.memory.objects)
        found = pair.copy()
        assert found.gone is not None and dry.gone is not None
        assert (dry.gone, dry.done.by_kind) == (found.gone, found.done.by_kind)  # the dry run was exact
        assert sum(c.objects for c in found.gone.by_kind.values()) == len(
            before.keys() - pair.memory.objects.keys()
        )
        let_go.update({kind: count.objects for kind, count in found.gone.by_kind.items()})
        assert not found.has_problems
        pair.check()
    assert let_go["points"] == 4 and let_go["packs"] and let_go["meta"]
    assert pair.check() == names[4:]
    world.later(8)
    pair.copy()
    pair.check_equal()


def test_nothing_goes_within_a_week_and_not_without_follow(pair: Pair) -> None:
    world = pair.world
    names = random_edits(world, 3)
    pair.copy()
    world.forget(names[0])
    world.later(1)
    world.prune(yes=True)
    assert str(names[0]) not in world.memory.objects
    pair.copy()
    world.later(6.9)
    pair.copy()
    assert str(names[0]) in pair.memory.objects and names[0] not in pair.check()  # the ledger hides it
    world.later(0.2)
    pair.copy(follow=False)
    assert str(names[0]) in pair.memory.objects
    for path in pair.state.glob("copy-*"):
        path.unlink() if path.is_file() else shutil.rmtree(path)
    pair.copy()  # what this machine knew is lost: the time begins anew
    assert str(names[0]) in pair.memory.objects
    world.later(7.1)
    pair.copy()
    assert str(names[0]) not in pair.memory.objects


def test_a_mark_is_made_only_if_something_is_due(pair: Pair) -> None:
    world = pair.world
    names = random_edits(world, 3)
    pair.copy()
    world.forget(names[0])
    for days in (1, 7.1, 7.1):
        world.later(days)
        world.prune(yes=True)
    pair.copy()
    target = MeteredStore(pair.target, log=True)
    world.later(1)
    pair.copy(target=target)
    assert requests(target) == {"list": 1, "get": 1}
    world.later(7)
    pair.copy(target=target)
    assert requests(target)["read"] and requests(target)["delete"]


@pytest.mark.parametrize("also", ["", "packs/", "points/", "index/", "machines/"])
def test_a_source_that_was_wiped_takes_nothing(pair: Pair, also: str) -> None:
    """With all of it but vault.json, or all objects of one kind."""
    world = pair.world
    world.backup(1, publish=True)
    names = [next(iter(world.points)), *random_edits(world, 3)]
    world.prune()
    pair.copy()
    before = dict(pair.memory.objects)
    keep = () if also == "" else tuple(name for name in world.memory.objects if not name.startswith(also))
    lose(world.memory, [n for n in world.memory.objects if n not in keep and not n.startswith("vault")])
    for _run in range(3):
        world.later(8)
        found = pair.copy()
    assert pair.memory.objects.items() >= before.items() or also == "index/"
    assert pair.check() == names
    assert found.gone is not None
    if also in ("", "points/"):
        assert found.done.unexplained_count == len(names) and found.has_problems
    if also == "packs/":
        assert found.gone.needed and found.has_problems


def test_records_of_places_of_a_source_that_lost_points_stay_out(pair: Pair) -> None:
    """Upkeep that doesn't know of the newest point, as somebody deleted it, cuts what only that one needs."""
    world = pair.world
    random_edits(world, 3)
    newest = world.backup(0, 1, 2, 3, 4, 5)
    pair.copy()
    lose(world.memory, [str(newest)])
    del world.points[newest]
    world.sequence -= 1
    for _week in range(4):
        world.later(7.1)
        world.prune(yes=True)
    later = world.backup(3)
    world.points[newest] = pair.world.read(newest, pair.opened())
    found = pair.copy()
    assert found.done.held_places and found.has_problems and found.done.unexplained == [newest]
    assert newest in pair.check() and later not in pair.visible()


def test_partial_points_that_a_whole_one_replaced(pair: Pair) -> None:
    world = pair.world
    world.backup(1)
    partial = world.backup(2, partial=True)
    whole = world.backup(3)
    pair.copy()
    lose(world.memory, [str(partial)])
    found = pair.copy()
    assert not found.has_problems
    world.later(7.1)
    found = pair.copy()
    assert found.gone is not None and found.gone.by_kind["points"].objects == 1
    assert str(partial) not in pair.memory.objects and pair.check()[-1] == whole


def test_jobs_and_what_no_record_explains(pair: Pair) -> None:
    world = pair.world
    world.backup(1)
    old = f"jobs/{MACHINE.hex()}/20200101T000000Z-{bytes(16).hex()}"
    new = f"jobs/{MACHINE.hex()}/20260901T000000Z-{bytes(16).hex()}"
    for name in (old, old + ".started", new, "policies/junk"):
        world.store.create(name, [b"x"])
    pair.copy()
    lose(world.memory, [old, old + ".started", new, "policies/junk"])
    pair.copy()
    world.later(7.1)
    found = pair.copy()
    assert found.gone is not None
    assert found.gone.stays == {"jobs": 1, "policies": 1} and not found.has_problems
    assert {old, old + ".started"}.isdisjoint(pair.memory.objects) and new in pair.memory.objects


def test_a_store_that_refuses_to_delete_and_time_that_is_over(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    world = pair.world
    names = random_edits(world, 3)
    pair.copy()
    world.forget(names[0])
    world.later(1)
    world.prune(yes=True)
    pair.copy()
    world.later(7.1)
    found = pair.copy(target=RefusingStore(pair.target, {"delete"}))
    assert found.gone is not None and found.gone.refused == 1 and found.has_problems
    monkeypatch.setattr("catalog.prune.deleting.steady", lambda: math.inf)
    found = pair.copy(seconds=3600.0)
    assert found.is_stopped and copied_json(found, "")["stopped"] and not found.has_problems
    assert copied_lines(found)[-1].startswith("The time allowed is over")
    monkeypatch.undo()
    found = pair.copy(seconds=3600.0)
    assert found.gone is not None and not found.gone.refused and not found.has_problems and not found.is_stopped


def test_blocks_that_no_run_holds_keep_their_pack() -> None:
    runs = (Run(8, 100, bytes(16), 8), Run(100, 200, bytes(16), 300), Run(250, 300, bytes(16), 8))
    assert _covered([(8, 50), (60, 200), (250, 300)], runs)
    for span in ((0, 8), (7, 20), (190, 210), (200, 250), (240, 260), (299, 301)):
        assert not _covered([(8, 50), span], runs)


def test_old_records_go_once_a_newer_one_is_there(pair: Pair) -> None:
    """At the source, records of places and ledgers are kept for 90 days, the newest three for ever."""
    world = pair.world
    names = random_edits(world, 7)
    for name in names[:6]:
        world.forget(name)
        world.later(8)
        world.prune(yes=True)
        pair.copy()
    world.later(91)
    world.forget(names[6], days=14)
    world.prune(yes=True)
    pair.copy()
    world.later(7.1)
    target = MeteredStore(pair.target, log=True)
    found = pair.copy(target=target)
    assert found.gone is not None
    assert min(found.gone.by_kind[kind].objects for kind in ("places", "ledger")) > 2
    assert requests(target)["list"] == 7  # and not one for each of them
    pair.check()


def test_a_source_that_was_put_back_as_it_was(pair: Pair) -> None:
    """It goes on with other records of the same names, maybe of the same size: the copy's are compared once."""
    world = pair.world
    names = random_edits(world, 4)
    pair.copy()
    before = world.saved()
    world.forget(names[0])
    world.later(1)
    assert pair.copy().is_clean
    ledger = next(name for name in pair.memory.objects if name.startswith("ledger/"))
    now = world.now
    world.restore(before)
    world.now = now + 10**10
    world.forget(names[1])
    world.later(1)
    world.backup(1)
    found = pair.copy()
    assert [one.name for one in found.done.outcome.conflicts] == [ledger]
    assert found.has_problems and found.done.held_points == 1
    pair.memory.delete(ledger)  # as docs/copies.md says
    assert pair.copy().is_clean
    assert [name.sequence for name in pair.check()] == [1, 3, 4, 5]


def test_records_that_look_younger_than_their_copies_are_compared_once(pair: Pair) -> None:
    """A vault whose files were copied has young ones."""
    world = pair.world
    names = random_edits(world, 4)
    world.forget(names[0])
    pair.copy()
    world.later(1)
    world.memory._modified = dict.fromkeys(world.memory._modified, world.now)
    for compared in (True, False):
        source = MeteredStore(world.store, log=True)
        assert pair.copy(source).is_clean
        assert bool(requests(source)["get"] + requests(source)["read"]) is compared
    other = MemoryStore(TARGET, clock=lambda: world.now - 10**10)
    ledger = next(name for name in pair.memory.objects if name.startswith("ledger/"))
    for name, data in pair.memory.objects.items():
        other.create(name, [spoilt(data) if name == ledger else data])
    found = pair.copy(target=other)  # two disks take turns
    assert [one.name for one in found.done.outcome.conflicts] == [ledger]
