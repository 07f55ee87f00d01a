"""A fleet of machines: a scheduler and three workers in network namespaces, over Azurite, of which two are lost."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.test_same import Saver, session_of
from tests.kit.azurite import ACCOUNT, Azurite, running_azurite
from tests.kit.cli import Cli
from tests.kit.dask_machines import FleetKit, Machine, running_fleet

pytestmark = [pytest.mark.soak, pytest.mark.needs_root, pytest.mark.unmeasured]
DAMAGED, WITH_PROBLEMS = 9, 3
ITEMS, SIZE = 4, 24 << 20


class World:
    """A vault on Azurite that four machines saved, and a fleet that gets workers."""

    def __init__(self, folder: Path, kit: FleetKit, azurite: Azurite) -> None:
        self.kit, self.azurite, self.folder = kit, azurite, folder
        self.container = azurite.container("fleet")
        self.vault = f"azure://{ACCOUNT}/fleet"
        self.cli = self.another("here")
        self.cli.ok("vault", "create")
        for n in range(ITEMS):
            source = folder / f"source{n}"
            (source / "small").mkdir(parents=True)
            rng = random.Random(n)
            for m in range(4):
                (source / f"large{m}").write_bytes(rng.randbytes(SIZE // 4))
            for m in range(300):
                (source / "small" / f"{m}").write_bytes(rng.randbytes(2000))
            cli = self.another(f"saver{n}")
            cli.ok("backup", "--machine", f"box{n}", str(source))
            (source / "large0").write_bytes(rng.randbytes(1 << 20))
            cli.ok("backup", "--machine", f"box{n}", str(source))
        self._damage()

    def another(self, name: str) -> Cli:
        cli = Cli(self.folder / name)
        cli.environ |= self.store | self.kit.environ
        return cli

    @property
    def store(self) -> dict[str, str]:
        return self.azurite.environ | {"RPDRIVE_VAULT": self.vault}

    def three(self) -> list[Machine]:
        """Three new workers that can do anything."""
        kit = self.kit
        found = [kit.add_worker(self.store, saved=n == 0) for n in range(3)]
        kit.wait_for(lambda: {one.name for one in found} <= kit.names())
        return found

    def _damage(self) -> None:
        """Flip a bit of the largest pack."""
        blobs = [blob for blob in self.container.list_blobs("packs/") if blob.size > 4 << 20]
        name = str(max(blobs, key=lambda blob: (blob.size, blob.name)).name)
        data = bytearray(self.container.download_blob(name).readall())
        data[len(data) * 5 // 8] ^= 1  # in a file that the newest point has, too
        self.container.upload_blob(name, bytes(data), overwrite=True)

    def lose_two(self, code: int, *args: str) -> dict[str, Any]:
        """Run a command of the fleet, during which one worker is killed and one cut off. What it prints as JSON."""
        workers = self.three()
        command = self.cli.command("fleet", *args, "--on", self.kit.on, "--json")
        with subprocess.Popen(command, env=self.cli.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
            killed = self.kit.busy_one(workers)
            killed.kill()
            self.kit.busy_one([one for one in workers if one is not killed]).cut()
            out, err = run.communicate(timeout=240)
        assert run.returncode == code, (err, out)
        row: dict[str, Any] = json.loads(out)
        assert row["fleet"]["workers_lost"] == 2
        assert row["fleet"]["workers_refused"] == 1 and b"gets nothing to do: the vault" in err
        assert row["fleet"]["failed"] == 0
        print(args, row["fleet"])
        for one in workers:
            one.mend()
            one.kill()
        self.kit.wait_for(lambda: not self.kit.names() & {one.name for one in workers})
        return row


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "azurite").mkdir()
    with running_fleet(folder / "kit") as kit, running_azurite(folder / "azurite", kit.net.address) as azurite:
        world = World(folder, kit, azurite)
        kit.add_worker(world.store, has_key=False)
        yield world


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def test_a_check_finds_what_a_single_run_finds(world: World) -> None:
    single = json.loads(world.cli.run("check", "--level", "3", "--json").stdout)
    assert single["damaged"] and len(single["findings"]) == 1
    fleet = world.lose_two(DAMAGED, "check", "--level", "3")
    assert without(fleet, "fleet", "errors", "notes") == without(single, "notes")
    assert sorted(fleet["notes"]) == sorted(single["notes"]) and fleet["errors"] == []


def test_files_are_read_back(world: World) -> None:
    row = world.lose_two(DAMAGED, "test-restore", "--every-item", "--percent", "100")
    assert [(one["verdict"], one["files"], len(one["failures"])) for one in row["tests"]].count(
        ("passed", 304, 0)
    ) == ITEMS - 1
    (bad,) = [one for one in row["tests"] if one["failures"]]
    assert bad["files"] == 304 and len(bad["failures"]) == 1


def test_a_prune_is_done_whole(world: World) -> None:
    """Machines with many small packs, which upkeep merges: that takes each some seconds."""
    with pytest.MonkeyPatch.context() as environ:
        for name, value in world.store.items():
            environ.setenv(name, value)
        vault = session_of(world.folder / "small", world.vault).open_vault()
        for n in range(ITEMS):
            Saver(vault, (b"few%d" % n).ljust(16, b".")).backup_apart()
    row = world.lose_two(0, "prune", "--yes")
    done = {one["machine"]: one for one in row["machines"]}
    assert set(done) == {f"{kind}{n}" for kind in ("box", "few") for n in range(ITEMS)}
    assert all("error" not in one and not one["problems"] for one in done.values())
    # A lost worker may have done what the second one then found done: in the end it is done once.
    places = [blob.name for blob in world.container.list_blobs("places/")]
    assert len({name.split("/")[1] for name in places}) == ITEMS
    again = world.cli.json("prune", "--yes")
    assert [(one["record"], one["carriers"]) for one in again["machines"]] == [(0, 0)] * 2 * ITEMS
    check = json.loads(world.cli.run("check", "--level", "3", "--json").stdout)
    assert [found["what"] for found in check["findings"]] == ["damaged block"]


def test_without_its_scheduler_the_command_ends(world: World) -> None:
    """The last test here: the scheduler is gone after it."""
    (worker, *_others) = world.three()
    command = world.cli.command("fleet", "check", "--level", "3", "--on", world.kit.on)
    with subprocess.Popen(command, env=world.cli.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        world.kit.busy_one([worker])
        world.kit.scheduler.kill()
        out, err = run.communicate(timeout=100)
    assert run.returncode == 14, (out, err)
    assert b"does not answer any more; see its log" in err.splitlines()[-1] and b"Traceback" not in err
