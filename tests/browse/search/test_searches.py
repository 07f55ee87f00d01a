"""Searches: what they find is what `rpdrive find` finds, the newest first; they stop, fail and wait in order."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catalog.direct import DirectSource
from catalog.errors import Damaged, NotFound, StoreUnreachable, UsageError
from catalog.format.packs import Extent
from catalog.format.pages import FolderIndex, Leaf
from catalog.format.records import PointName
from catalog.history.overlay import BatchSource, first, follow, last, root_strands
from catalog.history.search import search
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from mount.browse.resources import scanning, searches
from mount.browse.resources.bus import Notice
from mount.browse.resources.matching import matcher
from mount.browse.resources.scanning import Found, Scan
from mount.browse.resources.searches import SearchPage, Wanted
from mount.browse.resources.wire import path64
from tests.browse.search.many import GateStore, ManyPoints
from tests.catalog.test_history import blocks_of, build
from tests.kit.browsing import opened_as, page_of
from tests.kit.drives import ITEM, MACHINE, Maker, add_machine, add_point
from tests.kit.vaultmaker import open_empty
from tests.kit.vaults import new_vault


def nothing() -> None:
    pass


class Pages(DirectSource):
    """Notes which pages are read."""

    def __init__(self, vault: Vault) -> None:
        super().__init__(vault)
        self.read: list[bytes] = []
        self.blocks: set[tuple[bytes, int]] = set()

    def _note(self, at: Extent) -> None:
        self.read.append(at.id)
        self.blocks.add((at.pack, at.offset))

    def leaf(self, at: Extent) -> Leaf:
        self._note(at)
        return super().leaf(at)

    def folder_index(self, at: Extent) -> FolderIndex:
        self._note(at)
        return super().folder_index(at)


def scan(
    vault: Vault, names: list[PointName], text: str = "*", below: bytes = b"", source: BatchSource | None = None
) -> Found:
    found = Found()
    source = source or DirectSource(vault)
    Scan(vault, source, matcher(text), found, below=below, check=nothing, tell=nothing).run([lambda: list(names)])
    return found


@pytest.mark.parametrize(
    ("seed", "remembered"), [(0, 1 << 20), (1, 1 << 20), (2, 0), (3, 5000), (4, 0), (5, 1 << 20)]
)
def test_equal_to_find_over_all_points(seed: int, remembered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "REMEMBERED", remembered)
    model = build(open_empty(MemoryStore()), seed)
    names = [PointName.of(point) for point in model.points]
    found = scan(model.vault, names)
    expected = list(search(DirectSource(model.vault), model.points, lambda path: True))
    by_path = {hit.path: hit for hit in found.hits}
    assert len(by_path) == len(found.hits) == found.total == len(expected)
    for theirs in expected:
        ours = by_path[theirs.path]
        assert ours.counted
        assert ours.points == theirs.points.bit_count() and ours.versions == theirs.versions
        assert ours.point == model.points[last(theirs.points)].id
        assert (ours.first, ours.last) == (
            model.points[first(theirs.points)].time, model.points[last(theirs.points)].time
        )  # fmt: skip
    # The newest point's come first, in the order of a walk.
    newest = [path for path in model.every_path() if path in model.states[-1]]
    assert [hit.path for hit in found.hits][: len(newest)] == newest
    assert found.points == found.points_total == len(names) and found.fraction == 1.0 and not found.problems


@pytest.mark.parametrize("seed", range(3))
def test_below_a_folder(seed: int) -> None:
    model = build(open_empty(MemoryStore()), seed)
    names = [PointName.of(point) for point in model.points]
    folders = [
        path for path in model.every_path() if any(other.startswith(path + b"/") for other in model.every_path())
    ]
    for path in folders[:5]:
        found = scan(model.vault, names, below=path)
        assert sorted(hit.path for hit in found.hits) == sorted(
            p for p in model.every_path() if p.startswith(path + b"/")
        )
    found = scan(model.vault, names, below=b"/nowhere")
    assert found.hits == [] and found.problems == ["no recovery point has the folder /nowhere"]


def test_each_page_and_block_is_read_once_however_many_points_share_it() -> None:
    store = MeteredStore(MemoryStore())
    many = ManyPoints(open_empty(store), folders=60, each=30)
    for n in range(40):
        many.commit(3 if n else 0)
    names = [PointName.of(point) for point in many.points]
    before = store.snapshot()
    source = Pages(many.vault)
    found = scan(many.vault, names, "file-00*", source=source)
    spent = store.snapshot() - before
    assert len(source.read) == len(set(source.read))
    assert spent.requests == len(blocks_of(many.vault, many.points)) + len(names)  # and each record once
    assert found.total == 600 and all(hit.counted and hit.points == 40 for hit in found.hits)
    # Each folder was written anew some times, and so has as many versions of its files more.
    assert sum(hit.versions for hit in found.hits) == 10 * (60 + 3 * 39)


@pytest.mark.soak
def test_500_points_of_100_000_files() -> None:
    store = MeteredStore(MemoryStore())
    many = ManyPoints(open_empty(store), folders=1000, each=100)
    for n in range(500):
        many.commit(10 if n else 0)
    names = [PointName.of(point) for point in many.points]
    before, source = store.snapshot(), Pages(many.vault)
    began = time.process_time()
    found = scan(many.vault, names, "file-04*", source=source)
    used = time.process_time() - began
    spent = store.snapshot() - before
    print(
        f"{len(source.read):,} pages, {found.entries:,} entries, {spent.requests:,} requests, {used:.1f} s of CPU"
    )
    assert len(source.read) == len(set(source.read)) and found.total == 10_000
    assert all(hit.counted and hit.points == 500 for hit in found.hits)
    assert sum(hit.versions for hit in found.hits) == 10 * (1000 + 10 * 499)
    # Blocks of the newest point that were let go meanwhile, to keep to 64 MB, are fetched once more.
    assert spent.requests <= len(names) + len(source.blocks) + len(blocks_of(many.vault, many.points[-1:]))


# --- jobs ---------------------------------------------------------------------------------------------------


class Job:
    """A page's searches over two items, behind a gate. The second item is newer."""

    def __init__(self, folder: Path) -> None:
        self.gate = GateStore(MemoryStore())
        vault = new_vault(self.gate)
        self.one = ManyPoints(vault, folders=3, each=10)
        self.two = ManyPoints(vault, folders=2, each=10, item=bytes(reversed(ITEM)), name="work")
        for n in range(4):
            self.one.commit(1 if n else 0)
            self.two.commit(1 if n else 0)
        self.newest = len(blocks_of(vault, self.one.points[-1:]))  # reads of the newest point of the first item
        self.opened = opened_as(folder, vault)
        self.searches = searches.searches(self.opened)

    def start(self, text: str = "file-00*", **scope: str | None) -> str:
        return self.searches.start(Wanted(text=text, **scope))  # type: ignore[arg-type]

    def ended(self, search: str) -> SearchPage:
        """A search, when it has ended."""
        until(lambda: self.searches.page(search).state != "running")
        return self.searches.page(search)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    found = Job(tmp_path)
    yield found
    found.gate.open.set()
    found.opened.close()


