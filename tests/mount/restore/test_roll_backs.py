"""What a roll-back removes, and what it leaves alone: the list, and the removal of what is on it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from catalog.format.records import Problem
from catalog.store.local import LocalStore
from mount.restore.disk.this import THIS_DISK
from mount.restore.report import Report
from mount.restore.target import Handle
from mount.restore.volume.borders import Borders
from mount.restore.volume.removal import CHANGED, NOT_EMPTY, Removal
from mount.restore.volume.surplus import (
    A_VAULT,
    EXCLUDED,
    MOUNTED,
    OWN,
    PROBLEM,
    SUBVOLUME,
    LeftOut,
    Surplus,
)
from tests.kit.drives import eventually
from tests.kit.inside import Inside
from tests.kit.loops import mounted
from tests.kit.vaults import make_vault, new_vault

NOTHING = LeftOut(b"/srv", [], [])


@contextmanager
def listed(
    top: Path, *, places: tuple[Path, ...] = (), spared: tuple[Path, ...] = (), left_out: LeftOut = NOTHING
) -> Iterator[Surplus]:
    """All that is in a folder, as if the point had nothing there."""
    numbers = {(st.st_dev, st.st_ino) for st in (path.stat() for path in spared)}
    found = Surplus(THIS_DISK, Borders(os.fsencode(top), map(os.fsencode, places)), numbers, left_out)
    fd = os.open(top, os.O_RDONLY)
    try:
        found.add(fd, b"", sorted(os.fsencode(name) for name in os.listdir(top)))
        yield found
    finally:
        os.close(fd)
        found.close()


def remove(top: Path, surplus: Surplus) -> Report:
    report = Report()
    Removal(THIS_DISK, Handle(THIS_DISK, os.open(top, os.O_RDONLY)), report).run(surplus)
    return report


def names(top: Path) -> list[str]:
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


def kept(surplus: Surplus) -> dict[str, str]:
    return {os.fsdecode(row.path): row.reason for row in surplus.kept}


def make(top: Path, *paths: str) -> None:
    for path in paths:
        if path.endswith("/"):
            (top / path).mkdir(parents=True, exist_ok=True)
        else:
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_text(path)


# --- the list -----------------------------------------------------------------------------------------------------


def test_folders_come_after_what_is_in_them(tmp_path: Path) -> None:
    make(tmp_path, "a/b/c", "a/d", "e", "f/")
    with listed(tmp_path) as surplus:
        assert [os.fsdecode(row.path) for row in surplus] == ["a/b/c", "a/b", "a/d", "a", "e", "f"]
        assert [(os.fsdecode(t.path), t.entries, t.size) for t in surplus.tops] == [
            ("a", 4, len("a/b/c") + len("a/d")), ("e", 1, 1), ("f", 1, 0)
        ]  # fmt: skip
        assert (surplus.count, surplus.folders) == (6, 3)
        assert remove(tmp_path, surplus).removed == 6 and names(tmp_path) == []


def test_what_is_not_the_points_to_take_away(tmp_path: Path) -> None:
    make(tmp_path, "a/mounted/x", "a/own/x", "a/gone", "b/vault/data", "c/log", "c/read", "d/unseen/x", "e")
    make_vault(tmp_path / "b" / "vault")
    left_out = LeftOut(
        b"/srv",
        ["*.bak", "log", "!/srv/e"],
        [Problem(b"srv/c/read", "it could not be read"), Problem(b"srv/d", "the folder can't be listed: x"),
         Problem(b"srv", "its time is odd"), Problem(b"", "the snapshot failed"), Problem(b"sr", "x")],
    )  # fmt: skip
    top = tmp_path
    with listed(top, places=(top / "a/mounted",), spared=(top / "a/own",), left_out=left_out) as surplus:
        assert kept(surplus) == {
            "a/mounted": MOUNTED, "a/own": OWN, "b/vault": A_VAULT, "c/log": EXCLUDED, "c/read": PROBLEM,
            "d": PROBLEM,
        }  # fmt: skip
        assert [os.fsdecode(row.path) for row in surplus] == ["a/gone", "e"]
        report = remove(top, surplus)
    assert report.removed == 2 and report.problem_count == 0
    assert {"a/mounted/x", "a/own/x", "b/vault/vault.json", "c/log", "c/read", "d/unseen/x"} <= set(names(top))
    assert not (top / "a" / "gone").exists() and not (top / "e").exists()


def test_a_problem_whose_path_was_cut_off() -> None:
    path = b"srv/" + b"/".join([b"x" * 250] * 17)
    left_out = LeftOut(b"/srv", [], [Problem(path[:4096], "it could not be read")])
    assert left_out.reason(path[4:], is_folder=False) == PROBLEM
    assert left_out.reason(b"x" * 250, is_folder=True) == ""


def test_rules_that_a_point_does_not_have() -> None:
    assert LeftOut.unknown(["# from a file", "*.tmp"]) is None
    assert LeftOut.unknown(["*.tmp", "# and folders with a CACHEDIR.TAG"])


# --- the removal --------------------------------------------------------------------------------------------------


def test_what_changed_since_stays(tmp_path: Path) -> None:
    make(tmp_path, "same", "written", "replaced", "folder/old", "was a folder/x", "moved/x", "gone")
    with listed(tmp_path) as surplus:
        (tmp_path / "written").write_text("rewritten and longer")
        os.rename(tmp_path / "replaced", tmp_path.with_name("aside"))
        make(tmp_path, "replaced", "folder/new")
        subprocess.run(["rm", "-r", tmp_path / "was a folder"], check=True)
        (tmp_path / "was a folder").write_text("a file now")
        elsewhere = tmp_path.with_name("elsewhere")
        make(elsewhere, "x")
        subprocess.run(["rm", "-r", tmp_path / "moved"], check=True)
        os.symlink(elsewhere, tmp_path / "moved")
        (tmp_path / "gone").unlink()
        report = remove(tmp_path, surplus)
    assert {os.fsdecode(p.path): p.reason for p in report.problems} == {
        "written": CHANGED, "replaced": CHANGED, "folder": NOT_EMPTY, "was a folder": CHANGED,
        "was a folder/x": CHANGED, "moved": CHANGED, "moved/x": CHANGED,
    }  # fmt: skip
    assert names(tmp_path) == ["folder", "folder/new", "moved", "replaced", "was a folder", "written"]
    assert (elsewhere / "x").exists() and report.removed == 2


def test_the_homes_of_rpdrive_of_a_machine_that_is_rolled_back_stay(tmp_path: Path) -> None:
    """From a rescue system: they are not those of the user who runs the command."""
    make(
        tmp_path, "root/.config/rpdrive/vaults.json", "root/.config/rpdrive/x", "state/keys/key", "state/runs.jsonl"
    )
    make(tmp_path, "root/x")
    with listed(tmp_path) as surplus:
        assert kept(surplus) == {"root/.config/rpdrive": OWN, "state": OWN}
        assert remove(tmp_path, surplus).removed == 1
    assert (tmp_path / "state" / "keys" / "key").exists() and not (tmp_path / "root" / "x").exists()


def test_names_of_one_file_go_one_after_the_other(tmp_path: Path) -> None:
    make(tmp_path, "a/one")
    os.link(tmp_path / "a" / "one", tmp_path / "a" / "two")
    os.link(tmp_path / "a" / "one", tmp_path.with_name("outside"))
    with listed(tmp_path) as surplus:
        report = remove(tmp_path, surplus)
    assert report.removed == 3 and not report.problems and tmp_path.with_name("outside").exists()


def test_folders_that_stay_keep_their_time(tmp_path: Path) -> None:
    make(tmp_path, "stays/goes/x", "stays/y")
    with ExitStack() as stack:
        surplus = stack.enter_context(listed(tmp_path))
        for folder in (tmp_path / "stays", tmp_path):
            os.utime(folder, ns=(5, 7_000_000_001))
        rows = [row for row in surplus if row.path != b"stays"]
        report = Report()
        Removal(THIS_DISK, Handle(THIS_DISK, os.open(tmp_path, os.O_RDONLY)), report).run(rows)
    assert names(tmp_path) == ["stays"] and report.removed == 3
    assert {p.stat().st_mtime_ns for p in (tmp_path / "stays", tmp_path)} == {7_000_000_001}


@pytest.mark.needs_root
@pytest.mark.needs_program("mkfs.btrfs", "btrfs", "mkfs.ext4")
def test_other_file_systems_and_new_subvolumes_stay(tmp_path: Path) -> None:
    with mounted(tmp_path / "new", "btrfs") as new:
        make(new, "folder/x", "other/")
        subprocess.run(["btrfs", "-q", "subvolume", "create", new / "folder" / "later"], check=True)
        make(new, "folder/later/x")
        with mounted(new / "other", "ext4", image=tmp_path / "image") as other:
            make(other, "x")
            places = THIS_DISK.mount_points()
            with listed(new, places=tuple(Path(os.fsdecode(place)) for place in places)) as surplus:
                assert kept(surplus) == {"folder/later": SUBVOLUME, "other": MOUNTED}
                report = remove(new, surplus)
            assert report.removed == 1 and (other / "x").exists() and (new / "folder" / "later" / "x").exists()
            # A file system that is mounted only after the list was made.
            make(new, "late/x")
            with listed(new) as surplus, mounted(new / "late", "ext4", image=tmp_path / "another") as late:
                make(late, "x")
                report = remove(new, surplus)
                assert (late / "x").exists() and {p.reason for p in report.problems if b"late" in p.path}


@pytest.mark.needs_root
@pytest.mark.needs_program("mkfs.ext4")
def test_a_vault_in_a_folder_that_the_point_has_stays(tmp_path: Path) -> None:
    with mounted(tmp_path / "srv", "ext4") as srv, mounted(tmp_path / "usb", "ext4") as usb:
        cli = Inside(tmp_path)
        new_vault(LocalStore(cli.vault))
        make(srv, "data/file")
        cli.ok("backup", "--volume", srv, "--item", "srv")
        make_vault(usb / "data")  # of somebody else
        make_vault(usb)
        make(usb, "gone")
        before = names(usb)
        told = cli.run("restore", "latest", "--to", usb, "--exact", "--yes")
        assert told.returncode == 3 and b"it is a vault" in told.stdout, told
        assert (
            {*before} <= {*names(usb)} and (usb / "vault.json").exists() and (usb / "data" / "vault.json").exists()
        )


# --- killed -------------------------------------------------------------------------------------------------------

SLOW = """
import sys, time
import rpdrive
from mount.restore.disk.posix import PosixDisk
unlink, seen = PosixDisk.unlink, []
def slow(name, *, dir_fd=None):
    unlink(name, dir_fd=dir_fd)
    if name.startswith(b"more-"):
        seen.append(name)
        if len(seen) > 20:
            time.sleep(60)
