"""What the ledger says of an item's points counts for the backup after them. Ledgers are written by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from backup.lineage import FAR
from backup.run import Result
from catalog.errors import MissingData
from catalog.format.admins import open_admin
from catalog.format.ledger import ForgottenRow, GoneRow, How, PastRow, ledger_folder
from catalog.format.numbers import written_number
from catalog.format.records import Point, PointName
from catalog.ledger.records import Ledger, Ledgers
from catalog.store.memory import MemoryStore
from catalog.store.wrapper import Request
from tests.backup.test_evidence import Acting, at_first
from tests.backup.test_places import Kept
from tests.backup.test_requests import BEGINNING, COMMIT, Asked
from tests.kit.recorded import assert_equal, of_source

NOW = 1_790_000_000 * 10**9


class World:
    """A machine with two points of a small source. The store's clock stands still, unless it is moved."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.memory = MemoryStore(clock=lambda: self.now)
        self.machine = Kept(self.memory, folder / "state")
        self.source = folder / "source"
        self.source.mkdir()
        rng = random.Random(1)
        for n in range(8):
            (self.source / f"f{n}").write_bytes(rng.randbytes(2_000))
        self.first, self.second = self.point(), self.point()
        self.key = self.first.machine, self.first.item

    def point(self) -> Point:
        point = self.machine.checked(self.source).point
        assert point is not None
        return point

    def change(self, change: Callable[[Ledger], Ledger]) -> None:
        vault = self.machine.vault
        admin = vault.file.admins[0]
        signer = admin, open_admin(vault.keys, admin)
        Ledgers(vault, *self.key).change(*self.key, change, signer, NOW)

    def forget(self, *points: Point) -> None:
        rows = [ForgottenRow(p.id, p.sequence, NOW, NOW, How.BY_HAND, "", "") for p in points]
        self.change(lambda ledger: ledger.forget(rows))

    def take(self, *points: Point) -> None:
        """Call points gone; their objects stay, as if the store had refused to delete them."""
        rows = {p.id: GoneRow(p.id, p.sequence, NOW, How.BY_HAND, "") for p in points}
        self.change(lambda ledger: ledger._replace(gone={**ledger.gone, **rows}))

    def remove(self, *points: Point) -> None:
        for point in points:
            del self.memory.objects[str(PointName.of(point))]

    def lose_state(self) -> None:
        """Notes and mirror are gone; the machine is known by its name."""
        for path in (*self.machine.state.glob("index-*"), *self.machine.state.glob("seen-*")):
            path.unlink()

    def backup(self, act: Callable[[Request], object] = lambda request: None, problems: int = 0) -> Result:
        """A backup during which `act` is called before each request. Its point equals the source."""
        self.machine.store = Acting(self.memory, act)
        try:
            outcome = self.machine.backup(self.source)
        finally:
            self.machine.store = self.memory
        assert outcome.problem_count == problems and outcome.point is not None, outcome.problems
        assert_equal(self.machine.snapshot(outcome.point, self.source), of_source(self.source))
        return outcome


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def sequences(outcome: Result) -> tuple[int, int]:
    """Those of the parent, 0 if there is none, and of the point."""
    assert outcome.point is not None
    return outcome.previous.sequence if outcome.previous else 0, outcome.point.sequence


def looks(requests: list[Request]) -> int:
    """How often the item's points were listed."""
    return sum(r.kind == "list" and r.name.startswith("points/") for r in requests)


def test_a_point_that_is_gone_is_no_parent(world: World) -> None:
    """Though it is listed. A run that knows of no ledger sees it at its end, and starts over."""
    requests: list[Request] = []
    world.take(world.second)
    outcome = world.backup(requests.append)
    assert outcome.point is not None
    assert (sequences(outcome), outcome.point.previous) == ((1, 3), world.first.id)
    assert looks(requests) == 4, "two attempts"
    world.take(outcome.point)
    requests.clear()
    assert sequences(world.backup(requests.append)) == (1, 4)
    assert looks(requests) == 2, "at the start, and before the point"


def test_a_point_that_goes_while_the_backup_runs(world: World) -> None:
    """The ledger names it before its object is deleted, if that ever is."""
    (world.source / "new").write_bytes(b"new")
    assert sequences(world.backup(at_first("create", "meta/", lambda: world.take(world.second)))) == (1, 3)


