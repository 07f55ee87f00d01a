"""Images of mounted devices through snapshots: a copy of the device stands for one; guests show it with LVM."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.snapshot import block
from backup.snapshot.base import Found, Mark, Snapshot, Volume
from backup.sources import image_choice
from catalog.disks import loops
from catalog.errors import LocalError, SnapshotFailed, SnapshotLost
from catalog.store.memory import MemoryStore
from tests.kit.disks import disk, mounted, run
from tests.kit.imaging import Machine, Saved
from tests.kit.vaults import new_vault

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("mkfs.xfs", "losetup")]


class Copy:
    """A Snapshot: a copy of a device as it is in use, on a device of its own that can be written."""

    def __init__(self, volume: Volume, mark: Mark, provider: Copies) -> None:
        self.volume, self.time, self.device = volume, time.time_ns(), 0
        self.name = f"copy of {os.fsdecode(volume.place)}"
        self._mark, self._provider = mark, provider
        mark.note(Copies.name, self.name)
        self.file = provider.folder / "copy"
        run("sync", "--file-system", os.fsdecode(volume.place))
        shutil.copyfile(os.fsdecode(volume.source), self.file)
        self._device = Path(run("losetup", "--find", "--show", self.file))

    def open(self) -> int:
        if self._provider.cannot_be_opened:
            raise SnapshotFailed("the copy can't be opened")
        return block.opened(self._device, self.volume)

    def block_device(self) -> Path | None:
        return self._device

    def check(self) -> None:
        if self._provider.is_full:
            raise SnapshotLost("the copy is full")

    def remove(self) -> None:
        if self.file.exists():
            run("losetup", "--detach", self._device)
            self.file.unlink()
            self._mark.forget(Copies.name, self.name)


class Copies:
    """A Provider of such."""

    name = "copy"

    def __init__(self, folder: Path) -> None:
        self.folder, self.why_not, self.is_full, self.cannot_be_opened = folder, "", False, False

    def takes(self, volume: Volume) -> str:
        return self.why_not

    def within(self, volume: Volume) -> list[Volume]:
        return []

    def make(self, volumes: list[Volume], mark: Mark) -> list[Snapshot]:
        return [Copy(volume, mark, self) for volume in volumes]

    def found(self) -> list[Found]:
        return []

    def reaches(self, name: str) -> bool:
        return True

    def remove(self, found: Found) -> None:
        pass


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Copies]:
    made = Copies(tmp_path)
    monkeypatch.setattr(image_choice, "providers", lambda options: [made])
    yield made
    assert not (tmp_path / "copy").exists()
    assert not list((tmp_path / "state" / "snapshots").glob("*.json"))


@pytest.fixture
def machine(tmp_path: Path, copies: Copies) -> Machine:
    (tmp_path / "state").mkdir()
    return Machine(new_vault(MemoryStore()), tmp_path / "state")


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_the_journal_is_replayed_into_the_snapshot(kind: str, machine: Machine, tmp_path: Path) -> None:
    with disk(tmp_path, kind) as made:
        (made.place / "file").write_text("saved and synced")
        with (made.place / "file").open("r+b") as file:
            os.fsync(file.fileno())
        result = machine.image(made.place)
        assert (made.place / "file").read_text() == "saved and synced"
    assert result.problem_count == 0
    saved = Saved(machine.vault, result)
    told = saved.geometry()
    assert (told["consistency"], told["mounted_at"]) == ("snapshot", str(tmp_path / kind))
    assert told["contents"].get("state", "clean") == "clean"
    (volume,) = saved.point.volumes
    assert volume.snapshot == "snapshot"
    assert volume.time == saved.point.time > 0
    with (tmp_path / "restored").open("wb") as out:
        out.truncate(told["size"])
        for at in saved.places():
            out.seek(at)
            out.write(saved.data(at, 512 << 10))
    saved.close()
    subprocess.run(["fsck", "-n", "-t", kind, tmp_path / "restored"], check=kind == "ext4", capture_output=True)
    fd = os.open(tmp_path / "restored", os.O_RDONLY)
    device, loop = loops.attach(fd)  # read-only: nothing can be replayed into it any more
    os.close(fd)
    with mounted(device, tmp_path / "at", "-o", "ro"):
        os.close(loop)
        assert (tmp_path / "at" / "file").read_text() == "saved and synced"


def test_a_snapshot_that_is_lost_makes_no_point(machine: Machine, copies: Copies, tmp_path: Path) -> None:
    with disk(tmp_path, "ext4") as made:
        copies.is_full = True
        with pytest.raises(SnapshotLost, match="is full"):
            machine.image(made.place)
        copies.is_full, copies.cannot_be_opened = False, True
        with pytest.raises(LocalError, match="no snapshot of it can be made: the copy can't be opened"):
            machine.image(made.place)
        with pytest.raises(SnapshotFailed, match="the copy can't be opened"):
            machine.image(made.place, snapshot="always")
        copies.cannot_be_opened, copies.why_not = False, "the group is full"
        with pytest.raises(LocalError, match="can be made: the group is full"):
            machine.image(made.place)
        assert not list(machine.vault.store.list("points/"))


def test_no_snapshot_where_none_is_wanted(machine: Machine, copies: Copies, tmp_path: Path) -> None:
    with disk(tmp_path, "ext4") as made:
        with pytest.raises(LocalError, match="snapshots are switched off"):
            machine.image(made.place, snapshot="never")
        assert machine.image(made.place, dry=True).point is None
    with disk(tmp_path, "ext4", mount=False) as made:
        result = machine.image(made.device)
        saved = Saved(machine.vault, result)
        assert saved.geometry()["consistency"] == "at rest"
        saved.close()
