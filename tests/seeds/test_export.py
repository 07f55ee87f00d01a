"""`rpdrive seed export`: disks as folders that Azure Data Box takes to a container."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import Damaged, UsageError
from catalog.screen.phases import NoFollower
from catalog.seeds.databox import Export, export_seed
from catalog.seeds.disk import LIST_FILE, SEED_FILE
from catalog.seeds.listing import export_json, export_lines
from tests.kit.seeding import SEED, Seed, flip, write_disks


def export(to: Path, *sources: Path, container: str = "rpdrive-seed") -> Export:
    session = Session(Settings({"RPDRIVE_HOME": str(to.parent / "home")}))
    return export_seed(session, [str(source) for source in sources], to, container, NoFollower())


@pytest.fixture
def box(tmp_path: Path) -> Path:
    folder = tmp_path / "box"
    folder.mkdir()
    return folder


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_layout(tmp_path: Path, box: Path) -> None:
    """Each disk is a folder of the container, as it is: Data Box makes each file a blob of that path."""
    seed = Seed(tmp_path, 3)
    done = export(box, *seed.disks)
    assert not done.problems and done.prefix == f"rpdrive-seed/{SEED.hex()}"
    assert "seed import --verify azure://ACCOUNT/rpdrive-seed/" in export_lines(done)[-1]
    for number, disk in enumerate(seed.disks, 1):
        assert files(box / f"BlockBlob/rpdrive-seed/{SEED.hex()}/{number}") == files(disk)
    assert os.listdir(box) == ["BlockBlob"] and not list(box.rglob("vault.json")) + list(box.rglob(".rpdrive"))
    assert [disk.copied for disk in done.disks] == [disk.objects for disk in done.disks]
    assert not any(row["copied"] for row in export_json(export(box, *seed.disks))["disks"])  # it goes on
    assert seed.run(box / f"BlockBlob/rpdrive-seed/{SEED.hex()}").is_whole  # and any way of copying will do
    seed.assert_whole()


def test_the_share_of_a_data_box(tmp_path: Path) -> None:
    share = tmp_path / "account_BlockBlob"
    share.mkdir()
    seed = Seed(tmp_path / "seed", 1)
    export(share, *seed.disks, container="a-b")
    assert os.listdir(share) == ["a-b"]


def test_damage_is_named_and_a_good_copy_helps(tmp_path: Path, box: Path) -> None:
    seed = Seed(tmp_path)
    flip(seed.on_disk(1))
    (disk,) = export(box, seed.disks[0]).disks
    assert disk.bad_count == 1 and disk.bad[0].startswith("packs/")
    assert not (box / "BlockBlob/rpdrive-seed" / SEED.hex() / "1" / disk.bad[0]).exists()
    flip(seed.on_disk(1))
    (disk,) = export(box, seed.disks[0]).disks
    assert disk.bad_count == 0 and disk.copied == 1


def test_what_is_refused(tmp_path: Path, box: Path) -> None:
    seed = Seed(tmp_path)
    other = write_disks(tmp_path / "other", seed.carried, 1, seed.world.vault.id, seed.expires, bytes(16))
    with pytest.raises(UsageError, match="belong to several seeds"):
        export(box, *seed.disks, *other)
    for name in ("A", "ab", "-abc", "a--b", "a" * 64, "a/b", "..", "$logs"):
        with pytest.raises(UsageError, match="is not the name of a container"):
            export(box, *seed.disks, container=name)
    with pytest.raises(UsageError, match="there is no folder"):
        export(box / "nowhere", *seed.disks)
    with pytest.raises(UsageError, match="there is no disk of a seed"):
        export(box, box)
    with pytest.raises(UsageError, match="is a disk of a seed"):
        export(seed.disks[0] / "packs", *seed.disks)
    (tmp_path / "vault" / "below").mkdir(parents=True)
    (tmp_path / "vault" / "vault.json").touch()
    for folder in (tmp_path / "vault", tmp_path / "vault" / "below"):
        with pytest.raises(UsageError, match="is a vault"):
            export(folder, *seed.disks)
        assert not (folder / "BlockBlob").exists()
    export(box, *seed.disks)
    shutil.copy(seed.disks[1] / SEED_FILE, box / "BlockBlob/rpdrive-seed" / SEED.hex() / "1" / SEED_FILE)
    with pytest.raises(UsageError, match="another disk was exported to"):
        export(box, *seed.disks)
    flip(seed.disks[0] / LIST_FILE)
    with pytest.raises(Damaged, match="is not the list"):
        export(box, *seed.disks)
