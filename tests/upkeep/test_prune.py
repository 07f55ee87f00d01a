"""Pruning on a store whose clock the test moves: what goes, when, and that nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import StoreFull, WrongClock
from catalog.format.blocks import PackKind
from catalog.format.ledger import GoneRow, HeldRow, How
from catalog.format.packs import pack_name
from catalog.format.records import Job, JobName, Machine, PointName, StartName
from catalog.format.retention import Retention, RetentionRule
from catalog.format.sealed import Kind
from catalog.ledger.records import Ledger, Ledgers
from catalog.mark.roots import read_roots
from catalog.mark.run import mark
from catalog.policies.records import add_retention
from catalog.prune.carrying import READ_BACK
from catalog.prune.deleting import Deleter
from catalog.prune.plan import Limits
from catalog.prune.run import Done, Outlook, Refused, TimeIsUp, prune_series
from catalog.retention.policy import Level
from catalog.screen.phases import NoFollower
from catalog.signing import signing_key
from catalog.store.base import Part
from catalog.store.deadline import Deadline, steady
from catalog.store.memory import MemoryStore
from catalog.store.metered import Count, Traffic
from catalog.store.wrapper import Request, StoreWrapper
from tests.kit.faults import FailOnceStore, RefusingStore, StopAtStore, Stopped, bad_sector
from tests.kit.pruning import ITEM, START, World, random_edits
from tests.kit.vaultmaker import MACHINE

DATA, TREE = PackKind.DATA, PackKind.TREE


def test_nothing_goes_that_a_point_needs() -> None:
    world = World()
    names = random_edits(world, 12)
    world.check()
    world.settle(3)
    world.check()
    world.forget(*names[::2])
    world.settle()
    world.check()
    left = {PointName.parse(name) for name in world.objects("points/")}
    assert left == set(names[1::2])


def full_life() -> World:
    """A world in which a run merges, one cuts, one hides, one lets points go and one deletes."""
    world = World()
    names = random_edits(world, 4)
    world.forget(*names[1:3], days=8)
    return world


class Noting(StopAtStore):
    """Knows what the last request was."""

    last = ""

    def _number(self, request: Request) -> int:
        number = super()._number(request)
        if number:
            self.last = f"{request.kind} {request.name.partition('/')[0]}"
        return number


CHANGES = ("create", "compose", "delete")


def test_a_run_may_stop_at_each_request_that_changes_anything() -> None:
    reached: set[str] = set()
    world = full_life()
    for _week in range(6):
        start = world.saved()
        for after in (False, True):
            for at in count(1):
                world.restore(start)
                stop = Noting(world.meter, at, after=after, kinds=CHANGES)
                try:
                    world.prune(world.opened(stop), yes=True)
                    break
                except Stopped:
                    pass
                world.check()
                world.prune(yes=True)
                reached.add(stop.last)
                world.settle(5)
                world.check()
                assert len(world.objects("packs/")) == len(world.objects("meta/")) == 1
                assert len(world.objects("points/")) == 2
        world.restore(start)
        world.prune(yes=True)
        world.later(7.1)
    folders = {"create places", "create ledger", "compose packs", "compose meta"}
    assert reached == folders | {"delete packs", "delete meta", "delete points"}


# --- reasons to refuse --------------------------------------------------------------------------------------


def refused(world: World, **more: Any) -> str:
    """A run that changes nothing, and why."""
    before = world.saved()[0]
    with pytest.raises(Refused) as caught:
        world.prune(**more)
    assert world.saved()[0] == before
    assert caught.value.advice
    return str(caught.value)


def test_a_point_that_vanished_stops_it() -> None:
    world = World()
    names = random_edits(world, 4)
    world.store.delete(str(names[1]))
    assert "recovery point 2 of item home vanished" in refused(world)
    world.store.delete(str(names[3]))  # the newest: this machine has seen it
    highest = {(world.machine, ITEM): 4}
    assert "vanished" in refused(world, highest=highest)


def test_junk_under_the_name_of_a_point_is_named_and_proves_no_number() -> None:
    world = World()
    names = random_edits(world, 2)
    junk = str(names[1]._replace(sequence=99_999_999, id=bytes(16)))
    world.store.create(junk, [b"junk"])
    said = refused(world)
    assert junk in said and "vanished" not in said
    world.store.delete(junk)
    world.prune()


def test_a_page_that_cannot_be_read_stops_it() -> None:
    world = World()
    random_edits(world, 3)
    pack = max(world.objects("meta/"))
    world.memory.objects[pack] = bytes(len(world.memory.objects[pack]))
    assert pack.rpartition("/")[2][:8] in refused(world)


def test_a_missing_pack_stops_it() -> None:
    world = World()
    random_edits(world, 3)
    pack = max(world.objects("packs/"))
    cut = world.memory.objects[pack][:20]
    world.store.delete(pack)
    assert pack.rpartition("/")[2] in refused(world)
    world.memory.objects[pack] = cut
    assert pack.rpartition("/")[2] in refused(world)


def test_an_insane_clock_stops_it() -> None:
    world = World()
    names = random_edits(world, 3)
    world.forget(names[0])
    world.later(8)
    with pytest.raises(WrongClock, match="ahead of this machine's"):
        world.prune(clock=lambda: world.now - 2 * 3600 * 10**9)
    world.later(-9)
    with pytest.raises(WrongClock, match=r"says 2.*, and \w+/.* was stored at 2") as caught:
        world.prune()
    assert any(name in str(caught.value) for name in world.objects(""))  # it may be one file's time that is wrong
    assert "`touch`" in caught.value.advice
    world.later(50)
    before = dict(world.memory.objects)
    with pytest.raises(WrongClock, match="may have jumped ahead") as caught:
        world.prune()
    assert "--yes" in caught.value.advice
    assert world.memory.objects == before
    assert world.prune(yes=True).points == 1


def test_a_record_of_another_time_deletes_nothing() -> None:
    world = World()
    names = random_edits(world, 3)
    world.forget(names[0])
    later = world.memory.create

    def create(name: str, *args: Any, **options: Any) -> int:
        return later(name, *args, **options) + (10 * 60 * 10**9 if name.startswith("places/") else 0)

    world.memory.create = create  # type: ignore[method-assign]
    with pytest.raises(WrongClock, match="gave a record of this run the time"):
        world.prune()
    assert len(world.objects("points/")) == 3


# --- what others do meanwhile --------------------------------------------------------------------------------


def test_the_slower_of_two_runs_starts_over() -> None:
    world = World()
    names = random_edits(world, 4)
    world.forget(names[0])
    other: list[Done] = []

    def meanwhile(_outlook: Outlook) -> None:
        if not other:
            other.append(world.prune())

    done = world.prune(tell=meanwhile)
    assert other[0].record == 1 and done.record == 0  # the second try found nothing left to do
    world.check()


def test_a_run_that_slept_until_the_next_record_was_deleted_starts_over() -> None:
    world = World()
    names = random_edits(world, 3)
    world.prune()
    world.forget(names[0])
    slept: list[int] = []

    def sleep(_outlook: Outlook) -> None:
        if not slept:
            slept.append(0)
            for n in range(5):
                world.forget(names[1 + n % 2])
                world.later(30)
                world.backup(n % 3)
                world.backup(n % 3)
                slept.append(world.prune(yes=True).record)

    done = world.prune(tell=sleep)
    assert 2 in slept and "places/00010203/00000002" not in world.objects("places/")
    assert done.record > max(slept)
    world.settle()
    world.check()


def test_a_dry_run_changes_nothing() -> None:
    world = World()
    names = random_edits(world, 4)
    world.forget(names[0])
    before = dict(world.memory.objects)
    done = world.prune(dry=True)
    assert world.memory.objects == before
    assert done.outlook.going == (names[0],) and done.outlook.carriers == 2
    assert world.prune().outlook.going == (names[0],)


def test_what_the_store_does_not_let_go_is_tried_again() -> None:
    world = World()
    names = random_edits(world, 4)
    world.forget(names[0])
    refusing = world.opened(RefusingStore(world.meter, kinds={"delete"}))
    for _week in range(5):
        refused = world.prune(refusing)
        world.later(7.1)
    assert refused.refused and refused.problems and not refused.deleted
    assert len(world.objects("points/")) == 4
    world.check()
    world.settle(6)
    world.check()
    assert len(world.objects("packs/")) == 1 and len(world.objects("points/")) == 3


def test_deletions_have_a_deadline() -> None:
    world = World()
    random_edits(world, 2)
    pack = min(world.objects("packs/"))
    deleter = Deleter(world.store, NoFollower())
    deleter.until = Deadline.after(-1)
    deleter.names([pack])
    assert deleter.stopped and pack in world.objects("packs/")
    deleter.until = Deadline.after(60)
    deleter.names([pack])
    assert pack not in world.objects("packs/")


def test_a_deletion_without_an_answer_is_repeated_while_there_is_time() -> None:
    world = World()
    random_edits(world, 2)
    pack = min(world.objects("packs/"))
    pauses: list[float] = []
    deleter = Deleter(FailOnceStore(world.store, kinds={"delete"}), NoFollower(), pause=pauses.append)
    deleter.names([pack])
    assert deleter.deleted == 1 and len(pauses) == 1
    late = Deleter(FailOnceStore(world.store, kinds={"delete"}), NoFollower())
    late.until = Deadline.after(60)
    late._pause = lambda _seconds: setattr(late, "until", Deadline.after(-1))
    other = min(world.objects("packs/"))
    late.names([other])  # the machine slept during the pause
    assert late.stopped and other in world.objects("packs/")


def test_a_run_ends_when_its_time_is_over() -> None:
    world = World()
    random_edits(world, 4)
    before = dict(world.memory.objects)
    with pytest.raises(TimeIsUp):
        world.prune(until=steady() - 1)
    assert world.memory.objects == before


# --- partial points, holds, machines -------------------------------------------------------------------------


def test_partial_points_go_after_sixty_days() -> None:
    world = World()
    random_edits(world, 2)
    old = world.backup(0, partial=True)
    world.later(1)
    world.backup(0, 1)
    lone = world.backup(2, partial=True)
    world.later(58)
    assert world.prune(yes=True).partials == 0
    world.later(3)
    assert world.prune(yes=True).outlook.partials == (old,)
    assert str(lone) in world.objects("points/")
    world.settle()
    world.check()


def test_points_go_by_policy_in_the_run_that_finds_their_time_up() -> None:
    world = World()
    record = Retention(id=world.vault.id, number=1, written=START, zone="UTC", daily=RetentionRule(keep=7))
    add_retention(world.vault, Level("vault", "", world.vault.id), record, {})
    world.later(20)  # so that the points of before the policy are not spared for a while
    names = []
    for day in range(20):
        names.append(world.backup(day % 6))
        world.later(1)
    wanted = world.prune(dry=True).outlook.going
    assert 9 <= len(wanted) <= 13 and set(wanted) == set(names[: len(wanted)])
    assert world.prune().points == len(wanted)
    assert set(world.objects("points/")) == {str(name) for name in names[len(wanted) :]}
    world.settle(3)
    left = set(world.objects("points/"))
    assert len(left) >= 5  # time stops when backups stop
    world.settle(3)
    world.check()
    assert left == set(world.objects("points/"))


def test_a_point_that_is_held_stays() -> None:
    world = World()
    names = random_edits(world, 3)
    world.forget(*names[:2])
    row = HeldRow(names[0].id, 1, world.now, None, "a test", "a test")
    Ledgers(world.vault, world.machine).change(
        world.machine, ITEM, lambda ledger: ledger.hold([row]), signing_key(world.vault), world.now
    )
    assert world.prune().points == 1
    assert str(names[0]) in world.objects("points/")


def shared_world(*versions: list[bytes]) -> tuple[World, World]:
    """Two machines in one vault; a point of the second one refers to data packs of the first one."""
    world = World()
    first = world.backup(0, 1)
    other = World(world.store, machine=bytes(range(100, 116)), vault=world)
    for n, shares in enumerate(versions):
        record = Machine(id=other.machine, name="other", hostname="o", system="Linux", created=START, shares=shares)
        world.vault.add_machine(record, n + 2)
    other.borrow(world)
    world.backup(0, 1)
    world.forget(first)
    return world, other


@pytest.mark.parametrize("versions", [[[MACHINE]], [[MACHINE], []]], ids=["shared", "no longer shared"])
def test_points_of_machines_that_share_packs_keep_them(versions: list[list[bytes]]) -> None:
    world, other = shared_world(*versions)
    world.settle()
    other.check()
    assert len(world.objects("packs/")) > 0


def test_a_point_goes_once_the_series_that_it_shares_have_marked_it() -> None:
    """Otherwise what only it keeps alive there could be hidden since long ago, and be deleted at once."""
    world, other = shared_world([MACHINE])
    (point,) = other.points
    other.forget(point)
    points = []
    for one in (other, world, other):
        world.later(0.1)
        other.now = world.now
        points.append(one.prune().points)
    assert points == [0, 1, 1]  # of other; of world, its own; of other
    world.settle()
    assert not world.objects("points/" + other.machine.hex())


def test_a_machine_that_does_not_say_that_it_shares_stops_its_own_prune() -> None:
    _world, other = shared_world()
    assert "which this one does not share" in refused(other)


def test_a_machine_without_a_record_counts_for_every_series() -> None:
    world, other = shared_world([MACHINE])
    for name in world.objects(f"machines/{other.machine.hex()}/"):
        world.store.delete(name)
    assert "does not share" in refused(world)
    other.check()


# --- carriers ------------------------------------------------------------------------------------------------


class SpoilingStore(StoreWrapper):
    """Changes what is composed: `spoil` gets its bytes."""

    def __init__(self, inner: MemoryStore, spoil: Callable[[bytes], bytes]) -> None:
        super().__init__(inner)
        self.memory, self.spoil = inner, spoil

    def compose(self, name: str, parts: Sequence[Part]) -> int:
        modified = self.inner.compose(name, parts)
        self.memory.objects[name] = self.spoil(self.memory.objects[name])
        return modified


def flipped(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("allowed", [READ_BACK, 0], ids=["opened", "compared"])
@pytest.mark.parametrize(
    "spoil",
    [flipped(9), flipped(-40), lambda data: data[:-1], lambda data: data[:8] + bytes(16) + data[24:]],
    ids=["first block", "contents", "cut short", "a hole"],
)
def test_a_carrier_that_is_not_as_it_should_be_is_not_used(
    spoil: Callable[[bytes], bytes], allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.prune.run.READ_BACK", allowed)
    world = World()
    random_edits(world, 4)
    done = world.prune(world.opened(SpoilingStore(world.memory, spoil)))
    assert done.carriers == 0 and len(done.problems) == 2 and "is not used" in done.problems[0]
    world.check()
    world.settle()
    world.check()
    assert len(world.objects("packs/")) == len(world.objects("meta/")) == 1


def test_a_pack_whose_contents_are_damaged_stays_where_it_is() -> None:
    world = World()
    random_edits(world, 4)
    pack = min(world.objects("packs/"))
    data = world.memory.objects[pack]
    world.memory.objects[pack] = data[:-20] + bytes(4) + data[-16:]
    done = world.prune()
    assert [pack in problem for problem in done.problems] == [True]
    world.settle()
    world.check()
    assert pack in world.objects("packs/")


@pytest.mark.parametrize("moved", [False, True], ids=["in its pack", "in a carrier"])
def test_an_object_with_a_bad_sector_stays_and_holds_nothing_else_back(moved: bool) -> None:
    world = World()
    for n in range(4):
        world.backup(n, n + 4)
    if moved:
        world.settle(2)
    holder = min(world.objects("packs/"))
    world.backup(0, 1)
    world.forget(world.backup(2))
    bad_sector(world.memory, holder, 20)
    world.later(8)
    done = world.prune()
    (problem,) = done.problems
    assert problem.endswith(f"stays where it is: {holder} can't be read")
    assert done.carriers
    world.settle(3)
    assert holder in world.objects("packs/") and len(world.objects("packs/")) == 2


@pytest.mark.parametrize("moved", [False, True], ids=["in its pack", "in a carrier"])
def test_an_object_with_a_damaged_block_stays_and_holds_nothing_else_back(moved: bool) -> None:
    world = World()
    names = [world.backup(n, n + 4) for n in range(4)]
    if moved:
        world.settle(2)
    holder, objects = min(world.objects("packs/")), world.memory.objects
    good = objects[holder]
    objects[holder] = flipped(20)(good)
    names += [world.backup(0, 1), world.backup(2)]
    world.forget(names[4])
    world.later(8)
    done = world.prune()
    assert ["stays where it is: block" in problem for problem in done.problems] == [True]
    assert done.carriers
    world.settle(3)
    left = set(world.objects("packs/"))
    assert holder in left and len(left) == 2
    world.settle(1)
    assert left == set(world.objects("packs/"))  # nothing is made in vain
    objects[holder] = good  # from a copy of the vault
    world.later(31)
    world.settle()
    world.check()
    assert len(world.objects("packs/")) == 1


class NoRoomForCarriers(StoreWrapper):
    def compose(self, name: str, parts: Sequence[Part]) -> int:
        raise StoreFull(f"no room for {name}")


def test_a_full_store_moves_nothing_and_still_deletes() -> None:
    world = World()
    first = world.backup(*range(6))
    for _run in range(3):
        world.backup(*range(6))
    world.forget(first)
    for _week in range(2):
        world.prune(limits=Limits())
        world.later(7.1)
    done = world.prune(world.opened(NoRoomForCarriers(world.meter)))
    assert done.carriers == 0 and done.deleted and "there is no room" in done.problems[0]
    world.check()


# --- requests ------------------------------------------------------------------------------------------------


def test_requests(tmp_path: Path) -> None:
    world = World()
    names = random_edits(world, 3)
    vault = world.opened_with_records()
    settings: dict[str, Any] = {"state": tmp_path, "limits": Limits()}
    world.later(8)
    world.prune(vault, **settings)

    def spent() -> tuple[Traffic, Done]:
        context = world.context(vault, **settings)
        before = world.meter.snapshot()
        done = prune_series(context, context.scope.series(world.machine))
        return world.meter.snapshot() - before, done

    traffic, done = spent()
    assert done.record == 0
    assert traffic == Traffic(list=Count(5, 0))  # ledger, places, points, packs, meta
    names.append(world.backup(1, 2))
    traffic, done = spent()
    assert (traffic.list.requests, traffic.get.requests, traffic.create.requests) == (5, 1, 0)
    assert 1 <= traffic.read.requests <= 3
    world.later(8)
    spent()
    world.forget(names[1])
    traffic, done = spent()
    assert (done.points, traffic.create.requests, traffic.delete.requests) == (1, 2, 1)


def oracle(world: World) -> set[str]:
    """The packs that no point refers to."""
    with mark(world.vault, read_roots(world.vault, dict(world.vault.stored_points()))) as marked:
        live = {pack_name(kind, pack) for kind in (DATA, TREE) for pack, _spans in marked.live.spans(kind)}
    return {*world.objects("packs/"), *world.objects("meta/")} - live


def test_what_is_deleted_is_what_nothing_refers_to() -> None:
    world = World()
    first = world.backup(*range(6))
    world.later(1)
    for _run in range(4):
        last = world.backup(*range(6))
    world.forget(first, last)
    world.later(1)
    world.backup(0)
    keep = Limits()
    world.prune(limits=keep)  # lets the points go
    world.later(7.1)
    wanted = oracle(world)
    assert len(wanted) >= 2
    before = {*world.objects("packs/"), *world.objects("meta/")}
    world.prune(limits=keep)  # hides
    assert before == {*world.objects("packs/"), *world.objects("meta/")}
    world.later(7.1)
    assert world.prune(limits=keep).deleted == len(wanted)
    assert before - {*world.objects("packs/"), *world.objects("meta/")} == wanted
    world.check()


# --- jobs, index, old records --------------------------------------------------------------------------------


def test_small_index_objects_are_put_together() -> None:
    world = World()
    for _run in range(70):
        world.backup(world.rng.randrange(6), publish=True)
        world.later(1 / 24)
    old = set(world.objects("index/"))
    packs = {pack for name in old for pack in world.indexed(name)}
    world.later(2)
    world.prune(limits=Limits())
    [new] = set(world.objects("index/")) - old
    assert world.indexed(new) == packs
    world.later(7.1)
    world.prune(limits=Limits())
    assert set(world.objects("index/")) == {new}


def test_records_of_places_and_jobs_that_are_old_go() -> None:
    world = World()
    for _week in range(8):
        world.forget(*random_edits(world, 2)[:1])
        world.prune()
        world.later(15)
    numbers = [int(name.rpartition("/")[2]) for name in world.objects("places/")]
    assert 3 <= len(numbers) < 8 and numbers == list(range(numbers[0], numbers[-1] + 1))
    job = Job(id=bytes(16), machine=world.machine, kind="backup", outcome="completed", machine_name="box",
              hostname="box", time=world.now, finished=world.now)  # fmt: skip
    world.vault.add_job(job)
    start = str(StartName(JobName.of(job)))
    world.vault.write_record(Kind.JOB, job, start)
    world.later(399)
    world.prune(yes=True)
    assert start in world.objects("jobs/")
    world.later(8)
    world.prune(yes=True)
    assert not world.objects("jobs/")


# --- points that nobody can read ------------------------------------------------------------------------------


def given_up(world: World, name: PointName) -> Callable[[Ledger], Ledger]:
    row = GoneRow(name.id, name.sequence, world.now, How.DAMAGED, "a test")
    return lambda ledger: ledger.give_up([row])


def accepted(world: World, name: PointName) -> Callable[[Ledger], Ledger]:
    return lambda ledger: ledger.accept([(name.sequence, name.sequence)], world.now)


def damage(world: World, name: PointName) -> None:
    world.memory.objects[str(name)] = world.memory.objects[str(name)][:-1]


def lose(world: World, name: PointName) -> None:
    world.store.delete(str(name))


@pytest.mark.parametrize(("harm", "change"), [(damage, given_up), (lose, accepted)], ids=["damaged", "missing"])
def test_prune_goes_on_after_a_point_was_given_up_and_deletes_nothing_for_a_week(
    harm: Callable[[World, PointName], None], change: Callable[[World, PointName], Callable[[Ledger], Ledger]]
) -> None:
    world, limits = World(), Limits()  # nothing is merged or cut
    world.backup(0, 1)
    lost, old = world.backup(2), world.backup(3)
    world.backup(2, 3)
    world.later(7.1)
    world.forget(old)
    for _ in range(2):  # what only the old point had is hidden, and may go a week later
        world.later(1)
        world.prune(limits=limits)
    world.later(7.1)
    packs = set(world.objects("packs/"))
    harm(world, lost)
    with pytest.raises(Refused) as caught:
        world.prune(limits=limits)
    what = f"--damaged {lost.id.hex()[:8]}" if harm is damage else "--missing"
    assert f"`rpdrive forget {what}" in str(caught.value.advice)
    ledgers = Ledgers(world.opened(), world.machine)
    ledgers.change(world.machine, ITEM, change(world, lost), signing_key(world.vault), world.now)
    for days in (0, 3.4, 3.4):
        world.later(days)
        world.prune(limits=limits)
        assert set(world.objects("packs/")) == packs
    assert str(lost) not in world.objects("points/")
    world.later(0.4)
    world.prune(limits=limits)
    assert len(world.objects("packs/")) < len(packs)
    world.settle()
    world.check()
    left = {name for name in world.points if str(name) in world.objects("points/")}
    assert left == set(world.points) - {lost, old}
