"""Memory of a repair is bounded: what it knows of 100,000 lost chunks is in a file, but for the rows it writes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.format.blocks import PackKind
from catalog.format.packs import Extent, decode_pack, pack_named
from catalog.format.records import IndexedPack, IndexObject, encode_record
from catalog.format.sealed import Kind, seal_object
from catalog.store.local import LocalStore
from tests.kit.cli import ROOT
from tests.kit.drives import MACHINE, add_item, add_machine, add_point
from tests.kit.stores import MOST
from tests.kit.vaultmaker import Packer, Trees, file_node, folder_node
from tests.kit.vaults import PASSPHRASE, new_vault

CHUNKS, BYTES = 100_000, 400
LIMIT = 200  # MiB; the rows of 100,000 chunks are 80 of them, for whoever reads or writes that record of places

RUN = """
import sys
import rpdrive
from tests.kit.peak import peak
code = rpdrive.run(["repair", "--yes"])
print(peak())
sys.exit(code)
"""


def make(folder: Path) -> None:
    """A vault with a point of many small files, whose packs are lost, and all chunks once more in other packs."""
    vault = new_vault(LocalStore(folder))
    add_machine(vault)
    add_item(vault)
    rng = random.Random(1)
    contents = [rng.randbytes(BYTES) for _ in range(CHUNKS)]
    stored, names = list[list[Extent]](), list[list[str]]()
    for _ in range(2):
        packer = Packer(vault, PackKind.DATA, target=4 << 20)
        stored.append(packer.blocks(contents, 1 << 16))
        packer.finish()
        packs = [p for name in packer.names if (p := pack_named(name)) is not None]
        rows = [
            IndexedPack(p, decode_pack(vault.keys, PackKind.DATA, p, vault.store.get(name, MOST)))
            for p, name in zip(packs, packer.names, strict=True)
        ]
        index = f"index/{MACHINE.hex()}/{rng.randbytes(16).hex()}"
        content = encode_record(IndexObject(packs=rows))
        vault.store.create(index, [seal_object(vault.keys, Kind.INDEX, index, content)])
        names.append(packer.names)
    trees, folders = Trees(vault), []
    for start in range(0, CHUNKS, 500):
        nodes = [file_node(b"%07d" % n, [stored[0][n]], BYTES, rng) for n in range(start, start + 500)]
        folders.append(folder_node(b"%07d" % start, trees.folder(nodes), rng))
    add_point(vault, trees.root(trees.folder(folders)), 1)
    for name in names[0]:
        vault.store.delete(name)


@pytest.mark.soak
def test_a_hundred_thousand_lost_chunks(tmp_path: Path) -> None:
    make(tmp_path / "vault")
    environ = {
        **os.environ, "PYTHONPATH": str(ROOT), "RPDRIVE_HOME": str(tmp_path / "home"),
        "RPDRIVE_VAULT": str(tmp_path / "vault"), "RPDRIVE_PASSPHRASE": PASSPHRASE,
    }  # fmt: skip
    peaks = []
    for expected in (f"{CHUNKS:,} lost chunks found elsewhere", "nothing to repair"):
        done = subprocess.run(
            [sys.executable, "-c", RUN], env=environ, capture_output=True, text=True, timeout=600, check=True
        )
        *said, peak = done.stdout.splitlines()
        assert any(expected in line for line in said), done.stdout
        peaks.append(int(peak) >> 10)
    assert max(peaks) < LIMIT, f"{peaks} MiB"