def test_all_items_one_item_one_point(job: Job) -> None:
    page = job.ended(job.start())
    assert page.state == "done" and page.total == page.kept == 50 and page.next is None and page.error is None
    assert page.progress.points == page.progress.points_total == 8 and page.progress.fraction == 1.0
    assert {hit.item for hit in page.hits} == {ITEM.hex(), bytes(reversed(ITEM)).hex()}
    assert all(hit.points == 4 and hit.counted and hit.machine == MACHINE.hex() for hit in page.hits)
    item = job.ended(job.start(machine=MACHINE.hex(), item=ITEM.hex()))
    assert item.total == 30 and {hit.item for hit in item.hits} == {ITEM.hex()}
    point = job.ended(job.start(point=job.one.points[1].id.hex(), below=path64(b"/folder-00001")))
    assert point.total == 10 and {(hit.points, hit.versions) for hit in point.hits} == {(1, 1)}
    assert {hit.point for hit in point.hits} == {job.one.points[1].id.hex()}
    assert [row.id for row in job.searches.recent().searches] == [point.id, item.id, page.id]


def test_hits_come_while_the_search_runs_and_a_page_of_them_at_a_time(job: Job) -> None:
    job.gate.free = job.newest
    job.gate.open.clear()
    search = job.start(machine=MACHINE.hex(), item=ITEM.hex())
    until(lambda: job.searches.page(search).total == 30)
    page = job.searches.page(search, after=10, count=15)
    assert page.state == "running" and page.next == 25 and len(page.hits) == 15
    assert not any(hit.counted for hit in page.hits) and all(hit.points == 1 for hit in page.hits)
    job.gate.open.set()
    assert all(hit.counted and hit.points == 4 for hit in job.ended(search).hits)


def test_a_cancelled_search_ends_at_once_though_the_store_is_silent(job: Job) -> None:
    job.gate.free = 0
    job.gate.open.clear()
    heard = job.opened.bus.subscribe(nothing)
    stuck = [job.start(), job.start()]
    waits = job.start()
    assert job.searches.page(waits).queued
    until(lambda: job.gate.waiting >= 2)
    assert job.searches.page(waits).queued and not job.searches.page(stuck[0]).queued
    for one in stuck:
        job.searches.cancel(one)
        assert job.searches.page(one).state == "cancelled"
    assert not job.searches.page(waits).queued
    batch = heard.take()
    assert batch is not None and {Notice("search", one) for one in stuck} <= set(batch.notices)
    job.gate.open.set()
    assert job.ended(waits).state == "done"
    until(lambda: not job.searches._left)
    for one in stuck:
        job.searches.cancel(one)  # harmless
        assert job.searches.page(one).state == "cancelled" and job.searches.page(one).next is None


