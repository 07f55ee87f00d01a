"""Objects of 1 GiB: the memory that they take on their way, and the space of a file system that shares extents."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.store.local import LocalStore
from catalog.transfer.engine import transfer
from catalog.transfer.outcome import Wanted
from tests.kit.azurite import Azurite
from tests.kit.loops import mounted

SIZE = 1 << 30
MEMORY = 96 << 10  # KiB above what the program takes before: pieces of 16 MiB, and buffers (65 were measured)
PROGRAM = """
import sys
from catalog.store.address import open_store
from catalog.store.retrying import RetryingStore
from catalog.transfer.engine import transfer
from catalog.transfer.outcome import Wanted
from tests.kit.peak import forget_peak, peak

source, target = open_store(sys.argv[1]), open_store(sys.argv[2])
rows = [Wanted(info.name, info.size) for info in source.list("packs/")]
list(target.list(""))
forget_peak()
before = peak()
assert transfer(source, target, rows, verify="verify" in sys.argv).is_whole
print(peak() - before)
"""
pytestmark = pytest.mark.soak


@pytest.fixture
def large(tmp_path: Path) -> LocalStore:
    """A folder with an object of 1 GiB."""
    store = LocalStore(tmp_path / "source")
    path = store.root / "packs/large"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for _ in range(SIZE >> 20):
            file.write(os.urandom(1 << 20))
    return store


def memory(source: str, target: str, *more: str, **environ: str) -> int:
    """KiB that a transfer takes."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, source, target, *more],
        cwd=Path(__file__).parents[3], env={**os.environ, **environ}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.parametrize("more", [(), ("verify",)])
def test_from_folder_to_folder(large: LocalStore, tmp_path: Path, more: tuple[str, ...]) -> None:
    assert memory(str(large.root), str(tmp_path / "target"), *more) < MEMORY
    subprocess.run(["cmp", large.root / "packs/large", tmp_path / "target/packs/large"], check=True)


@pytest.mark.needs_azurite
def test_to_azure_and_back(large: LocalStore, tmp_path: Path, azurite: Azurite) -> None:
    azurite.container("large")
    address = "azure://devstoreaccount1/large/vault"
    assert memory(str(large.root), address, **azurite.environ) < MEMORY
    assert memory(address, str(tmp_path / "target"), **azurite.environ) < MEMORY
    subprocess.run(["cmp", large.root / "packs/large", tmp_path / "target/packs/large"], check=True)


@pytest.mark.needs_root
@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_a_file_system_that_shares_extents_stores_the_bytes_once(tmp_path: Path, kind: str) -> None:
    size = 100 << 20
    with mounted(tmp_path / "disk", kind, 320 << 20) as place:
        source = LocalStore(place / "source")
        source.create("packs/one", [os.urandom(size)])
        for number in range(6):
            target = LocalStore(place / f"target-{number}")
            assert transfer(source, target, [Wanted("packs/one", size)]).copied == 1
            target.close()
        source.close()
