"""Drives of points that were forgotten: hidden among all points, opened by their ids."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.format.ledger import ForgottenRow
from catalog.ledger.records import Ledgers
from catalog.signing import signing_key
from catalog.vault import Vault
from mount.process.fate import Fate
from tests.kit.drives import ITEM, MACHINE, Home, Maker, add_item, add_machine, add_point, eventually
from tests.kit.vaults import make_vault

pytestmark = pytest.mark.needs_fuse

SECOND = 10**9
START = 1_790_000_000 * SECOND


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    add_item(vault)
    m = Maker(vault)
    for n in (1, 2, 3):
        add_point(vault, m.root([m.file(b"file", b"%d" % n)]), n, START + 60 * n * SECOND)
    return vault


@pytest.fixture
def home(tmp_path: Path, vault: Vault) -> Iterator[Home]:
    home = Home(tmp_path, tmp_path / "vault")
    yield home
    home.close()


def forget(vault: Vault, number: int, *, gone: bool = False) -> None:
    name = next(n for n in vault.point_names() if n.sequence == number)
    now = vault.store.now()
    row = ForgottenRow(name.id, number, now, now if gone else now + 10**15, 1, "", "")
    signer = signing_key(vault)
    Ledgers(vault).change(MACHINE, ITEM, lambda ledger: ledger.forget([row]), signer, now)
    if gone:
        Ledgers(vault).change(MACHINE, ITEM, lambda ledger: ledger.take([name.id], now), signer, now)


def test_all_points_but_the_forgotten_and_gone_ones(home: Home, vault: Vault) -> None:
    forget(vault, 3)
    forget(vault, 1, gone=True)
    folder = home.mount() / "box" / "home"
    (only,) = set(os.listdir(folder)) - {"latest", ".versions"}
    assert os.readlink(folder / "latest") == only and (folder / "latest" / "file").read_text() == "2"
    assert len(os.listdir(folder / ".versions" / "file")) == 1


def test_a_forgotten_point_is_mounted_by_its_id(home: Home, vault: Vault) -> None:
    newest = vault.point_names()[2]
    forget(vault, 3)
    drive = home.mount_point()
    said = home.run("mount", drive, "--point", newest.id.hex()).stdout
    assert f"{newest.id.hex()[:8]} was forgotten, and may go after " in said
    assert (drive / "file").read_text() == "3"
    assert f"the point {newest.id.hex()[:8]} of {drive} was forgotten" in home.run("mounts").stdout


def test_a_drive_notices_that_its_point_was_forgotten(vault: Vault) -> None:
    name = vault.point_names()[0]
    fate = Fate(vault, name, Ledgers(vault).of(MACHINE, ITEM), every=0)
    assert fate.until() is None
    forget(vault, 1)
    eventually(lambda: fate.until() not in (None, 0), "the drive says that its point was forgotten")
    forget(vault, 1, gone=True)
    eventually(lambda: fate.until() == 0, "it says that it is gone")
