"""Pruning on real stores: a folder, a full disk, Azurite; and as a command."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.prune.plan import Limits
from catalog.store.azure.store import AzureStore
from catalog.store.base import Store
from catalog.store.local import LocalStore
from catalog.vault import Vault
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.cli import Cli
from tests.kit.faults import RefusingStore
from tests.kit.pruning import World, random_edits

NONE: dict[str, Any] = {"g": 0, "wait": 0}  # nothing waits: the clock of a real store can't be moved


class Real(World):
    """A vault in a store with a clock of its own."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.now = time.time_ns()

    def later(self, days: float) -> None:
        self.now = self.store.now()


def life(world: World) -> None:
    """Merge, hide, delete, cut; once, the store refuses to delete."""
    names = random_edits(world, 4)
    assert world.prune(**NONE).carriers == 2
    world.check()
    world.forget(names[0], names[2])
    seen = set[str]()
    for _run in range(9):
        refusing = "deleted" not in seen and "refused" not in seen
        store = RefusingStore(world.meter, kinds={"delete"} if refusing else ())
        done = world.prune(world.opened(store), **NONE)
        seen |= {what for what in ("deleted", "points", "moved", "refused") if getattr(done, what)}
        world.check()
        if len(seen) == 4 and len(world.objects("packs/")) == len(world.objects("meta/")) == 1:
            break
    assert seen == {"deleted", "points", "moved", "refused"}
    assert len(world.objects("packs/")) == len(world.objects("meta/")) == 1
    assert len(world.objects("points/")) == 2


def test_in_a_folder(tmp_path: Path) -> None:
    life(Real(LocalStore(tmp_path / "vault")))


@pytest.fixture
def azure(azurite: Azurite) -> Iterator[AzureStore]:
    container = azurite.container(f"prune-{secrets.token_hex(6)}")
    store = AzureStore(ACCOUNT, container.container_name, environ=azurite.environ)
    yield store
    store.close()


def test_at_azurite(azure: AzureStore) -> None:
    life(Real(azure))


def test_a_merge_in_a_folder_takes_next_to_no_bytes_through_this_machine(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "vault")
    world = Real(store)
    world.backup(*range(100, 132), size=2 << 20)
    names = [world.backup(n % 6) for n in range(70)]
    stored = sum(world.objects("").values())
    before = world.meter.snapshot()
    done = world.prune(limits=Limits())
    traffic = world.meter.snapshot() - before
    assert done.carriers == 2 and done.outlook.moves >= 140
    assert traffic.sent + traffic.received <= stored // 100
    world.prune(limits=Limits(), **NONE)
    assert len(world.objects("packs/")) == 3 and len(world.objects("meta/")) == 1
    for name in (names[0], names[-1]):
        assert world.read(name) == world.points[name]


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))


def test_a_local_store_keeps_room_for_its_records(tmp_path: Path) -> None:
    at = tmp_path / "disk"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", at], check=True)
    store = LocalStore(at / "vault")
    try:
        world = Real(store)
        names = random_edits(world, 3)
        store.keep_room()
        store.keep_room()
        ballast = at / "vault" / ".rpdrive" / "ballast"
        assert ballast.stat().st_size == 16 << 20
        filler = at / "filler"
        _fill(filler)
        world.forget(names[0])  # a full disk is why people forget
        assert not ballast.exists()
        filler.unlink()
        store.keep_room()
        _fill(filler)
        done = world.prune(**NONE)
        assert done.points == 1 and not ballast.exists()
        world.check()
        filler.unlink()
        store.keep_room()
        assert ballast.stat().st_size == 16 << 20
        world.forget(names[1])
        assert ballast.exists()
        assert store.make_room() and not store.make_room()
    finally:
        store.close()
        subprocess.run(["umount", at], check=True)


def test_the_command(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for n in range(2):
        (source / "file").write_bytes(os.urandom(10_000 + n))
        rpdrive.ok("backup", source, "--item", "home", "--machine", "box")
    objects = {path for path in rpdrive.vault.rglob("*") if path.is_file()}
    said = rpdrive.ok("prune", "--dry-run")
    assert said.startswith("box: ") and "nothing to do" in said and said.endswith("Dry run: nothing was changed\n")
    assert objects == {path for path in rpdrive.vault.rglob("*") if path.is_file()}
    row = rpdrive.json("prune")
    assert [one["machine"] for one in row["machines"]] == ["box"]
    assert row["machines"][0]["hidden_bytes"] == 0 and row["machines"][0]["deleted_objects"] == 0
    (job,) = (one["id"] for one in rpdrive.json("jobs")["jobs"] if one["kind"] == "prune")
    text = rpdrive.ok("jobs", job[:8])
    assert "prune of box" in text and "in use, 0 B hidden" in text and "0 B freed" in text
    assert "there is no machine other" in rpdrive.fails("prune", "--machine", "other", code=4)
    assert "not a length of time" in rpdrive.fails("prune", "--max-time", "soon", code=2)
    assert "box" in rpdrive.ok("prune", "--machine", "box", "--max-time", "1h")
    point = next(path for path in (rpdrive.vault / "points").rglob("*") if "-00000001-" in path.name)
    point.write_bytes(bytes(300))
    done = rpdrive.run("prune")
    assert done.stderr.count(point.name.encode()) == 1 and b"`rpdrive forget --damaged " in done.stderr
    point.unlink()
    done = rpdrive.run("prune")
    assert done.returncode == 3 and b"vanished from the vault; bring them back" in done.stderr
    failed = json.loads(rpdrive.run("prune", "--json").stdout)["machines"][0]["error"]
    assert failed["kind"] == "Refused"
    (record,) = (path for path in (rpdrive.vault / "machines").rglob("*") if path.is_file())
    record.write_bytes(bytes(100))
    done = rpdrive.run("prune")
    assert done.returncode == 3 and b"no record that can be read; run `rpdrive repair`" in done.stderr
