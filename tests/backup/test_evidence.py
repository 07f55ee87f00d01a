"""A writer refers only to what the vault has, by the store's clock, and looks again before each point."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backup import attempt, files, pipeline
from backup.evidence import AGE
from backup.run import Result
from catalog.access.damage import DamagedPacks
from catalog.errors import LocalError, MissingData, ObjectNotFound, TooLate
from catalog.format.blocks import PackKind, encode_frame
from catalog.format.packs import PackBuilder, pack_name
from catalog.format.records import IndexedPack, IndexObject, Point, PointName, encode_record
from catalog.format.sealed import Kind, seal_object
from catalog.points.seen import Seen
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.throttled import ThrottledStore
from catalog.store.wrapper import Request, StoreWrapper, T
from catalog.throttle import gate
from catalog.throttle.rates import Limits
from tests.kit.faults import StopAtStore, Stopped
from tests.kit.protected import Protected, extents_of, vault_on
from tests.kit.recorded import PointReader, assert_equal, of_source
from tests.throttle.world import Recorded

HOUR = 3600 * 10**9


class Clock:
    """The store's clock. It stands still unless it is moved; the machine's own clock is left alone."""

    def __init__(self) -> None:
        self.now = 1_790_000_000 * 10**9

    def __call__(self) -> int:
        return self.now


class Acting(StoreWrapper):
    """Calls `act` before each request; what that does to the store, the request sees."""

    def __init__(self, inner: Store, act: Callable[[Request], object]) -> None:
        super().__init__(inner)
        self.act = act

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        self.act(request)
        return call()


class World:
    """A machine, its vault with a clock, and a source: small files, and one of many pieces."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.memory = MemoryStore(clock=self.clock)
        self.machine = Protected(self.memory, folder / "state")
        self.source = folder / "source"
        rng = random.Random(1)
        for name in ("a", "b", "c"):
            (self.source / name).mkdir(parents=True)
            for n in range(8):
                (self.source / name / f"f{n}").write_bytes(rng.randbytes(3_000))
        (self.source / "d").mkdir()
        (self.source / "d" / "paged").write_bytes(rng.randbytes(400_000))

    def checked(self, problems: int = 0) -> Result:
        return self.machine.checked(self.source, problems=problems)

    def acting(self, act: Callable[[Request], object], problems: int = 0) -> Result:
        """A backup during which `act` is called before each request. Its point must be whole."""
        self.machine.store = Acting(self.memory, act)
        try:
            outcome = self.machine.backup(self.source)
        finally:
            self.machine.store = self.memory
        assert outcome.problem_count == problems, outcome.problems
        assert outcome.point is not None
        assert_equal(self.machine.snapshot(outcome.point, self.source), of_source(self.source))
        return outcome

    def packs(self, kind: PackKind = PackKind.DATA) -> list[str]:
        return [name for name in self.memory.objects if name.startswith(f"{kind.folder}/")]

    def remove(self, *names: str) -> None:
        for name in names:
            del self.memory.objects[name]

    def lose_mirror(self) -> None:
        for path in self.machine.state.glob("index-*"):
            path.unlink()

    def machine_id(self) -> bytes:
        return next(iter(self.machine.vault.machines()))

    def points(self, *, partial: bool = False) -> list[Point]:
        vault = self.machine.vault
        return vault.points(vault.point_names(partial=partial))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Small packs and pieces, so that a small source has many; 400 KB are more pieces than an entry holds."""
    monkeypatch.setattr(pipeline, "PACK_TARGET", 60_000)
    monkeypatch.setattr(pipeline, "BLOCK_RAW", 10_000)
    limits = (("SMALL_FILE", 1 << 14), ("CUT_MIN", 1 << 12), ("CUT_AVERAGE", 1 << 13), ("CUT_MAX", 1 << 14))
    for name, value in limits:
        monkeypatch.setattr(files, name, value)
    monkeypatch.setattr(files, "_BUFFER", 1 << 15)
    monkeypatch.setattr(attempt, "INDEX_BYTES", 1)
    return World(tmp_path)


def copied(world: World) -> None:
    """Add a copy of each small file: their contents are found through the mirror."""
    for n in range(8):
        (world.source / "c" / f"copy-{n}").write_bytes((world.source / "a" / f"f{n}").read_bytes())


def counting(found: list[Request]) -> Callable[[Request], None]:
    return found.append


# --- at the start --------------------------------------------------------------------------------------------


def test_the_machines_own_packs_are_listed_at_every_start(world: World) -> None:
    world.checked()
    series = world.machine_id()[:4].hex()
    requests: list[Request] = []
    world.acting(counting(requests))
    listed = [r.name for r in requests if r.kind == "list"]
    assert f"packs/{series}/" in listed and f"meta/{series}/" in listed
    assert not any(name in ("packs/", "meta/", "") or name.startswith("index/") for name in listed), listed


@pytest.mark.parametrize("kind", [PackKind.DATA, PackKind.TREE])
def test_a_vault_brought_back_after_a_run_that_broke_off(world: World, kind: PackKind) -> None:
    """Packs of the journal that this copy of the vault never had are sent again."""
    world.checked()
    older = dict(world.memory.objects)
    copied(world)
    (world.source / "a" / "new").write_bytes(os.urandom(100_000))
    world.machine.store = StopAtStore(world.memory, 1, kinds=["create"], prefix="points/")
    with pytest.raises(Stopped):
        world.machine.backup(world.source)
    world.machine.store = world.memory
    assert len([n for n in world.packs(kind) if n not in older]) >= 1
    world.memory.objects = older
    world.checked()


@pytest.mark.parametrize("kind", [PackKind.DATA, PackKind.TREE])
def test_a_pack_that_is_cut_short_is_stored_again(world: World, kind: PackKind) -> None:
    world.checked()
    for name in world.packs(kind):
        world.memory.objects[name] = world.memory.objects[name][:-1]
    outcome = world.acting(lambda request: None, problems=len(world.packs(kind)) + (kind is PackKind.TREE))
    assert "another size" in outcome.problems[0].reason
    assert {p.path for p in outcome.problems if "another size" in p.reason} == {b""}, "a path is that of a file"
    world.lose_mirror()
    assert world.checked().progress.sent.data_bytes == 0, "it is remembered"


@pytest.mark.parametrize("moment", ["before", "after", "refused"])
def test_a_run_that_ends_when_it_notes_a_cut_pack(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The mirror forgets the size that a pack had only when the damage is noted: the next run knows of it."""

    class Killed(BaseException):
        pass

    write = DamagedPacks._write

    def killed(self: DamagedPacks, kind: PackKind, pack: bytes) -> None:
        if moment == "refused":
            raise OSError(errno.EIO, "no disk")
        if moment == "after":
            write(self, kind, pack)
        raise Killed

    world.checked()
    for name in world.packs(PackKind.DATA):
        world.memory.objects[name] = world.memory.objects[name][:1000]
    with monkeypatch.context() as patched:
        patched.setattr(DamagedPacks, "_write", killed)
        with pytest.raises(LocalError if moment == "refused" else Killed):
            world.machine.backup(world.source)
    outcome = world.machine.backup(world.source)
    assert outcome.point is not None
    assert_equal(world.machine.snapshot(outcome.point, world.source), of_source(world.source))


