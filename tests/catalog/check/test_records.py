"""Records of checks in a vault: joined, whoever else writes, and believed only if they open."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from catalog.check import records
from catalog.check.finding import Finding, What
from catalog.check.records import News, add, joined, newest, newest_of_all
from catalog.format.blocks import PackKind
from catalog.format.checks import BadRow, DamagedRow, PartRow, SliceRow, checks_folder
from catalog.format.sealed import Kind
from catalog.store.base import Buffer
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from tests.kit.vaultmaker import MACHINE, open_empty

NOW = 1000  # ns
SERIES, OTHER = MACHINE[:4], bytes(range(100, 116))


def pack(n: int, rest: int = 0) -> bytes:
    return SERIES + bytes([0, n]) + rest.to_bytes(10, "big")


def row(n: int, read: int, faults: int = 0) -> SliceRow:
    return SliceRow(n, read, MACHINE, 1, 2, faults)


def bad(n: int, level: int = 2, rest: int = 0, found: int = 1) -> BadRow:
    return BadRow(pack(n, rest), 1, 8, 100, level, found, "reason")


def test_a_record_is_stored_and_found_again() -> None:
    store = MeteredStore(MemoryStore())
    vault = open_empty(store)
    assert newest(vault, MACHINE) is None
    before = store.snapshot()
    written = add(vault, MACHINE, MACHINE, 5, News([row(1, 3)], bad=[bad(1)], ahead=7))
    assert (store.snapshot() - before).requests == 2
    assert (written.number, written.written, written.ahead, written.slices) == (1, 5, 7, [row(1, 3)])
    assert newest(vault, MACHINE) == written
    assert newest_of_all(vault) == [written]
    assert newest_of_all(vault, {bytes(4)}) == []
    again = add(vault, MACHINE, OTHER, 6, News([row(2, 4)]))
    assert (again.number, again.by, again.slices) == (2, OTHER, [row(1, 3), row(2, 4)])
    assert again.bad == [bad(1)]
    assert again.ahead == 7


def test_the_later_reading_of_a_slice_counts_with_its_rows() -> None:
    base = joined(None, News([row(1, 10), row(2, 10)], bad=[bad(1), bad(2)]), SERIES, 1, MACHINE, NOW)
    assert base.bad == [bad(1), bad(2)]
    assert base.bad_count == 2
    healed = joined(base, News([row(1, 20)]), SERIES, 2, MACHINE, NOW)
    assert healed.bad == [bad(2)]
    late = joined(base, News([row(2, 9)], bad=[bad(2, rest=7)]), SERIES, 2, MACHINE, NOW)
    assert late.slices == base.slices
    assert late.bad == base.bad


def test_findings_of_lower_levels_are_replaced_by_a_run_of_that_level() -> None:
    base = joined(None, News(levels=(0, 1), bad=[bad(1, 0), bad(2, 1)]), SERIES, 1, MACHINE, NOW)
    assert base.bad == [bad(1, 0), bad(2, 1)]
    assert joined(base, News([row(1, 5)]), SERIES, 2, MACHINE, NOW).bad == base.bad
    assert joined(base, News(levels=(0,)), SERIES, 2, MACHINE, NOW).bad == [bad(2, 1)]
    assert joined(base, News(levels=(0, 1)), SERIES, 2, MACHINE, NOW).bad == []


def test_a_part_counts_until_its_slice_is_read() -> None:
    first, second = PartRow(1, 10, 1, pack(1, 3), 1, 2, 0), PartRow(1, 10, 1, pack(1, 5), 2, 4, 0)
    base = joined(None, News(parts=[second], bad=[bad(1)]), SERIES, 1, MACHINE, NOW)
    assert joined(base, News(parts=[first]), SERIES, 2, OTHER, NOW).parts == [second]
    assert base.bad == [bad(1)]
    done = joined(base, News([row(1, 10)], bad=[bad(1, rest=9)]), SERIES, 2, MACHINE, NOW)
    assert (done.parts, done.bad) == ([], [bad(1, rest=9)])
    assert joined(done, News(parts=[second]), SERIES, 3, OTHER, NOW).parts == []


def test_damaged_points_are_those_of_the_last_run_that_looked() -> None:
    damaged = DamagedRow(MACHINE, OTHER, MACHINE, 3, [b"a"])
    base = joined(None, News(bad=[], more=[bad(1)], damaged=[damaged]), SERIES, 1, MACHINE, NOW)
    assert base.damaged == [damaged]
    assert joined(base, News([row(3, 1)]), SERIES, 2, MACHINE, NOW).damaged == [damaged]
    assert joined(base, News(damaged=[]), SERIES, 2, MACHINE, NOW).damaged == []


class Hurried(MemoryStore):
    """Runs `first` before the first record of a check is created: another machine is faster."""

    first: Any = None

    def create(self, name: str, parts: Any, *, until: Any = None) -> int:
        if name.startswith("checks/") and self.first is not None:
            first, self.first = self.first, None
            first()
        return super().create(name, parts, until=until)


def test_two_machines_that_write_at_once_keep_what_both_have_found() -> None:
    store = Hurried()
    vault = open_empty(store)
    store.first = lambda: add(vault, MACHINE, OTHER, NOW, News([row(1, 5)], bad=[bad(1)]))
    mine = add(vault, MACHINE, MACHINE, NOW, News([row(2, 6)], bad=[bad(2)]))
    assert mine.number == 2
    assert mine.slices == [row(1, 5), row(2, 6)]
    assert mine.bad == [bad(1), bad(2)]


def put(store: MemoryStore, name: str, data: Buffer) -> None:
    store.objects[name] = bytes(data)


def test_records_that_do_not_open_are_passed_over() -> None:
    store = MemoryStore()
    vault = open_empty(store)
    good = add(vault, MACHINE, MACHINE, 5, News([row(1, 3)]))
    folder = checks_folder(MACHINE)
    first = store.objects[folder + "00000001"]
    put(store, folder + "00000002", b"junk")
    put(store, folder + "00000007", first)  # under another name
    put(store, folder + "x", b"junk")
    assert newest(vault, MACHINE) == good
    assert newest_of_all(vault) == [good]
    assert add(vault, MACHINE, MACHINE, 6, News()).number == 8


def test_a_record_is_cut_to_what_a_reader_accepts() -> None:
    many = [bad(n % 256, rest=n) for n in range(10_050)]
    vault = open_empty(MemoryStore())
    written = add(vault, MACHINE, MACHINE, 1, News(more=many))
    assert (len(written.bad), written.bad_count) == (10_000, 10_050)
    assert newest(vault, MACHINE) == written


def test_rows_are_of_findings_with_bytes_of_packs() -> None:
    block = Finding(2, What.BLOCK, "packs/x", "why", PackKind.DATA, pack(1), 8, 100)
    found = [
        block,
        block._replace(acknowledged=True),
        block._replace(healed=True),
        Finding(0, What.GAP, "points/x", "why"),
        block._replace(reason="\udcff" * 1000),
    ]
    rows = records.bad_rows(found, 9)
    assert rows[0] == BadRow(pack(1), 1, 8, 100, 2, 9, "damaged block: why")
    assert len(rows) == 2
    assert len(rows[1].reason) <= 500
    rows[1].reason.encode()


slices = st.lists(st.builds(row, st.integers(0, 5), st.integers(1, 9)), max_size=6, unique_by=lambda r: r.slice)


def news_of(rows: list[SliceRow]) -> News:
    return News(rows, bad=[bad(r.slice, rest=r.read) for r in rows])


@given(slices, slices)
def test_the_order_of_two_runs_that_write_at_once_does_not_matter(
    mine: list[SliceRow], theirs: list[SliceRow]
) -> None:
    one = joined(joined(None, news_of(mine), SERIES, 1, MACHINE, NOW), news_of(theirs), SERIES, 2, MACHINE, NOW)
    two = joined(joined(None, news_of(theirs), SERIES, 1, MACHINE, NOW), news_of(mine), SERIES, 2, MACHINE, NOW)
    assert one == two
    assert sorted(r.pack for r in one.bad) == sorted(pack(r.slice, r.read) for r in one.slices)


def test_the_sealed_record_is_of_its_kind() -> None:
    store = MemoryStore()
    vault: Vault = open_empty(store)
    add(vault, MACHINE, MACHINE, 5, News())
    (name,) = store.objects
    assert store.objects[name][5] == Kind.CHECKS
