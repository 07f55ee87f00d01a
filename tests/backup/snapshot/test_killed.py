"""A backup that is killed at any step leaves nothing behind once the next has begun, and touches nothing else."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backup.snapshot.btrfs import Btrfs
from backup.snapshot.marks import FOLDER, clean, marked
from catalog.store.memory import MemoryStore
from tests.kit.cli import ROOT, Cli
from tests.kit.disks import Disk, disk, run
from tests.kit.protected import Protected
from tests.kit.snapshots import source

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("mkfs.btrfs", "losetup")]
# The system's calls that make, note, forget or remove something.
CALLS = ((fcntl, "ioctl"), (os, "open"), (os, "write"), (os, "fsync"), (os, "unlink"), (os, "mkdir"))


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Disk]:
    with disk(tmp_path, "btrfs") as made:
        run("btrfs", "subvolume", "create", made.place / "inner")
        (made.place / "file").write_bytes(b"x")
        yield made


@pytest.fixture
def machine(tmp_path: Path) -> Protected:
    (tmp_path / "state").mkdir()
    return Protected(MemoryStore(), tmp_path / "state")


def ours(place: Path) -> list[str]:
    return sorted(name for name in os.listdir(place) if name.startswith(".rpdrive-"))


def killed_at(step: int, life: Callable[[], object]) -> bool:
    """Run something in a process that is killed before a call. Returns whether it came that far."""
    child = os.fork()
    if child == 0:
        left = [step]

        def stopping(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any, **options: Any) -> Any:
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                return call(*args, **options)

            return wrapped

        for module, name in CALLS:
            setattr(module, name, stopping(getattr(module, name)))
        try:
            life()
        finally:
            os._exit(0)
    _pid, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_nothing_is_left_behind_whatever_the_step(btrfs: Disk, machine: Protected) -> None:
    (btrfs.place / f".rpdrive-{'1' * 32}-1").mkdir()  # names like ours, and no snapshots
    run("btrfs", "subvolume", "snapshot", btrfs.place, btrfs.place / f".rpdrive-{'2' * 32}-1")
    run("btrfs", "subvolume", "snapshot", "-r", btrfs.place, btrfs.place / "of somebody else")
    others = ours(btrfs.place)

    def life() -> None:
        with closing(source(machine, btrfs.place)) as files:
            files.begin()

    step, seen = 0, set[int]()
    while killed_at(step, life):
        seen.add(len(ours(btrfs.place)) - len(others))
        assert not [file for file in marked(machine.state) if file.is_running]
        assert clean(machine.state, [Btrfs()]) == []
        assert ours(btrfs.place) == others, step
        assert list((machine.state / FOLDER).glob("*")) == [], step
        step += 1
    assert seen == {0, 1, 2, 3}  # of the top, of `inner`, and of what is of somebody else
    assert step > 40
    assert (btrfs.place / "of somebody else").is_dir()


KILLED = """
import os, sys
import rpdrive
from backup.walk import Walk
Walk.run = lambda self: os.kill(os.getpid(), 9)
sys.exit(rpdrive.run(sys.argv[1:]))
"""


def test_the_command(btrfs: Disk, rpdrive: Cli, vault: object) -> None:
    stopped = subprocess.run(
        [sys.executable, "-c", KILLED, "backup", btrfs.place], env=rpdrive.environ, cwd=ROOT, check=False
    )
    assert stopped.returncode == -9
    assert len(ours(btrfs.place)) == 2
    shown = rpdrive.json("snapshots")["snapshots"]
    here = [(row["kind"], row["state"]) for row in shown if row["of"] == str(btrfs.device)]  # other tests may run
    assert here == [("btrfs", "left behind")] * 2
    (btrfs.place / ".rpdrive-x").mkdir()
    run("btrfs", "subvolume", "snapshot", btrfs.place / "inner", btrfs.place / f".rpdrive-{'2' * 32}-1")
    row = rpdrive.json("backup", btrfs.place, "--snapshot", "always")
    assert [(s["place"], s["kind"]) for s in row["snapshots"]] == [(str(btrfs.place), "btrfs")]
    assert (row["problem_count"], row["notes"]) == (0, [])
    assert ours(btrfs.place) == [f".rpdrive-{'2' * 32}-1", ".rpdrive-x"]
    text = rpdrive.ok("backup", btrfs.place)
    assert f"  from snapshots (btrfs): {btrfs.place}\n" in text
    text = rpdrive.ok("snapshots", "--remove")
    assert text.startswith("0 snapshots removed\n") and "unknown" in text
    assert len(ours(btrfs.place)) == 2
    assert list((rpdrive.home / "state" / FOLDER).iterdir()) == []


ENDED = """
import os, sys
import backup.snapshot.btrfs as btrfs
import rpdrive
from backup.walk import Walk
create, made = btrfs._create, []
def ended(*args):
    create(*args)
    made.append(args)
    if len(made) == int(os.environ["AT"]):
        os.kill(os.getpid(), 15)