PosixDisk.unlink = staticmethod(slow)
sys.exit(rpdrive.run(sys.argv[1:]))
"""


@pytest.mark.needs_root
@pytest.mark.needs_program("mkfs.ext4")
def test_killed_in_the_middle_and_run_again(tmp_path: Path) -> None:
    cli = Inside(tmp_path)
    new_vault(LocalStore(cli.vault))
    with mounted(tmp_path / "srv", "ext4") as srv:
        make(srv, *(f"d/{n}" for n in range(50)))
        cli.ok("backup", "--volume", srv, "--item", "v")
        before = {name: (srv / name).lstat().st_mtime_ns for name in names(srv)}
        make(srv, *(f"d/more-{n:03}" for n in range(60)), "e/more-x")
        (srv / "d" / "1").write_text("changed")
        (srv / "d" / "2").unlink()
        words = ("restore", "latest", "--in-place", "--exact", "--yes")
        run = subprocess.Popen(
            [cli.command()[0], "-c", SLOW, *words], env=cli.environ,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

        def left() -> int:
            return sum(name.startswith("more-") for name in os.listdir(srv / "d"))

        eventually(lambda: run.poll() is not None or left() <= 40, "nothing was removed")
        run.send_signal(signal.SIGKILL)
        run.wait(60)
        assert 0 < left() < 60
        report = cli.json(*words)
        assert report["removed"] == report["surplus"] > 0 and report["problems"] == []
        assert {name: (srv / name).lstat().st_mtime_ns for name in names(srv)} == before


@pytest.mark.needs_root
@pytest.mark.needs_program("mkfs.ext4")
def test_rpdrive_on_the_volume_itself(tmp_path: Path) -> None:
    with mounted(tmp_path / "srv", "ext4") as srv:
        cli = Inside(srv / "own")  # its vault, state and cache are on the volume
        new_vault(LocalStore(cli.vault))
        make(srv, "data/file")
        cli.ok("backup", "--volume", srv, "--item", "v")
        make(srv, "data/new", "own/new")
        report = cli.json("restore", "latest", "--in-place", "--exact", "--yes")
        assert report["removed"] == 2 and report["problems"] == []
        assert names(srv / "data") == ["file"] and (cli.vault / "vault.json").exists()
        assert len(cli.json("points")["points"]) == 1
