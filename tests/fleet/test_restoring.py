"""A restore in many parts leaves what a single one does, and says the same of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from catalog.points.choice import choose_point
from catalog.store.local import LocalStore
from catalog.store.metered import MeteredStore
from catalog.vault import open_vault
from mount.fleet.restoring import site
from mount.fleet.restoring.spans import Limits
from mount.restore.conflict import Policy
from mount.restore.disk.this import THIS_DISK
from mount.restore.report import Report
from tests.kit.drives import Home, noise
from tests.kit.restoring import assert_same_attributes, assert_same_trees, restore, temporaries
from tests.kit.sources import a_bit_of_everything, attributed, every_kind
from tests.kit.together import parts_here, together
from tests.kit.vaults import PASSPHRASE, make_vault

pytestmark = pytest.mark.needs_root
FEW = Limits(60, 1_000_000)


class Source(Home):
    """A backup of every kind of file, of many names in one folder, and of links between far-away folders."""

    def __init__(self, folder: Path) -> None:
        make_vault(folder / "vault")
        super().__init__(folder, folder / "vault")
        self.source = folder / "source"
        every_kind(self.source / "plain")
        os.truncate(self.source / "plain" / "only a hole", 1 << 20)
        shutil.rmtree(self.source / "plain" / "deep" / "level 0" / "level 1" / "level 2" / "level 3")
        attributed(self.source / "attributed")
        a_bit_of_everything(self.source / "bit")
        for n in range(5):
            linked = self.source / f"tree {n}" / "in"
            linked.mkdir(parents=True)
            for k in range(20):
                if n == 0:
                    (linked / f"file {k}").write_bytes(noise(100 + 200_000 * (k % 7 == 0), k))
                else:
                    (linked / f"file {k}").hardlink_to(self.source / "tree 0" / "in" / f"file {k}")
        (self.source / "many").mkdir()
        for n in range(300):
            (self.source / "many" / f"name {n}").write_bytes(b"%d" % n)
        self.run("backup", self.source)
        self.open = open_vault(LocalStore(self.vault), passphrase=PASSPHRASE)
        self.point = self.open.point(choose_point(self.open.point_names(), "latest"))
        self.path = os.fsencode(self.source)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    home = Source(tmp_path_factory.mktemp("fleet"))
    yield home
    home.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "LATE", 0.0)
    monkeypatch.setattr(site, "_LOOK_EVERY", 0.0)


def counts(report: Report) -> dict[str, Any]:
    names = ("entries", "files", "size", "written", "written_bytes", "same", "same_bytes", "corrected", "kept",
             "copies", "replaced", "verified", "lost", "damaged", "renamed_count", "problem_count")  # fmt: skip
    found: dict[str, Any] = {name: getattr(report, name) for name in names}
    return found | {
        "problems": sorted(report.problems),
        "renames": sorted(report.renames),
        "limits": report.limits,
        "reasons": report.reasons,
    }


def assert_same(found: Path, wanted: Path) -> None:
    assert_same_trees(found / "source", wanted / "source")
    assert_same_attributes(found, wanted)
    assert set(os.listdir(found)) == set(os.listdir(wanted)) and not temporaries(found)


@pytest.mark.parametrize("backwards", [False, True])
def test_it_is_what_a_single_restore_makes(source: Source, tmp_path: Path, backwards: bool) -> None:
    single = restore(source.open, source.point, tmp_path / "single", source.path)
    do = parts_here(source.open, backwards=backwards)
    report = together(source.open, source.point, tmp_path / "to", source.path, do=do, limits=FEW)
    assert_same(tmp_path / "to", tmp_path / "single")
    assert_same_trees(tmp_path / "to" / "source", source.source)
    assert counts(report) == counts(single)
    # Again: all is there, and stays as it is, but for a folder that lacks a file.
    (tmp_path / "single" / "source" / "many" / "name 7").unlink()
    (tmp_path / "to" / "source" / "many" / "name 7").unlink()
    single = restore(source.open, source.point, tmp_path / "single", source.path, verify=True)
    report = together(source.open, source.point, tmp_path / "to", source.path, do=do, limits=FEW, verify=True)
    assert counts(report) == counts(single) and single.written == 1
    for top in ("to", "single"):
        os.utime(tmp_path / top / "source" / "many", ns=(0, 0))
    assert_same(tmp_path / "to", tmp_path / "single")


def test_nobody_looks_for_names_in_a_folder_that_is_new(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who makes a folder fills it, if it fits into a part, and so need not look what is in it already."""
    looked: list[bytes] = []
    lstat = os.lstat

    def counted(path: bytes, *, dir_fd: int | None = None) -> os.stat_result:
        looked.append(path)
        return lstat(path, dir_fd=dir_fd)

    monkeypatch.setattr(type(THIS_DISK), "lstat", staticmethod(counted))
    for entries, looks in ((301, 0), (300, 600)):  # the folder and its 300 names; else for each name and its twin
        looked.clear()
        together(source.open, source.point, tmp_path / str(entries), source.path, limits=Limits(entries, 1 << 30))
        assert sum(path.lower().startswith(b"name ") for path in looked) == looks


