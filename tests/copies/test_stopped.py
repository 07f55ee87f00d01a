"""A run of copying that is stopped at any call, to the source or to the copy, before it or after its effect.

At that moment the copy opens, and what it shows can be read; the next run goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.copying import Pair
from tests.kit.faults import StopAtStore, Stopped
from tests.kit.pruning import random_edits


def first(pair: Pair) -> None:
    """Nothing was copied yet; the source has moved blocks and let points go."""
    names = random_edits(pair.world, 4)
    pair.world.forget(names[1])
    pair.world.later(4)
    pair.world.prune(yes=True)


def later(pair: Pair) -> None:
    """The source has new points, has merged and cut packs and let points go; and the copy is to let go, too."""
    world = pair.world
    names = random_edits(world, 4)
    world.prune(yes=True)
    pair.copy()
    world.forget(*names[:2])
    for days in (4, 7.1, 7.1):
        world.later(days)
        world.prune(yes=True)
    pair.copy()
    world.backup(1, publish=True)
    world.later(7.5)
    world.prune(yes=True)
    world.backup(2)
    world.vault.change_file(lambda file: file.changed(soft_delete_days=30))
    assert pair.copy(dry=True).gone


def calls_of(pair: Pair) -> tuple[int, int]:
    """How many calls a run makes to each side."""
    source, target = StopAtStore(pair.world.store, 0), StopAtStore(pair.target, 0)
    pair.copy(source, target)
    return source.seen, target.seen


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("arrange", [first, later])
def test_stopped_at_each_call(tmp_path: Path, arrange: Callable[[Pair], None], after: bool) -> None:
    pair = Pair(tmp_path)
    arrange(pair)
    saved = pair.saved()
    at_source, at_target = calls_of(pair)
    wanted = pair.check()
    assert len(wanted) >= 3
    pair.check_equal_but_for_what_waits()
    whole = pair.objects()
    for side, calls in ((0, at_source), (1, at_target)):
        for n in range(1, calls + 1):
            pair.restore(saved)
            stores = [pair.world.store, pair.target]
            stopping = stores[side] = StopAtStore(stores[side], n, after=after)
            try:
                pair.copy(*stores)
            except Stopped:
                pair.check()
            else:
                assert not stopping.stopped
            pair.copy()
            assert pair.check() == wanted
            assert pair.objects().keys() == whole.keys()
