"""The contract of every object store. Data are arranged and inspected without the store under test."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from catalog.errors import (
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    ObjectTooLarge,
    ShortRead,
    StoreError,
    TooLate,
)
from catalog.store.base import LIST_PAGE, Part, Range, Store
from catalog.store.deadline import Deadline
from catalog.store.metered import MeteredStore, Traffic
from catalog.store.retrying import RetryingStore
from catalog.store.wrapper import Request
from tests.kit.faults import FailOnceStore, LostAnswerStore
from tests.kit.store_places import InAzure, Place
from tests.kit.stores import MOST


@pytest.fixture
def store(place: Place) -> Store:
    return place.store


def test_create_stores_the_parts_end_to_end(place: Place) -> None:
    place.store.create("packs/0a/pack", [b"one", bytearray(b"-two"), memoryview(b"x-three")[1:]])
    assert place.held("packs/0a/pack") == b"one-two-three"


def test_an_object_may_be_empty(place: Place) -> None:
    place.store.create("empty", [])
    assert place.held("empty") == b""
    assert place.store.get("empty", MOST) == b""
    assert place.store.size("empty") == 0
    assert place.store.read("empty", 0, 10, up_to=True) == b""
    with pytest.raises(ShortRead):
        place.store.read("empty", 0, 1)


@pytest.mark.parametrize("data", [b"other", b"same!"])
def test_create_never_overwrites(place: Place, data: bytes) -> None:
    place.put("points/m/i/p", b"same!")
    with pytest.raises(ObjectExists):
        place.store.create("points/m/i/p", [data])
    assert place.held("points/m/i/p") == b"same!"


def test_one_of_many_creators_wins(place: Place) -> None:
    for number in range(5):
        name = f"moved/{number}"
        start = threading.Barrier(8)

        def create(mine: bytes, name: str = name, start: threading.Barrier = start) -> bytes | None:
            start.wait()
            try:
                place.store.create(name, [mine * 1000])
            except ObjectExists:
                return None
            return mine

        with ThreadPoolExecutor(8) as threads:
            won = [mine for mine in threads.map(create, [b"%d" % i for i in range(8)]) if mine]
        assert len(won) == 1
        assert place.held(name) == won[0] * 1000


def test_many_threads_create_and_read_at_once(place: Place) -> None:
    contents = {f"packs/{i % 8:02x}/{i}": os.urandom(3000 + i) for i in range(80)}

    def round_trip(name: str) -> bool:
        place.store.create(name, [contents[name]])
        half = place.store.read(name, 1000, 1500)
        return place.store.get(name, MOST) == contents[name] and half == contents[name][1000:2500]

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(round_trip, contents))
    assert {info.name: info.size for info in place.store.list("packs/")} == {
        name: len(data) for name, data in contents.items()
    }


def test_a_missing_object_is_not_found(store: Store) -> None:
    for attempt in (
        lambda: store.get("packs/00/none", MOST),
        lambda: store.get_tagged("vault.json", MOST),
        lambda: store.read("packs/00/none", 0, 1),
        lambda: store.read("packs/00/none", 0, 1, up_to=True),
        lambda: store.size("packs/00/none"),
        lambda: store.replace("vault.json", b"new", "tag"),
    ):
        with pytest.raises(ObjectNotFound):
            attempt()
    assert list(store.list("")) == []


def test_a_folder_of_objects_is_no_object(place: Place) -> None:
    place.put("packs/0a/pack", b"data")
    for attempt in (
        lambda: place.store.get("packs/0a", MOST),
        lambda: place.store.read("packs/0a", 0, 1),
        lambda: place.store.size("packs/0a"),
        lambda: place.store.get("packs/0a/pack/below", MOST),
    ):
        with pytest.raises(ObjectNotFound):
            attempt()


def test_replace_needs_the_tag_of_what_is_there(place: Place) -> None:
    place.put("vault.json", b"first")
    data, tag = place.store.get_tagged("vault.json", MOST)
    assert data == b"first"
    place.store.replace("vault.json", b"second, longer", tag)
    assert place.held("vault.json") == b"second, longer"
    with pytest.raises(ObjectChanged):
        place.store.replace("vault.json", b"third", tag)
    assert place.held("vault.json") == b"second, longer"
    data, newer = place.store.get_tagged("vault.json", MOST)
    assert (data, newer != tag) == (b"second, longer", True)
    place.store.replace("vault.json", b"third", newer)
    assert place.store.get("vault.json", MOST) == b"third"


def test_one_of_many_replacers_wins(place: Place) -> None:
    place.put("vault.json", b"first")
    _, tag = place.store.get_tagged("vault.json", MOST)
    start = threading.Barrier(8)

    def replace(mine: bytes) -> bytes | None:
        start.wait()
        try:
            place.store.replace("vault.json", mine, tag)
        except ObjectChanged:
            return None
        return mine

    with ThreadPoolExecutor(8) as threads:
        won = [mine for mine in threads.map(replace, [b"by %d" % i for i in range(8)]) if mine]
    assert len(won) == 1
    assert place.held("vault.json") == won[0]


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, 1, b"0"), (0, 10, b"0123456789"), (9, 1, b"9"), (3, 4, b"3456"), (5, 5, b"56789")],
)
def test_read_returns_the_range(place: Place, offset: int, length: int, expected: bytes) -> None:
    place.put("packs/0a/pack", b"0123456789")
    assert place.store.read("packs/0a/pack", offset, length) == expected
    assert place.store.read("packs/0a/pack", offset, length, up_to=True) == expected


@pytest.mark.parametrize(
    ("offset", "length", "rest"),
    [(0, 11, b"0123456789"), (9, 2, b"9"), (10, 1, b""), (11, 1, b""), (500, 5000, b""), (4, 2**33, b"456789")],
)
def test_read_beyond_the_end_is_short(place: Place, offset: int, length: int, rest: bytes) -> None:
    place.put("packs/0a/pack", b"0123456789")
    with pytest.raises(ShortRead):
        place.store.read("packs/0a/pack", offset, length)
    assert place.store.read("packs/0a/pack", offset, length, up_to=True) == rest


@pytest.mark.parametrize(
    ("offset", "lengths", "expected"),
    [
        (0, [10], [b"0123456789"]),
        (2, [1, 3, 2], [b"2", b"345", b"67"]),
        (8, [1, 1, 5], [b"8", b"9"]),
        (7, [2, 2, 2], [b"78", b"9"]),
        (10, [3, 3], []),
        (500, [5000], []),
    ],
)
def test_a_range_comes_in_parts_with_one_request(
    place: Place, offset: int, lengths: list[int], expected: list[bytes]
) -> None:
    place.put("packs/0a/pack", b"0123456789")
    store = MeteredStore(place.store, log=True)
    assert store.read_parts("packs/0a/pack", offset, lengths) == expected
    assert store.log == [Request("read", "packs/0a/pack", offset, len(b"".join(expected)))]
    with pytest.raises(ObjectNotFound):
        store.read_parts("packs/0a/other", offset, lengths)


def test_a_big_object_comes_back_whole(place: Place) -> None:
    block = os.urandom(2**20)
    place.store.create("packs/ff/big", [block[i:] + block[:i] for i in range(40)])
    assert place.store.size("packs/ff/big") == 40 * 2**20
    data = place.store.get("packs/ff/big", MOST)
    assert data == b"".join(block[i:] + block[:i] for i in range(40))
    assert place.store.read("packs/ff/big", 2**20 - 5, 33 * 2**20) == data[2**20 - 5 : 34 * 2**20 - 5]
    assert place.held("packs/ff/big") == data


def test_a_deleted_object_is_gone_also_when_it_was_being_read(place: Place) -> None:
    for deleted_by in ("this store", "another client"):
        place.put("packs/0a/pack", b"0123456789")
        assert place.store.read("packs/0a/pack", 2, 2) == b"23"
        if deleted_by == "this store":
            place.store.delete("packs/0a/pack")
            assert place.held("packs/0a/pack") is None
        else:
            place.remove("packs/0a/pack")
        for attempt in (
            lambda: place.store.read("packs/0a/pack", 2, 2),
            lambda: place.store.get("packs/0a/pack", MOST),
            lambda: place.store.size("packs/0a/pack"),
        ):
            with pytest.raises(ObjectNotFound):
                attempt()
        assert list(place.store.list("packs/")) == []


def test_a_replaced_object_is_read_with_its_new_bytes(place: Place) -> None:
    place.put("vault.json", b"first")
    assert place.store.read("vault.json", 0, 5) == b"first"
    place.put("vault.json", b"again")
    assert place.store.read("vault.json", 0, 5) == b"again"


def test_deleting_what_is_missing_is_no_error(place: Place) -> None:
    place.put("packs/0a/pack", b"data")
    place.store.delete("packs/0a/none")
    place.store.delete("packs/0b/none")
    place.store.delete("packs/0a/pack")
    place.store.delete("packs/0a/pack")
    assert place.held("packs/0a/pack") is None


NAMES = [
    "index/machine-a/1",
    "index/machine-a/2",
    "index/machine-ab/1",
    "index/machine/1",
    "machines/M/1",
    "machines/m.1/1",
    "machines/m/1",
    "packs/00/abc",
    "packs/0a/abc",
    "points/a-b/item/20260102T030405Z-1-x",
    "points/a/item/20260102T030405Z-1-x",
    "points/a/item/20260102T030405Z-2-y",
    "points/a/other/20260102T030405Z-1-x",
    "points/a0/item/20260102T030405Z-1-x",
    "vault.json",
    "vault/1.json",
]


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "p",
        "points/",
        "points/a",
        "points/a/",
        "points/a/item/20260102T030405Z-2",
        "index/machine",
        "index/machine/",
        "machines/m",
        "vault",
        "vault.",
        "vault/",
        "none/",
        "points/none/",
        "points/a/item/20260102T030405Z-1-x/",
        "vault.jsonx",
    ],
)
def test_a_listing_returns_names_in_order(place: Place, prefix: str) -> None:
    for number, name in enumerate(NAMES):
        place.put(name, b"x" * number)
    expected = [(name, number) for number, name in enumerate(NAMES) if name.startswith(prefix)]
    assert [(info.name, info.size) for info in place.store.list(prefix)] == expected


def test_a_listing_has_the_times_of_objects(store: Store) -> None:
    before = time.time_ns()
    modified = store.create("points/m/i/p", [b"data"])
    (info,) = store.list("points/")
    # Azure's clock counts seconds and may differ from this machine's: only the unit is tested.
    assert abs(info.modified - before) < 3600 * 10**9
    assert info.modified == modified


def test_the_time_is_that_of_the_objects(store: Store) -> None:
    second = 10**9  # the clock of Azure counts seconds, and that of a file system may be a tick behind
    before = store.now()
    modified = store.create("points/m/i/p", [b"data"])
    assert before - second <= modified <= store.now() + second


def test_now_leaves_nothing_behind(place: Place) -> None:
    place.put("vault.json", b"data")
    metered = MeteredStore(place.store)
    metered.now()
    assert [info.name for info in place.store.list("")] == ["vault.json"]
    assert metered.snapshot() == Traffic(), "now() counts as no request"


@pytest.mark.parametrize("steady_or_wall", [0, 1])
def test_nothing_is_created_after_the_deadline(place: Place, steady_or_wall: int) -> None:
    until = Deadline.after(3600)
    passed = until._replace(**({"wall": until.wall - 2 * 3600 * 10**9} if steady_or_wall else {"steady": 0.0}))
    with pytest.raises(TooLate):
        place.store.create("points/m/i/p", [b"data"], until=passed)
    assert list(place.store.list("")) == []
    place.store.create("points/m/i/p", [b"data"], until=until)
    assert place.held("points/m/i/p") == b"data"


def test_an_object_larger_than_expected_is_not_fetched(place: Place) -> None:
    place.put("points/m/i/p", b"0123456789")
    assert place.store.get("points/m/i/p", 10) == b"0123456789"
    assert place.store.get_tagged("points/m/i/p", 10)[0] == b"0123456789"
    for attempt in (lambda: place.store.get("points/m/i/p", 9), lambda: place.store.get_tagged("points/m/i/p", 1)):
        with pytest.raises(ObjectTooLarge, match=r"^points/m/i/p has 10 bytes, more than the \d it may have$"):
            attempt()


def test_an_object_is_put_together_from_others(place: Place) -> None:
    one, two = os.urandom(3 << 20), os.urandom(100)
    place.put("packs/00/one", one)
    place.put("packs/01/two", two)
    parts: list[Part] = [
        b"RPDCARR1",
        Range("packs/00/one", 5, 2 << 20),
        Range("packs/01/two", 0, 100),
        b"x",
        bytearray(b"end"),
    ]
    parts.append(Range("packs/00/one", 0, 3 << 20))
    modified = place.store.compose("packs/02/carrier", parts)
    assert place.held("packs/02/carrier") == b"RPDCARR1" + one[5 : 5 + (2 << 20)] + two + b"xend" + one
    assert [i.modified for i in place.store.list("packs/02/")] == [modified]
    with pytest.raises(ObjectExists):
        place.store.compose("packs/02/carrier", [b"other"])


def test_nothing_is_put_together_from_what_is_missing(place: Place) -> None:
    place.put("packs/00/one", b"0123456789")
    for error, part in (
        (ObjectNotFound, Range("packs/00/none", 0, 1)),
        (ShortRead, Range("packs/00/one", 5, 6)),
        (ShortRead, Range("packs/00/one", 10, 1)),
        (StoreError, Range("../secret", 0, 1)),
    ):
        with pytest.raises(error):
            place.store.compose("packs/02/carrier", [b"start", part])
    assert [info.name for info in place.store.list("")] == ["packs/00/one"]


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("", ["index", "machines", "packs", "points", "vault"]),
        ("index/", ["machine-a", "machine-ab", "machine"]),
        ("points/", ["a-b", "a", "a0"]),
        ("points/a/", ["item", "other"]),
        ("points/a/item/", []),
        ("none/", []),
    ],
)
def test_folders_are_those_directly_below(place: Place, prefix: str, names: list[str]) -> None:
    for name in NAMES:
        place.put(name, b"x")
    assert list(place.store.folders(prefix)) == names


def test_a_list_of_folders_goes_on_beyond_a_page(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("azure.store", "wrapper"):
        monkeypatch.setattr(f"catalog.store.{module}.LIST_PAGE", 3)
    names = [f"{number:05}" for number in range(8)]
    for name in names:
        place.put(f"packs/{name}/a", b"")
    metered = MeteredStore(place.store)
    assert list(metered.folders("packs/")) == names
    assert metered.snapshot().list.requests == 3


def test_a_listing_goes_on_beyond_a_page(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    page = LIST_PAGE
    if isinstance(place, InAzure):  # 5,000 blobs take too long to create; small pages are real pages, too
        page = 40
        monkeypatch.setattr("catalog.store.azure.store.LIST_PAGE", page)
        monkeypatch.setattr("catalog.store.wrapper.LIST_PAGE", page)
    names = [f"index/m/{number:05}" for number in range(2 * page + 2)]
    for name in names:
        place.put(name, b"")
    metered = MeteredStore(place.store)
    assert [info.name for info in metered.list("index/m/")] == names
    assert metered.snapshot().list.requests == 3


def test_a_retry_after_a_lost_answer_succeeds(place: Place) -> None:
    lossy = LostAnswerStore(place.store)
    store = RetryingStore(lossy, pause=lambda _: None)
    modified = store.create("packs/0a/pack", [b"whole ", b"pack"])
    assert lossy.seen == 2
    assert [info.modified for info in place.store.list("packs/")] == [modified]
    assert place.held("packs/0a/pack") == b"whole pack"


def test_a_composition_whose_answer_was_lost_succeeds(place: Place) -> None:
    place.put("packs/00/one", b"0123456789")
    store = RetryingStore(LostAnswerStore(place.store, kinds=["compose"]), pause=lambda _: None)
    modified = store.compose("packs/0a/carrier", [b"x", Range("packs/00/one", 2, 3)])
    assert place.held("packs/0a/carrier") == b"x234"
    assert [info.modified for info in place.store.list("packs/0a/")] == [modified]


def test_a_retry_does_not_take_another_object_for_its_own(place: Place) -> None:
    def rival(_: float) -> None:
        place.put("packs/0a/pack", b"other pack")

    store = RetryingStore(FailOnceStore(place.store), pause=rival)
    with pytest.raises(ObjectExists):
        store.create("packs/0a/pack", [b"whole pack"])
    assert place.held("packs/0a/pack") == b"other pack"


def test_a_replace_whose_answer_was_lost_succeeds(place: Place) -> None:
    place.put("vault.json", b"first")
    store = RetryingStore(LostAnswerStore(place.store), pause=lambda _: None)
    store.replace("vault.json", b"second", store.get_tagged("vault.json", MOST)[1])
    assert place.held("vault.json") == b"second"


@pytest.mark.parametrize(
    "name",
    ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.", "ä", "a b", "a\\b", "a\n", ".rpdrive/lock"],
)
def test_invalid_object_names(store: Store, name: str) -> None:
    for attempt in (
        lambda: store.create(name, [b"data"]),
        lambda: store.get(name, MOST),
        lambda: store.read(name, 0, 1),
        lambda: store.size(name),
        lambda: store.delete(name),
    ):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert type(caught.value) is StoreError


@pytest.mark.parametrize("name", ["...", ".a", "a/.b", "a/..b", "%2e", "a?b", "a#b", "a&b=c", "~x", "a+b", "a:b"])
def test_odd_but_valid_object_names(place: Place, name: str) -> None:
    place.store.create(name, [b"data"])
    assert place.held(name) == b"data"
    assert place.store.get(name, MOST) == b"data"
    assert place.store.read(name, 1, 2) == b"at"
    assert [info.name for info in place.store.list("")] == [name]
    place.store.delete(name)
    assert place.held(name) is None
