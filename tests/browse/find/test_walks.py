"""Open folders: one walk for all who ask, first rows before it ends, and damage that costs its names alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from catalog.errors import Damaged, StoreUnreachable
from catalog.format.values import Subtree
from mount.browse.resources.walks import Folders, Open
from tests.browse.find.pages import Pages, many, node

ALL = 1 << 32


def held_folder(after: int = 2) -> tuple[Pages, Subtree, list[int]]:
    """A folder of several pages, of which those after the first `after` are held back."""
    pages = Pages()
    folder = pages.folder(many(1500))
    leaves = pages.leaves(folder)
    assert len(leaves) > 6
    pages.held = set(leaves[after:])
    return pages, folder, leaves


def ended(*threads: str) -> None:
    for thread in threading.enumerate():
        if thread.name in threads:
            thread.join(60)
            assert not thread.is_alive()


def test_all_who_ask_share_one_walk() -> None:
    pages, folder, leaves = held_folder()
    folders = Folders(pages, at_first=0.0)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(folders.get, folder, ALL, 60.0) for _ in range(8)]
        assert pages.waiting.wait(60)
        pages.go.set()
        found = {id(one.result()) for one in asked}
    assert len(found) == 1
    assert [pages.reads[leaf] for leaf in leaves] == [1] * len(leaves)
    assert folders.get(folder).whole
    assert sum(pages.reads.values()) == len(leaves) + 1  # and the index page


def test_the_first_rows_are_there_before_the_walk_ends() -> None:
    pages, folder, _leaves = held_folder(after=2)
    folders = Folders(pages, at_first=0.0)
    one = folders.get(folder, 1, 60.0)
    assert not one.whole
    assert pages.waiting.wait(60)
    one = folders.get(folder, ALL, 0.0)  # no patience: what there is
    assert not one.whole
    read = one.table.count
    assert 0 < read < 1500
    nodes = many(1500)
    assert [one.table.name(n) for n in range(read)] == [n.name for n in nodes[:read]]
    pages.go.set()
    assert folders.get(folder, ALL, 60.0).table.count == 1500


def test_a_walk_ends_if_nobody_asks_any_more_and_begins_again_if_somebody_does() -> None:
    pages, folder, leaves = held_folder()
    now = [0.0]
    folders = Folders(pages, idle=10.0, at_first=0.0, clock=lambda: now[0])
    folders.get(folder, 1, 60.0)
    assert pages.waiting.wait(60)
    now[0] = 11.0
    pages.go.set()
    ended("folder")
    assert folders.memory == 0
    assert pages.reads[leaves[-1]] == 0
    assert folders.get(folder, ALL, 60.0).table.count == 1500


def test_a_walk_goes_on_while_somebody_asks() -> None:
    pages, folder, _leaves = held_folder()
    now = [0.0]
    folders = Folders(pages, idle=10.0, at_first=0.0, clock=lambda: now[0])
    first = folders.get(folder, 1, 60.0)
    assert pages.waiting.wait(60)
    for _ in range(3):
        now[0] += 8.0
        assert folders.get(folder, 1, 60.0) is first
    pages.go.set()
    assert folders.get(folder, ALL, 60.0) is first


def test_a_damaged_page_costs_its_names_and_no_other() -> None:
    pages, nodes = Pages(), many(1500)
    folder = pages.folder(nodes)
    leaves = pages.leaves(folder)
    whole = Folders(pages).get(folder, ALL, 60.0).table
    pages.bad = {leaves[0], leaves[3]}
    one = Folders(pages).get(folder, ALL, 60.0)
    assert one.whole
    lost = {e.name for n in (0, 3) for e in pages_leaf(pages, folder, n)}
    left = [n.name for n in nodes if n.name not in lost]
    assert [one.table.name(n) for n in range(one.table.count)] == left
    assert len(one.problems) == 2
    assert f"page {leaves[3]} is damaged" in one.problems[1]
    numbers = {whole.name(n): whole.row(n).number for n in range(whole.count)}
    assert all(one.table.row(n).number == numbers[one.table.name(n)] for n in range(one.table.count))


def pages_leaf(pages: Pages, folder: Subtree, n: int) -> list:  # type: ignore[type-arg]
    bad, pages.bad = pages.bad, set()
    index = pages.folder_index(folder.at)
    entries = pages.leaf(index.at(index.children[n])).entries
    pages.bad = bad
    return entries


def test_a_folder_of_which_nothing_can_be_read_is_damaged() -> None:
    for count in (20, 1500):
        pages = Pages()
        folder = pages.folder(many(count))
        pages.bad = {folder.at.offset}
        with pytest.raises(Damaged, match=f"page {folder.at.offset} is damaged"):
            Folders(pages).get(folder, ALL, 60.0)


def test_a_fault_of_the_store_is_told_and_the_next_one_asks_again() -> None:
    pages = Pages()
    folder = pages.folder(many(1500))
    folders = Folders(pages)
    pages.fails = [StoreUnreachable("no answer")]
    with pytest.raises(StoreUnreachable):
        folders.get(folder, ALL, 60.0)
    assert folders.get(folder, ALL, 60.0).table.count == 1500


def test_tables_take_no_more_than_their_limit() -> None:
    pages = Pages()
    each = [pages.folder(many(1500, seed)) for seed in range(6)]
    one = Folders(pages).get(each[0], ALL, 60.0).table.memory
    folders = Folders(pages, limit=3 * one + one // 2)
    for folder in each:
        folders.get(folder, ALL, 60.0)
        assert folders.memory <= 3 * one + one // 2
    before = sum(pages.reads.values())
    for folder in each[-3:]:
        folders.get(folder, ALL, 60.0)
    assert sum(pages.reads.values()) == before
    folders.get(each[0], ALL, 60.0)
    assert sum(pages.reads.values()) > before


def test_a_folder_beyond_the_limit_says_that_it_has_more() -> None:
    pages = Pages()
    folder = pages.folder([node(b"%06d" % n) for n in range(3000)])
    one = Folders(pages, limit=20_000).get(folder, ALL, 60.0)
    assert one.whole
    assert 0 < one.table.count < 3000
    assert "it has more" in one.problems[0]


def test_a_folder_that_drops_out_while_it_is_read_stops_its_walk() -> None:
    pages, folder, leaves = held_folder()
    folders = Folders(pages, limit=50_000, at_first=0.0)
    first = folders.get(folder, 1, 60.0)
    assert pages.waiting.wait(60)
    folders.get(pages.folder(many(3000)), ALL, 60.0)
    pages.go.set()
    ended("folder")
    assert first.cancelled
    assert pages.reads[leaves[-1]] == 0


def test_an_empty_folder_is_whole() -> None:
    assert Folders(Pages()).get(None).whole


def test_everything_at_once() -> None:
    """Many askers of many folders, a small limit, and faults: each gets all names or an error, and none hangs."""
    pages = Pages()
    each = [pages.folder(many(700, seed)) for seed in range(5)]
    folders = Folders(pages, limit=60_000, at_first=0.0)
    pages.fails = [StoreUnreachable("no answer") for _ in range(3)]

    def ask(n: int) -> int:
        try:
            return wait_whole(lambda: folders.get(each[n % 5], ALL, 60.0)).table.count
        except StoreUnreachable:
            return 700

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(60))) == {700}


def wait_whole(get: Callable[[], Open]) -> Open:
    while not (one := get()).whole:
        pass
    return one