def test_what_a_lost_mirror_and_a_damaged_index_hide_is_checked(world: World) -> None:
    """W5: the packs that the parent refers to are looked for, whoever knows of them."""
    world.checked()
    for name in [n for n in world.memory.objects if n.startswith("index/")]:
        world.memory.objects[name] = world.memory.objects[name][:40]
    world.lose_mirror()
    world.remove(world.packs()[0], world.packs()[-1])
    outcome = world.acting(lambda request: None, problems=len(world.packs()) and outcome_problems(world))
    assert outcome.progress.sent.data_bytes > 0


def outcome_problems(world: World) -> int:
    """Each damaged index object is named."""
    return sum(name.startswith("index/") for name in world.memory.objects)


def test_a_pack_of_another_machine_is_no_evidence(world: World) -> None:
    """W7: only the machine's own series is listed, whatever else the vault has."""
    world.checked()
    other = Protected(world.memory, world.machine.state.with_name("other"), name="other")
    other.checked(world.source)
    requests: list[Request] = []
    world.acting(counting(requests))
    own = world.machine.state.glob("index-*.sqlite")
    series = {r.name.split("/")[1] for r in requests if r.kind == "list" and r.name.startswith(("packs/", "meta/"))}
    assert len(series) == 1
    with closing(sqlite3.connect(next(own))) as db:
        assert {row[0][:4].hex() for row in db.execute("SELECT id FROM packs")} == series


