"""Everything that may happen to a vault, in any order: real backups and upkeep, one store call at a time."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.upkeep.vaultlife import EAGER, HOUR, LAZY, SOFT, Life

STEPS = {"at once": 0, "L/2-": 20, "L-": 41, "L+": 43, "G-": 167, "G+": 169, "15 d": 360, "61 d": 1464}  # h
WRITERS, HOSTS = st.integers(0, Life.WRITERS - 1), st.integers(0, Life.HOSTS - 1)
POINTS = st.integers(0, 30)
EDITS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=3)
ALL = 10_000
# How far an actor goes: so many calls, or to where it is about to make one that matters.
WHERE = [
    ("create", "points/"), ("create", "packs/"), ("create", "meta/"), ("create", "places/"), ("create", "ledger/"),
    ("list", "points/"), ("list", "packs/"), ("list", "meta/"), ("list", "places/"), ("list", "ledger/"),
    ("compose", ""), ("delete", "packs/"), ("delete", "points/"), ("now", ""),
]  # fmt: skip
CALLS = st.one_of(st.integers(0, 25), st.sampled_from(WHERE))
WEEKS = st.lists(st.tuples(HOSTS, st.booleans(), st.sampled_from(sorted(STEPS))), min_size=1, max_size=4)
Calls = int | tuple[str, str]
Edits = list[tuple[int, int]]
Weeks = list[tuple[int, bool, str]]  # runs: by which host, whether it moves packs, and the time before it


class Lives(RuleBasedStateMachine):
    base: Path  # folders of sources and state are made below it

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=self.base))
        self.patch = pytest.MonkeyPatch()
        self.life = Life(self.folder, self.patch)

    def teardown(self) -> None:
        try:
            self.life.converges()
        finally:
            for actor in [*self.life.busy]:
                self.life.scheduler.stop(actor)
            self.patch.undo()
            shutil.rmtree(self.folder)

    @rule(writer=WRITERS, edits=EDITS, partial=st.booleans())
    def backup(self, writer: int, edits: Edits, partial: bool) -> None:
        self.begin_backup(writer, edits, partial, False, ALL)

    @rule(writer=WRITERS, edits=EDITS, partial=st.booleans(), hangs=st.booleans(), calls=CALLS)
    def begin_backup(self, writer: int, edits: Edits, partial: bool, hangs: bool, calls: Calls) -> None:
        for path, content in edits:
            self.life.edit(writer, path, content)
        self._go(self.life.start_backup(writer, partial=partial, hangs=hangs), calls)

    @rule(weeks=WEEKS)
    def prune(self, weeks: Weeks) -> None:
        self._prune(weeks)

    @rule(
        writer=WRITERS, edits=EDITS, partial=st.booleans(), hangs=st.booleans(), calls=CALLS,
        points=st.lists(POINTS, max_size=3), weeks=WEEKS, rest=st.sampled_from([0, ALL]),
    )  # fmt: skip
    def pruned_meanwhile(
        self, writer: int, edits: Edits, partial: bool, hangs: bool, calls: Calls, points: list[int],
        weeks: Weeks, rest: int,
    ) -> None:  # fmt: skip
        """A backup waits while points are forgotten, the last ones among them, and upkeep runs."""
        self.begin_backup(writer, edits, partial, hangs, calls)
        self.forget(points, soft=False)
        self._prune(weeks)
        self.life.step(f"writer{writer}", rest)

    @rule(host=HOSTS, eager=st.booleans(), calls=CALLS, weeks=WEEKS, writer=WRITERS, edits=EDITS, to=CALLS)
    def pruned_by_another(
        self, host: int, eager: bool, calls: Calls, weeks: Weeks, writer: int, edits: Edits, to: Calls
    ) -> None:
        """A run of upkeep waits while the other host goes on, and a backup runs."""
        self.begin_prune(host, eager, calls)
        self._prune([(1 - host, eager, step) for _host, eager, step in weeks])
        self.begin_backup(writer, edits, False, False, to)
        self.life.step(f"host{host}", ALL)
        self.life.step(f"writer{writer}", ALL)

    def _prune(self, weeks: Weeks) -> None:
        for host, eager, step in weeks:
            self.life.clock.now += STEPS[step] * HOUR
            self.begin_prune(host, eager, ALL)

    @rule(host=HOSTS, eager=st.booleans(), calls=CALLS)
    def begin_prune(self, host: int, eager: bool, calls: Calls) -> None:
        self._go(self.life.start_prune(host, EAGER if eager else LAZY), calls)

    @rule(actor=POINTS, calls=st.one_of(st.just(ALL), CALLS))
    def go_on(self, actor: int, calls: Calls) -> None:
        if busy := sorted(self.life.busy):
            self._go(busy[actor % len(busy)], calls)

    def _go(self, actor: str, calls: Calls) -> None:
        if isinstance(calls, int):
            self.life.step(actor, calls)
        else:
            self.life.go_to(actor, *calls)

    @rule(actor=POINTS, after=st.booleans())
    def kill(self, actor: int, after: bool) -> None:
        if busy := sorted(self.life.busy):
            self.life.kill(busy[actor % len(busy)], after=after)

    @rule(step=st.sampled_from(sorted(STEPS)))
    def sleep(self, step: str) -> None:
        """Time passes, while some actors wait."""
        self.life.clock.now += STEPS[step] * HOUR

    @rule(points=st.lists(POINTS, min_size=1, max_size=5), soft=st.booleans())
    def forget(self, points: list[int], soft: bool) -> None:
        if names := sorted(self.life.names(), key=lambda name: -name.sequence):  # 0 is the newest
            for point in points:
                self.life.forget(names[point % len(names)], SOFT if soft else 0)

    @rule(point=POINTS, what=st.sampled_from(["undelete", "hold", "release"]))
    def change(self, point: int, what: str) -> None:
        if names := self.life.names():
            getattr(self.life, what)(names[point % len(names)])

    @rule(what=st.sampled_from(["undelete", "refuse", "allow"]))
    def store(self, what: str) -> None:
        """What the store does by itself."""
        if what == "undelete":
            self.life.disk.undelete()
        else:
            self.life.disk.refuses = what == "refuse"

    @invariant()
    def all_is_there(self) -> None:
        self.life.check()


def live(folder: Path, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        type("Lives", (Lives,), {"base": folder}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_lives(tmp_path: Path) -> None:
    live(tmp_path, 15, 25)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_lives(tmp_path: Path) -> None:
    live(tmp_path, 300, 80)
