"""What the kernel driver costs in messages, on a real mount: exact, so asserted; and what it gives back."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.access.settings import Settings
from mount.process.control.socket_status import ask
from mount.process.files import DriveFiles
from tests.kit.drives import Home, Maker, add_machine, add_point, alive, eventually, mount_options
from tests.kit.reclaim import undisturbed
from tests.kit.sources import small_folders
from tests.kit.vaults import make_vault

pytestmark = pytest.mark.needs_fuse

FOLDERS, EACH = 10, 300


class Counted(Home):
    def __init__(self, folder: Path) -> None:
        make_vault(folder / "vault")
        super().__init__(folder, folder / "vault")
        self.source = folder / "source"
        small_folders(self.source)
        self.run("backup", self.source)

    def open(self) -> Path:
        drive = self.mount("--point", "latest", "--driver", "kernel")
        self._socket = DriveFiles(Settings(self.environment)).socket(drive)
        return drive / str(self.source).lstrip("/")

    def undisturbed(self, check: Callable[[Path], None]) -> None:
        """Run a check of what the kernel keeps of a drive, on a new drive each time that it kept too little."""

        def run() -> None:
            top = self.open()
            try:
                check(top)
            finally:
                self.run("unmount", self.folder / "drive")

        undisturbed(run)

    def driver(self) -> dict[str, Any]:
        """Asked for directly: the command takes so long that memory may be reclaimed meanwhile."""
        status = ask(self._socket)
        assert status is not None and status.errors == 0
        assert status.driver["name"] == "kernel"
        return status.driver

    def messages(self) -> dict[str, int]:
        found: dict[str, int] = self.driver()["messages"]
        return found


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Counted]:
    home = Counted(tmp_path)
    yield home
    home.close()


def spent(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Messages since, without those that the kernel sends when it likes."""
    found = {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)}
    return {name: n for name, n in found.items() if "forget" not in name and name != "statfs"}


def contents(path: Path) -> bytes:
    """Without the ioctl by which Python's open asks whether it has a terminal before it."""
    file = os.open(path, os.O_RDONLY)
    try:
        return b"".join(iter(lambda: os.read(file, 1 << 20), b""))
    finally:
        os.close(file)


def walk(folder: Path) -> list[bytes]:
    """The paths below a folder, with sizes and times."""
    return sorted(subprocess.check_output(["find", folder, "-printf", "%P %s %T@\n"]).splitlines())


def is_same(source: Path, shown: Path) -> bool:
    return subprocess.run(["diff", "-r", source, shown], check=False).returncode == 0


def test_a_listing_brings_all_attributes_and_is_kept(home: Counted) -> None:
    def check(top: Path) -> None:
        before = home.messages()
        walked = walk(top)
        first = spent(before, home.messages())
        assert set(first) <= {"lookup", "opendir", "readdirplus", "getattr"}
        way = top.relative_to(home.folder / "drive").parts
        assert first["lookup"] == len(way)  # and not one more
        assert first.get("opendir", 0) == 1  # told once that there is no need
        before = home.messages()
        assert walk(top) == walked
        assert spent(before, home.messages()) == {}
        assert walked == walk(home.source)
        for _again in range(3):
            assert not (top / "no such name").exists()
        assert spent(before, home.messages()) == {"lookup": 1}

    home.undisturbed(check)


def test_reading_what_was_pushed_costs_no_message(home: Counted) -> None:
    def check(top: Path) -> None:
        for folder in sorted(top.glob("folder *")):
            os.listdir(folder)
        before = home.driver()
        assert is_same(home.source / "folder 0", top / "folder 0")
        after = home.driver()
        reads = spent(before["messages"], after["messages"]).get("read", 0)
        pushed = after["pushed_files"] - before["pushed_files"]
        assert reads + pushed == EACH  # each file's contents came once, by the one way or the other
        assert reads <= 8
        before = home.driver()
        assert is_same(home.source / "folder 0", top / "folder 0")
        assert spent(before["messages"], home.messages()) == {}

    home.undisturbed(check)


def test_reading_a_file_of_two_names_in_order(tmp_path: Path) -> None:
    """Its second name comes next in the folder and in the block: pushing it would wait for the read itself."""
    make_vault(tmp_path / "vault")
    home = Home(tmp_path, tmp_path / "vault")
    source = tmp_path / "source"
    source.mkdir()
    for n in range(8):
        (source / f"{n} first").write_bytes(b"%d" % n * 1000)
        os.link(source / f"{n} first", source / f"{n} second")
    try:
        home.run("backup", source)
        top = home.mount("--point", "latest", "--driver", "kernel") / str(source).lstrip("/")
        for n in range(8):  # not listed before: the kernel knows no second name
            assert contents(top / f"{n} first") == b"%d" % n * 1000
        assert subprocess.run(["diff", "-r", source, top], check=False).returncode == 0
        (row,) = home.mounts()
        assert row["errors"] == 0
    finally:
        home.close()