@pytest.mark.parametrize("kind", [PackKind.DATA, PackKind.TREE])
def test_a_cut_pack_is_noticed_by_its_size_when_all_state_is_lost(world: World, kind: PackKind) -> None:
    """Nobody has read it, and nothing but the places in trees says how long it was."""
    world.checked()
    for name in [n for n in world.memory.objects if n.startswith("index/")]:
        del world.memory.objects[name]
    extents = extents_of(world.machine.vault, kind)
    name = max(extents, key=lambda n: len(extents[n]))
    cut = extents[name][-1]
    world.memory.objects[name] = world.memory.objects[name][: cut.offset + cut.stored - 1]
    world.lose_mirror()
    outcome = world.acting(lambda request: None, problems=1)
    said = "shorter than it was" if kind is PackKind.DATA else "the tree of the previous point can't be used"
    assert said in outcome.problems[0].reason
    assert world.machine.damaged.packs() == {cut.pack}
    world.acting(lambda request: None)
    del world.memory.objects[name]
    assert world.checked().progress.read_files == 0


# --- one lost pack -------------------------------------------------------------------------------------------


def test_a_long_file_is_read_again_only_if_its_own_data_is_lost(world: World) -> None:
    """W12: pages of pieces are looked up."""
    world.checked()
    vault = world.machine.vault
    names = world.packs()
    world.remove(names[0])
    outcome = world.checked()
    assert 0 < outcome.progress.read_files < 24, "the file of many pieces is not among those read"
    assert outcome.progress.read_bytes < 100_000
    world.remove(world.packs()[-1 if names[-1] not in world.packs() else world.packs().index(names[-1])])
    outcome = world.checked()
    assert outcome.progress.read_bytes >= 400_000
    assert vault.id == world.machine.vault.id


def test_a_loss_noticed_by_a_run_that_wrote_a_partial_point(world: World) -> None:
    """W9: the partial point has entries of the point before it that refer to the lost pack."""
    world.checked()
    world.remove(world.packs()[-1])  # of the long file, in the last folder
    (world.source / "a" / "new").write_bytes(b"new")
    world.machine.partial_seconds = 0.0
    world.machine.store = StopAtStore(world.memory, 2, kinds=["create"], prefix="points/")
    for n in range(300):
        (world.source / "b" / f"more-{n}").write_bytes(b"%d" % n)
    with pytest.raises(Stopped):
        world.machine.backup(world.source)
    world.machine.store = world.memory
    assert any(p.partial for p in world.points(partial=True))
    world.machine.partial_seconds = 900.0
    assert world.checked().progress.read_bytes >= 400_000


def test_what_came_back_is_known_again(world: World) -> None:
    world.checked()
    gone = {name: world.memory.objects.pop(name) for name in world.packs()}
    (world.source / "a" / "f0").touch()
    with pytest.raises(Stopped):
        world.machine.store = StopAtStore(world.memory, 1, kinds=["create"])
        world.machine.backup(world.source)
    world.machine.store = world.memory
    world.memory.objects |= gone
    copied(world)
    assert world.checked().progress.sent.data_bytes == 0


def test_losing_a_pack_takes_no_scan_of_the_chunks(tmp_path: Path) -> None:
    """W8: the work does not grow with the number of chunks."""
    from backup.mirror import Mirror
    from backup.mirrorfile import Listed
    from catalog.format.packs import BlockRow

    work = []
    for chunks in (10, 1_000):
        mirror = Mirror(tmp_path / f"{chunks}.sqlite", vault_on(MemoryStore()).keys)
        packs = [bytes(4) + bytes([0]) + n.to_bytes(11, "big") for n in range(100)]
        for pack in packs:
            rows = [BlockRow(8, 90, [5] * chunks, os.urandom(16 * chunks))]
            mirror.acknowledge(PackKind.DATA, pack, rows, 1_000)
        steps = 0

        def step() -> int:
            nonlocal steps
            steps += 1
            return 0

        mirror._db.set_progress_handler(step, 100)
        mirror.take_listing(Listed(pack, PackKind.DATA, 1_000) for pack in packs[1:])
        found = mirror.compare((), frozenset(), lambda kind, pack: None)
        assert found.gone == 1
        assert mirror.find(rows[0].ids[:16]) is not None
        work.append(steps)
        mirror.close()
    assert work[1] <= work[0] + 2, work


