"""The table of all points of a vault says what a mapping of them would, and is in a file."""

from __future__ import annotations

import random
import tracemalloc

from catalog.format.records import PointName
from catalog.ledger.table import PointTable, by_sequence, by_time
from catalog.points.choice import newest_first

SECOND = 10**9


def rows(items: int, points: int) -> list[tuple[PointName, int]]:
    rng = random.Random(5)
    found = []
    for _item in range(items):
        machine, item = rng.randbytes(16), rng.randbytes(16)
        for n in range(points):
            time = (1_700_000_000 + n) * SECOND
            name = PointName(machine, item, time, n + 1, rng.randbytes(16), rng.random() < 0.1)
            found.append((name, time + rng.randrange(SECOND)))
    return found


def test_a_table_is_the_mapping_of_its_whole_points() -> None:
    some = rows(5, 2_000)
    some += [(name._replace(id=bytes(16)), when) for name, when in rows(5, 10)]  # the same items once more
    whole = {name: when for name, when in some if not name.partial}
    table = PointTable(some)
    assert len(table) == len(whole) and dict(table.each()) == whole == dict(table)
    assert table.keys_of_items() == list(dict.fromkeys((n.machine, n.item) for n in whole))
    for key in table.keys_of_items():
        assert table.of(key) == [name for name in whole if (name.machine, name.item) == key]
    partial = next(name for name, _when in some if name.partial)
    assert partial not in table and table.get(partial, 7) == 7 and table.of((b"", b"")) == []
    assert not PointTable()


def test_points_are_ranked_as_a_list_of_all_names_is() -> None:
    rng = random.Random(7)
    some = [
        (n._replace(time=rng.randrange(40) * SECOND, sequence=rng.randrange(30)), when) for n, when in rows(4, 50)
    ]
    table = PointTable(sorted(some))
    names = list(table)
    assert list(table.ranked(by_sequence)) == list(newest_first(names))
    ranked = list(table.ranked(by_time, 25 * SECOND))
    assert sorted(ranked) == sorted(n for n in names if n.time < 25 * SECOND)
    assert [(n.time, n.sequence) for n in ranked] == sorted(((n.time, n.sequence) for n in ranked), reverse=True)


def test_the_time_of_an_object_is_found_among_many() -> None:
    some = rows(2, 3_000)
    table = PointTable(some)
    assert all(table[name] == when for name, when in some[::97] if not name.partial)
    assert some[0][0]._replace(id=b"x" * 16) not in table


def test_absurd_times_and_numbers_have_rows() -> None:
    for text in ("10000101T000000Z-00000001", "99991231T235959Z-99999999"):
        name = PointName.parse(f"points/{'ab' * 16}/{'cd' * 16}/{text}-{'ef' * 16}")
        assert name is not None
        for when in (0, -1, name.time + 1):
            table = PointTable([(name, when)])
            assert list(table.each()) == [(name, when)] and table[name] == when


def test_the_rows_of_a_large_table_are_not_in_memory() -> None:
    some = rows(1, 1_000)
    tracemalloc.start()
    table = PointTable(row for _turn in range(300) for row in some)
    size, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) > 250_000 and size < 1 << 20
