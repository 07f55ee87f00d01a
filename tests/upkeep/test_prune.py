"""Pruning on a store whose clock the test moves: what goes, when, and that nothing else does."""

from __future__ import annotations

from itertools import count

from catalog.format.records import PointName
from catalog.store.wrapper import Request
from tests.kit.faults import StopAtStore, Stopped
from tests.kit.pruning import World, random_edits


def test_nothing_goes_that_a_point_needs() -> None:
    world = World()
    names = random_edits(world, 12)
    world.check()
    world.settle(3)
    world.check()
    world.forget(*names[::2])
    world.settle()
    world.check()
    left = {PointName.parse(name) for name in world.objects("points/")}
    assert left == set(names[1::2])


def full_life() -> World:
    """A world in which a run merges, one cuts, one hides, one lets points go and one deletes."""
    world = World()
    names = random_edits(world, 4)
    world.forget(*names[1:3], days=8)
    return world


class Noting(StopAtStore):
    """Knows what the last request was."""

    last = ""

    def _number(self, request: Request) -> int:
        number = super()._number(request)
        if number:
            self.last = f"{request.kind} {request.name.partition('/')[0]}"
        return number


CHANGES = ("create", "compose", "delete")


def test_a_run_may_stop_at_each_request_that_changes_anything() -> None:
    reached: set[str] = set()
    world = full_life()
    for _week in range(6):
        start = world.saved()
        for after in (False, True):
            for at in count(1):
                world.restore(start)
                stop = Noting(world.meter, at, after=after, kinds=CHANGES)
                try:
                    world.prune(world.opened(stop), yes=True)
                    break
                except Stopped:
                    pass
                world.check()
                world.prune(yes=True)
                world.check()
                reached.add(stop.last)
                world.settle(5)
                world.check()
                assert len(world.objects("packs/")) == len(world.objects("meta/")) == 1
                assert len(world.objects("points/")) == 2
        world.restore(start)
        world.prune(yes=True)
        world.later(7.1)
    folders = {"create places", "create ledger", "compose packs", "compose meta"}
    assert reached == folders | {"delete packs", "delete meta", "delete points"}
