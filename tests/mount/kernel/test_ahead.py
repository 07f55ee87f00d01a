"""Listings that are prepared ahead of a walk: the same answers, from the same requests to the store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cache.reader import Reader
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from mount.drivers.kernel.ahead import MOST
from mount.drivers.kernel.protocol import READ_IN, Op
from mount.view.point import PointView
from tests.kit.drives import Maker, add_machine, add_point
from tests.kit.kernel import Kernel, entries
from tests.kit.vaults import new_vault

FOLDERS = 60


@pytest.fixture(scope="module")
def vault() -> Vault:
    """Folders of every size, and folders in them, in many blocks."""
    vault = new_vault(MemoryStore())
    add_machine(vault)
    m = Maker(vault)
    folders = []
    for n in range(FOLDERS):
        linked = m.file(b"linked", b"one of two", link=n + 1, nlink=2)
        inner = [m.node(b"file %03d" % k, content=[]) for k in range(0, 700 if n % 20 == 7 else n % 4 * 60)]
        below = m.folder(b"below", [m.node(b"a", content=[]), m.folder(b"empty", [], content=None), linked])
        folders.append(m.folder(b"folder %02d" % n, [*inner, below, m.folder(b"zero", [], content=None)]))
    add_point(vault, m.root([m.node(b"before", content=[]), *folders]), 1)
    return vault


class Walk:
    """A kernel, and what a walk makes it ask: each folder from its start to its end, then the folders in it."""

    def __init__(self, vault: Vault, *, idles: bool) -> None:
        self.meter = MeteredStore(vault.store)
        metered = Vault(self.meter, vault.keys, vault.file)
        self.reader = Reader(metered)
        self.kernel = Kernel(PointView(self.reader, metered.point(metered.point_names()[0])), self.reader)
        self.kernel.idles = idles
        self.from_ready = 0

    def listed(self, node_id: int, size: int, leave_out: int = 0) -> Iterator[bytes]:
        """The answers, without those of the folders in each folder whose number is a multiple of `leave_out`."""
        cookie, folders = 0, []
        while True:
            ready = self.kernel.session.ahead.ready.get(node_id)
            self.from_ready += ready is not None and cookie == 0 and ready.size <= size
            answer = self.kernel.ask(Op.READDIRPLUS, node_id, READ_IN.pack(0, cookie, size, 0, 0, 0, 0))
            assert answer.error == 0 and len(answer.body) <= size
            yield answer.body
            found = list(entries(answer.body, True))
            if not found:
                break
            cookie = found[-1].cookie
            folders += [e.inode for e in found if e.kind == 4 and e.name not in (b".", b"..")]
        if not leave_out or node_id % leave_out:
            for folder in folders:
                yield from self.listed(folder, size, leave_out)

    def requests(self) -> int:
        return self.meter.snapshot().requests

    def close(self) -> None:
        self.kernel.session.close()
        self.reader.close()


@pytest.mark.parametrize("size", [1200, 4096, 32768, 1 << 17])
def test_a_walk_gets_the_same_answers_whether_they_were_prepared_or_not(vault: Vault, size: int) -> None:
    plain, ahead = Walk(vault, idles=False), Walk(vault, idles=True)
    assert list(ahead.listed(1, size)) == list(plain.listed(1, size))
    assert plain.from_ready == 0
    assert ahead.from_ready > 3 * FOLDERS
    assert len(ahead.kernel.session.nodes.counts) == len(plain.kernel.session.nodes.counts)
    assert ahead.requests() == plain.requests()
    assert ahead.reader.status().bytes_fetched == plain.reader.status().bytes_fetched
    assert ahead.kernel.session.errors.count == 0
    plain.close()
    ahead.close()


def test_no_more_than_a_bounded_number_of_answers_is_prepared(vault: Vault) -> None:
    walk = Walk(vault, idles=True)
    for _body in walk.listed(1, 32768):
        assert len(walk.kernel.session.ahead.ready) <= MOST + 2
    walk.close()


def test_a_walk_that_leaves_folders_out_is_followed(vault: Vault) -> None:
    walk = Walk(vault, idles=True)
    listings = sum(not body for body in walk.listed(1, 32768, 5))
    assert 2 * FOLDERS < listings < 4 * FOLDERS
    assert walk.from_ready > listings - 12  # all but the first, and large ones
    walk.close()


def test_a_single_listing_fetches_nothing_for_others(vault: Vault) -> None:
    walk = Walk(vault, idles=True)
    list(walk.kernel.list_all(1, 32768))
    blocks = walk.reader.status().blocks_from_store
    node_id = walk.kernel.lookup(1, b"folder 59")[0]
    list(walk.kernel.list_all(node_id, 32768))
    assert walk.reader.status().blocks_from_store - blocks <= 1
    walk.close()
