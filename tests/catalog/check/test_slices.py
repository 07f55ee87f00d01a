"""Which slices are read next: each once, the longest ago first, whatever share a run is to read."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from catalog.check.packs import Target
from catalog.check.slices import (
    Span,
    oldest,
    order_of,
    rest_of,
    series_of,
    share_of,
    sizes_of,
    targets_of,
)
from catalog.format.blocks import PackKind
from catalog.format.checks import SLICES, ChecksRecord, PartRow, SliceRow
from tests.kit.vaultmaker import MACHINE

SERIES = MACHINE[:4]


class Spans:
    """What points refer to, in memory."""

    def __init__(self, packs: dict[tuple[PackKind, bytes], list[Span]]) -> None:
        self.packs, self.passes = packs, 0

    def spans(self, kind: PackKind) -> Iterator[tuple[bytes, list[Span]]]:
        self.passes += 1
        for one, pack in sorted(self.packs):
            if one is kind:
                yield pack, self.packs[kind, pack]


def pack_of(slice_number: int, n: int, series: bytes = SERIES) -> bytes:
    return series + bytes([0, slice_number]) + n.to_bytes(10, "big")


def record(read: dict[int, int], parts: list[PartRow] | None = None, ahead: int = 0) -> ChecksRecord:
    rows = [SliceRow(n, at, MACHINE, 0, 0, 0) for n, at in sorted(read.items())]
    return ChecksRecord(series=SERIES, number=1, by=MACHINE, written=0, slices=rows, parts=parts or [], ahead=ahead)


@given(st.floats(0.01, 99.9), st.integers(1, 40))
def test_runs_read_their_share_and_no_slice_more(percent: float, runs: int) -> None:
    ahead, read = 0, 0
    wanted = max(round(percent * SLICES * 10), 1)  # thousandths of a slice
    for n in range(1, runs + 1):
        share = share_of(percent, ahead)
        read, ahead = read + share.slices, share.ahead
        assert 0 <= ahead < 1000
        assert read == math.ceil(n * wanted / 1000)


def test_one_per_cent_a_day_reads_all_in_100_days_and_nothing_twice() -> None:
    read: dict[int, int] = {}
    ahead, longest = 0, 0
    for day in range(1, 301):
        share = share_of(1, ahead)
        ahead = share.ahead
        for n in order_of(record(read))[: share.slices]:
            longest = max(longest, day - read.get(n, 0))
            assert day <= 100 or day - read[n] in (100, 101)
            assert n not in read or day > 100
            read[n] = day
        assert (len(read) == SLICES) == (day >= 100)
    assert longest <= 101


def test_all_is_all() -> None:
    assert share_of(100, 0) == (SLICES, 0)
    assert share_of(100, 999) == (SLICES, 0)


def test_a_run_that_is_ahead_may_read_nothing() -> None:
    assert share_of(0.1, 999) == (0, 743)


def test_never_comes_first_then_the_longest_ago_and_a_begun_slice_before_its_equals() -> None:
    part = PartRow(9, 1, 1, pack_of(9, 1), 0, 0, 0)
    order = order_of(record({n: 100 - n for n in range(5)}, [part]))
    assert sorted(order) == list(range(SLICES))
    assert order[:3] == [9, 5, 6]
    assert order[-5:] == [4, 3, 2, 1, 0]
    assert order_of(None) == list(range(SLICES))


def random_spans(seed: int, count: int = 300) -> Spans:
    rng = random.Random(seed)
    packs: dict[tuple[PackKind, bytes], list[Span]] = {}
    for n in range(count):
        series = rng.choice((SERIES, SERIES, b"else"))
        kind = rng.choice((PackKind.DATA, PackKind.TREE))
        packs[kind, pack_of(rng.randrange(SLICES), n, series)] = [(8, 8 + rng.randrange(1, 100)), (200, 300)]
    return Spans(packs)


@given(st.integers(0, 1000), st.integers(1, 60))
def test_targets_are_all_packs_of_their_slices_in_order(seed: int, at_once: int) -> None:
    live = random_spans(seed)
    slices = random.Random(seed).sample(range(SLICES), 40)
    sizes = sizes_of(live, SERIES)
    found = list(targets_of(live, SERIES, slices, sizes, at_once))
    assert [n for n, _targets in found] == slices
    for n, targets in found:
        wanted = sorted(key for key in live.packs if key[1][:4] == SERIES and key[1][5] == n)
        assert [(t.kind, t.pack) for t in targets] == wanted
        assert [t.spans for t in targets] == [live.packs[key] for key in wanted]
        assert sizes.of([n]) == (len(targets), sum(t.live for t in targets))


def test_what_is_live_is_gone_through_once_if_it_fits_into_memory() -> None:
    live = random_spans(1)
    sizes = sizes_of(live, SERIES)
    live.passes = 0
    list(targets_of(live, SERIES, range(SLICES), sizes))
    assert live.passes == 2
    list(targets_of(live, SERIES, range(SLICES), sizes, at_once=50))
    assert live.passes < 20


def test_the_rest_of_a_slice_begins_after_the_last_pack() -> None:
    targets = [Target(kind, pack_of(3, n), [(8, 9)]) for kind in (PackKind.DATA, PackKind.TREE) for n in range(4)]
    assert rest_of(targets, None) == targets
    for n, target in enumerate(targets):
        part = PartRow(3, 1, int(target.kind), target.pack, 0, 0, 0)
        assert rest_of(targets, part) == targets[n + 1 :]


def test_series() -> None:
    assert series_of(random_spans(2)) == [SERIES, b"else"]


def test_all_was_read_after_the_time_of_the_oldest_slice() -> None:
    assert oldest(None) == 0
    assert oldest(record(dict.fromkeys(range(255), 5))) == 0
    assert oldest(record({n: 5 + n for n in range(256)})) == 5
