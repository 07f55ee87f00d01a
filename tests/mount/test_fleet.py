"""The drive of all points of 2,000 machines with 10,000 points each: it costs what is looked at."""

from __future__ import annotations

import errno
import os
import platform
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from cache.reader import Reader
from catalog.errors import NotFound
from catalog.format.blocks import Buffer
from mount.drivers.kernel.connection import Connection
from mount.drivers.kernel.listings import KEPT
from mount.view import listings
from mount.view.all_points import AllPointsView
from mount.view.listings import Listings
from mount.view.nodes import Folder
from mount.view.numbers import ManyNumbers, Numbers
from mount.view.versions import ALL_VERSIONS, RECENT, VERSIONS
from tests.kit.drives import Maker, eventually
from tests.kit.made.drive import MadeDrive
from tests.kit.made.fleet import START, Fleet
from tests.kit.made.make import make
from tests.kit.made.shape import HOUR, machine_id

MACHINES, POINTS = 2000, 10_000


def names(folder: object) -> list[bytes]:
    assert isinstance(folder, Folder)
    return [name for page in folder.pages() for name in page.names]


def find(view: AllPointsView, *path: bytes) -> Folder:
    node = view.root
    for name in path:
        found = node.lookup(name)
        assert isinstance(found, Folder)
        node = found
    return node


def drive_of(folder: Path, machines: int, points: int, kept: int = KEPT) -> MadeDrive:
    end = START + (points - 1) * HOUR
    vault = make(folder / "vault", machines=machines, points=points, folders=0, end=end, interval=HOUR)
    vault.close()
    return MadeDrive(folder / "home", vault.url, kept=kept)


@pytest.mark.needs_fuse
def test_a_drive_of_twenty_million_points_costs_what_is_looked_at(tmp_path: Path) -> None:
    with drive_of(tmp_path, MACHINES, POINTS) as drive:
        top = drive.folder
        assert drive.mounting.requests["get machines"] == MACHINES
        machines = sorted(os.listdir(top))
        assert (len(machines), machines[0], machines[-1]) == (MACHINES, "machine-00000", "machine-01999")
        subprocess.run(["ls", "-l", top], stdout=subprocess.DEVNULL, check=True)
        assert drive.took().requests == {}  # all that the top needs was asked for when it was mounted
        assert os.listdir(top / "machine-00007") == ["root"]
        # two pages of names, and one of ledgers; the record of the newest point, for the item's name
        assert drive.took().requests == {"get points": 1, "list ledger": 1, "list points": 2}
        item = top / "machine-00007" / "root"
        rows = subprocess.run(["ls", "-lA", item], capture_output=True, text=True, check=True).stdout.splitlines()
        assert len(rows) == 1 + POINTS + 3
        assert drive.took().requests == {}
        first, *_, before_last, last = sorted(os.listdir(item))[2:-1]
        assert os.readlink(item / "latest") == last and first < before_last
        assert (item / first).stat().st_mtime_ns == START
        assert drive.took().requests == {}
        assert os.listdir(item / before_last) == []
        assert drive.took().requests == {"get points": 1}
        assert os.listdir(item / ".versions") == []
        assert drive.took().requests == {
            "get points": RECENT - 2
        }  # those of the last point and of the one before were read


def test_a_drive_of_one_machine_reads_no_record_of_others() -> None:
    fleet = Fleet(50, 10)
    vault, before = fleet.opened(), fleet.meter.snapshot()
    view = AllPointsView(vault, Reader(vault), machine_id(7))
    assert names(view.root) == [b"machine-00007"]
    assert (fleet.spent(before).list.requests, fleet.spent(before).get.requests) == (1, 1)


