"""Drives that close by themselves, and what keeps them open."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.drives import Home, Maker, add_machine, add_point, alive, eventually, mount_options, noise
from tests.kit.vaults import make_vault

CONTENT = noise(400_000)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"file", CONTENT), m.folder(b"folder", [m.file(b"in it", b"x")])]), 1)
    home = Home(tmp_path, tmp_path / "vault")
    yield home
    home.close()


def log(home: Home) -> str:
    return next((home.folder / "home" / "state" / "logs").iterdir()).read_text()


@contextmanager
def opened(home: Home, *options: str) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A drive in the foreground, so that a test can go on at once, without a second command that may be slow."""
    drive = home.mount_point()
    command = home.command("mount", drive, "--foreground", *options)
    with subprocess.Popen(
        command, env=home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert " open at " in process.stdout.readline()
        yield drive, process


def closed(home: Home, drive: Path, process: subprocess.Popen[str]) -> str:
    """Check that the mount, its process and its row in the list are gone. Returns what it logged."""
    assert process.wait(30) == 0
    assert mount_options(drive) is None
    assert list(drive.iterdir()) == []
    assert home.mounts() == []
    assert process.stderr is not None
    return process.stderr.read()


@pytest.mark.needs_fuse
def test_off_unless_asked(home: Home) -> None:
    home.mount()
    (row,) = home.mounts()
    assert (row["idle"], row["idle_left"], row["for"], row["for_left"]) == (None, None, None, None)
    line = home.run("mounts").stdout.splitlines()[1]
    assert " - " in line


@pytest.mark.needs_fuse
def test_the_list_says_when(home: Home) -> None:
    home.mount("--idle", "6h", "--for", "2d")
    (row,) = home.mounts()
    assert (row["idle"], row["for"]) == (21_600, 172_800)
    assert 0 < row["idle_left"] <= row["idle"] and 0 < row["for_left"] < row["for"]
    heading, line = home.run("mounts").stdout.splitlines()
    assert "CLOSES" in heading and "in 5 h 59 min" in line


@pytest.mark.parametrize("option", ["--idle", "--for"])
@pytest.mark.parametrize("text", ["6", "soon", "0s"])
def test_what_is_no_length_of_time(home: Home, option: str, text: str) -> None:
    refusal = home.run("mount", home.mount_point(), option, text, exit_code=2).stderr
    assert "30m, 6h or 2d" in refusal


@pytest.mark.needs_fuse
def test_idle_closes_a_drive_that_nobody_uses(home: Home) -> None:
    with opened(home, "--idle", "1s") as (drive, process):
        assert "closed after 1 s without use" in closed(home, drive, process)


@pytest.mark.needs_fuse
def test_use_starts_the_time_anew(home: Home) -> None:
    """Requests count as use; asking for its size, as `df` does, doesn't."""
    drive = home.mount("--idle", "1h")

    def left() -> float:
        return float(home.mounts()[0]["idle_left"])

    first = left()
    eventually(lambda: os.statvfs(drive).f_bfree == 0 and left() < first - 0.5, "time passes in spite of statfs")
    low = left()
    os.listdir(drive)
    assert left() > low


def pass_time(seconds: float) -> None:
    begun = time.monotonic()
    eventually(lambda: time.monotonic() - begun > seconds, "time passes")


@pytest.mark.needs_fuse
def test_an_open_file_or_folder_keeps_it(home: Home) -> None:
    with opened(home, "--point", "latest", "--idle", "2s") as (drive, process):
        with (drive / "file").open("rb") as file:
            assert file.read() == CONTENT
            pass_time(4)
            assert mount_options(drive) is not None
            sleeper = subprocess.Popen(["sleep", "1000"], cwd=drive / "folder")
        pass_time(4)
        assert (drive / "folder" / "in it").read_bytes() == b"x"
        sleeper.kill()
        sleeper.wait()
        closed(home, drive, process)


@pytest.mark.needs_fuse
def test_for_closes_it_in_any_case(home: Home) -> None:
    drive = home.mount("--point", "latest", "--for", "5s")
    pid = home.pid()
    with (drive / "file").open("rb", buffering=0) as file:
        assert file.read(1000) == CONTENT[:1000]
        eventually(lambda: mount_options(drive) is None, "it is taken away")
        eventually(lambda: home.mounts() == [], "it is off the list")
        assert list(drive.iterdir()) == []
        assert file.read() == CONTENT[1000:]  # what was open is read to its end
        assert "closed after 5 s, although in use by" in log(home)
        # The place is free, and the old drive's end does not harm the new one.
        home.run("mount", drive, "--point", "latest")
    eventually(lambda: not alive(pid), "the old process ends with its last file")
    assert home.mounts()[0]["answers"]
    assert (drive / "file").read_bytes() == CONTENT
    home.run("unmount", drive)


@pytest.mark.needs_fuse
def test_for_closes_an_unused_one_too(home: Home) -> None:
    with opened(home, "--for", "1s", "--idle", "1h") as (drive, process):
        assert "closed after 1 s\n" in closed(home, drive, process)
