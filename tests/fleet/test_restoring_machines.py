"""A restore of 100,000 files by three machines over Azurite; in the middle one is killed, and one cut off."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.azurite import ACCOUNT, Azurite, running_azurite
from tests.kit.cli import ROOT, Cli
from tests.kit.dask_machines import FleetKit, Machine, running_fleet
from tests.kit.restoring import assert_same_attributes, assert_same_trees, temporaries

pytestmark = [pytest.mark.soak, pytest.mark.needs_root, pytest.mark.unmeasured]
FILES = int(os.environ.get("RPDRIVE_SOAK_FILES", "100000"))
EACH = 500  # files in a folder
_TICK = os.sysconf("SC_CLK_TCK")


def make_source(top: Path) -> None:
    """Small files in folders of folders; every tenth folder has links, symlinks, attributes, a sparse and a large
    file."""
    rng = random.Random(17)
    linked: Path | None = None
    for n in range(FILES // EACH):
        folder = top / f"group {n // 10}" / f"folder {n}"
        folder.mkdir(parents=True)
        for k in range(EACH):
            (folder / f"file {k}").write_bytes(rng.randbytes(rng.randrange(100, 3000)))
        if n % 10:
            continue
        if linked is not None:
            (folder / "linked").hardlink_to(linked)
        else:
            linked = folder / "linked"
            linked.write_bytes(rng.randbytes(700_000))
        (folder / "symlink").symlink_to("file 1")
        os.setxattr(folder / "file 2", "user.note", b"n")
        os.chown(folder / "file 3", 1234, 4321)
        (folder / "file 4").chmod(0o4750)
        with (folder / "sparse").open("wb") as sparse:
            sparse.write(rng.randbytes(8192))
            sparse.truncate(16 << 20)
        (folder / "large").write_bytes(rng.randbytes(5 << 20))
        folder.chmod(0o2751)
        os.utime(folder, ns=(10**18, 10**18 + n))


class World:
    """A point of many files in a vault on Azurite, and a fleet that gets workers."""

    def __init__(self, folder: Path, kit: FleetKit, azurite: Azurite) -> None:
        self.kit, self.azurite, self.folder = kit, azurite, folder
        azurite.container("fleet")
        self.store = azurite.environ | {"RPDRIVE_VAULT": f"azure://{ACCOUNT}/fleet"}
        self.cli = Cli(folder / "here")
        self.cli.environ |= self.store | kit.environ
        self.cli.ok("vault", "create")
        self.source = folder / "source"
        make_source(self.source)
        self.run("backup", self.source)
        self.row: dict[str, Any] = {}
        self.errors = ""
        self.single = folder / "single"
        self.seconds, self.cpu = self.timed(self._single, [])

    def _single(self) -> None:
        self.row = json.loads(self.run("restore", f"latest:{self.source}", "--to", self.single, "--json"))

    def run(self, *args: str | Path) -> bytes:
        """Run a command that may take long. What it prints."""
        command = self.cli.command(*map(str, args))
        done = subprocess.run(command, env=self.cli.environ, capture_output=True, timeout=1800, check=False)
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        return done.stdout

    def timed(self, work: Callable[[], None], workers: list[Machine]) -> tuple[float, float]:
        """The seconds that something takes; and of processors, for it, its children and these workers."""
        began, own, theirs = time.monotonic(), sum(os.times()[2:4]), sum(map(cpu_of, workers))
        work()
        return time.monotonic() - began, sum(os.times()[2:4]) - own + sum(map(cpu_of, workers)) - theirs

    def workers(self, count: int) -> list[Machine]:
        found = [self.kit.add_worker(self.store, saved=n == 0) for n in range(count)]
        self.kit.wait_for(lambda: {one.name for one in found} <= self.kit.names())
        return found

    def end(self, workers: list[Machine]) -> None:
        for one in workers:
            one.mend()
            one.kill()
        self.kit.wait_for(lambda: not self.kit.names() & {one.name for one in workers})

    def command(self, to: Path) -> list[Any]:
        place = f"latest:{self.source}"
        return list(self.cli.command("fleet", "restore", place, "--to", str(to), "--on", self.kit.on, "--json"))

    def restored(self, to: Path, during: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Restore by the fleet. What it prints as JSON; `errors` are its messages."""
        with subprocess.Popen(
            self.command(to), env=self.cli.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as run:
            during()
            out, err = run.communicate(timeout=1200)
        assert run.returncode == 0, (err, out)
        row: dict[str, Any] = json.loads(out)
        self.errors = err.decode()
        return row

    def assert_same(self, to: Path) -> None:
        assert_same_trees(to / "source", self.single / "source")
        assert_same_attributes(to / "source", self.single / "source")
        subprocess.run(["diff", "-r", to, self.single], check=True)
        assert temporaries(to) == [] and os.listdir(to) == ["source"]


def blind_worker(kit: FleetKit, store: dict[str, str], hidden: Path) -> Machine:
    """A worker on a host called `blind`, which has another file system at this path."""
    machine, home = kit.net.add("blind"), kit.folder / "blind"
    cli = Cli(home)
    cli.home.parent.mkdir(exist_ok=True)
    cli.environ |= store | kit.environ
    cli.ok("vault", "unlock", "--save")
    worker = [
        sys.executable, "-P", "-m", "distributed.cli.dask_worker", kit.on.replace("dask:", "tls:"), "--host",
        machine.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", "blind", "--local-directory",
        str(home / "dask"),
    ]  # fmt: skip
    script = 'mount -t tmpfs none "$0" && hostname blind && exec "$@"'
    own = {name: value for name, value in cli.environ.items() if name != "RPDRIVE_PASSPHRASE"}
    with (home / "log").open("ab") as log:
        machine.process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{machine.namespace}", "unshare", "--mount", "--uts", "sh", "-c", script,
             str(hidden), *worker],
            env=own | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home,
            start_new_session=True,
        )  # fmt: skip
    kit.workers.append(machine)
    kit.wait_for(lambda: "blind" in kit.names())
    return machine


