"""Requests and bytes of reads. They are exact, so tests assert them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from cache.disk import DiskCache
from cache.reader import Reader
from catalog.format.blocks import PackKind
from catalog.format.packs import Extent
from catalog.format.pages import Leaf
from catalog.format.values import NodeKind, Subtree
from catalog.tree import Found, Walked, leaves, lookup, walk
from catalog.vault import Vault
from tests.kit.vaultmaker import SMALL_BLOCK, Packer, SmallFiles, Trees, file_node, folder_node, open_empty
from tests.kit.vaults import Remote

MIB = 1 << 20
POINTS = 200
EDITS = 50


def read_all(reader: Reader, files: SmallFiles, walked: list[Walked]) -> int:
    """Read every file in the order of the walk and compare it. Returns their number."""
    count = 0
    for path, found in walked:
        if found.entry.kind == NodeKind.FILE:
            folder, name = path.split(b"/")
            assert content(reader, found) == files.contents[folder, name], path
            count += 1
    return count


def content(reader: Reader, found: Found) -> bytes:
    file = reader.open(found.leaf.pieces(found.entry), found.entry.size)
    return bytes(file.read(0, found.entry.size))


@pytest.fixture(scope="module")
def remote() -> Remote:
    return Remote(open_empty)


@pytest.fixture(scope="module")
def files(remote: Remote) -> SmallFiles:
    return SmallFiles(remote.vault)


@pytest.fixture(scope="module")
def first(remote: Remote, files: SmallFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """Requests of a walk of the first point, of reading all of it, of doing both again, and offline."""
    folder = tmp_path_factory.mktemp("cache")
    disk = DiskCache(folder)
    reader = Reader(remote.vault, disk=disk)
    before, stored = remote.requests, remote.stored()
    walked = list(walk(reader, files.root))
    counts = {"walk": remote.requests - before, "stored": stored}
    assert read_all(reader, files, walked) == 20_000
    counts["all"] = remote.requests - before
    assert read_all(reader, files, list(walk(reader, files.root))) == 20_000
    counts["again"] = remote.requests - before - counts["all"]
    reader.close()
    disk.close()
    assert disk.dropped == 0

    remote.away.reachable = False
    disk = DiskCache(folder)
    reader = Reader(remote.vault, disk=disk)
    assert read_all(reader, files, list(walk(reader, files.root))) == 20_000
    reader.close()
    disk.close()
    remote.away.reachable = True
    yield counts


@pytest.mark.slow
def test_walk_and_read_small_files_in_few_requests(first: dict[str, int]) -> None:
    assert first["all"] <= first["stored"] / (4 * MIB) + 20


def test_second_pass_costs_nothing(first: dict[str, int]) -> None:
    assert first["again"] == 0


@pytest.mark.slow
def test_200th_point_costs_little_more(
    remote: Remote, first: dict[str, int], files: SmallFiles, tmp_path: Path
) -> None:
    for n in range(POINTS - 1):
        files.edit(EDITS)
        if n > POINTS - 12:  # the tree scatters from point to point, until it is written again
            reader = Reader(remote.vault)
            before = remote.requests
            assert sum(1 for _ in walk(reader, files.root)) == 20_200
            assert remote.requests - before <= 3 * first["walk"]
            reader.close()
    disk = DiskCache(tmp_path)
    reader = Reader(remote.vault, disk=disk)
    before = remote.requests
    walked = list(walk(reader, files.root))
    walk_cost = remote.requests - before
    assert read_all(reader, files, walked) == 20_000
    cost = remote.requests - before
    reader.close()
    disk.close()
    assert cost <= 6 * first["all"]
    assert walk_cost <= 3 * first["walk"]


def deep_vault(vault: Vault) -> Subtree:
    """Six levels of folders with 60,000 entries, many of them beside the path down."""
    rng = random.Random(5)
    data, trees = Packer(vault, PackKind.DATA), Trees(vault)
    wanted = rng.randbytes(10 << 10)
    below: Subtree | None = None
    for level in range(6):
        chunks = [rng.randbytes(rng.randint(1 << 10, 16 << 10)) for _ in range(200)]
        if level == 0:
            chunks[77] = wanted
        places = data.blocks(chunks, SMALL_BLOCK)
        nodes = [file_node(b"f%04d" % n, [at], at.length, rng) for n, at in enumerate(places)]
        if level:
            for n in range(20):
                others = [file_node(b"o%04d" % m, [], 0, rng) for m in range(500)]
                nodes.append(folder_node(b"g%02d" % n, trees.folder(others), rng))
            nodes.insert(0, folder_node(b"down", below, rng))
            nodes.sort(key=lambda node: node.name)
        below = trees.folder(nodes)
    data.finish()
    return trees.root(below)


def test_walk_of_nested_folders_reads_the_tree_in_order() -> None:
    remote = Remote(open_empty)
    trees = Trees(remote.vault)
    rng = random.Random(12)

    def folder(depth: int) -> Subtree | None:
        nodes = [folder_node(b"d%03d" % n, folder(depth - 1), rng) for n in range(40 if depth else 0)]
        for n in range(45):
            at = Extent(bytes(16), rng.randrange(1 << 25), 500_000, rng.randrange(1 << 20), 9000, rng.randbytes(16))
            nodes.append(file_node(b"f%03d" % n, [at], 9000, rng))
        return trees.folder(nodes)

    root = trees.root(folder(2))
    reader = Reader(remote.vault)
    assert sum(1 for _ in walk(reader, root)) == 40 + 40 * 40 + 45 * (1 + 40 + 40 * 40)
    reader.close()
    assert trees.stored > 3 * MIB
    assert remote.requests - 1 <= 4  # without the one that stored the pack
    assert remote.received <= 1.02 * trees.stored


def test_file_five_folders_down() -> None:
    remote = Remote(open_empty)
    root = deep_vault(remote.vault)
    reader = Reader(remote.vault)
    assert list(leaves(reader, root, 1))
    requests, received = remote.requests, remote.received
    folder: Subtree | None = root
    for _ in range(5):
        found = lookup(reader, folder, 1, b"down")
        assert found is not None
        folder = found.leaf.subtree(found.entry)
    found = lookup(reader, folder, 1, b"f0077")
    assert found is not None
    assert found.entry.size == 10 << 10
    assert len(content(reader, found)) == 10 << 10
    assert remote.requests - requests <= 6
    assert remote.received - received <= 2 * MIB
    reader.close()


@pytest.mark.parametrize("wanted", [0, 31_337, 99_999])
def test_name_among_100_000(wanted: int) -> None:
    remote = Remote(open_empty)
    rng = random.Random(6)
    trees = Trees(remote.vault)
    big = trees.folder(file_node(b"%08d" % n, [], 0, rng) for n in range(100_000))
    root = trees.root(trees.folder([folder_node(b"big", big, rng)]))
    reader = Reader(remote.vault)
    (page,) = leaves(reader, root, 1)
    requests, received = remote.requests, remote.received
    found = lookup(reader, page.leaf.subtree(page.leaf.entries[0]), 2, b"%08d" % wanted)
    assert found is not None
    assert found.number == wanted + 3
    assert remote.requests - requests <= 3
    assert remote.received - received <= MIB
    reader.close()


def test_random_small_files_cost_their_blocks_only(remote: Remote, files: SmallFiles) -> None:
    reader = Reader(remote.vault)
    rng = random.Random(8)
    pages: list[Leaf] = []
    for page in leaves(reader, files.root, 1):
        for entry in page.leaf.entries:
            pages += [p.leaf for p in leaves(reader, page.leaf.subtree(entry), 2)]
    requests, received = remote.requests, remote.received
    blocks = set()
    stored = 0
    for leaf in rng.sample(pages, 25):
        entry = rng.choice(leaf.entries)
        pieces = leaf.pieces(entry)
        assert isinstance(pieces, list)
        (at,) = pieces
        assert isinstance(at, Extent)
        reader.open([at], entry.size).read(0, entry.size)
        if (at.pack, at.offset) not in blocks:
            blocks.add((at.pack, at.offset))
            stored += at.stored
    assert remote.requests - requests <= len(blocks) + 6  # some are neighbours by chance
    assert remote.received - received <= stored + 12 * MIB
    reader.close()
