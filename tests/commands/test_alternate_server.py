"""Restoring on another machine: a vault credentials file and the passphrase are all that it has."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from catalog.store.azure.store import AzureStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from tests.kit.azurite import ACCOUNT, Azurite, running_azurite
from tests.kit.cli import Cli
from tests.kit.drives import eventually
from tests.kit.namespaces import NamespacedCli, machines
from tests.kit.sources import small_and_large
from tests.kit.vaults import PASSPHRASE, new_vault

MIB = 1 << 20


def compare(one: Path, other: Path) -> None:
    done = subprocess.run(
        ["diff", "-r", "--no-dereference", one, other], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


class Drives:
    """Mounts of a test, taken away whatever happens."""

    def __init__(self) -> None:
        self._open: list[tuple[Cli, Path]] = []

    def mount(self, cli: Cli, folder: Path, *args: str) -> Path:
        folder.mkdir(parents=True)
        self._open.append((cli, folder))
        cli.ok("mount", folder, *args)
        return folder

    def close(self) -> None:
        for cli, folder in self._open:
            if cli.run("unmount", folder).returncode != 0:
                subprocess.run(["umount", "-l", folder], capture_output=True, check=False)


@pytest.fixture
def drives() -> Iterator[Drives]:
    drives = Drives()
    yield drives
    drives.close()


def restore_all(cli: Cli, drives: Drives, source: Path, folder: Path) -> None:
    """Every way to a file that a restore credential gives."""
    at = str(source).lstrip("/")
    points = cli.json("points", "--machine", "SRV01")["points"]
    assert [p["machine"] for p in points] == ["SRV01"]
    drive = drives.mount(cli, folder / "drive", "--machine", "SRV01")
    assert "SRV01" in os.listdir(drive)
    (item,) = [name for name in os.listdir(drive / "SRV01") if not name.startswith(".")]
    compare(source, drive / "SRV01" / item / "latest" / at)
    subprocess.run(["cp", "-a", drive / "SRV01" / item / "latest" / at, folder / "copied"], check=True, timeout=120)
    compare(source, folder / "copied")
    cli.ok("restore", f"latest:/{at}/below", "--to", folder / "restored", "--machine", "SRV01")
    (found,) = [p.parent for p in (folder / "restored").rglob("small 7")]
    compare(source / "below", found)
    assert [job["kind"] for job in cli.json("jobs")["jobs"]] == ["backup", "restore"]


# --- a vault in a folder --------------------------------------------------------------------------------------


def objects(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and ".rpdrive" not in p.parts}


@pytest.mark.needs_fuse
def test_two_homes_and_a_folder(rpdrive: Cli, vault: Vault, drives: Drives, tmp_path: Path) -> None:
    source = small_and_large(tmp_path / "source")
    rpdrive.ok("backup", source, "--machine", "SRV01")
    rpdrive.ok("vault", "credentials", "--role", "restore", "-o", tmp_path / "file")
    before = objects(rpdrive.vault)

    other = Cli(tmp_path / "other")
    del other.environ["RPDRIVE_VAULT"]
    other.fails("points", code=2)
    other.ok("vault", "connect", tmp_path / "file")
    restore_all(other, drives, source, tmp_path / "out")
    assert "role restore" in other.fails("backup", source, code=5)
    assert "role restore" in other.fails("machine", "rename", "SRV01", "mine", code=5)
    assert objects(rpdrive.vault) == before
    other.ok("vault", "disconnect")
    other.fails("points", code=2)


# --- a vault in Azure, and machines with networks of their own --------------------------------------------------


class Two:
    """Machine A, which backs up, and B, which has never seen it; a server that both can reach."""

    def __init__(self, a: NamespacedCli, b: NamespacedCli, azurite: Azurite) -> None:
        self.a, self.b, self.azurite = a, b, azurite
        self.url = f"azure://{ACCOUNT}/alternate"
        self.container = azurite.container("alternate")
        store = MeteredStore(AzureStore(ACCOUNT, "alternate", environ=azurite.environ))
        self.vault = new_vault(store)
        a.environ |= azurite.environ | {"RPDRIVE_VAULT": self.url}
        del b.environ["RPDRIVE_VAULT"]
        b.environ["RPDRIVE_ALLOW_HTTP"] = "1"

    def objects(self) -> dict[str, str]:
        return {blob.name: blob.etag for blob in self.container.list_blobs()}

    def credentials(self, path: Path, role: str, *args: str) -> dict[str, Any]:
        """Made on A; carried to B as a file."""
        self.a.ok("vault", "credentials", "--role", role, "-o", path, *args)
        row: dict[str, Any] = json.loads(path.read_text())
        return row


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with machines(tmp_path, "a", "b") as (a, b):
        (tmp_path / "azurite").mkdir()
        with running_azurite(tmp_path / "azurite", a.gateway) as azurite:
            yield Two(a, b, azurite)


def raw(machine: NamespacedCli, method: str, url: str) -> int:
    """A request made on a machine without rpdrive: the status that the server answers."""
    code = (
        "import sys, urllib.request, urllib.error\n"
        "headers = {'x-ms-blob-type': 'BlockBlob', 'x-ms-version': '2021-12-02', 'Content-Type': 'text/plain'}\n"
        "data = b'mine' if sys.argv[1] == 'PUT' else None\n"
        "request = urllib.request.Request(sys.argv[2], data, headers, method=sys.argv[1])\n"
        "try:\n    print(urllib.request.urlopen(request, timeout=30).status)\n"
        "except urllib.error.HTTPError as e:\n    print(e.code)\n"
    )
    command = machine.inside("python3", "-c", code, method, url)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout)


@pytest.mark.needs_root
@pytest.mark.needs_fuse
@pytest.mark.needs_azurite
def test_two_machines_and_a_server(two: Two, drives: Drives, tmp_path: Path) -> None:
    for machine, other in ((two.a, two.b), (two.b, two.a)):
        addresses = subprocess.run(
            ["ip", "-n", machine.namespace, "-o", "-4", "addr"], capture_output=True, text=True, check=True
        ).stdout
        assert machine.address in addresses and other.address not in addresses
    source = small_and_large(tmp_path / "source")
    two.a.ok("backup", source, "--machine", "SRV01")
    given = two.credentials(tmp_path / "file", "restore")
    assert given["role"] == "restore" and PASSPHRASE not in json.dumps(given)

    assert "no vault was named" in two.b.fails("points", code=2)
    elsewhere: dict[str, str | None] = {"AZURE_STORAGE_SERVICE_ENDPOINT": given["token"]["endpoint"]}
    refused = two.b.fails("points", "--vault", two.url, code=5, env=elsewhere)
    assert "credentials" in refused
    assert "--accept-endpoint" in two.b.fails("vault", "connect", tmp_path / "file", code=2)
    two.b.ok("vault", "connect", tmp_path / "file", "--accept-endpoint")
    before = two.objects()
    restore_all(two.b, drives, source, tmp_path / "out")

    # It can't change the vault: rpdrive says so, and so does the server to whoever asks it past rpdrive.
    assert "role restore" in two.b.fails("backup", source, code=5)
    point = next(name for name in before if name.startswith("points/"))
    base, sas = f"{given['token']['endpoint']}/alternate", given["token"]["sas"]
    assert raw(two.b, "GET", f"{base}/{point}?{sas}") == 200
    assert raw(two.b, "GET", f"{base}/{point}") != 200
    assert raw(two.b, "PUT", f"{base}/{point}?{sas}") == 403
    assert raw(two.b, "PUT", f"{base}/points/forged?{sas}") == 403
    assert raw(two.b, "DELETE", f"{base}/{point}?{sas}") == 403
    assert raw(two.b, "DELETE", f"{base}?restype=container&{sas}") == 403
    assert two.objects() == before


@pytest.mark.needs_root
@pytest.mark.needs_fuse
@pytest.mark.needs_azurite
def test_a_drive_rides_out_the_renewal_of_its_token(two: Two, drives: Drives, tmp_path: Path) -> None:
    source = small_and_large(tmp_path / "source")
    two.a.ok("backup", source, "--machine", "SRV01")
    at = str(source).lstrip("/")
    given = two.credentials(tmp_path / "first", "restore", "--expires", "12s")
    two.b.ok("vault", "connect", tmp_path / "first", "--save-key", "--accept-endpoint")
    drive = drives.mount(two.b, tmp_path / "drive", "--point", "latest")
    assert (drive / at / "large-0").read_bytes() == (source / "large-0").read_bytes()
    end = datetime.fromisoformat(given["expires"]).timestamp()
    eventually(lambda: time.time() > end, "the token expires")
    with pytest.raises(OSError) as raised:
        (drive / at / "large-1").read_bytes()
    assert raised.value.errno == 5  # EIO
    # What was read before is still there.
    assert (drive / at / "large-0").read_bytes() == (source / "large-0").read_bytes()
    assert "expired" in two.b.fails("points", code=5)
    two.credentials(tmp_path / "second", "restore")
    two.b.ok("vault", "connect", tmp_path / "second", env={"RPDRIVE_PASSPHRASE": None})  # the key was kept
    compare(source, drive / at)
