"""Vaults without commands: passphrases, points, naming points."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from catalog.errors import (
    AmbiguousName,
    Damaged,
    NotFound,
    NoVault,
    ObjectChanged,
    VaultExists,
    WeakPassphrase,
    WrongPassphrase,
)
from catalog.format.records import Item, Machine, Point, PointName
from catalog.format.slots import KdfParameters
from catalog.format.vaultfile import VaultFile
from catalog.kept import Kept
from catalog.new_vault import check_no_vault, create_vault
from catalog.points.choice import choose_point, iter_items, latest
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import VAULT_FILE, Vault, open_vault
from tests.kit.stores import MOST
from tests.kit.vaults import CHEAP

OLD, NEW = "the old passphrase, 16 and more", "the new passphrase, 16 and more"
MACHINE, ITEM = b"m" * 16, b"i" * 16
DAY = 86400 * 10**9


def made(number: int, *, when: int | None = None, machine: bytes = MACHINE, item: bytes = ITEM) -> Point:
    """A point; `when` in ns."""
    begin = number * 3600 * 10**9 if when is None else when
    return Point(
        id=os.urandom(16), machine=machine, item=item, machine_name="server", item_name="home", hostname="server",
        system="Linux", sequence=number, time=begin, finished=begin + 5 * 10**9, paths=[b"/home"],
    )  # fmt: skip


def name(
    point_id: str,
    when: str = "2026-11-17 08:30:00",
    sequence: int = 1,
    machine: bytes = MACHINE,
    item: bytes = ITEM,
) -> PointName:
    """A point's name; `when` in local time."""
    seconds = int(time.mktime(time.strptime(when, "%Y-%m-%d %H:%M:%S")))
    return PointName(machine, item, seconds * 10**9, sequence, bytes.fromhex(point_id.ljust(32, "0")), False)


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kathmandu"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


# --- passphrases --------------------------------------------------------------------------------------------


def test_a_vault_opens_with_its_passphrase_alone() -> None:
    store = MemoryStore()
    vault = create_vault(store, OLD, CHEAP)
    again = open_vault(store, passphrase=OLD)
    assert (again.id, again.keys.master) == (vault.id, vault.keys.master)
    assert open_vault(store, master=vault.keys.master).id == vault.id
    with pytest.raises(WrongPassphrase):
        open_vault(store, passphrase=NEW)
    with pytest.raises(Damaged):
        open_vault(store, master=bytes(32))


def test_opening_takes_one_request() -> None:
    store = MeteredStore(MemoryStore())
    vault = create_vault(store, OLD, CHEAP)
    before = store.snapshot()
    open_vault(store, passphrase=OLD)
    open_vault(store, master=vault.keys.master)
    assert (store.snapshot() - before).requests == 2


def test_the_same_passphrase_in_another_unicode_form_opens_it() -> None:
    store = MemoryStore()
    vault = create_vault(store, "caf\u00e9 au lait, s'il vous pla\u00eet", CHEAP)
    assert open_vault(store, passphrase="cafe\u0301 au lait, s'il vous plai\u0302t").id == vault.id


def test_short_passphrases_are_refused_and_leave_nothing() -> None:
    store = MemoryStore()
    with pytest.raises(WeakPassphrase):
        create_vault(store, "fifteen letters", CHEAP)
    assert list(store.list("")) == []


def test_a_second_vault_at_the_address_is_refused() -> None:
    store = MemoryStore()
    check_no_vault(store)
    with pytest.raises(NoVault):
        open_vault(store, passphrase=OLD)
    first = create_vault(store, OLD, CHEAP)
    with pytest.raises(VaultExists):
        check_no_vault(store)
    with pytest.raises(VaultExists):
        create_vault(store, OLD, CHEAP)
    assert open_vault(store, passphrase=OLD).id == first.id