# --- by the store's clock ------------------------------------------------------------------------------------


def at_first(kind: str, prefix: str, act: Callable[[], object]) -> Callable[[Request], None]:
    """Act once, before the first request of a kind below a prefix."""
    done: list[bool] = []

    def look(request: Request) -> None:
        if request.kind == kind and request.name.startswith(prefix) and not done:
            done.append(True)
            act()

    return look


def test_old_evidence_is_renewed_before_the_point(world: World) -> None:
    """W1: a run of two days by the store's clock, in no time by the machine's."""
    world.checked()
    copied(world)

    def later() -> None:
        world.clock.now += AGE + HOUR
        world.remove(*world.packs()[:2])

    before = time.time_ns()
    outcome = world.acting(at_first("create", "meta/", later))
    assert time.time_ns() - before < HOUR
    assert outcome.point is not None and outcome.point.checked == world.clock.now


def test_evidence_is_as_old_as_its_beginning(world: World) -> None:
    """W2: the listing takes two days; what vanishes within is noticed before the point."""
    world.checked()
    copied(world)
    series = world.machine_id()[:4].hex()
    gone: list[str] = []

    def slowly(request: Request) -> None:
        if request.kind == "list" and request.name == f"meta/{series}/" and not gone:
            gone.extend(world.packs()[:2])
            world.clock.now += AGE + HOUR
            world.remove(*gone)

    outcome = world.acting(slowly)
    assert gone and outcome.point is not None
    assert outcome.point.checked == world.clock.now


