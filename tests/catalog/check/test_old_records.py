"""Pruning removes records of checks that newer ones stand for."""

from __future__ import annotations

from catalog.check.records import News, add, newest
from catalog.format.checks import checks_folder
from catalog.prune.plan import Limits
from catalog.prune.tidying import CHECKS
from tests.kit.pruning import World
from tests.kit.vaultmaker import MACHINE


def test_old_records_of_checks_go_and_the_newest_stay() -> None:
    world = World()
    world.backup(0)
    folder = checks_folder(MACHINE)
    record = add(world.vault, MACHINE, MACHINE, 1, News())
    (name,) = world.objects(folder)
    for number in range(2, CHECKS + 11):
        world.store.create(f"{folder}{number:08d}", [b"a record that does not open"])
    world.prune(limits=Limits())
    assert len(world.objects(folder)) == CHECKS + 10  # all of them are young
    world.later(31)
    young = add(world.vault, MACHINE, MACHINE, 2, News())
    world.prune(limits=Limits())
    assert len(world.objects(folder)) == CHECKS
    assert name not in world.objects(folder)
    assert newest(world.vault, MACHINE) == young
    assert young.number > record.number
