"""A copy of a vault in memory, whose clock is moved: what is copied, in what order, what waits, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.copies import rounds
from catalog.copies.listing import problems
from catalog.copies.missing import last_run
from catalog.copies.run import ROUNDS
from catalog.copies.target import check_addresses, check_no_twin
from catalog.errors import Damaged, LocalError, ObjectNotFound, StoreFull, StoreUnreachable, UsageError, VaultExists
from catalog.format.records import PointName
from catalog.format.vaultfile import CopyMark
from catalog.new_vault import create_vault
from catalog.seeds.disk import TWIN_FILE, TwinFile, write_twin_file
from catalog.signing import replace_admins
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.wrapper import Request, StoreWrapper, T
from catalog.vault import Vault
from tests.kit.copying import TARGET, Meanwhile, Pair, lose, requests
from tests.kit.faults import (
    FullStore,
    RefusingStore,
    StopAtStore,
    Stopped,
    UnreachableStore,
    bad_sector,
    spoilt,
)
from tests.kit.pruning import START, World, random_edits


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_the_first_copy(pair: Pair) -> None:
    names = random_edits(pair.world, 3)
    pair.world.prune()
    pair.world.store.create("checks/00010203/00000001", [b"what was read at the source"])
    pair.world.store.create("later/kind", [b"of a version to come"])
    found = pair.copy(follow=False)
    assert found.new and found.is_clean and not found.has_problems and found.gone is None
    pair.check_equal()
    assert pair.check() == names
    mark = pair.opened().file.copy
    assert mark is not None and (mark.of, mark.promoted) == ("memory:source", None)
    assert "vault/1.json" in pair.memory.objects
    last = last_run(pair.state, pair.world.vault.id, TARGET)
    assert last is not None and (last.points, last.behind, last.problems) == (3, 0, 0)


def test_what_an_unchanged_follow_costs(pair: Pair) -> None:
    """The number of requests is that of the listings, and vault.json; nothing else is read, nothing written."""
    random_edits(pair.world, 3)
    for n in range(5_100):
        pair.memory.objects[f"jobs/{n:05}"] = pair.world.memory.objects[f"jobs/{n:05}"] = b""
        pair.memory._modified[f"jobs/{n:05}"] = pair.world.memory._modified[f"jobs/{n:05}"] = START
    pair.memory.objects.clear()
    pair.copy()
    source, target = MeteredStore(pair.world.store, log=True), MeteredStore(pair.target, log=True)
    found = pair.copy(source, target)
    assert found.is_clean and not found.done.copied.objects
    assert requests(source) == {"list": 2}  # vault.json of the source was read when it was opened
    assert requests(target) == {"list": 2, "get": 1}


class Listed(StoreWrapper):
    """A store that lists an object, and does not have it."""

    def __init__(self, inner: Store, name: str) -> None:
        super().__init__(inner)
        self._name = name

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if request.name == self._name:
            raise ObjectNotFound(f"no object {self._name}")
        return call()


class Looking(StoreWrapper):
    """The copy, which is looked at whenever a point has come."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair.target)
        self._pair = pair
        self.looked: list[list[PointName]] = []

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        result = call()
        if request.kind == "create" and request.name.startswith("points/"):
            self.looked.append(self._pair.check())
        return result


def test_a_point_that_comes_while_the_source_is_listed_waits_for_the_next_round(pair: Pair) -> None:
    world = pair.world
    first = world.backup(1)
    world.later(1)
    came: list[PointName] = []
    source = Meanwhile(world, "places/", lambda: came.append(world.backup(2)))
    target = Looking(pair)
    found = pair.copy(source, target)
    assert found.done.rounds == 2 and found.is_clean
    assert target.looked == [[first], [first, *came]]
    pair.check_equal()


def test_a_busy_source_ends_the_run_with_a_word(pair: Pair) -> None:
    world = pair.world
    world.backup(1)
    world.later(1)

    def happens() -> None:
        world.later(1 / 24)
        world.backup(2)

    found = pair.copy(Meanwhile(world, "places/", happens, times=100))
    assert found.done.rounds == ROUNDS and found.has_problems and len(found.waiting) == 1
    assert len(pair.check()) == ROUNDS
    assert pair.copy().is_clean
    pair.check_equal()


