"""Decoded blocks of data and of trees share a limit, and a walk does not take all of it."""

from __future__ import annotations

from cache.blocks import TREES, Block, Blocks
from cache.reader import Reader
from catalog.format.blocks import PackKind
from catalog.format.packs import Extent
from catalog.store.memory import MemoryStore
from mount.view.nodes import Folder
from mount.view.point import PointView
from tests.kit.drives import add_point
from tests.kit.vaultmaker import SmallFiles
from tests.kit.vaults import new_vault

MIB = 1 << 20


def block(n: int, size: int = 10) -> tuple[tuple[bytes, int], Block]:
    return (b"pack", n), Block(bytes(size))


def test_trees_take_at_most_their_part() -> None:
    blocks = Blocks(300)
    for n in range(30):
        blocks.put(PackKind.TREE, *block(n))
    assert blocks.held == 300 // TREES
    assert blocks.get(PackKind.TREE, (b"pack", 29)) is not None
    assert blocks.get(PackKind.TREE, (b"pack", 0)) is None
    for n in range(100, 150):
        blocks.put(PackKind.DATA, *block(n))
    assert blocks.held == 300
    assert blocks.get(PackKind.DATA, (b"pack", 149)) is not None and not blocks.has_data((b"pack", 29))
    blocks.read_ahead(150)
    assert blocks.held == 150 and blocks.get(PackKind.TREE, (b"pack", 29)) is not None
    blocks.read_ahead(0)
    blocks.pop(PackKind.TREE, (b"pack", 29))
    blocks.clear()
    assert blocks.held == 0


def test_data_may_take_all_of_it_before_a_walk_begins() -> None:
    blocks = Blocks(300)
    for n in range(40):
        blocks.put(PackKind.DATA, *block(n))
    assert blocks.held == 300
    for n in range(5):
        blocks.put(PackKind.TREE, *block(n))
    assert blocks.held == 300 and blocks.has_data((b"pack", 39)) and not blocks.has_data((b"pack", 14))


def test_a_walk_leaves_most_of_the_memory_to_contents() -> None:
    """It filled all of it with blocks of the tree, which no read needs again."""
    vault = new_vault(MemoryStore())
    small = SmallFiles(vault, folders=120, each=100, largest=1 << 10)
    point = add_point(vault, small.root, 1)
    reader = Reader(vault, memory=MIB, page_memory=MIB)

    def walk(folder: Folder) -> int:
        count = 0
        for page in folder.pages():
            for n in range(len(page.names)):
                node = page.node(n)
                count += 1 + (walk(node) if isinstance(node, Folder) else 0)
        return count

    assert walk(PointView(reader, point).root) == 120 + 120 * 100
    status = reader.status()
    assert status.blocks_from_store * (256 << 10) > 2 * MIB  # the tree has more than fits
    assert status.memory_bytes <= MIB // TREES + (256 << 10)
    reader.close()


def test_all_that_is_in_memory_shares_the_limit() -> None:
    queued = 0
    blocks = Blocks(400, 100, lambda: queued)
    for n in range(10):
        blocks.put_page(Extent(b"pack", n, 1, 0, 1, b"id"), n, 10)
    for n in range(30):
        blocks.put(PackKind.TREE, *block(n))
    for n in range(100, 150):
        blocks.put(PackKind.DATA, *block(n))
    assert blocks.held + blocks.page_bytes <= 400
    blocks.read_ahead(100)
    queued = 50
    with blocks.loading(50):
        blocks.put(PackKind.DATA, *block(200))
        assert blocks.held + blocks.page_bytes <= 200
        assert blocks.has_data((b"pack", 200)) and blocks.page_bytes <= 50  # data got its half


def test_blocks_that_come_back_leave_less_to_read_ahead() -> None:
    blocks = Blocks(400)
    for n in range(80):
        blocks.put(PackKind.DATA, *block(n % 50))
    assert blocks.for_ahead == 250  # what was read ahead was used
    blocks.read_ahead(0, in_vain=True)
    for n in range(80):
        blocks.put(PackKind.DATA, *block(n % 50))
    assert blocks.for_ahead < 50
