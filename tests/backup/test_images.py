"""Images of real devices: what is stored, what is read again, and what becomes of a device in use or broken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from backup.run import Result
from backup.sources.freezing import Frozen
from backup.systems.image import PIECE
from catalog.errors import DeviceUnreadable, LocalError, SnapshotFailed, SnapshotLost, UsageError
from catalog.store.memory import MemoryStore
from tests.kit.disks import attached, disk, mounted, run
from tests.kit.imaging import MIB, Machine, Saved, disk_file, overwrite
from tests.kit.vaults import new_vault


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(new_vault(MemoryStore()), tmp_path)


@pytest.fixture
def opened(machine: Machine) -> Iterator[list[Saved]]:
    """Points that a test opens, closed after it."""
    points: list[Saved] = []
    yield points
    for saved in points:
        saved.close()


def saved(machine: Machine, opened: list[Saved], result: Result) -> Saved:
    opened.append(Saved(machine.vault, result))
    return opened[-1]


@pytest.mark.needs_root
def test_a_change_in_place_costs_one_piece(machine: Machine, opened: list[Saved], tmp_path: Path) -> None:
    written = [0, 3 * MIB + 8192, 17 * MIB, 39 * MIB]
    file = disk_file(tmp_path / "disk.raw", 40 * MIB + 4096, *written)
    with attached(file) as device:
        first = machine.image(device)
        here = saved(machine, opened, first)
        assert here.data() == file.read_bytes()
        assert sorted(here.places()) == [at // PIECE * PIECE for at in written]
        again = machine.image(device)
        assert again.progress.sent.new_bytes == 0
        assert again.progress.read_bytes >= 40 * MIB, "a device has no times: it must be read"
        overwrite(device, 17 * MIB + 100, b"another word")
        changed = machine.image(device)
        assert changed.progress.sent.new_bytes == PIECE
        now = saved(machine, opened, changed)
        assert now.data() == device.read_bytes()
        different = {at for at in now.places() if now.places()[at] != here.places().get(at)}
        assert different == {17 * MIB}
        assert changed.problem_count == 0
        assert changed.point is not None
        assert changed.point.kind == "image"


@pytest.mark.needs_root
def test_geometry_says_what_it_is_of(machine: Machine, opened: list[Saved], tmp_path: Path) -> None:
    with disk(tmp_path, "ext4", mount=False) as made:
        result = machine.image(made.device)
        here = saved(machine, opened, result)
        told = here.geometry()
        size = made.image.stat().st_size
        assert (told["format"], told["version"], told["size"]) == ("rpdrive image", 1, size)
        assert (told["consistency"], told["contents"]["kind"], told["contents"]["state"]) == (
            "at rest",
            "ext4",
            "clean",
        )
        (volume,) = here.point.volumes
        assert (volume.file_system, volume.uuid, volume.size) == ("ext4", told["contents"]["uuid"], size)
        assert volume.place == b"/" + here.image.entry.name


def test_an_unchanged_file_is_not_read(machine: Machine, opened: list[Saved], tmp_path: Path) -> None:
    size = 10 << 30
    file = disk_file(tmp_path / "disk.img", size, 0, 5 << 30, size - 4096)
    time.sleep(0.05)  # what changed within a tick of the clock is read again
    first = machine.image(file)
    assert first.progress.read_bytes < 4 * PIECE, "holes of a file are not read"
    again = machine.image(file)
    assert (again.progress.read_bytes, again.progress.unchanged) == (0, 2)
    assert first.progress.sent.tree_bytes < 4096
    here = saved(machine, opened, first)
    assert here.image.entry.size == size
    assert here.pieces() == 5
    with file.open("rb") as source:
        source.seek(5 << 30)
        assert here.data(5 << 30, 4096) == source.read(4096)
    assert here.geometry()["consistency"] == "file"


@pytest.mark.needs_root
def test_a_device_of_zeros_is_one_hole(machine: Machine, opened: list[Saved], tmp_path: Path) -> None:
    with attached(disk_file(tmp_path / "disk.raw", 256 * MIB)) as device:
        result = machine.image(device)
    here = saved(machine, opened, result)
    assert here.pieces() == 1
    assert result.progress.sent.data_bytes < 4096
    assert result.progress.sent.tree_bytes < 4096


@pytest.mark.needs_root
def test_known_changes_spare_the_reading(machine: Machine, opened: list[Saved], tmp_path: Path) -> None:
    file = disk_file(tmp_path / "disk.raw", 60 * MIB, *range(0, 60 * MIB, MIB))  # pieces in pages of their own
    with attached(file) as device:
        before = saved(machine, opened, machine.image(device))
        overwrite(device, 20 * MIB + 5, b"changed")
        overwrite(device, 44 * MIB, bytes(4096))  # becomes a hole
        machine.changed = [(20 * MIB, 20 * MIB + 4096), (44 * MIB, 44 * MIB + 4096)]
        read: list[int] = []
        result = machine.image(device, each=read.append)
        assert read == [20 * MIB, 44 * MIB]
        known = saved(machine, opened, result)
        assert known.data() == device.read_bytes()
        assert len(known.places()) == len(before.places()) - 1
        machine.changed = None
        whole = saved(machine, opened, machine.image(device))
        assert whole.places() == known.places()
        assert whole.digest() == known.digest()


@pytest.mark.needs_root
def test_bad_sectors_never_become_zeros_silently(machine: Machine, opened: list[Saved], tmp_path: Path) -> None:
    file = disk_file(tmp_path / "disk.raw", 8 * MIB, *range(0, 8 * MIB, 65536))
    with attached(file) as device:
        os.truncate(file, 6 * MIB + 8192)  # the device has kept its size, and can't read what is gone
        first = f"bytes {6 * MIB + 8192} to "
        with pytest.raises(DeviceUnreadable, match=first):
            machine.image(device)
        assert not list(machine.vault.store.list("points/"))
        result = machine.image(device, keep_unreadable=True)
        assert result.problem_count == 1
        assert f"bytes {6 * MIB + 8192} to {8 * MIB - 1} can't be read" in result.problems[0].reason
        here = saved(machine, opened, result)
        assert here.geometry()["unreadable"] == [[6 * MIB + 8192, 8 * MIB]]
        data = here.data()
        assert data[: 6 * MIB + 8192] == file.read_bytes()
        assert not any(data[6 * MIB + 8192 :])


@pytest.mark.needs_root
def test_a_device_in_use_is_refused_unless_it_can_be_asked_to_hold_still(
    machine: Machine, opened: list[Saved], tmp_path: Path
) -> None:
    with disk(tmp_path, "ext4") as made:
        with pytest.raises(LocalError, match=f"{made.device} is mounted at {made.place}"):
            machine.image(made.device)
        with pytest.raises(SnapshotFailed):
            machine.image(made.device, snapshot="always", crash_like=True)
        (made.place / "file").write_text("text")
        dry = machine.image(made.device, dry=True)
        assert (dry.point, dry.progress.new, dry.progress.sent.new_bytes) == (None, 2, 0)
        result = machine.image(made.place, crash_like=True)
        assert result.problem_count == 1
        assert "its parts are of different instants" in result.problems[0].reason
        told = saved(machine, opened, result).geometry()
        assert (told["consistency"], told["mounted_at"]) == ("in use", str(made.place))
        assert told["contents"]["state"] == "dirty"
    with disk(tmp_path, "ext4", mount=False) as made, mounted(made.device, tmp_path / "at", "-o", "ro"):
        assert machine.image(made.device).problem_count == 0


@pytest.mark.needs_root
@pytest.mark.needs_program("mkfs.btrfs")
def test_each_disk_of_a_mounted_btrfs_is_in_use(machine: Machine, tmp_path: Path) -> None:
    """The table of mounts has only one of them."""
    with (
        attached(disk_file(tmp_path / "1", 64 * MIB)) as first,
        attached(disk_file(tmp_path / "2", 64 * MIB)) as second,
    ):
        run("mkfs.btrfs", "-q", "-f", "-d", "single", "-m", "single", first, second)
        with mounted(first, tmp_path / "at"):
            for device in (first, second):
                with pytest.raises(LocalError, match=f"{device} is in use"):
                    machine.image(device)
                assert machine.image(device, crash_like=True).problem_count == 1


@pytest.mark.needs_root
def test_a_device_that_comes_into_use_while_it_is_read(machine: Machine, tmp_path: Path) -> None:
    with disk(tmp_path, "ext4", mount=False) as made, ExitStack() as stack:

        def mount(position: int) -> None:
            if position == 0:
                stack.enter_context(mounted(made.device, tmp_path / "at"))

        with pytest.raises(LocalError, match="came into use while it was read"):
            machine.image(made.device, each=mount)
    assert not list(machine.vault.store.list("points/"))


def test_what_is_no_device(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a device nor a file"):
        machine.image(Path("/dev/null"))
    with pytest.raises(UsageError, match="no device is mounted at"):
        machine.image(tmp_path)
    with pytest.raises(LocalError, match="does not exist"):
        machine.image(tmp_path / "nothing")


class Stopped(BaseException):
    """Ends a run at once, as Ctrl-C does."""


@pytest.mark.needs_root
def test_what_was_sent_before_the_end_is_not_sent_again(
    machine: Machine, opened: list[Saved], tmp_path: Path
) -> None:
    size = 72 * MIB
    file = tmp_path / "disk.raw"
    file.write_bytes(os.urandom(size))

    def stop(start: int) -> None:
        if start >= 68 * MIB:
            raise Stopped

    with attached(file) as device:
        with pytest.raises(Stopped):
            machine.image(device, each=stop)
        rest = machine.image(device)
        assert rest.progress.sent.new_bytes < 45 * MIB  # a pack had arrived
        assert saved(machine, opened, rest).data() == device.read_bytes()
        with pytest.raises(Stopped):  # partial points on the way: the point before stays what it was
            machine.image(device, each=stop, partial_seconds=0.0)
        assert saved(machine, opened, machine.image(device)).data() == device.read_bytes()


def writer(place: Path) -> subprocess.Popen[bytes]:
    """Another process that writes to a file system; nothing ends it while that is frozen."""
    return subprocess.Popen(["touch", place / "probe"])


@pytest.mark.needs_root
def test_a_frozen_file_system_is_of_one_instant_and_goes_on(
    machine: Machine, opened: list[Saved], tmp_path: Path
) -> None:
    with disk(tmp_path, "ext4") as made:
        (made.place / "file").write_text("text")
        started: list[subprocess.Popen[bytes]] = []

        def look(start: int) -> None:
            if not started:
                started.append(writer(made.place))
                time.sleep(0.3)
                assert started[0].poll() is None

        result = machine.image(made.device, each=look, freeze=300)
        assert started[0].wait(60) == 0
        told = saved(machine, opened, result).geometry()
        assert (told["consistency"], told["contents"]["state"]) == ("frozen", "clean")
        assert result.problem_count == 0
        with pytest.raises(SnapshotLost, match="was thawed before its image was read"):
            machine.image(made.device, each=lambda start: time.sleep(0 if start else 1.5), freeze=1)
        assert writer(made.place).wait(60) == 0
        with pytest.raises(SnapshotFailed, match="rpdrive, or the system itself, writes to it"):
            Frozen(os.fsencode(made.place), 60, {made.place.stat().st_dev})
        with pytest.raises(SnapshotFailed, match="can't be frozen"):
            Frozen(b"/proc", 60, ())


KILLED = """
import os, signal, sys
from backup.sources.freezing import Frozen
frozen = Frozen(os.fsencode(sys.argv[1]), 300, ())
os.write(1, b"frozen")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.needs_root
def test_nothing_stays_frozen_after_a_kill(tmp_path: Path) -> None:
    with disk(tmp_path, "ext4") as made:
        command = [sys.executable, "-c", KILLED, str(made.place)]
        done = subprocess.run(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, check=False)
        assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"frozen")
        assert writer(made.place).wait(60) == 0
