"""A drive over a vault whose packs were moved into carriers, before it was opened and while it is open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.format.blocks import PackKind
from tests.kit.drives import Home, Maker, add_machine, add_point, noise
from tests.kit.mover import Mover
from tests.kit.vaults import make_vault

pytestmark = pytest.mark.needs_fuse

CONTENTS = {f"file {n:02d}": noise(150_000, n) for n in range(20)}


class Moved(Home):
    """A vault of files that each have a pack of their own, and upkeep beside it."""

    def __init__(self, folder: Path) -> None:
        vault = make_vault(folder / "vault")
        add_machine(vault)
        m = Maker(vault)
        nodes = [m.file(name.encode(), content) for name, content in CONTENTS.items()]
        inner = m.folder(b"folder", [m.file(b"in it", b"x" * 5000)])
        m.trees.finish()
        inner.content = inner.content._replace(at=m.trees.resolve(inner.content.at))  # type: ignore[union-attr]
        add_point(vault, m.root([*nodes, inner]), 1)
        self.mover = Mover(vault, vault.store)
        super().__init__(folder, folder / "vault")


@pytest.fixture
def home(tmp_path: Path, driver: str) -> Iterator[Moved]:
    home = Moved(tmp_path)
    yield home
    home.close()


def uncached(path: Path) -> bytes:
    """The content of a file, past what the kernel keeps of it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return b"".join(iter(lambda: os.read(descriptor, 1 << 20), b""))
    finally:
        os.close(descriptor)


def all_there(drive: Path) -> None:
    assert sorted(os.listdir(drive)) == sorted([*CONTENTS, "folder"])
    assert (drive / "folder" / "in it").read_bytes() == b"x" * 5000
    for name, content in CONTENTS.items():
        assert uncached(drive / name) == content


def test_a_drive_of_moved_packs(home: Moved) -> None:
    home.mover.move_all()
    assert sum(path.is_file() for path in (home.vault / "packs").rglob("*")) == 1
    drive = home.mount("--point", "latest")
    all_there(drive)
    (row,) = home.mounts()
    assert row["recent_errors"] == []


def test_packs_that_move_while_a_drive_is_open(home: Moved) -> None:
    drive = home.mount("--point", "latest")
    names = sorted(CONTENTS)
    assert uncached(drive / names[0]) == CONTENTS[names[0]]
    home.mover.move_all()
    for name in names[:10]:
        assert uncached(drive / name) == CONTENTS[name]
    for kind in (PackKind.DATA, PackKind.TREE):
        home.mover.move_again(kind)
    all_there(drive)
    (row,) = home.mounts()
    assert row["recent_errors"] == []
    restored = home.folder / "restored"
    home.run("restore", str(drive / "folder"), "--to", restored)
    assert (restored / "folder" / "in it").read_bytes() == b"x" * 5000
