"""Points that vanish are reported."""

from __future__ import annotations

import json
from pathlib import Path

from catalog.format.keys import Keys
from catalog.format.records import PointName
from catalog.format.vaultfile import CopyMark, VaultFile
from catalog.points.seen import Gap, Seen, gaps
from catalog.store.memory import MemoryStore
from catalog.vault import Vault

M, ITEM, OTHER = b"m" * 16, b"i" * 16, b"j" * 16


def vault(copy: CopyMark | None = None) -> Vault:
    keys = Keys(bytes(32), b"v" * 16)
    return Vault(MemoryStore(), keys, VaultFile(keys.vault_id, 1, "", (), copy=copy))


def name(sequence: int, item: bytes = ITEM, *, partial: bool = False) -> PointName:
    return PointName(M, item, sequence * 10**9, sequence, sequence.to_bytes(16, "big"), partial)


def check(folder: Path, *names: PointName) -> list[Gap]:
    """A listing in which all records open."""
    return Seen(folder, vault()).check(names, names)


def test_a_whole_row_has_no_gap() -> None:
    assert gaps([name(1), name(2), name(3, partial=True)], {(M, ITEM): 2}) == []


def test_gaps_at_the_beginning_in_the_middle_and_at_the_end() -> None:
    assert gaps([name(3), name(6)], {(M, ITEM): 8}) == [Gap(M, ITEM, 1, 2), Gap(M, ITEM, 4, 5), Gap(M, ITEM, 7, 8)]


def test_an_item_of_which_nothing_is_left() -> None:
    assert gaps([], {(M, ITEM): 2}) == [Gap(M, ITEM, 1, 2)]


def test_a_vault_brought_back_to_an_old_state_is_noticed(tmp_path: Path) -> None:
    assert check(tmp_path, name(1), name(2), name(3), name(1, OTHER)) == []
    missing = check(tmp_path, name(1), name(1, OTHER))
    assert missing == [Gap(M, ITEM, 2, 3)]
    assert "points 2 to 3" in str(missing[0])
    assert Seen(tmp_path, vault()).highest() == {(M, ITEM): 3, (M, OTHER): 1}


def test_a_listing_of_one_item_says_nothing_of_others(tmp_path: Path) -> None:
    check(tmp_path, name(1), name(1, OTHER))
    assert check(tmp_path, name(1, OTHER)) == []


def test_a_damaged_memory_claims_nothing(tmp_path: Path) -> None:
    check(tmp_path, name(1))
    next(tmp_path.iterdir()).write_text("[[1]]")
    assert check(tmp_path, name(2)) == [Gap(M, ITEM, 1, 1)]


def test_a_name_alone_is_never_seen(tmp_path: Path) -> None:
    """Whoever may create objects gave one the name of point 900,000; an admin deleted it again."""
    seen, good, junk = Seen(tmp_path, vault()), [name(1), name(2)], name(900_000)
    assert seen.check([*good, junk], good) == []
    assert seen.check(good, good) == []
    assert seen.highest() == {(M, ITEM): 2}
    nothing_opens = name(2**63 - 1, OTHER)
    assert seen.check([*good, nothing_opens], good) == []


def test_a_point_that_does_not_open_is_damaged_and_not_missing(tmp_path: Path) -> None:
    seen = Seen(tmp_path, vault())
    assert seen.check([name(1), name(2), name(3)], [name(1), name(3)]) == []
    assert seen.check([name(1), name(2), name(3)], [name(1)]) == []
    assert seen.check([name(1), name(2)], [name(1)]) == [Gap(M, ITEM, 3, 3)]


# --- a promoted copy ------------------------------------------------------------------------------------------

PROMOTED = 100  # s
COPY = CopyMark("file:///a", "", PROMOTED)
EARLIER, LATER = PROMOTED * 10**9, PROMOTED * 10**9 + 1  # ns: when points were stored


def seen_at(folder: Path, copy: CopyMark | None, *stored: tuple[int, int]) -> list[Gap]:
    """A listing of points by number and time at a place, all of which open."""
    place = vault(copy)
    names = [name(number) for number, _time in stored]
    seen = Seen(folder, place)
    for one, (_number, time) in zip(names, stored, strict=True):
        place.jumps.stored(one, time)
    return seen.check(names, names)