def test_a_passphrase_is_changed() -> None:
    store = MemoryStore()
    vault = create_vault(store, OLD, CHEAP)
    first = store.get(VAULT_FILE, MOST)
    vault.add_point(made(1))

    vault.change_passphrase(NEW, CHEAP)

    with pytest.raises(WrongPassphrase):
        open_vault(store, passphrase=OLD)
    again = open_vault(store, passphrase=NEW)
    assert again.keys.master == vault.keys.master
    assert len(again.points(again.point_names())) == 1
    assert again.file.number == vault.file.number == 2
    assert store.get("vault/1.json", MOST) == first
    assert store.get("vault/2.json", MOST) == store.get(VAULT_FILE, MOST)


def test_a_weak_new_passphrase_changes_nothing() -> None:
    store = MemoryStore()
    vault = create_vault(store, OLD, CHEAP)
    before = {i.name: store.get(i.name, MOST) for i in store.list("")}
    with pytest.raises(WeakPassphrase):
        vault.change_passphrase("short", CHEAP)
    assert {i.name: store.get(i.name, MOST) for i in store.list("")} == before


def test_an_earlier_vault_file_restores_the_old_passphrase() -> None:
    """The docs say that a change revokes no access; this test says that the spare copies work."""
    store = MemoryStore()
    vault = create_vault(store, OLD, CHEAP)
    vault.change_passphrase(NEW, CHEAP)
    _data, tag = store.get_tagged(VAULT_FILE, MOST)
    store.replace(VAULT_FILE, store.get("vault/1.json", MOST), tag)
    assert open_vault(store, passphrase=OLD).keys.master == vault.keys.master


def test_the_number_of_an_interrupted_change_is_skipped() -> None:
    store = MemoryStore()
    vault = create_vault(store, OLD, CHEAP)
    store.create("vault/2.json", [b"from an interrupted change"])
    vault.change_passphrase(NEW, CHEAP)
    assert open_vault(store, passphrase=NEW).file.number == 3
    assert store.get("vault/2.json", MOST) == b"from an interrupted change"


class ChangedMeanwhileStore(MeteredStore):
    """The passphrase is changed elsewhere between reading vault.json and replacing it."""

    other: Vault | None = None

    def replace(self, name: str, data: bytes | bytearray | memoryview, tag: str) -> None:
        other, self.other = self.other, None
        if other is not None:
            other.change_passphrase("the passphrase of another user", CHEAP)
        super().replace(name, data, tag)


def test_of_two_changes_at_once_one_succeeds_and_the_other_raises() -> None:
    inner = MemoryStore()
    store = ChangedMeanwhileStore(inner)
    vault = create_vault(store, OLD, CHEAP)
    store.other = open_vault(inner, passphrase=OLD)
    with pytest.raises(ObjectChanged):
        vault.change_passphrase(NEW, CHEAP)
    with pytest.raises(WrongPassphrase):
        open_vault(inner, passphrase=NEW)
    assert open_vault(inner, passphrase="the passphrase of another user").id == vault.id
    assert vault.file.number == 1


def test_a_changed_vault_file_is_damaged() -> None:
    store = MemoryStore()
    vault = create_vault(store, OLD, CHEAP)
    data, tag = store.get_tagged(VAULT_FILE, MOST)
    created = vault.file.created.encode()
    store.replace(VAULT_FILE, data.replace(created, b"2001" + created[4:]), tag)
    for opened_by in ({"passphrase": OLD}, {"master": vault.keys.master}):
        with pytest.raises(Damaged):
            open_vault(store, **opened_by)


def test_absurd_costs_are_refused_before_they_are_tried() -> None:
    store = MemoryStore()
    vault = create_vault(store, OLD, CHEAP)
    slot = vault.file.slots[0]
    for kdf in (KdfParameters(2 << 20, 1, 1), KdfParameters(64, 17, 1), KdfParameters(64, 1, 65)):
        absurd = VaultFile(vault.id, 1, "", (type(slot)(slot.id, kdf, slot.salt, b"", b"", ""),))
        with pytest.raises(Damaged, match="asks for"):
            absurd.unlock(OLD)


# --- records ------------------------------------------------------------------------------------------------


