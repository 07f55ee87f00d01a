"""Images in a real drive, opened as loop devices: each file system, clean or not, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.disks import loops
from catalog.errors import MountFailed, NotFound, UsageError
from mount.loop.attaching import attach, detach, rows
from tests.kit.disks import disk
from tests.kit.drives import Home
from tests.kit.imaging import MIB, Machine, disk_file
from tests.kit.vaults import make_vault

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_fuse,
    pytest.mark.needs_program("mkfs.xfs", "mkfs.btrfs", "sfdisk", "losetup"),
]
ROOT = Path(__file__).parents[2]


class Drive:
    """An open drive. `images` has the newest image of each name."""

    def __init__(self, home: Home, place: Path) -> None:
        self.home, self.place = home, place

    def image(self, name: str) -> Path:
        (path,) = self.place.glob(f"*/{name}/latest/{name}.img")
        return path


def copies(folder: Path, kind: str) -> tuple[Path, Path]:
    """A file system as it was while it was in use, and after it was unmounted."""
    dirty, clean = folder / f"{kind}-dirty.img", folder / f"{kind}-clean.img"
    with disk(folder, kind) as made:
        for n in range(50):
            (made.place / f"file {n}").write_text(f"{kind} {n}\n" * 100)
        with (made.place / "file 0").open("r+b") as file:
            os.fsync(file.fileno())  # its journal has this, and the file system itself not yet
        subprocess.run(["cp", "--sparse=always", made.image, dirty], check=True)
        subprocess.run(["umount", made.place], check=True)
        subprocess.run(["cp", "--sparse=always", made.image, clean], check=True)
        subprocess.run(["mount", made.device, made.place], check=True)
    return dirty, clean


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    folder = tmp_path_factory.mktemp("loop")
    home = Home(folder, folder / "vault")
    vault, state = make_vault(folder / "vault"), folder / "state"
    state.mkdir()
    machine = Machine(vault, state)
    for kind in ("ext4", "xfs", "btrfs"):
        for image in copies(folder, kind):
            machine.image(image)
            image.unlink()
    parted = disk_file(folder / "parted.img", 80 * MIB)
    subprocess.run(["sfdisk", "-q", parted], input="2048,40960\n,81920\n", text=True, check=True)
    for start, size in ((MIB, "20M"), (21 * MIB, "40M")):
        subprocess.run(["mkfs.ext4", "-q", "-L", size, "-E", f"offset={start}", parted, size], check=True)
    machine.image(parted)
    place = home.mount()
    yield Drive(home, place)
    for row in rows():
        if row.loop.file.startswith(os.fsencode(place)):
            detach(row.loop.path)
    home.close()


@pytest.fixture
def to(tmp_path: Path) -> Path:
    folder = tmp_path / "at"
    folder.mkdir()
    return folder


def left(drive: Drive) -> list[loops.Loop]:
    return loops.below(os.fsencode(drive.place))


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_clean_image_is_mounted(kind: str, drive: Drive, to: Path) -> None:
    done = attach(drive.image(f"{kind}-clean"), to, None, without_journal=False)
    assert (done.contents.kind, done.notes) == (kind, [])
    assert (to / "file 49").read_text() == f"{kind} 49\n" * 100
    with pytest.raises(OSError, match="Read-only"):
        (to / "new").touch()
    detach(to)
    assert not left(drive)
    assert not list(to.iterdir())


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_dirty_image_is_not_taken_for_a_whole_one(kind: str, drive: Drive, to: Path) -> None:
    image = drive.image(f"{kind}-dirty")
    with pytest.raises(MountFailed, match="its journal must be replayed") as refused:
        attach(image, to, None, without_journal=False)
    assert "restore the image to a device or a file" in refused.value.advice
    assert not left(drive)
    done = attach(image, to, None, without_journal=True)
    assert done.notes == ["its journal was not replayed: files may be missing or old"]
    detach(done.device)
    assert not left(drive)


def test_the_drive_can_not_be_closed_below_it(drive: Drive, to: Path) -> None:
    image = drive.image("ext4-clean")
    home = drive.home
    assert f"is open at {to}" in home.run("loop", "attach", image, "--to", to).stdout
    (row,) = json.loads(home.run("loop", "list", "--json").stdout)
    assert row["mounted_at"] == [str(to)]
    assert row["image"] == str(image.resolve())
    text = home.run("unmount", drive.place, exit_code=10).stderr
    assert f"is in use by {row['device']} (mounted at {to})" in text
    assert "rpdrive loop detach" in text
    assert f"({row['device']})" in home.run("loop", "detach", to).stdout
    assert not left(drive)
    assert home.run("loop", "detach", to, exit_code=4).stderr


def test_partitions(drive: Drive, to: Path) -> None:
    image = drive.image("parted")
    with pytest.raises(UsageError, match=r"has partitions \(1: 20.0 MiB ext4, 2: 40.0 MiB ext4\)"):
        attach(image, to, None, without_journal=False)
    with pytest.raises(UsageError, match="has partitions"):
        attach(image, to, 3, without_journal=False)
    done = attach(image, to, 2, without_journal=False)
    assert done.contents.label == "40M"
    assert (to / "lost+found").is_dir()
    detach(to)
    whole = attach(image, None, None, without_journal=False)
    first = Path(f"{whole.device}p1")
    assert first.is_block_device()
    subprocess.run(["mount", "-o", "ro", first, to], check=True)
    assert [row.places for row in rows() if row.loop.path == whole.device] == [[str(to)]]
    detach(image)
    assert not left(drive)
    assert not first.exists()


def test_a_loop_device_of_others_is_left_alone(drive: Drive) -> None:
    image = drive.image("ext4-clean")
    done = subprocess.run(
        ["losetup", "--find", "--show", "--read-only", image], capture_output=True, text=True, check=True
    )
    other = Path(done.stdout.strip())
    try:
        with pytest.raises(NotFound, match="no loop device of rpdrive"):
            detach(other)
        with pytest.raises(NotFound):
            detach(image)
        assert [loop.path for loop in left(drive)] == [other]
    finally:
        subprocess.run(["losetup", "--detach", other], check=True)


KILLED = """
import os, signal, sys
from catalog.disks import loops
path, _loop = loops.attach(os.open(sys.argv[1], os.O_RDONLY))
print(path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_left_by_a_kill(drive: Drive) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, drive.image("ext4-clean")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.startswith("/dev/loop")
    until = time.monotonic() + 30
    while left(drive) and time.monotonic() < until:
        time.sleep(0.02)
    assert not left(drive)


def test_what_is_no_file_system(drive: Drive, to: Path, tmp_path: Path) -> None:
    (tmp_path / "swap.img").write_bytes(bytes(4086) + b"SWAPSPACE2" + bytes(4096))
    with pytest.raises(UsageError, match="is no file system: it is swap"):
        attach(tmp_path / "swap.img", to, None, without_journal=False)
    with pytest.raises(UsageError, match="is no file"):
        attach(tmp_path, to, None, without_journal=False)
    (to / "file").touch()
    with pytest.raises(MountFailed, match="is not empty"):
        attach(drive.image("ext4-clean"), to, None, without_journal=False)
    shutil.rmtree(to)
    with pytest.raises(MountFailed, match="does not exist"):
        attach(drive.image("ext4-clean"), to, None, without_journal=False)
    assert not left(drive)
