"""What differs between two thin snapshots: thin_delta's output as it was recorded, and what can go wrong with it.

The recorded files are of thin-provisioning-tools 0.9.0, on xfs in a pool with blocks of 64 KiB: 5 MiB of a new file
and 192 KiB in the middle of another, then the new file removed and fstrim.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from backup.snapshot import thin, tool
from backup.snapshot.thin import Range, changed, parse, release_left, rounded
from catalog.errors import SnapshotFailed
from tests.kit.lvm_double import LvmDouble, long_id

RECORDED = Path(__file__).parent / "recorded"
BLOCK = 64 << 10
HEAD = '<superblock uuid="" time="3" data_block_size="128" nr_data_blocks="0"><diff left="1" right="2">'
TAIL = "</diff></superblock>"


def blocks(*numbers: tuple[int, int]) -> list[Range]:
    return [Range(begin * BLOCK, length * BLOCK) for begin, length in numbers]


def read(data: bytes, size: int = 7) -> list[Range]:
    return list(parse(data[start : start + size] for start in range(0, len(data), size)))


def test_recorded_output() -> None:
    first = read((RECORDED / "thin_delta.xml").read_bytes())
    assert first == blocks((0, 2), (6, 4), (161, 1), (162, 80), (3200, 1))
    second = read((RECORDED / "thin_delta_after_fstrim.xml").read_bytes(), 1 << 16)
    assert second == blocks((0, 2), (162, 80), (3200, 1), (6398, 2))
    assert read(f"{HEAD}{TAIL}".encode()) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no current metadata snap",
        HEAD + '<different begin="1" length="2"/>',
        '<superblock data_block_size="128"></superblock>',
        HEAD.replace('"128"', '"0"') + TAIL,
        HEAD.replace('"128"', '"99999999"') + TAIL,
        HEAD + '<different begin="-1" length="2"/>' + TAIL,
        HEAD + '<different begin="1"/>' + TAIL,
        HEAD + '<different begin="1" length="0"/>' + TAIL,
        HEAD + f'<different begin="{1 << 50}" length="1"/>' + TAIL,
        HEAD + '<different begin="1" length="1e3"/>' + TAIL,
        HEAD + "<other/>" + TAIL,
        HEAD + "<diff><diff/></diff>" + TAIL,
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + HEAD + "&b;" + TAIL,
        HEAD + TAIL + HEAD + TAIL,
        HEAD + "\x00" + TAIL,
    ],
)
def test_what_is_no_comparison_is_refused(text: str) -> None:
    with pytest.raises(SnapshotFailed, match="thin_delta printed"):
        read(text.encode())


def test_more_ranges_than_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thin, "MOST", 10)
    rows = "".join(f'<different begin="{2 * n}" length="1"/>' for n in range(11))
    with pytest.raises(SnapshotFailed, match="range 11"):
        read(f"{HEAD}{rows}{TAIL}".encode())


def test_rounding() -> None:
    drawn = random.Random(13)
    for _ in range(200):
        size, grain = drawn.randrange(1, 200), drawn.choice([1, 4, 16])
        ranges = [Range(drawn.randrange(220), drawn.randrange(1, 30)) for _ in range(drawn.randrange(6))]
        wanted = {b for offset, length in ranges for b in range(offset, offset + length)}
        wanted = {b for b in range(size) if any(b // grain == w // grain for w in wanted)}
        found = rounded(ranges, grain, size)
        assert {b for r in found for b in range(r.offset, r.offset + r.length)} == wanted
        assert all(a.offset + a.length < b.offset for a, b in pairwise(found))


class Note:
    """A Held in memory, and all that it was told."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.text = text
        self.said.append(text)

    def noted(self) -> str:
        return self.text

    def forget(self) -> None:
        self.text = ""


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LvmDouble]:
    """A pool with two volumes, whose ids are 2 and 3, and a thin_delta that prints what was recorded."""
    double = LvmDouble(tmp_path / "lvm")
    monkeypatch.setenv("PATH", f"{double.bin}:{os.environ['PATH']}")
    pool = {
        "lv_layout": "thin,pool",
        "lv_role": "private",
        "metadata_lv_uuid": "000000-0000-0000-0000-0000-0000-900009",
    }
    double.add("pool", **pool)
    for name in ("before", "after"):
        double.add(name, pool="pool", lv_size=str(400 << 20))
    says(double, f"cat {RECORDED / 'thin_delta.xml'}")
    yield double


