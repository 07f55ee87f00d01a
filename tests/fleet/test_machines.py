"""A fleet of machines: a scheduler and three workers in network namespaces, over Azurite, of which two are lost."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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

    def damage(self) -> str:
        """Flip a bit of the largest pack. Returns its name."""
        blobs = [blob for blob in self.container.list_blobs("packs/") if blob.size > 4 << 20]
        name = str(max(blobs, key=lambda blob: (blob.size, blob.name)).name)
        data = bytearray(self.container.download_blob(name).readall())
        data[3 << 20] ^= 1
        self.container.upload_blob(name, bytes(data), overwrite=True)
        return name

    def lose_two(self, code: int, *args: str) -> dict[str, Any]:
        """Run a command of the fleet, during which one worker is killed and one cut off. What it prints as JSON."""
        workers = self.three()
        command = self.cli.command("fleet", *args, "--on", self.kit.on, "--json")
        with subprocess.Popen(command, env=self.cli.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
            self.kit.wait_until_busy(workers[0])
            workers[0].kill()
            self.kit.wait_until_busy(workers[1])
            workers[1].cut()
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
    world.damage()
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


def test_a_prune_does_what_a_single_run_does(world: World) -> None:
    row = world.lose_two(0, "prune")
    assert [one["machine"] for one in row["machines"]] == [f"box{n}" for n in range(ITEMS)]
