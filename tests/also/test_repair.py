"""`rpdrive repair --also`: what a vault has lost is taken from a copy of it. The real command, on real folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from catalog.store.local import LocalStore
from catalog.vault import open_vault
from tests.kit.backing import back_up
from tests.kit.cli import Cli
from tests.kit.drives import noise
from tests.kit.places import copy_of
from tests.kit.vaults import PASSPHRASE, make_vault, new_vault


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


class World:
    """A vault with two points, and a copy of that; both are a test's own, and the source is the module's."""

    def __init__(self, cli: Cli, made: Path) -> None:
        self.cli, self.folder, self.source = cli, cli.vault.parent, made / "source"
        shutil.copytree(made / "vault", cli.vault)
        vault = open_vault(LocalStore(cli.vault), passphrase=PASSPHRASE)
        self.copy = copy_of(vault, cli.vault, self.folder / "copy")
        self.kept = {path.relative_to(self.copy): path.read_bytes() for path in files(self.copy)}

    def mended(self) -> str:
        """Repair by the copy, and see that all is well at the first place alone."""
        text = self.cli.ok("repair", "--also", self.copy, "--yes")
        assert {path.relative_to(self.copy): path.read_bytes() for path in files(self.copy)} == self.kept
        self.cli.ok("check", "--level", "3")
        self.restored()
        return text

    def restored(self) -> None:
        out = self.folder / "out"
        self.cli.ok("restore", "latest", "--to", out)
        top = out / str(self.source).lstrip("/")
        assert [path.relative_to(top) for path in files(top)] == [
            p.relative_to(self.source) for p in files(self.source)
        ]
        for path in files(top):
            assert path.read_bytes() == (self.source / path.relative_to(top)).read_bytes()
        shutil.rmtree(out)

    def points(self) -> int:
        return len(self.cli.json("points")["points"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    source, vault = folder / "source", make_vault(folder / "vault")
    (source / "below").mkdir(parents=True)
    for n in range(4):
        (source / f"{n}").write_bytes(noise(300_000, n))
        (source / "below" / f"{n}").write_bytes(noise(2_000, 100 + n))
    back_up(vault, folder / "state", source)
    (source / "4").write_bytes(noise(300_000, 4))
    back_up(vault, folder / "state", source)
    return folder


@pytest.fixture
def world(rpdrive: Cli, made: Path) -> World:
    return World(rpdrive, made)


def test_flipped_bits_are_mended(world: World) -> None:
    """Reads give right bytes, `check` finds it, `repair --also` mends it, and `check` is clean."""
    for path in [*files(world.cli.vault / "packs"), *files(world.cli.vault / "meta")]:
        flip(path, 100)
    out = world.folder / "by the copy"
    done = world.cli.run("restore", "latest", "--to", out, "--also", world.copy)
    assert done.returncode == 0 and b"repair --also" in done.stderr, done
    assert {path.read_bytes() for path in files(out)} == {path.read_bytes() for path in files(world.source)}
    assert world.cli.run("check", "--level", "3").returncode == 9
    dry = world.cli.run("repair", "--also", world.copy, "--dry-run")
    assert dry.returncode == 3 and b"can be taken from" in dry.stdout, dry
    before = {path: path.read_bytes() for path in files(world.cli.vault)}
    text = world.mended()
    assert "lost here, can be taken from" in text and "took" in text
    assert all(path.read_bytes() == data for path, data in before.items() if path.name != "lock"), (
        "nothing is replaced"
    )


@pytest.mark.soak
def test_all_packs_of_a_folder_are_put_back(world: World) -> None:
    packs = {path: path.read_bytes() for path in files(world.cli.vault / "packs") + files(world.cli.vault / "meta")}
    for name in ("packs", "meta"):
        shutil.rmtree(world.cli.vault / name)
    world.mended()
    assert {path: path.read_bytes() for path in packs} == packs
    assert "nothing to repair" in world.cli.ok("repair", "--dry-run")


@pytest.mark.soak
def test_lost_and_damaged_records_are_put_back(world: World) -> None:
    vault = world.cli.vault
    (newest,) = [path for path in files(vault / "points") if "-00000002-" in path.name]
    (other,) = [path for path in files(vault / "points") if path != newest]
    (machine,) = files(vault / "machines")
    kept = {path: path.read_bytes() for path in (newest, other, machine)}
    newest.unlink()
    flip(other, 60)
    machine.unlink()
    text = world.mended()
    assert {path: path.read_bytes() for path in kept} == kept
    assert world.points() == 2 and text.count("wrote ") >= 3


@pytest.mark.soak
def test_a_point_that_was_forgotten_does_not_come_back(world: World) -> None:
    (first, _second) = sorted(world.cli.json("points")["points"], key=lambda point: point["sequence"])
    world.cli.ok("forget", first["id"], "--now", "--yes")
    world.cli.ok("prune", "--yes")
    (path,) = [path for path in files(world.copy / "points") if "-00000001-" in path.name]
    here = world.cli.vault / path.relative_to(world.copy)
    assert not here.exists()
    world.mended()
    assert not here.exists() and world.points() == 1


@pytest.mark.soak
def test_a_copy_with_a_flipped_bit_is_no_help(world: World) -> None:
    for place in (world.cli.vault, world.copy):
        for path in files(place / "packs"):
            flip(path, 100)
    text = world.cli.run("repair", "--also", world.copy, "--read", "--yes")
    assert text.returncode == 3 and b"without another copy" in text.stdout
    for path in files(world.cli.vault / "packs"):
        path.unlink()
    assert world.cli.run("repair", "--also", world.copy, "--yes").returncode == 3


@pytest.mark.soak
def test_a_lost_vault_json_is_taken_too(world: World) -> None:
    first = json.loads((world.cli.vault / "vault.json").read_bytes())
    world.cli.ok("points")
    shutil.rmtree(world.cli.vault / "vault")
    (world.cli.vault / "vault.json").unlink()
    assert "no copy of it in vault/" in world.cli.fails("repair", "--yes", code=6)
    text = world.mended()
    assert f"vault.json at {world.copy.as_uri()} is to be put in its place" in text
    again = json.loads((world.cli.vault / "vault.json").read_bytes())
    assert "copy" not in again and again["number"] > first["number"] and again["slots"] == first["slots"]
    assert not world.cli.run("points").stderr, "it is not taken for an older one"

    world.cli.vault.rename(world.folder / "away")
    world.cli.vault.mkdir()
    assert "no copy of it in vault/" in world.cli.fails("repair", "--also", world.copy, "--yes", code=6)
    assert not files(world.cli.vault), "an empty folder is no damaged vault"


def test_another_vault_is_refused(world: World) -> None:
    new_vault(LocalStore(world.folder / "other"))
    assert "nothing is read there" in world.cli.fails("repair", "--also", world.folder / "other", "--yes", code=6)
    assert "is named twice" in world.cli.fails("repair", "--also", world.cli.vault, "--yes", code=2)
    assert "--also is for reading" in world.cli.fails("check", "--also", world.copy, code=2)
    assert "there is no vault at" in world.cli.fails("repair", "--also", world.folder / "nowhere", "--yes", code=6)
