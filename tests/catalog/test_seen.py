"""Points that vanish are reported."""

from __future__ import annotations

from pathlib import Path

from catalog.format.records import PointName
from catalog.points.seen import Gap, Seen, gaps

M, ITEM, OTHER = b"m" * 16, b"i" * 16, b"j" * 16


def name(sequence: int, item: bytes = ITEM, *, partial: bool = False) -> PointName:
    return PointName(M, item, sequence * 10**9, sequence, sequence.to_bytes(16, "big"), partial)


def test_a_whole_row_has_no_gap() -> None:
    assert gaps([name(1), name(2), name(3, partial=True)], {}) == []


def test_gaps_at_the_beginning_in_the_middle_and_at_the_end() -> None:
    assert gaps([name(3), name(6)], {(M, ITEM): 8}) == [Gap(M, ITEM, 1, 2), Gap(M, ITEM, 4, 5), Gap(M, ITEM, 7, 8)]


def test_an_item_of_which_nothing_is_left() -> None:
    assert gaps([], {(M, ITEM): 2}) == [Gap(M, ITEM, 1, 2)]


def test_a_vault_brought_back_to_an_old_state_is_noticed(tmp_path: Path) -> None:
    seen = Seen(tmp_path, b"v" * 16)
    assert seen.check([name(1), name(2), name(3), name(1, OTHER)]) == []
    missing = Seen(tmp_path, b"v" * 16).check([name(1), name(1, OTHER)])
    assert missing == [Gap(M, ITEM, 2, 3)]
    assert "points 2 to 3" in str(missing[0])
    assert seen.highest() == {(M, ITEM): 3, (M, OTHER): 1}


def test_a_listing_of_one_item_says_nothing_of_others(tmp_path: Path) -> None:
    seen = Seen(tmp_path, b"v" * 16)
    seen.check([name(1), name(1, OTHER)])
    assert seen.check([name(1, OTHER)]) == []


def test_a_damaged_memory_claims_nothing(tmp_path: Path) -> None:
    seen = Seen(tmp_path, b"v" * 16)
    seen.check([name(1)])
    next(tmp_path.iterdir()).write_text("[[1]]")
    assert seen.check([name(2)]) == [Gap(M, ITEM, 1, 1)]