def test_a_long_round_is_followed_by_another_until_nothing_is_new(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.copies.run.LONG", -1.0)
    random_edits(pair.world, 2)
    assert pair.copy().done.rounds == 2
    assert pair.copy().done.rounds == 1


def test_a_source_whose_clock_can_not_be_read(pair: Pair) -> None:
    """A read-only folder tells no time: then a second listing says what was there before the first one ended."""
    names = random_edits(pair.world, 2)
    found = pair.copy(RefusingStore(pair.world.store, ("now", "create", "replace", "delete")))
    assert found.done.rounds == 2 and found.is_clean
    assert pair.check() == names


def test_objects_that_vanish_after_they_were_listed(pair: Pair) -> None:
    """All packs move to carriers that the listing does not have, and go, before they are copied."""
    world = pair.world
    names = random_edits(world, 3)
    packs = [name for name in world.memory.objects if name.startswith(("packs/", "meta/"))]

    def happens() -> None:
        world.prune()
        world.later(4)
        world.prune(yes=True)
        assert world.memory.objects.keys().isdisjoint(packs)

    target = Looking(pair)
    found = pair.copy(Meanwhile(world, "points/", happens), target)
    assert found.done.rounds > 1 and found.is_clean
    assert target.looked and pair.check() == names


def test_an_object_that_is_listed_and_never_there(pair: Pair) -> None:
    """No point goes without it, so the run is no success."""
    random_edits(pair.world, 2)
    pack = next(name for name in pair.world.memory.objects if name.startswith("packs/"))
    found = pair.copy(Listed(pair.world.store, pack))
    assert found.done.rounds == ROUNDS and found.vanished == (pack,)
    assert found.has_problems and not found.is_clean and pack in problems(found)[0]
    assert not pair.check()


def test_a_point_that_the_ledger_calls_gone_is_not_copied(pair: Pair) -> None:
    world = pair.world
    names = random_edits(world, 3)
    world.forget(names[0])
    world.later(1)
    world.prune(world.opened(RefusingStore(world.meter, {"delete"}, "points/")), yes=True)
    assert str(names[0]) in world.memory.objects
    pair.copy()
    assert str(names[0]) not in pair.memory.objects and pair.check() == names[1:]


# --- what can't be copied -----------------------------------------------------------------------------------


def test_a_conflict_keeps_new_points_of_its_machine_out_and_no_others(pair: Pair) -> None:
    world = pair.world
    other = World(machine=bytes(range(50, 66)), vault=world)
    first = world.backup(1)
    pair.copy()
    second, third = world.backup(2), other.backup(3)
    world.points.update(other.points)
    pack = next(n for n in world.memory.objects if n.startswith("packs/00010203/") and n not in pair.memory.objects)
    pair.memory.objects[pack], pair.memory._modified[pack] = b"something else", START
    for _run in range(2):
        found = pair.copy()
        assert [c.name for c in found.done.outcome.conflicts] == [pack] and found.has_problems
        assert found.done.held_points == 1 and not found.is_clean
        assert pair.check() == [first, third] and pair.memory.objects[pack] == b"something else"
    lose(pair.memory, [pack])
    assert pair.copy().is_clean
    assert pair.check() == [first, second, third]


@pytest.mark.parametrize("prefix", ["ledger/", "places/", "meta/"])
def test_conflicts_of_records_that_points_need(pair: Pair, prefix: str) -> None:
    world = pair.world
    names = random_edits(world, 3)
    pair.copy()
    world.forget(names[0])
    world.later(8)
    world.prune()
    world.backup(1)
    name = next(n for n in world.memory.objects if n.startswith(prefix) and n not in pair.memory.objects)
    pair.memory.objects[name], pair.memory._modified[name] = b"x", START
    found = pair.copy()
    assert found.done.held_points == 1 and [c.name for c in found.done.outcome.conflicts] == [name]
    pair.check()


def test_a_pack_that_the_source_can_not_read(pair: Pair) -> None:
    world = pair.world
    first = world.backup(1)
    pair.copy()
    world.backup(2)
    pack = next(n for n in world.memory.objects if n.startswith("packs/") and n not in pair.memory.objects)
    bad_sector(world.memory, pack, 8)
    found = pair.copy()
    assert [f.name for f in found.done.outcome.damaged] == [pack] and found.has_problems
    assert pair.check() == [first]


def test_verify_finds_other_bytes(pair: Pair) -> None:
    world = pair.world
    random_edits(world, 3)
    pair.copy()
    name = next(n for n in pair.memory.objects if n.startswith("packs/"))
    pair.memory.objects[name] = spoilt(pair.memory.objects[name])
    assert not pair.copy().has_problems
    found = pair.copy(verify=True)
    assert [c.name for c in found.done.outcome.conflicts] == [name] and found.has_problems
    assert not found.done.held_points  # the copy has them


def test_no_room_and_an_unplugged_disk(pair: Pair) -> None:
    names = random_edits(pair.world, 4)
    with pytest.raises(StoreFull):
        pair.copy(target=FullStore(pair.target, 20_000))
    assert pair.check() == []
    away = UnreachableStore(pair.target, reachable=True, kinds={"create"}, prefix="points/")
    away.reachable = False
    with pytest.raises(StoreUnreachable):
        pair.copy(target=away)
    assert pair.check() == []
    pair.copy()
    assert pair.check() == names


def test_the_time_allowed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    names = random_edits(pair.world, 4)
    ticks = iter(range(10**6))
    monkeypatch.setattr(rounds, "steady", lambda: float(next(ticks)))
    monkeypatch.setattr("catalog.copies.run.steady", lambda: 0.0)
    runs = 0
    while True:
        ticks = iter(range(10**6))
        found = pair.copy(seconds=5.0)
        pair.check()
        runs += 1
        if not found.done.stopped:
            break
        assert not found.has_problems
    assert runs > 2 and pair.check() == names
    pair.check_equal()


# --- the place ----------------------------------------------------------------------------------------------


def test_places_that_are_no_copy(pair: Pair) -> None:
    random_edits(pair.world, 1)
    other = MemoryStore()
    create_vault(other, "a long enough passphrase")
    with pytest.raises(VaultExists, match="another vault"):
        pair.copy(target=other)
    with pytest.raises(VaultExists, match="by another name"):
        pair.copy(target=pair.world.store)
    junk = MemoryStore()
    junk.create("a/file", [b"of somebody"])
    with pytest.raises(VaultExists, match=r"e\.g\. a/file"):
        pair.copy(target=junk)
    same = MemoryStore()
    same.objects = dict(pair.world.memory.objects)
    same._modified = dict(pair.world.memory._modified)
    Vault(same, pair.world.vault.keys, pair.world.vault.file).change_file(lambda f: f.changed(soft_delete_days=20))
    with pytest.raises(VaultExists, match="no copy that"):
        pair.copy(target=same)
    pair.copy()
    mark = CopyMark("memory:source", "", 1_800_000_000)
    pair.opened().change_file(lambda f: f.changed(copy=mark))
    before = dict(pair.memory.objects)
    with pytest.raises(VaultExists, match="was promoted"):
        pair.copy()
    forged = pair.memory.objects["vault.json"].replace(b"1800000000", b"null")
    pair.memory.objects["vault.json"] = forged
    with pytest.raises(Damaged):
        pair.copy()
    assert pair.memory.objects == before | {"vault.json": forged}


def test_vault_json_follows(pair: Pair) -> None:
    random_edits(pair.world, 2)
    pair.copy()
    pair.world.vault.change_passphrase("another passphrase of some length")
    assert pair.copy(dry=True).file and pair.opened().file.number == 1
    found = pair.copy()
    assert found.file and pair.opened().file.slots == pair.world.vault.file.slots
    assert pair.opened().file.number == 2 and "vault/2.json" in pair.memory.objects
    assert pair.opened().file.copy is not None
    pair.world.vault.change_file(lambda file: file.changed(soft_delete_days=30))
    found = pair.copy(target=RefusingStore(pair.target, {"replace"}))
    assert found.behind and found.has_problems
    assert pair.copy().is_clean and pair.opened().file.soft_delete_days == 30


def test_another_key_that_signs(pair: Pair) -> None:
    """Whenever a run is stopped, the records that count in the copy are signed by a key that counts there."""
    world = pair.world
    names = random_edits(world, 3)
    world.prune()
    world.later(4)
    world.prune()
    pair.copy()
    world.later(8)
    pair.copy()
    assert len([name for name in pair.memory.objects if name.startswith("packs/")]) == 1  # all is in a carrier
    new = replace_admins(world.vault, None)
    saved = pair.saved()
    calls = 0
    while True:
        pair.restore(saved)
        calls += 1
        target = StopAtStore(pair.target, calls, kinds={"create", "replace"})
        try:
            pair.copy(target=target)
        except Stopped:
            assert pair.check() == names
            continue
        break
    assert calls > 5 and pair.check() == names
    assert [admin.id for admin in pair.opened().file.admins] == [new.admin.id]


def test_five_hundred_points(pair: Pair) -> None:
    names = random_edits(pair.world, 500)
    source, target = MeteredStore(pair.world.store, log=True), MeteredStore(pair.target, log=True)
    found = pair.copy(source, target)
    assert found.look.points == 500 and found.is_clean
    assert requests(source)["list"] == 1
    pair.check(read=False)
    pair.check_equal()
    vault = pair.opened()
    for name in names[::50]:
        assert pair.world.read(name, vault) == pair.world.points[name]


class SetBack(StoreWrapper):
    """A store whose clock is set back by an hour, once, when its listing comes to a name."""

    def __init__(self, world: World, at: str, happens: Callable[[], object]) -> None:
        super().__init__(Meanwhile(world, at, self._set_back))
        self._world, self._then = world, happens

    def _set_back(self) -> None:
        self._world.now -= 3600 * 10**9
        self._then()


def test_a_clock_that_is_set_back_while_the_source_is_listed(pair: Pair) -> None:
    """A point that came last then looks older than the listing; its packs were not in it."""
    world = pair.world
    first = world.backup(1)
    world.later(1)
    came: list[PointName] = []
    target = Looking(pair)
    found = pair.copy(SetBack(world, "places/", lambda: came.append(world.backup(2))), target)
    assert found.done.rounds == 2 and found.is_clean
    assert sorted(pair.check(), key=lambda name: name.sequence) == [first, *came]
    assert len(target.looked) == 2


def test_addresses_that_are_one() -> None:
    vault = "azure://account/container/vault"
    for other in (vault, "azure://account/container", f"{vault}/copy"):
        with pytest.raises(UsageError):
            check_addresses(vault, other)
    check_addresses(vault, "azure://account/container/vault2")


def test_one_run_at_a_time_and_notes_that_are_damaged(pair: Pair) -> None:
    random_edits(pair.world, 2)

    def happens() -> None:
        with pytest.raises(LocalError, match="is running"):
            pair.copy()
        assert not pair.copy(dry=True).done.copied.objects  # it only looks

    pair.copy()
    assert pair.copy(Meanwhile(pair.world, "points/", happens)).is_clean
    (notes,) = pair.state.glob("copy-*.sqlite")
    notes.write_bytes(bytes(5000))
    assert pair.copy().is_clean
    assert last_run(pair.state, pair.world.vault.id, TARGET) is not None


def test_a_twin_is_no_place_for_a_copy(tmp_path: Path) -> None:
    check_no_twin(None)
    check_no_twin(tmp_path)
    (tmp_path / TWIN_FILE).parent.mkdir()
    write_twin_file(tmp_path, TwinFile(vault="00" * 16, seed="00" * 16, machine="00" * 16, expires=0))
    with pytest.raises(VaultExists, match="travels"):
        check_no_twin(tmp_path)
