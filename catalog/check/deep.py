"""Levels 2 and 3: reads the blocks of slices, those first that were read longest ago, and notes it in the vault."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from catalog.check import records
from catalog.check.blocks import LEVEL, Span, recheck
from catalog.check.finding import Finding
from catalog.check.packs import READ, Target
from catalog.check.reading import Outcome, Reading
from catalog.check.slices import LiveSpans, Share, Sizes, order_of, rest_of, share_of, sizes_of, targets_of
from catalog.errors import AccessDenied, RpdriveError, StoreFull
from catalog.format.blocks import PackKind
from catalog.format.checks import MOST_BAD, SLICES, BadRow, ChecksRecord, PartRow, SliceRow, slice_of
from catalog.format.packs import BlockRow
from catalog.vault import Vault

Lost: TypeAlias = tuple[int, bytes, int | None]  # kind, pack, offset of a block, or None for all of the pack
NOTE_EVERY = 300.0  # seconds; a run that is killed loses at most this much


class Plan(NamedTuple):
    """What a run is going to read of a series. `sizes` are those of all slices, `slices` are in reading order."""

    series: bytes
    record: ChecksRecord | None
    sizes: Sizes
    slices: list[int]
    share: Share

    @property
    def packs(self) -> int:
        """Packs in the chosen slices: one request each, as a rule."""
        return self.sizes.of(self.slices)[0]

    @property
    def bytes(self) -> int:
        return self.sizes.of(self.slices)[1]

    @property
    def unread(self) -> int:
        """How many slices were never read."""
        return SLICES - (len(self.record.slices) if self.record is not None else 0)


class Done(NamedTuple):
    """What a run has read of a series. `slices` were read to their end. `is_all`: nothing of the plan is left.

    `unnoted` is why the vault has no record of it: the token may only read, or the store is full.
    """

    slices: list[int]
    packs: int
    bytes: int
    findings: list[Finding]
    unlisted: list[Target]
    is_all: bool
    unnoted: RpdriveError | None = None


class Progress(NamedTuple):
    """How far the reading of a series is."""

    packs: int
    bytes: int
    total: int  # bytes of the plan


def plan_of(vault: Vault, live: LiveSpans, series: bytes, percent: float, now: int) -> Plan:
    """Choose the slices of a run that reads so many per cent. 1 or 2 requests. Raises StoreError.

    `now` is the store's time (ns): what a record says was read later was not.
    """
    found = records.newest(vault, series)
    record = records.credible(found, now) if found is not None else None
    share = share_of(percent, record.ahead if record is not None else 0)
    return Plan(series, record, sizes_of(live, series), order_of(record)[: share.slices], share)


class Deep:
    """Reads the slices of a plan.

    `by` is the id of the machine that reads, `began` the store's time before the points were listed of which `live`
    is. `is_absent` says what level 0 has told: True, nothing of a pack is there; False, some of it; None, all is.
    `lost` is what records of places call lost. `most`: bytes of a request.
    """

    def __init__(
        self,
        vault: Vault,
        live: LiveSpans,
        plan: Plan,
        *,
        by: bytes,
        began: int,
        is_absent: Callable[[Target], bool | None] = lambda target: None,
        lost: Collection[Lost] = (),
        most: int = READ,
        processors: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vault, self._live, self._plan = vault, live, plan
        self._by, self._began, self._is_absent, self._lost = by, began, is_absent, lost
        self._most, self._processors, self._clock = most, processors, clock
        self._parts = {row.slice: row for row in plan.record.parts} if plan.record is not None else {}
        self._known: Sequence[BadRow] = plan.record.bad if plan.record is not None else ()
        self._noted = clock()
        self._unnoted: RpdriveError | None = None
        self._slices: list[SliceRow] = []
        self._fresh: list[BadRow] = []  # of slices and parts that are not noted yet
        self._findings: list[Finding] = []
        self._unlisted: list[Target] = []
        self._done: list[int] = []
        self._packs = self._bytes = 0

    def run(self, until: float | None = None, progress: Callable[[Progress], None] | None = None) -> Done:
        """Read until all is read, or until a time by the clock; then note it in the vault. Raises StoreError."""

        def is_over() -> bool:
            return until is not None and self._clock() >= until

        plan, is_all = self._plan, True
        try:
            with Reading(self._vault, most=self._most, processors=self._processors) as reading:
                for n, targets in targets_of(self._live, plan.series, plan.slices, plan.sizes):
                    if is_over() or not self._slice(reading, n, targets, is_over, progress):
                        is_all = False
                        break
        except BaseException:
            with suppress(RpdriveError):
                self._note()
            raise
        self._note()
        return Done(self._done, self._packs, self._bytes, self._findings, self._unlisted, is_all, self._unnoted)

    def _slice(
        self,
        reading: Reading,
        n: int,
        targets: Sequence[Target],
        is_over: Callable[[], bool],
        progress: Callable[[Progress], None] | None,
    ) -> bool:
        """Read a slice, from where the last run stopped. Whether that was all of it."""
        part = self._parts.get(n)
        absent = {(t.kind, t.pack): is_all for t in targets if (is_all := self._is_absent(t)) is not None}
        left = rest_of(targets, part)
        rest = [t for t in left if (t.kind, t.pack) not in absent]
        self._unlisted += [t for t in left if absent.get((t.kind, t.pack)) is False and t.kind is PackKind.DATA]
        began = self._began if part is None else part.began
        packs, size, faults = (0, 0, 0) if part is None else (part.packs, part.bytes, part.faults)
        if part is not None:
            self._fresh += [row for row in self._known if _is_of(row, part)]
        read = 0
        for outcome in reading.run(rest, is_over):
            read += 1
            packs, size = packs + 1, size + outcome.target.live
            faults += self._take(outcome)
            kind, pack = int(outcome.target.kind), outcome.target.pack
            self._parts[n] = PartRow(n, began, kind, pack, packs, size, faults)
            if progress is not None:
                progress(Progress(self._packs, self._bytes, self._plan.bytes))
            if self._clock() - self._noted >= NOTE_EVERY:
                self._note()
        if read < len(rest):
            return False
        self._parts.pop(n, None)
        self._slices.append(SliceRow(n, began, self._by, packs, size, faults + len(absent)))
        self._done.append(n)
        return True

    def _take(self, outcome: Outcome) -> int:
        """Keep what reading a pack has found. Returns the number of bad rows that it gives."""
        self._packs += 1
        self._bytes += outcome.target.live
        findings = acknowledged(outcome.findings, self._lost)
        rows = records.bad_rows(findings, self._began)
        room = max(MOST_BAD - len(self._findings), 0)
        self._findings += findings[:room]
        self._fresh += rows[:room]
        if outcome.unlisted and outcome.target.kind is PackKind.DATA:
            self._unlisted.append(outcome.target._replace(spans=outcome.unlisted))
        return len(rows)

    def _note(self) -> None:
        """Write down what was read since the last time, in the next record."""
        plan = self._plan
        parts = [row for n, row in self._parts.items() if n in plan.slices]
        ahead = max(plan.share.ahead - (len(plan.slices) - len(self._done)) * 1000, 0)
        news = records.News(self._slices, parts, bad=self._fresh, ahead=ahead)
        try:
            records.add(self._vault, plan.series, self._by, self._vault.store.now(), news)
        except (AccessDenied, StoreFull) as e:
            self._unnoted = e
            return
        # The rows in _fresh stay: those of a slice that is not finished are needed again when it is.
        self._slices, self._noted = [], self._clock()


def _is_of(row: BadRow, part: PartRow) -> bool:
    """Whether a bad row was found by the reading that was stopped."""
    return slice_of(row.pack) == part.slice and row.found >= part.began and row.level >= LEVEL


class Unlisted:
    """Live spans of data packs whose blocks no table of contents lists: the trees say where each block is."""

    def __init__(self, targets: Iterable[Target]) -> None:
        self._spans: dict[bytes, list[Span]] = {}
        for target in targets:
            if target.kind is PackKind.DATA:
                self._spans.setdefault(target.pack, []).extend(target.spans)
        self._blocks = set[tuple[bytes, int, int]]()

    def __bool__(self) -> bool:
        return bool(self._spans)

    def note(self, kind: PackKind, pack: bytes, start: int, end: int) -> None:
        """Note a block that a tree refers to, if it is in one of the spans."""
        spans = self._spans.get(pack) if kind is PackKind.DATA else None
        if spans is not None and any(low <= start and end <= high for low, high in spans):
            self._blocks.add((pack, start, end))

    def check(self, vault: Vault) -> list[Finding]:
        """Open each block that was noted. One request each, two if it is damaged. Raises StoreError."""
        return [
            finding
            for pack, start, end in sorted(self._blocks)
            for finding in recheck(
                vault, PackKind.DATA, pack, BlockRow(start, end - start, [], b""), has_chunks=False
            )
        ]


def acknowledged(findings: Iterable[Finding], lost: Collection[Lost]) -> list[Finding]:
    """The findings, those marked that records of places call lost."""

    def is_known(f: Finding) -> bool:
        return f.kind is not None and not lost_places(f.kind, f.pack, f.offset).isdisjoint(lost)

    return [f._replace(acknowledged=True) if is_known(f) else f for f in findings]


def lost_places(kind: int, pack: bytes, offset: int) -> set[Lost]:
    """The rows, of which each says that a block is lost."""
    return {(int(kind), pack, offset), (int(kind), pack, None)}
