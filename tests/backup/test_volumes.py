"""Items that are whole volumes: what is in their points, which kinds go together, and what is refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.systems.windows import WindowsSystem
from catalog.errors import LocalError
from catalog.filesystems import FileSystem, file_system_of
from catalog.format.records import ItemKind, Point, Volume
from catalog.mountinfo import Mount, mounted_at
from catalog.vault import Vault
from tests.kit.cli import Cli
from tests.kit.inside import Inside
from tests.kit.loops import mounted
from tests.kit.windows_double import Double

ROOTED = [pytest.mark.needs_root, pytest.mark.needs_program("mkfs.btrfs", "mkfs.ext4", "btrfs", "blkid")]


def newest(vault: Vault) -> Point:
    return max((vault.point(name) for name in vault.each_point_name()), key=lambda point: point.time)


def files_in(cli: Cli, to: Path) -> set[str]:
    """The paths of files in the newest point, of a volume, which is restored to a folder."""
    cli.ok("restore", "latest", "--to", to, "--force")
    return {str(path.relative_to(to)) for path in to.rglob("*") if path.is_file()}


class OnDisk:
    """A volume of each kind that is needed, mounted."""

    def __init__(self, ext4: Path, btrfs: Path) -> None:
        self.ext4, self.btrfs = ext4, btrfs


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnDisk]:
    folder = tmp_path_factory.mktemp("disks")
    label = ("-L", "a label")
    with (
        mounted(folder / "ext4", "ext4", make=label) as ext4,
        mounted(folder / "btrfs", "btrfs", make=label) as btrfs,
    ):
        (ext4 / "file").write_text("on ext4")
        (btrfs / "file").write_text("on btrfs")
        subprocess.run(["btrfs", "-q", "subvolume", "create", btrfs / "inner"], check=True)
        subprocess.run(["btrfs", "-q", "subvolume", "create", btrfs / "inner" / "most"], check=True)
        (btrfs / "inner" / "most" / "deep").write_text("in a subvolume")
        yield OnDisk(ext4, btrfs)


@pytest.fixture
def rpdrive(tmp_path: Path) -> Cli:
    return Inside(tmp_path)


class TestOnDisks:
    pytestmark = ROOTED

    @pytest.mark.parametrize("snapshot", ["auto", "never"])
    def test_one_file_system_with_its_subvolumes_and_nothing_else(
        self, rpdrive: Cli, vault: Vault, disks: OnDisk, tmp_path: Path, snapshot: str
    ) -> None:
        (disks.btrfs / "other").mkdir(exist_ok=True)
        with mounted(disks.btrfs / "other", "ext4", image=tmp_path / "image") as other:
            (other / "file").write_text("of another disk")
            rpdrive.ok("backup", "--volume", disks.btrfs, "--snapshot", snapshot)
        point = newest(vault)
        assert point.kind == ItemKind.VOLUME and point.item_name == "volume-" + "-".join(disks.btrfs.parts[1:])
        (volume,) = point.volumes
        assert volume.place == bytes(disks.btrfs) and volume.subvolumes == [b"inner", b"inner/most"]
        assert (volume.file_system, volume.label) == ("btrfs", "a label")
        assert volume.size == 128 << 20 and 0 < volume.used < volume.size
        (row,) = rpdrive.json("points")["points"]
        assert (row["kind"], row["volumes"][0]["uuid"]) == ("volume", volume.uuid)
        shown = "volume (btrfs)" if snapshot == "auto" else "volume"
        assert f"  {shown}  " in rpdrive.ok("points")
        assert (volume.snapshot, volume.time > 0) == (("btrfs", True) if snapshot == "auto" else ("", False))
        uuid = subprocess.run(
            ["blkid", "-p", "-s", "UUID", "-o", "value", volume.source], check=True, capture_output=True, text=True
        )
        assert volume.uuid == uuid.stdout.strip()
        assert files_in(rpdrive, tmp_path / "back") == {"file", "inner/most/deep"}

    def test_what_lies_under_a_mount_is_of_the_volume(
        self, rpdrive: Cli, vault: Vault, disks: OnDisk, tmp_path: Path
    ) -> None:
        """As in a snapshot; a roll-back would remove what the point has not."""
        (disks.ext4 / "under").mkdir()
        (disks.ext4 / "under" / "hidden").write_text("of the volume")
        with mounted(disks.ext4 / "under", "btrfs", image=tmp_path / "image") as other:
            (other / "file").write_text("of another disk")
            rpdrive.ok("backup", "--volume", disks.ext4)
        assert "0 new" in rpdrive.ok("backup", "--volume", disks.ext4)
        assert files_in(rpdrive, tmp_path / "back") == {"file", "under/hidden"}

    def test_without_rights_subvolumes_are_saved_or_told_of(
        self, rpdrive: Cli, vault: Vault, disks: OnDisk, tmp_path: Path
    ) -> None:
        """And a roll-back leaves alone what the backup could not see: the point has an empty folder there."""
        closed = disks.btrfs / "closed"
        subprocess.run(["btrfs", "-q", "subvolume", "create", closed], check=True)
        (closed / "only copy").write_text("x")
        closed.chmod(0)
        drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
        command = [*drop, *rpdrive.command("backup", "--volume", disks.btrfs, "--snapshot", "never")]
        told = subprocess.run(command, env=rpdrive.environ, capture_output=True, text=True, check=False)
        assert told.returncode == 3 and "closed can't be opened, and is not saved" in told.stderr, told
        assert newest(vault).volumes[0].subvolumes == [b"inner", b"inner/most"]
        rpdrive.run("restore", "latest", "--to", disks.btrfs, "--exact", "--yes")
        assert (closed / "only copy").exists()
        subprocess.run(["btrfs", "-q", "subvolume", "delete", closed], check=True)
        assert files_in(rpdrive, tmp_path / "back") == {"file", "inner/most/deep"}

    def test_live_files_are_told_of(self, rpdrive: Cli, vault: Vault, disks: OnDisk) -> None:
        text = rpdrive.ok("backup", "--volume", disks.ext4)
        assert "no snapshot" in text and "while they are in use" in text
        (volume,) = newest(vault).volumes
        assert (volume.file_system, volume.label, volume.snapshot) == ("ext4", "a label", "")

    def test_an_item_keeps_its_kind(self, rpdrive: Cli, vault: Vault, disks: OnDisk) -> None:
        rpdrive.ok("backup", "--volume", disks.ext4, "--item", "v")
        rpdrive.ok("backup", disks.ext4, "--item", "f")
        before = sorted(info.name for info in vault.store.list("") if not info.name.startswith("jobs/"))
        for words in (("v", disks.ext4), ("f", "--volume", disks.ext4)):
            item, *what = words
            assert "--item" in rpdrive.fails("backup", *what, "--item", item, code=2)
            assert "--item" in rpdrive.fails("backup", *what, "--item", item, "--dry-run", code=2)
        after = sorted(info.name for info in vault.store.list("") if not info.name.startswith("jobs/"))
        assert after == before

    def test_a_folder_is_no_volume(self, rpdrive: Cli, vault: Vault, disks: OnDisk) -> None:
        (disks.ext4 / "folder").mkdir(exist_ok=True)
        text = rpdrive.fails("backup", "--volume", disks.ext4 / "folder", code=11)
        assert f"--volume {disks.ext4} for all of it" in text
        assert "no files of its own" in rpdrive.fails("backup", "--volume", "/proc", code=11)


def test_a_volume_stands_alone(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    for words in ((tmp_path, "--volume", tmp_path), ("--volume", "/", "--volume", tmp_path), ()):
        rpdrive.fails("backup", *words, code=2)


# --- identity -----------------------------------------------------------------------------------------------------


def a_device() -> Path:
    found = next((path for path in Path("/dev").iterdir() if path.is_block_device()), None)
    assert found is not None, "needs a block device in /dev"
    return found


def test_what_udev_notes_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = a_device()
    number = device.stat().st_rdev
    (tmp_path / f"b{os.major(number)}:{os.minor(number)}").write_text(
        "S:disk/by-id/x\nE:ID_FS_TYPE=ext4\nE:ID_FS_UUID=a_b\nE:ID_FS_UUID_ENC=a\\x20b\n"
        "E:ID_FS_LABEL_ENC=\\xc3\\xa9\\xff\n"
    )
    monkeypatch.setattr("catalog.filesystems.UDEV", tmp_path)
    mount = Mount("7:0", b"/srv", b"/srv", "fuseblk", source=os.fsencode(device))
    assert file_system_of(mount, blkid="/bin/false") == FileSystem("ext4", "a b", "é\ufffd")


def test_a_blkid_that_hangs_costs_only_what_it_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = a_device()
    slow = tmp_path / "blkid"
    slow.write_text("#!/bin/sh\nexec sleep 100\n")
    slow.chmod(0o755)
    monkeypatch.setattr("catalog.filesystems._SECONDS", 0.05)
    for name in ("UDEV", "BY_UUID", "BY_LABEL"):
        monkeypatch.setattr(f"catalog.filesystems.{name}", tmp_path / "none")
    mount = Mount("7:0", b"/srv", b"/srv", "ext4", source=os.fsencode(device))
    assert file_system_of(mount, blkid=str(slow)) == FileSystem("ext4")


def test_no_device_no_identity() -> None:
    mount = mounted_at(b"/proc")
    assert mount is not None and file_system_of(mount) == FileSystem("proc")
    assert Volume(place=b"/").uuid == ""


# --- Windows, on the double ---------------------------------------------------------------------------------------


def test_a_drive_of_windows() -> None:
    double = Double()
    system = WindowsSystem(double.api())
    volume = system.volume(Path("C:\\"))
    assert (volume.place, volume.file_system, volume.label, volume.uuid, volume.source) == (
        b"/C", "NTFS", "Label of C", "BEEF-1234", "C:\\"
    )  # fmt: skip
    for wrong in ("C:\\Users", "Q:\\"):
        with pytest.raises(LocalError):
            system.volume(Path(wrong))
