"""Packs that are missing from the vault, or damaged: the next backup stores the lost data again."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from catalog.errors import MissingData, StoreUnreachable
from catalog.store.memory import MemoryStore
from tests.kit.faults import FailOnceStore, StopAtStore, Stopped, spoilt
from tests.kit.protected import Protected
from tests.kit.recorded import assert_equal, assert_whole, of_source

pytestmark = pytest.mark.slow


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def machine(memory: MemoryStore, tmp_path: Path) -> Protected:
    return Protected(memory, tmp_path / "state")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "source", random.Random(1)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for n in range(20):
            (folder / name / f"f{n}").write_bytes(rng.randbytes(5_000))
    (folder / "large").write_bytes(rng.randbytes(2_000_000))
    (folder / "paged").write_bytes(rng.randbytes(60_000_000))
    # ext4 allows values of up to a block; 4,000 bytes go into the page
    os.setxattr(folder / "a", "user.big", b"x" * 3_900)
    return folder


def remove(memory: MemoryStore, prefix: str) -> int:
    gone = [name for name in memory.objects if name.startswith(prefix)]
    for name in gone:
        del memory.objects[name]
    return len(gone)


def checked(machine: Protected, folder: Path, problems: int = 0) -> None:
    """A backup of which everything can be read."""
    machine.checked(folder, problems=problems)


@pytest.mark.parametrize("prefix", ["packs/", "meta/"])
def test_every_pack_gone(machine: Protected, memory: MemoryStore, folder: Path, prefix: str) -> None:
    checked(machine, folder)
    assert remove(memory, prefix)
    checked(machine, folder, problems=prefix == "meta/")
    checked(machine, folder)


def test_each_data_pack_gone(machine: Protected, memory: MemoryStore, folder: Path) -> None:
    checked(machine, folder)
    for name in [n for n in memory.objects if n.startswith("packs/")]:
        del memory.objects[name]
        outcome = machine.checked(folder)
        assert outcome.progress.sent.data_bytes > 0
    assert machine.checked(folder).progress.sent.data_bytes == 0


def test_mirror_lost_too(machine: Protected, memory: MemoryStore, folder: Path) -> None:
    """An index object that lists a pack is no evidence that the pack exists."""
    checked(machine, folder)
    remove(memory, "packs/")
    for path in machine.state.glob("index-*"):
        path.unlink()
    checked(machine, folder)


def test_vault_brought_back_to_an_older_state(machine: Protected, memory: MemoryStore, folder: Path) -> None:
    """The mirror knows packs and points that this copy of the vault never had."""
    (folder / "paged").unlink()
    checked(machine, folder)
    older = dict(memory.objects)
    for n in range(3):
        (folder / "a" / f"new-{n}").write_bytes(random.Random(n).randbytes(400_000))
        checked(machine, folder)
    memory.objects = older
    outcome = machine.checked(folder)
    assert outcome.point is not None
    assert outcome.point.sequence == 5, "a number is never given twice"


def test_noticed_by_a_backup_that_did_not_end(machine: Protected, memory: MemoryStore, folder: Path) -> None:
    """Later runs remember a loss that an earlier run noticed."""
    checked(machine, folder)
    remove(memory, "packs/")
    for at in range(3, 9):
        machine.store = StopAtStore(memory, at)
        try:
            machine.backup(folder)
        except Stopped:
            pass
    machine.store = memory
    checked(machine, folder)


def test_noticed_by_the_backup_of_another_item(machine: Protected, memory: MemoryStore, folder: Path) -> None:
    checked(machine, folder)
    machine.item = "other"
    checked(machine, folder / "a")
    remove(memory, "packs/")
    checked(machine, folder / "a")  # notices the loss
    machine.item = None
    checked(machine, folder)


def test_same_pack_comes_back(machine: Protected, memory: MemoryStore, folder: Path) -> None:
    checked(machine, folder)
    objects = dict(memory.objects)
    remove(memory, "packs/")
    checked(machine, folder)
    memory.objects |= objects
    outcome = machine.checked(folder)
    assert outcome.progress.sent.data_bytes == 0


def test_damaged_tree(machine: Protected, memory: MemoryStore, folder: Path) -> None:
    """All files are read again and found by their contents; the damage is reported."""
    checked(machine, folder)
    for name in [n for n in memory.objects if n.startswith("meta/")]:
        data = bytearray(memory.objects[name])
        data[100] ^= 1
        memory.objects[name] = bytes(data)
    outcome = machine.checked(folder, problems=1)
    assert "the tree of the previous point can't be used" in outcome.problems[0].reason
    assert outcome.progress.sent.data_bytes == 0
    assert outcome.progress.read_files == 42
    assert machine.checked(folder).progress.read_files == 0


def test_missing_tree_without_evidence(machine: Protected, memory: MemoryStore, folder: Path) -> None:
    checked(machine, folder)
    remove(memory, "meta/")
    outcome = machine.checked(folder, problems=1)
    assert "missing" in outcome.problems[0].reason


def test_damaged_point_record(machine: Protected, memory: MemoryStore, folder: Path) -> None:
    checked(machine, folder)
    name = next(n for n in memory.objects if n.startswith("points/"))
    memory.objects[name] = spoilt(memory.objects[name])
    outcome = machine.checked(folder, problems=1)
    assert outcome.point is not None
    assert outcome.point.sequence == 2
    assert outcome.progress.sent.data_bytes == 0


def test_damaged_index_object(machine: Protected, memory: MemoryStore, folder: Path) -> None:
    checked(machine, folder)
    for path in machine.state.glob("index-*"):
        path.unlink()
    name = next(n for n in memory.objects if n.startswith("index/"))
    memory.objects[name] = spoilt(memory.objects[name])
    (folder / "a" / "f1").touch()
    checked(machine, folder, problems=1)


def test_network_fault_is_no_damage(machine: Protected, memory: MemoryStore, folder: Path) -> None:
    checked(machine, folder)
    machine.store = FailOnceStore(memory, ("read",))
    with pytest.raises(StoreUnreachable):
        machine.backup(folder)
    machine.store = memory
    assert machine.checked(folder).progress.read_files == 0


def test_mirror_damaged(machine: Protected, folder: Path) -> None:
    """A mirror that can't be read is replaced."""
    checked(machine, folder)
    path = next(machine.state.glob("index-*.sqlite"))
    path.write_bytes(b"SQLite format 4?" + os.urandom(5000))
    (folder / "new").write_bytes(b"new")
    outcome = machine.checked(folder)
    assert outcome.progress.sent.new_bytes == 3


def test_old_point_stays_broken_and_new_one_is_whole(machine: Protected, memory: MemoryStore, folder: Path) -> None:
    first = machine.checked(folder).point
    remove(memory, "packs/")
    second = machine.checked(folder).point
    assert first is not None and second is not None
    with pytest.raises(MissingData):
        machine.snapshot(first)
    assert_equal(machine.snapshot(second, folder), of_source(folder))
    with pytest.raises(MissingData):
        assert_whole(machine.vault)