def test_only_the_numbers_between_are_skipped(tmp_path: Path) -> None:
    before, after = [(1, EARLIER), (2, EARLIER)], [(6, LATER), (7, LATER)]
    assert seen_at(tmp_path, COPY, *before) == seen_at(tmp_path, COPY, *before, *after) == []
    assert seen_at(tmp_path / "x", None, *before, *after) == [Gap(M, ITEM, 3, 5)]
    assert seen_at(tmp_path, COPY, *before, after[1]) == [Gap(M, ITEM, 6, 6)]
    assert seen_at(tmp_path, COPY, before[0], *after) == [Gap(M, ITEM, 2, 2)]
    assert seen_at(tmp_path, COPY, *before) == [Gap(M, ITEM, 6, 7)]
    assert seen_at(tmp_path, COPY) == []  # of an item of which nothing is listed, nothing is said here
    everything_is_younger = [(number, LATER) for number, _time in (*before, *after)]  # it was moved to another disk
    assert seen_at(tmp_path, COPY, *everything_is_younger) == []
    assert seen_at(tmp_path, COPY, *everything_is_younger[1:]) == [Gap(M, ITEM, 1, 1)]


def test_what_was_seen_before_the_promotion_counts(tmp_path: Path) -> None:
    following = CopyMark("file:///a", "")
    before = [(1, EARLIER), (2, EARLIER), (3, EARLIER)]
    assert seen_at(tmp_path, following, *before) == []
    assert seen_at(tmp_path, COPY, *before[:2], (9, LATER)) == [Gap(M, ITEM, 3, 3)]
    again = CopyMark("file:///b", "", PROMOTED + 50)  # the place was emptied and promoted a second time
    assert seen_at(tmp_path, again, *before, (9, EARLIER), (12, LATER + 60 * 10**9)) == [Gap(M, ITEM, 4, 8)]


def test_the_edges_of_a_promotion_are_all_that_need_be_seen(tmp_path: Path) -> None:
    """`rpdrive points` opens what it shows, and these: what it notes is the same as if it had opened all."""
    some = [(n, EARLIER) for n in range(1, 6)] + [(n, LATER) for n in range(9, 14)]
    notes = []
    for folder, every in ((tmp_path / "all", True), (tmp_path / "edges", False)):
        folder.mkdir()
        one = vault(COPY)
        for number, when in some:
            one.jumps.stored(name(number), when)
        numbers = [number for number, _when in some]
        edges = one.jumps.edges((M, ITEM), numbers)
        assert edges == {5, 9} and vault().jumps.edges((M, ITEM), numbers) == set()
        opened = [name(n) for n in numbers if every or n in edges or n == 13]
        assert Seen(folder, one).check([name(n) for n in numbers], opened) == []
        notes.append(next(folder.iterdir()).read_bytes())
    assert notes[0] == notes[1]


def test_the_file_is_that_of_earlier_versions_where_nothing_was_promoted(tmp_path: Path) -> None:
    check(tmp_path, name(1), name(2))
    (path,) = tmp_path.iterdir()
    assert path.name == f"seen-{(b'v' * 16).hex()}.json"
    assert path.read_text() == json.dumps([[M.hex(), ITEM.hex(), 2]]) + "\n"
    path.write_text(json.dumps([[M.hex(), ITEM.hex(), 2, 1, 5]]))  # a row with fewer elements than there should be
    assert Seen(tmp_path, vault(COPY)).highest() == {(M, ITEM): 2}


def test_a_new_point_of_a_promoted_copy_has_a_number_of_its_own(tmp_path: Path) -> None:
    here, there = vault(COPY), vault()
    here.state_id += "-12345678"
    Seen(tmp_path, there).check([name(5), name(1, OTHER)], [name(5), name(1, OTHER)])
    Seen(tmp_path, here).check([name(2)], [name(2)])
    assert Seen(tmp_path, here).taken() == {(M, ITEM): 5, (M, OTHER): 1}
    assert Seen(tmp_path, there).taken() == {(M, ITEM): 5, (M, OTHER): 1}
    assert Seen(tmp_path, here).highest() == {(M, ITEM): 2}
    assert Seen(tmp_path, here).elsewhere() == {there.state_id: {(M, ITEM): 5, (M, OTHER): 1}}
