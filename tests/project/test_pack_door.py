"""Packs are read through `Vault.read_pack` alone, so that whatever moves or removes them has one place to tell."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from cache.reader import Reader
from catalog.direct import DirectSource
from catalog.errors import MissingData
from catalog.format.blocks import PackKind
from catalog.format.packs import Extent, pack_name
from catalog.format.records import Point
from catalog.store.memory import MemoryStore
from catalog.tree import PageSource, walk
from catalog.vault import Vault
from tests.kit.restoring import a_point, restore
from tests.kit.stores import MOST
from tests.kit.vaultmaker import Packer, Trees, file_node, open_empty

ROOT = Path(__file__).parents[2]
PACKAGES = ("backup", "benchmarks", "cache", "catalog", "mount")
DOOR = "catalog/vault.py"
STAGED = ROOT / "catalog" / "seeds" / "staged.py"  # a store itself, of which a vault is made


def range_reads(tree: ast.AST) -> set[str]:
    """Receivers of calls that may read a range of an object: `x.read(name, offset, length)`, or any on a store."""
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        receiver, passed = ast.unparse(node.func.value), [k.arg for k in node.keywords]
        ranged = len(node.args) + len(passed) == 3 or "up_to" in passed
        if node.func.attr == "read" and (ranged or receiver.endswith("store")):
            found.add(receiver)
        if node.func.attr == "read_parts" and receiver.endswith(("store", "inner")):
            found.add(receiver)
    return found


def test_nothing_else_reads_ranges_from_a_store() -> None:
    found = {
        (str(path.relative_to(ROOT)), receiver)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.parent != ROOT / "catalog" / "store" and path != STAGED
        for receiver in range_reads(ast.parse(path.read_text()))
        if not receiver.endswith("api")  # ReadFile of Windows
    }
    assert found == {(DOOR, "self.store")}


@pytest.mark.parametrize(
    "text",
    [
        "self._vault.store.read(n, 0, 1)",
        "inner.read(n, 0, length=1)",
        "pool.submit(lambda: s.read(n, 0, 1))",
        "store.read_parts(n, 0, [1])",
    ],
)
def test_the_search_notices_a_read(text: str) -> None:
    assert range_reads(ast.parse(text))


class Moved(Vault):
    """A vault whose packs are under other names, which only its door knows."""

    def move(self) -> None:
        for folder in ("packs/", "meta/"):
            for info in list(self.store.list(folder)):
                self.store.create("moved/" + info.name, [self.store.get(info.name, MOST)])
                self.store.delete(info.name)

    def read_pack(self, kind: PackKind, pack: bytes, offset: int, length: int, *, up_to: bool = False) -> bytes:
        return self.store.read("moved/" + pack_name(kind, pack), offset, length, up_to=up_to)

    def read_parts(self, kind: PackKind, pack: bytes, offset: int, lengths: Sequence[int]) -> list[bytes]:
        return self.store.read_parts("moved/" + pack_name(kind, pack), offset, lengths)


class World:
    """A vault of a folder of files, each a block of its own; its packs go wherever a test puts them."""

    def __init__(self) -> None:
        made = open_empty(MemoryStore())
        self.vault = Moved(made.store, made.keys, made.file)
        self.contents = {f"file {n}".encode(): os.urandom(70_000) for n in range(4)}
        packer, trees = Packer(self.vault, PackKind.DATA), Trees(self.vault)
        self.extents: dict[bytes, Extent] = {}
        for name, content in self.contents.items():
            (self.extents[name],) = packer.block([content])
        packer.finish()
        nodes = [file_node(name, [at], at.length, Random(0)) for name, at in sorted(self.extents.items())]
        self.point: Point = a_point(trees.root(trees.folder(nodes)))


@pytest.fixture
def world() -> World:
    return World()


def names(source: PageSource, point: Point) -> list[bytes]:
    assert point.root is not None
    return [path for path, _found in walk(source, point.root.subtree())]


def test_every_reader_finds_packs_where_the_door_does(world: World, tmp_path: Path) -> None:
    world.vault.move()
    assert names(DirectSource(world.vault), world.point) == sorted(world.contents)
    for name, at in world.extents.items():
        sealed = world.vault.fetch_block(PackKind.DATA, at)
        assert world.vault.open_block(PackKind.DATA, at, sealed) == world.contents[name]
    reader = Reader(world.vault)
    try:
        assert names(reader, world.point) == sorted(world.contents)
        for name, at in world.extents.items():
            assert reader.open([at], at.length).read(0, at.length) == world.contents[name]
    finally:
        reader.close()
    report = restore(world.vault, world.point, tmp_path / "out")
    assert report.damaged == 0
    assert {os.fsencode(p.name): p.read_bytes() for p in (tmp_path / "out").iterdir()} == world.contents


def test_every_reader_says_that_a_pack_is_missing(world: World, tmp_path: Path) -> None:
    plain = Vault(world.vault.store, world.vault.keys, world.vault.file)
    at = next(iter(world.extents.values()))
    name = pack_name(PackKind.DATA, at.pack)
    plain.store.delete(name)
    reader = Reader(plain)
    readers: list[Callable[[], object]] = [
        lambda: plain.read_pack(PackKind.DATA, at.pack, 0, 8),
        lambda: plain.fetch_block(PackKind.DATA, at),
        lambda: reader.open([at], at.length).read(0, at.length),
    ]
    try:
        for read in readers:
            with pytest.raises(MissingData, match=f"^the pack {name} is missing from the vault$"):
                read()
    finally:
        reader.close()
    report = restore(plain, world.point, tmp_path / "out")
    assert report.damaged == len(world.contents)