def test_a_search_that_waits_can_be_cancelled(job: Job) -> None:
    job.gate.free = 0
    job.gate.open.clear()
    running = [job.start(), job.start()]
    waits = [job.start() for _ in range(searches.WAITING)]
    with pytest.raises(UsageError):
        job.start()
    job.searches.cancel(waits[0])
    page = job.searches.page(waits[0])
    assert page.state == "cancelled" and page.total == 0 and not page.queued
    job.gate.open.set()
    assert {job.ended(search).state for search in (*running, *waits[1:])} == {"done"}


def test_a_search_that_fails_says_why_and_keeps_its_hits(job: Job) -> None:
    job.gate.free = job.newest
    job.gate.fault = StoreUnreachable("read meta/x: no answer")
    page = job.ended(job.start(machine=MACHINE.hex(), item=ITEM.hex()))
    assert page.state == "failed" and page.total == 30 and len(page.hits) == 30
    assert page.error is not None and page.error.kind == "StoreUnreachable" and page.error.advice


def test_a_bug_ends_a_search_and_says_no_more_than_that(job: Job) -> None:
    job.gate.free = 0
    job.gate.fault = ValueError("secret")
    page = job.ended(job.start())
    assert page.state == "failed" and page.error is not None and "secret" not in page.error.message


def test_what_is_damaged_is_named_and_costs_only_itself(job: Job) -> None:
    store = job.gate.inner
    point = next(i.name for i in store.list(f"points/{MACHINE.hex()}/{ITEM.hex()}/"))
    tree = sorted(store.list("meta/"), key=lambda i: i.size)[0].name  # of one point: its root and a folder
    for name in (point, tree):
        data = bytearray(store.get(name, 1 << 30))
        data[40] ^= 1
        store.delete(name)
        store.create(name, [data])
    page = job.ended(job.start())
    assert page.state == "done" and page.total == 50
    assert page.problem_count == len(page.problems) >= 2
    assert any(text.startswith("a recovery point can't be read") for text in page.problems)
    assert any(text.startswith("a part of / in ") for text in page.problems)


def test_what_is_lost_below_a_name_that_is_no_text_can_be_told(tmp_path: Path) -> None:
    """Path and name are bytes; the page is told of them as text."""
    maker = Maker(new_vault(MemoryStore()))
    add_machine(maker.vault)
    inner = maker.folder(b"\xff", [maker.file(b"a")])
    point = add_point(maker.vault, maker.root([inner]), 1)
    opened = opened_as(tmp_path, maker.vault)
    subtree = follow(DirectSource(maker.vault), root_strands([point]), b"/\xff").strands[0].folder

    class Lacking(DirectSource):
        def leaf(self, at: Extent) -> Leaf:
            if at.id == subtree.at.id:
                raise Damaged(os.fsdecode(b"\xff is damaged"))
            return super().leaf(at)

    opened.direct = lambda: Lacking(maker.vault)  # type: ignore[method-assign]
    with page_of(opened) as page:
        search = page.post("/searches", {"text": "*"})["id"]
        until(lambda: page.get(f"/searches/{search}")["state"] == "done")
        answer = page.get(f"/searches/{search}")
    assert answer["total"] == 1 and answer["problem_count"] == 1 and "can't be read" in answer["problems"][0]


def test_hits_and_results_are_bounded(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "MOST", 7)
    monkeypatch.setattr(searches, "KEPT", 3)
    page = job.ended(job.start())
    assert page.kept == len(page.hits) == 7 and page.total == 50 and page.next is None
    monkeypatch.setattr(scanning, "MOST", 10_000)
    monkeypatch.setattr(scanning, "MOST_BYTES", 2000)
    assert job.ended(job.start()).kept == 3
    job.searches.page(page.id)  # the other one was asked for less recently
    others = [job.ended(job.start()).id for _ in range(2)]
    assert {row.id for row in job.searches.recent().searches} == {page.id, *others}
    monkeypatch.setattr(searches, "KEPT_BYTES", 2000)
    last_one = job.ended(job.start()).id
    assert [row.id for row in job.searches.recent().searches] == [last_one]
    with pytest.raises(NotFound):
        job.searches.page(page.id)


def test_many_searches_at_once(job: Job) -> None:
    pages: list[SearchPage] = []

    def one(n: int) -> None:
        pages.append(job.ended(job.start(f"file-00{n % 10}*")))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [(page.state, page.total) for page in pages] == [("done", 5)] * 12


def test_closing_ends_searches_that_run(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.gate.free = 0
    job.gate.open.clear()
    search = job.start()
    until(lambda: job.gate.waiting >= 1)
    job.opened.close()
    job.gate.open.set()
    assert job.ended(search).state in ("cancelled", "failed")


def test_a_page_that_is_gone_is_let_go(tmp_path: Path) -> None:
    opened = opened_as(tmp_path, new_vault(MemoryStore()))
    assert searches.searches(opened) is searches.searches(opened)
    opened.close()
    gone = weakref.ref(opened)
    del opened
    gc.collect()
    assert gone() is None