def test_what_is_new_is_listed_by_its_month(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(2, POINTS)
    machine, now = machine_id(1), START + POINTS * HOUR
    monkeypatch.setattr(listings, "WHOLE", 1e12)
    points = Listings(
        fleet.opened(), None, lambda _names: None, fresh=1e-9, after_failure=1e-9, clock=lambda: now / 10**9
    )
    whole = points.of(machine)
    assert [len(some) for some in whole.items.values()] == [POINTS]
    before = fleet.meter.snapshot()
    assert points.of(machine) is whole
    month = fleet.spent(before)
    assert month.requests == month.list.requests <= 2  # of its two pages of all names, and that of ledgers: none
    fleet.store.create(str(new := fleet.point(1, POINTS)), [b"its record"])
    for gone in (POINTS - 3, 5):
        fleet.store.delete(str(fleet.point(1, gone)))
    again = points.of(machine)
    assert new in again.names and fleet.point(1, POINTS - 3) not in again.names
    assert fleet.point(1, 5) in again.names  # of an old month: until all are listed again, within a minute
    assert again.names == sorted(again.names, key=lambda n: n.sequence) and len(again.names) == POINTS
    monkeypatch.setattr(listings, "WHOLE", 0)
    last = points.of(machine)
    assert fleet.point(1, 5) not in last.names and len(last.names) == POINTS - 1


@pytest.mark.needs_fuse
def test_the_kernel_forgets_points_that_nobody_uses(tmp_path: Path) -> None:
    if tuple(map(int, platform.release().split(".")[:2])) < (6, 18):
        pytest.skip("this kernel can't be asked to forget")
    with drive_of(tmp_path, 10, 1000, kept=2000) as drive:
        held = drive.folder / "machine-00000" / "root" / "latest"
        item = held.parent
        subprocess.run(["ls", "-l", item], stdout=subprocess.DEVNULL, check=True)
        oldest = sorted(os.listdir(item))[1]
        place = os.open(item / oldest, os.O_PATH | os.O_DIRECTORY)
        try:
            for n in range(1, 10):
                subprocess.run(
                    ["ls", "-l", drive.folder / f"machine-{n:05d}" / "root"], stdout=subprocess.DEVNULL, check=True
                )
            eventually(lambda: drive.nodes <= 2500, "the kernel forgets")
            # What is in use is where it was, and what was forgotten is found again, with the same number.
            assert os.readlink(f"/proc/self/fd/{place}") == str(item / oldest)
            assert os.listdir(place_of := f"/proc/self/fd/{place}") == []
            assert os.stat(place_of).st_ino == (item / oldest).stat().st_ino
            assert len({path.stat().st_ino for path in item.iterdir()}) == 1000 + 1  # `latest` leads to one of them
        finally:
            os.close(place)


def test_a_kernel_that_cannot_forget_is_asked_once() -> None:
    sent = list[int]()

    def refuse(parts: Sequence[Buffer]) -> None:
        sent.append(len(parts))
        raise OSError(errno.EINVAL, "no such notice")

    assert not Connection(refuse).prune([1 << 33 | 1, 2 << 33 | 1])
    assert sent == [3]


@pytest.mark.needs_fuse
@pytest.mark.soak
@pytest.mark.unmeasured
def test_memory_of_a_drive_where_much_is_looked_at(tmp_path: Path) -> None:
    """Some 520 bytes for each point that the kernel knows, measured; where it can forget some, they are few."""
    with drive_of(tmp_path, MACHINES, POINTS) as drive:
        for n in range(40):
            item = drive.folder / f"machine-{n:05d}" / "root"
            subprocess.run(["ls", "-l", item], stdout=subprocess.DEVNULL, check=True)
            if n < 3:
                subprocess.run("ls */", shell=True, cwd=item, stdout=subprocess.DEVNULL, check=True)
                os.listdir(item / ".all-versions")
        assert drive.took().memory < 400  # MiB


@pytest.mark.parametrize(("at", "months"), [(0, 2), (86_400, 2), (2.5 * 86_400, 1), (31 * 86_400 - 1800, 2)])
def test_months_of_new_points(at: float, months: int) -> None:
    """A backup that began two days ago may store its point now; the clock of a machine may be ahead."""
    fleet = Fleet(1, 5001)
    december = 1_764_547_200  # 2025-12-01
    points = Listings(
        fleet.opened(), None, lambda _names: None, fresh=1e-9, after_failure=1, clock=lambda: december + at
    )
    points.of(machine_id(0))
    assert len(points._months()) == months
    assert points._months()[-1].end > (december + at) * 10**9


def test_versions_are_those_of_the_newest_points_where_there_are_many() -> None:
    fleet = Fleet(1, RECENT + 500)
    maker = Maker(fleet.vault)
    roots = [maker.root([maker.folder(b"f", [maker.file(b"a.txt", b"%d" % n)])]) for n in range(3)]
    fleet.store.give_trees(roots, 500)  # as many points of each
    vault = fleet.opened()
    view = AllPointsView(vault, Reader(vault), fresh=1e6)
    item = find(view, b"machine-00000", b"root")
    days = names(item)[: RECENT + 500]
    assert names(item)[RECENT + 500 :] == [b"latest", VERSIONS, ALL_VERSIONS]
    before = fleet.meter.snapshot()
    recent = names(find(view, b"machine-00000", b"root", VERSIONS, b"f", b"a.txt"))
    assert recent == [days[500] + b".txt", days[1000] + b".txt"]
    spent = fleet.spent(before)
    assert spent.get.requests == RECENT - 1 and spent.read.requests == 2  # trees: a block for each state
    before = fleet.meter.snapshot()
    whole = find(view, b"machine-00000", b"root", ALL_VERSIONS, b"f", b"a.txt")
    assert names(whole) == [days[0] + b".txt", *recent]
    spent = fleet.spent(before)
    assert spent.get.requests == 500 and spent.read.requests == 1
    assert view.origin(b"machine-00000/root/.all-versions/f/a.txt/" + recent[0]).point.sequence == 501  # type: ignore[union-attr]
    inodes = {find(view, b"machine-00000", b"root", v, b"f").attributes.inode for v in (VERSIONS, ALL_VERSIONS)}
    assert len(inodes) == 2


def test_few_points_have_no_second_folder_of_versions() -> None:
    fleet = Fleet(1, RECENT)
    view = AllPointsView(fleet.vault, Reader(fleet.vault), fresh=1e6)
    item = find(view, b"machine-00000", b"root")
    assert names(item)[-2:] == [b"latest", VERSIONS]
    with pytest.raises(NotFound):
        item.lookup(ALL_VERSIONS)
    with pytest.raises(NotFound):
        view.origin(b"machine-00000/root/.all-versions/f")


def test_versions_that_nobody_uses_are_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mount.view.all_points._HISTORIES", 50)
    fleet = Fleet(6, 20)
    maker = Maker(fleet.vault)
    fleet.store.give_trees([maker.root([maker.node(b"a.txt", content=[])])])
    view = AllPointsView(fleet.vault, Reader(fleet.vault), fresh=1e6)
    tops = [find(view, b"machine-%05d" % m, b"root", VERSIONS) for m in range(6)]
    shown = [(top.attributes, names(top), top.lookup(b"a.txt").attributes) for top in tops]
    for m in range(6):
        find(view, b"machine-%05d" % m, b"root", VERSIONS)
    assert sum(history.size for history in view._histories.values()) <= 50
    # A folder of one that was freed is still there for whoever has it.
    assert [(top.attributes, names(top), top.lookup(b"a.txt").attributes) for top in tops] == shown


def test_many_numbers_are_given_as_few_are() -> None:
    rng, few, many = random.Random(1), Numbers[bytes](1, (1 << 31) - 1), ManyNumbers(b"secret")
    keys = [rng.randbytes(8) for _ in range(300)]
    wanted = {key: rng.choice((0, 1, 5, (1 << 31) - 1, 1 << 31, rng.randrange(1 << 32))) for key in keys}
    for _ in range(2):
        assert [many.of(key, wanted[key]) for key in keys] == [few.of(key, wanted[key]) for key in keys]