def says(double: LvmDouble, shell: str) -> None:
    script = double.bin / "thin_delta"
    script.write_text(f'#!/bin/sh\necho "$@" >>{double.folder}/compared\n{shell}\n')
    script.chmod(0o755)


def test_the_commands_in_order(double: LvmDouble) -> None:
    held = Note()
    found = changed(long_id(2), long_id(3), held, sys=double.sys)
    assert found == blocks((0, 2), (6, 4), (161, 81), (3200, 1))
    assert [call[0] for call in double.calls("lvs")] == ["lvs", "lvs"]
    target = "vg0-pool-tpool"
    assert (double.folder / "compared").read_text() == "--metadata-snap --thin1 2 --thin2 3 /dev/dm-101\n"
    assert held.said == [f"{target} ?", f"{target} 24"] and not held.text
    changed(long_id(2), long_id(3), held, sys=double.sys)
    assert double.calls("dmsetup") == [
        ["dmsetup", "status", "--target", "thin-pool", target],
        ["dmsetup", "message", target, "0", "reserve_metadata_snap"],
        ["dmsetup", "status", "--target", "thin-pool", target],
        ["dmsetup", "message", target, "0", "release_metadata_snap"],
    ]


def test_a_volume_that_has_grown(double: LvmDouble) -> None:
    double.change("after", lv_size=str(401 << 20))
    assert changed(long_id(2), long_id(3), Note(), run=double.run, sys=double.sys)[-1] == Range(400 << 20, 1 << 20)


@pytest.mark.parametrize(
    ("shell", "error"),
    [
        ("echo 'Unable to find mapping tree for snap2 (3)' >&2; echo Usage: >&2; exit 1", "Unable to find mapping"),
        (f"head -c 300 {RECORDED / 'thin_delta.xml'}", "thin_delta printed what can't be read"),
        ("kill -9 $$", "exit code -9"),
    ],
)
def test_a_failure_lets_go_of_the_metadata(double: LvmDouble, shell: str, error: str) -> None:
    says(double, shell)
    held = Note()
    with pytest.raises(SnapshotFailed, match=error):
        changed(long_id(2), long_id(3), held, run=double.run, sys=double.sys)
    assert not (double.folder / "held").exists() and not held.text


def test_a_copy_of_others_is_left_alone(double: LvmDouble) -> None:
    (double.folder / "held").write_text("31")
    held = Note()
    with pytest.raises(
        SnapshotFailed, match="another program keeps a copy of the metadata of vg0-pool-tpool"
    ) as caught:
        changed(long_id(2), long_id(3), held, run=double.run, sys=double.sys)
    assert "dmsetup message vg0-pool-tpool 0 release_metadata_snap" in caught.value.advice
    for text in ("", "vg0-pool-tpool ?", "vg0-pool-tpool 30", "-x 31"):
        held.text = text
        release_left(held, double.run)
        assert not held.text
        assert (double.folder / "held").read_text() == "31"


def test_a_copy_that_a_killed_run_left_is_let_go_of(double: LvmDouble) -> None:
    held = Note("vg0-pool-tpool 31")
    (double.folder / "held").write_text("31")
    release_left(held, double.run)
    assert not (double.folder / "held").exists() and not held.text
    (double.folder / "held").write_text("31")
    held.text = "vg0-pool-tpool 31"
    assert changed(long_id(2), long_id(3), held, run=double.run, sys=double.sys)
    assert not (double.folder / "held").exists()


def test_what_can_not_be_compared(double: LvmDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    double.add("thick")
    for pair, error in (
        ((2, 9), "one of the two thin snapshots to compare is gone"),
        ((2, 4), "vg0/before and vg0/thick are not thin volumes of one pool"),
    ):
        with pytest.raises(SnapshotFailed, match=error):
            changed(long_id(pair[0]), long_id(pair[1]), Note(), run=double.run, sys=double.sys)
    (double.sys / "block/dm-101/dm/uuid").write_text("")
    with pytest.raises(SnapshotFailed, match="the thin pool vg0/pool is not active"):
        changed(long_id(2), long_id(3), Note(), run=double.run, sys=double.sys)
    (double.bin / "thin_delta").unlink()
    monkeypatch.setattr(tool, "_PLACES", ("/bin",))
    monkeypatch.setenv("PATH", f"{double.bin}:/bin" if not Path("/bin/thin_delta").exists() else str(double.bin))
    with pytest.raises(SnapshotFailed, match="thin_delta can't be found: install lvm2 and thin-provisioning-tools"):
        changed(long_id(2), long_id(3), Note(), run=double.run, sys=double.sys)
