"""One malformed entry of a folder: listed as that, left out of a restore, and the rest of the folder is there."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from cache.reader import Reader
from catalog.direct import DirectSource
from catalog.errors import Damaged, Unwritable
from catalog.format.blocks import PackKind
from catalog.format.records import Point
from catalog.format.values import Subtree, Totals
from catalog.history.overlay import data_id
from catalog.points.listing import entry_json, long_line
from catalog.store.memory import MemoryStore
from catalog.tree import walk
from mount.view.point import PointView
from tests.kit.restoring import a_point, restore
from tests.kit.vaultmaker import Packer, Trees, file_node, open_empty
from tests.kit.vaults import new_vault

NAMES = [b"a", b"b", b"c"]
BAD: dict[str, dict[str, object]] = {
    "uid": {"owner": 1},
    "mode": {"mode": 1 << 40},
    "size": {"size": 1 << 63},
    "target": {"kind": 2, "content": b"a\0b"},
    "device": {"kind": 4, "content": [1]},
    "link": {"link": 1 << 63},
    "kind": {"kind": 77},
}


class World:
    """A vault with a point of three files, of which the second has an impossible value."""

    def __init__(self, bad: dict[str, object]) -> None:
        self.vault = open_empty(MemoryStore())
        packer = Packer(self.vault, PackKind.DATA)
        self.contents = {name: name * 100 for name in NAMES}
        places = {name: packer.block([content])[0] for name, content in self.contents.items()}
        packer.finish()
        trees = Trees(self.vault)
        good = trees.folder([file_node(n, [at], at.length, random.Random(1)) for n, at in places.items()])
        assert good is not None
        leaf = trees._pending.pop()
        packs, owners, sets, entries = msgspec.msgpack.decode(leaf)
        fields = ["name", "kind", "mode", "owner", "size", "mtime", "ctime", "inode", "nlink", "link", "content"]
        for field, value in bad.items():
            entries[1][fields.index(field)] = value
        trees.forget()
        at = trees.write(msgspec.msgpack.encode([packs, [*owners, [1 << 40, -2, "", ""]], sets, entries]))
        self.point: Point = a_point(trees.root(Subtree(0, at, Totals(3, 3, 300, 0))))


@pytest.fixture(params=BAD)
def world(request: pytest.FixtureRequest) -> World:
    return World(BAD[request.param])


def test_lists_say_so(world: World) -> None:
    assert world.point.root is not None
    for _path, found in walk(DirectSource(world.vault), world.point.root.subtree()):
        entry, leaf = found.entry, found.leaf
        line, row = long_line(leaf, entry, "name"), entry_json(leaf, entry)
        if entry.name == b"b":
            assert "malformed" in line and row == {"name": "b", "kind": "malformed"}
            assert data_id(leaf, entry) == b"malformed"
        else:
            assert line.startswith("-rw-r--r--") and row["size"] == 100


def test_a_drive_shows_the_rest(world: World) -> None:
    reader = Reader(world.vault)
    root = PointView(reader, world.point).root
    (page,) = root.pages()
    assert list(page.names) == NAMES
    for n, name in enumerate(NAMES):
        if name == b"b":
            with pytest.raises(Damaged):
                page.node(n)
        else:
            assert page.node(n).attributes.size == 100
            assert root.lookup(name).attributes == page.node(n).attributes
    reader.close()


def test_a_restore_leaves_it_out_and_says_so(world: World, tmp_path: Path) -> None:
    report = restore(world.vault, world.point, tmp_path / "out")
    assert report.damaged == 1
    assert [Path(p.path.decode()).name for p in report.problems] == ["b"]
    assert {p.name.encode(): p.read_bytes() for p in (tmp_path / "out").iterdir()} == {
        name: content for name, content in world.contents.items() if name != b"b"
    }


@pytest.mark.parametrize("sequence", [0, 2**63])
def test_a_point_that_no_reader_would_see_is_not_written(sequence: int) -> None:
    vault = new_vault(MemoryStore())
    point = msgspec.structs.replace(a_point(None), sequence=sequence)
    with pytest.raises(Unwritable, match="no reader would take points/"):
        vault.add_point(point)
