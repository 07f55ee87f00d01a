"""Requests of reading what was saved in many small runs, before and after it was merged into carriers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.reader import Reader
from catalog.tree import walk
from catalog.vault import Vault
from tests.cache.test_counts import read_all
from tests.kit.mover import Mover, with_admin
from tests.kit.restoring import a_point, restore
from tests.kit.vaultmaker import SmallFiles, open_empty
from tests.kit.vaults import Remote

FOLDERS, EACH, RUNS, EDITS = 20, 50, 50, 20


class World:
    """A folder of small files that were edited, a few at a time, and saved after each edit."""

    def __init__(self) -> None:
        self.remote = Remote(lambda store: with_admin(open_empty(store)))
        self.files = SmallFiles(self.remote.vault, FOLDERS, EACH)
        for _run in range(RUNS):
            self.files.edit(EDITS)
        self.stored = self.remote.stored()

    def opened(self) -> Vault:
        return Vault(self.remote.meter, self.remote.vault.keys, self.remote.vault.file)

    def read(self) -> tuple[int, int]:
        """Requests of the first page and of reading all files in the order of their folders."""
        reader = Reader(self.opened())
        before = self.remote.requests
        reader.leaf(self.files.root.at) if not self.files.root.level else reader.folder_index(self.files.root.at)
        first = self.remote.requests - before
        assert read_all(reader, self.files, list(walk(reader, self.files.root))) == FOLDERS * EACH
        reader.close()
        return first, self.remote.requests - before

    def restore(self, out: Path) -> int:
        before = self.remote.requests
        assert restore(self.opened(), a_point(self.files.root), out).damaged == 0
        return self.remote.requests - before


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_merging_saves_requests(world: World, tmp_path: Path) -> None:
    first, all_files = world.read()
    restored = world.restore(tmp_path / "before")
    assert first == 1
    objects = len(world.remote.memory.objects)
    Mover(world.remote.vault, world.remote.memory).move_all()
    assert len(world.remote.memory.objects) <= 5 < RUNS <= objects
    merged_first, merged = world.read()
    assert merged_first == 4, "a pack that is gone, the listing, the record, the carrier"
    before = world.remote.received
    assert merged <= all_files // 3
    world.read()
    assert world.remote.received - before <= 1.5 * world.stored
    assert world.restore(tmp_path / "after") <= 10 < restored
