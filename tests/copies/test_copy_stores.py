"""Copies between real stores, and the command."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.access.passphrases import GivenPassphrases
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.copies.missing import MissingObjects
from catalog.copies.run import Request, copy_vault
from catalog.copies.target import check_apart
from catalog.errors import NoVault, StoreFull, StoreUnreachable, UsageError
from catalog.format.admins import make_admin
from catalog.store.azure.store import AzureStore
from catalog.store.base import Store
from catalog.store.local import LocalStore
from catalog.vault import VAULT_FILE, Vault, now_iso
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.cli import Cli
from tests.kit.copying import Pair
from tests.kit.faults import StopAtStore, Stopped
from tests.kit.pruning import World, random_edits
from tests.kit.stores import MOST

NONE: dict[str, Any] = {"g": 0, "wait": 0}  # nothing waits at the source: the clock of a real store can't be moved


class Real(World):
    """A vault in a store with a clock of its own."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.now = time.time_ns()

    def later(self, days: float) -> None:
        self.now = self.store.now()


@pytest.fixture
def stores(tmp_path: Path, azurite: Azurite, request: pytest.FixtureRequest) -> Iterator[list[Store]]:
    """Source and target, each a folder or a container at Azurite."""
    found: list[Store] = []
    for kind in request.param:
        if kind == "folder":
            found.append(LocalStore(tmp_path / f"vault{len(found)}"))
        else:
            container = azurite.container(f"copy-{secrets.token_hex(6)}").container_name
            found.append(AzureStore(ACCOUNT, container, environ=azurite.environ))
    yield found
    for store in found:
        store.close()


SOAK = pytest.mark.soak
KINDS = [
    ("folder", "folder"),
    pytest.param(("folder", "azure"), marks=SOAK),
    ("azure", "azure"),
    pytest.param(("azure", "folder"), marks=SOAK),
]


@pytest.mark.parametrize("stores", KINDS, indirect=True, ids=str)
def test_between_stores(stores: list[Store], tmp_path: Path) -> None:
    """First copy, an unchanged run, new points, and what upkeep moved: stopped on the way, and gone on with."""
    state = tmp_path / "state"
    state.mkdir()
    pair = Pair(state, Real(stores[0]), stores[1])
    world = pair.world
    names = random_edits(world, 4)
    with pytest.raises(Stopped):
        pair.copy(target=StopAtStore(pair.target, 5, kinds={"create"}))
    assert pair.check() == []
    pair.copy()
    assert pair.check() == names
    assert pair.copy().done.copied.objects == 0
    world.forget(names[0])
    for _run in range(3):
        world.prune(yes=True, **NONE)
    names.append(world.backup(1))
    with pytest.raises(Stopped):
        pair.copy(target=StopAtStore(pair.target, 3, kinds={"create"}, after=True))
    pair.check()
    found = pair.copy()
    assert found.is_clean and not found.has_problems
    assert pair.check() == names[1:]
    pair.check_equal_but_for_what_waits()
    assert not pair.copy(verify=True).has_problems


def copy_of(rpdrive: Cli) -> Path:
    return rpdrive.vault.with_name("copy")


def back_up(rpdrive: Cli, source: Path, content: bytes) -> None:
    source.mkdir(exist_ok=True)
    (source / "file").write_bytes(content)
    rpdrive.ok("backup", source, "--item", "home", "--machine", "box")


