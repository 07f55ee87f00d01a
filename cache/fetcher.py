"""Fetches sealed bytes from the store: neighbours in one request, and ahead of need."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import InvalidStateError, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress

from cache.counters import Counters
from cache.spans import Parts, Span, Spans
from cache.streams import Streams
from catalog import held
from catalog.errors import Damaged, MissingData, StoreUnreachable
from catalog.format.blocks import PackKind
from catalog.format.packs import Extent, pack_name
from catalog.places import Run
from catalog.vault import Vault

MIB = 1 << 20
MERGE_GAP = MIB  # bytes between two blocks that are read with them, since a request costs more
GAP_SHARE = 24  # gaps take at most 1/24 of a range read (4%)
MOST = 20 * MIB  # bytes of one range read


class Fetcher:
    """Fetches ranges of packs, and keeps neighbours that were read with them for later. Thread-safe.

    `limit` returns what bounds the bytes held or under way. `resized` is called when their sum changes, and with
    whether most of what was read ahead is dropped unused. No wait for the store is longer than `timeout` seconds,
    nor than `patience` returns for the thread that waits.
    """

    def __init__(
        self,
        vault: Vault,
        counters: Counters,
        *,
        limit: Callable[[], int],
        timeout: float,
        patience: Callable[[], float],
        parallel: int,
        resized: Callable[[int, bool], None],
    ) -> None:
        self._vault = vault
        self._counters = counters
        self._timeout = timeout
        self._patience = patience
        self._resized = resized
        self._lock = threading.Lock()
        self._limit = limit
        self._spans = Spans(limit())
        self._streams = Streams()
        # Two pools, so that reading ahead never delays a range that a reader waits for.
        self._asked = ThreadPoolExecutor(parallel, "fetch")
        self._ahead = ThreadPoolExecutor(max(2, parallel // 2), "ahead")

    def take(self, kind: PackKind, at: Extent, *, alone: bool = False) -> bytes | memoryview:
        """The sealed bytes of a block. Raises MissingData, Damaged (the pack is truncated) or StoreError.

        `alone`: nothing is read with it, and it begins and continues no stream.
        """
        return self._where_it_is(kind, at, self._take_alone if alone else self._take)

    def fresh(self, kind: PackKind, at: Extent) -> bytes | memoryview:
        """Like `take`, but always from the store. Drops the bytes of the block that are held."""
        return self._where_it_is(kind, at, self._fresh)

    def ready(self, kind: PackKind, at: Extent) -> bool:
        """Whether all bytes of a block are held."""
        at = self._vault.places.locate(kind, at)
        with self._lock:
            spans, gaps = self._spans.cover(at.pack, at.offset, at.offset + at.stored)
        return not gaps and all(span.future.done() for span in spans)

    def share(self, owner: object) -> tuple[int, int]:
        """The bytes that one reader may have read ahead now, and how many of them are left."""
        with self._lock:
            self._spans.limit = self._limit()
            share = self._spans.share(owner)
            return share, share - self._spans.owned(owner)

    def room(self, length: int, owner: object) -> bool:
        """Whether `length` bytes can be read ahead now for a reader."""
        with self._lock:
            self._spans.limit = self._limit()
            left = self._spans.share(owner) - self._spans.owned(owner)
            return length <= left and self._spans.make_room(length, owner)

    def disown(self, owner: object) -> None:
        """Note that a reader left off: what was read ahead for it goes when room is needed."""
        with self._lock:
            self._spans.disown(owner)

    def fetch(self, kind: PackKind, extents: Sequence[Extent], *, owner: object = None) -> None:
        """Begin to fetch blocks, neighbours in one request, except those held or under way.

        `owner`: the reader for which they are read ahead; None if they are needed now.
        """
        ahead = owner is not None
        places = [self._vault.places.locate(kind, e) for e in extents]
        begun: list[Span] = []
        with self._lock:
            cuts: dict[bytes, list[int]] = {}
            for e in places:
                cuts.setdefault(e.pack, []).extend((e.offset, e.offset + e.stored))
            for low, high, pack, gaps in self._merged(places):
                if not self._spans.make_room(high - low, owner):
                    break
                span = Span(kind, pack, low, high, ahead, owner=owner, cuts=cuts[pack])
                for gap in gaps:
                    span.skip(*gap)
                self._spans.add(span)
                self._streams.passed(pack, low, high)
                begun.append(span)
            held, in_vain = self._spans.bytes, self._spans.wasted > self._spans.used
        for span in begun:
            self._submit(self._ahead if ahead else self._asked, span)
        self._resized(held, in_vain)

    @property
    def held(self) -> tuple[int, int, int]:
        """Bytes held or under way; and, of all bytes read ahead, those used and those dropped unused."""
        with self._lock:
            return self._spans.bytes, self._spans.used, self._spans.wasted

    def close(self) -> None:
        """End the threads, without waiting for requests under way."""
        for pool in (self._asked, self._ahead):
            pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            held = self._spans.clear()
        for span in held:
            self._give_up(span)

    # --- one block, where it is ---------------------------------------------------------------------------

    def _where_it_is(
        self, kind: PackKind, at: Extent, read: Callable[[PackKind, Extent, Run | None], bytes | memoryview]
    ) -> bytes | memoryview:
        """Read a block from the object that holds it: its pack, or the carrier of a run."""
        run = self._vault.places.run(kind, at)
        try:
            return read(kind, at, run)
        except MissingData:
            now = self._vault.places.run(kind, at)  # the failed read has looked where it is
            if now == run:
                raise
            return read(kind, at, now)

    def _take_alone(self, kind: PackKind, at: Extent, run: Run | None) -> bytes | memoryview:
        return self._take(kind, at, run, alone=True)

    def _take(self, kind: PackKind, at: Extent, run: Run | None, *, alone: bool = False) -> bytes | memoryview:
        holder, shift = (at.pack, 0) if run is None else (run.holder, run.shift)
        start, end = at.offset + shift, at.offset + at.stored + shift
        with self._lock:
            spans, gaps = self._spans.cover(holder, start, end)
            if alone:
                begun = [self._begin(Span(kind, holder, *gap, False, (at.pack, shift))) for gap in gaps]
            else:
                begun = self._begin_missing(kind, at, run, gaps) if gaps else []
        for span in begun:
            self._submit(self._asked, span)
        spans = sorted([*spans, *begun], key=lambda span: span.start)
        data = self._wait(spans, start, end)
        if len(data) < at.stored:  # a range under way was shorter than expected, or was dropped
            data = self._fresh(kind, at, run)
        with self._lock:
            for span in spans:
                self._spans.use(span, start, end)
            following = None if alone else self._begin_following(kind, at, run)
            held, in_vain = self._spans.bytes, self._spans.wasted > self._spans.used
        if following is not None:
            self._submit(self._ahead, following)
        self._resized(held, in_vain)
        return data

    def _fresh(self, kind: PackKind, at: Extent, run: Run | None) -> bytes | memoryview:
        holder, shift = (at.pack, 0) if run is None else (run.holder, run.shift)
        start, end = at.offset + shift, at.offset + at.stored + shift
        with self._lock:
            for span in self._spans.cover(holder, start, end)[0]:
                if span.future.done():
                    self._spans.drop(span)
        alone = Span(kind, holder, start, end, False, (at.pack, shift))  # not held: for this caller only
        self._submit(self._asked, alone)
        data = self._wait([alone], start, end)
        if len(data) < at.stored:
            raise Damaged(f"the pack {pack_name(kind, holder)} ends at byte {alone.end}, in the middle of a block")
        return data

    # --- under the lock -----------------------------------------------------------------------------------

    # Streams are of packs, as the tree knows them, and end where a run does: what follows in a carrier was saved at
    # another time. Spans are of the objects that are read.

    def _begin_missing(
        self, kind: PackKind, at: Extent, run: Run | None, gaps: list[tuple[int, int]]
    ) -> list[Span]:
        start, end = at.offset, at.offset + at.stored
        self._spans.limit = self._limit()
        low, high, stream = self._streams.missing(kind, at.pack, start, end, self._spans.share())
        holder, shift = at.pack, 0
        if run is not None:
            holder, shift = run.holder, run.shift
            self._streams.ends_at(at.pack, run.end)
            low, high = max(low, run.start) + shift, min(high, run.end) + shift
            if self._spans.wasted <= self._spans.used:  # there is room for what is read around a block
                before, after = self._streams.around(holder, start + shift, end + shift)
                low, high = min(low, before), max(high, after)
        begun = []
        for gap in gaps:
            wide = self._spans.around(holder, gap, low, high)
            if not self._spans.make_room(wide[1] - wide[0]):
                wide = gap
            elif run is not None:
                self._streams.widened(holder, wide[1] - wide[0])
            owner = stream if wide != gap else None
            span = Span(kind, holder, *wide, ahead=wide != gap, origin=(at.pack, shift), owner=owner)
            begun.append(self._begin(span))
        return begun

    def _begin(self, span: Span) -> Span:
        self._spans.add(span)
        return span

    def _begin_following(self, kind: PackKind, at: Extent, run: Run | None) -> Span | None:
        following = self._streams.used(at.pack, at.offset, at.offset + at.stored, self._spans.share())
        if following is None:
            return None
        stream, low, high = following
        holder, shift = at.pack, 0
        if run is not None:
            holder, shift, high = run.holder, run.shift, min(high, run.end)
        if low >= high:
            return None
        _spans, gaps = self._spans.cover(holder, low + shift, high + shift)
        if not gaps:
            return None
        low, high = gaps[0]
        if not self._spans.make_room(high - low):
            stream.end = low - shift
            return None
        span = Span(kind, holder, low, high, True, (at.pack, shift), owner=stream)
        self._spans.add(span)
        return span

    def _merged(self, extents: Sequence[Extent]) -> list[tuple[int, int, bytes, list[tuple[int, int]]]]:
        """Ranges to fetch for blocks that are neither held nor under way: start, end, pack, and gaps in it."""
        runs: list[tuple[int, int, bytes, list[tuple[int, int]]]] = []
        waste = 0
        for e in extents:
            low, high = e.offset, e.offset + e.stored
            if not self._spans.cover(e.pack, low, high)[1]:
                continue
            if runs and runs[-1][2] == e.pack:
                start, end, pack, gaps = runs[-1]
                gap = low - end
                joined = (
                    0 <= gap <= MERGE_GAP
                    and high - start <= MOST
                    and (waste + gap) * GAP_SHARE <= high - start
                    and not self._spans.cover(pack, end, high)[0]
                )
                if joined:
                    if gap:
                        gaps.append((end, low))
                    runs[-1] = (start, high, pack, gaps)
                    waste += gap
                    continue
                if low < end:
                    continue  # the same block again
            low, high = self._spans.cover(e.pack, low, high)[1][0]
            runs.append((low, high, e.pack, []))
            waste = 0
        return runs

    # --- requests -----------------------------------------------------------------------------------------

    def _submit(self, pool: ThreadPoolExecutor, span: Span) -> None:
        try:
            pool.submit(self._run, span)
        except RuntimeError:  # closed
            self._give_up(span)

    def _give_up(self, span: Span) -> None:
        with self._lock:
            self._spans.drop(span)
        with suppress(InvalidStateError):
            span.future.set_exception(StoreUnreachable("the vault is being closed"))

    def _run(self, span: Span) -> None:
        asked = span.end
        self._counters.add("store_requests")
        try:
            data = Parts(self._read(span))
        except BaseException as e:  # noqa: BLE001 - raised in the threads that wait for the span
            with self._lock:
                self._spans.drop(span)
                self._streams.failed(span.origin[0])
            with suppress(InvalidStateError):
                span.future.set_exception(e)
            return
        self._counters.add("bytes_fetched", len(data))
        with self._lock:
            self._spans.settle(span, len(data))
            pack, shift = span.origin
            self._streams.fetched(span.kind, pack, asked - shift, span.end - shift)
            if not data:
                self._spans.drop(span)
        with suppress(InvalidStateError):
            span.future.set_result(data)

    def _read(self, span: Span) -> list[bytes]:
        lengths = span.lengths()
        if len(lengths) > 1:
            return self._vault.read_parts(span.kind, span.pack, span.start, lengths)
        data = self._vault.read_pack(span.kind, span.pack, span.start, span.length, up_to=True)
        return [data] if data else []

    def _wait(self, spans: list[Span], start: int, end: int) -> bytes | memoryview:
        """The bytes of a range from the spans that cover it: fewer where one is shorter than expected."""
        patience = self._patience()
        give_up = held.clock() + patience
        parts: list[bytes | memoryview] = []
        position = start
        for span in spans:
            try:
                data = held.result(span.future, max(give_up - held.clock(), 0.0))
            except FutureTimeout as e:
                if patience > self._timeout / 2:  # else it may have been asked for just now
                    with self._lock:  # the next reader asks again
                        self._spans.drop(span)
                name = pack_name(span.kind, span.pack)
                raise StoreUnreachable(f"no answer within {self._timeout:.0f} s to a read of {name}") from e
            part = data.cut(position - span.start, end - span.start)
            parts.append(part)
            position += len(part)
            if position < min(end, span.start + len(data)) or len(part) == 0:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)
