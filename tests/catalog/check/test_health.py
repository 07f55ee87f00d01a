"""Which points count as read back whole, and which as damaged, by the records of checks."""

from __future__ import annotations

import os
from typing import Any

import pytest
from msgspec.structs import replace

from catalog.check.records import News, add
from catalog.format.checks import SLICES, BadRow, ChecksRecord, DamagedRow, SliceRow
from catalog.format.records import Machine, Point
from catalog.points.health import Health, damage_cell, damage_lines, health_json
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from tests.kit.drives import ITEM, add_point
from tests.kit.vaultmaker import MACHINE, open_empty

OTHER = bytes(range(100, 116))


def record(read: int = 100, machine: bytes = MACHINE, slices: int = SLICES, **fields: Any) -> ChecksRecord:
    rows = [SliceRow(n, read, machine, 0, 0, 0) for n in range(slices)]
    whole = ChecksRecord(series=machine[:4], number=1, by=machine, written=0, slices=rows)
    return replace(whole, **fields)


def machine(one: bytes, shares: list[bytes] | None = None) -> dict[bytes, Machine]:
    return {one: Machine(id=one, name="m", hostname="m", system="Linux", created=1, shares=shares or [])}


@pytest.fixture
def point() -> Point:
    return add_point(open_empty(MemoryStore()), None, 1)


BAD = BadRow(MACHINE[:4] + bytes(12), 1, 8, 100, 2, 1, "reason")


def test_a_point_is_verified_if_every_slice_was_read_after_it_was_stored(point: Point) -> None:
    assert Health([record(100)], machine(MACHINE)).verified(point, 99)
    assert not Health([record(100)], machine(MACHINE)).verified(point, 100)
    assert not Health([record(100, slices=255)], machine(MACHINE)).verified(point, 99)
    assert not Health([], machine(MACHINE)).verified(point, 99)
    assert not Health([record(100, OTHER)], machine(MACHINE)).verified(point, 99)


def test_one_old_slice_is_enough_to_leave_it_unverified(point: Point) -> None:
    rows = record(100).slices
    rows[77] = SliceRow(77, 50, MACHINE, 0, 0, 0)
    assert not Health([replace(record(100), slices=rows)], {}).verified(point, 60)


def test_all_series_that_its_machine_shares_count(point: Point) -> None:
    machines = machine(MACHINE, [OTHER])
    assert not Health([record(100)], machines).verified(point, 99)
    assert Health([record(100), record(100, OTHER)], machines).verified(point, 99)
    assert not Health([record(100), record(98, OTHER)], machines).verified(point, 99)


def test_damage_elsewhere_does_not_matter_once_it_is_known_where(point: Point) -> None:
    row = DamagedRow(MACHINE, ITEM, os.urandom(16), 2, [b"a"])
    unnamed = record(bad=[BAD], bad_count=1)
    assert not Health([unnamed], {}).verified(point, 1)
    assert Health([replace(unnamed, damaged=[row], damaged_count=1)], {}).verified(point, 1)
    assert not Health([replace(unnamed, damaged=[row], damaged_count=2)], {}).verified(point, 1)
    own = replace(row, point=point.id)
    health = Health([replace(unnamed, damaged=[own], damaged_count=1)], {})
    assert not health.verified(point, 1)
    assert health.damaged(point) == own


def test_words(point: Point) -> None:
    row = DamagedRow(MACHINE, ITEM, point.id, 5, [b"a", b"b/", b"\xff", b"d"])
    health = Health([record(bad=[BAD], bad_count=1, damaged=[row], damaged_count=1)], {})
    assert damage_cell(health.damaged(point)) == "5 files"
    assert damage_cell(None) == ""
    assert damage_lines([point], health) == [
        f"{point.id.hex()[:8]} is damaged: 5 files can't be given back: /a, /b/, /\ufffd …",
        "What to do about damage: docs/repair.md",
    ]
    assert damage_lines([point], Health([], {})) == []
    found = health_json(point, 1, health)
    assert (found["verified"], found["damaged_files"], len(found["damaged_paths"])) == (False, 5, 4)
    assert found["damaged_paths"][0] == {"path": "/a"}


def test_only_records_of_the_machines_and_of_what_they_share_are_read() -> None:
    store = MeteredStore(MemoryStore())
    vault = open_empty(store)
    for one in (MACHINE, OTHER, bytes(range(200, 216))):
        add(vault, one, one, 1, News())
    before = store.snapshot()
    Health.of(vault, [MACHINE], machine(MACHINE))
    assert (store.snapshot() - before).requests == 2
    before = store.snapshot()
    Health.of(vault, [MACHINE], machine(MACHINE, [OTHER]))
    assert (store.snapshot() - before).requests == 3
