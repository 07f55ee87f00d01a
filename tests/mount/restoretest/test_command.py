"""The command `rpdrive test-restore`: its verdict, exit codes, drives and records."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.drives import Home, noise
from tests.kit.vaults import make_vault

DAMAGED, PROBLEMS = 9, 3


class Backed(Home):
    """A folder of 30 files, a long one and one with a hole among them, backed up."""

    def __init__(self, folder: Path) -> None:
        make_vault(folder / "vault")
        super().__init__(folder, folder / "vault")
        self.source = folder / "source"
        (self.source / "below").mkdir(parents=True)
        for n in range(28):
            (self.source / "below" / f"{n:03d}").write_bytes(noise(500 + n, n))
        (self.source / "large").write_bytes(noise(3 << 20, 99))
        with (self.source / "holed").open("wb") as file:
            file.seek(5 << 20)
            file.write(b"end")
        self.run("backup", self.source, "--item", "data")

    def test(self, *args: str, exit_code: int = 0) -> dict[str, Any]:
        done = self.run("test-restore", *args, "--json", exit_code=exit_code)
        row: dict[str, Any] = json.loads(done.stdout)
        return row

    def packs(self) -> list[Path]:
        return [path for path in (self.vault / "packs").rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def backed(tmp_path_factory: pytest.TempPathFactory) -> Backed:
    return Backed(tmp_path_factory.mktemp("restoretest"))


@pytest.fixture
def rotten(backed: Backed) -> Iterator[Backed]:
    """One bit of the first block of each data pack is flipped."""
    before = {path: path.read_bytes() for path in backed.packs()}
    for path, data in before.items():
        path.chmod(0o600)
        path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    yield backed
    for path, data in before.items():
        path.write_bytes(data)


def test_a_good_point_passes(backed: Backed) -> None:
    row = backed.test()
    assert (row["verdict"], row["files"], row["files_in_point"], row["failures"]) == ("passed", 20, 30, [])
    assert (row["compared_here"], row["same_here"], row["changed_here"], row["differs_here"]) == (True, 20, 0, [])
    assert not row["through_drive"]
    jobs = json.loads(backed.run("jobs", "--json").stdout)
    jobs = jobs["jobs"] if isinstance(jobs, dict) else jobs
    (job,) = [job for job in jobs if job["id"] == row["job"]]
    assert (job["kind"], job["outcome"], job["files"]) == ("restore test", "completed", 20)
    text = backed.run("test-restore", "--percent", "100").stdout
    assert text.startswith("PASSED: 30 files of point ")
    assert "30 equal, 0 not comparable" in text
    assert "chosen at random" not in text


def test_files_are_read_through_a_drive_and_a_command_runs_on_it(backed: Backed) -> None:
    large = os.fsdecode(backed.source / "large").lstrip("/")
    command = f"cmp '{large}' '{backed.source / 'large'}' && test \"$PWD\" = \"$RPDRIVE_POINT\" && echo said"
    done = backed.run("test-restore", "--files", "8", "--mount", "--command", command, "--json")
    row = json.loads(done.stdout)
    assert (row["through_drive"], row["files"], row["command_exit_code"]) == (True, 8, 0)
    assert "said" in done.stderr
    assert backed.mounts() == []
    row = backed.test("--files", "1", "--command", "env; exit 7", exit_code=PROBLEMS)
    assert (row["verdict"], row["command_exit_code"], row["outcome"]) == ("passed", 7, "completed with warnings")
    assert backed.mounts() == []


def test_a_command_sees_no_passphrase(backed: Backed) -> None:
    done = backed.run("test-restore", "--files", "1", "--command", "env")
    assert "RPDRIVE_POINT=" in done.stderr
    assert "RPDRIVE_PASSPHRASE" not in done.stderr
    assert "succeeded (exit code 0): env" in done.stdout


def test_damage_fails_with_the_names_of_the_files(rotten: Backed) -> None:
    row = rotten.test("--percent", "100", exit_code=DAMAGED)
    assert (row["verdict"], row["files"], row["outcome"]) == ("failed", 30, "failed")
    paths = {failure["path"] for failure in row["failures"]}
    assert paths
    assert paths < {str(path) for path in rotten.source.rglob("*")}
    assert all("differs from what was written" in failure["reason"] for failure in row["failures"])
    done = rotten.run("test-restore", "--percent", "100", exit_code=DAMAGED)
    assert done.stdout.startswith("FAILED: ")
    assert "can't be given back whole" in done.stdout
    assert "docs/repair.md" in done.stdout
    for path in list(paths)[:3]:
        assert path in done.stdout


def test_a_changed_file_is_not_compared(backed: Backed) -> None:
    path = backed.source / "below" / "000"
    before = path.read_bytes()
    path.write_bytes(before[::-1])
    row = backed.test("--percent", "100")
    assert (row["verdict"], row["same_here"], row["changed_here"], row["differs_here"]) == ("passed", 29, 1, [])


def test_options_that_make_no_sense_are_refused_before_the_passphrase(backed: Backed) -> None:
    for args in (("--files", "3", "--percent", "3"), ("--percent", "0"), ("--percent", "101"), ("--files", "0")):
        backed.run("test-restore", *args, exit_code=2, RPDRIVE_PASSPHRASE="wrong")
    backed.run("test-restore", "5f3a9c01", exit_code=4)
