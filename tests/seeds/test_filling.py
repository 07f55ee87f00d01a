"""Backups that go to the disks of a seed, and come to the vault with them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from catalog.errors import ItemTravels, LocalError, NotFound, StoreFull, UsageError
from catalog.seeds import outbound
from catalog.seeds.disk import read_list, read_seed_file
from catalog.seeds.ending import abandon
from catalog.seeds.local import seed_folder
from catalog.seeds.record import read_seeds
from catalog.seeds.starting import Wish
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from tests.kit.exporting import Exporter
from tests.kit.sources import many_packs

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(120)]


def names_on(disk: Path) -> list[str]:
    file = read_seed_file(disk)
    assert file is not None
    return [row.name for row in read_list(disk / "objects.jsonl", file.row)]


def test_a_backup_larger_than_a_disk_travels_on_two(tmp_path: Path, disks: list[Path], source: Path) -> None:
    machine = Exporter(tmp_path)
    machine.start(disks[0])
    with pytest.raises(StoreFull, match="disks of the seed are full"):
        machine.backup(source, item="home")
    on_first = {p.relative_to(disks[0]).as_posix() for p in (disks[0] / "packs").rglob("*") if p.is_file()}
    assert len(on_first) > 1
    assert machine.add(disks[1]) == 2
    result = machine.backup(source, item="home")
    assert result.problem_count == 0
    assert not machine.visible()
    assert not [name for name in machine.memory.objects if name.startswith(("packs/", "meta/", "index/", "jobs/"))]
    done = machine.close()
    assert not done.missing and [disk.number for disk in done.disks] == [1, 2]
    assert on_first <= set(names_on(disks[0]))  # what was stored was not sent again
    last = names_on(disks[1])
    assert last[-1].endswith(".ended") and sum(name.startswith("points/") for name in last) == 1
    assert not [name for name in names_on(disks[0]) if not name.startswith(("packs/", "meta/", "index/"))]
    with pytest.raises(ItemTravels, match="is travelling on disks"):
        machine.backup(source, item="home")
    brought = machine.bring(*disks)
    assert brought.is_whole and brought.points == 1
    machine.assert_whole({"home": source})
    # The next backup goes into the vault, and stores nothing anew.
    (source / "new").write_bytes(b"new")
    machine.store = meter = MeteredStore(machine.memory, log=True)
    again = machine.backup(source, item="home")
    assert again.problem_count == 0 and again.progress.new == 1 and again.progress.sent.data_bytes < 1000
    assert meter.log and not [
        r for r in meter.log if r.name.startswith("index/") and r.kind != "create"
    ]  # the mirror came along
    machine.store = machine.memory
    assert again.point is not None and again.point.sequence == 2
    assert any("the seed has arrived" in line for line in machine.said)
    machine.assert_whole({"home": source})


def test_it_is_as_if_it_was_made_online(tmp_path: Path, disks: list[Path], source: Path) -> None:
    seeded, online = Exporter(tmp_path / "seeded"), Exporter(tmp_path / "online")
    online.memory.objects.clear()
    start = MemoryStore()
    start.objects.update(seeded.memory.objects)
    start._modified.update(seeded.memory._modified)
    online = Exporter(tmp_path / "online", start)
    seeded.start(disks[1])
    results = [machine.backup(source, item="home") for machine in (seeded, online)]
    seeded.close()
    assert seeded.bring(disks[1]).is_whole
    points = [result.point for result in results]
    assert points[0] is not None and points[1] is not None and points[0].root and points[1].root
    assert points[0].totals == points[1].totals
    assert points[0].root.length == points[1].root.length and points[0].fresh_blocks == points[1].fresh_blocks
    assert chunks_of(seeded) == chunks_of(online)
    seeded.assert_whole({"home": source})


def chunks_of(machine: Exporter) -> list[bytes]:
    from catalog.format.blocks import PackKind
    from tests.kit.protected import extents_of

    _session, vault = machine.open()
    return sorted(extent.id for extents in extents_of(vault, PackKind.DATA).values() for extent in extents)


def test_other_items_go_into_the_vault_meanwhile(tmp_path: Path, disks: list[Path], source: Path) -> None:
    machine = Exporter(tmp_path)
    other = tmp_path / "other"
    many_packs(other)  # the same contents: it must not rest on what is on the disk
    machine.start(disks[1], names=("home",))
    machine.backup(source, item="home")
    assert machine.backup(other, item="other").problem_count == 0
    machine.assert_whole({"other": other})
    assert len(machine.visible()) == 1
    machine.close()
    (other / "new").write_bytes(os.urandom(70_000))
    assert machine.backup(other, item="other").problem_count == 0
    assert machine.bring(disks[1]).is_whole
    # The mirror of the vault learns of what has come: nothing of it is strange.
    (other / "newer").write_bytes(os.urandom(70_000))
    assert machine.backup(other, item="other").problem_count == 0
    machine.assert_whole({"home": source, "other": other})
    assert machine.backup(source, item="home").problem_count == 0
    assert machine.backup(other, item="other").problem_count == 0
    machine.assert_whole({"home": source, "other": other})


def test_given_up_then_backed_up(tmp_path: Path, disks: list[Path], source: Path) -> None:
    machine = Exporter(tmp_path)
    machine.start(disks[1])
    machine.backup(source, item="home")
    machine.close()
    machine.bring(disks[1], partial=True)
    arrived = {name for name in machine.memory.objects if name.startswith("packs/")}
    assert arrived and not machine.visible()
    machine.abandon()
    assert machine.seed() is None
    result = machine.backup(source, item="home")
    assert result.problem_count == 0 and result.point is not None and result.point.sequence == 1
    assert {name for name in machine.memory.objects if name.startswith("packs/")} == arrived  # it used them
    machine.assert_whole({"home": source})
    with pytest.raises(UsageError, match="no seed of this machine"):
        machine.abandon()


def test_what_is_said(tmp_path: Path, disks: list[Path], source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Exporter(tmp_path)

    def said() -> str:
        return capsys.readouterr().out

    outbound.start_seed(*machine.open(), Wish(disks[1], tmp_path / "twin", label="red"), as_json=False)
    assert "go to disk 1 (red)" in said()
    outbound.show_status(*machine.open(), as_json=False)
    text = said()
    assert "open: backups go to its disks" in text and "disk 1 (red): 0 objects, 0 B, connected at" in text
    machine.backup(source, item="home")
    outbound.add_one(*machine.open(), disks[0], "blue", as_json=True)
    assert json.loads(said())["disk"]["number"] == 2
    disks[1].joinpath("seed.json").rename(disks[1] / "away")
    assert outbound.close_seed(*machine.open(), as_json=False) == 3
    assert "connect disk 1 (red), then run `rpdrive seed close` again" in said()
    disks[1].joinpath("away").rename(disks[1] / "seed.json")
    assert outbound.close_seed(*machine.open(), as_json=True) == 0
    assert json.loads(said())["closed"]
    outbound.show_status(*machine.open(), as_json=False)
    text = said()
    assert "closed: its disks may travel" in text and "2 of 2 missing in the vault" in text and "twin: " in text
    machine.bring(*disks)
    outbound.show_status(*machine.open(), as_json=True)
    row = json.loads(said())["seed"]
    assert row["items"] and all(disk["arrived"] == disk["objects"] > 0 for disk in row["disks"]), row
    assert not row["ended"] and not row["expired"]  # the twin has the end
    outbound.abandon_seed(*machine.open(), as_json=False)
    assert "is given up" in said()
    outbound.show_status(*machine.open(), as_json=True)
    assert json.loads(said()) == {"seed": None}


def test_a_seed_of_a_machine_that_is_lost(tmp_path: Path, disks: list[Path], source: Path) -> None:
    """Its disks do not come, and nothing is pruned: another machine gives it up, or one that lost its state."""
    machine = Exporter(tmp_path)
    machine.start(disks[1])
    _session, vault = machine.open()
    (name,) = [one.name for one in vault.machines().values()]
    another = Exporter(tmp_path / "another", machine.memory)
    with pytest.raises(UsageError, match="no seed of this machine"):
        abandon(*another.open())
    with pytest.raises(NotFound):
        abandon(*another.open(), "nobody")
    assert abandon(*another.open(), name).seeds and not read_seeds(vault, time.time_ns()).open
    assert machine.backup(source, item="home").problem_count == 0 and len(machine.visible()) == 1
    assert any("the seed was given up" in line for line in machine.said)
    machine.start(disks[0] / "again")
    (seed_folder(machine.state, vault) / "seed.sqlite").write_bytes(b"no database" * 500)
    with pytest.raises(LocalError, match="state of the seed"):
        machine.backup(source, item="home")
    assert abandon(*machine.open()).seeds
    assert machine.backup(source, item="home").problem_count == 0