def test_the_command(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    copy = copy_of(rpdrive)
    back_up(rpdrive, tmp_path / "source", b"one")
    dry = rpdrive.json("vault", "copy", copy, "--dry-run")
    assert dry["new"] and dry["dry_run"] and not copy.exists()
    said = rpdrive.ok("vault", "copy", copy)
    assert said.startswith("Began a copy at ") and "1 in points/" in said
    assert f"Copied {dry['copied_objects']} objects" in said
    (known,) = rpdrive.json("vault", "info")["copies"]
    assert known["address"] == copy.as_uri() and (known["points"], known["behind"], known["problems"]) == (
        1,
        0,
        False,
    )
    pack = next(path for path in (copy / "packs").rglob("*") if path.is_file())
    pack.write_bytes(b"another thing")
    done = rpdrive.run("vault", "copy", copy, "--follow", "--json")
    row = json.loads(done.stdout)
    assert done.returncode == 3 and row["conflicts"][0]["name"].endswith(pack.name) and len(row["problems"]) == 1
    assert row["copied_objects"] == row["deleted_objects"] == 0 and not row["new"]


def test_an_older_vault_json_does_not_come_into_the_copy(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    """Nor one with a key that signs and that nobody accepted here: it could sign what the copy lets go."""
    copy = copy_of(rpdrive)
    old, _tag = vault.store.get_tagged(VAULT_FILE, MOST)
    vault.change_file(lambda file: file.changed(soft_delete_days=30))
    new, _tag = vault.store.get_tagged(VAULT_FILE, MOST)
    rpdrive.ok("vault", "copy", copy)
    there = (copy / "vault.json").read_bytes()

    def put(data: bytes) -> None:
        vault.store.replace(VAULT_FILE, data, vault.store.get_tagged(VAULT_FILE, MOST)[1])

    put(old)
    assert not rpdrive.json("vault", "copy", copy, "--dry-run")["vault_json"]
    done = rpdrive.run("vault", "copy", copy, "--follow")
    assert done.returncode == 3 and b"an older one was put back; `rpdrive vault passphrase`" in done.stderr
    put(new)
    rpdrive.ok("vault", "copy", copy, "--follow")
    vault.change_file(
        lambda file: file.changed(admins=(*file.admins, make_admin(vault.keys, os.urandom(32), now_iso())))
    )
    done = rpdrive.run("vault", "copy", copy, "--follow")
    assert done.returncode == 3 and b"stays as it is: the vault's has another admin key" in done.stderr
    assert (copy / "vault.json").read_bytes() == there
    ids = sorted(admin.id.hex() for admin in vault.file.admins)
    rpdrive.ok("vault", "admin", "accept", *ids)
    assert rpdrive.json("vault", "copy", copy, "--follow")["vault_json"]


def test_a_copy_that_is_away(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    """No new copy is begun on the bare folder below a mount."""
    copy = copy_of(rpdrive)
    session = Session(Settings(rpdrive.environ), passphrases=GivenPassphrases(environ=rpdrive.environ))
    try:
        opened = session.open_vault()
        assert copy_vault(session, opened, Request(str(copy))).new
        copy.rename(tmp_path / "unplugged")
        with pytest.raises(NoVault, match="is not there"):
            copy_vault(session, opened, Request(str(copy), follow=True))
        assert not copy.exists()
        assert copy_vault(session, opened, Request(str(copy), again=True)).new
        assert not copy_vault(session, opened, Request(str(tmp_path / "unplugged"))).new
    finally:
        session.close()


def test_what_a_killed_run_left_unfinished_goes(tmp_path: Path) -> None:
    pair = Pair(tmp_path, Real(LocalStore(tmp_path / "vault")), LocalStore(tmp_path / "copy"))
    pair.world.backup(1)
    pair.copy()
    with MissingObjects(next(tmp_path.glob("copy-*.sqlite")), reading=True) as notes:
        mark = notes.mark
    own = tmp_path / "copy" / ".rpdrive"
    for name in (f"writing-{mark}-1-ab", "writing-other-1-ab"):
        (own / name).write_bytes(b"half an object")
    pair.world.backup(2)
    pair.copy(target=LocalStore(tmp_path / "copy"))
    assert [path.name for path in own.iterdir() if path.name.startswith("writing")] == ["writing-other-1-ab"]


def test_folders_that_are_one(tmp_path: Path) -> None:
    vault, link, bound = tmp_path / "a" / "vault", tmp_path / "link", tmp_path / "bound"
    vault.mkdir(parents=True)
    bound.mkdir()
    link.symlink_to(vault)
    subprocess.run(["mount", "--bind", tmp_path / "a", bound], check=True)
    try:
        for place in (
            vault, link, vault / "in" / "it", link / "in", tmp_path, tmp_path / "a", bound, bound / "vault",
            bound / "vault" / "in" / "it",
        ):  # fmt: skip
            with pytest.raises(UsageError):
                check_apart(vault, place)
            with pytest.raises(UsageError):
                check_apart(place, vault)
        for place in (tmp_path / "a" / "vault2", tmp_path / "new" / "vault", bound / "vault2"):
            check_apart(vault, place)
        check_apart(None, vault)
        check_apart(vault, None)
    finally:
        subprocess.run(["umount", bound], check=True)


@pytest.mark.soak
def test_backups_run_meanwhile_and_the_copy_opens_as_a_drive(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    """Real backups are made into the vault while it is copied again and again; then both drives show the same."""
    copy, source = copy_of(rpdrive), tmp_path / "source"
    back_up(rpdrive, source, os.urandom(300_000))
    rpdrive.ok("vault", "copy", copy)
    ended = threading.Event()

    def backups() -> None:
        for n in range(3):
            (source / f"file{n}").write_bytes(os.urandom(200_000))
            rpdrive.ok("backup", source, "--item", "home", "--machine", "box")
        ended.set()

    thread = threading.Thread(target=backups)
    thread.start()
    try:
        while True:
            last = ended.is_set()
            assert rpdrive.run("vault", "copy", copy, "--follow").returncode in (0, 3)
            if last:
                break
    finally:
        thread.join()
    assert rpdrive.json("vault", "copy", copy)["copied_objects"] == 0
    for name, place in (("a", rpdrive.vault), ("b", copy)):
        (tmp_path / name).mkdir()
        rpdrive.ok("mount", tmp_path / name, "--point", "latest", env={"RPDRIVE_VAULT": str(place)})
    try:
        for one in (tmp_path / "a", tmp_path / "b"):
            inner = one / str(source).lstrip("/")
            done = subprocess.run(["diff", "-r", source, inner], capture_output=True, check=False)
            assert done.returncode == 0, done
    finally:
        for name in ("a", "b"):
            rpdrive.ok("unmount", tmp_path / name)


def test_a_full_disk_and_one_that_is_pulled(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    mounted = True
    store = LocalStore(disk / "copy")
    try:
        pair = Pair(tmp_path, Real(LocalStore(tmp_path / "vault")), store)
        first = pair.world.backup(1, size=300_000)
        pair.copy()
        second = pair.world.backup(2, 3, 4, 5, size=600_000)
        with pytest.raises(StoreFull):
            pair.copy()
        assert pair.check() == [first]
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        pair.copy()
        assert pair.check() == [first, second]
        third = pair.world.backup(6)
        store.close()
        subprocess.run(["umount", "-l", disk], check=True)
        mounted = False
        with pytest.raises(StoreUnreachable):
            pair.copy()
        assert not list(disk.iterdir()) and third
    finally:
        store.close()
        if mounted:
            subprocess.run(["umount", disk], check=True)


def test_damage_in_the_copy(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    """It is said of the copy, with what mends it there, as each of these lines says."""
    copy = copy_of(rpdrive)
    back_up(rpdrive, tmp_path / "source", b"one")
    rpdrive.ok("vault", "copy", copy)
    pack = next(path for path in (copy / "packs").rglob("*") if path.is_file())
    pack.unlink()
    checked = rpdrive.run("--vault", copy, "check")
    assert checked.returncode == 9 and b"the next `rpdrive vault copy` brings it" in checked.stdout
    assert b"repair" not in checked.stdout
    (copy / "vault.json").write_bytes(b"")
    failed = rpdrive.run("vault", "copy", copy)
    assert failed.returncode == 9 and b"in the copy at " + copy.as_uri().encode() in failed.stderr
    failed = rpdrive.run("--vault", copy, "points")
    assert failed.returncode == 9 and b"--also" not in failed.stderr  # not the place itself
    rpdrive.run("--vault", copy, "repair", "--yes")
    rpdrive.ok("vault", "copy", copy)
    rpdrive.ok("--vault", copy, "check")