def test_machines_and_items_are_the_newest_versions_of_each() -> None:
    vault = create_vault(MemoryStore(), OLD, CHEAP)
    vault.add_machine(Machine(id=MACHINE, name="server", hostname="server", system="Linux", created=1))
    vault.add_item(Item(id=ITEM, machine=MACHINE, name="home", paths=[b"/home"], created=1))
    later = Machine(id=MACHINE, name="renamed", hostname="server", system="Linux", created=1)
    from catalog.format.sealed import Kind

    vault.write_record(Kind.MACHINE, later, f"machines/{MACHINE.hex()}/{2:08d}")
    assert vault.machines() == {MACHINE: later}
    assert vault.items(MACHINE)[ITEM].paths == [b"/home"]


def test_records_are_fetched_once_and_a_bad_copy_again() -> None:
    store = MeteredStore(MemoryStore())
    vault = create_vault(store, OLD, CHEAP)
    point = made(1)
    vault.add_point(point)
    kept: dict[str, bytes] = {}
    reader = Vault(store, vault.keys, vault.file, kept)
    before = store.snapshot()
    assert reader.point(PointName.of(point)) == reader.point(PointName.of(point)) == point
    assert (store.snapshot() - before).requests == 1
    kept[str(PointName.of(point))] = b"damaged on this machine's disk"
    assert reader.point(PointName.of(point)) == point
    assert (store.snapshot() - before).requests == 2
    assert kept[str(PointName.of(point))] == store.get(str(PointName.of(point)), MOST)


def test_points_come_by_sequence_and_partial_ones_only_if_asked() -> None:
    vault = create_vault(MemoryStore(), OLD, CHEAP)
    points = [made(2, when=DAY), made(1, when=2 * DAY), made(3, when=3 * DAY)]  # the clock was set back once
    points[2].partial = True
    for point in points:
        vault.add_point(point)
    other = made(1, machine=b"o" * 16)
    vault.add_point(other)
    assert [n.sequence for n in vault.point_names(MACHINE, ITEM)] == [1, 2]
    assert [n.sequence for n in vault.point_names(MACHINE, partial=True)] == [1, 2, 3]
    assert {n.machine for n in vault.point_names()} == {MACHINE, b"o" * 16}
    assert [key for key, _names in iter_items(vault.point_names())] == [(MACHINE, ITEM), (b"o" * 16, ITEM)]
    assert vault.points(vault.point_names(b"o" * 16)) == [other]


def test_a_points_name_round_trips() -> None:
    for number, partial in ((1, False), (99_999_999, True), (123_456_789_012, False)):
        point = made(number, when=1_795_000_000 * 10**9 + 987_654_321)
        point.partial = partial
        point_name = PointName.of(point)
        assert PointName.parse(str(point_name)) == point_name
        assert point_name.time == 1_795_000_000 * 10**9
        point_name.check(point)
    for other in ("points/x", "points/" + "0" * 32, str(PointName.of(made(1))) + "x", "machines/1/1"):
        assert PointName.parse(other) is None
    assert PointName.parse(str(PointName.of(made(1))).replace("19700101", "19709901")) is None


def test_swapped_and_renamed_points_are_damaged() -> None:
    store = MemoryStore()
    vault = create_vault(store, OLD, CHEAP)
    first, second = made(1), made(2)
    for point in (first, second):
        vault.add_point(point)
    names = [str(PointName.of(p)) for p in (first, second)]
    data = [store.get(n, MOST) for n in names]
    for object_name in names:
        store.delete(object_name)
    store.create(names[0], [data[1]])
    store.create(names[1], [data[0]])
    reader = Vault(store, vault.keys, vault.file)
    for point_name in reader.point_names():
        with pytest.raises(Damaged):
            reader.point(point_name)
    renamed = PointName.of(first)._replace(sequence=7)
    store.create(str(renamed), [data[0]])
    with pytest.raises(Damaged):
        reader.point(renamed)


