"""Backups from snapshots of block devices: real xfs and ext4, opened beside the original, in no table of mounts."""

from __future__ import annotations

import fcntl
import os
from contextlib import closing
from pathlib import Path

import pytest

from backup.snapshot import mounting
from backup.snapshot.base import Mark, Snapshot, Volume
from backup.snapshot.block import opened
from backup.sources.base import Begun
from catalog.errors import SnapshotFailed, SnapshotLost
from catalog.mountinfo import mounts
from catalog.store.memory import MemoryStore
from tests.kit.block_copies import Copies
from tests.kit.disks import Disk, attached, disk, mounted, run
from tests.kit.protected import Protected, assert_equal, of_source
from tests.kit.snapshots import ALWAYS, ASKED, DEFAULT, Wish, fill, source

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("mkfs.xfs", "losetup")]
_SHUT_DOWN, _NO_LOG_FLUSH = 0x8004587D, (2).to_bytes(4, "little")  # FS_IOC_SHUTDOWN, FS_SHUTDOWN_FLAGS_NOLOGFLUSH


@pytest.fixture
def machine(tmp_path: Path) -> Protected:
    return Protected(MemoryStore(), tmp_path / "state")


@pytest.mark.parametrize("kind", ["xfs", "ext4"])
def test_a_point_is_as_it_was_and_the_next_backup_reads_no_file(
    tmp_path: Path, machine: Protected, kind: str
) -> None:
    with disk(tmp_path, kind, size=300) as made:
        copies = Copies(tmp_path / "copies")
        fill(made.place)
        before = of_source(made.place)
        with closing(source(machine, made.place, providers=[copies])) as files:
            files.begin()
            places = {mount.place for mount in mounts() if mount.source.startswith(b"/dev/loop")}
            assert os.fsencode(made.place) in places
            (device,) = run("losetup", "--associated", next(copies.folder.iterdir()), "-O", "NAME", "-n").split()
            assert not [m for m in mounts() if m.source == device.encode()]
            (made.place / "changed").write_bytes(b"after!")
            run("rm", "-r", made.place / "kinds")
            result = machine.backup(made.place, source=files)
        assert result.point is not None
        assert_equal(machine.snapshot(result.point, made.place), before)
        assert [(v.file_system, v.snapshot) for v in result.point.volumes] == [(kind, "copies")]
        assert list(copies.folder.iterdir()) == []
        with closing(source(machine, made.place, providers=[copies])) as files:
            changed = machine.backup(made.place, source=files)
        assert changed.progress.read_files == 1
        with closing(source(machine, made.place, providers=[copies])) as files:
            again = machine.backup(made.place, source=files)
        assert (again.progress.read_files, again.progress.new, again.progress.changed) == (0, 0, 0)


def test_no_point_of_a_snapshot_that_filled_up(tmp_path: Path, machine: Protected) -> None:
    with disk(tmp_path, "ext4") as made:
        copies = Copies(tmp_path / "copies")
        (made.place / "file").write_bytes(b"x")
        with closing(source(machine, made.place, providers=[copies])) as files:
            files.begin()
            copies.fails = "the snapshot is full"
            with pytest.raises(SnapshotLost, match="is full"):
                machine.backup(made.place, source=files)
        assert not list(machine.store.list("points/"))


def volume(made: Disk, kind: str, root: bytes = b"/") -> Volume:
    return Volume(os.fsencode(made.place), 0, kind, os.fsencode(made.device), root, "rw")


