"""Real backups beside an import, and after one that is incomplete."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from catalog.errors import StoreFull
from catalog.format.blocks import PackKind
from tests.kit.exporting import Exporter
from tests.kit.protected import extents_of, listed
from tests.kit.pruning import DAY
from tests.kit.seeding import WatchedStore
from tests.kit.sources import many_packs

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(120)]


def on_two_disks(machine: Exporter, disks: list[Path], source: Path, *, backups: int = 1) -> None:
    """Backups of the source, of which the last one has no room on the first disk."""
    machine.start(disks[0], names=("home",))
    if backups > 1:
        whole = source.rename(source.with_name("whole"))
        source.mkdir()
        (source / "first").write_bytes(os.urandom(200_000))
        machine.backup(source, item="home")
        whole.rename(source / "more")
    with pytest.raises(StoreFull):
        machine.backup(source, item="home")
    machine.add(disks[1])
    machine.backup(source, item="home")
    assert not machine.close().missing


def test_another_item_is_backed_up_meanwhile(tmp_path: Path, disks: list[Path], source: Path) -> None:
    """It has the same contents, and never rests on what is listed in the index and has not arrived."""
    machine, other = Exporter(tmp_path), tmp_path / "other"
    on_two_disks(machine, disks, source)
    many_packs(other)
    store, runs = machine.store, [0]

    def look() -> None:
        if watched.looked % 8 == 0:
            machine.store = store  # the backup is another process, which is not watched
            runs[0] += 1
            (other / "new").write_bytes(b"%d" % runs[0])
            assert machine.backup(other, item="other").problem_count == 0
            machine.assert_whole({"other": other, "home": source})
            machine.store = watched

    machine.store = watched = WatchedStore(store, look)
    assert machine.bring(disks[1], disks[0]).is_whole
    machine.store = store
    assert runs[0] > 2
    machine.assert_whole({"other": other, "home": source})


@pytest.mark.parametrize("lost", [0, 1])
def test_what_arrived_is_not_sent_again(tmp_path: Path, disks: list[Path], source: Path, lost: int) -> None:
    """A disk is lost: --partial, then the seed is given up, and the next backup sends what was on that disk only.

    Packs that came last to a disk may be listed by an index object on the next one: they are sent again without it.
    """
    machine = Exporter(tmp_path)
    on_two_disks(machine, disks, source, backups=2)
    result = machine.bring(disks[1 - lost], partial=True)
    assert not result.is_whole and not machine.visible()
    _session, vault = machine.open()
    in_index = listed(vault)
    packs = extents_of(vault, PackKind.DATA).values()
    arrived = {extent.id for rows in packs for extent in rows if extent.pack in in_index}
    machine.abandon()
    before = set(machine.memory.objects)
    assert machine.backup(source, item="home").problem_count == 0
    machine.assert_whole({"home": source})
    chunks = Counter(extent.id for rows in extents_of(vault, PackKind.DATA).values() for extent in rows)
    assert arrived and all(chunks[one] == 1 for one in arrived) and set(chunks) > set(arrived)
    assert [name for name in set(machine.memory.objects) - before if name.startswith("packs/")]


def test_what_comes_to_a_twin_after_its_import_is_sent(tmp_path: Path, disks: list[Path], source: Path) -> None:
    """A backup ran beside the import, or an older copy of the twin was imported: no point of it is lost."""
    machine, twin = Exporter(tmp_path), tmp_path / "twin"
    machine.start(disks[1], twin=twin)
    machine.backup(source, item="home")
    machine.close()
    (source / "second").write_bytes(b"second")
    machine.backup(source, item="home")
    shutil.copytree(twin, tmp_path / "older")
    (source / "third").write_bytes(b"third")
    third = machine.backup(source, item="home").point
    assert third is not None and third.sequence == 3
    result = machine.bring(tmp_path / "older")
    assert result.ends and result.points == 2
    (source / "fourth").write_bytes(b"fourth")
    fourth = machine.backup(source, item="home")
    assert fourth.point is not None and fourth.point.sequence == 4 and fourth.problem_count == 0
    assert len(machine.visible()) == 4 and third.id.hex() in machine.visible()[2]
    machine.assert_whole({"home": source})


def test_what_comes_to_a_twin_long_after_its_import_is_not(
    tmp_path: Path, disks: list[Path], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prune goes on once a seed has ended: what an old point refers to may be on its way out."""
    machine, twin = Exporter(tmp_path), tmp_path / "twin"
    machine.start(disks[1], twin=twin)
    machine.backup(source, item="home")
    machine.close()
    shutil.copytree(twin, tmp_path / "older")
    (source / "second").write_bytes(b"second")
    machine.backup(source, item="home")
    assert machine.bring(tmp_path / "older").points == 1
    monkeypatch.setattr(machine.memory, "_clock", lambda: time.time_ns() + 8 * DAY)
    assert machine.backup(source, item="home").problem_count == 0
    assert len(machine.visible()) == 2
    machine.assert_whole({"home": source})
