"""Helper processes: files are restored the same with them, without them, and if they die."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.points.choice import choose_point
from catalog.store.local import LocalStore
from catalog.store.memory import MemoryStore
from catalog.vault import open_vault
from mount.restore import pool, run
from mount.restore.folder import Folder
from mount.restore.pool import WriterPool
from mount.restore.report import Report
from mount.restore.spill import unpack_row
from mount.restore.temporary_names import TemporaryNames
from tests.kit.drives import Home
from tests.kit.make_faults import flip
from tests.kit.restoring import a_point, assert_same_trees, restore, temporaries
from tests.kit.sources import every_kind_and_deep
from tests.kit.stores import MOST
from tests.kit.vaultmaker import SmallFiles, open_empty
from tests.kit.vaults import PASSPHRASE

COUNT = 600


class Watched:
    """Records what the pools of restores did."""

    def __init__(self) -> None:
        self.made = 0
        self.pools: list[WriterPool] = []


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Helpers for any restore, and for blocks of any size."""
    assert pool.useful_helpers() > 0, (
        "this system has one processor, or can't pass descriptors: no restore has helpers here"
    )
    monkeypatch.setattr(run, "MANY", 1)
    monkeypatch.setattr(pool, "FEW", 1)
    found = Watched()
    write, start = WriterPool.write, WriterPool.__init__

    def counted(self: WriterPool, plan: Any, at: Any, sealed: Any, rows: Any) -> Any:
        left = write(self, plan, at, sealed, rows)
        found.made += len(rows) - len(left)
        return left

    def started(self: WriterPool, *args: Any, **options: Any) -> None:
        start(self, *args, **options)
        found.pools.append(self)

    monkeypatch.setattr(WriterPool, "write", counted)
    monkeypatch.setattr(WriterPool, "__init__", started)
    return found


@pytest.fixture(scope="module")
def many() -> SmallFiles:
    return SmallFiles(open_empty(MemoryStore()), folders=6, each=100)


def back(files: SmallFiles, to: Path, **options: Any) -> Report:
    return restore(files.vault, a_point(files.root), to, permissions=False, **options)


def check(files: SmallFiles, to: Path) -> None:
    for (folder, name), content in files.contents.items():
        assert (to / os.fsdecode(folder) / os.fsdecode(name)).read_bytes() == content
    assert temporaries(to) == []


@pytest.mark.needs_root
def test_everything_comes_back(tmp_path: Path, watched: Watched) -> None:
    every_kind_and_deep(tmp_path / "source")
    home = Home(tmp_path, tmp_path / "vault")
    home.run("vault", "create")
    home.run("backup", tmp_path / "source")
    vault = open_vault(LocalStore(tmp_path / "vault"), passphrase=PASSPHRASE)
    point = vault.point(choose_point(vault.point_names(), "latest"))
    report = restore(vault, point, tmp_path / "new", os.fsencode(tmp_path / "source"))
    assert report.problem_count == 0, report.problems
    assert_same_trees(tmp_path / "new" / "source", tmp_path / "source")
    assert watched.made >= 10


def test_helpers_make_what_is_simple(many: SmallFiles, tmp_path: Path, watched: Watched) -> None:
    report = back(many, tmp_path)
    assert (watched.made, report.written, report.problem_count) == (COUNT, COUNT, 0)
    assert report.written_bytes == sum(map(len, many.contents.values()))
    check(many, tmp_path)
    (one,) = watched.pools
    assert len(one.pids) == pool.useful_helpers()
    assert not [pid for pid in one.pids if Path(f"/proc/{pid}").exists()]


def test_few_files_need_none(many: SmallFiles, tmp_path: Path) -> None:
    assert COUNT < pool.MANY
    back(many, tmp_path)
    check(many, tmp_path)


