"""Images written back to real devices: what is refused, what is written, and what a stop leads to."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.disks.devices import uses_of
from catalog.errors import LocalError, UsageError
from catalog.vault import Vault
from mount.restore.contents import positions
from mount.restore.device.target import DeviceTarget
from mount.restore.device.writing import Amounts, Writer
from tests.kit.cli import Cli
from tests.kit.disks import attached, disk, is_free, mounted
from tests.kit.drives import eventually
from tests.kit.imaging import MIB, Machine, Saved, disk_file, noisy, overwrite

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("sfdisk", "losetup", "partx")]
SIZE = 40 * MIB
HERE = platform.node()


@pytest.fixture
def saved(vault: Vault, tmp_path: Path) -> Iterator[Saved]:
    """The point of an image of 40 MiB, with data here and there."""
    state = tmp_path / "state of another machine"
    state.mkdir()
    file = disk_file(tmp_path / "old.img", SIZE, 0, 5 * MIB + 4096, 5 * MIB + 900 * 1024, 39 * MIB)
    here = Saved(vault, Machine(vault, state).image(file))
    yield here
    here.close()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """A device of 44 MiB that has other data, and the image's in one place."""
    file = disk_file(tmp_path / "new", SIZE + 4 * MIB, 4096, 10 * MIB, SIZE + 8192, seed=2)
    with attached(file) as path:
        yield path


def test_only_what_differs_is_written(rpdrive: Cli, saved: Saved, device: Path, tmp_path: Path) -> None:
    old = (tmp_path / "old.img").read_bytes()
    overwrite(device, 39 * MIB, old[39 * MIB : 39 * MIB + MIB])
    rest = device.read_bytes()[SIZE:]
    dry = rpdrive.json("restore", "latest", "--to-device", device, "--dry-run")
    assert dry["job"] is None
    assert device.read_bytes()[:4096] == bytes(4096)
    done = rpdrive.json("restore", "latest", "--to-device", device, "--yes", "--verify")
    assert device.read_bytes() == old + rest
    # Pieces at 0, and at 5 MiB and a half MiB after it; zeros over what was at 10 MiB.
    assert done["written_bytes"] == dry["written_bytes"] == 3 * (512 << 10)
    assert 0 < done["zeroed_bytes"] == dry["zeroed_bytes"] <= 4 * MIB
    assert done["verified_bytes"] == SIZE
    assert done["problem_count"] == 0
    assert "stay as they are" in done["notes"][0]
    again = rpdrive.json("restore", "latest:/old.img", "--to-device", device, "--yes", "--discard")
    assert again["same_bytes"] == SIZE
    (job,) = [row for row in rpdrive.json("jobs")["jobs"] if row["id"] == done["job"]]
    assert job["kind"] == "restore"


def test_nothing_is_written_without_a_yes(rpdrive: Cli, saved: Saved, device: Path) -> None:
    before = device.read_bytes()
    assert "--to-device DEVICE" in rpdrive.fails("restore", "latest", "--in-place", "--machine", HERE, code=2)
    text = rpdrive.fails("restore", "latest", "--to-device", device, code=2)
    assert text.endswith("type yes, or use --yes")
    assert device.read_bytes() == before


def test_what_is_refused(saved: Saved, tmp_path: Path) -> None:
    refused = pytest.raises(LocalError, match=f"is mounted at {tmp_path / 'ext4'}")
    with disk(tmp_path, "ext4") as made, refused:
        DeviceTarget(made.device, write=True)
    with pytest.raises(UsageError, match="is not a device"):
        DeviceTarget(tmp_path / "old.img", write=True)
    with attached(disk_file(tmp_path / "member", 2 * MIB)) as member:
        overwrite(member, 512, b"LABELONE" + bytes(16) + b"LVM2 001")
        with DeviceTarget(member, write=True) as target, pytest.raises(LocalError, match="LVM2_member"):
            target.contents()
        with DeviceTarget(member, write=True), pytest.raises(LocalError, match="in use"):
            DeviceTarget(member, write=True)  # it is claimed by the first


def test_a_disk_with_a_mounted_partition(tmp_path: Path) -> None:
    image = disk_file(tmp_path / "disk", 100 * MIB)
    subprocess.run(["sfdisk", "-q", image], input="2048,40960\n,,\n", text=True, check=True)
    subprocess.run(["mkfs.ext4", "-q", "-E", f"offset={MIB}", image, "20M"], check=True)
    done = subprocess.run(
        ["losetup", "--find", "--show", "--partscan", image], capture_output=True, text=True, check=True
    )
    device = Path(done.stdout.strip())
    try:
        subprocess.run(["partx", "--update", device], check=True)  # for kernels that don't look for them
        with mounted(f"{device}p1", tmp_path / "at"):
            with pytest.raises(LocalError, match=f"{device}p1 is mounted"):
                DeviceTarget(device, write=True)
            with DeviceTarget(Path(f"{device}p2"), write=True) as other:  # the other partition is free
                assert other.device.size > 60 * MIB
        eventually(lambda: is_free(device), "the disk is free")
        with DeviceTarget(device, write=True) as target:
            lines = target.contents()
        assert "2 partitions (dos)" in lines[0]
        assert "ext4" in lines[1]
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_a_smaller_device(rpdrive: Cli, saved: Saved, tmp_path: Path) -> None:
    with attached(disk_file(tmp_path / "small", SIZE - 4096)) as small:
        text = rpdrive.fails("restore", "latest", "--to-device", small, "--yes", code=11)
        assert "is smaller than the image" in text
        assert not any(small.read_bytes())


