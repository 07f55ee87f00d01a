"""The files that a backup walks: excludes, file systems, its own folders, paths in every form."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.format.records import Point
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from tests.kit.cli import Cli
from tests.kit.protected import Protected
from tests.kit.recorded import PointReader, of_source
from tests.kit.vaults import CHEAP, PASSPHRASE


@pytest.fixture
def machine(tmp_path: Path) -> Protected:
    return Protected(MemoryStore(), tmp_path / "state")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for name in ("a/b/c", "cache/deep", "keep/cache", "x y"):
        (folder / name).mkdir(parents=True)
    for name in (
        "a/1.tmp",
        "a/2.txt",
        "a/b/3.tmp",
        "a/b/keep.tmp",
        "a/b/c/4",
        "cache/deep/5",
        "keep/cache/6",
        "x y/7",
    ):
        (folder / name).write_text(name)
    return folder


def names(machine: Protected, point: Point | None, folder: Path) -> set[str]:
    """The files of a point below a folder."""
    assert point is not None
    return {os.fsdecode(p) for p, e in machine.snapshot(point, folder).entries.items() if e.kind == 0}


ALL = {"a/1.tmp", "a/2.txt", "a/b/3.tmp", "a/b/keep.tmp", "a/b/c/4", "cache/deep/5", "keep/cache/6", "x y/7"}


@pytest.mark.parametrize(
    ("patterns", "left_out"),
    [
        (("*.tmp",), {"a/1.tmp", "a/b/3.tmp", "a/b/keep.tmp"}),
        (("*.tmp", "!keep.tmp"), {"a/1.tmp", "a/b/3.tmp"}),
        (("cache/",), {"cache/deep/5", "keep/cache/6"}),
        (("{folder}/cache/",), {"cache/deep/5"}),
        (("{folder}/a/**/*.tmp",), {"a/1.tmp", "a/b/3.tmp", "a/b/keep.tmp"}),
        (("cache/", "!cache/deep/5"), {"cache/deep/5", "keep/cache/6"}),  # not below an excluded folder
        (("{folder}/a/*", "!{folder}/a/b/"), {"a/1.tmp", "a/2.txt"}),
        (("x y",), {"x y/7"}),
        (("[0-9]",), {"a/b/c/4", "cache/deep/5", "keep/cache/6", "x y/7"}),
        (("nothing", "# a comment", ""), set()),
    ],
)
def test_excludes(machine: Protected, folder: Path, patterns: tuple[str, ...], left_out: set[str]) -> None:
    given = tuple(p.format(folder=folder) for p in patterns)
    machine.backup(folder)
    outcome = machine.backup(folder, excludes=given)
    assert names(machine, outcome.point, folder) == ALL - left_out
    assert outcome.problems == []
    assert outcome.point is not None
    assert outcome.point.excludes == list(given)
    assert names(machine, machine.backup(folder).point, folder) == ALL


def test_name_that_is_no_text_is_excluded(machine: Protected, folder: Path) -> None:
    (folder / os.fsdecode(b"\xff.tmp")).touch()
    assert names(machine, machine.backup(folder, excludes=("*.tmp",)).point, folder) == {
        n for n in ALL if not n.endswith(".tmp")
    }


def test_what_was_asked_for_is_excluded(machine: Protected, folder: Path) -> None:
    """It is a problem: an empty point alone would look like a success."""
    outcome = machine.backup(folder / "a", folder / "x y", excludes=("a/",))
    assert [(p.path, p.reason) for p in outcome.problems] == [
        (os.fsencode(folder / "a").strip(b"/"), "given as a path, but left out by the rule a/ (--exclude)")
    ]
    assert names(machine, outcome.point, folder) == {"x y/7"}


# --- paths ----------------------------------------------------------------------------------------------------


def latest(vault: Vault) -> Point:
    return vault.point(max(vault.point_names(), key=lambda n: n.time))


def saved(vault: Vault, folder: Path) -> set[str]:
    found = PointReader(vault).snapshot(latest(vault), folder).entries
    return {os.fsdecode(p) for p, e in found.items() if e.kind == 0}


def test_paths_in_each_other(machine: Protected, folder: Path) -> None:
    for paths in ((folder / "a" / "b", folder / "a"), (folder / "a", folder / "a", folder / "a" / "b" / "c" / "4")):
        outcome = machine.backup(*paths)
        assert outcome.problems == []
        assert names(machine, outcome.point, folder) == {n for n in ALL if n.startswith("a/")}


def test_single_files_and_a_folder(machine: Protected, folder: Path) -> None:
    machine.item = "mixed"
    outcome = machine.backup(folder / "a" / "1.tmp", folder / "a" / "b" / "c", folder / "x y" / "7")
    assert names(machine, outcome.point, folder) == {"a/1.tmp", "a/b/c/4", "x y/7"}
    outcome = machine.backup(folder / "a", folder / "x y" / "7")
    assert names(machine, outcome.point, folder) == {n for n in ALL if n.startswith(("a/", "x"))}
    outcome = machine.backup(folder / "a" / "1.tmp")
    assert names(machine, outcome.point, folder) == {"a/1.tmp"}
    assert outcome.progress.removed > 3


@pytest.mark.needs_root
def test_folder_above_what_was_asked_for(machine: Protected, folder: Path) -> None:
    """Owner and mode of a folder above are updated; its times change all the time and are ignored."""
    time.sleep(0.03)  # a folder as new as the backup is not trusted
    machine.backup(folder / "a")
    (folder / "another").touch()
    outcome = machine.backup(folder / "a")
    assert outcome.progress.changed == 0
    assert outcome.progress.sent.packs == 0
    os.chown(folder, 1234, 4321)
    point = machine.backup(folder / "a").point
    assert point is not None
    entry = machine.snapshot(point, folder.parent).entries[b"source"]
    assert (entry.uid, entry.gid) == (1234, 4321)


@pytest.mark.parametrize("spelling", ["relative", "dots", "symlink", "trailing slash", "tilde", "no text"])
def test_spellings(rpdrive: Cli, vault: Vault, folder: Path, spelling: str) -> None:
    (folder / "~").mkdir()
    (folder / "~" / "file").touch()
    (folder / "link").symlink_to("a")
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/\xff"))
    odd.mkdir()
    (odd / "file").touch()
    spellings: dict[str, tuple[str | Path, str]] = {
        "relative": ("a/b", "a/b"),
        "dots": ("./cache/../a/./b", "a/b"),
        "symlink": (folder / "link" / "b", "a/b"),
        "trailing slash": (f"{folder}/a/b/", "a/b"),
        "tilde": ("~", "~"),
        "no text": (odd, os.fsdecode(b"\xff")),
    }
    given, want = spellings[spelling]
    done = rpdrive.run("backup", os.fsencode(given), cwd=folder)
    assert done.returncode == 0, done
    assert latest(vault).paths == [os.fsencode(folder / want)]
    wanted = of_source(folder / want).entries
    assert PointReader(vault).snapshot(latest(vault), folder / want).entries == wanted
    assert wanted


@pytest.mark.usefixtures("vault")
def test_current_folder_is_gone(rpdrive: Cli, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command: list[str | Path | bytes] = [
        "sh",
        "-c",
        'cd "$1"; rmdir "$1"; shift; exec "$@"',
        "sh",
        tmp_path / "gone",
    ]
    done = subprocess.run(
        [*command, *rpdrive.command("backup", "x")], env=rpdrive.environ, capture_output=True, check=False
    )
    assert done.returncode == 11, done
    assert b"Traceback" not in done.stderr


@pytest.mark.usefixtures("vault")
def test_everything_dry(rpdrive: Cli, vault: Vault) -> None:
    before = sorted(i.name for i in vault.store.list(""))
    excludes = [o for p in sorted(os.listdir("/")) if p != "srv" for o in ("--exclude", f"/{p}/")]
    row = rpdrive.json("backup", "/", "--dry-run", *excludes)
    assert (row["point"], row["item"], row["problems"]) == (None, "root", [])
    assert row["entries"] < 100_000
    assert sorted(i.name for i in vault.store.list("")) == before, "a dry run wrote something"


def test_dry_run(machine: Protected, folder: Path) -> None:
    outcome = machine.backup(folder, dry=True)
    assert outcome.point is None
    assert outcome.totals.files == len(ALL)
    time.sleep(0.03)
    machine.checked(folder)
    (folder / "a" / "2.txt").write_text("changed")
    (folder / "new").touch()
    (folder / "x y" / "7").unlink()
    objects = dict(machine.store.objects)  # type: ignore[attr-defined]
    p = machine.backup(folder, dry=True).progress
    assert (p.new, p.removed, p.read_bytes) == (1, 1, 7)
    assert machine.store.objects == objects  # type: ignore[attr-defined]


# --- other file systems, own folders --------------------------------------------------------------------------


@pytest.fixture
def mounted() -> Iterator[Callable[[str, Path], None]]:
    """Mounts a new file system of a given type at a folder."""
    points: list[Path] = []

    def mount(kind: str, at: Path, *options: str) -> None:
        at.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", kind, *options, kind, at], check=True)
        points.append(at)

    yield mount
    for point in reversed(points):
        subprocess.run(["umount", point], check=True)


@pytest.mark.needs_root
def test_one_file_system(machine: Protected, folder: Path, mounted: Any) -> None:
    mounted("tmpfs", folder / "other")
    (folder / "other" / "file").write_text("there")
    (folder / "other" / "below").mkdir()
    mounted("tmpfs", folder / "other" / "below")
    (folder / "other" / "below" / "file").write_text("deeper")
    both = {"other/file", "other/below/file"}
    assert names(machine, machine.backup(folder).point, folder) == ALL | both
    outcome = machine.backup(folder, one_file_system=True)
    assert names(machine, outcome.point, folder) == ALL
    assert outcome.point and b"other" in machine.snapshot(outcome.point, folder).entries
    # A given path is saved, whatever file system is above it.
    outcome = machine.backup(folder / "other", one_file_system=True)
    assert names(machine, outcome.point, folder) == {"other/file"}
    outcome = machine.backup(folder / "a", folder / "other" / "below", one_file_system=True)
    assert names(machine, outcome.point, folder) == {n for n in ALL if n.startswith("a/")} | {"other/below/file"}


@pytest.mark.needs_root
def test_pseudo_file_systems(machine: Protected, folder: Path, mounted: Any) -> None:
    for kind in ("proc", "sysfs"):
        mounted(kind, folder / f"a {kind}")
    outcome = machine.backup(folder)
    assert outcome.problems == []
    assert outcome.point is not None
    entries = machine.snapshot(outcome.point, folder).entries
    assert {b"a proc", b"a sysfs"} <= set(entries)
    assert not any(e.startswith((b"a proc/", b"a sysfs/")) for e in entries)
    assert names(machine, outcome.point, folder) == ALL


def test_own_folders_are_left_out(tmp_path: Path) -> None:
    from catalog.new_vault import create_vault
    from catalog.store.local import LocalStore

    everything = tmp_path / "everything"
    cli = Cli(everything)
    vault = create_vault(LocalStore(cli.vault), PASSPHRASE, CHEAP)
    (everything / "home" / "own files").mkdir(parents=True)
    (everything / "home" / "own files" / "1").write_text("one")
    for _ in range(2):
        cli.ok("backup", everything)
        assert saved(vault, everything) == {"home/own files/1"}
    done = cli.run("backup", cli.vault)
    assert done.returncode == 3
    assert b"not saved: a vault, cache or state folder of rpdrive" in done.stderr


@pytest.mark.needs_fuse
def test_drive_in_the_source_is_left_out(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    rpdrive.ok("backup", folder)
    drive = folder / "drive"
    drive.mkdir()
    rpdrive.ok("mount", drive, "--point", "latest")
    try:
        assert any(drive.iterdir())
        done = rpdrive.run("backup", folder)
    finally:
        rpdrive.ok("unmount", drive)
    assert done.returncode == 0, done
    assert saved(vault, folder) == ALL


@pytest.mark.usefixtures("vault")
def test_cache_size_is_checked(rpdrive: Cli, folder: Path) -> None:
    assert "is not a size" in rpdrive.fails("backup", folder, "--cache-size", "much", code=2)
    rpdrive.ok("backup", folder, "--cache-size", "20M")
