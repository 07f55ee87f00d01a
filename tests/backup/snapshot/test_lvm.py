"""Snapshots of logical volumes, on a double of LVM's programs: the exact commands, each failure, each kill.

tests/guests/test_lvm.py does the same with LVM itself.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backup.snapshot import lvm, tool
from backup.snapshot.base import OTHER, Found, Options, Volume
from backup.snapshot.lvm import Lvm
from backup.snapshot.lvs import volumes
from backup.snapshot.marks import JobMark, clean, is_ours, marked
from catalog.errors import SnapshotFailed, SnapshotLost
from tests.kit.lvm_double import LvmDouble

POOL = {
    "lv_layout": "thin,pool", "lv_role": "private", "data_percent": "40.00", "metadata_percent": "12.00",
    "metadata_lv_uuid": "000000-0000-0000-0000-0000-0000-900009",
}  # fmt: skip
GIB = 1 << 30


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LvmDouble:
    double = LvmDouble(tmp_path / "lvm")
    monkeypatch.setenv("PATH", f"{double.bin}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(lvm, "_PAUSE", 0.01)
    monkeypatch.setattr(lvm, "SUSPENDED", 0.01)
    return double


def provider(double: LvmDouble, **options: float) -> Lvm:
    """The provider, with programs that are called in this process."""
    return real_calls(double, double.run, **options)


def real_calls(double: LvmDouble, run: tool.Run = tool.run, **options: float) -> Lvm:
    """The provider, which finds its programs in PATH."""
    chosen = Options(size=int(options.pop("size", 0)), **options)
    return Lvm(chosen, lambda device, volume: os.open("/", os.O_RDONLY), run, sys=double.sys)


def volume(number: str, place: bytes = b"/srv") -> Volume:
    device = os.makedev(*map(int, number.split(":")))
    return Volume(place, device, "ext4", b"/dev/mapper/vg0-x", b"/", "rw", number)


def thick(double: LvmDouble) -> Volume:
    return volume(double.add("srv", lv_size=str(4 * GIB)))


def thin(double: LvmDouble) -> Volume:
    double.add("pool", **POOL)
    return volume(double.add("home", pool="pool"), b"/home")


def test_the_commands_for_a_thick_snapshot(double: LvmDouble, tmp_path: Path) -> None:
    srv, mark = thick(double), JobMark(tmp_path)
    made = real_calls(double)
    assert made.takes(srv) == ""
    double.calls()
    [snapshot] = made.make([srv], mark)
    name = f"{mark.tag}-0"
    calls = double.calls()
    assert [call[0] for call in calls] == ["lvs", "lvcreate", "lvs"]
    extents = "100"  # a tenth of 4 GiB is 103 extents, and 100 are free
    assert calls[1][1:] == ["--snapshot", "--extents", extents, "--name", name, "--addtag", mark.tag, "vg0/srv"]
    which = f'vg_name="vg0" && lv_name="{name}" && lv_tags={{"{mark.tag}"}}'
    assert calls[2][-1] == which
    assert snapshot.name == f"vg0/{name}"
    assert snapshot.block_device() == Path("/dev/dm-2")
    descriptor = snapshot.open()
    assert snapshot.device == os.fstat(descriptor).st_dev
    os.close(descriptor)
    snapshot.check()
    double.calls()
    snapshot.remove()
    snapshot.remove()
    assert double.calls() == [["lvremove", "--yes", "--select", which, "vg0"]]
    assert double.names() == ["srv"]
    mark.close()
    assert not list((tmp_path / "snapshots").iterdir())


def test_the_commands_for_a_thin_snapshot(double: LvmDouble, tmp_path: Path) -> None:
    home, mark = thin(double), JobMark(tmp_path)
    made = real_calls(double)
    assert made.takes(home) == ""
    double.calls()
    [snapshot] = made.make([home], mark)
    [call] = double.calls("lvcreate")
    assert call[1:] == [
        "--snapshot", "--setactivationskip", "y", "--ignoreactivationskip", "--name", f"{mark.tag}-0", "--addtag",
        mark.tag, "vg0/home",
    ]  # fmt: skip
    snapshot.check()
    snapshot.remove()
    assert double.names() == ["home", "pool"]


def test_a_volume_mounted_twice_has_one_snapshot(double: LvmDouble, tmp_path: Path) -> None:
    srv = thick(double)
    first, second = provider(double).make([srv, volume(srv.number, b"/data")], JobMark(tmp_path))
    assert len(double.calls("lvcreate")) == 1
    assert (first.volume.place, second.volume.place) == (b"/srv", b"/data")
    first.remove()
    second.remove()
    assert len(double.calls("lvremove")) == 1


def test_two_volumes_share_the_room_of_their_group(double: LvmDouble, tmp_path: Path) -> None:
    double.set(free=30)
    both = [volume(double.add(name, lv_size=str(GIB))) for name in ("a", "b")]  # 26 extents each would be right
    for snapshot in provider(double).make(both, JobMark(tmp_path)):
        snapshot.remove()
    assert [call[3] for call in double.calls("lvcreate")] == ["26", "4"]


@pytest.mark.parametrize(
    ("fields", "group", "reason"),
    [
        ({"lv_role": "public,snapshot,thicksnapshot"}, {}, "vg0/srv is itself a snapshot"),
        ({"lv_layout": "vdo,vdo"}, {}, "vg0/srv is a VDO volume"),
        ({"lv_layout": "mirror"}, {}, "a mirror of the old kind"),
        ({"lv_merging": "1"}, {}, "a snapshot is being merged into vg0/srv"),
        ({}, {"vg_clustered": "1"}, "vg0 is shared by several machines"),
        ({}, {"vg_shared": "1"}, "vg0 is shared by several machines"),
        ({}, {"vg_exported": "1"}, "vg0 is exported"),
        ({}, {"vg_partial": "1"}, "a disk of the volume group vg0 is missing"),
        ({"lv_layout": "raid,raid1"}, {}, ""),
        ({"lv_layout": "cache"}, {}, "vg0/srv is a cached volume"),
    ],
)
def test_what_has_no_snapshots(
    double: LvmDouble, tmp_path: Path, fields: dict[str, str], group: dict[str, str], reason: str
) -> None:
    double.set(group=group)
    srv = volume(double.add("srv", **fields))
    made = provider(double)
    assert reason in made.takes(srv) and bool(reason) == bool(made.takes(srv))
    if reason:
        with pytest.raises(SnapshotFailed, match=reason):
            made.make([srv], JobMark(tmp_path))
        assert double.calls("lvcreate", "lvremove") == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data_percent": "80.01"}, "the thin pool vg0/pool is 80.01 % full, and above 80 %"),
        ({"metadata_percent": "91.00"}, "the thin pool vg0/pool is 91 % full of metadata"),
        ({"lv_health_status": "out_of_data"}, "the thin pool vg0/pool is not in order: out_of_data"),
        ({"data_percent": ""}, "lvs doesn't say how full the thin pool vg0/pool is"),
        ({"data_percent": "80.00"}, ""),
    ],
)
def test_a_pool_that_is_nearly_full(double: LvmDouble, fields: dict[str, str], reason: str) -> None:
    home = thin(double)
    double.change("pool", **fields)
    assert provider(double).takes(home)[: len(reason)] == reason
    assert bool(provider(double).takes(home)) == bool(reason)


@pytest.mark.parametrize(
    ("free", "size", "reason"),
    [
        (0, 0, "the volume group vg0 has only 0 B free, and a snapshot of vg0/srv needs at least 44.0 MiB"),
        (10, 0, "the volume group vg0 has only 40.0 MiB free, and a snapshot"),
        (11, 0, ""),
        (99, 400 << 20, "the volume group vg0 has only 396.0 MiB free, and --snapshot-size asks for 400.0 MiB"),
        (100, 400 << 20, ""),
    ],
)
def test_room_in_the_group(double: LvmDouble, free: int, size: int, reason: str) -> None:
    srv = thick(double)
    double.set(free=free)
    assert provider(double, size=size).takes(srv)[: len(reason)] == reason
    assert bool(provider(double, size=size).takes(srv)) == bool(reason)


def test_what_is_no_logical_volume(double: LvmDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    assert provider(double).takes(volume("8:1")) == OTHER
    srv = thick(double)
    uuid = double.sys / "block/dm-1/dm/uuid"
    uuid.write_text("CRYPT-LUKS2-0123456789abcdef0123456789abcdef-srv\n")
    assert provider(double).takes(srv).startswith("it is on an encrypted device")
    uuid.write_text("LVM-" + "a" * 64 + "-real\n")
    assert provider(double).takes(srv) == OTHER
    uuid.write_text("LVM-" + "a" * 64 + "\n")
    assert provider(double).takes(srv) == "lvs doesn't show its logical volume"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert provider(double).takes(srv) == "only root can make a snapshot of a logical volume"
    monkeypatch.setattr(tool, "_PLACES", ())
    monkeypatch.setenv("PATH", str(double.folder))
    assert real_calls(double).found() == [] and not real_calls(double).reaches("vg0/x")
    assert provider(double).takes(srv) == "lvs and vgs and lvcreate and lvremove can't be found: install lvm2"


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        ({"lvs": ["exit", 1, 5, "Can't open /etc/lvm/lvm.conf"]}, "lvs gave no report .*: Can't open /etc/lvm"),
        ({"lvs": ["print", 1, '{"report": 3}']}, "lvs gave no report"),
        ({"lvs": ["print", 1, '{"report": [{"lv": [{"lv_name": "srv", "lv_size": "many"}, 7]}]}']}, "doesn't show"),
        (
            {"lvcreate": ["exit", 1, 5, "VG vg0 is locked\x1b[2J"]},
            r"no snapshot of vg0/\w+: VG vg0 is locked\?\[2J$",
        ),
        ({"lvcreate": ["print", 1, "nothing was made"]}, "lvs doesn't show vg0/rpdrive-.* as a snapshot"),
        ({"lvcreate": ["half", 1]}, r"Failed to suspend\. *; Aborting\. Manual intervention required\.$"),
        ({"lvcreate": ["hang", 1]}, "lvcreate did not end within 1 s and was stopped"),
    ],
)
def test_each_failure_leaves_nothing(
    double: LvmDouble, tmp_path: Path, faults: dict[str, list[object]], error: str
) -> None:
    both = [thick(double), thin(double)]
    mark = JobMark(tmp_path)
    before = double.names()
    for volume in both:
        double.set(faults=faults)
        with pytest.raises(SnapshotFailed, match=error):
            real_calls(double, timeout=1 if ["hang", 1] in faults.values() else 60).make([volume], mark)
        assert double.names() == before
    mark.close()
    assert not list((tmp_path / "snapshots").glob("*"))


def test_the_second_that_fails_takes_the_first_along(double: LvmDouble, tmp_path: Path) -> None:
    both = [thick(double), thin(double)]
    double.change("pool", data_percent="99.00")
    with pytest.raises(SnapshotFailed, match="the thin pool vg0/pool is 99 % full"):
        provider(double).make(both, JobMark(tmp_path))
    assert [call[0] for call in double.calls("lvcreate", "lvremove")] == ["lvcreate", "lvremove"]
    assert double.names() == ["home", "pool", "srv"]


def test_a_volume_that_a_failure_leaves_frozen_is_thawed(double: LvmDouble, tmp_path: Path) -> None:
    srv = thick(double)
    double.set(faults={"lvcreate": ["suspend", 1]})
    with pytest.raises(SnapshotFailed, match=r"Failed to resume\."):
        provider(double).make([srv], JobMark(tmp_path))
    assert ["dmsetup", "resume", "/dev/dm-1"] in double.calls()
    assert (double.sys / "block/dm-1/dm/suspended").read_text() == "0\n"


def test_a_snapshot_that_fills_up_is_lost(double: LvmDouble, tmp_path: Path) -> None:
    [snapshot] = provider(double).make([thick(double)], JobMark(tmp_path))
    name = snapshot.name.partition("/")[2]
    double.change(name, data_percent="99.90")
    snapshot.check()
    double.change(name, data_percent="100.00", lv_snapshot_invalid="1")
    with pytest.raises(SnapshotLost, match=r"is full: more than 400\.0 MiB changed") as caught:
        snapshot.check()
    assert "--snapshot-size" in caught.value.advice
    snapshot.remove()
    with pytest.raises(SnapshotLost, match="was removed while it was read"):
        snapshot.check()


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"data_percent": "95.50"}, "95.5 % full"),
        ({"metadata_percent": "99.00"}, "99 % full"),
        ({"lv_health_status": "metadata_read_only"}, "metadata_read_only"),
    ],
)
def test_a_pool_near_its_end_gives_up_the_snapshot(
    double: LvmDouble, tmp_path: Path, fields: dict[str, str], state: str
) -> None:
    [snapshot] = provider(double).make([thin(double)], JobMark(tmp_path))
    snapshot.check()
    double.change("pool", **fields)
    with pytest.raises(SnapshotLost, match=f"pool vg0/pool is {state}; the snapshot of vg0/home is given up"):
        snapshot.check()
    snapshot.remove()


def test_a_removal_is_tried_again_while_udev_has_the_snapshot(double: LvmDouble, tmp_path: Path) -> None:
    mark = JobMark(tmp_path)
    [snapshot] = provider(double).make([thick(double)], mark)
    double.set(faults={"lvremove": ["exit", 3, 5, f"Logical volume {snapshot.name} in use."]})
    snapshot.remove()
    assert len(double.calls("lvremove")) == 4
    assert double.names() == ["srv"]


def test_a_removal_that_fails_stays_in_the_mark(
    double: LvmDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lvm, "BUSY", 0.05)
    mark = JobMark(tmp_path)
    [snapshot] = provider(double).make([thick(double)], mark)
    double.set(faults={"lvremove": ["exit", 100, 5, "Logical volume vg0/x contains a filesystem in use."]})
    with pytest.raises(SnapshotFailed, match=r"can't be removed: .* filesystem in use") as caught:
        snapshot.remove()
    assert "rpdrive snapshots --remove" in caught.value.advice
    mark.close()
    double.set(faults={})
    snapshot.remove()
    assert double.names() == ["srv"]


@pytest.mark.parametrize(
    ("program", "times", "when"),
    [
        ("lvs", 1, "kill"), ("lvcreate", 1, "kill"), ("lvcreate", 1, "kill after"), ("lvs", 2, "kill after"),
        ("lvcreate", 2, "kill after"), ("lvs", 5, "kill"), ("lvremove", 1, "kill"), ("lvremove", 1, "kill after"),
        ("lvremove", 2, "kill"),
    ],
)  # fmt: skip
def test_the_next_start_removes_what_a_kill_leaves(
    double: LvmDouble, tmp_path: Path, program: str, times: int, when: str
) -> None:
    both = [thick(double), thin(double)]
    # Snapshots of others: one is named like ours, one carries a mark, and one is of a job whose file is elsewhere.
    other = f"rpdrive-{'0' * 32}"
    double.add(f"{other}-0", lv_role="public,snapshot,thicksnapshot", origin="srv")
    double.add("theirs", lv_role="public,snapshot,thicksnapshot", origin="srv", lv_tags=other)
    double.add(f"{other}-1", lv_role="public,snapshot,thicksnapshot", origin="srv", lv_tags=other)
    before = double.names()
    faults = {program: [when, 1]} if times == 1 else {program: ["pass", times - 1], f"{program} then": [when, 1]}
    double.set(faults=faults)
    if (child := os.fork()) == 0:
        try:
            mark = JobMark(tmp_path)
            for snapshot in real_calls(double).make(both, mark):
                snapshot.check()
                snapshot.remove()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    double.set(faults={})
    again = real_calls(double)
    assert clean(tmp_path, [again]) == []
    assert double.names() == before
    assert marked(tmp_path) == []
    assert [found.name for found in again.found()] == [f"vg0/{other}-1"]
    assert is_ours(again.found()[0], marked(tmp_path)) is None


def test_what_is_found(double: LvmDouble, tmp_path: Path) -> None:
    mark = JobMark(tmp_path)
    made = provider(double)
    first, second = made.make([thick(double), thin(double)], mark)
    [a, b] = made.found()
    assert (a.name, a.tag, a.source, a.size, a.time) == (first.name, mark.tag, "vg0/srv", 400 << 20, 17 * 10**17)
    assert (b.name, b.tag, b.source, b.size) == (second.name, mark.tag, "vg0/home", 0)
    assert made.reaches(a.name) and not made.reaches(f"vg1/{mark.tag}-0")
    # A tag that somebody has removed: it is no longer ours.
    double.change(a.name.partition("/")[2], lv_tags="keep")
    double.calls()
    for tag in ("", "rpdrive-1", mark.tag, f"{mark.tag} || lv_name=srv"):
        made.remove(Found("lvm", "vg0/srv", tag))
    made.remove(Found("lvm", f"vg0/{mark.tag}-x", mark.tag))
    assert double.calls() == []
    made.remove(a)
    made.remove(b)
    made.remove(b)
    assert a.name.partition("/")[2] in double.names() and b.name.partition("/")[2] not in double.names()


def test_programs_get_no_descriptor_and_no_secret(
    double: LvmDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPDRIVE_PASSPHRASE", "a long secret passphrase")
    (double.bin / "lvs").write_text("#!/bin/sh\nenv\nls -l /proc/self/fd\n")
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        shown = tool.run("lvs", seconds=60).output.decode()
    assert "LVM_SUPPRESS_FD_WARNINGS=1" in shown and "LC_ALL=C" in shown
    assert "PASSPHRASE" not in shown and str(tmp_path / "open") not in shown


def test_a_program_that_prints_without_end_is_stopped(double: LvmDouble) -> None:
    double.set(faults={"lvs": ["flood", 1]})
    with pytest.raises(SnapshotFailed, match="lvs printed more than 8 MiB and was stopped"):
        volumes(tool.run)
