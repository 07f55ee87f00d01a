"""The difference of two stores, from one listing of each."""

from __future__ import annotations

import random

from catalog.store.base import LIST_PAGE
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.transfer.differ import differ


def test_every_name_of_either_store_is_one_row_in_order() -> None:
    drawn = random.Random(15)
    names = [f"packs/{drawn.randrange(10**6)}{end}" for end in ("", "/a", "-b") for _ in range(200)]
    source, target = MemoryStore(), MemoryStore()
    for name in names:
        for store in (source, target):
            if drawn.random() < 0.7:
                store.objects[name] = bytes(drawn.randrange(3))
    rows = list(differ(source, target))
    assert [row.name for row in rows] == sorted(source.objects.keys() | target.objects.keys())
    for row in rows:
        for store, info in ((source, row.source), (target, row.target)):
            assert (None if info is None else info.size) == (
                len(store.objects[row.name]) if row.name in store.objects else None
            )
        held = (source.objects.get(row.name), target.objects.get(row.name))
        assert row.is_same == (held[0] is not None and held[1] is not None and len(held[0]) == len(held[1]))


def test_two_empty_stores_do_not_differ() -> None:
    assert list(differ(MemoryStore(), MemoryStore())) == []


def test_one_listing_of_each_store_and_nothing_else() -> None:
    source, target = MemoryStore(), MemoryStore()
    for number in range(2 * LIST_PAGE + 1):
        source.objects[f"packs/{number:06}"] = b"1"
    target.objects["packs/000000"] = b"1"
    metered = MeteredStore(source), MeteredStore(target)
    assert sum(not row.is_same for row in differ(*metered)) == 2 * LIST_PAGE
    assert [store.snapshot().requests for store in metered] == [3, 1]
    assert [store.snapshot().list.requests for store in metered] == [3, 1]


def test_only_names_with_the_prefix() -> None:
    source, target = MemoryStore(), MemoryStore()
    source.objects.update({"index/1": b"", "points/1": b""})
    target.objects.update({"index/2": b"", "points/2": b""})
    assert [row.name for row in differ(source, target, "points/")] == ["points/1", "points/2"]
