"""Packs that a drive, a restore or a listing found damaged are noted in the state folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.reader import Reader
from catalog.access.damage import MOST_BYTES, DamagedPacks
from catalog.direct import DirectSource
from catalog.errors import Damaged, MissingData
from catalog.format.blocks import PackKind
from catalog.format.packs import Extent, pack_name
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from tests.kit.restoring import a_point, restore
from tests.kit.vaultmaker import MACHINE, Packer, Trees, file_node, open_empty

VAULT = bytes(16)


def pack(n: int) -> bytes:
    return MACHINE[:4] + bytes([0]) + n.to_bytes(11, "big")


def test_notes_last_and_are_written_once(tmp_path: Path) -> None:
    noted = DamagedPacks(tmp_path / "state", VAULT.hex())
    assert noted.packs() == frozenset()
    for _ in range(3):
        noted.note(PackKind.DATA, pack(1))
        noted.note(PackKind.TREE, pack(2))
    again = DamagedPacks(tmp_path / "state", VAULT.hex())
    again.note(PackKind.TREE, pack(2))
    assert again.packs() == {pack(1), pack(2)}
    (file,) = (tmp_path / "state").iterdir()
    assert file.read_bytes().count(b"/") == 6
    assert DamagedPacks(tmp_path / "state", (bytes([1]) * 16).hex()).packs() == frozenset()


def test_a_bad_file_is_read_as_far_as_possible(tmp_path: Path) -> None:
    noted = DamagedPacks(tmp_path, VAULT.hex())
    noted.note(PackKind.DATA, pack(1))
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"\xff\x00junk" + file.read_bytes() + b"packs/zz\npacks/")
    noted = DamagedPacks(tmp_path, VAULT.hex())
    noted.note(PackKind.DATA, pack(2))
    assert DamagedPacks(tmp_path, VAULT.hex()).packs() == {pack(1), pack(2)}


def test_the_file_is_bounded_and_not_needed(tmp_path: Path) -> None:
    (tmp_path / f"damaged-{VAULT.hex()}.txt").write_bytes(b"x" * (MOST_BYTES + 1))
    noted = DamagedPacks(tmp_path, VAULT.hex())
    noted.note(PackKind.DATA, pack(1))
    assert next(tmp_path.iterdir()).stat().st_size == MOST_BYTES + 1
    (tmp_path / "file").touch()
    no_folder = DamagedPacks(tmp_path / "file", VAULT.hex())
    no_folder.note(PackKind.DATA, pack(1))
    assert no_folder.packs() == {pack(1)}


class World:
    """A vault with one file of two blocks in one pack."""

    def __init__(self, folder: Path) -> None:
        self.memory = MemoryStore()
        self.vault = open_empty(self.memory)
        self.noted = DamagedPacks(folder, self.vault.state_id)
        self.vault.on_damage = self.noted.note
        packer, trees = Packer(self.vault, PackKind.DATA), Trees(self.vault)
        self.data: list[Extent] = [packer.block([os.urandom(70_000)])[0] for _ in range(2)]
        packer.finish()
        import random

        nodes = [file_node(b"file", list(self.data), 140_000, random.Random(0))]
        self.point = a_point(trees.root(trees.folder(nodes)))
        assert self.point.root is not None
        self.page = self.point.root.subtree().at

    def spoil(self, kind: PackKind, at: Extent) -> None:
        name = pack_name(kind, at.pack)
        data = bytearray(self.memory.objects[name])
        data[at.offset + 9] ^= 1
        self.memory.objects[name] = bytes(data)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "state")


def with_reader(vault: Vault, use: Callable[[Reader], object]) -> None:
    reader = Reader(vault)
    try:
        use(reader)
    finally:
        reader.close()


def test_a_drive_notes_a_data_pack(world: World) -> None:
    world.spoil(PackKind.DATA, world.data[1])
    with_reader(world.vault, lambda r: r.chunk(PackKind.DATA, world.data[0]))
    assert world.noted.packs() == frozenset()
    with pytest.raises(Damaged):
        with_reader(world.vault, lambda r: r.chunk(PackKind.DATA, world.data[1]))
    assert world.noted.packs() == {world.data[1].pack}


def test_a_drive_and_a_listing_note_a_tree_pack(world: World) -> None:
    world.spoil(PackKind.TREE, world.page)
    with pytest.raises(Damaged):
        DirectSource(world.vault).leaf(world.page)
    assert world.noted.packs() == {world.page.pack}
    other = DamagedPacks(Path(os.devnull) / "no", world.vault.state_id)
    world.vault.on_damage = other.note
    with pytest.raises(Damaged):
        with_reader(world.vault, lambda r: r.leaf(world.page))
    assert other.packs() == {world.page.pack}


def test_a_restore_notes_it(world: World, tmp_path: Path) -> None:
    world.spoil(PackKind.DATA, world.data[1])
    assert restore(world.vault, world.point, tmp_path / "out").damaged == 1
    assert world.noted.packs() == {world.data[1].pack}


def test_a_restore_notes_a_pack_that_was_cut(world: World, tmp_path: Path) -> None:
    """Its size in a listing says so only to a machine that knows which size it had."""
    name = pack_name(PackKind.DATA, world.data[1].pack)
    world.memory.objects[name] = world.memory.objects[name][: world.data[1].offset + 9]
    assert restore(world.vault, world.point, tmp_path / "out").damaged == 1
    assert world.noted.packs() == {world.data[1].pack}


def test_a_bad_transfer_is_no_damage(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second read brings what was written."""
    plain, reads = world.vault.store.read, 0

    def first_is_bad(name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        nonlocal reads
        reads += 1
        data = plain(name, offset, length, up_to=up_to)
        return bytes(len(data)) if reads == 1 else data

    for read in (
        lambda: with_reader(world.vault, lambda r: r.chunk(PackKind.DATA, world.data[1])),
        lambda: DirectSource(world.vault).leaf(world.page),
    ):
        reads = 0
        monkeypatch.setattr(world.vault.store, "read", first_is_bad)
        read()
        assert reads == 2
    assert world.noted.packs() == frozenset()


def test_a_missing_pack_is_not_noted(world: World) -> None:
    """The listing of the next backup shows it."""
    world.memory.objects.clear()
    with pytest.raises(MissingData):
        DirectSource(world.vault).leaf(world.page)
    with pytest.raises(MissingData):
        with_reader(world.vault, lambda r: r.chunk(PackKind.DATA, world.data[1]))
    assert world.noted.packs() == frozenset()
