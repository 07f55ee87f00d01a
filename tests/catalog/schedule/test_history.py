"""The record of runs: kills, full disks, malformed lines, and what is kept."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from catalog.schedule import history
from catalog.schedule.history import AHEAD, DAY, ROWS, History, Ran, is_alive, kept_of, new_id
from catalog.schedule.marks import Marks
from catalog.systems.this import SYSTEM

NOW = 1_793_620_800 * 10**9


def ran(number: int, **fields: object) -> Ran:
    base = Ran(id=f"{number:032x}", vault="aa", kind="backup", item="cc", started=NOW + number, outcome="completed")
    return msgspec.structs.replace(base, **fields)


def test_a_later_line_replaces_an_earlier_one(tmp_path: Path) -> None:
    here = History(tmp_path / "state")
    assert here.all() == []
    first = here.started(ran(1, outcome="x"))
    assert first.outcome == "running" and first.pid == os.getpid() and is_alive(first)
    done = msgspec.structs.replace(first, outcome="failed", error="e" * 9_999, problems=[b"\xff/" * 999] * 999)
    assert here.add(done)
    (found,) = History(tmp_path / "state").all()
    assert found.outcome == "failed" and len(found.error) == 1_000
    assert len(found.problems) == 100 and found.problems[0].startswith(b"\xff/")
    assert (tmp_path / "state" / "runs.jsonl").stat().st_mode & 0o077 == 0


def test_torn_and_malformed_lines_cost_themselves(tmp_path: Path) -> None:
    here = History(tmp_path)
    here.add(ran(1))
    path = tmp_path / "runs.jsonl"
    for junk in (
        b'{"id":"2","kind',
        b"\xff\xff\n",
        b"[]\n{}\nnull\n",
        b'{"id":"x","kind":"y","started":"z"}\n',
        b'{"id":"x","kind":"y","started":1,"machine":"../x"}\n{"id":"x","kind":"y","started":1,"item":"0"}\n',
        b'{"id":"x","kind":"y","deep":' + b"[" * 100_000 + b"\n",
        b"\0" * 99,
    ):
        path.write_bytes(path.read_bytes() + junk)
        here.add(ran(len(here.all()) + 1))
    assert [r.started - NOW for r in here.all()] == [1, 2, 3, 4, 5, 6, 7, 8]
    later = path.read_bytes() + b'{"id":"9","kind":"backup","started":5,"outcome":"purple","later":[1]}\n'
    path.write_bytes(later)
    assert here.all()[0].outcome == "purple"


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=lambda n=n: [History(tmp_path).add(ran(n * 100 + k)) for k in range(20)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(History(tmp_path).all()) == 80


def test_a_full_disk_keeps_room_for_the_ends_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = History(tmp_path)
    begun = here.started(ran(1))
    assert (tmp_path / "runs.reserve").stat().st_size >= 64 << 10
    write, full = os.fsync, [True]

    def fsync(descriptor: int) -> None:
        if full[0] and (tmp_path / "runs.reserve").exists():
            raise OSError(28, "No space left on device")
        write(descriptor)

    monkeypatch.setattr(history, "_free", lambda folder: 0)
    monkeypatch.setattr(os, "fsync", fsync)
    assert here.add(msgspec.structs.replace(begun, outcome="completed"))
    assert [r.outcome for r in here.all()] == ["completed"] and not (tmp_path / "runs.reserve").exists()

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    assert not here.add(ran(2)), "said, not raised: the job goes on"
    assert len(here.all()) == 1 and (tmp_path / "runs.jsonl").read_bytes().endswith(b"\n")


@pytest.mark.needs_root
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], check=True)
    try:
        here = History(place / "state")
        begun = here.started(ran(1))
        with (place / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(b"x" * 4096)
        assert here.add(msgspec.structs.replace(begun, outcome="completed", problems=[b"p" * 500] * 20))
        assert [r.outcome for r in History(place / "state").all()] == ["completed"]
    finally:
        subprocess.run(["umount", place], check=True)


def test_it_stays_bounded(tmp_path: Path) -> None:
    here = History(tmp_path)
    text = [b"/home/anna/a file of some length"] * 100
    for n in range(40):
        here.note(ran(n * 10 + k, problems=text) for k in range(10))
    assert (tmp_path / "runs.jsonl").stat().st_size < 700 << 10
    assert len(here.all()) == 400 and sum(bool(r.problems) for r in here.all()) < 300


def test_what_is_kept() -> None:
    rows = [ran(n) for n in range(ROWS + 50)]
    rows.append(ran(0, id="old", started=NOW - 900 * DAY, item="dd"))
    rows.append(ran(0, id="older", started=NOW - 901 * DAY, item="dd"))
    rows.append(ran(0, id="wrong", started=NOW + 900 * DAY, ahead=True))
    kept = kept_of(rows)
    ids = {r.id for r in kept}
    assert "old" in ids and "older" not in ids, "the newest success of an item stays"
    assert len(kept) == ROWS + 1 and kept == sorted(kept, key=lambda r: (r.started, r.id))
    assert rows[ROWS + 49].id in ids and rows[0].id not in ids


def test_what_is_kept_of_each_machine() -> None:
    rows = [ran(n, machine="aa" if n % 10 else "bb") for n in range(2_000)]
    kept = kept_of(rows, 30)
    assert [r.machine for r in kept].count("aa") == [r.machine for r in kept].count("bb") == 30
    assert kept[-1] == rows[-1] and rows[1_990] in kept, "the newest stay"


def test_killed_runs_and_a_clock_that_was_ahead(tmp_path: Path) -> None:
    here = History(tmp_path)
    code = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        pid = int(other.stdout.readline())
        at = {"pid": pid, "process": SYSTEM.process_start(pid), "boot": SYSTEM.boot_id(), "outcome": "running"}
        here.note([ran(1, **at), ran(2, **at | {"boot": "another"}), ran(3, **at | {"process": "1"})])
        here.add(ran(4, started=NOW + DAY))
        found = here.settle(NOW + 10)
        assert [r.outcome for r in found] == ["running", "killed", "killed", "completed"]
        assert [r.ahead for r in found] == [False, False, False, True]
    assert here.settle(NOW + 10)[0].outcome == "killed"
    assert [r.outcome for r in here.all()] == ["killed"] * 3 + ["completed"]
    size = (tmp_path / "runs.jsonl").stat().st_size
    here.settle(NOW + AHEAD)
    assert (tmp_path / "runs.jsonl").stat().st_size == size, "said once"
    assert new_id() != new_id()


def test_sleep_and_starts_of_the_machine(tmp_path: Path) -> None:
    assert Marks.read(tmp_path) == Marks()
    first = Marks().ticked(NOW, "a")
    assert first == Marks(NOW, "a", 0)
    first.write(tmp_path)
    assert Marks.read(tmp_path) == first
    minute = 60 * 10**9
    assert first.ticked(NOW + 5 * minute, "a").resumed == 0
    assert first.ticked(NOW + 20 * minute, "a").resumed == NOW + 20 * minute
    assert first.ticked(NOW + 5 * minute, "b").resumed == NOW + 5 * minute
    assert first.ticked(NOW - 5 * minute, "a").resumed == NOW - 5 * minute, "the clock was set back"
    for junk in (b"{", b'{"x":' + b"[" * 100_000):
        (tmp_path / "tick.json").write_bytes(junk)
        assert Marks.read(tmp_path) == Marks()