def test_a_point_sealed_under_the_name_of_another_is_damaged() -> None:
    """The seal is valid, since its maker had the keys, but the name is wrong."""
    from catalog.format.sealed import Kind

    vault = create_vault(MemoryStore(), OLD, CHEAP)
    lie = PointName.of(made(5))
    vault.write_record(Kind.POINT, made(1), str(lie))
    with pytest.raises(Damaged, match="a different point"):
        Vault(vault.store, vault.keys, vault.file).point(lie)


# --- naming a point -----------------------------------------------------------------------------------------


def test_a_point_by_id_and_prefix() -> None:
    names = [name("aa11"), name("aa22", sequence=2), name("b3", sequence=3)]
    assert choose_point(names, "b") == names[2]
    assert choose_point(names, "AA2") == names[1]
    assert choose_point(names, names[0].id.hex()) == names[0]
    with pytest.raises(AmbiguousName):
        choose_point(names, "aa")
    for spec in ("c", "aa3", "nonsense", ""):
        with pytest.raises(NotFound):
            choose_point(names, spec)


def test_latest_is_the_highest_sequence_not_the_latest_clock() -> None:
    first = name("a1", "2026-11-17 08:30:00", 1)
    back = name("a2", "2025-01-01 00:00:00", 2)  # the clock was wrong
    assert choose_point([first, back], "latest") == latest([back, first]) == back
    other = name("a3", "2026-06-01 00:00:00", 1, item=b"x" * 16)
    assert choose_point([first, back, other], "latest") == other
    with pytest.raises(NotFound, match="no recovery points"):
        choose_point([], "latest")


def test_a_point_by_local_time(zone: str) -> None:
    names = [
        name("a1", "2026-11-16 23:59:59", 1),
        name("a2", "2026-11-17 08:30:10", 2),
        name("a3", "2026-11-17 20:00:00", 3),
        name("a4", "2026-11-18 00:00:00", 4),
    ]
    for spec, number in {
        "2026-11-16": 1,
        "2026-11-17": 3,
        "2026-11-18": 4,
        "2030-01-01": 4,
        "9999-12-31": 4,
        "2026-11-17 08": 2,
        "2026-11-17 07": 1,
        "2026-11-17T20": 3,
        "2026-11-17 08:29": 1,
        "2026-11-17 08:30": 2,
        "2026-11-17T08:30": 2,
        "2026-11-17 08:30:09": 1,
        "2026-11-17 08:30:10": 2,
        "2026-11-17T08:30:10": 2,
        "2026-11-17 08.30.10": 2,
        "2026-11-17 20:00:00": 3,
    }.items():
        assert choose_point(names, spec).sequence == number, (spec, zone)
    for spec in ("2026-11-15", "0001-01-01", "2026-02-30"):
        with pytest.raises(NotFound):
            choose_point(names, spec)


def test_a_point_by_a_time_with_a_zone(zone: str) -> None:
    names = [PointName(MACHINE, ITEM, 1_794_900_600 * 10**9, 1, b"a" * 16, False)]
    assert time.gmtime(1_794_900_600)[:5] == (2026, 11, 17, 7, 30)
    assert choose_point(names, "2026-11-17T07:30:00Z") == names[0]
    assert choose_point(names, "2026-11-17T08:30:00+01:00") == names[0]
    with pytest.raises(NotFound):
        choose_point(names, "2026-11-17T07:29:59Z")


def test_the_days_when_the_clocks_change_end_at_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        for day, after in (("2026-03-08", "2026-03-09"), ("2026-11-01", "2026-11-02")):  # of 23 and of 25 hours
            names = [
                name("a1", f"{day} 00:00:00", 1),
                name("a2", f"{day} 23:59:59", 2),
                name("a3", f"{after} 00:00:00", 3),
            ]
            assert choose_point(names, day) == names[1]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_records_in_memory_are_bounded() -> None:
    kept = Kept(100)
    for n in range(10):
        kept[str(n)] = bytes(30)
    assert list(kept) == ["7", "8", "9"]
    kept["8"] = bytes(1)
    kept["large"] = bytes(101)
    assert len(kept) == 0 and kept.pop("8", None) is None
