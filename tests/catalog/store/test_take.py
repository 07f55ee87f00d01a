"""The contract of stores that take objects from other stores."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from blake3 import blake3

from catalog.errors import Damaged, ObjectExists, ObjectNotFound, StoreError, StoreUnreachable, Unreadable
from catalog.store import base, pouring
from catalog.store.azure.store import AzureStore
from catalog.store.base import Store
from catalog.store.local import LocalStore
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.retrying import RetryingStore
from catalog.store.wrapper import Request, T
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.faults import BadDiskStore, FailOnceStore, LostAnswerStore, TruncatingStore, spoilt
from tests.kit.store_places import Place

NAME = "packs/0a0b0c0d/0a/one"
DATA = random.Random(15).randbytes(300_000)
DIGEST = blake3(DATA).digest()
HASHED = pytest.mark.parametrize("digest", [None, DIGEST], ids=["", "hashed"])


def pair(target: str, source: str) -> object:
    azure = "azure" in target + source
    return pytest.param(target, source, marks=[pytest.mark.needs_azurite] if azure else [], id=f"{target}-{source}")


pytestmark = pytest.mark.parametrize(
    ("place", "source"),
    [
        pair("memory", "folder"),
        pair("wrapped", "memory"),
        pair("local", "memory"),
        pair("local", "folder"),
        pair("local", "azure"),
        pair("azurite", "folder"),
        pair("azurite", "azure"),
    ],
    indirect=True,
)


@pytest.fixture
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Another store, which has one object."""
    store: Store = MemoryStore("memory://source")
    if request.param == "folder":
        store = LocalStore(tmp_path / "source")
    elif request.param == "azure":
        azurite: Azurite = request.getfixturevalue("azurite")
        around = azurite.container(f"source-{secrets.token_hex(6)}")
        store = AzureStore(ACCOUNT, around.container_name, environ=azurite.environ)
    store.create(NAME, [DATA])
    yield store
    store.close()


@HASHED
def test_an_object_is_taken_with_its_bytes(place: Place, source: Store, digest: bytes | None) -> None:
    before = place.store.now()
    modified = place.store.take(NAME, source, len(DATA), digest=digest)
    assert place.held(NAME) == DATA
    assert [(info.name, info.size, info.modified) for info in place.store.list("")] == [(NAME, len(DATA), modified)]
    assert modified >= before - 10**9  # the clock may be a second behind


@pytest.mark.parametrize("held", [DATA, b"other"])
def test_what_is_there_is_never_overwritten(place: Place, source: Store, held: bytes) -> None:
    place.put(NAME, held)
    with pytest.raises(ObjectExists):
        place.store.take(NAME, source, len(DATA))
    assert place.held(NAME) == held


def test_an_object_that_the_source_lacks_is_not_found(place: Place, source: Store) -> None:
    source.delete(NAME)
    with pytest.raises(ObjectNotFound):
        place.store.take(NAME, source, len(DATA))
    assert list(place.store.list("")) == []


def test_other_bytes_than_the_hash_says_get_no_name(place: Place, source: Store) -> None:
    with pytest.raises(Damaged):
        place.store.take(NAME, source, len(DATA), digest=blake3(spoilt(DATA)).digest())
    assert list(place.store.list("")) == []


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1, 0])
def test_an_object_of_another_size_gets_no_name(place: Place, source: Store, size: int) -> None:
    with pytest.raises(Damaged):
        place.store.take(NAME, source, size, digest=DIGEST)
    assert list(place.store.list("")) == []


def test_an_empty_object_is_taken(place: Place, source: Store) -> None:
    source.create("empty", [])
    place.store.take("empty", source, 0)
    assert place.held("empty") == b""


def test_one_of_many_takers_wins(place: Place, source: Store) -> None:
    start = threading.Barrier(4)

    def take(_number: int) -> bool:
        start.wait()
        try:
            place.store.take(NAME, source, len(DATA))
            return True
        except ObjectExists:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take, range(4))) == 1
    assert place.held(NAME) == DATA


@HASHED
def test_a_large_object_is_taken_piece_by_piece(
    place: Place, source: Store, digest: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of more than WHOLE bytes is: real ones are measured in test_large.py."""
    for module in (base, pouring):
        monkeypatch.setattr(module, "WHOLE", 100_000)
        monkeypatch.setattr(module, "PIECE", 70_000)
    monkeypatch.setattr("catalog.store.azure.store.WHOLE", 100_000)
    monkeypatch.setattr("catalog.store.azure.store.COPIED_MOST", 100_000)
    metered = MeteredStore(source, log=True)
    place.store.take(NAME, metered, len(DATA), digest=digest)
    assert place.held(NAME) == DATA
    most = max(request.length for request in metered.log or [])
    assert most <= (len(DATA) if source.is_near and isinstance(place.store, LocalStore) else 70_000)


def test_one_create_is_counted_and_one_read(place: Place, source: Store) -> None:
    metered, target = MeteredStore(source), MeteredStore(place.store)
    target.take(NAME, metered, len(DATA))
    by_service = isinstance(source, AzureStore) and isinstance(place.store, AzureStore)
    assert target.snapshot().create == (1, len(DATA)) and target.snapshot().requests == 1
    assert metered.snapshot().read == (1, 0 if by_service else len(DATA)) and metered.snapshot().requests == 1


@pytest.mark.parametrize("fault", [FailOnceStore, LostAnswerStore])
def test_a_take_without_an_answer_is_repeated(place: Place, source: Store, fault: Callable[..., Store]) -> None:
    store = RetryingStore(fault(place.store), 60.0, pause=lambda _: None)
    modified = store.take(NAME, source, len(DATA))
    assert place.held(NAME) == DATA
    assert [info.modified for info in place.store.list(NAME)] == [modified]


def test_a_take_whose_answer_was_lost_takes_no_other_object_for_its_own(place: Place, source: Store) -> None:
    class Overtaken(LostAnswerStore):
        def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
            if request.kind == "create" and place.held(NAME) is None:
                place.put(NAME, spoilt(DATA))
                raise StoreUnreachable("no answer")
            return call()

    with pytest.raises(ObjectExists):
        RetryingStore(Overtaken(place.store), 60.0, pause=lambda _: None).take(NAME, source, len(DATA))
    assert place.held(NAME) == spoilt(DATA)


def test_a_source_that_breaks_off_leaves_nothing(place: Place, source: Store) -> None:
    broken = BadDiskStore(source, "packs/")
    broken.lend = lambda name: None  # type: ignore[method-assign]
    with pytest.raises(Unreadable):
        place.store.take(NAME, broken, len(DATA))
    assert list(place.store.list("")) == []
    retried = RetryingStore(TruncatingStore(source, 2), 60.0, pause=lambda _: None)
    place.store.take(NAME, retried, len(DATA))
    assert place.held(NAME) == DATA


def test_invalid_names_reach_neither_store(place: Place, source: Store) -> None:
    with pytest.raises(StoreError):
        place.store.take("../secret", source, 1)
    assert list(place.store.list("")) == []
