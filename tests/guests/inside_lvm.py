"""Run by pytest inside a guest (test_lvm.py): snapshots of real logical volumes, thick and thin, on ext4 and xfs.

/dev/vda and /dev/vdb are empty disks. Each test makes its volumes in the volume group `vg-0`, and leaves it as it
found it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backup.run import Result
from backup.snapshot import thin, tool
from backup.snapshot.base import Options, Volume
from backup.snapshot.kept import KeptSnapshot
from backup.snapshot.lvm import Lvm
from backup.snapshot.lvs import volumes
from backup.snapshot.marks import JobMark, clean, marked
from backup.sources.base import Begun
from catalog.errors import SnapshotFailed, SnapshotLost
from catalog.store.memory import MemoryStore
from tests.kit.protected import Protected, assert_equal, of_source
from tests.kit.snapshots import fill, source

GROUP = "vg-0"
POOL = 640  # MiB
SIZE = {"ext4": 48, "xfs": 320}  # MiB
Make = Callable[[str, str], Path]


def do(*command: str | Path) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, close_fds=True)
    text = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"{command}: {text}"
    return text


def shown() -> list[str]:
    """The volumes of the group, but for those of LVM itself."""
    report = json.loads(subprocess.check_output(["lvs", "--reportformat", "json", "-o", "lv_name", GROUP]))
    return sorted(row["lv_name"] for row in report["report"][0]["lv"])


@pytest.fixture(scope="module", autouse=True)
def group() -> None:
    os.environ["LVM_SUPPRESS_FD_WARNINGS"] = "1"
    do("pvcreate", "-q", "/dev/vda", "/dev/vdb")
    do("vgcreate", "-q", GROUP, "/dev/vda", "/dev/vdb")
    do("lvcreate", "-q", "-L", f"{POOL}M", "--thinpool", "po-ol", GROUP)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a volume of a kind (thick or thin) and a file system, mounts it, and gives the folder."""
    made: list[tuple[str, Path]] = []

    def mounted(kind: str, file_system: str) -> Path:
        name, place = f"{kind}-{file_system}", tmp_path / f"{kind}-{file_system}"
        size = f"{SIZE[file_system]}M"
        room = ["-L", size] if kind == "thick" else ["-V", size, "-T", f"{GROUP}/po-ol"]
        do("lvcreate", "-q", "-y", *room, "-n", name, *([GROUP] if kind == "thick" else []))
        made.append((name, place))
        # Blocks of 4 KiB, which hold larger extended attributes; mkfs.ext4 gives a small disk smaller ones.
        blocks = ["-b", "4096"] if file_system == "ext4" else []
        do(f"mkfs.{file_system}", "-q", *blocks, f"/dev/{GROUP}/{name}")
        place.mkdir()
        do("mount", f"/dev/{GROUP}/{name}", place)
        return place

    yield mounted
    for name, place in made:
        subprocess.run(["umount", place], check=False)
        do("lvremove", "-q", "-y", f"{GROUP}/{name}")
    assert shown() == ["po-ol"]


def volume(place: Path) -> Volume:
    status = place.stat()
    number = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    kind = place.name.partition("-")[2]
    return Volume(bytes(place), status.st_dev, kind, b"/dev/mapper/x", b"/", "rw", number)


def contents(descriptor: int) -> dict[str, bytes]:
    found = {}
    for name in sorted(set(os.listdir(descriptor)) - {"lost+found"}):
        file = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        with os.fdopen(file, "rb") as opened:
            found[name] = opened.read()
    return found


def synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def uuids() -> list[str]:
    """The ids of file systems on devices that can be opened."""
    return sorted(do("blkid", "-c", "/dev/null", "-s", "UUID", "-o", "value").split())


def backup_while(machine: Protected, then: Callable[[], object], place: Path, options: Options) -> Result:
    """A backup from snapshots, with something that happens as soon as they are made."""
    with closing(source(machine, place, providers=[Lvm(options)])) as made:
        begin, waiting = made.begin, [then]

        def begun() -> Begun:
            found = begin()
            if waiting:
                waiting.pop()()
            return found

        made.begin = begun  # type: ignore[method-assign]
        return machine.backup(place, source=made)