def _note(parts: list[int], number: int, _body: bytes) -> None:
    parts.append(number)


def test_what_parts_ask_the_store(source: Source, tmp_path: Path) -> None:
    """A single restore asks for the trees and the data. One worker reads the trees once more, whatever the number
    of parts, and a range for each part that has data: 16 of 19."""
    meter = MeteredStore(LocalStore(source.vault))
    vault = open_vault(meter, passphrase=PASSPHRASE)
    point = vault.point(choose_point(vault.point_names(), "latest"))
    spent: list[tuple[int, int]] = []
    for n, limits in enumerate((None, Limits(10**6, 1 << 30), Limits(200, 1 << 30), FEW)):
        before = meter.snapshot()
        parts: list[int] = []
        if limits is None:
            restore(vault, point, tmp_path / str(n), source.path)
        else:
            do = parts_here(vault, partial(_note, parts))
            together(vault, point, tmp_path / str(n), source.path, do=do, limits=limits)
        spent.append((len(parts), (meter.snapshot() - before).requests))
    assert spent == [(0, 2), (1, 3), (3, 5), (19, 18)]


def test_a_folder_that_was_complete_keeps_its_time(source: Source, tmp_path: Path) -> None:
    """A file that an earlier restore could not write is written into it, by whoever comes first."""
    for top in (tmp_path / "single", tmp_path / "to"):
        restore(source.open, source.point, top, source.path)
        many = top / "source" / "many"
        time = many.stat().st_mtime_ns
        (many / "name 7").unlink()
        os.utime(many, ns=(time, time))
    restore(source.open, source.point, tmp_path / "single", source.path)
    together(source.open, source.point, tmp_path / "to", source.path, limits=FEW)
    assert_same(tmp_path / "to", tmp_path / "single")
    assert (tmp_path / "to" / "source" / "many").stat().st_mtime_ns == time


@pytest.mark.parametrize("policy", list(Policy))
def test_what_exists(source: Source, tmp_path: Path, policy: Policy) -> None:
    """Files, links, folders and symlinks in the way are dealt with as a single restore does."""
    for top in (tmp_path / "single", tmp_path / "to"):
        to = top / "source"
        restore(source.open, source.point, top, source.path)
        (to / "many" / "name 1").write_bytes(b"another")
        (to / "many" / "name 2").unlink()
        (to / "many" / "name 2").mkdir()
        for n in (1, 3):
            (to / f"tree {n}" / "in" / "file 3").unlink()
            (to / f"tree {n}" / "in" / "file 3").write_bytes(b"another one")
            os.utime(to / f"tree {n}" / "in" / "file 3", ns=(5, 5))
        shutil.rmtree(to / "bit" / "a")
        (to / "bit" / "a").write_bytes(b"no folder")
        shutil.rmtree(to / "tree 4")
        (tmp_path / "outside").mkdir(exist_ok=True)
        (to / "tree 4").symlink_to(tmp_path / "outside")
    single = restore(source.open, source.point, tmp_path / "single", source.path, policy=policy)
    report = together(source.open, source.point, tmp_path / "to", source.path, limits=FEW, policy=policy)
    assert counts(report) == counts(single)
    assert_same_trees(tmp_path / "to" / "source", tmp_path / "single" / "source", flags="-rlpgoHAXScD")
    assert os.listdir(tmp_path / "outside") == []


@pytest.mark.slow
def test_the_command(source: Source, tmp_path: Path) -> None:
    """Two processes, which got the key through a pipe: the result, the record and the tree of a single restore."""
    wanted = json.loads(source.run("restore", f"latest:{source.source}", "--to", tmp_path / "one", "--json").stdout)
    command = ("fleet", "restore", f"latest:{source.source}", "--to", tmp_path / "to", "--on", "local:2", "--json")
    row = json.loads(source.run(*command).stdout)
    assert_same(tmp_path / "to", tmp_path / "one")
    own = {"job", "started", "finished", "seconds", "target", "fleet"}
    assert {k: v for k, v in row.items() if k not in own} == {k: v for k, v in wanted.items() if k not in own}
    assert row["fleet"]["pieces"] >= 1 and row["fleet"]["failed"] == 0
    jobs = json.loads(source.run("jobs", "--json").stdout)
    found = [job for job in (jobs if isinstance(jobs, list) else jobs["jobs"]) if job["kind"] == "restore"]
    assert len(found) == 2 and found[0]["outcome"] == found[1]["outcome"]