def test_opening_and_reading_again_cost_nothing(home: Counted) -> None:
    def check(top: Path) -> None:
        whole = (home.source / "big").read_bytes()
        assert contents(top / "link") == whole
        first = home.messages()
        assert first["open"] == 1 and first["readlink"] == 1 and "release" not in first
        assert first["read"] <= 6 * 8 + 8  # of a megabyte each where we may say so, of 128 KiB elsewhere
        for _again in range(3):
            assert contents(top / "link") == whole
            assert os.readlink(top / "link") == "big"
        assert spent(first, home.messages()) == {}

    home.undisturbed(check)


def test_what_is_not_there_is_asked_for_once(home: Counted) -> None:
    """Extended attributes, times of creation, closing a file: refused once, for the whole drive."""

    def check(top: Path) -> None:
        os.listdir(top / "folder 0")
        before = home.messages()
        for n in range(20):
            path = top / "folder 0" / f"file {n:03}"
            with pytest.raises(OSError) as error:
                os.getxattr(path, "user.one")
            assert error.value.errno == errno.EOPNOTSUPP
            subprocess.run(["stat", "-c", "%W", path], check=True, capture_output=True)
            contents(path)
        found = spent(before, home.messages())
        assert (found.pop("getxattr"), found.pop("statx"), found.pop("open")) == (1, 1, 1)
        assert found.pop("flush", 0) <= 1
        assert set(found) <= {"read", "lookup"}

    home.undisturbed(check)


def test_when_files_were_made(tmp_path: Path) -> None:
    """One message for each, the first time; from a system that tells."""
    vault = make_vault(tmp_path / "vault")
    add_machine(vault, system="Windows")
    m = Maker(vault)
    nodes = [m.file(b"%d" % n, b"x", more={"created": 1_200_000_000_000_000_100 + n}) for n in range(5)]
    add_point(vault, m.root([*nodes, m.file(b"other", b"x")]), 1, system="Windows")
    home = Home(tmp_path, tmp_path / "vault")
    try:
        for options in (["--point", "latest"], []):
            drive = home.mount(*options, "--driver", "kernel")
            top = drive if options else drive / "box" / "home" / "latest"
            (row,) = home.mounts()
            before = row["driver"]["messages"]
            for _again in range(3):
                for n in range(5):
                    shown = subprocess.check_output(["stat", "-c", "%.9W %s", top / str(n)], text=True)
                    assert shown == f"1200000000.00000010{n} 1\n"
                assert subprocess.check_output(["stat", "-c", "%w", top / "other"], text=True) == "-\n"
            (row,) = home.mounts()
            found = spent(before, row["driver"]["messages"])
            assert found["statx"] >= 6 if not options else found["statx"] == 6
            home.run("unmount", drive)
    finally:
        home.close()


def test_what_the_kernel_forgets_is_forgotten(home: Counted) -> None:
    def check(top: Path) -> None:
        walk(top)
        everything = FOLDERS * (EACH + 1) + 2 + len(top.relative_to(home.folder / "drive").parts)
        assert home.driver()["nodes"] == everything

    home.undisturbed(check)
    top = home.open()
    walk(top)

    def forgotten() -> bool:
        Path("/proc/sys/vm/drop_caches").write_text("2")  # unused names and inodes
        return bool(home.driver()["nodes"] <= 1)

    eventually(forgotten, "the kernel forgets what nobody uses", 60)
    assert is_same(home.source, top)


def test_many_at_once(home: Counted) -> None:
    """Readers of the same and of other files at once: all get what is there."""
    top = home.open()
    failures: list[str] = []

    def read(seed: int) -> None:
        rng = random.Random(seed)
        for _n in range(150):
            path = Path(f"folder {rng.randrange(FOLDERS)}") / f"file {rng.randrange(EACH):03}"
            if (top / path).read_bytes() != (home.source / path).read_bytes():
                failures.append(str(path))
        with (top / "big").open("rb") as ours, (home.source / "big").open("rb") as theirs:
            for _n in range(30):
                offset = rng.randrange(6 << 20)
                if os.pread(ours.fileno(), 70_000, offset) != os.pread(theirs.fileno(), 70_000, offset):
                    failures.append(f"big at {offset}")
        done = subprocess.run(["diff", "-r", home.source / f"folder {seed}", top / f"folder {seed}"], check=False)
        failures.extend(["diff"] * done.returncode)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    home.driver()


def test_an_aborted_connection_ends_the_process(home: Counted) -> None:
    top = home.open()
    pid = home.pid()
    device = os.minor(os.lstat(home.folder / "drive").st_dev)
    os.listdir(top)
    control = home.folder / "control"
    control.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "none", control], check=True)
    try:
        (control / str(device) / "abort").write_text("1")
    finally:
        subprocess.run(["umount", control], check=True)
    eventually(lambda: not alive(pid), "its process ends")
    eventually(lambda: mount_options(home.folder / "drive") is None, "the drive is taken off")


def test_the_end_of_an_old_drive_leaves_the_new_one_alone(home: Counted) -> None:
    """Detached while in use, the place taken by another: a signal to the first must not unmount the second."""
    top = home.open()
    pid = home.pid()
    with (top / "big").open("rb", buffering=0) as file:
        file.read(10)
        subprocess.run(["umount", "-l", home.folder / "drive"], check=True)
        top = home.open()
        os.kill(pid, 15)
        eventually(lambda: not alive(pid), "the old process ends")
    assert (top / "link").read_bytes() == (home.source / "big").read_bytes()
