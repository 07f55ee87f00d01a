"""Files without data are made beside planning and fetching, by a helper where there is one."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import LocalError
from catalog.format.values import Subtree
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from mount.restore import pool, run
from mount.restore.empty_files import EmptyFiles
from mount.restore.file_writer import FileWriter
from mount.restore.folder import Folder
from mount.restore.folder_table import FolderTable
from mount.restore.pool import WriterPool
from tests.kit.drives import Maker
from tests.kit.restoring import a_point, restore, temporaries
from tests.kit.vaultmaker import open_empty

COUNT = 600


@pytest.fixture(scope="module")
def point() -> tuple[Vault, Subtree]:
    """Empty files, one that is a hole, two names of one, and a file with data."""
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    nodes = [maker.file(b"empty %03d" % n) for n in range(COUNT - 4)]
    nodes += [maker.node(b"name %d" % n, size=0, content=[], link=7, nlink=2) for n in range(2)]
    return vault, maker.root(
        [maker.folder(b"many", [*nodes, maker.file(b"hole", 5000)]), maker.file(b"with", b"data")]
    )


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Helpers for any restore; how many files without data each task was given, and left."""
    monkeypatch.setattr(run, "MANY", 1)
    given: list[int] = []
    write = WriterPool.write

    def counted(self: WriterPool, plan: Any, at: Any, sealed: Any, rows: Any) -> Any:
        left = write(self, plan, at, sealed, rows)
        given.append(len(rows) - len(left) if not len(sealed) else 0)
        return left

    monkeypatch.setattr(WriterPool, "write", counted)
    return given


def check(to: Path) -> None:
    many = to / "many"
    assert sorted(path.name for path in many.iterdir()) == sorted(
        [*(f"empty {n:03d}" for n in range(COUNT - 4)), "name 0", "name 1", "hole"]
    )
    assert {path.stat().st_size for path in many.iterdir() if path.name != "hole"} == {0}
    assert {path.stat().st_mtime_ns for path in many.iterdir()} == {1_600_000_000_123_456_789}
    assert (many / "hole").read_bytes() == bytes(5000)
    assert (many / "name 0").samefile(many / "name 1")
    assert (to / "with").read_bytes() == b"data"
    assert temporaries(to) == []


def test_a_helper_makes_them(point: tuple[Vault, Subtree], tmp_path: Path, helped: list[int]) -> None:
    report = restore(point[0], a_point(point[1]), tmp_path, permissions=False)
    assert (report.written, report.problem_count, report.written_bytes) == (COUNT, 0, 4)
    assert sum(helped) == COUNT - 4 + 1, "all but the one with two names and the one with data"
    check(tmp_path)


@pytest.mark.parametrize("dead", [False, True])
def test_without_helpers(
    point: tuple[Vault, Subtree], tmp_path: Path, helped: list[int], monkeypatch: pytest.MonkeyPatch, dead: bool
) -> None:
    if dead:
        monkeypatch.setattr(pool._Helper, "ask", lambda *_args: None)
    else:
        monkeypatch.setattr(run, "MANY", COUNT + 1)
    report = restore(point[0], a_point(point[1]), tmp_path, permissions=False)
    assert (report.written, report.problem_count, sum(helped)) == (COUNT, 0, 0)
    check(tmp_path)


def test_data_does_not_wait_for_them(
    point: tuple[Vault, Subtree], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = threading.Event()
    make, whole = EmptyFiles._make, FileWriter.write_whole

    def late(self: EmptyFiles, *args: Any) -> None:
        assert written.wait(60)
        make(self, *args)

    def noted(self: FileWriter, file: Any, data: Any = b"") -> None:
        whole(self, file, data)
        if len(data):
            written.set()

    monkeypatch.setattr(EmptyFiles, "_make", late)
    monkeypatch.setattr(FileWriter, "write_whole", noted)
    restore(point[0], a_point(point[1]), tmp_path, permissions=False)
    check(tmp_path)


@pytest.mark.parametrize("error", [LocalError("the disk is full"), KeyboardInterrupt()])
def test_an_error_ends_them(
    point: tuple[Vault, Subtree], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    made: list[int] = []

    def failing(self: EmptyFiles, plan: Any, rows: list[bytes]) -> None:
        made.append(len(rows))
        raise error

    monkeypatch.setattr(EmptyFiles, "_make", failing)
    with pytest.raises(type(error)):
        restore(point[0], a_point(point[1]), tmp_path, permissions=False)
    assert len(made) == 1, "no more was begun"
    monkeypatch.undo()
    report = restore(point[0], a_point(point[1]), tmp_path, permissions=False)
    assert report.problem_count == 0
    check(tmp_path)


def test_folders_are_found_while_others_are_settled() -> None:
    table = FolderTable(Folder(0, None, b""))
    wrong: list[int] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            number = len(table) - 1
            if table.get(number).number != number:
                wrong.append(number)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for n in range(20_000):
            table.settle(table.add(table.root, b"%d" % n))
    finally:
        ended.set()
        looking.join()
    assert not wrong
    table.close()