def test_the_machines_clock_has_no_say(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """W1: set a year ahead, then back."""
    real = time.time_ns
    for off in (365 * 24 * HOUR, -365 * 24 * HOUR, 0):
        monkeypatch.setattr(time, "time_ns", lambda off=off: real() + off)
        copied(world)
        world.checked()
        world.remove(world.packs()[0])
        world.checked()
    monkeypatch.undo()


def test_each_attempt_at_a_point_has_a_deadline(world: World) -> None:
    """W3: a retry after a sleep is refused, and the store is looked at again."""
    world.checked()
    looks: list[str] = []

    class Asleep(StoreWrapper):
        refused = 0

        def create(self, name: str, parts: Any, *, until: Any = None) -> int:
            if not name.startswith("points/"):
                return self.inner.create(name, parts, until=until)
            assert until is not None
            assert until.wall - time.time_ns() <= AGE / 2
            looks.append(name)
            if len(looks) == 1:
                raise TooLate(f"{name} was not stored")
            return self.inner.create(name, parts, until=until)

    requests: list[Request] = []
    world.machine.store = Asleep(Acting(world.memory, counting(requests)))
    outcome = world.machine.backup(world.source)
    assert outcome.point is not None and outcome.point.sequence == 2
    assert len(looks) == 2 and looks[0] != looks[1]
    prefix = f"points/{outcome.point.machine.hex()}/"
    assert sum(r.kind == "list" and r.name.startswith(prefix) for r in requests) == 4, "two looks more"
    assert len(world.points()) == 2


def test_the_deadline_counts_from_before_the_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine sleeps while it looks: by then, what it has seen is too old, and it looks once more."""
    world.checked()
    real = time.time_ns
    looks: list[str] = []

    def sleepy(request: Request) -> None:
        if request.kind == "list" and request.name.startswith("places/"):
            looks.append(request.name)
            monkeypatch.setattr(time, "time_ns", lambda: real() + 24 * HOUR)

    assert world.acting(sleepy).point is not None
    assert len(looks) == 2


@pytest.mark.parametrize("what", ["packs/", "index/", "points/"])
def test_a_pause_of_two_days_is_a_reason_to_look_again(
    world: World, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """W3: a limit that let nothing through held a request back for longer than what was seen counts."""
    world.checked()
    copied(world)
    (world.source / "a" / "new").write_bytes(os.urandom(5_000))
    real, start = time.time_ns, world.clock.now

    class Gate(Recorded):
        def pass_time(self, seconds: float) -> None:
            super().pass_time(seconds)
            world.clock.now = start + int(self.script.now_is * 1e9)
            monkeypatch.setattr(time, "time_ns", lambda: real() + int(self.script.now_is * 1e9))

    monkeypatch.setattr(gate, "LOOK", 300.0)
    throttle = Gate()
    seen: list[Request] = []

    class Pausing(StoreWrapper):
        """The pause begins when the first such object is about to be sent."""

        def create(self, name: str, parts: Any, *, until: Any = None) -> int:
            now = throttle.script.now_is
            if name.startswith(what) and not now:
                throttle.script.rows += [(now, Limits(0, 0)), (now + 50 * 3600, Limits())]
                seen.clear()
            return self.inner.create(name, parts, until=until)

    world.machine.store = Pausing(ThrottledStore(Acting(world.memory, seen.append), throttle))
    outcome = world.machine.backup(world.source)
    world.machine.store = world.memory
    assert throttle.script.now_is >= 50 * 3600 and outcome.point is not None and not outcome.problem_count
    assert_equal(world.machine.snapshot(outcome.point, world.source), of_source(world.source))
    kinds = [(r.kind, r.name.partition("/")[0]) for r in seen]
    last = max(n for n, row in enumerate(kinds) if row == ("create", "points"))
    assert ("list", "packs") in kinds[:last], "it looked again, after the pause and before the point"


def test_a_lost_answer_and_a_sleep_make_one_point(world: World) -> None:
    """The point was stored, but the answer came too late to be heard."""
    world.checked()

    class Deaf(StoreWrapper):
        def create(self, name: str, parts: Any, *, until: Any = None) -> int:
            found = self.inner.create(name, parts, until=until)
            if name.startswith("points/"):
                raise TooLate(f"{name} was not stored")
            return found

    world.machine.store = Deaf(world.memory)
    outcome = world.machine.backup(world.source)
    assert outcome.point is not None and outcome.point.sequence == 2
    world.machine.store = world.memory
    assert [p.sequence for p in world.points()] == [1, 2]


@pytest.mark.parametrize("lost", [False, True])
def test_a_point_that_was_written_too_late_is_named(world: World, lost: bool) -> None:
    """W3: the machine slept within the request."""
    world.checked()
    copied(world)

    def late() -> None:
        world.clock.now += AGE + HOUR
        if lost:
            world.remove(*world.packs()[:2])

    act = at_first("create", "points/", late)
    if not lost:
        world.acting(act)
        return
    world.machine.store = Acting(world.memory, act)
    with pytest.raises(MissingData, match=r"the recovery point [0-9a-f]{8} can't be relied on") as error:
        world.machine.backup(world.source)
    assert "again" in error.value.advice
    world.machine.store = world.memory
    assert world.checked().point is not None


def test_partial_points_are_looked_at_like_others(world: World) -> None:
    """W4: each point that is written, partial ones too, refers to what is there at that moment."""
    world.checked()
    copied(world)
    world.machine.partial_seconds = 0.0
    for n in range(600):
        (world.source / "b" / f"more-{n}").write_bytes(b"%d" % n)
    seen: list[str] = []
    before, late = set(world.packs()), world.clock.now + AGE + HOUR

    def act(request: Request) -> None:
        if request.kind == "create" and request.name.startswith("points/"):
            seen.append(request.name)
        if request.kind == "create" and request.name.startswith("meta/") and not seen and world.clock.now < late:
            world.clock.now = late
            world.remove(*(name for name in world.packs() if name not in before))

    world.acting(act)
    assert any(name.endswith(".partial") for name in seen)
    newest = max((p for p in world.points(partial=True) if p.partial), key=lambda p: p.finished)
    reader = PointReader(world.machine.vault)
    assert reader.snapshot(newest, world.source).entries
    assert newest.checked > 0


# --- the points before it -------------------------------------------------------------------------------------


def test_the_parent_is_looked_for_again(world: World) -> None:
    """It was deleted while the backup ran: the attempt starts over from what is left."""
    world.checked()
    second = world.checked().point
    assert second is not None
    name = str(PointName.of(second))
    (world.source / "a" / "new").write_bytes(b"new")
    outcome = world.acting(at_first("create", "meta/", lambda: world.remove(name)))
    assert outcome.point is not None and outcome.previous is not None
    assert (outcome.previous.sequence, outcome.point.sequence) == (1, 3)


def test_a_point_that_goes_after_the_listing(world: World) -> None:
    """W13: the next older one is the parent."""
    first, second = world.checked().point, world.checked().point
    assert first is not None and second is not None
    name = str(PointName.of(second))

    def act(request: Request) -> None:
        if request.kind == "get" and request.name == name and name in world.memory.objects:
            world.remove(name)

    outcome = world.acting(act)
    assert outcome.previous is not None and outcome.previous.id == first.id
    assert outcome.point is not None and outcome.point.sequence == 3
    assert outcome.progress.read_files == 0


def test_an_index_object_that_goes_after_the_listing(world: World) -> None:
    """W13: pruning beside a backup does not fail it."""
    world.checked()
    world.lose_mirror()
    names = [n for n in world.memory.objects if n.startswith("index/")]

    def act(request: Request) -> None:
        if request.kind == "get" and request.name == names[0] and names[0] in world.memory.objects:
            world.remove(names[0])

    copied(world)
    world.acting(act)


def test_numbers_are_never_given_twice(world: World) -> None:
    """W11: the newest point was forgotten and deleted, and so was the state but for one note."""
    for _ in range(3):
        last = world.checked().point
    assert last is not None
    world.remove(str(PointName.of(last)))
    again = world.checked().point
    assert again is not None and again.sequence == 4
    world.lose_mirror()
    world.remove(str(PointName.of(again)))
    assert (point := world.checked().point) is not None and point.sequence == 5


def test_a_partial_point_says_what_its_run_was_to_write(world: World) -> None:
    """W11: a run that broke off leaves no gap, and a partial point of a number keeps it from being given again."""
    world.checked()
    (world.source / "a" / "new").write_bytes(os.urandom(100_000))
    world.machine.partial_seconds = 0.0
    for n in range(300):
        (world.source / "b" / f"more-{n}").write_bytes(b"%d" % n)
    world.machine.store = StopAtStore(world.memory, 2, kinds=["create"], prefix="points/")
    with pytest.raises(Stopped):
        world.machine.backup(world.source)
    world.machine.store = world.memory
    first = world.points()[0]
    world.remove(str(PointName.of(first)))  # and the note of the machine is lost
    for path in world.machine.state.glob("seen-*"):
        path.unlink()
    assert [(p.sequence, p.partial) for p in world.points(partial=True)] == [(2, True)]
    outcome = world.checked()
    assert outcome.point is not None and outcome.point.sequence == 2


def test_a_number_far_above_all_others_is_nobodys(world: World) -> None:
    """Not even a record that opens, of another machine with the key, may use up all numbers."""
    point = world.checked().point
    assert point is not None
    for number in (2**63 - 1, 2**63 - 5, 2**40):
        forged_point = msgspec.structs.replace(point, sequence=number, id=number.to_bytes(16, "big"))
        world.machine.vault.add_point(forged_point)
    again = world.checked(problems=1).point
    assert again is not None and again.sequence == 2
    seen = Seen(world.machine.state, world.machine.vault)
    seen.note(PointName.of(again)._replace(sequence=2**63 - 1))
    last = world.checked(problems=1).point
    assert last is not None and last.sequence == 3


@pytest.mark.parametrize("sequence", [2, 900_000, 2**32 + 1])
@pytest.mark.parametrize("content", [b"junk", b"RPDS\x09" + bytes(80), b""])
def test_junk_points_are_passed_over(world: World, sequence: int, content: bytes) -> None:
    point = world.checked().point
    assert point is not None
    junk = PointName.of(point)._replace(sequence=sequence, id=bytes(16), time=point.time // 10**9 * 10**9 + 10**12)
    world.memory.objects[str(junk)] = content
    outcome = world.checked(problems=1)
    assert "can't be used" in outcome.problems[0].reason and str(sequence) in outcome.problems[0].reason
    assert outcome.point is not None and outcome.point.sequence == 2
    assert outcome.previous is not None and outcome.previous.id == point.id
    assert outcome.progress.read_files == 0


def test_many_junk_points_cost_a_bounded_number_of_requests(world: World) -> None:
    point = world.checked().point
    assert point is not None
    for n in range(500):
        junk = PointName.of(point)._replace(sequence=1_000 + n, id=n.to_bytes(16, "big"))
        world.memory.objects[str(junk)] = b"junk"
    requests: list[Request] = []
    outcome = world.acting(counting(requests), problems=101)
    assert sum(r.kind == "get" and r.name.startswith("points/") for r in requests) == 101
    assert outcome.point is not None and outcome.point.sequence == 2
    assert outcome.progress.read_files == 0, "its own last point is found among them"


def test_a_clone_that_was_faster(world: World) -> None:
    """Two runs of one machine's id: the numbers differ."""
    world.checked()

    def other() -> None:
        clone = Protected(world.memory, world.machine.state.with_name("clone"))
        for path in world.machine.state.iterdir():
            (clone.state / path.name).parent.mkdir(exist_ok=True)
            (clone.state / path.name).write_bytes(path.read_bytes())
        clone.backup(world.source)

    (world.source / "a" / "new").write_bytes(b"new")
    outcome = world.acting(at_first("create", "meta/", other))
    assert outcome.point is not None and outcome.point.sequence == 3
    assert [p.sequence for p in world.points()] == [1, 2, 3]
    assert outcome.point.previous == world.points()[1].id


def test_a_point_that_is_not_sound_is_looked_through(world: World) -> None:
    """It was written long after its last look: what it refers to may be gone, also what only its pages know."""
    world.checked()
    names = world.packs()
    world.clock.now += HOUR
    world.checked()
    # As if the second point had been written by a machine that slept within the request.
    vault = world.machine.vault
    newest = vault.point(vault.point_names()[-1])
    world.remove(str(PointName.of(newest)))
    vault.add_point(msgspec.structs.replace(newest, checked=world.clock.now - AGE - HOUR))
    world.remove(names[-1])
    world.lose_mirror()
    assert world.checked().progress.read_bytes >= 400_000


# --- heals from the source -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PackKind.DATA, PackKind.TREE])
def test_what_was_found_damaged_is_stored_again(world: World, kind: PackKind) -> None:
    world.checked()
    bad = world.packs(kind)
    for name in bad:
        data = bytearray(world.memory.objects[name])
        data[len(data) // 3] ^= 1
        world.memory.objects[name] = bytes(data)
    if kind is PackKind.DATA:
        assert world.machine.backup(world.source).progress.read_files == 0, "nobody has noticed"
        for name in bad:  # a drive or a restore does
            world.machine.damaged.note(kind, bytes.fromhex(name.rsplit("/", 1)[1]))
    outcome = world.acting(lambda request: None, problems=kind is PackKind.TREE)
    assert not set(bad) & used(outcome, world)
    world.lose_mirror()
    assert world.checked().progress.sent.data_bytes == 0


def used(outcome: Result, world: World) -> set[str]:
    """The packs that a point refers to in its tables."""
    assert outcome.point is not None and outcome.point.root is not None
    from catalog.direct import DirectSource
    from catalog.format.values import NodeKind, Subtree

    source, found = DirectSource(world.machine.vault), set[str]()
    below: list[Subtree] = [outcome.point.root.subtree()]
    while below:
        subtree = below.pop()
        found.add(pack_name(PackKind.TREE, subtree.at.pack))
        if subtree.level:
            index = source.folder_index(subtree.at)
            below += [Subtree(subtree.level - 1, index.at(child), child.totals) for child in index.children]
            continue
        leaf = source.leaf(subtree.at)
        found |= {pack_name(kind, pack) for pack in leaf.packs for kind in (PackKind.DATA, PackKind.TREE)}
        below += [s for e in leaf.entries if e.kind == NodeKind.FOLDER and (s := leaf.subtree(e))]
    return found


# --- index objects of others ---------------------------------------------------------------------------------


def forged(world: World, content: bytes, *, real: bool) -> str:
    """An index object, as another machine of the vault may write: `content` lies in a pack, or in one of junk."""
    vault, machine = world.machine.vault, world.machine_id()
    pack = PackBuilder(vault.keys, PackKind.DATA, machine)
    chunk = vault.keys.chunk_id(content)
    pack.add(encode_frame(content if real else bytes(len(content))), [len(content)], chunk)
    vault.store.create(pack.name, pack.finish())
    name = f"index/{machine.hex()}/{os.urandom(16).hex()}"
    index = IndexObject(packs=[IndexedPack(pack.id, pack.rows)])
    vault.store.create(name, [seal_object(vault.keys, Kind.INDEX, name, encode_record(index))])
    return name


def test_a_foreign_index_object_is_named_and_not_used(world: World) -> None:
    """M6: it says that foreseeable content is stored already."""
    world.checked()
    content = os.urandom(3_000)
    name = forged(world, content, real=False)
    (world.source / "a" / "new").write_bytes(content)
    outcome = world.checked(problems=1)
    (problem,) = outcome.problems
    assert problem.path == b"" and problem.reason.startswith(f"{name}: this state folder has no record of writing")
    assert outcome.progress.sent.new_bytes == 3_000
    world.checked()


@pytest.mark.parametrize("real", [True, False])
def test_what_only_an_index_says_is_read_back(world: World, real: bool) -> None:
    """M6: after the mirror was lost, it is all there is."""
    world.checked()
    content = os.urandom(3_000)
    forged(world, content, real=real)
    world.lose_mirror()
    (world.source / "a" / "new").write_bytes(content)
    requests: list[Request] = []
    outcome = world.acting(counting(requests), problems=not real)
    reads = [r for r in requests if r.kind == "read" and r.name.startswith("packs/")]
    assert len(reads) == 1
    assert outcome.progress.sent.new_bytes == (0 if real else 3_000)
    if not real:
        assert "does not hold what the index says" in outcome.problems[0].reason
    copied(world)
    (world.source / "c" / "another").write_bytes(content)
    assert world.checked().progress.sent.new_bytes == 0


def test_an_index_object_whose_record_was_lost_with_the_run_is_its_own(world: World) -> None:
    (world.source / "a" / "new").write_bytes(os.urandom(100_000))
    world.machine.store = StopAtStore(world.memory, 1, after=True, kinds=["create"], prefix="index/")
    with pytest.raises(Stopped):
        world.machine.backup(world.source)
    world.machine.store = world.memory
    world.checked()


def test_index_objects_are_fetched_eight_at_a_time(world: World) -> None:
    import threading

    world.checked()
    vault, machine = world.machine.vault, world.machine_id()
    for _ in range(40):
        name = f"index/{machine.hex()}/{os.urandom(16).hex()}"
        vault.store.create(name, [seal_object(vault.keys, Kind.INDEX, name, encode_record(IndexObject(packs=[])))])
    world.lose_mirror()
    together, running, most = threading.Barrier(8), 0, 0
    lock = threading.Lock()

    class Watched(StoreWrapper):
        def get(self, name: str, most_bytes: int) -> bytes:
            nonlocal running, most
            if not name.startswith("index/"):
                return self.inner.get(name, most_bytes)
            with lock:
                running += 1
                most = max(most, running)
            try:
                together.wait(timeout=20)  # the first eight meet; later ones find a broken barrier
            except threading.BrokenBarrierError:
                pass
            else:
                together.abort()
            with lock:
                running -= 1
            return self.inner.get(name, most_bytes)

    world.machine.store = Watched(world.memory)
    world.machine.backup(world.source)
    assert most == 8


# --- gives up -------------------------------------------------------------------------------------------------


def test_packs_that_keep_vanishing_end_the_run_in_one_line(world: World) -> None:
    world.checked()
    count = 0

    def act(request: Request) -> None:
        nonlocal count
        if request.kind == "create" and request.name.startswith("meta/"):
            count += 1
            (world.source / "a" / "new").write_bytes(b"%d" % count)
            world.clock.now += AGE + HOUR
            world.remove(*world.packs())

    (world.source / "a" / "new").write_bytes(b"new")
    world.machine.store = Acting(world.memory, act)
    with pytest.raises(LocalError, match="packs vanished from the vault"):
        world.machine.backup(world.source)
    world.machine.store = world.memory
    world.checked()


def test_seen_is_noted(world: World) -> None:
    point = world.checked().point
    assert point is not None
    seen = Seen(world.machine.state, world.machine.vault)
    assert seen.highest() == {(point.machine, point.item): 1}
    with pytest.raises(ObjectNotFound):
        world.memory.get("points/none", 1)
