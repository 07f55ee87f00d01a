"""What a ledger says, and how it changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from catalog.format.ledger import ForgottenRow, HeldRow, How, PastRow, decode_ledger, encode_ledger, fault_of
from catalog.format.records import PointName
from catalog.ledger.state import SETTLED, Ledger, joined, missing_in
from tests.kit.golden_ledger import LATER, WHOLE, name_of

MACHINE, ITEM = b"m" * 16, b"i" * 16
EMPTY = Ledger(MACHINE, ITEM)


def point(n: int) -> bytes:
    return n.to_bytes(16, "big")


def name(n: int, *, sequence: int | None = None, partial: bool = False) -> PointName:
    return PointName(MACHINE, ITEM, 10**9, n if sequence is None else sequence, point(n), partial)


def row(n: int, until: int = 0, how: int = How.BY_HAND) -> ForgottenRow:
    return ForgottenRow(point(n), n, 0, until, how, "", "")


def gone(*numbers: int, now: int = 0) -> Ledger:
    return EMPTY.forget(map(row, numbers)).take(map(point, numbers), now)


def test_a_forgotten_point_is_hidden_and_comes_back() -> None:
    ledger = EMPTY.forget([row(1, 5), row(2, 5)])
    assert [ledger.is_hidden(name(n)) for n in (1, 2, 3)] == [True, True, False]
    assert not ledger.is_gone(name(1))
    assert [ledger.is_due(point(1), now) for now in (4, 5)] == [False, True]
    assert not ledger.undelete([point(1)]).is_hidden(name(1))
    assert ledger.undelete([point(3)]) is ledger is ledger.forget([row(1, 9)])
    assert ledger.forget([row(1, 3)]).is_due(point(1), 3), "the earlier of two ends counts"


def test_what_is_held_does_not_go() -> None:
    ledger = EMPTY.forget([row(1), row(2)]).hold(
        [HeldRow(point(1), 1, 0, None, "", ""), HeldRow(point(2), 2, 0, 7, "", "")]
    )
    assert [ledger.is_held(point(n), 6) for n in (1, 2, 3)] == [True, True, False]
    assert ledger.take([point(1), point(2)], 6) is ledger
    after = ledger.take([point(1), point(2)], 7)
    assert [*after.gone] == [point(2)] and [*after.held] == [*after.forgotten] == [point(1)]
    assert not ledger.release([point(1)]).is_held(point(1), 0)
    assert ledger.release([point(3)]) is ledger


def test_what_is_gone_is_final() -> None:
    ledger = gone(1, 2)
    assert ledger.is_gone(name(1)) and ledger.is_hidden(name(1))
    assert ledger.forget([row(1)]) is ledger is ledger.undelete([point(1)])
    assert ledger.hold([HeldRow(point(1), 1, 0, None, "", "")]) is ledger
    assert ledger.take([point(3)], 0) is ledger, "it was not forgotten"


def test_numbers_of_what_is_gone_become_ranges() -> None:
    ledger = gone(1, 2, 3, 5)
    assert ledger.fold([], SETTLED - 1) is ledger, "a late writer may still be busy"
    still = ledger.fold([name(2), name(9, sequence=5, partial=True)], SETTLED)
    assert [*still.gone] == [point(2), point(5)], "their objects, or others with their number, are there"
    assert still.past == (PastRow(1, 1, 0, [1]), PastRow(3, 3, 0, [1]))
    after = still.fold([], SETTLED)
    assert after.past == (PastRow(1, 3, 0, [3]), PastRow(5, 5, 0, [1])) and not after.gone
    assert after.is_gone(name(2)), "the store's own undelete does not bring it back"
    assert not after.is_gone(name(4)) and not after.is_gone(name(2, partial=True))


def test_missing_points_that_come_back_are_points() -> None:
    ledger = gone(1, 2).fold([], SETTLED).accept([(3, 4), (6, 6)], 9)
    assert ledger.past == (PastRow(1, 2, 0, [2]), PastRow(3, 4, 9, [0, 0, 0, 2]), PastRow(6, 6, 9, [0, 0, 0, 1]))
    assert not ledger.is_gone(name(3)) and ledger.is_gone(name(2))
    # One comes back, and is forgotten.
    again = ledger.forget([row(4)]).take([point(4)], 10).fold([], SETTLED + 10)
    assert again.past[1:3] == (PastRow(3, 3, 9, [0, 0, 0, 1]), PastRow(4, 4, 10, [1]))


def test_gaps() -> None:
    ledger = gone(2).forget([row(4)])
    assert ledger.gaps([1, 3], 4) == []
    assert ledger.gaps([1], 4) == [(3, 3)]
    assert ledger.gaps([], 7) == [(1, 1), (3, 3), (5, 7)]
    assert ledger.accept([(1, 1), (5, 7)], 0).gaps([3], 7) == []
    assert EMPTY.gaps([9], 3) == [(1, 3)] and EMPTY.gaps([], 0) == []
    assert ledger.highest == 4 and EMPTY.highest == 0


def test_a_hundred_thousand_points_fold() -> None:
    ledger = gone(*range(1, 100_001))
    kept = [name(n) for n in range(30, 100_001, 30)]
    after = ledger.fold(kept, SETTLED)
    assert len(after.past) == 3_334 and len(after.gone) == 3_333
    assert len(encode_ledger(after.record(1, 0, ""))) < 250_000
    assert len(encode_ledger(after.fold([], SETTLED).record(1, 0, ""))) < 200
    assert after.gaps([], 100_000) == []


numbers = st.integers(1, 40)
ranges = st.tuples(numbers, st.integers(0, 5), st.lists(st.integers(0, 3), max_size=5))


@given(st.lists(ranges, max_size=12))
def test_joined_rows_say_the_same(some: list[tuple[int, int, list[int]]]) -> None:
    rows = [PastRow(a, a + more, 0, counts) for a, more, counts in some]
    after = joined(rows)
    assert fault_of(Ledger(MACHINE, ITEM, past=after).record(1, 0, "")) is None
    for n in range(1, 50):
        among = [r for r in rows if r.first <= n <= r.last]
        found = Ledger(MACHINE, ITEM, past=after).past_of(n)
        assert (found is None) == (not among)
        if found is not None:
            assert bool(missing_in(found)) == all(missing_in(r) for r in among)
    assert joined(reversed(after)) == after


actions = st.lists(
    st.tuples(
        st.sampled_from(["forget", "undelete", "hold", "release", "take", "fold"]), st.sets(numbers, max_size=9)
    ),
    max_size=15,
)


@given(actions)
def test_no_history_makes_a_record_that_readers_refuse(history: list[tuple[str, set[int]]]) -> None:
    """And no number is ever lost: each stays a point, or explained."""
    ledger, time, deleted = EMPTY, 0, set[int]()
    for what, some in history:
        before, time = ledger, time + SETTLED
        ids = [point(n) for n in some]
        match what:
            case "forget":
                ledger = ledger.forget(row(n, time) for n in some if n not in deleted)
            case "undelete":
                ledger = ledger.undelete(ids)
            case "hold":
                ledger = ledger.hold(HeldRow(point(n), n, time, None, "", "") for n in some if n not in deleted)
            case "release":
                ledger = ledger.release(ids)
            case "take":
                held = {p for p in ids if ledger.is_held(p, time)}
                ledger = ledger.take(ids, time)
                assert not held & ledger.gone.keys()
            case _:
                deleted |= {n for n in some if point(n) in ledger.gone}
                ledger = ledger.fold([name(n) for n in range(1, 46) if n not in deleted], time)
        assert {n for n in range(1, 46) if before.is_gone(name(n))} <= {
            n for n in range(1, 46) if ledger.is_gone(name(n))
        }
        assert ledger.gaps(set(range(1, 46)) - deleted, 45) == []
        content = encode_ledger(ledger.record(7, time, "me"))
        record = decode_ledger(content, f"ledger/{MACHINE.hex()}/{ITEM.hex()}/00000007").record
        assert Ledger.of(record, {})._replace(number=0) == ledger


def test_what_a_later_version_added_is_kept() -> None:
    """Fields, and elements of rows that stay."""
    read = decode_ledger(encode_ledger(WHOLE, LATER), name_of(WHOLE))
    ledger = Ledger.of(*read).forget([ForgottenRow(point(9), 9, 0, 0, 1, "", "")])
    content = encode_ledger(ledger.record(1, 0, ""), ledger.unknown)
    assert decode_ledger(content, name_of(WHOLE)).unknown == LATER
    assert [*ledger.gone.values()] == WHOLE.gone
