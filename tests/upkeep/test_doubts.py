"""The newest word on points was lost, or does not open: nothing goes by the word before it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from catalog.errors import Damaged
from catalog.format.ledger import HeldRow, ledger_folder
from catalog.format.places import places_folder
from catalog.format.records import PointName
from catalog.format.sealed import Kind, seal_object
from catalog.ledger.records import Ledgers
from catalog.ledger.state import Ledger
from catalog.prune.run import Refused
from catalog.signing import signing_key
from tests.kit.faults import BadDiskStore
from tests.kit.pruning import ITEM, World

LEDGERS = ledger_folder(World().machine, ITEM)


def change(world: World, what: Callable[[Ledger], Ledger], *, despite: bool = False) -> None:
    Ledgers(world.vault, world.machine).change(
        world.machine, ITEM, what, signing_key(world.vault), world.now, despite=despite
    )


def brought_back(world: World) -> PointName:
    """A point that was forgotten, and brought back by the newest ledger."""
    name = world.backup(1)
    world.backup(2)
    world.prune()
    world.forget(name)
    change(world, lambda ledger: ledger.undelete([name.id]))
    world.prune()
    return name


def newest(world: World, folder: str) -> str:
    return max(name for name in world.objects(folder))


@pytest.mark.parametrize("garbage", [b"", b"garbage" * 20, None])
def test_a_point_stays_whose_undelete_was_lost(garbage: bytes | None) -> None:
    world = World()
    name = brought_back(world)
    lost = newest(world, LEDGERS)
    if garbage is None:
        world.store.delete(lost)
    else:
        world.memory.objects[lost] = garbage
    for _run in range(2):
        world.later(8)
        with pytest.raises(Refused, match=lost) as refused:
            world.prune()
        assert "--yes" in str(refused.value.advice)
    assert str(name) in world.objects("points/")
    assert world.prune(yes=True).points == 1, "a person has confirmed it"
    world.later(1)
    world.prune() if garbage is None else None
    world.check()


@pytest.mark.parametrize("folder", ["ledger/", "places/"])
def test_a_record_on_a_bad_sector_is_not_taken_for_an_absent_one(folder: str) -> None:
    world = World()
    name = brought_back(world)
    lost = newest(world, folder)
    for _run in range(2):
        world.later(8)
        before = set(world.objects(""))
        with pytest.raises((Refused, Damaged), match=lost):
            world.prune(world.opened(BadDiskStore(world.meter, lost)))
        assert before == set(world.objects(""))
    assert str(name) in world.objects("points/")
    world.prune()
    world.check()


def test_nothing_is_written_above_a_ledger_that_does_not_open() -> None:
    world = World()
    name = brought_back(world)
    change(world, lambda ledger: ledger.hold([HeldRow(name.id, name.sequence, world.now, None, "kept", "me")]))
    lost = newest(world, LEDGERS)
    world.memory.objects[lost] = b"garbage"
    with pytest.raises(Damaged, match=lost):
        world.forget(name)
    assert newest(world, LEDGERS) == lost


def test_what_opens_and_nobody_signed_is_junk() -> None:
    world = World()
    brought_back(world)
    junk = LEDGERS + "00000099"
    world.store.create(junk, [seal_object(world.vault.keys, Kind.LEDGER, junk, b"\x93\xc4\x00\xc4\x08" + bytes(8) +
                                          b"\xc4\x40" + bytes(64))])  # fmt: skip
    world.prune()


def test_a_record_of_places_that_was_lost() -> None:
    world = World()
    first = world.backup(1, 2)
    world.backup(1)
    world.forget(first)
    world.prune()
    world.later(8)
    world.prune()
    lost = newest(world, places_folder(world.machine[:4]))
    kept = world.memory.objects.pop(lost)
    world.later(8)
    with pytest.raises(Refused, match="was there, and vanished"):
        world.prune()
    world.memory.objects[lost] = kept
    world.prune()
    world.check()