def test_a_helper_gets_no_secret_where_others_can_see_it(
    many: SmallFiles, tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPDRIVE_PASSPHRASE", PASSPHRASE)
    seen: list[bytes] = []
    ask = pool._Helper.ask

    def looked(self: Any, *args: Any) -> Any:
        seen.append(Path(f"/proc/{self.pid}/cmdline").read_bytes() + Path(f"/proc/{self.pid}/environ").read_bytes())
        return ask(self, *args)

    monkeypatch.setattr(pool._Helper, "ask", looked)
    back(many, tmp_path)
    master = many.vault.keys.master
    assert seen
    for text in seen:
        assert b"mount.restore.worker" in text
        assert PASSPHRASE.encode() not in text
        assert master not in text
        assert master.hex().encode() not in text


@pytest.mark.parametrize("dying", ["before", "midway", "all"])
def test_a_helper_that_dies_costs_nothing_but_time(
    dying: str, many: SmallFiles, tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Iterator[int] = iter(range(10_000))
    ask = pool._Helper.ask
    names: list[bytes] = []
    start = pool._Helper.__init__

    def noted(self: Any, hello: Any) -> None:
        names.append(hello.names)
        start(self, hello)

    monkeypatch.setattr(pool._Helper, "__init__", noted)
    # A program that restores in its own process may not ignore SIGPIPE, which would end it. It comes to the thread
    # that writes: there it is held back, and looked for, so that no other thread of the tests dies of it.
    pipes: list[int] = []

    def quietly(self: Any, *args: Any) -> Any:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        try:
            return ask(self, *args)
        finally:
            if signal.SIGPIPE in signal.sigpending():
                pipes.append(signal.sigwait({signal.SIGPIPE}))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPIPE})

    def killed(self: Any, task: Any, sealed: Any, folders: Any) -> Any:
        if next(asked) == 1 or dying == "all":
            if dying == "midway":  # with a file that it was just making
                file = unpack_row(task.rows[3], lambda number: Folder(number, None, b"")).file
                left = TemporaryNames(names.pop()).numbered(file.number, helper=True)
                at = [number for number, _plain in task.folders].index(file.folder.number)
                os.close(os.open(left, os.O_CREAT | os.O_WRONLY, dir_fd=folders[at].fd))
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        return quietly(self, task, sealed, folders)

    monkeypatch.setattr(pool._Helper, "ask", killed)
    report = back(many, tmp_path)
    assert not pipes
    assert (report.written, report.problem_count) == (COUNT, 0)
    check(many, tmp_path)
    assert watched.made < COUNT
    assert (watched.made == 0) == (dying == "all")


def test_none_can_be_started(
    many: SmallFiles, tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no such program"))
    report = back(many, tmp_path / "to")
    assert (watched.made, report.written, report.problem_count) == (0, COUNT, 0)
    check(many, tmp_path / "to")


def test_a_file_created_during_the_restore_is_kept(
    many: SmallFiles, tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, there = WriterPool.write, tmp_path / "folder-003" / "file-007.txt"

    def disturbed(self: WriterPool, plan: Any, at: Any, sealed: Any, rows: Any) -> Any:
        if any(plan.unpack(row).file.folder.name == b"folder-003" for row in rows) and not there.exists():
            there.write_bytes(b"mine")
        return write(self, plan, at, sealed, rows)

    monkeypatch.setattr(WriterPool, "write", disturbed)
    report = back(many, tmp_path)
    assert there.read_bytes() == b"mine"
    (copy,) = (path for path in there.parent.iterdir() if path.name.startswith("file-007 "))
    assert copy.read_bytes() == many.contents[b"folder-003", b"file-007.txt"]
    assert (report.written, report.copies, report.problem_count) == (COUNT, 1, 0)


def test_a_damaged_block_is_reported_as_without_helpers(tmp_path: Path, watched: Watched) -> None:
    store = MemoryStore()
    files = SmallFiles(open_empty(store), folders=3, each=100)
    (pack,) = (info for info in store.list("packs/"))
    data = store.get(pack.name, MOST)
    store.delete(pack.name)
    store.create(pack.name, [flip(data, pack.size // 2)])
    report = back(files, tmp_path)
    assert report.written + report.damaged == 300
    assert 80 <= report.damaged <= 150, "one block of about 1 MiB"
    assert watched.made == report.written
    for (folder, name), content in files.contents.items():
        path = tmp_path / os.fsdecode(folder) / os.fsdecode(name)
        assert not path.exists() or path.read_bytes() == content
    assert temporaries(tmp_path) == []


@pytest.mark.needs_root
def test_unknown_owners_are_reported_once(many: SmallFiles, tmp_path: Path, watched: Watched) -> None:
    report = restore(many.vault, a_point(many.root), tmp_path, by_name=True)
    reasons = dict(report.reasons)
    assert set(reasons.values()) == {1}, reasons
    assert len(reasons) == report.problem_count > 0
    assert watched.made == report.written == COUNT
