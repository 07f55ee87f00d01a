"""`rpdrive repair`, as people use it: real vaults, real drives, files compared with `cmp`."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.store.azure.store import AzureStore
from catalog.vault import Vault
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.cli import Cli
from tests.kit.vaults import new_vault

LARGE = 3 << 20


def make_source(folder: Path) -> Path:
    folder.mkdir()
    rng = random.Random(3)
    for n in range(6):
        (folder / f"small {n}").write_bytes(rng.randbytes(3_000))
    (folder / "large").write_bytes(rng.randbytes(LARGE))
    return folder


class Drive:
    """A drive, taken away whatever happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def open(self, cli: Cli, point: str) -> Path:
        cli.ok("mount", self.folder, "--point", point)
        return self.folder

    def close(self, cli: Cli) -> None:
        if cli.run("unmount", self.folder).returncode != 0:
            subprocess.run(["umount", "-l", self.folder], capture_output=True, check=False)


@pytest.fixture
def drive(tmp_path: Path, rpdrive: Cli) -> Iterator[Drive]:
    drive = Drive(tmp_path / "drive")
    yield drive
    if drive.folder.is_mount():
        drive.close(rpdrive)


def differs(one: Path, other: Path) -> set[str]:
    """The files that differ, or can't be read."""
    return {
        path.name
        for path in one.iterdir()
        if subprocess.run(["cmp", path, other / path.name], capture_output=True, timeout=60, check=False).returncode
    }


@pytest.mark.needs_fuse
@pytest.mark.needs_program("cmp")
def test_a_lost_pack_heals_in_two_steps(rpdrive: Cli, vault: Vault, drive: Drive, tmp_path: Path) -> None:
    source = make_source(tmp_path / "source")
    rpdrive.ok("backup", source)
    first = rpdrive.json("points")["points"][0]["id"]
    (pack,) = [p for p in (rpdrive.vault / "packs").rglob("*") if p.is_file()]
    kept = pack.read_bytes()
    pack.write_bytes(kept[: LARGE // 2])
    at = str(source).lstrip("/")
    assert differs(source, drive.open(rpdrive, first) / at)
    drive.close(rpdrive)

    dry = rpdrive.run("repair", "--dry-run")
    assert dry.returncode == 3 and b"/source/large" in dry.stdout, dry
    assert not (rpdrive.vault / "places").exists()
    assert "--yes" in rpdrive.fails("repair", code=2)
    row = json.loads(rpdrive.run("repair", "--yes", "--json").stdout)
    (machine,) = row["machines"]
    assert machine["healed"] == 0 and machine["lost"] >= len(machine["broken"]) > 0
    assert {file["path"].rsplit("/", 1)[1] for file in machine["lost_files"]} <= {p.name for p in source.iterdir()}

    assert rpdrive.run("backup", source).returncode == 3, "the pack that was cut is a problem of this run"
    text = rpdrive.ok("repair", "--yes")
    assert "found elsewhere" in text
    assert "nothing to repair" in rpdrive.ok("repair", "--dry-run")
    assert "other copies are read instead" in rpdrive.ok("check")
    assert differs(source, drive.open(rpdrive, first) / at) == set()
    drive.close(rpdrive)
    rpdrive.ok("restore", f"{first}:/{at}", "--to", tmp_path / "out")
    assert differs(source, next(p for p in (tmp_path / "out").rglob("large")).parent) == set()


def test_vault_json_is_put_back(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    rpdrive.ok("backup", make_source(tmp_path / "source"))
    file = rpdrive.vault / "vault.json"
    kept = file.read_bytes()
    file.unlink()
    assert "rpdrive repair" in rpdrive.fails("points", code=6)
    done = rpdrive.run("repair", "--dry-run")
    assert done.returncode == 3 and b"vault.json is missing" in done.stdout and not file.exists()
    assert "wrote vault.json" in rpdrive.ok("repair", "--yes")
    assert file.read_bytes() == kept
    copy = rpdrive.vault / "vault/1.json"
    copy.write_bytes(b"rotten")
    assert "wrote vault/1.json" in rpdrive.ok("repair", "--yes") and copy.read_bytes() == kept
    assert len(rpdrive.json("points")["points"]) == 1


def test_the_role_is_asked_for_first(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    rpdrive.ok("vault", "credentials", "--role", "backup", "--output", file)
    rpdrive.ok("vault", "connect", file)
    (rpdrive.vault / "vault.json").rename(tmp_path / "away")
    assert "this needs the role maintain" in rpdrive.fails("repair", "--yes", code=5)


def test_a_vault_in_azure(rpdrive: Cli, azurite: Azurite, tmp_path: Path) -> None:
    """With credentials for the role maintain, and a cache that knows nothing."""
    container = azurite.container("repair")
    rpdrive.environ |= azurite.environ | {"RPDRIVE_VAULT": f"azure://{ACCOUNT}/repair"}
    new_vault(AzureStore(ACCOUNT, "repair", environ=azurite.environ))
    source = make_source(tmp_path / "source")
    rpdrive.ok("backup", source)
    first = rpdrive.json("points")["points"][0]["id"]
    for blob in list(container.list_blobs()):
        if blob.name.startswith(("index/", "machines/")):
            container.delete_blob(blob.name)
        elif blob.name.startswith("packs/"):
            container.upload_blob(blob.name, container.download_blob(blob.name).read(LARGE // 2), overwrite=True)

    file, other = tmp_path / "credentials.json", Cli(tmp_path / "other")
    rpdrive.ok("vault", "credentials", "--role", "maintain", "--output", file)
    del other.environ["RPDRIVE_VAULT"]
    other.environ |= {"RPDRIVE_ALLOW_HTTP": "1"}
    other.ok("vault", "connect", file, "--accept-endpoint")
    assert other.run("repair", "--yes").returncode == 3
    rpdrive.run("backup", source)
    row = other.json("repair", "--yes")
    (machine,) = row["machines"]
    assert machine["lost"] == 0 and machine["healed"] > 0
    rpdrive.ok("restore", f"{first}:/{str(source).lstrip('/')}", "--to", tmp_path / "out")
    assert differs(source, next(p for p in (tmp_path / "out").rglob("large")).parent) == set()