@pytest.mark.parametrize("file_system", ["ext4", "xfs"])
@pytest.mark.parametrize("kind", ["thick", "thin"])
def test_a_point_is_as_it_was_and_the_next_backup_reads_nothing(
    make: Make, tmp_path: Path, kind: str, file_system: str
) -> None:
    place, machine = make(kind, file_system), Protected(MemoryStore(), tmp_path / "state")
    fill(place)
    (place / "removed").write_bytes(b"before")
    before, ids = of_source(place), uuids()

    def change() -> None:
        (place / "changed").write_bytes(b"after!")
        (place / "removed").unlink()
        (place / "new").write_bytes(b"after")
        os.sync()

    result = backup_while(machine, change, place, Options())
    assert result.point is not None
    assert_equal(machine.snapshot(result.point, place), before)
    (told,) = result.point.volumes
    assert (told.place, told.file_system, told.snapshot) == (bytes(place), file_system, "lvm")
    assert told.size > told.used > 0 and result.point.time == told.time
    backup_while(machine, lambda: None, place, Options())
    p = backup_while(machine, lambda: None, place, Options()).progress
    assert (p.read_bytes, p.read_files, p.new, p.changed, p.removed) == (0, 0, 0, 0, 0)
    live = machine.backup(place).progress
    assert (live.read_files, live.new, live.changed) == (0, 0, 0)
    assert shown() == ["po-ol", place.name]
    assert uuids() == ids
    assert marked(tmp_path / "state") == []


@pytest.mark.parametrize(("kind", "file_system"), [("thick", "ext4"), ("thin", "xfs")])
def test_files_are_as_they_were(make: Make, tmp_path: Path, kind: str, file_system: str) -> None:
    place = make(kind, file_system)
    before = {}
    for n in range(20):
        before[f"file {n}"] = os.urandom(3000 + n)
        synced(place / f"file {n}", before[f"file {n}"])  # some of it is in the journal only
    theirs = f"{GROUP}/rpdrive-{'0' * 32}-7"
    room = ["-L", "8M"] if kind == "thick" else []
    do("lvcreate", "-q", "-s", *room, "-n", theirs, "--addtag", f"rpdrive-{'0' * 32}", f"{GROUP}/{place.name}")
    mark, provider, ids = JobMark(tmp_path), Lvm(Options()), uuids()
    assert provider.takes(volume(place)) == ""
    started = time.time_ns()
    [snapshot] = provider.make([volume(place)], mark)
    assert started <= snapshot.time <= time.time_ns()
    (place / "file 0").write_bytes(b"changed")
    (place / "file 1").unlink()
    (place / "new").write_bytes(b"new")
    os.sync()
    table = Path("/proc/self/mountinfo").read_text()
    descriptor = snapshot.open()
    assert Path("/proc/self/mountinfo").read_text() == table
    assert contents(descriptor) == before
    assert snapshot.device == os.fstat(descriptor).st_dev != place.stat().st_dev
    with pytest.raises(OSError, match="Read-only"):
        os.open("x", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor)
    for name in ("file 2", "file 3"):  # what change detection compares
        live, kept = (place / name).stat(), os.stat(name, dir_fd=descriptor)
        assert (live.st_ino, live.st_ctime_ns) == (kept.st_ino, kept.st_ctime_ns)
    [found] = [f for f in provider.found() if f.tag == mark.tag]
    assert (found.name, found.source) == (snapshot.name, f"{GROUP}/{place.name}")
    assert abs(found.time - snapshot.time) < 60 * 10**9
    assert provider.reaches(found.name) and not provider.reaches("other/x")
    snapshot.check()
    os.close(descriptor)
    snapshot.remove()
    snapshot.remove()
    assert shown() == sorted(["po-ol", theirs.partition("/")[2], place.name])
    assert uuids() == ids
    assert [f.name for f in provider.found()] == [theirs]
    do("lvremove", "-q", "-y", theirs)


def test_a_thick_snapshot_that_fills_is_lost(make: Make, tmp_path: Path) -> None:
    place = make("thick", "ext4")
    machine = Protected(MemoryStore(), tmp_path / "state")
    synced(place / "file", os.urandom(20 << 20))

    def much() -> None:
        synced(place / "file", os.urandom(20 << 20))
        synced(place / "other", os.urandom(15 << 20))

    with pytest.raises(SnapshotLost, match=r"is full: more than 8\.0 MiB changed"):
        backup_while(machine, much, place, Options(size=8 << 20))
    assert not list(machine.store.list("points/"))
    assert shown() == ["po-ol", place.name]


