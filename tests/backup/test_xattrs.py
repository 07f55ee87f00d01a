"""Extended attributes that don't fit an entry's page."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cache.reader import Reader
from catalog.store.memory import MemoryStore
from mount.view.point import PointView
from tests.commands.test_counts import go
from tests.kit.backing import back_up
from tests.kit.vaults import new_vault


@pytest.fixture
def roomy() -> Iterator[Path]:
    """A folder on tmpfs, which takes up to 128 KiB of attributes for a file; ext4 takes 4 KiB."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_many_large_attributes_of_one_file(roomy: Path, tmp_path: Path) -> None:
    values = {f"user.attribute-{n:02d}": os.urandom(4000) for n in range(30)}
    for n in range(40):  # entries that share a page
        path = roomy / f"file-{n:02d}"
        path.touch()
        for name, value in values.items():
            os.setxattr(path, name, value[n:] if n % 2 else value)
    vault = new_vault(MemoryStore())
    back_up(vault, tmp_path / "state", roomy)
    reader = Reader(vault)
    view = PointView(reader, vault.point(vault.point_names()[-1]))
    for n in range(40):
        node = go(view.root, roomy / f"file-{n:02d}")
        assert sorted(node.xattr_names()) == sorted(map(os.fsencode, values))
        for name, value in values.items():
            found = node.xattr(name.encode())
            assert found is not None
            assert bytes(found) == (value[n:] if n % 2 else value)
    reader.close()