btrfs._create = ended
Walk.run = lambda self: os.kill(os.getpid(), 15)
sys.exit(rpdrive.run(sys.argv[1:]))
"""


@pytest.mark.parametrize("at", ["1", "2", "after both"])
def test_one_that_is_ended_removes_its_snapshots_at_once(btrfs: Disk, rpdrive: Cli, vault: object, at: str) -> None:
    """The signal comes while one is made, or while files are read from both."""
    before = ours(btrfs.place)
    environ = rpdrive.environ | {"AT": at if at.isdigit() else "3"}
    ended = subprocess.run(
        [sys.executable, "-c", ENDED, "backup", btrfs.place],
        env=environ,
        cwd=ROOT,
        check=False,
        capture_output=True,
    )
    assert ended.returncode == 130, ended
    assert ours(btrfs.place) == before
    assert list((rpdrive.home / "state" / FOLDER).iterdir()) == []


HOLD = """#!/bin/sh
ls -A {place} > {told}.before
echo READY
cat > /dev/null
ls -A {place} > {told}.released
"""


def test_a_database_may_go_on_as_soon_as_there_is_a_snapshot(
    btrfs: Disk, rpdrive: Cli, vault: object, tmp_path: Path
) -> None:
    script, told = tmp_path / "hold", tmp_path / "told"
    script.write_text(HOLD.format(place=btrfs.place, told=told))
    script.chmod(0o700)
    hooks = rpdrive.home / "config" / "hooks.toml"
    hooks.parent.mkdir(parents=True, exist_ok=True)
    hooks.write_text(f'[[hook]]\nname = "db"\nstage = "hold"\nrun = ["{script}"]\n')
    hooks.chmod(0o600)
    assert rpdrive.json("backup", btrfs.place)["snapshots"]
    assert ".rpdrive-" not in Path(f"{told}.before").read_text()
    assert ".rpdrive-" in Path(f"{told}.released").read_text()
    rpdrive.ok("backup", btrfs.place, "--snapshot", "never")
    assert ".rpdrive-" not in Path(f"{told}.released").read_text()


def test_without_a_table_of_mounts_a_wish_for_snapshots_is_a_problem(
    rpdrive: Cli, vault: object, tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "file").write_text("x")
    bare = ["unshare", "--mount", "sh", "-c", 'umount -l /proc; exec "$@"', "sh"]
    # Without /proc, attributes can't be read either, which is a problem of its own.
    for mode, codes in (("auto", [3]), ("always", [11]), ("never", [0, 3])):
        command = [*bare, *rpdrive.command("backup", tmp_path / "files", "--snapshot", mode)]
        done = subprocess.run(command, env=rpdrive.environ, check=False, capture_output=True, text=True)
        assert done.returncode in codes, done
        assert ("doesn't say where it is mounted" in done.stderr) == (mode != "never"), done
