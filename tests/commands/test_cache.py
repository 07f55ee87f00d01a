"""`rpdrive cache`: what it holds, and emptying it."""

from __future__ import annotations

import os

import pytest

from cache.disk import DiskCache
from catalog.format.blocks import PackKind
from catalog.vault import Vault
from tests.kit.cli import Cli

MIB = 1 << 20


@pytest.fixture
def filled(rpdrive: Cli) -> Cli:
    disk = DiskCache(rpdrive.home / "cache")
    for n in range(3):
        disk.put(PackKind.DATA, b"data%d" % n, os.urandom(MIB))
    disk.put(PackKind.TREE, b"tree", os.urandom(MIB))
    disk.records(b"v" * 16)["points/x"] = b"sealed"
    assert disk.flush()
    disk.close()
    return rpdrive


def test_status(filled: Cli) -> None:
    row = filled.json("cache", "status")
    assert row["folder"] == str(filled.home / "cache")
    assert (row["data"]["items"], row["tree"]["items"]) == (3, 2)
    assert row["data"]["bytes"] >= 3 * MIB and row["bytes"] == row["data"]["bytes"] + row["tree"]["bytes"]
    text = filled.ok("cache", "status")
    assert "3 entries, 3." in text and "2 entries, 1." in text


def test_clear(filled: Cli) -> None:
    assert filled.json("cache", "clear")["freed"] >= 4 * MIB
    row = filled.json("cache", "status")
    assert (row["data"]["items"], row["tree"]["items"]) == (0, 0)
    assert row["bytes"] < MIB
    assert "Freed 0 B" in filled.ok("cache", "clear")


def test_an_empty_cache(rpdrive: Cli) -> None:
    assert rpdrive.json("cache", "status")["data"]["items"] == 0
    assert "Freed 0 B" in rpdrive.ok("cache", "clear")


def test_a_local_vault_leaves_the_cache_alone(rpdrive: Cli, vault: Vault) -> None:
    rpdrive.ok("points")
    assert not (rpdrive.home / "cache").exists()
