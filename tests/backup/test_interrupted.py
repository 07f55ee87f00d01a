"""A backup that ends at any store call: nothing is lost or sent twice, and no reference dangles."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from backup import attempt, files, pipeline
from catalog.errors import StoreFull, StoreUnreachable
from catalog.format.blocks import PackKind, open_block
from catalog.format.packs import decode_pack, pack_name
from catalog.format.records import IndexObject, Point, decode_record
from catalog.format.sealed import Kind, open_object
from catalog.store.base import Buffer, Store
from catalog.store.deadline import Deadline
from catalog.store.memory import MemoryStore
from catalog.store.wrapper import Request, StoreWrapper, T
from catalog.vault import Vault
from tests.kit.faults import FullStore, StopAtStore, Stopped, UnreachableStore
from tests.kit.protected import SETTLED, Protected, extents_of, listed, vault_on
from tests.kit.recorded import assert_whole
from tests.kit.sources import many_packs


class AcknowledgedStore(StoreWrapper):
    """Records the names of objects created, and of those whose creation was acknowledged."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.names: set[str] = set()

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        result = call()
        if request.kind == "create":
            self.names.add(request.name)
        return result


class SlowDataStore(StoreWrapper):
    """Delays the creation of data packs only."""

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if request.kind == "create" and request.name.startswith("packs/"):
            time.sleep(0.05)
        return call()


class OrderedStore(StoreWrapper):
    """Rejects an object that refers to one that does not exist yet. `checked` counts the references."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.vault: Vault = vault_on(inner)
        self.checked: Counter[str] = Counter()

    def create(self, name: str, parts: Sequence[Buffer], *, until: Deadline | None = None) -> int:
        data = b"".join(parts)
        kind = name.split("/", maxsplit=1)[0]
        for wanted in self._refers(kind, name, data):
            self.checked[kind] += 1
            present = [k for k in (PackKind.DATA, PackKind.TREE) if self._has(pack_name(k, wanted))]
            assert present, f"{name} refers to pack {wanted.hex()}, which is not there"
        return self.inner.create(name, parts, until=until)

    def _has(self, name: str) -> bool:
        return any(info.name == name for info in self.inner.list(name))

    def _refers(self, kind: str, name: str, data: bytes) -> set[bytes]:
        keys = self.vault.keys
        if kind == "index":
            return {
                p.pack for p in decode_record(IndexObject, open_object(keys, Kind.INDEX, name, data), name).packs
            }
        if kind == "points":
            point = decode_record(Point, open_object(keys, Kind.POINT, name, data), name)
            return {point.root.pack} if point.root else set()
        if kind != "meta":
            return set()
        own = bytes.fromhex(name.rsplit("/", 1)[1])
        found: set[bytes] = set()
        for row in decode_pack(keys, PackKind.TREE, own, data):
            raw = open_block(keys, PackKind.TREE, own, row.offset, data[row.offset : row.offset + row.stored])
            at = 0
            for length in row.lengths:
                page = msgspec.msgpack.decode(memoryview(raw)[at : at + length])
                found |= set(page[0])  # each kind of page begins with the packs that it refers to
                at += length
        return found - {own}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that make many packs, index objects and partial points of a small source."""
    monkeypatch.setattr(pipeline, "PACK_TARGET", 60_000)
    monkeypatch.setattr(pipeline, "BLOCK_RAW", 20_000)
    for name, value in (
        ("SMALL_FILE", 1 << 14),
        ("CUT_MIN", 1 << 14),
        ("CUT_AVERAGE", 1 << 15),
        ("CUT_MAX", 1 << 16),
    ):
        monkeypatch.setattr(files, name, value)
    monkeypatch.setattr(files, "_BUFFER", 1 << 17)
    monkeypatch.setattr(pipeline, "TREE_BLOCK_RAW", 4_000)
    monkeypatch.setattr(attempt, "TREE_BLOCK_RAW", 4_000)
    monkeypatch.setattr(attempt, "INDEX_BYTES", 1)


def edit_source(folder: Path) -> None:
    rng = random.Random(6)
    (folder / "a" / "empty-100").write_bytes(rng.randbytes(5_000))
    (folder / "b" / "large").write_bytes(rng.randbytes(90_000))
    (folder / "b" / "inner" / "small-23").unlink()
    (folder / "c").rename(folder / "d")
    (folder / "d" / "new").write_bytes(rng.randbytes(60_000))
    os.link(folder / "b" / "large", folder / "d" / "large link")


def assert_once(vault: Vault, kind: PackKind, among: Callable[[str], bool]) -> None:
    """No chunk is in two of the chosen packs."""
    counts = Counter(e.id for name, extents in extents_of(vault, kind).items() if among(name) for e in extents)
    twice = [c for c, n in counts.items() if n > 1]
    assert not twice, f"{len(twice)} {kind.name} chunks were sent twice"


