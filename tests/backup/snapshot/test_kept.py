"""The thin snapshot that stays between two runs, on the double of LVM: handed over, compared with, exchanged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.snapshot import lvm, tool
from backup.snapshot.base import Options, Snapshot, Volume
from backup.snapshot.kept import KeptSnapshot
from backup.snapshot.lvm import Lvm
from backup.snapshot.marks import JobMark, clean
from catalog.errors import SnapshotFailed
from tests.kit.lvm_double import LvmDouble

POOL = {
    "lv_layout": "thin,pool", "lv_role": "private", "data_percent": "40.00", "metadata_percent": "12.00",
    "metadata_lv_uuid": "000000-0000-0000-0000-0000-0000-900009",
}  # fmt: skip
XML = Path(__file__).parent / "recorded/thin_delta.xml"
ITEM = "0123456789abcdef"


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LvmDouble]:
    double = LvmDouble(tmp_path / "lvm")
    monkeypatch.setenv("PATH", f"{double.bin}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(lvm, "_PAUSE", 0.01)
    script = double.bin / "thin_delta"
    script.write_text(f"#!/bin/sh\ncat {XML}\n")
    script.chmod(0o755)
    double.add("pool", **POOL)
    double.add("home", pool="pool", lv_size=str(400 << 20))
    double.add("srv")
    yield double


def made(
    double: LvmDouble, state: Path, name: str = "home", run: tool.Run | None = None
) -> tuple[Snapshot, JobMark]:
    minor = next(v["lv_kernel_minor"] for v in double.load()["volumes"] if v["lv_name"] == name)
    mark = JobMark(state)
    volume = Volume(b"/home", os.makedev(253, int(minor)), "ext4", b"", b"/", "rw", f"253:{minor}")
    (snapshot,) = Lvm(Options(), run=run or double.run, sys=double.sys).make([volume], mark)
    return snapshot, mark


def kept(double: LvmDouble, state: Path, run: tool.Run | None = None) -> KeptSnapshot:
    return KeptSnapshot(state, ITEM, run or double.run, sys=double.sys)


def tags(double: LvmDouble) -> dict[str, str]:
    return {v["lv_name"]: v["lv_tags"] for v in double.load()["volumes"] if v["lv_tags"]}


def test_a_snapshot_is_kept_and_then_exchanged(double: LvmDouble, tmp_path: Path) -> None:
    kept(double, tmp_path).drop()
    assert not (tmp_path / "snapshots").exists() and not double.calls("lvs")
    first, mark = made(double, tmp_path)
    with pytest.raises(SnapshotFailed, match="no snapshot was kept of the last point"):
        kept(double, tmp_path).changed(first, 0)
    double.calls()
    kept(double, tmp_path).keep(first)
    first.remove()  # as a source does at its end
    mark.close()
    assert [call[:2] for call in double.calls("lvchange", "lvremove")] == [
        ["lvchange", "--activate"], ["lvchange", "--addtag"],
    ]  # fmt: skip
    name = first.name.partition("/")[2]
    (tag,) = tags(double).values()
    assert list(tags(double)) == [name] and tag.startswith("rpdrive-kept-")
    assert Lvm(Options(), run=double.run, sys=double.sys).found() == []  # no job's
    assert clean(tmp_path, [Lvm(Options(), run=double.run, sys=double.sys)]) == []

    second, mark = made(double, tmp_path)
    again = kept(double, tmp_path)
    assert again.changed(second, first.time)[0].length == 2 * (64 << 10)
    with pytest.raises(SnapshotFailed, match="no snapshot was kept of the last point"):
        again.changed(second, first.time - 1)
    again.keep(second)
    second.remove()
    mark.close()
    assert tags(double) == {second.name.partition("/")[2]: tag}
    kept(double, tmp_path).drop()
    kept(double, tmp_path).drop()
    assert double.names() == ["home", "pool", "srv"]
    assert os.listdir(tmp_path / "snapshots") == []


def test_a_thick_snapshot_is_not_kept(double: LvmDouble, tmp_path: Path) -> None:
    snapshot, _mark = made(double, tmp_path, "srv")
    with pytest.raises(SnapshotFailed, match="only thin snapshots are kept"):
        kept(double, tmp_path).keep(snapshot)
    with pytest.raises(SnapshotFailed, match="only thin snapshots say what has changed"):
        kept(double, tmp_path).changed(snapshot, snapshot.time)
    snapshot.remove()
    assert double.names() == ["home", "pool", "srv"]


@pytest.mark.parametrize(
    ("program", "faults"),
    [
        ("lvchange", [["kill", 1]]),
        ("lvchange", [["kill after", 1]]),
        ("lvchange", [["pass", 1], ["kill", 1]]),
        ("lvchange", [["pass", 1], ["kill after", 1]]),
        ("lvremove", [["kill", 1]]),
        ("lvremove", [["kill after", 1]]),
    ],
)
def test_a_kill_leaves_one_of_the_two(
    double: LvmDouble, tmp_path: Path, program: str, faults: list[list[object]]
) -> None:
    first, mark = made(double, tmp_path)
    kept(double, tmp_path).keep(first)
    mark.close()
    double.set(faults={program: faults[0]} | ({f"{program} then": faults[1]} if faults[1:] else {}))
    if (child := os.fork()) == 0:
        try:
            kept(double, tmp_path, tool.run).keep(made(double, tmp_path)[0])
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    double.set(faults={})
    assert clean(tmp_path, [Lvm(Options(), run=double.run, sys=double.sys)]) == []
    snapshot, _mark = made(double, tmp_path)
    handed_over = program == "lvremove" or faults in ([["pass", 1], ["kill after", 1]],)
    try:
        kept(double, tmp_path).changed(snapshot, first.time)
        assert not handed_over
    except SnapshotFailed:
        assert handed_over
    snapshot.remove()
    assert len(tags(double)) == 1
    kept(double, tmp_path).drop()
    assert double.names() == ["home", "pool", "srv"]


def test_a_snapshot_that_lost_its_tag_is_left_alone(double: LvmDouble, tmp_path: Path) -> None:
    snapshot, _mark = made(double, tmp_path)
    kept(double, tmp_path).keep(snapshot)
    name = snapshot.name.partition("/")[2]
    double.change(name, lv_tags="somebody's")
    kept(double, tmp_path).drop()
    assert name in double.names()
