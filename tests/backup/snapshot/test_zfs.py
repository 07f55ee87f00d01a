"""Snapshots of ZFS, on a double of the program zfs: exact commands, failures and kills. No real ZFS was there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backup.snapshot import tool, zfs
from backup.snapshot.base import OTHER, Found, Options, Volume
from backup.snapshot.marks import JobMark, clean, marked
from backup.snapshot.zfs import Zfs
from catalog.errors import SnapshotFailed, SnapshotLost
from tests.kit.zfs_double import ZfsDouble


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ZfsDouble:
    double = ZfsDouble(tmp_path / "zfs", "tank", "tank/home", "tank/my files", "dozer/db")
    monkeypatch.setenv("PATH", f"{double.bin}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(zfs, "_PAUSE", 0.01)
    return double


def volume(source: str, place: str = "/srv", root: bytes = b"/") -> Volume:
    return Volume(place.encode(), 47, "zfs", source.encode(), root, "rw,xattr", "0:47")


def provider(timeout: float = 60) -> Zfs:
    return Zfs(Options(timeout=timeout), lambda name, volume: os.open("/", os.O_RDONLY))


def test_the_commands_in_order(double: ZfsDouble, tmp_path: Path) -> None:
    mark, made = JobMark(tmp_path), provider()
    chosen = [
        volume("tank/home"),
        volume("dozer/db"),
        volume("tank/my files"),
        volume("tank/home", "/bound", b"/a"),
    ]
    snapshots = made.make(chosen, mark)
    label = f"{mark.tag}-0"
    mine = [f"tank/home@{label}", f"tank/my files@{label}"]
    # One command for each pool: its snapshots are of one instant.
    assert double.calls("snapshot") == [
        ["snapshot", "-o", f"rpdrive:mark={mark.tag}", *mine],
        ["snapshot", "-o", f"rpdrive:mark={mark.tag}", f"dozer/db@{label}"],
    ]
    assert [s.name for s in snapshots] == [mine[0], f"dozer/db@{label}", mine[1], mine[0]]
    assert snapshots[0].time == snapshots[2].time == snapshots[3].time
    descriptor = snapshots[0].open()
    assert snapshots[0].device == os.fstat(descriptor).st_dev
    os.close(descriptor)
    assert snapshots[0].block_device() is None
    double.calls()
    for snapshot in snapshots:
        snapshot.check()
    for snapshot in snapshots:
        snapshot.remove()
        snapshot.remove()
    assert double.calls("get", "destroy")[:2] == [
        ["get", "-H", "-p", "-t", "snapshot", "-o", "value,source", "rpdrive:mark", mine[0]],
        ["destroy", mine[0]],
    ]
    assert double.names() == []
    made.make([volume("tank")], mark)  # another instant of the same job
    assert double.names() == [f"tank@{mark.tag}-1"]


def test_what_it_does_not_take(double: ZfsDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    made = provider()
    assert made.takes(Volume(b"/", 1, "ext4", b"/dev/sda1", b"/", "rw", "8:1")) == OTHER
    assert made.takes(volume("tank/home")) == ""
    assert made.takes(volume("tank/home@daily")) == "tank/home@daily is itself a snapshot"
    assert made.takes(volume("-r")) == "-r is no name of a dataset"
    assert made.takes(volume("tank/gone")) == (
        "zfs doesn't show the dataset tank/gone as mounted: cannot open 'tank/gone': dataset does not exist"
    )
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert made.takes(volume("tank/home")).startswith("only root can mount a snapshot of ZFS")
    monkeypatch.setattr(tool, "_PLACES", ())
    monkeypatch.setenv("PATH", str(double.folder))
    assert made.takes(volume("tank/home")).startswith("the program zfs can't be found")


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (
            {"snapshot": ["exit", 1, 1, "cannot create snapshots : permission denied"]},
            "zfs allow … snapshot,destroy",
        ),
        ({"snapshot": ["exit", 1, 1, "cannot create snapshot: out of space"]}, "tank/home: .* out of space$"),
        ({"snapshot": ["hang", 1]}, "zfs did not end within 1 s and was stopped"),
    ],
)
def test_each_failure_leaves_nothing(
    double: ZfsDouble, tmp_path: Path, faults: dict[str, list[object]], error: str
) -> None:
    mark = JobMark(tmp_path)
    double.set(faults=faults)
    with pytest.raises(SnapshotFailed, match=error):
        provider(timeout=1 if "hang" in faults["snapshot"] else 60).make([volume("tank/home")], mark)
    assert double.names() == []
    mark.close()
    assert marked(tmp_path) == []


def test_the_second_pool_that_fails_takes_the_first_along(double: ZfsDouble, tmp_path: Path) -> None:
    double.set(faults={"destroy": ["exit", 2, 1, "cannot destroy snapshot: dataset is busy"]})
    made, both = provider(), [volume("tank/home"), volume("dozer/db")]
    script = double.bin / "zfs"
    script.write_text(script.read_text().replace("exec ", '[ "$4" != "${4#dozer}" ] && exit 1\nexec '))
    with pytest.raises(SnapshotFailed, match="zfs could make no snapshot of dozer/db: exit code 1"):
        made.make(both, JobMark(tmp_path))
    assert double.names() == []
    assert len(double.calls("destroy")) == 3  # "busy" is tried again


def test_a_snapshot_that_others_removed_is_lost(double: ZfsDouble, tmp_path: Path) -> None:
    [snapshot] = provider().make([volume("tank/home")], JobMark(tmp_path))
    snapshot.check()
    double.set(snapshots={})
    with pytest.raises(SnapshotLost, match="was removed while it was read"):
        snapshot.check()
    snapshot.remove()


@pytest.mark.parametrize("why", ["snapshot has dependent clones", "dataset is busy"])
def test_a_removal_that_fails_stays_in_the_mark(
    double: ZfsDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(zfs, "BUSY", 0.05)
    mark = JobMark(tmp_path)
    [snapshot] = provider().make([volume("tank/home")], mark)
    double.set(faults={"destroy": ["exit", 100, 1, f"cannot destroy '{snapshot.name}': {why}"]})
    with pytest.raises(SnapshotFailed, match=f"can't be removed: .*{why}"):
        snapshot.remove()
    mark.close()
    assert double.names() == [snapshot.name]
    double.set(faults={})
    snapshot.remove()
    assert double.names() == []


def test_a_mark_that_is_inherited_is_none(double: ZfsDouble, tmp_path: Path) -> None:
    mark, made = JobMark(tmp_path), provider()
    [snapshot] = made.make([volume("tank/home")], mark)
    theirs = {"tank/home@daily": {"mark": [mark.tag, "inherited from tank"], "guid": "1"}}
    double.set(snapshots=double.load()["snapshots"] | theirs)
    [found] = made.found()
    assert (found.name, found.tag, found.source, found.time) == (snapshot.name, mark.tag, "tank/home", 17 * 10**17)
    made.remove(Found("zfs", "tank/home@daily", mark.tag))
    made.remove(found)
    assert double.names() == ["tank/home@daily"]
    assert made.reaches(found.name) and not made.reaches("gone/x@y")


@pytest.mark.parametrize(
    ("command", "when"),
    [("snapshot", "kill"), ("snapshot", "kill after"), ("destroy", "kill"), ("destroy", "kill after")],
)
def test_the_next_start_removes_what_a_kill_leaves(
    double: ZfsDouble, tmp_path: Path, command: str, when: str
) -> None:
    theirs = {"tank@daily": {"mark": ["-", "-"], "guid": "1"}}
    theirs |= {f"tank@rpdrive-{'0' * 32}-0": {"mark": [f"rpdrive-{'0' * 32}", "local"], "guid": "2"}}
    double.set(snapshots=theirs, faults={command: [when, 1]})
    if (child := os.fork()) == 0:
        try:
            for snapshot in provider().make([volume("tank/home"), volume("dozer/db")], JobMark(tmp_path)):
                snapshot.remove()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    double.set(faults={})
    assert clean(tmp_path, [provider()]) == []
    assert double.names() == sorted(theirs)
    assert marked(tmp_path) == []
