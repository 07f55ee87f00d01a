"""Copying many objects from one store to another."""

from __future__ import annotations

import pytest
from blake3 import blake3

from catalog.errors import AccessDenied, StoreFull, StoreUnreachable
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.transfer.engine import DENIED, transfer
from catalog.transfer.outcome import LISTED, Conflict, Outcome, Wanted
from tests.kit.faults import BadDiskStore, FullStore, RefusingStore, UnreachableStore, spoilt


def filled(count: int = 50) -> MemoryStore:
    store = MemoryStore()
    for number in range(count):
        store.objects[f"packs/{number:04}"] = bytes([number % 256]) * (number + 1)
    return store


def wanted(store: MemoryStore, *, hashed: bool = False) -> list[Wanted]:
    return [
        Wanted(name, len(data), blake3(data).digest() if hashed else None)
        for name, data in sorted(store.objects.items())
    ]


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("verify", [False, True])
def test_all_is_copied_and_counted(hashed: bool, verify: bool) -> None:
    source, target = filled(), MemoryStore()
    told: list[Wanted] = []
    all_wanted = wanted(source, hashed=hashed)
    outcome = transfer(source, target, iter(all_wanted), verify=verify, on_copied=told.append)
    assert target.objects == source.objects
    assert sorted(told) == all_wanted
    assert (outcome.copied, outcome.present, outcome.is_whole) == (50, 0, True)
    assert outcome.copied_bytes == sum(one.size for one in all_wanted)


def test_a_second_transfer_copies_nothing() -> None:
    source, target = filled(), MemoryStore()
    transfer(source, target, wanted(source))
    outcome = transfer(source, target, wanted(source))
    assert (outcome.copied, outcome.copied_bytes, outcome.present, outcome.is_whole) == (0, 0, 50, True)


def test_requests_are_one_read_and_one_create_for_each_object() -> None:
    source, target = MeteredStore(filled()), MeteredStore(MemoryStore())
    outcome = transfer(source, target, [Wanted(info.name, info.size) for info in source.inner.list("")])
    read, made = source.snapshot(), target.snapshot()
    assert read.read == (50, outcome.copied_bytes) and read.requests == 50
    assert made.create == (50, outcome.copied_bytes) and made.requests == 50


def test_what_is_there_with_another_size_is_a_conflict_and_left_alone() -> None:
    source, target = filled(), MemoryStore()
    target.objects["packs/0007"] = b"other"
    outcome = transfer(source, target, wanted(source))
    assert outcome.conflicts == [Conflict("packs/0007", 8, 5, "it has another size there")]
    assert target.objects["packs/0007"] == b"other"
    assert (outcome.copied, outcome.present, outcome.is_whole) == (49, 0, False)


@pytest.mark.parametrize("hashed", [False, True])
def test_what_is_there_with_other_bytes_is_a_conflict_when_they_are_verified(hashed: bool) -> None:
    source, target = filled(), MemoryStore()
    target.objects["packs/0007"] = spoilt(source.objects["packs/0007"])
    assert transfer(source, target, wanted(source, hashed=hashed)).is_whole
    outcome = transfer(source, target, wanted(source, hashed=hashed), verify=True)
    assert [(one.name, one.reason) for one in outcome.conflicts] == [("packs/0007", "it has other bytes there")]
    assert outcome.present == 49


@pytest.mark.parametrize("change", [lambda data: data + b"1", lambda data: data[:-1], spoilt])
def test_other_bytes_than_the_hash_says_are_never_stored(change: object) -> None:
    source, target = filled(), MemoryStore()
    listed = wanted(source, hashed=True)
    source.objects["packs/0007"] = change(source.objects["packs/0007"])  # type: ignore[operator]
    outcome = transfer(source, target, listed)
    assert [fault.name for fault in outcome.damaged] == ["packs/0007"]
    assert "packs/0007" not in target.objects
    assert outcome.copied == 49


def test_an_object_that_the_source_lost_meanwhile_is_gone() -> None:
    source, target = filled(), MemoryStore()
    listed = wanted(source)
    del source.objects["packs/0007"]
    outcome = transfer(source, target, listed)
    assert (outcome.gone, outcome.gone_count, outcome.copied) == (["packs/0007"], 1, 49)


def test_a_bad_sector_costs_one_object() -> None:
    source, target = filled(), MemoryStore()
    outcome = transfer(BadDiskStore(source, "packs/0007"), target, wanted(source))
    assert [(fault.name, fault.reason) for fault in outcome.damaged] == [("packs/0007", "packs/0007 can't be read")]
    assert outcome.copied == 49


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_store_that_is_unreachable_ends_it(side: str) -> None:
    source, target = filled(), MemoryStore()
    stores: dict[str, Store] = {"source": source, "target": target}
    stores[side] = UnreachableStore(stores[side], kinds=("read", "create"), prefix="packs/003")
    outcome = Outcome()
    with pytest.raises(StoreUnreachable):
        transfer(stores["source"], stores["target"], wanted(source), parallel=1, into=outcome)
    assert outcome.copied == len(target.objects) == 30


def test_a_full_store_ends_it_and_what_was_copied_is_counted() -> None:
    source, target = filled(), MemoryStore()
    outcome = Outcome()
    with pytest.raises(StoreFull):
        transfer(source, FullStore(target, 100), wanted(source), into=outcome)
    assert outcome.copied == len(target.objects) > 0
    assert outcome.copied_bytes == sum(map(len, target.objects.values())) <= 100


def test_a_denied_object_costs_that_object_and_a_denied_store_ends_it() -> None:
    source, target = filled(), MemoryStore()
    outcome = transfer(RefusingStore(source, ("read",), "packs/0007"), target, wanted(source))
    assert [fault.name for fault in outcome.damaged] == ["packs/0007"]
    for denied in (wanted(source), wanted(source)[:2]):
        counted = MeteredStore(RefusingStore(MemoryStore(), ("create",)))
        with pytest.raises(AccessDenied):
            transfer(source, counted, denied, parallel=1)
        assert counted.snapshot().requests <= DENIED + 2


def test_lists_are_bounded_and_counts_are_exact() -> None:
    outcome = Outcome()
    transfer(MemoryStore(), MemoryStore(), (Wanted(f"packs/{n}", 1) for n in range(LISTED + 5)), into=outcome)
    assert (outcome.gone_count, len(outcome.gone)) == (LISTED + 5, LISTED)


def test_an_error_of_the_caller_ends_it() -> None:
    source, target = filled(), MemoryStore()

    def on_copied(one: Wanted) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer(source, target, wanted(source), on_copied=on_copied)
    assert all(source.objects[name] == data for name, data in target.objects.items())
