"""Backups, forgetting, upkeep and copying in any order, with runs of copying that are stopped anywhere.

After every step each point that the copy shows is read whole; after quiet weeks the copy is what the source is.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from catalog.errors import ObjectNotFound, RpdriveError
from catalog.format.records import PointName
from catalog.prune.plan import Limits
from tests.kit.copying import Meanwhile, Pair, lose
from tests.kit.faults import StopAtStore, Stopped
from tests.kit.pruning import EAGER, World

DAYS = {"at once": 0.0, "an hour": 1 / 24, "a day": 1.0, "G-": 6.9, "G+": 7.1, "a month": 31.0, "61 d": 61.0}
FILES = st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True)
LAZY = Limits(share=2.0, small=0)
OTHER = bytes(range(64, 80))


class Histories(RuleBasedStateMachine):
    base: Path

    def __init__(self) -> None:
        super().__init__()
        self.state = Path(tempfile.mkdtemp(dir=self.base))
        self.pair = Pair(self.state)
        self.world = self.pair.world
        self.other = World(machine=OTHER, vault=self.world)
        self.meanwhile = 0
        self.world.backup(0, 1)

    def teardown(self) -> None:
        """Weeks pass in which nobody does anything but upkeep and copying."""
        try:
            for _week in range(12):
                self._prune("G+", eager=True)
                self.pair.copy()
                self._check()
            self.world.later(7.1)
            self.pair.copy()
            self.pair.copy()
            self._check()
            self.pair.check_equal()
        finally:
            shutil.rmtree(self.state)

    def _check(self) -> None:
        self.world.points.update(self.other.points)
        self.pair.check()

    @rule(files=FILES, partial=st.booleans(), publish=st.booleans(), second=st.booleans())
    def backup(self, files: list[int], partial: bool, publish: bool, second: bool) -> None:
        world = self.other if second else self.world
        self.other.now = self.world.now
        world.backup(*files, partial=partial, publish=publish)

    @rule(points=st.lists(st.integers(0, 20), max_size=3), soft=st.booleans())
    def forget(self, points: list[int], soft: bool) -> None:
        there = [name for name in self.world.vault.point_names() if name.machine == self.world.machine]
        names = {there[point % len(there)] for point in points} - {there[-1]} if there else set[PointName]()
        if names:
            self.world.forget(*names, days=14 if soft else 0)

    @rule(step=st.sampled_from(sorted(DAYS)), eager=st.booleans())
    def prune(self, step: str, eager: bool) -> None:
        self._prune(step, eager=eager)
        self._check()

    def _prune(self, step: str, *, eager: bool) -> None:
        self.world.later(DAYS[step])
        for world in (self.world, self.other):
            world.now = self.world.now
            world.prune(yes=True, limits=EAGER if eager else LAZY)

    @rule(step=st.sampled_from(sorted(DAYS)), follow=st.booleans())
    def copy(self, step: str, follow: bool) -> None:
        self.world.later(DAYS[step])
        assert self.pair.copy(follow=follow).is_clean
        self._check()
        self.pair.check_equal_but_for_what_waits()

    @rule(
        call=st.one_of(st.integers(3, 12), st.integers(1, 60)),
        after=st.booleans(),
        at_source=st.booleans(),
        follow=st.booleans(),
    )
    def stopped(self, call: int, after: bool, at_source: bool, follow: bool) -> None:
        stores = [self.world.store, self.pair.target]
        stores[not at_source] = StopAtStore(stores[not at_source], call, after=after)
        try:
            self.pair.copy(*stores, follow=follow)
        except Stopped:
            pass
        self._check()

    @rule(where=st.sampled_from(["index/", "meta/", "packs/", "places/", "points/", "q"]), files=FILES,
          what=st.sampled_from(["backup", "prune", "forget"]))  # fmt: skip
    def copied_meanwhile(self, where: str, files: list[int], what: str) -> None:
        """Something happens while the source is listed, when the listing comes to a folder."""

        def happens() -> None:
            if what == "backup":
                self.world.backup(*files, publish=True)
            elif what == "prune":
                self._prune("at once", eager=True)
            else:
                self.forget(files, False)

        assert self.pair.copy(Meanwhile(self.world, where, happens)).done.rounds
        self._check()


class Hostile(Histories):
    """The same, and somebody deletes objects at the source: what could be read in the copy once, always can be."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: set[PointName] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.state)

    @rule(kind=st.sampled_from(["packs/", "meta/", "places/", "ledger/", "points/", "index/", "machines/", ""]),
          which=st.lists(st.integers(0, 100), min_size=1, max_size=4))  # fmt: skip
    def lose(self, kind: str, which: list[int]) -> None:
        names = [name for name in self.world.memory.objects if name.startswith(kind) and name != "vault.json"]
        lose(self.world.memory, {names[n % len(names)] for n in which} if names else ())

    @rule(step=st.sampled_from(sorted(DAYS)), follow=st.booleans())
    def copy(self, step: str, follow: bool) -> None:
        self.world.later(DAYS[step])
        self.pair.copy(follow=follow)
        self._check()

    def _prune(self, step: str, *, eager: bool) -> None:
        with suppress(RpdriveError):
            super()._prune(step, eager=eager)

    def _check(self) -> None:
        self.world.points.update(self.other.points)
        try:
            vault = self.pair.opened()
        except ObjectNotFound:
            return
        for name in self.pair.visible():
            try:
                found = self.world.read(name, vault)
            except RpdriveError:
                assert name not in self.whole
                continue
            assert found == self.world.points[name]
            self.whole.add(name)


def live(machine: type[Histories], folder: Path, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        type("Histories", (machine,), {"base": folder}),
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_histories(tmp_path: Path) -> None:
    live(Histories, tmp_path, 8, 20)


def test_hostile_histories(tmp_path: Path) -> None:
    live(Hostile, tmp_path, 4, 20)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [Histories, Hostile])
def test_many_histories(tmp_path: Path, machine: type[Histories]) -> None:
    live(machine, tmp_path, 300, 50)
