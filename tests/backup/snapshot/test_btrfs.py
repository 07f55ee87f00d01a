"""Backups from snapshots of a real btrfs, on a loop device."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backup.run import Result
from backup.snapshot.base import Mark, Snapshot, Volume
from backup.snapshot.btrfs import Btrfs
from backup.snapshot.marks import JobMark, marked
from backup.sources.base import Begun
from backup.sources.files import SnapshotFiles
from catalog.errors import SnapshotFailed, SnapshotLost
from catalog.store.memory import MemoryStore
from tests.kit.disks import Disk, disk, mounted, run
from tests.kit.protected import Protected, assert_equal, of_source
from tests.kit.snapshots import ALWAYS, ASKED, DEFAULT, Wish, fill, source

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("mkfs.btrfs", "losetup")]


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Disk]:
    with disk(tmp_path, "btrfs") as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path) -> Protected:
    return Protected(MemoryStore(), tmp_path / "state")


def subvolume(path: Path) -> Path:
    run("btrfs", "subvolume", "create", path)
    return path


class Later(SnapshotFiles):
    """Files from snapshots; `then` is called as soon as these are made."""

    then: Callable[[], object]

    def begin(self) -> Begun:
        begun = super().begin()
        self.then()
        return begun


def backup_while(machine: Protected, then: Callable[[], object], *paths: Path, **options: object) -> Result:
    """A backup from snapshots, with something that happens as soon as they are made."""
    with closing(source(machine, *paths, **options)) as made:  # type: ignore[arg-type]
        made.__class__ = Later
        assert isinstance(made, Later)
        made.then = then
        return machine.backup(*paths, source=made, one_file_system=bool(options.get("one_file_system")))


def left_in(place: Path) -> list[str]:
    return [name for name in os.listdir(place) if "rpdrive" in name]


def test_a_point_is_as_it_was_when_the_snapshot_was_made(btrfs: Disk, machine: Protected) -> None:
    top = btrfs.place
    fill(top)
    (top / "removed").write_bytes(b"before")
    (top / "renamed").write_bytes(b"before")
    before = of_source(top)

    def change() -> None:
        (top / "changed").write_bytes(b"after!")
        (top / "removed").unlink()
        (top / "renamed").rename(top / "other name")
        (top / "new").write_bytes(b"after")
        run("rm", "-r", top / "kinds")

    result = backup_while(machine, change, top)
    assert result.point is not None
    assert [p.reason for p in result.problems] == [p.reason for p in machine.backup(top).problems]
    found = machine.snapshot(result.point, top)
    assert_equal(found, before)
    (told,) = result.point.volumes
    assert (told.place, told.file_system, told.snapshot) == (os.fsencode(top), "btrfs", "btrfs")
    assert told.source == str(btrfs.device) and told.size > told.used > 0
    assert result.point.time == told.time < result.point.finished
    assert left_in(top) == []


def test_the_next_backup_reads_no_file_and_finds_nothing_changed(
    tmp_path: Path, btrfs: Disk, machine: Protected
) -> None:
    subvolume(btrfs.place / "@")
    with mounted(btrfs.device, tmp_path / "home", "-o", "subvol=@") as home:
        fill(home)
        backup_while(machine, lambda: None, home)
        again = backup_while(machine, lambda: None, home)
        p = again.progress
        assert (p.read_bytes, p.read_files, p.new, p.changed, p.removed) == (0, 0, 0, 0, 0)
        # From live files the same point is found unchanged, too, and the other way round.
        live = machine.backup(home)
        assert (live.progress.read_files, live.progress.new, live.progress.changed) == (0, 0, 0)


def test_subvolumes_and_mounts_within_are_saved_from_their_own_snapshots(
    tmp_path: Path, btrfs: Disk, machine: Protected
) -> None:
    top = subvolume(btrfs.place / "@")
    subvolume(btrfs.place / "elsewhere")
    inner = subvolume(top / "inner")
    (top / "folder").mkdir()
    deep = subvolume(subvolume(top / "folder" / "deep") / "deeper")
    run("btrfs", "subvolume", "snapshot", "-r", inner, top / "as others make them")
    for folder in (inner, deep, top):
        (folder / "file").write_bytes(os.fsencode(folder))
    (top / "disk").mkdir()
    with disk(tmp_path, "ext4", mount=False) as ext4, mounted(ext4.device, top / "disk"):
        (top / "disk" / "live").write_bytes(b"on another file system")
        before = of_source(top)
        result = backup_while(machine, (deep / "file").unlink, top, wish=ASKED)
        assert result.point is not None
        assert_equal(machine.snapshot(result.point, top), before)
        (why,) = [p.reason for p in result.problems]
        assert why.startswith(f"no snapshot of {top}/disk: {ext4.device} has ext4, and is no logical volume of LVM")
        told = {os.fsdecode(v.place): v for v in result.point.volumes}
        assert {place: v.snapshot for place, v in told.items()} == {str(btrfs.place): "btrfs", f"{top}/disk": ""}
        assert told[str(btrfs.place)].subvolumes == [
            b"@", b"@/as others make them", b"@/folder/deep", b"@/folder/deep/deeper", b"@/inner",
        ]  # fmt: skip
        with pytest.raises(SnapshotFailed, match="has ext4"):
            source(machine, top, wish=ALWAYS)
        there = frozenset([os.fsencode(top / "disk")])
        assert not backup_while(machine, lambda: None, top, wish=Wish("always", True, live=there)).problems
        assert backup_while(machine, lambda: None, top, wish=DEFAULT).problem_count == 0
    assert left_in(btrfs.place) == []


def test_the_vault_and_other_folders_of_rpdrive_are_left_out_of_a_snapshot(btrfs: Disk, machine: Protected) -> None:
    vault, state = btrfs.place / "a" / "vault", subvolume(btrfs.place / "state")
    vault.mkdir(parents=True)
    (vault / "pack").write_bytes(b"x")
    (state / "keys").write_bytes(b"x")
    result = backup_while(machine, lambda: None, btrfs.place, own=(vault, state))
    assert result.point is not None
    assert list(machine.snapshot(result.point, btrfs.place).entries) == [b"a"]


def test_a_bind_mount_of_a_folder(tmp_path: Path, btrfs: Disk, machine: Protected) -> None:
    (btrfs.place / "data" / "www").mkdir(parents=True)
    (btrfs.place / "data" / "www" / "page").write_bytes(b"x")
    (btrfs.place / "data" / "other").write_bytes(b"x")
    inner = subvolume(btrfs.place / "data" / "www" / "inner")
    (inner / "file").write_bytes(b"y")
    with mounted(btrfs.place / "data" / "www", tmp_path / "bound", "--bind") as bound:
        before = of_source(bound)
        result = backup_while(machine, (inner / "file").unlink, bound)
        assert result.point is not None
        assert_equal(machine.snapshot(result.point, bound), before)


def test_snapshots_of_other_jobs_are_not_saved(btrfs: Disk, machine: Protected) -> None:
    """Not from live files, and not as the empty folder that a snapshot has in place of another."""
    (btrfs.place / "file").write_bytes(b"x")
    with closing(source(machine, btrfs.place)) as other:
        other.begin()
        assert len(left_in(btrfs.place)) == 1
        for result in (backup_while(machine, lambda: None, btrfs.place), machine.backup(btrfs.place)):
            assert result.point is not None
            assert list(machine.snapshot(result.point, btrfs.place).entries) == [b"file"]
        assert len(left_in(btrfs.place)) == 1
    assert left_in(btrfs.place) == []


def test_no_point_from_a_snapshot_that_was_removed(btrfs: Disk, machine: Protected) -> None:
    (btrfs.place / "file").write_bytes(b"x")

    def remove() -> None:
        run("btrfs", "subvolume", "delete", btrfs.place / left_in(btrfs.place)[0])

    with pytest.raises(SnapshotLost, match="is gone"):
        backup_while(machine, remove, btrfs.place)
    assert not list(machine.store.list("points/"))


def test_no_point_from_a_snapshot_that_was_made_writable(btrfs: Disk, machine: Protected) -> None:
    (btrfs.place / "file").write_bytes(b"x")

    def change() -> None:
        run("btrfs", "property", "set", "-f", btrfs.place / left_in(btrfs.place)[0], "ro", "false")

    with pytest.raises(SnapshotLost, match="was changed"):
        backup_while(machine, change, btrfs.place)
    assert not list(machine.store.list("points/"))
    assert left_in(btrfs.place) == []


def test_staying_within_a_file_system_leaves_out_subvolumes_and_mounts(
    tmp_path: Path, btrfs: Disk, machine: Protected
) -> None:
    """As the live walk does: the folders are there, and empty."""
    (subvolume(btrfs.place / "inner") / "file").write_bytes(b"x")
    (btrfs.place / "bound").mkdir()
    (btrfs.place / "file").write_bytes(b"x")
    with mounted(tmp_path, btrfs.place / "bound", "--bind"):
        result = backup_while(machine, lambda: None, btrfs.place, one_file_system=True)
        assert result.point is not None
        names = [b"bound", b"file", b"inner"]
        assert list(machine.snapshot(result.point, btrfs.place).entries) == names
        whole = Wish("always", True, subvolumes=True)  # an item that is a volume has them
        result = backup_while(machine, lambda: None, btrfs.place, one_file_system=True, wish=whole)
        assert result.point is not None
        assert list(machine.snapshot(result.point, btrfs.place).entries) == [*names, b"inner/file"]


def test_a_dry_run_makes_no_snapshot(btrfs: Disk, machine: Protected) -> None:
    (btrfs.place / "file").write_bytes(b"x")
    with closing(source(machine, btrfs.place, dry=True)) as made:
        assert not made.begin().volumes
        assert left_in(btrfs.place) == []
        assert machine.backup(btrfs.place, source=made, dry=True).progress.new > 0


def test_a_folder_that_rules_leave_out_needs_no_snapshot(btrfs: Disk, machine: Protected) -> None:
    subvolume(btrfs.place / "cache")
    subvolume(btrfs.place / "kept")
    with closing(source(machine, btrfs.place, excludes=("cache",))) as made:
        assert made.begin().volumes[0].subvolumes == [b"kept"]


class _Meddled(JobMark):
    """A mark that removes a folder as soon as the snapshots are named."""

    victim: Path

    def note(self, provider: str, *names: str) -> None:
        super().note(provider, *names)
        run("btrfs", "subvolume", "delete", self.victim)


def test_one_that_could_be_made_but_not_removed_again_stays_noted(
    btrfs: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start removes it. One that nothing names would stay for good."""
    first, second = subvolume(btrfs.place / "first"), subvolume(btrfs.place / "second")
    mark = _Meddled(tmp_path / "state")
    mark.victim = second

    def volume(place: Path) -> Volume:
        root = b"/" + os.fsencode(place.name)
        return Volume(os.fsencode(place), place.stat().st_dev, "btrfs", os.fsencode(btrfs.device), root, "rw")

    def busy(*_of: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    with monkeypatch.context() as patched:
        patched.setattr("backup.snapshot.btrfs._destroy", busy)
        with pytest.raises(SnapshotFailed, match="second"):
            Btrfs().make([volume(first), volume(second)], mark)
    mark.close()
    (left,) = left_in(btrfs.place)
    (file,) = marked(tmp_path / "state")
    assert [one.name.partition("/")[2] for one in file.noted] == [left]


class _Hasty(Btrfs):
    """Removes one subvolume, and renames another, as soon as they are listed."""

    done = False

    def within(self, volume: Volume) -> list[Volume]:
        found = super().within(volume)
        if not self.done:
            self.done = True
            top = Path(os.fsdecode(volume.place))
            run("btrfs", "subvolume", "delete", top / "removed")
            (top / "renamed").rename(top / "other name")
        return found


def test_subvolumes_that_go_meanwhile_cost_only_themselves(btrfs: Disk, machine: Protected) -> None:
    for name in ("kept", "removed", "renamed"):
        (subvolume(btrfs.place / name) / "file").write_bytes(name.encode())
    with closing(source(machine, btrfs.place, providers=[_Hasty()])) as made:
        result = machine.backup(btrfs.place, source=made)
    assert result.point is not None and result.problem_count == 0
    assert result.point.volumes[0].subvolumes == [b"kept", b"other name"]
    assert_equal(machine.snapshot(result.point, btrfs.place), of_source(btrfs.place))
    assert left_in(btrfs.place) == []


def test_a_subvolume_that_is_made_while_others_are_taken_is_no_empty_folder(
    btrfs: Disk, machine: Protected, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Btrfs.make

    def late(self: Btrfs, volumes: list[Volume], mark: Mark) -> list[Snapshot]:
        if not (btrfs.place / "late").exists():
            (subvolume(btrfs.place / "late") / "file").write_bytes(b"x")
        return make(self, volumes, mark)

    monkeypatch.setattr(Btrfs, "make", late)
    result = backup_while(machine, lambda: None, btrfs.place)
    assert result.point is not None
    assert list(machine.snapshot(result.point, btrfs.place).entries) == [b"late", b"late/file"]
    assert left_in(btrfs.place) == []


def test_a_mount_of_a_file_is_no_file_system_to_take(btrfs: Disk, machine: Protected) -> None:
    for name in ("below", "above"):
        (btrfs.place / name).write_bytes(name.encode())
    run("mount", "--bind", btrfs.place / "above", btrfs.place / "below")
    try:
        result = backup_while(machine, lambda: None, btrfs.place)
    finally:
        run("umount", btrfs.place / "below")
    assert result.point is not None and not result.problems
    assert [v.place for v in result.point.volumes] == [os.fsencode(btrfs.place)]


def test_a_subvolume_that_the_user_excludes_is_read_live(btrfs: Disk, machine: Protected) -> None:
    busy = subvolume(btrfs.place / "busy")
    subvolume(busy / "below")
    (busy / "below" / "file").write_bytes(b"before")
    wish = Wish("always", True, live=frozenset([os.fsencode(busy)]))

    def change() -> None:
        (busy / "below" / "file").unlink()
        (busy / "new").write_bytes(b"after")
        assert len(left_in(btrfs.place)) == 1

    result = backup_while(machine, change, btrfs.place, wish=wish)
    assert result.point is not None and not result.problems
    assert list(machine.snapshot(result.point, btrfs.place).entries) == [b"busy", b"busy/below", b"busy/new"]
    assert result.point.volumes[0].subvolumes == []
    for asked, holds in ((wish, False), (ALWAYS, True)):
        with closing(source(machine, btrfs.place, wish=asked)) as files:
            assert files.begin().holds is holds


def test_a_device_whose_name_another_disk_has_got(btrfs: Disk, tmp_path: Path) -> None:
    """The table of mounts has the name that a disk had when it was mounted."""
    with disk(tmp_path / "other", "btrfs") as other:
        mark = JobMark(tmp_path / "state")
        device = btrfs.place.stat().st_dev
        volume = Volume(os.fsencode(btrfs.place), device, "btrfs", os.fsencode(other.device), b"/", "rw")
        with pytest.raises(SnapshotFailed, match="is another file system by now"):
            Btrfs().make([volume], mark)
        mark.close()
        assert left_in(other.place) == []
