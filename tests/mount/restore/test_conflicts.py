"""Existing files: copies, overwriting, skipping, the newer; folders are merged; no file is half-written."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.format.records import Point
from catalog.format.values import NodeKind
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from mount.restore.conflict import NAME_MAX, Action, Existing, Policy, copy_name, decide
from mount.restore.file_writer import FileWriter
from mount.restore.report import Planned
from mount.restore.selection import Selection
from tests.kit.drives import Maker, noise
from tests.kit.restoring import TIME, a_point, restore, temporaries
from tests.kit.vaultmaker import open_empty

WHEN = datetime.fromtimestamp(TIME // 10**9).strftime("%Y-%m-%d %H.%M")
OLD, SAVED, NEW = 10**18, 16 * 10**17, 17 * 10**17  # ns


@pytest.fixture(scope="module")
def made() -> tuple[Vault, Point]:
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    inner = [maker.file(b"report.txt", b"saved", mtime=SAVED), maker.file(b"big.bin", noise(700_000), mtime=SAVED)]
    nodes = [
        maker.folder(b"docs", inner, mtime=SAVED),
        maker.file(b"notes.tar.gz", b"notes", mtime=SAVED),
        maker.node(b"link", NodeKind.SYMLINK, content=b"saved-target", mode=0o777),
        maker.file(b"empty", mtime=SAVED),
    ]
    return vault, a_point(maker.root(nodes))


def run(made: tuple[Vault, Point], to: Path, *paths: bytes, **options: Any) -> Any:
    vault, point = made
    report = restore(vault, point, to, *paths, permissions=False, **options)
    assert report.problem_count == 0, report.problems
    assert temporaries(to) == []
    return report


def put(path: Path, text: bytes, mtime: int = NEW) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text)
    os.utime(path, ns=(mtime, mtime))
    return path


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_where_files_are_restored(made: tuple[Vault, Point], tmp_path: Path) -> None:
    run(made, tmp_path / "file", b"/docs/report.txt")
    assert names(tmp_path / "file") == ["report.txt"]
    run(made, tmp_path / "folder", b"docs/")
    assert names(tmp_path / "folder") == ["docs"] and names(tmp_path / "folder/docs") == ["big.bin", "report.txt"]
    run(made, tmp_path / "all")
    assert names(tmp_path / "all") == ["docs", "empty", "link", "notes.tar.gz"]
    run(made, tmp_path / "several", b"docs/report.txt", b"empty", b"docs")
    assert names(tmp_path / "several") == ["docs", "empty", "report.txt"]
    assert (tmp_path / "several/docs").stat().st_mtime_ns == SAVED


def test_a_copy_is_put_beside_the_existing_file(made: tuple[Vault, Point], tmp_path: Path) -> None:
    mine = put(tmp_path / "docs/report.txt", b"mine")
    put(tmp_path / "notes.tar.gz", b"mine")
    (tmp_path / "link").symlink_to("my-target")
    report = run(made, tmp_path)
    assert report.copies == 3 and mine.read_bytes() == b"mine"
    assert names(tmp_path / "docs") == ["big.bin", f"report ({WHEN}).txt", "report.txt"]
    assert (tmp_path / f"docs/report ({WHEN}).txt").read_bytes() == b"saved"
    assert (tmp_path / f"notes ({WHEN}).tar.gz").read_bytes() == b"notes"
    assert os.readlink(tmp_path / f"link ({WHEN})") == "saved-target"
    # Again: the copies are there already.
    again = run(made, tmp_path)
    assert (again.written, again.copies) == (0, 0) and len(names(tmp_path / "docs")) == 3
    # A copy that was changed since is not touched either.
    put(tmp_path / f"docs/report ({WHEN}).txt", b"changed")
    assert run(made, tmp_path).copies == 1
    assert (tmp_path / f"docs/report ({WHEN}) (2).txt").read_bytes() == b"saved"


@pytest.mark.parametrize(
    ("policy", "older", "newer"),
    [
        (Policy.OVERWRITE, b"saved", b"saved"),
        (Policy.SKIP, b"mine", b"mine"),
        (Policy.NEWER, b"saved", b"mine"),
        (Policy.COPY, b"mine", b"mine"),
    ],
)
def test_policies(made: tuple[Vault, Point], tmp_path: Path, policy: Policy, older: bytes, newer: bytes) -> None:
    for age, wanted, mtime in (("older", older, OLD), ("newer", newer, NEW)):
        mine = put(tmp_path / age / "docs/report.txt".replace("docs/", ""), b"mine", mtime)
        big = put(tmp_path / age / "big.bin", b"mine", mtime)
        run(made, tmp_path / age, b"docs/report.txt", b"docs/big.bin", policy=policy)
        assert mine.read_bytes() == wanted
        assert big.read_bytes() == (b"mine" if wanted == b"mine" else noise(700_000))
        assert len(names(tmp_path / age)) == (4 if policy is Policy.COPY else 2)


def test_a_dry_run_lists_each_and_writes_nothing(made: tuple[Vault, Point], tmp_path: Path) -> None:
    put(tmp_path / "docs/report.txt", b"mine")
    put(tmp_path / "empty", b"", SAVED)
    report = run(made, tmp_path, dry_run=True)
    assert set(report.planned) == {
        Planned(b"docs/big.bin", "write", 700_000),
        Planned(b"docs/report.txt", "copy", 5, f"report ({WHEN}).txt".encode()),
        Planned(b"empty", "same", 0),
        Planned(b"link", "write", 0),
        Planned(b"notes.tar.gz", "write", 5),
    }
    assert names(tmp_path) == ["docs", "empty"] and names(tmp_path / "docs") == ["report.txt"]
    run(made, tmp_path / "missing", dry_run=True)
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("before", ["nothing", "linked", "equal", "other"])
def test_a_dry_run_knows_what_becomes_of_further_names(tmp_path: Path, policy: Policy, before: str) -> None:
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    first = maker.file(b"a", b"saved", mtime=SAVED, link=1, nlink=2)
    second = maker.node(b"b", size=5, content=first.content, mtime=SAVED, link=1, nlink=2)
    point = a_point(maker.root([first, second]))
    if before != "nothing":
        put(tmp_path / "a", b"saved", SAVED)
        if before == "linked":
            (tmp_path / "b").hardlink_to(tmp_path / "a")
        put(tmp_path / "b", b"saved" if before != "other" else b"mine", SAVED if before != "other" else NEW)
    dry = run((vault, point), tmp_path, dry_run=True, policy=policy)
    found = run((vault, point), tmp_path, policy=policy)
    actions = [planned.action for planned in dry.planned]
    done = {"replace": found.replaced, "copy": found.copies, "keep": found.kept, "same": found.same}
    done["write"] = found.written - found.replaced - found.copies
    assert {action: actions.count(action) for action in done} == done


def test_a_file_created_during_the_restore_is_kept(
    made: tuple[Vault, Point], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = FileWriter._write_whole

    def disturbed(self: FileWriter, folder: int, file: Any, data: Any) -> None:
        put(tmp_path / "docs/report.txt", b"mine")
        write(self, folder, file, data)

    monkeypatch.setattr(FileWriter, "_write_whole", disturbed)
    run(made, tmp_path, b"docs")
    assert (tmp_path / "docs/report.txt").read_bytes() == b"mine"
    assert (tmp_path / f"docs/report ({WHEN}).txt").read_bytes() == b"saved"


def test_verify_compares_contents(made: tuple[Vault, Point], tmp_path: Path) -> None:
    run(made, tmp_path)
    forged = put(tmp_path / "docs/big.bin", noise(700_000, 2), SAVED)  # of the same size and time
    assert run(made, tmp_path, policy=Policy.OVERWRITE).written == 0
    report = run(made, tmp_path, policy=Policy.OVERWRITE, verify=True)
    assert (report.written, report.verified) == (1, 1)
    assert forged.read_bytes() == noise(700_000)


def test_folders_and_files_never_replace_each_other(made: tuple[Vault, Point], tmp_path: Path) -> None:
    vault, point = made
    for policy in Policy:
        to = tmp_path / policy
        put(to / "docs", b"a file")
        (to / "empty").mkdir()
        report = restore(vault, point, to, policy=policy, permissions=False)
        assert (to / "docs").read_bytes() == b"a file" and (to / "empty").is_dir()
        if policy in (Policy.OVERWRITE, Policy.NEWER):
            assert sorted(p.path for p in report.problems) == [b"docs", b"empty"]
        else:
            assert (to / f"docs ({WHEN})" / "report.txt").exists() == (policy is Policy.COPY)


def test_choosing_by_patterns(made: tuple[Vault, Point], tmp_path: Path) -> None:
    run(made, tmp_path / "a", selection=Selection(["*.txt"]))
    assert names(tmp_path / "a") == ["docs"] and names(tmp_path / "a/docs") == ["report.txt"]
    run(made, tmp_path / "b", selection=Selection([], ["docs/big.bin", "/link"]))
    assert names(tmp_path / "b") == ["docs", "empty", "notes.tar.gz"]
    run(made, tmp_path / "c", selection=Selection(["/docs/"], ["*.txt"]))
    assert names(tmp_path / "c") == ["docs"] and names(tmp_path / "c/docs") == ["big.bin"]
    run(made, tmp_path / "d", selection=Selection(["/DOCS/"], ["*.TXT"], ignore_case=True))
    assert names(tmp_path / "d") == ["docs"] and names(tmp_path / "d/docs") == ["big.bin"]


def test_existing_folders_stay_as_they_are(made: tuple[Vault, Point], tmp_path: Path) -> None:
    vault, point = made
    for policy, mode in ((Policy.COPY, 0o700), (Policy.OVERWRITE, 0o755)):
        folder = tmp_path / policy / "docs"
        folder.mkdir(parents=True)
        folder.chmod(0o700)
        restore(vault, point, tmp_path / policy, b"docs", policy=policy)
        assert folder.stat().st_mode & 0o7777 == mode


@given(st.binary(min_size=1, max_size=255).filter(lambda n: b"/" not in n and b"\0" not in n), st.integers(1, 3))
def test_names_of_copies(name: bytes, number: int) -> None:
    beside = copy_name(name, TIME, number)
    assert beside != name and 0 < len(beside) <= NAME_MAX and beside.count(b":") <= name.count(b":")
    assert WHEN.encode() in beside and (number == 1 or b"(%d)" % number in beside)


@given(st.sampled_from(list(Policy)), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_nothing_newer_is_lost_unasked(policy: Policy, there: int, wanted: int, same: bool) -> None:
    action = decide(policy, Existing(0, 1, there), Existing(0, 1 if same else 2, wanted))
    if action is Action.REPLACE:
        assert policy is Policy.OVERWRITE or (policy is Policy.NEWER and wanted > there)
    assert decide(policy, None, Existing(0, 1, wanted)) is Action.WRITE
