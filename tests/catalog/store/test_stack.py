"""The order of the wrappers: what is counted, what is repeated and what never reaches the store."""

from __future__ import annotations

import time

import pytest

from catalog.errors import AccessDenied, ObjectNotFound, StoreUnreachable
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.roles import Grant, Role
from catalog.store.stack import StoreStack
from tests.kit.faults import FailOnceStore, UnreachableStore
from tests.kit.stores import MOST

HOUR = 3600 * 10**9  # ns


class Renewable(MemoryStore):
    """Refuses every token but `good`."""

    def __init__(self, token: str, good: str) -> None:
        super().__init__()
        self.token, self.good = token, good

    def renew(self, token: str) -> None:
        self.token = token

    def get(self, name: str, most: int) -> bytes:
        if self.token != self.good:
            raise AccessDenied("an old token")
        return super().get(name, most)


def grant(role: Role = Role.RESTORE, token: str | None = None) -> Grant:
    return Grant(role, time.time_ns() + HOUR, token)


def test_each_retry_is_counted() -> None:
    stack = StoreStack(FailOnceStore(MemoryStore()), patience=10.0)
    with pytest.raises(ObjectNotFound):
        stack.front().get("missing", MOST)
    assert stack.meter.snapshot().requests == 2


def test_without_patience_nothing_is_repeated() -> None:
    stack = StoreStack(FailOnceStore(MemoryStore()))
    with pytest.raises(StoreUnreachable):
        stack.front().get("missing", MOST)
    assert stack.meter.snapshot().requests == 1


def test_what_the_role_forbids_is_no_request() -> None:
    stack = StoreStack(MemoryStore(), 10.0, grant())
    with pytest.raises(AccessDenied):
        stack.front().create("name", [b"1"])
    assert stack.meter.snapshot().requests == 0


def test_each_patience_has_a_front_of_its_own_and_all_share_the_meter() -> None:
    stack = StoreStack(FailOnceStore(MemoryStore()), grant=grant())
    hasty, patient = stack.front(), stack.front(10.0)
    assert stack.front() is hasty and stack.front(10.0) is patient and hasty is not patient
    with pytest.raises(ObjectNotFound):
        patient.get("missing", MOST)
    with pytest.raises(ObjectNotFound):
        hasty.get("missing", MOST)
    assert stack.meter.snapshot().requests == 3


@pytest.mark.parametrize("patience", [0.0, 10.0])
def test_a_newer_token_reaches_the_store_through_all_wrappers(patience: float) -> None:
    store = Renewable("old", good="new")
    store.create("name", [b"1"])
    stack = StoreStack(store, patience, grant(token="old"), lambda: grant(token="new"))
    assert stack.front().get("name", MOST) == b"1"
    assert stack.meter.snapshot().requests == 2


def test_closing_ends_the_pauses_of_every_front() -> None:
    fronts: list[Store] = []
    stack = StoreStack(UnreachableStore(MemoryStore()), 60.0)
    fronts += [stack.front(), stack.front(30.0)]
    stack.close()
    began = time.monotonic()
    for front in fronts:
        with pytest.raises(StoreUnreachable):
            front.get("name", MOST)
    assert time.monotonic() - began < 5


def test_to_take_an_object_is_to_create_it() -> None:
    source, target = MemoryStore(), MemoryStore()
    source.create("one", [b"1"])
    with pytest.raises(AccessDenied):
        StoreStack(target, grant=grant()).front().take("one", source, 1)
    assert target.objects == {}
    StoreStack(target, grant=grant(Role.BACKUP)).front().take("one", StoreStack(source, grant=grant()).front(), 1)
    assert target.objects == source.objects
