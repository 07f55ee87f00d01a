"""What goes wrong with WinFsp and winfspy unless it is known: each of it, on the stand-in for WinFsp."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from cache.reader import Reader
from catalog.errors import Damaged
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from mount.drivers.winfsp import ntstatus
from mount.drivers.winfsp.ntstatus import status_of
from mount.view.point import PointView
from tests.kit.drives import Maker, add_point, noise
from tests.kit.faults import UnreachableStore
from tests.kit.stores import MOST
from tests.kit.winfsp_drives import AT, Served, a_vault, a_view, refused, serving, small_point

MANY = 20_000


@pytest.fixture
def small() -> Iterator[tuple[PointView, Reader]]:
    with small_point() as found:
        yield found


# --- large folders ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large() -> Iterator[tuple[Served, MeteredStore, list[str]]]:
    store = MeteredStore(MemoryStore())
    vault = a_vault(store)
    m = Maker(vault)
    rng = random.Random(5)
    names = sorted({rng.randbytes(rng.randrange(3, 40)).hex() for _ in range(MANY)})
    folder = m.folder(b"many", [m.node(name.encode(), content=[]) for name in names])
    reader = Reader(vault)
    view = a_view(vault, reader, [folder, m.file(b"small", b"x")], m)
    with serving(view, reader) as served:
        yield served, store, names


@pytest.mark.parametrize("length", [1000, 65_536])
def test_a_large_folder_lists_every_name_once(large: tuple[Served, MeteredStore, list[str]], length: int) -> None:
    served, _store, names = large
    assert served.caller.names("\\many", length=length) == names


def test_a_large_folder_is_read_on_from_any_marker(large: tuple[Served, MeteredStore, list[str]]) -> None:
    served, store, names = large
    tree = served.drive.operations.tree
    folder = tree.find("\\many")
    rng = random.Random(1)
    before = store.snapshot()
    for place in [0, len(names) - 1, *(rng.randrange(len(names)) for _ in range(50))]:
        following = [name for name, _info in zip_short(tree.entries(folder, names[place]), 5)]
        assert following == names[place + 1 : place + 6]
    assert (store.snapshot() - before).requests == 0
    assert [name for name, _ in zip_short(tree.entries(folder, "."), 2)] == ["..", names[0]]
    assert [name for name, _ in zip_short(tree.entries(folder, ".."), 1)] == [names[0]]


def zip_short(entries: Iterator[tuple[str, Any]], count: int) -> list[tuple[str, Any]]:
    return [row for row, _n in zip(entries, range(count), strict=False)]


def test_a_name_in_a_large_folder_costs_a_page_and_not_the_folder() -> None:
    store = MeteredStore(MemoryStore())
    vault = a_vault(store)
    m = Maker(vault)
    names = [f"{n:06x}" for n in range(MANY)]
    folder = m.folder(b"many", [m.node(name.encode(), content=[]) for name in names])
    reader = Reader(vault)
    with serving(a_view(vault, reader, [folder], m), reader) as served:
        before = store.snapshot()
        assert served.caller.find("\\many\\" + names[12_345]).name == names[12_345]
        spent = store.snapshot() - before
        assert spent.requests <= 3
        # Windows asked in upper case; the folder was not listed for that.
        assert served.drive.operations.tree.names.indexed == 0
        before = store.snapshot()
        served.caller.stat("\\many\\" + names[12_345])
        assert (store.snapshot() - before).requests == 0


def test_a_buffer_without_room_for_one_name_is_no_end(small: tuple[PointView, Reader]) -> None:
    with serving(*small) as served:
        opened = served.drive.operations.open("\\", 0, 0)
        with pytest.raises(ntstatus.NtRefusal) as caught:
            served.drive.operations.rows_after(opened, None, 100)
        assert caught.value.number == ntstatus.BUFFER_TOO_SMALL
        rows, whole = served.drive.operations.rows_after(opened, None, 112)
        assert len(rows) == 1 and not whole


# --- errors -----------------------------------------------------------------------------------------------------


def test_damaged_data_is_an_error_and_nothing_else() -> None:
    memory = MemoryStore()
    vault = a_vault(memory)
    m = Maker(vault)
    nodes = [m.file(b"bad", noise(500_000)), m.file(b"good", noise(300_000, 2)), m.file(b"gone", noise(1000, 3))]
    bad, _good, gone = m.data.names
    reader = Reader(vault)
    view = a_view(vault, reader, nodes, m)
    data = bytearray(memory.get(bad, MOST))
    data[1000] ^= 1
    memory.delete(bad)
    memory.create(bad, [bytes(data)])
    memory.delete(gone)
    with serving(view, reader) as served:
        refused(ntstatus.DATA_ERROR, served.caller.read, "\\bad")
        refused(ntstatus.DATA_ERROR, served.caller.read, "\\gone")
        assert served.caller.read("\\good") == noise(300_000, 2)
        errors = served.drive.errors
        assert errors.count >= 2 and {row["path"] for row in errors.recent} == {"\\bad", "\\gone"}


def test_while_the_store_is_away_reads_fail_and_then_succeed() -> None:
    away = UnreachableStore(MemoryStore(), reachable=True)
    vault = a_vault(away)
    m = Maker(vault)
    nodes = [m.file(b"file", noise(300_000)), m.folder(b"folder", [m.file(b"inner", b"x")])]
    reader = Reader(vault)
    with serving(a_view(vault, reader, nodes, m), reader) as served:
        away.reachable = False
        refused(ntstatus.NETWORK_UNREACHABLE, served.caller.names, "\\")
        away.reachable = True
        assert served.caller.names("\\") == ["file", "folder"]
        away.reachable = False
        assert served.caller.stat("\\file").size == 300_000
        refused(ntstatus.NETWORK_UNREACHABLE, served.caller.read, "\\file")
        away.reachable = True
        assert served.caller.read("\\file") == noise(300_000)
        assert served.drive.handles == 0


def test_every_error_has_its_status() -> None:
    from catalog import errors

    for kind in (errors.Damaged, errors.MissingData):
        assert status_of(kind("x")) == ntstatus.DATA_ERROR
    assert status_of(errors.NotFound("x")) == ntstatus.OBJECT_NAME_NOT_FOUND
    assert status_of(errors.StoreUnreachable("x")) == ntstatus.NETWORK_UNREACHABLE
    assert status_of(errors.AccessDenied("x")) == ntstatus.IO_DEVICE_ERROR
    assert status_of(TimeoutError()) == ntstatus.IO_TIMEOUT
    assert status_of(MemoryError()) == ntstatus.INSUFFICIENT_RESOURCES
    assert status_of(KeyError("a bug")) == ntstatus.UNEXPECTED_IO_ERROR
    winfspy_knows = {int(status) for status in standin_statuses()}
    ours = {value for name, value in vars(ntstatus).items() if name.isupper() and isinstance(value, int)}
    assert ours <= winfspy_knows


def standin_statuses() -> Any:
    from winfspy.plumbing import NTSTATUS

    return NTSTATUS


def test_what_nobody_thought_of_is_logged_and_fails(
    small: tuple[PointView, Reader], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(*small) as served:
        tree = served.drive.operations.tree
        with served.caller.open("\\a") as file, served.caller.open("\\") as folder:
            for name in ("find", "info", "entries", "stream_sizes", "resolve", "child", "reparse", "security"):
                monkeypatch.setattr(tree, name, _broken)
            refused(ntstatus.UNEXPECTED_IO_ERROR, served.caller.open, "\\b")
            refused(ntstatus.UNEXPECTED_IO_ERROR, list, folder.entries())
            refused(ntstatus.UNEXPECTED_IO_ERROR, file.streams)
            refused(ntstatus.UNEXPECTED_IO_ERROR, file.security)
            refused(ntstatus.UNEXPECTED_IO_ERROR, file.reparse_point)
            monkeypatch.undo()
            assert file.read(0, 10) == b"x"
            monkeypatch.setattr(served.drive.operations, "_parts", _broken)
            refused(ntstatus.UNEXPECTED_IO_ERROR, file.read, 0, 10)
            monkeypatch.undo()
    assert "a bug" in caplog.text and "winfspy" not in {record.name for record in caplog.records}


def _broken(*_arguments: Any, **_named: Any) -> Any:
    raise KeyError("a bug")


def test_a_listing_that_breaks_off_does_not_look_whole(
    small: tuple[PointView, Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(*small) as served:
        tree = served.drive.operations.tree
        entries = tree.entries

        def cut(folder: Any, marker: str | None) -> Iterator[Any]:
            for n, row in enumerate(entries(folder, marker)):
                if n or marker:
                    raise Damaged("the second page")
                yield row

        monkeypatch.setattr(tree, "entries", cut)
        with served.caller.open("\\") as handle:
            assert [e.name for e in handle.query_directory(restart=True)] == ["a"]
            refused(ntstatus.DATA_ERROR, handle.query_directory)


# --- threads, handles, requests ---------------------------------------------------------------------------------


def test_many_threads_at_once() -> None:
    vault = a_vault(MemoryStore())
    m = Maker(vault)
    contents = {f"f{n}\\{k}": noise(3000 + n, n * 100 + k) for n in range(8) for k in range(40)}
    nodes = [m.folder(b"f%d" % n, [m.file(b"%d" % k, contents[f"f{n}\\{k}"]) for k in range(40)]) for n in range(8)]
    reader = Reader(vault)
    wrong: list[str] = []
    with serving(a_view(vault, reader, nodes, m), reader) as served:

        def work(seed: int) -> None:
            rng = random.Random(seed)
            for _ in range(60):
                path = rng.choice(list(contents))
                if served.caller.read("\\" + path) != contents[path]:
                    wrong.append(path)
                if len(served.caller.names(f"\\f{rng.randrange(8)}", length=900)) != 40:
                    wrong.append("listing")

        threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert wrong == [] and served.drive.handles == 0 and served.drive.operations.opened == []
        assert served.drive.served > 0 and served.drive.errors.count == 0


def test_handles_are_counted(small: tuple[PointView, Reader]) -> None:
    with serving(*small) as served:
        with served.caller.open("\\a"), served.caller.open("\\a") as second:
            assert served.drive.handles == 2
            second.cleanup()  # Windows may keep it for its cache, but no handle is open
            assert served.drive.handles == 1 and len(served.drive.operations.opened) == 2
        assert served.drive.handles == 0 and served.drive.status()["handles"] == 0


def test_requests_are_those_of_the_other_drivers() -> None:
    store = MeteredStore(MemoryStore())
    vault = a_vault(store)
    m = Maker(vault)
    nodes = [m.folder(b"f%d" % n, [m.file(b"%d" % k, b"%d" % k) for k in range(20)]) for n in range(5)]
    big = m.file(b"big", noise(1_000_000), noise(1_000_000, 2))
    point = add_point(vault, m.root([*nodes, big]), 1, AT)
    view = PointView(Reader(vault), point)
    before = store.snapshot()
    for page in view.root.pages():
        for n, name in enumerate(page.names):
            node = page.node(n)
            if name == b"big":
                node.open().read(0, 4096)  # type: ignore[attr-defined]
            else:
                list(node.pages())  # type: ignore[attr-defined]
    bare = store.snapshot() - before
    reader = Reader(vault)
    with serving(PointView(reader, msgspec.structs.replace(point, distinct_names=True)), reader) as served:
        before = store.snapshot()
        list(served.caller.walk())
        with served.caller.open("\\big") as handle:
            handle.read(0, 4096)
        spent = store.snapshot() - before
        assert spent.requests <= bare.requests
        before = store.snapshot()
        list(served.caller.walk())
        with served.caller.open("\\big") as handle:
            handle.read(0, 4096)
        assert (store.snapshot() - before).requests == 0