def crashed(made: Disk, folder: Path) -> Path:
    """A file system that is cut off from its disk, as if the power failed: its journal has to be replayed.

    Returns a copy of it.
    """
    with mounted(made.device, made.place) as place:
        (place / "synced").write_bytes(b"on disk")
        (place / "data").mkdir()
        (place / "data" / "file").write_bytes(b"x")
        for name in (".", "synced", "data", "data/file"):
            descriptor = os.open(place / name, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        top = os.open(place, os.O_RDONLY)
        fcntl.ioctl(top, _SHUT_DOWN, _NO_LOG_FLUSH)
        os.close(top)
    image = folder / "crashed"
    run("cp", "--sparse=always", made.image, image)
    return image


@pytest.mark.parametrize("by_namespace", [False, True])
@pytest.mark.parametrize("kind", ["xfs", "ext4"])
def test_a_journal_is_replayed_and_the_original_stays_mounted(
    tmp_path: Path, kind: str, by_namespace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_namespace:  # as before Linux 5.2
        monkeypatch.setattr(mounting, "_FSOPEN", 10_000)
    with (
        disk(tmp_path, kind, mount=False) as made,
        attached(crashed(made, tmp_path)) as copy,
        mounted(made.device, made.place),
    ):
        folder = opened(copy, volume(made, kind))
        try:
            assert not [mount for mount in mounts() if mount.source == os.fsencode(copy)]
            assert {"synced", "data"} <= set(os.listdir(folder))
            flags = os.fstatvfs(folder).f_flag
            for flag in (os.ST_RDONLY, os.ST_NOSUID, os.ST_NODEV, os.ST_NOEXEC):
                assert flags & flag
            with pytest.raises(OSError, match="Read-only"):
                os.mkdir("new", dir_fd=folder)
        finally:
            os.close(folder)
        below = opened(copy, volume(made, kind, b"/data"))
        assert os.listdir(below) == ["file"]
        os.close(below)
        (made.place / "still writable").write_bytes(b"x")


def test_a_symlink_on_the_way_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    with disk(tmp_path, "ext4", mount=False) as made:
        with mounted(made.device, made.place) as place:
            (place / "link").symlink_to("/etc")
        with pytest.raises(SnapshotFailed, match=r"Not a directory|symbolic"):
            opened(made.device, volume(made, "ext4", b"/link"))


def test_what_cannot_be_opened_says_why(tmp_path: Path, machine: Protected) -> None:
    """A device that can't be written: the journal can't be replayed, and files would be missing without it."""
    with disk(tmp_path, "ext4") as made:
        (made.place / "file").write_bytes(b"x")
        copies = Copies(tmp_path / "copies", live=True, read_only=True)
        with closing(source(machine, made.place, providers=[copies], wish=ALWAYS)) as files:
            with pytest.raises(SnapshotFailed, match="can't be opened: "):
                machine.backup(made.place, source=files)
            assert not list(machine.store.list("points/"))
        assert list(copies.folder.iterdir()) == []
        with closing(source(machine, made.place, providers=[copies], wish=ASKED)) as files:
            result = machine.backup(made.place, source=files)
            assert list(copies.folder.iterdir()) == []
        assert result.point is not None and not result.point.volumes
        (problem,) = [p.reason for p in result.problems]
        assert problem.startswith(f"no snapshot of {made.place}: the snapshot of {made.place} can't be opened: ")
        assert problem.endswith("; its files were read while they are in use")


def test_what_fails_by_default_is_a_note_and_what_was_asked_for_a_problem(
    tmp_path: Path, machine: Protected, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Copies, volumes: list[Volume], mark: Mark) -> list[Snapshot]:
        raise SnapshotFailed("the volume group has no room")

    monkeypatch.setattr(Copies, "make", fail)
    with disk(tmp_path, "ext4") as made:
        (made.place / "file").write_bytes(b"x")
        said = f"no snapshot of {made.place}: the volume group has no room"
        copies = Copies(tmp_path / "copies")
        with closing(source(machine, made.place, providers=[copies], wish=DEFAULT)) as files:
            assert (files.begin().notes, files.begin().problems) == ([said], [])
            assert not files.begin().holds
        with closing(source(machine, made.place, providers=[copies], wish=ASKED)) as files:
            problems = [f"{said}; its files were read while they are in use"]
            assert (files.begin().notes, files.begin().problems) == ([], problems)
        with (
            closing(source(machine, made.place, providers=[copies], wish=ALWAYS)) as files,
            pytest.raises(SnapshotFailed, match="no room"),
        ):
            files.begin()
        # A file system that can have none is nothing to speak of.
        with closing(source(machine, made.place, providers=[], wish=DEFAULT)) as files:
            assert files.begin() == Begun()


def test_live_files_of_a_mount_that_is_also_given_stand_in_the_snapshot_of_another(
    tmp_path: Path, machine: Protected
) -> None:
    with (
        disk(tmp_path, "ext4") as outer,
        disk(tmp_path / "x", "xfs", mount=False) as inner,
        mounted(inner.device, outer.place / "inner") as place,
    ):
        (place / "file").write_bytes(b"x")
        live = frozenset([os.fsencode(place)])
        wish, copies = Wish("always", True, live=live), Copies(tmp_path / "copies")
        with closing(source(machine, outer.place, place, providers=[copies], wish=wish)) as files:
            result = machine.backup(outer.place, place, source=files)
        assert result.point is not None
        assert b"inner/file" in machine.snapshot(result.point, outer.place).entries


def test_a_mount_within_another_has_a_snapshot_of_its_own(tmp_path: Path, machine: Protected) -> None:
    with disk(tmp_path, "ext4") as outer, disk(tmp_path / "x", "xfs", mount=False) as inner:
        (outer.place / "a" / "inner").mkdir(parents=True)
        with mounted(inner.device, outer.place / "a" / "inner") as place:
            (place / "file").write_bytes(b"before")
            before = of_source(outer.place)
            copies = Copies(tmp_path / "copies")
            with closing(source(machine, outer.place, providers=[copies], wish=ASKED)) as files:
                assert files.begin().holds
                (place / "file").unlink()
                result = machine.backup(outer.place, source=files)
            assert result.point is not None and not result.problems
            assert_equal(machine.snapshot(result.point, outer.place), before)
