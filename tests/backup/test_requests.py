"""The requests of a backup, and its memory beside a large vault: exact, so asserted."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from backup.mirror import Mirror
from backup.mirrorfile import Listed
from catalog.format.blocks import PackKind
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.wrapper import Request, StoreWrapper, T
from tests.kit.protected import Protected, vault_on


class Asked(StoreWrapper):
    """Records what is asked of the store: the kind of each request, and the first part of its name."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.asked: list[tuple[str, str]] = []

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if request.kind != "now":  # which no request is counted for
            self.asked.append((request.kind, request.name.split("/")[0]))
        return call()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = random.Random(3)
    for n in range(10):
        (tmp_path / "source" / f"d{n}").mkdir(parents=True)
        for m in range(20):
            (tmp_path / "source" / f"d{n}" / f"f{m}").write_bytes(rng.randbytes(1_000))
    return tmp_path / "source"


BEGINNING = [
    ("list", "machines"), ("get", "machines"), ("get", "items"),
    ("list", "packs"), ("list", "meta"), ("list", "points"), ("get", "points"),
]  # fmt: skip
COMMIT = [("list", "places"), ("list", "points"), ("list", "ledger"), ("create", "points")]


def test_an_unchanged_backup(tmp_path: Path, source: Path) -> None:
    """Besides vault.json and the record of the job, and 4 listings more than before evidence was looked for."""
    memory = MemoryStore()
    machine = Protected(memory, tmp_path / "state")
    machine.checked(source)
    for _ in range(2):
        store = machine.store = Asked(memory)
        machine.backup(source)
        reads = [row for row in store.asked if row[0] == "read"]
        assert set(reads) == {("read", "meta")} and len(reads) == 1
        assert [row for row in store.asked if row[0] != "read"] == BEGINNING + COMMIT


def test_a_changed_backup(tmp_path: Path, source: Path) -> None:
    memory = MemoryStore()
    machine = Protected(memory, tmp_path / "state")
    machine.checked(source)
    (source / "d3" / "f3").write_bytes(os.urandom(2_000))
    store = machine.store = Asked(memory)
    machine.backup(source)
    sent = [("create", "packs"), ("create", "meta"), ("create", "index")]
    assert [row for row in store.asked if row[0] != "read"] == BEGINNING + sent + COMMIT


def test_a_first_backup(tmp_path: Path, source: Path) -> None:
    store = Asked(MemoryStore())
    Protected(store, tmp_path / "state").backup(source)
    assert store.asked == [
        ("create", "machines"), ("list", "items"), ("create", "items"),
        ("list", "packs"), ("list", "meta"), ("list", "points"),
        ("create", "packs"), ("create", "meta"), ("create", "index"), *COMMIT,
    ]  # fmt: skip


def test_packs_that_the_mirror_cannot_explain_are_looked_for_once(tmp_path: Path, source: Path) -> None:
    """A killed run leaves packs that nothing lists: the index is not listed because of them for ever."""
    memory = MemoryStore()
    machine = Protected(memory, tmp_path / "state")
    machine.checked(source)
    name = next(n for n in memory.objects if n.startswith("packs/"))
    memory.objects[name[:-1] + ("0" if name[-1] != "0" else "1")] = memory.objects[name]
    listed = []
    for _ in range(3):
        store = machine.store = Asked(memory)
        machine.backup(source)
        listed.append(("list", "index") in store.asked)
    assert listed == [True, False, False]


@pytest.mark.slow
def test_memory_beside_100_000_packs(tmp_path: Path) -> None:
    """W7: less than 20 MB, while they are listed and afterwards."""
    mirror = Mirror(tmp_path / "mirror.sqlite", vault_on(MemoryStore()).keys)

    def listing(count: int) -> None:
        rng = random.Random(1)
        rows = (
            Listed(bytes(5) + rng.randbytes(11), PackKind.TREE if n % 10 == 0 else PackKind.DATA, 1_000 + n)
            for n in range(count)
        )
        mirror.take_listing(rows)
        mirror.compare((), frozenset(), lambda kind, pack: None)

    listing(1_000)
    tracemalloc.start()
    try:
        listing(100_000)
        listing(100_000)
        rng = random.Random(1)
        assert all(mirror.reach(bytes(5) + rng.randbytes(11)) for _ in range(100_000))
        mirror.must_list_index()
        _held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 << 20, f"{peak >> 20} MiB of Python objects"
    mirror.close()
