"""Pruning while backups are on their way, with the clock moved by months; and after they came, or did not."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.errors import NotFound
from catalog.prune import job as prune_job
from catalog.prune.job import Request, SeriesResult, prune
from catalog.prune.run import Context, Refused
from catalog.screen.phases import NoFollower
from catalog.seeds.record import read_seeds
from catalog.store.memory import MemoryStore
from tests.kit.exporting import Exporter
from tests.kit.pruning import DAY
from tests.kit.seeding import tmpfs

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(120)]


class Later(Exporter):
    """A machine whose vault has a clock that a test moves. It has packs that no point needs."""

    def __init__(self, folder: Path, source: Path, patch: pytest.MonkeyPatch) -> None:
        self.ahead = 0
        super().__init__(folder, MemoryStore(clock=self.now))
        patch.setattr(prune_job, "Context", functools.partial(Context, clock=self.now))
        self.backup(source, item="online")
        packs = {name for name in self.memory.objects if name.startswith(("packs/", "meta/"))}
        for name in self.visible():  # as if it was taken long ago: what it needed, nobody needs
            del self.memory.objects[name], self.memory._modified[name]
        for path in self.state.glob("*"):
            if path.name.startswith(("seen-", "index-")):
                path.unlink()
        self.dead = packs

    def now(self) -> int:
        return time.time_ns() + self.ahead

    def later(self, days: float) -> None:
        self.ahead += int(days * DAY)

    def prune(self, *, yes: bool = False, dry: bool = False) -> SeriesResult:
        session, vault = self.open()
        (result,) = prune(session, vault, Request(yes=yes, dry=dry), NoFollower())
        return result

    def pruned(self) -> set[str]:
        """The dead packs that are gone, after enough prunes that two weeks apart would remove all."""
        for _ in range(2):
            result = self.prune()
            assert result.error is None, result.error
            self.later(8)
        return self.dead - self.memory.objects.keys()


@pytest.fixture
def disk(tmp_path: Path, steps: None) -> Iterator[Path]:
    with tmpfs(tmp_path / "disk") as folder:
        yield folder


def test_nothing_goes_while_a_seed_is_open(
    tmp_path: Path, disk: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Later(tmp_path, source, monkeypatch)
    machine.start(disk)
    # It uses what lies in the vault, which nothing but the points on their way needs.
    assert machine.backup(source, item="home").progress.sent.data_bytes == 0
    before = {name: data for name, data in machine.memory.objects.items() if not name.startswith("jobs/")}
    for days in (0, 8, 40, 100):
        machine.later(days)
        for result in (machine.prune(), machine.prune(yes=True), machine.prune(dry=True)):
            assert result.error is None and result.done is None
            assert "was pruned: first backups of" in result.travels and "until they have arrived" in result.travels
    assert {name: data for name, data in machine.memory.objects.items() if not name.startswith("jobs/")} == before
    machine.close()
    assert machine.bring(disk).is_whole
    assert not {name for name in machine.pruned() if name.startswith("packs/")}
    machine.assert_whole({"home": source})


@pytest.mark.parametrize("how", ["given up", "expired"])
def test_it_goes_on_once_the_seed_is_over(
    tmp_path: Path, disk: Path, source: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    machine = Later(tmp_path, source, monkeypatch)
    machine.start(disk, expires=30 * 86_400.0)
    assert machine.backup(source, item="home").problem_count == 0
    machine.later(29)
    assert machine.prune().travels
    if how == "given up":
        machine.abandon()
    else:
        machine.later(1.1)
        with pytest.raises(NotFound, match="the seed has expired"):  # no disk is sent that nobody takes
            machine.close()
    assert machine.pruned() == machine.dead
    # What was on its way does not count any more, here or there.
    result = machine.backup(source, item="home")
    assert result.problem_count == 0 and len(machine.visible()) == 1
    assert (how == "given up") == (not any("the seed has expired" in line for line in machine.said))
    machine.assert_whole({"home": source})
    assert machine.seed() is None


def test_what_may_be_a_seed_and_does_not_open(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Later(tmp_path, source, monkeypatch)
    machine.memory.create(f"seeds/{bytes(16).hex()}", [b"junk"])
    machine.memory.create(f"seeds/{bytes(16).hex()}.ended", [b"junk"])
    machine.memory.create("seeds/readme", [b"no name of a seed"])
    result = machine.prune()
    assert isinstance(result.error, Refused) and f"seeds/{bytes(16).hex()} does not open" in str(result.error)
    assert "--yes" in result.error.advice
    for _ in range(3):
        machine.later(8)
        assert machine.prune(yes=True).done is not None
    assert not machine.dead & machine.memory.objects.keys()
    machine.later(366)  # by then, nothing on its way could count any more
    assert machine.prune().error is None


def test_an_end_that_is_none(tmp_path: Path, disk: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may create objects can give one the name of a seed's end: that ends nothing."""
    machine = Later(tmp_path, source, monkeypatch)
    machine.start(disk)
    _session, vault = machine.open()
    (name,) = [name for name in machine.memory.objects if name.startswith("seeds/")]
    machine.memory.create(f"{name}.ended", [machine.memory.objects[name]])
    assert len(read_seeds(vault, machine.now()).open) == 1
    assert machine.prune().travels


def test_it_costs_one_listing(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Later(tmp_path, source, monkeypatch)
    session, vault = machine.open()
    assert session.meter is not None
    before = session.meter.snapshot()
    assert read_seeds(vault, machine.now()) == ((), ())
    assert (session.meter.snapshot() - before).requests == 1
