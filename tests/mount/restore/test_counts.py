"""The exact requests of a restore: whole points, second runs; and memory that does not grow."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.errors import StoreUnreachable
from catalog.format.blocks import PackKind
from catalog.format.values import Subtree
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.wrapper import Request, StoreWrapper, T
from catalog.vault import Vault
from mount.restore import plan, writer
from mount.restore.budget import Budget
from mount.restore.conflict import Policy
from mount.restore.plan import Plan
from tests.kit.restoring import a_point, restore, temporaries
from tests.kit.vaultmaker import Packer, SmallFiles, Trees, file_node, folder_node, open_empty

MIB = 1 << 20


class GoneAfterStore(StoreWrapper):
    """Serves a number of reads of data; later ones raise StoreUnreachable."""

    def __init__(self, inner: Store, reads: int) -> None:
        super().__init__(inner)
        self._left = itertools.count(-reads)

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if request.name.startswith("packs/") and next(self._left) >= 0:
            raise StoreUnreachable("no answer")
        return call()


def stored_bytes(vault: Vault) -> int:
    return sum(info.size for info in vault.store.list(""))


def check(meter: MeteredStore, vault: Vault, root: Subtree, to: Path) -> None:
    """Restore all of it, within the promised requests and bytes."""
    stored = stored_bytes(vault)
    before = meter.snapshot()
    report = restore(vault, a_point(root), to)
    traffic = meter.snapshot() - before
    assert report.problem_count == 0, report.problems
    assert traffic.requests <= stored / (8 * MIB) + 20, traffic
    assert traffic.received <= 1.05 * stored, (traffic, stored)
    assert temporaries(to) == []


def big_file(vault: Vault, size: int) -> tuple[Subtree, list[bytes]]:
    """A point of one file of 1 MiB pieces; their chunk ids, in order."""
    rng = random.Random(size)
    data, trees = Packer(vault, PackKind.DATA), Trees(vault)
    pieces = [at for n in range(size // MIB) for at in data.block([rng.randbytes(MIB)])]
    data.finish()
    root = trees.root(trees.folder([file_node(b"big", trees.pieces(pieces), size, rng)]))
    return root, [p.id for p in pieces]


@pytest.fixture(scope="module")
def small() -> tuple[MeteredStore, SmallFiles]:
    """20,000 files in 200 folders."""
    meter = MeteredStore(MemoryStore())
    return meter, SmallFiles(open_empty(meter))


@pytest.mark.needs_root
def test_small_files(small: tuple[MeteredStore, SmallFiles], tmp_path: Path) -> None:
    meter, files = small
    check(meter, files.vault, files.root, tmp_path)
    for (folder, name), content in files.contents.items():
        assert (tmp_path / os.fsdecode(folder) / os.fsdecode(name)).read_bytes() == content
    # The same again moves nothing but trees.
    trees = sum(i.size for i in files.vault.store.list("meta/"))
    before = meter.snapshot()
    report = restore(files.vault, a_point(files.root), tmp_path)
    traffic = meter.snapshot() - before
    assert (report.same, report.written, report.problem_count) == (20_000, 0, 0)
    assert traffic.received <= trees and traffic.requests <= 20
    # What is missing is all that moves: one block each.
    gone = [("folder-003", "file-050.txt"), ("folder-150", "file-000.txt")]
    for above, missing in gone:
        (tmp_path / above / missing).unlink()
    (tmp_path / gone[0][0] / gone[0][1]).write_bytes(b"not the file")
    before = meter.snapshot()
    report = restore(files.vault, a_point(files.root), tmp_path, policy=Policy.OVERWRITE)
    traffic = meter.snapshot() - before
    assert (report.same, report.written, report.replaced) == (19_998, 2, 1)
    assert traffic.received <= trees + 2 * 1.1 * MIB
    for above, missing in gone:
        assert (tmp_path / above / missing).read_bytes() == files.contents[above.encode(), missing.encode()]


@pytest.mark.needs_root
def test_small_files_after_many_edits(tmp_path: Path) -> None:
    meter = MeteredStore(MemoryStore())
    files = SmallFiles(open_empty(meter), folders=40, each=100)
    for _ in range(5):
        files.edit(40)
    check(meter, files.vault, files.root, tmp_path)
    for (folder, name), content in files.contents.items():
        assert (tmp_path / os.fsdecode(folder) / os.fsdecode(name)).read_bytes() == content


@pytest.mark.needs_root
def test_a_large_file(tmp_path: Path) -> None:
    check_large(256 * MIB, tmp_path)


@pytest.mark.soak
def test_a_larger_file(tmp_path: Path) -> None:
    check_large(1024 * MIB, tmp_path)


def check_large(size: int, tmp_path: Path) -> None:
    meter = MeteredStore(MemoryStore())
    vault = open_empty(meter)
    root, ids = big_file(vault, size)
    check(meter, vault, root, tmp_path)
    with (tmp_path / "big").open("rb") as file:
        assert [vault.keys.chunk_id(file.read(MIB)) for _ in ids] == ids
        assert file.read() == b""


@pytest.mark.needs_root
def test_a_block_that_many_files_share_is_read_once(tmp_path: Path) -> None:
    meter = MeteredStore(MemoryStore(), log=True)
    vault = open_empty(meter)
    rng = random.Random(1)
    data, trees = Packer(vault, PackKind.DATA), Trees(vault)
    blocks = [data.block([rng.randbytes(300_000)])[0] for _ in range(8)]
    data.finish()
    # Each folder has the same contents in another order.
    folders = []
    for n in range(12):
        rng.shuffle(blocks)
        nodes = [file_node(b"%d" % m, [at, blocks[0]], 600_000, rng) for m, at in enumerate(blocks)]
        folders.append(folder_node(b"folder %02d" % n, trees.folder(nodes), rng))
    root = trees.root(trees.folder(folders))
    assert meter.log is not None
    meter.log.clear()
    report = restore(vault, a_point(root), tmp_path)
    assert (report.written, report.problem_count) == (96, 0)
    reads = [r for r in meter.log if r.name.startswith("packs/")]
    assert len(reads) == 1 and reads[0].length < 8 * 300_100


@pytest.mark.needs_root
def test_a_plan_that_does_not_fit_in_memory(
    small: tuple[MeteredStore, SmallFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter, files = small
    most = 0
    spill = Plan._spill

    def noting(self: Plan) -> None:
        nonlocal most
        most = max(most, self._size)
        spill(self)

    monkeypatch.setattr(Plan, "_spill", noting)
    monkeypatch.setattr(Plan.__init__, "__defaults__", (500_000,))
    monkeypatch.setattr("mount.restore.folder_table._RECENT", 10)
    check(meter, files.vault, files.root, tmp_path)
    assert 500_000 <= most < 501_000
    assert sum(len(names) for _a, _f, names in os.walk(tmp_path)) == 20_000
    assert (tmp_path / "folder-100" / "file-007.txt").read_bytes() == files.contents[b"folder-100", b"file-007.txt"]


@pytest.mark.needs_root
def test_a_store_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    inner = MemoryStore()
    vault = open_empty(inner)
    root, ids = big_file(vault, 192 * MIB)
    packs = [i.size for i in inner.list("packs/")]
    to = tmp_path / "to"
    meter = MeteredStore(inner)
    vault.store = GoneAfterStore(meter, 8)
    with pytest.raises(StoreUnreachable):
        restore(vault, a_point(root), to, state=tmp_path)
    assert not (to / "big").exists() and len(temporaries(to)) == 1
    vault.store = meter
    there = meter.snapshot().read.bytes
    assert there > 40 * MIB
    before = meter.snapshot()
    report = restore(vault, a_point(root), to, state=tmp_path)
    moved = (meter.snapshot() - before).received
    assert report.problem_count == 0 and report.written == 1
    assert moved < sum(packs) - 40 * MIB, "what had come was fetched again"
    with (to / "big").open("rb") as file:
        assert [vault.keys.chunk_id(file.read(MIB)) for _ in ids] == ids
    assert temporaries(to) == []


@pytest.mark.parametrize("near", [False, True])
def test_bytes_requested_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, near: bool) -> None:
    monkeypatch.setattr(writer, "BUDGET", 12 * MIB)
    monkeypatch.setattr(writer, "NEAR", 6 * MIB)
    monkeypatch.setattr(plan, "MOST", 3 * MIB)
    most = 0
    acquire = Budget.try_acquire

    def noting(self: Budget, amount: int) -> bool:
        nonlocal most
        fits = acquire(self, amount)
        most = max(most, self._held)
        return fits

    monkeypatch.setattr(Budget, "try_acquire", noting)
    vault = open_empty(MemoryStore())
    root, _ids = big_file(vault, 24 * MIB)
    assert restore(vault, a_point(root), tmp_path, near=near).written == 1
    assert 2 * MIB < most <= (6 if near else 12) * MIB
