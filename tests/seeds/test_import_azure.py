"""Seeds and Azure, on a real Azurite: into a container, and from the staging container of a Data Box."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas

from catalog.errors import AccessDenied
from catalog.screen.phases import NoFollower
from catalog.seeds.importing import Request, import_seed
from catalog.store.azure.store import AzureStore
from catalog.store.azure.tokens import make_token
from catalog.store.base import Store
from catalog.store.metered import MeteredStore
from catalog.store.roles import Role
from tests.kit.azurite import ACCOUNT, KEY, Azurite
from tests.kit.cli import Cli
from tests.kit.seeding import SEED, Seed, session_of
from tests.kit.stores import MOST

FAR = 100_000  # days: the container's clock is the real one


@pytest.fixture
def container(azurite: Azurite) -> ContainerClient:
    return azurite.container(f"seed-{secrets.token_hex(6)}")


def store_of(azurite: Azurite, container: ContainerClient, sas: str = "") -> AzureStore:
    """The container as a store, by the account's key, or by a token."""
    if not sas:
        return AzureStore(ACCOUNT, container.container_name, environ=azurite.environ)
    environ = {"AZURE_STORAGE_SERVICE_ENDPOINT": azurite.endpoint}
    return AzureStore(ACCOUNT, container.container_name, environ=environ, token=sas, endpoint=azurite.endpoint)


def fill(store: Store, seed: Seed) -> None:
    for name, data in seed.memory.objects.items():
        store.create(name, [data])


def contents(store: Store) -> dict[str, bytes]:
    return {info.name: store.get(info.name, MOST) for info in store.list("")}


def test_a_token_that_only_adds_is_enough(tmp_path: Path, azurite: Azurite, container: ContainerClient) -> None:
    """The role backup, which may read, list and create; the service refuses it to overwrite or to delete."""
    seed, owner = Seed(tmp_path, 2, expires=FAR), store_of(azurite, container)
    fill(owner, seed)
    token = make_token(ACCOUNT, container.container_name, Role.BACKUP, timedelta(hours=1), environ=azurite.environ)
    store = store_of(azurite, container, token.text)
    assert not seed.run(seed.disks[0], store=store).is_whole
    assert seed.run(*seed.disks, store=store, verify=True).is_whole
    assert seed.run(*seed.disks, store=store).had_ended
    assert contents(owner) == seed.whole
    with pytest.raises(AccessDenied):
        store.delete(seed.points[0])


def test_a_token_that_may_not_even_list(tmp_path: Path, azurite: Azurite, container: ContainerClient) -> None:
    seed, owner = Seed(tmp_path, 2, expires=FAR), store_of(azurite, container)
    fill(owner, seed)
    before = contents(owner)
    sas = generate_container_sas(
        ACCOUNT, container.container_name, account_key=KEY, permission=ContainerSasPermissions(create=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    with pytest.raises(AccessDenied):
        seed.run(*seed.disks, store=store_of(azurite, container, sas))
    assert contents(owner) == before


def test_through_a_data_box(tmp_path: Path, azurite: Azurite, container: ContainerClient, rpdrive: Cli) -> None:
    """Exported, uploaded as Data Box does it, file by file, and taken from the staging container, without a key."""
    seed, owner = Seed(tmp_path / "seed", 3, expires=FAR), store_of(azurite, container)
    fill(owner, seed)
    box, nobody = tmp_path / "box", {"RPDRIVE_PASSPHRASE": None, "RPDRIVE_VAULT": None, **azurite.environ}
    box.mkdir()
    staging = azurite.container(f"staging-{secrets.token_hex(6)}")
    name = staging.container_name
    text = rpdrive.ok("seed", "export", *seed.disks, "--data-box", box, "--container", name, env=nobody)
    assert f"azure://ACCOUNT/{name}/{SEED.hex()}" in text
    files = {str(p.relative_to(box / "BlockBlob" / name)): p for p in box.rglob("*") if p.is_file()}
    folders = [f"{SEED.hex()}/{number}" for number in (1, 2, 3)]
    assert set(files) == {
        f"{folder}/{path.relative_to(disk)}"
        for folder, disk in zip(folders, seed.disks, strict=True)
        for path in disk.rglob("*")
        if path.is_file()
    }
    assert not list(box.rglob("vault.json")) and not list(box.rglob(".rpdrive"))
    for blob, path in files.items():
        staging.upload_blob(blob, path.read_bytes())

    read = []

    def opener(url: str) -> Store:
        place = url.removeprefix(f"azure://{ACCOUNT}/{name}").strip("/")
        read.append(MeteredStore(AzureStore(ACCOUNT, name, place, environ=azurite.environ), log=True))
        return read[-1]

    session = session_of(tmp_path / "nobody", owner, others=opener)
    source = f"azure://{ACCOUNT}/{name}/{SEED.hex()}"
    result = import_seed(session, Request([source]), NoFollower())
    assert result.is_whole and result.points == 2 and result.stored == len(seed.carried)
    assert contents(owner) == seed.whole
    # The service has copied the packs: they did not pass this machine.
    requests = [one for meter in read for one in meter.log or [] if one.kind != "list"]
    passed = {one.name.split("/")[0] for one in requests if one.length}
    assert passed == {"seed.json", "objects.jsonl", "jobs", "points", "seeds"}


def test_an_object_was_lost_in_the_staging_container(
    tmp_path: Path, azurite: Azurite, container: ContainerClient, rpdrive: Cli
) -> None:
    """Data Box says in a log of its own what it could not upload; the import says it, too."""
    seed, owner = Seed(tmp_path / "seed", 1, expires=FAR), store_of(azurite, container)
    fill(owner, seed)
    staging = azurite.container(f"staging-{secrets.token_hex(6)}")
    bad, other = (p.relative_to(seed.disks[0]) for p in sorted((seed.disks[0] / "packs").rglob("*")) if p.is_file())
    for path in seed.disks[0].rglob("*"):
        relative = path.relative_to(seed.disks[0])
        if path.is_file() and relative != bad:
            data = path.read_bytes()
            staging.upload_blob(str(relative), data[:-1] + bytes([data[-1] ^ 1]) if relative == other else data)
    nobody = {"RPDRIVE_PASSPHRASE": None, **azurite.environ}
    vault = f"azure://{ACCOUNT}/{container.container_name}"
    source = f"azure://{ACCOUNT}/{staging.container_name}"
    done = rpdrive.run("--vault", vault, "seed", "import", "--verify", source, "--json", env=nobody)
    assert done.returncode == 9, done
    row = json.loads(done.stdout)
    (disk,) = row["disks"]
    assert disk["missing"]["names"] == [str(bad)] and disk["conflicts"]["names"] == [str(other)]
    assert not [name for name in contents(owner) if name.startswith("points/")]
    assert not (rpdrive.home / "state").exists() and not (rpdrive.home / "config").exists()