def test_a_thin_snapshot_is_given_up_before_its_pool_is_full(make: Make, tmp_path: Path) -> None:
    place = make("thin", "ext4")
    pool, filler = f"{GROUP}/po-ol", f"/dev/{GROUP}/filler"
    do("lvcreate", "-q", "-V", f"{POOL}M", "-T", pool, "-n", "filler")
    provider = Lvm(Options())

    def fill(percent: float) -> None:
        shown = float(do("lvs", "--noheadings", "-o", "data_percent", pool))
        count, done = int((percent - shown) * POOL / 100), int(shown * POOL / 100)
        do("dd", "if=/dev/zero", f"of={filler}", "bs=1M", f"count={count}", f"seek={done}", "oflag=direct")

    [snapshot] = provider.make([volume(place)], JobMark(tmp_path))
    fill(84)
    snapshot.check()
    assert provider.takes(volume(place)).startswith(f"the thin pool {pool} is 8")
    fill(97)
    with pytest.raises(SnapshotLost, match=r"% full; the snapshot of .* is given up"):
        snapshot.check()
    snapshot.remove()
    do("lvremove", "-q", "-y", filler)


def test_what_lvm_refuses_is_refused_before(make: Make, tmp_path: Path) -> None:
    place = make("thick", "ext4")
    do("lvcreate", "-q", "-s", "-L", "8M", "-n", "snap", f"{GROUP}/{place.name}")
    folder = tmp_path / "snap-ext4"
    folder.mkdir()
    do("mount", "-o", "ro", f"/dev/{GROUP}/snap", folder)
    assert "is itself a snapshot" in Lvm(Options()).takes(volume(folder))
    do("umount", folder)
    do("lvremove", "-q", "-y", f"{GROUP}/snap")
    assert "--snapshot-size asks for 8.0 GiB" in Lvm(Options(size=8 << 30)).takes(volume(place))
    do("lvcreate", "-q", "-y", "-L", "12M", "-n", "fast", GROUP)
    do("lvconvert", "-q", "-y", "--type", "cache", "--cachevol", "fast", f"{GROUP}/{place.name}")
    assert Lvm(Options()).takes(volume(place)).startswith(f"{GROUP}/{place.name} is a cached volume")


@pytest.mark.parametrize("layout", ["raid1", "two segments"])
def test_volumes_of_other_layouts(make: Make, tmp_path: Path, layout: str) -> None:
    place = make("thick", "ext4")
    name = f"{GROUP}/{place.name}"
    if layout == "raid1":
        do("lvconvert", "-q", "-y", "--type", "raid1", "-m", "1", name)
    else:
        do("lvextend", "-q", "-l", "+1", name, "/dev/vdb")
    (place / "file").write_bytes(b"before")
    os.sync()
    assert Lvm(Options()).takes(volume(place)) == ""
    [snapshot] = Lvm(Options()).make([volume(place)], JobMark(tmp_path))
    (place / "file").write_bytes(b"after")
    descriptor = snapshot.open()
    assert contents(descriptor) == {"file": b"before"}
    os.close(descriptor)
    snapshot.check()
    snapshot.remove()
    assert shown() == ["po-ol", place.name]


def test_a_removal_waits_for_who_has_it_open(make: Make, tmp_path: Path) -> None:
    place = make("thick", "ext4")
    [snapshot] = Lvm(Options()).make([volume(place)], JobMark(tmp_path))
    holder = subprocess.Popen(["sh", "-c", f"exec sleep 3 <{snapshot.block_device()}"])
    time.sleep(0.5)
    snapshot.remove()
    assert holder.wait() == 0
    assert shown() == ["po-ol", place.name]


STEPS = [
    (name, when, times)
    for name in ("lvcreate", "lvremove")
    for times in (1, 2)
    for when in ("before", "during", "after")
    if not (times == 1 and when == "before")
]