def cpu_of(machine: Machine) -> float:
    assert machine.process is not None
    fields = Path(f"/proc/{machine.process.pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def peak_of(machine: Machine) -> int:
    """The most memory that a worker had, in MiB."""
    assert machine.process is not None
    lines = Path(f"/proc/{machine.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "azurite").mkdir()
    with running_fleet(folder / "kit") as kit, running_azurite(folder / "azurite", kit.net.address) as azurite:
        yield World(folder, kit, azurite)


OWN = {"job", "started", "finished", "seconds", "target", "fleet"}


def totals(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in OWN}


@pytest.mark.timeout(3600)
def test_one_two_and_three(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The same tree, result and record as a single restore; and what more workers gain."""
    lines = [f"single: {world.seconds:.1f} s, {world.cpu:.1f} s of processors"]
    for count in (1, 2, 3):
        workers, to = world.workers(count), world.folder / f"to {count}"
        rows: list[dict[str, Any]] = []
        seconds, cpu = world.timed(lambda to=to, rows=rows: rows.append(world.restored(to)), workers)  # type: ignore[misc]
        (row,) = rows
        assert totals(row) == totals(world.row)
        peaks = ", ".join(f"{peak_of(one)} MiB" for one in workers)
        lines.append(f"{count} workers: {seconds:.1f} s, {cpu:.1f} s of processors, {peaks}, {row['fleet']}")
        world.assert_same(to)
        world.end(workers)
    with capsys.disabled():
        print("\n" + "\n".join(lines))


@pytest.mark.timeout(3600)
def test_two_are_lost(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """One that does not see the target gets nothing to do, and is named; the two that are lost cost time."""
    shared = world.folder / "shared"
    shared.mkdir()
    blind = blind_worker(world.kit, world.store, shared)
    workers, to = world.workers(3), shared / "to"

    def lose() -> None:
        world.kit.wait_until_busy(workers[0])
        time.sleep(1)
        workers[0].kill()
        world.kit.wait_until_busy(workers[1])
        time.sleep(1)
        workers[1].cut()

    row = world.restored(to, lose)
    assert row["fleet"]["workers_lost"] == 2 and row["fleet"]["failed"] == 0
    assert row["fleet"]["workers_refused"] == 1 and "the worker on blind gets nothing to do: " in world.errors
    assert f"the folder {to} is not the one to restore into" in world.errors
    assert row["written"] + row["same"] == world.row["written"]
    assert (row["entries"], row["problem_count"]) == (world.row["entries"], 0)
    world.assert_same(to)
    workers[1].mend()
    time.sleep(5)
    world.assert_same(to)  # who was cut off does nothing late
    world.end([*workers, blind])
    with capsys.disabled():
        print(f"\ntwo lost: {row['seconds']} s, {row['fleet']}, {row['same']} there already")
