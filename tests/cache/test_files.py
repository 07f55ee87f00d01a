"""Files of many blocks: right bytes in any order, and read-ahead that requests no more than it needs."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cache.disk import DiskCache
from cache.fetcher import Fetcher
from cache.reader import Reader
from catalog.errors import Damaged
from catalog.format.blocks import PackKind
from catalog.format.packs import Extent
from catalog.format.values import Hole, Paged, Piece
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from tests.kit.vaultmaker import Packer, Trees, big_chunk, big_file, open_empty

MIB = 1 << 20
SEED = 3


class Big:
    """One big file in a metered vault."""

    def __init__(self, size: int) -> None:
        self.meter = MeteredStore(MemoryStore(), log=True)
        self.vault = open_empty(self.meter)
        self.extents, self.size = big_file(self.vault, size, SEED)
        trees = Trees(self.vault)
        content = trees.pieces(self.extents)
        trees.finish()
        self.content: list[Piece] | Paged = content
        if isinstance(content, Paged):
            self.content = content._replace(at=trees.resolve(content.at))
        self.stored = sum(e.stored for e in self.extents)

    def expected(self) -> bytes:
        return b"".join(big_chunk(SEED, n, e.length) for n, e in enumerate(self.extents))

    def reads(self) -> tuple[int, int]:
        """Range reads of data packs so far, and their bytes."""
        assert self.meter.log is not None
        rows = [r for r in self.meter.log if r.kind == "read" and r.name.startswith("packs/")]
        return len(rows), sum(r.length for r in rows)


@pytest.fixture(scope="module")
def gib() -> Big:
    return Big(1 << 30)


@pytest.fixture(scope="module")
def medium() -> Big:
    return Big(48 * MIB)


@pytest.mark.slow
def test_front_to_back(gib: Big) -> None:
    assert isinstance(gib.content, Paged)
    reader = Reader(gib.vault)
    file = reader.open(gib.content, gib.size)
    offset = 0
    for n, extent in enumerate(gib.extents):
        expected = big_chunk(SEED, n, extent.length)
        for start in range(0, extent.length, 128 << 10):
            length = min(128 << 10, extent.length - start)
            assert file.read(offset + start, length) == expected[start : start + length]
        offset += extent.length
    assert offset == gib.size
    assert file.read(offset, 100) == b""
    requests, received = gib.reads()
    status = reader.status()
    reader.close()
    assert requests <= 110
    assert received <= 1.05 * gib.stored
    assert status.ahead_wasted == 0
    assert status.bytes_served == gib.size


@pytest.mark.parametrize("seed", range(3))
def test_threads_in_any_order_waste_nothing(gib: Big, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """However long fetching and decoding ahead take: each byte is fetched once, in as many requests."""
    rng = random.Random(seed)

    def hesitating(work: Callable[..., Any], most: float) -> Callable[..., Any]:
        def hesitate(*args: Any, **named: Any) -> Any:
            time.sleep(rng.random() * most if rng.random() < 0.3 else 0)
            result = work(*args, **named)
            time.sleep(rng.random() * most if rng.random() < 0.3 else 0)
            return result

        return hesitate

    monkeypatch.setattr(Fetcher, "take", hesitating(Fetcher.take, 0.01))
    monkeypatch.setattr(Fetcher, "_run", hesitating(Fetcher._run, 0.05))
    reader = Reader(gib.vault)
    file = reader.open(gib.content, gib.size)
    requests, received = gib.reads()
    for offset in range(0, 160 * MIB, 128 << 10):
        file.read(offset, 128 << 10)
    after, status = gib.reads(), reader.status()
    reader.close()
    assert status.ahead_wasted == 0
    assert after[0] - requests <= 21
    assert after[1] - received <= 160 * MIB + 50 * MIB


def test_kernel_reads_from_several_threads_out_of_order(medium: Big) -> None:
    reader = Reader(medium.vault)
    file = reader.open(medium.content, medium.size)
    expected = medium.expected()
    step = 128 << 10
    offsets = list(range(0, medium.size, step))
    for start in range(0, len(offsets) - 4, 4):
        offsets[start : start + 4] = [offsets[start + n] for n in (2, 0, 3, 1)]
    requests, received = medium.reads()
    for offset in offsets:
        assert file.read(offset, step) == expected[offset : offset + step]
    after = medium.reads()
    reader.close()
    assert after[1] - received <= 1.05 * medium.stored
    assert after[0] - requests <= 14
    # The system decides the order of the threads, so only the bytes are compared.
    reader = Reader(medium.vault)
    file = reader.open(medium.content, medium.size)
    with ThreadPoolExecutor(6) as pool:
        for offset, data in zip(offsets, pool.map(lambda o: file.read(o, step), offsets), strict=True):
            assert data == expected[offset : offset + step]
    reader.close()


def test_random_reads_fetch_only_their_blocks(medium: Big) -> None:
    reader = Reader(medium.vault)
    file = reader.open(medium.content, medium.size)
    expected = medium.expected()
    rng = random.Random(4)
    requests, received = medium.reads()
    touched: set[int] = set()
    for _ in range(12):
        offset = rng.randrange(0, medium.size - 5000)
        assert file.read(offset, 4096) == expected[offset : offset + 4096]
        position = 0
        for n, extent in enumerate(medium.extents):
            if position < offset + 4096 and offset < position + extent.length:
                touched.add(n)
            position += extent.length
    after = medium.reads()
    reader.close()
    assert after[0] - requests == len(touched)
    assert after[1] - received == sum(medium.extents[n].stored for n in touched)


def test_random_reads_after_others_fetch_no_more_than_their_blocks(gib: Big) -> None:
    """However many blocks were read beside them: a place in the midst of a file continues no sequence."""
    reader = Reader(gib.vault, memory=4 * MIB)
    file = reader.open(gib.content, gib.size)
    ends = list(itertools.accumulate(e.length for e in gib.extents))
    rng = random.Random(5)
    requests, received = gib.reads()
    wanted = [n for n in rng.sample(range(1, len(ends)), 200) if gib.extents[n].length > 4096]
    for n in wanted:
        file.read(ends[n] - 4096, 4096)
    after, status = gib.reads(), reader.status()
    reader.close()
    assert after[0] - requests == len(wanted)
    assert after[1] - received == sum(gib.extents[n].stored for n in wanted)
    assert status.ahead_wasted == 0


def test_many_requests_are_under_way_from_afar(gib: Big) -> None:
    """While one range is decoded, others are on their way: as many as the memory holds, and none is dropped."""
    reader = Reader(gib.vault)
    file = reader.open(gib.content, gib.size)
    requests, _received = gib.reads()
    most = 0
    for offset in range(0, 256 * MIB, MIB):
        file.read(offset, MIB)
        most = max(most, reader.status().ahead_bytes)
    status = reader.status()
    reader.close()
    assert 40 * MIB < most <= 50 * MIB
    assert status.ahead_wasted == 0
    assert gib.reads()[0] - requests <= 28


def test_one_large_read_merges_its_blocks(medium: Big) -> None:
    reader = Reader(medium.vault)
    requests, received = medium.reads()
    data = reader.open(medium.content, medium.size).read(5 * MIB, 30 * MIB)
    after = medium.reads()
    reader.close()
    assert data == medium.expected()[5 * MIB : 35 * MIB]
    assert after[0] - requests <= 4
    assert after[1] - received <= 30 * MIB + 8 * MIB + 100_000


def test_read_once_is_not_fetched_again(medium: Big, tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "cache")
    reader = Reader(medium.vault, disk=disk)
    expected = medium.expected()
    assert reader.open(medium.content, medium.size).read(0, medium.size) == expected
    reader.close()
    assert disk.flush()
    assert disk.dropped == 0
    requests = medium.reads()
    reader = Reader(medium.vault, disk=disk)
    file = reader.open(medium.content, medium.size)
    for offset in range(0, medium.size, 128 << 10):
        assert file.read(offset, 128 << 10) == expected[offset : offset + (128 << 10)]
    status = reader.status()
    reader.close()
    disk.close()
    assert medium.reads() == requests
    assert status.blocks_from_disk == len(medium.extents) + 1  # and one of tree pages


def test_data_stays_off_the_disk_without_disk_data(medium: Big, tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "cache")
    reader = Reader(medium.vault, disk=disk, disk_data=False)
    reader.open(medium.content, medium.size).read(0, 10 * MIB)
    reader.close()
    assert disk.flush()
    status = disk.status()
    disk.close()
    assert status.data.items == 0


def sparse(vault: Vault) -> tuple[list[Piece], bytes]:
    data = Packer(vault, PackKind.DATA)
    first, second = random.Random(1).randbytes(300_000), random.Random(2).randbytes(400_000)
    (a,) = data.block([first])
    (b,) = data.block([second])
    data.finish()
    pieces: list[Piece] = [Hole(MIB), a, Hole(3 * MIB + 17), b, Hole(5)]
    return pieces, bytes(MIB) + first + bytes(3 * MIB + 17) + second + bytes(5)


def test_holes_are_zeros() -> None:
    vault = open_empty(MemoryStore())
    pieces, expected = sparse(vault)
    reader = Reader(vault)
    file = reader.open(pieces, len(expected))
    assert file.read(0, len(expected)) == expected
    for offset in range(0, len(expected), 99_991):
        assert file.read(offset, 150_000) == expected[offset : offset + 150_000]
    assert file.read(len(expected) - 3, 100) == bytes(3)
    assert file.read(len(expected), 1) == b""
    reader.close()


def test_missing_pieces_are_never_zeros() -> None:
    vault = open_empty(MemoryStore())
    pieces, expected = sparse(vault)
    reader = Reader(vault)
    for shortened in (pieces[:-1], pieces[:1], []):
        file = reader.open(shortened, len(expected))
        with pytest.raises(Damaged):
            file.read(0, len(expected))
    reader.close()


def test_file_smaller_than_its_pieces_ends_where_its_entry_says() -> None:
    vault = open_empty(MemoryStore())
    pieces, expected = sparse(vault)
    reader = Reader(vault)
    assert reader.open(pieces, MIB + 10).read(0, 1 << 30) == expected[: MIB + 10]
    reader.close()


def test_gaps_between_blocks_are_not_read_needlessly() -> None:
    meter = MeteredStore(MemoryStore())
    vault = open_empty(meter)
    data = Packer(vault, PackKind.DATA)
    rng = random.Random(9)
    chunks = [rng.randbytes(300_000) for _ in range(60)]
    places = [data.block([c])[0] for c in chunks]
    data.finish()
    mine: list[Extent] = places[::2]  # the other half belongs to other files
    size = sum(e.length for e in mine)
    reader = Reader(vault)
    file = reader.open(list(mine), size)
    before = meter.snapshot()
    for offset in range(0, size, 128 << 10):
        file.read(offset, 128 << 10)
    reader.close()
    assert (meter.snapshot() - before).received <= 1.05 * sum(e.stored for e in mine)


_FRONT_TO_BACK = """
import sys
from pathlib import Path
from cache.disk import DiskCache
from cache.reader import Reader
from catalog.store.local import LocalStore
from tests.kit.vaultmaker import big_file, open_empty
folder = Path(sys.argv[1])
if sys.argv[2] == "write":
    extents, size = big_file(open_empty(LocalStore(folder / "vault")), 1 << 30)
    (folder / "pieces").write_text(repr((list(map(tuple, extents)), size)))
else:
    from catalog.format.packs import Extent
    rows, size = eval((folder / "pieces").read_text())
    disk = DiskCache(folder / "cache")
    reader = Reader(open_empty(LocalStore(folder / "vault")), disk=disk)
    file = reader.open([Extent(*row) for row in rows], size)
    assert sum(len(file.read(offset, 128 << 10)) for offset in range(0, size, 128 << 10)) == size
    reader.close()
    disk.close()
    print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])  # KiB
"""


@pytest.mark.slow
def test_whole_process_stays_small(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    for step in ("write", "read"):
        command = [sys.executable, "-c", _FRONT_TO_BACK, str(tmp_path), step]
        output = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    shutil.rmtree(tmp_path)  # 2 GiB
    assert int(output) < 250 << 10


def test_memory_is_bounded(gib: Big) -> None:
    limit = 32 * MIB
    reader = Reader(gib.vault, memory=limit)
    file = reader.open(gib.content, gib.size)
    for offset in range(0, 300 * MIB, MIB):
        file.read(offset, MIB)
        status = reader.status()
        assert status.memory_bytes + status.ahead_bytes <= limit + 8 * MIB
    reader.close()