class Stopped(Exception):
    pass


def test_a_second_run_goes_on(saved: Saved, device: Path, tmp_path: Path) -> None:
    content = saved.image.leaf.pieces(saved.image.entry)
    pieces = list(positions(saved.reader, content))

    class Failing(DeviceTarget):
        def write(self, start: int, data: memoryview) -> None:
            if start > 5 * MIB:
                raise Stopped
            super().write(start, data)

    def run(target: DeviceTarget) -> Amounts:
        amounts = Amounts(SIZE)
        writer = Writer(saved.reader, lambda: iter(pieces), target, amounts, discard=False, dry=False)
        writer.run()
        writer.verify()
        return amounts

    with Failing(device, write=True) as target, pytest.raises(Stopped):
        run(target)
    with DeviceTarget(device, write=True) as target:
        amounts = run(target)
    assert amounts.written == 2 * (512 << 10), "what the first run wrote is there"
    assert amounts.bad_count == 0
    assert device.read_bytes()[:SIZE] == (tmp_path / "old.img").read_bytes()
    assert not uses_of("7:999")


def test_verify_sees_what_is_not_there(saved: Saved, device: Path) -> None:
    content = saved.image.leaf.pieces(saved.image.entry)
    amounts = Amounts(SIZE)
    with DeviceTarget(device, write=True) as target:
        writer = Writer(
            saved.reader, lambda: positions(saved.reader, content), target, amounts, discard=False, dry=False
        )
        writer.run()
        target.write(39 * MIB + 5, memoryview(b"?"))
        target.write(20 * MIB, memoryview(b"?"))
        target.end()
        writer.verify()
    assert amounts.bad_count == 2
    (hole, piece) = [(start, end) for start, end, _why in amounts.bad]
    assert hole[0] <= 20 * MIB < hole[1]
    assert piece == (39 * MIB, 39 * MIB + (512 << 10))


@pytest.mark.soak
def test_a_restore_that_is_killed_goes_on(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    size = 400 * MIB
    file = tmp_path / "large.img"
    with file.open("wb") as out:
        for part in noisy(size):
            out.write(part)
    (tmp_path / "state").mkdir()
    Machine(vault, tmp_path / "state").image(file)
    with attached(disk_file(tmp_path / "empty", size)) as device:
        command = rpdrive.command("restore", "latest", "--to-device", device, "--yes")
        process = subprocess.Popen(command, env=rpdrive.environ, stdout=subprocess.DEVNULL)
        with device.open("rb", buffering=0) as there:
            while not any(os.pread(there.fileno(), 4096, 100 * MIB)) and process.poll() is None:
                time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert not uses_of(f"7:{device.name.removeprefix('loop')}")
        done = rpdrive.json("restore", "latest", "--to-device", device, "--yes", "--verify")
        assert done["problem_count"] == 0
        assert 0 < done["written_bytes"] <= size - 100 * MIB
        assert subprocess.run(["cmp", file, device], check=False).returncode == 0


@pytest.mark.soak
def test_a_backup_that_is_killed_goes_on(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    size = 400 * MIB
    file = tmp_path / "large.raw"
    with file.open("wb") as out:
        for part in noisy(size):
            out.write(part)
    with attached(file) as device:
        process = subprocess.Popen(rpdrive.command("backup", "--image", device), env=rpdrive.environ)
        while process.poll() is None and len(list(rpdrive.vault.glob("packs/*/*/*"))) < 3:
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert not rpdrive.json("points")["points"]
        rest = rpdrive.json("backup", "--image", device)
        assert rest["problem_count"] == 0
        assert rest["new_bytes"] <= size - 60 * MIB
        with attached(disk_file(tmp_path / "empty", size)) as new:
            rpdrive.ok("restore", "latest", "--to-device", new, "--yes", "--verify")
            assert subprocess.run(["cmp", file, new], check=False).returncode == 0


@pytest.mark.soak
def test_ten_gibibytes_of_zeros(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    with attached(disk_file(tmp_path / "disk", 10 << 30, 9 << 30)) as device:
        done = rpdrive.json("backup", "--image", device)
    assert done["read_bytes"] >= 10 << 30
    assert done["tree_bytes"] + done["record_bytes"] < 8192
    assert done["new_bytes"] < 1 << 20