def stopped_runs(tmp_path: Path, source: Path, base: MemoryStore, state: Path, *, after: bool, lose: bool) -> int:
    """End a backup at its first store call, its second …, each time from the same state, then resume it."""
    at = 0
    time.sleep(SETTLED)
    while True:
        at += 1
        memory = MemoryStore()
        memory.objects = dict(base.objects)
        stop = StopAtStore(OrderedStore(memory), at, after=after)
        store = AcknowledgedStore(stop)
        store.names = set(base.objects)
        own = tmp_path / f"state-{at}"
        shutil.copytree(state, own) if state.exists() else None
        machine = Protected(store, own, partial_seconds=0.0, pause=0.0)
        try:
            machine.backup(source)
        except Stopped:
            pass
        if not stop.stopped:
            assert at > 20
            return at
        machine.store = memory
        assert_whole(machine.vault)
        indexed = listed(machine.vault)
        before = set(memory.objects)
        if lose:
            for path in own.glob("index-*"):
                path.unlink()
        again = AcknowledgedStore(OrderedStore(memory))
        again.names = store.names
        machine.store = again
        machine.checked(source)
        vault = machine.vault
        if lose:
            kept = {pack_name(PackKind.DATA, pack) for pack in indexed}
            assert_once(vault, PackKind.DATA, lambda name, k=kept, b=before: name in k or name not in b)  # type: ignore[misc]
        else:
            assert_once(vault, PackKind.DATA, again.names.__contains__)
            assert_once(vault, PackKind.TREE, again.names.__contains__)
        shutil.rmtree(own)


@pytest.mark.slow
@pytest.mark.parametrize("lose", [False, True], ids=["state kept", "mirror lost"])
@pytest.mark.parametrize("after", [False, True], ids=["not done", "done"])
def test_first_backup_ends_anywhere(tmp_path: Path, after: bool, lose: bool) -> None:
    many_packs(tmp_path / "source")
    stopped_runs(tmp_path, tmp_path / "source", MemoryStore(), tmp_path / "none", after=after, lose=lose)


@pytest.mark.slow
@pytest.mark.parametrize("lose", [False, True], ids=["state kept", "mirror lost"])
@pytest.mark.parametrize("after", [False, True], ids=["not done", "done"])
def test_next_backup_ends_anywhere(tmp_path: Path, after: bool, lose: bool) -> None:
    source, base = tmp_path / "source", MemoryStore()
    many_packs(source)
    Protected(base, tmp_path / "state").checked(source)
    edit_source(source)
    stopped_runs(tmp_path, source, base, tmp_path / "state", after=after, lose=lose)


def test_everything_referred_to_exists_first(tmp_path: Path) -> None:
    many_packs(tmp_path / "source")
    store = OrderedStore(MemoryStore())
    machine = Protected(store, tmp_path / "state", partial_seconds=0.0)
    machine.checked(tmp_path / "source")
    edit_source(tmp_path / "source")
    machine.checked(tmp_path / "source")
    assert min(store.checked[kind] for kind in ("index", "meta", "points")) > 3, store.checked
    assert assert_whole(machine.vault) > 4


@pytest.mark.slow
def test_trees_are_sent_after_what_they_refer_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More pages than fit into a pack are sent during the walk, while data is still uploading."""
    monkeypatch.setattr(pipeline, "PACK_TARGET", 10_000)
    rng = random.Random(7)
    for n in range(100):
        (tmp_path / "source" / f"d{n:02d}").mkdir(parents=True)
        for m in range(20):
            (tmp_path / "source" / f"d{n:02d}" / f"f{m:02d}").write_bytes(rng.randbytes(400))
    memory = MemoryStore()
    store = OrderedStore(SlowDataStore(memory))
    Protected(store, tmp_path / "state").checked(tmp_path / "source")
    assert sum(name.startswith("meta/") for name in memory.objects) > 3
    assert store.checked["meta"] > 6


def test_network_gone_then_back(tmp_path: Path) -> None:
    many_packs(tmp_path / "source")
    memory = MemoryStore()
    for calls in range(1, 30, 4):
        store = UnreachableStore(memory, reachable=True)
        machine = Protected(store, tmp_path / "state")
        store._number = lambda request, s=store, c=calls: _cut(s, c)  # type: ignore[method-assign, misc]
        try:
            machine.backup(tmp_path / "source")
        except StoreUnreachable:
            assert_whole(vault_on(memory))
    machine = Protected(memory, tmp_path / "state")
    machine.checked(tmp_path / "source")
    assert_once(machine.vault, PackKind.DATA, lambda name: True)


def _cut(store: UnreachableStore, calls: int) -> int:
    store.seen += 1
    store.reachable = store.seen <= calls
    return store.seen


def test_full_store(tmp_path: Path) -> None:
    many_packs(tmp_path / "source")
    memory = MemoryStore()
    room, full = 50_000, 0
    while True:
        machine = Protected(FullStore(memory, room), tmp_path / "state")
        try:
            machine.backup(tmp_path / "source")
            break
        except StoreFull:
            assert_whole(vault_on(memory))
            full += 1
        room += 10_000
    assert full >= 3
    machine.store = memory
    machine.checked(tmp_path / "source")
    assert_once(machine.vault, PackKind.DATA, lambda name: True)
