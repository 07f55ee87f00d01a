"""The twin of a seed: it can be read while the disks travel, takes the increments, and is sent after them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import AccessDenied, StoreUnreachable
from catalog.seeds.disk import read_twin_file
from catalog.store.local import LocalStore
from catalog.store.memory import MemoryStore
from catalog.vault import open_vault
from tests.kit.exporting import Exporter
from tests.kit.faults import StopAtStore, Stopped
from tests.kit.recorded import PointReader, assert_equal, of_source
from tests.kit.seeding import flip
from tests.kit.vaults import PASSPHRASE

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(120)]


def assert_readable(twin: Path, source: Path, points: int) -> None:
    vault = open_vault(LocalStore(twin), passphrase=PASSPHRASE)
    names = vault.point_names()
    assert len(names) == points
    assert_equal(PointReader(vault).snapshot(vault.point(names[-1]), source), of_source(source))
    assert [machine.name for machine in vault.machines().values()] and len(vault.all_items()) == 1


def test_a_twin_takes_increments_and_is_sent_after_the_disks(
    tmp_path: Path, disks: list[Path], source: Path
) -> None:
    machine, twin = Exporter(tmp_path), tmp_path / "twin"
    machine.start(disks[1], twin=twin)
    found = read_twin_file(twin)
    assert found is not None and found.vault == machine.open()[1].id.hex()
    machine.backup(source, item="home")
    assert_readable(twin, source, 1)
    assert not machine.close().missing
    assert not (disks[1] / "seeds").exists()
    # The disks travel: the increment goes to the twin, and nothing to the vault.
    (source / "later").write_bytes(b"later" * 20_000)
    before = set(machine.memory.objects)
    second = machine.backup(source, item="home")
    assert second.problem_count == 0 and second.point is not None and second.point.sequence == 2
    assert second.progress.new == 1
    assert machine.memory.objects.keys() == before
    assert_readable(twin, source, 2)
    # The disks arrive. The seed goes on, with what the twin has beyond them; the next backup sends that.
    assert machine.bring(disks[1]).points == 1
    (source / "later").rename(tmp_path / "later")
    machine.assert_whole({"home": source})
    (tmp_path / "later").rename(source / "later")
    (source / "latest").write_bytes(b"latest")
    third = machine.backup(source, item="home")
    assert third.problem_count == 0 and third.point is not None and third.point.sequence == 3
    assert third.progress.new == 1 and third.progress.read_files == 2
    machine.assert_whole({"home": source})
    assert len(machine.visible()) == 3
    assert [name for name in machine.memory.objects if name.endswith(".ended")]
    assert machine.seed() is None
    assert any("the disks of the seed have arrived" in line for line in machine.said)


def test_a_twin_that_is_away_is_not_begun_anew(tmp_path: Path, disks: list[Path], source: Path) -> None:
    """Where its disk was mounted there is an empty folder now: nothing is stored there, and nothing sent."""
    machine, twin = Exporter(tmp_path), tmp_path / "twin"
    machine.start(disks[1], twin=twin)
    away = twin.rename(tmp_path / "away")
    twin.mkdir()
    with pytest.raises(StoreUnreachable, match=r"the twin .* is not there"):
        machine.backup(source, item="home")
    twin.rmdir()
    away.rename(twin)
    machine.backup(source, item="home")
    machine.close()
    (source / "later").write_bytes(b"later" * 20_000)
    twin.rename(away)
    for place in (None, twin):
        if place is not None:
            place.mkdir()
        with pytest.raises(StoreUnreachable, match=r"the twin .* is not there"):
            machine.backup(source, item="home")
    assert not list(twin.iterdir())
    twin.rmdir()
    away.rename(twin)
    assert machine.backup(source, item="home").problem_count == 0
    assert machine.bring(disks[1]).points == 1
    assert machine.backup(source, item="home").problem_count == 0
    machine.assert_whole({"home": source})
    assert len(machine.visible()) == 3


def test_the_twin_mends_the_disk(tmp_path: Path, disks: list[Path], source: Path) -> None:
    machine = Exporter(tmp_path)
    machine.start(disks[1], twin=tmp_path / "twin")
    machine.backup(source, item="home")
    paths = sorted(path for path in (disks[1] / "packs").rglob("*") if path.is_file())
    flip(paths[0])
    paths[1].unlink()
    assert not machine.close().missing
    assert machine.bring(disks[1]).points == 1
    machine.assert_whole({"home": source})


def test_the_twin_is_only_read(tmp_path: Path, disks: list[Path], source: Path) -> None:
    """By its address it is a copy that follows the vault: nothing but the seed writes to it."""
    machine, twin = Exporter(tmp_path), tmp_path / "twin"
    machine.start(disks[1], twin=twin)
    machine.backup(source, item="home")
    session = Session(Settings({"RPDRIVE_HOME": str(tmp_path / "another")}), vault=str(twin))
    session.passphrases.existing = lambda address: PASSPHRASE  # type: ignore[method-assign]
    vault = session.open_vault()
    assert len(vault.point_names()) == 1
    with pytest.raises(AccessDenied):
        vault.store.create("packs/x", [b""])


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("after", [False, True], ids=["not done", "done"])
def test_sending_ends_anywhere(tmp_path: Path, disks: list[Path], source: Path, after: bool) -> None:
    """The backup that sends what the twin has ends at each of its requests, and the next one goes on."""
    first, twin = Exporter(tmp_path / "first"), tmp_path / "twin"
    first.start(disks[1], twin=twin)
    first.backup(source, item="home")
    first.close()
    (source / "later").write_bytes(os.urandom(200_000))
    first.backup(source, item="home")
    assert first.bring(disks[1]).points == 1
    at = 0
    while True:
        at += 1
        memory = MemoryStore()
        memory.objects.update(first.memory.objects)
        memory._modified.update(first.memory._modified)
        machine = Exporter(tmp_path / f"{at}", memory)
        shutil.copytree(tmp_path / "first" / "home", machine.folder / "home")
        shutil.copytree(twin, machine.folder / "twin")
        shutil.rmtree(twin)
        shutil.copytree(machine.folder / "twin", twin)
        stop = StopAtStore(memory, at, after=after)
        machine.store = stop
        try:
            machine.backup(source, item="home")
        except Stopped:
            pass
        machine.store = memory
        machine.assert_whole({"home": source if len(machine.visible()) > 1 else without(source, tmp_path)})
        restored(source, tmp_path)
        assert machine.backup(source, item="home").problem_count == 0
        machine.assert_whole({"home": source})
        assert [name for name in memory.objects if name.endswith(".ended")] and len(machine.visible()) >= 3
        shutil.rmtree(machine.folder)
        if not stop.stopped:
            break
    assert at > 20


def without(source: Path, place: Path) -> Path:
    """The source as the first point has it."""
    (source / "later").rename(place / "later")
    return source


def restored(source: Path, place: Path) -> None:
    if (place / "later").exists():
        (place / "later").rename(source / "later")