def test_a_partial_point_looks_too(world: World) -> None:
    """The parent goes before the first partial point, which would otherwise lead to what only the parent kept."""
    world.machine.partial_seconds = 0.0
    for n in range(600):
        (world.source / f"more-{n}").write_bytes(b"%d" % n)
    seen: list[bool] = []

    def act(request: Request) -> None:
        if request.kind == "create" and request.name.startswith("meta/") and not seen:
            seen.append(True)
            world.take(world.second)

    world.backup(act)
    vault = world.machine.vault
    partial = vault.points([name for name in vault.point_names(partial=True) if name.partial])
    assert partial and all(point.previous == world.first.id for point in partial)


def test_all_points_are_gone(world: World) -> None:
    world.take(world.first, world.second)
    outcome = world.backup()
    assert sequences(outcome) == (0, 3)
    assert outcome.progress.sent.new_bytes == 0, "the chunks are still there"


def test_a_forgotten_point_is_no_parent_of_a_new_run(world: World) -> None:
    """One that is forgotten while a run compares with it may stay its parent: upkeep has still marked it."""
    assert sequences(world.backup(at_first("list", "places/", lambda: world.forget(world.second)))) == (2, 3)
    third = max(world.machine.vault.points(world.machine.vault.point_names()), key=lambda p: p.sequence)
    world.forget(third)
    assert sequences(world.backup()) == (1, 4)


def test_numbers_that_only_the_ledger_knows(world: World) -> None:
    """The newest points went, and the state of the machine is lost: their numbers are not given again."""
    world.change(lambda ledger: ledger._replace(past=(PastRow(3, 7, NOW, [5]),)))
    world.lose_state()
    assert sequences(world.backup()) == (2, 8)


@pytest.mark.parametrize("how", ["forget", "take"])
def test_the_numbers_of_all_its_rows_count(world: World, how: str) -> None:
    getattr(world, how)(world.second)
    world.remove(world.second)
    world.lose_state()
    assert sequences(world.backup()) == (1, 3)


def test_a_number_that_comes_into_the_ledger_while_the_backup_runs(world: World) -> None:
    """A clone's point came and went meanwhile, or was brought back and forgotten."""
    row = PastRow(3, 4, NOW, [2])

    def note() -> None:
        world.change(lambda ledger: ledger._replace(past=(row,)))

    assert sequences(world.backup(at_first("list", "places/", note))) == (2, 5)


def test_a_number_in_the_ledger_that_is_far_above_all_others(world: World) -> None:
    """Somebody forgot a forged point: its number would use up all numbers."""
    forged = ForgottenRow(bytes(16), 2**63 - 1, NOW, NOW, How.BY_HAND, "", "")
    past = PastRow(3, 5, NOW, [3]), PastRow(FAR * 2, FAR * 2, NOW, [1])
    world.change(lambda ledger: ledger.forget([forged])._replace(past=past))
    assert sequences(world.backup()) == (2, 6)


def test_a_late_point_whose_number_is_gone(world: World) -> None:
    """Its request hung; a clone gave the same number meanwhile, to a point that went. Its writer says so."""

    def late() -> None:
        world.now += 8 * 24 * 3600 * 10**9
        world.change(lambda ledger: ledger._replace(past=(PastRow(3, 3, NOW, [1]),)))

    with pytest.raises(MissingData, match="can't be relied on"):
        world.backup(at_first("create", "points/", late))
    assert sequences(world.backup()) == (2, 4)


def test_a_ledger_that_nobody_signed(world: World) -> None:
    """Whoever makes backups can take numbers. A backup then relies on no point, and is whole."""
    for n in range(1, 102):
        world.memory.objects[ledger_folder(*world.key) + written_number(n)] = b"junk"
    outcome = world.backup(problems=1)
    assert sequences(outcome) == (0, 3) and "still count" in outcome.problems[0].reason
    assert outcome.progress.read_files == 8 and outcome.progress.sent.new_bytes == 0


def test_a_few_forged_ledgers_are_passed_over(world: World) -> None:
    world.take(world.second)
    for n in range(2, 20):
        world.memory.objects[ledger_folder(*world.key) + written_number(n)] = b"junk"
    assert sequences(world.backup()) == (1, 3)


def test_the_requests_of_a_machine_that_has_a_ledger(world: World) -> None:
    """One listing at the start, too, and each ledger once."""
    world.forget(world.second)
    world.backup()
    store = world.machine.store = Asked(world.memory)
    world.machine.backup(world.source)
    asked = [row for row in store.asked if row[0] != "read"]
    ledger = [("list", "ledger"), ("get", "ledger")]
    assert asked == BEGINNING[:-1] + ledger + BEGINNING[-1:] + COMMIT