@pytest.mark.parametrize(("program", "when", "times"), STEPS)
def test_the_next_start_removes_what_a_kill_leaves(
    make: Make, tmp_path: Path, program: str, when: str, times: int
) -> None:
    both = [volume(make("thick", "ext4")), volume(make("thin", "ext4"))]
    do("lvcreate", "-q", "-s", "-n", "theirs", "--addtag", f"rpdrive-{'0' * 32}", f"{GROUP}/thin-ext4")
    before, ids = shown(), uuids()
    left = [times]

    def run(name: str, *arguments: str, seconds: float, changes: bool = False) -> tool.Ended:
        left[0] -= name == program
        if name == program and not left[0]:
            if when == "during":  # the program goes on without us
                subprocess.Popen([name, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(0.05)
            elif when == "after":
                tool.run(name, *arguments, seconds=seconds, changes=changes)
            os.kill(os.getpid(), signal.SIGKILL)
        return tool.run(name, *arguments, seconds=seconds, changes=changes)

    if (child := os.fork()) == 0:
        try:
            for snapshot in Lvm(Options(), run=run).make(both, JobMark(tmp_path)):
                os.listdir(snapshot.open())
                snapshot.remove()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert clean(tmp_path, [Lvm(Options())]) == []
    assert shown() == before
    assert uuids() == ids
    assert marked(tmp_path) == []
    do("lvremove", "-q", "-y", f"{GROUP}/theirs")


class Note:
    """A Held in memory."""

    text = ""

    def note(self, text: str) -> None:
        self.text = text

    def noted(self) -> str:
        return self.text

    def forget(self) -> None:
        self.text = ""


def test_what_differs_between_two_thin_snapshots(make: Make, tmp_path: Path) -> None:
    place = make("thin", "xfs")
    provider, mark = Lvm(Options()), JobMark(tmp_path)
    synced(place / "file", os.urandom(5 << 20))
    synced(place / "gone", os.urandom(3 << 20))
    [first] = provider.make([volume(place)], mark)
    os.close(first.open())  # replays the journal
    with (place / "file").open("r+b") as file:
        file.seek(2 << 20)
        file.write(os.urandom(200_000))
    (place / "gone").unlink()
    synced(place / "new", os.urandom(1 << 20))
    do("fstrim", place)
    [second] = provider.make([volume(place)], JobMark(tmp_path))
    os.close(second.open())
    ids = {v.path: v.id for v in volumes(tool.run)}
    held = Note()
    ranges = thin.changed(ids[first.name], ids[second.name], held)
    assert held.text == ""
    print(ranges)
    # Outside of the ranges both are equal, to the byte; and the ranges are not everything.
    assert 0 < sum(r.length for r in ranges) < SIZE["xfs"] << 18
    block = 64 << 10
    inside = {b for r in ranges for b in range(r.offset // block, -(-(r.offset + r.length) // block))}
    with open(str(first.block_device()), "rb") as old, open(str(second.block_device()), "rb") as new:  # noqa: PTH123
        for number in range((SIZE["xfs"] << 20) // block):
            assert old.read(block) == new.read(block) or number in inside
    assert thin.changed(ids[second.name], ids[second.name], held) == []
    wide = thin.changed(ids[first.name], ids[second.name], held, grain=1 << 20)
    assert all(r.offset % (1 << 20) == 0 for r in wide) and wide[0].length >= ranges[0].length
    # A copy of the metadata that another program keeps is left alone; one that a killed run of ours left is not.
    target = f"{GROUP.replace('-', '--')}-po--ol-tpool"
    do("dmsetup", "message", target, "0", "reserve_metadata_snap")
    with pytest.raises(SnapshotFailed, match="another program keeps a copy of the metadata"):
        thin.changed(ids[first.name], ids[second.name], held)
    thin.release_left(held)
    root = do("dmsetup", "status", target).split()[6]
    assert root.isdecimal()
    held.note(f"{target} {root}")
    thin.release_left(held)
    assert do("dmsetup", "status", target).split()[6] == "-"
    do("dmsetup", "message", target, "0", "reserve_metadata_snap")
    held.note(f"{target} {do('dmsetup', 'status', target).split()[6]}")
    assert thin.changed(ids[first.name], ids[second.name], held) == ranges
    assert do("dmsetup", "status", target).split()[6] == "-"
    first.remove()
    second.remove()


def test_a_snapshot_is_kept_between_runs_without_a_second_device(make: Make, tmp_path: Path) -> None:
    place, ids = make("thin", "ext4"), uuids()
    [first] = Lvm(Options()).make([volume(place)], mark := JobMark(tmp_path))
    os.close(first.open())
    KeptSnapshot(tmp_path, "12ab").keep(first)
    first.remove()
    mark.close()
    assert uuids() == ids
    assert not Path(f"/dev/{GROUP}/{first.name.partition('/')[2]}").exists()
    assert clean(tmp_path, [Lvm(Options())]) == [] and len(shown()) == 3
    synced(place / "file", os.urandom(1 << 20))
    [second] = Lvm(Options()).make([volume(place)], mark := JobMark(tmp_path))
    os.close(second.open())
    changed = KeptSnapshot(tmp_path, "12ab").changed(second, first.time)
    assert 1 << 20 <= sum(r.length for r in changed) < SIZE["ext4"] << 19
    KeptSnapshot(tmp_path, "12ab").keep(second)
    second.remove()
    mark.close()
    assert shown() == sorted(["po-ol", place.name, second.name.partition("/")[2]])
    KeptSnapshot(tmp_path, "12ab").drop()
    assert shown() == ["po-ol", place.name]
