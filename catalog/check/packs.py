"""Reads all live blocks of a pack, wherever they are: in the pack, or in the carriers that upkeep moved them to."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from catalog.check.blocks import LEVEL, Sealed, Span, choose
from catalog.check.finding import Finding, What
from catalog.errors import Damaged, MissingData, NewerFormat, ObjectNotFound, ShortRead, Unreadable
from catalog.format.blocks import PackKind
from catalog.format.carriers import decode_carried
from catalog.format.packs import (
    HEADER,
    TRAILER,
    BlockRow,
    check_header,
    decode_contents,
    decode_trailer,
    pack_name,
)
from catalog.places import Run, run_at
from catalog.vault import Vault

READ = 40 << 20  # bytes of one request at most: a whole pack as they are written, with its table of contents
CHEAP_READ = 4 << 20  # the same where requests cost nothing: the system then gives the same memory again and again
SLACK = 2 << 20  # bytes after the last live block that are read with it: the table of contents
TAIL = 256 << 10  # bytes of the end of an object that are read for its table of contents, or 1/64 of it
GAP = 1 << 20  # bytes of dead blocks that are read with the live ones around them
_CARRIERS = 8  # tables of contents that are kept


class Target(NamedTuple):
    """A pack, and its bytes that points refer to, in order."""

    kind: PackKind
    pack: bytes
    spans: list[Span]

    @property
    def live(self) -> int:
        """Bytes of live blocks."""
        return sum(end - start for start, end in self.spans)

    def cost(self, most: int) -> int:
        """Bytes that reading it may keep in memory at a time, if one request gets at most `most`."""
        return min(self.spans[-1][1] + SLACK, most)


class Read(NamedTuple):
    """What reading a pack has found beside its blocks: `unlisted` are live spans whose blocks no table lists."""

    findings: list[Finding]
    unlisted: list[Span]


class _Held(NamedTuple):
    """A block in a carrier, at the offset `at` of the carrier."""

    row: BlockRow
    at: int


Take = Callable[[list[Sealed]], None]
_Table = dict[bytes, list[_Held]]


class PackReader:
    """Reads packs, and hands on their live blocks. Thread-safe.

    `most` is the number of bytes that one request gets at most. A pack that fits is read whole.
    """

    def __init__(self, vault: Vault, most: int = READ) -> None:
        self._vault, self._most = vault, most
        self._carriers: OrderedDict[tuple[PackKind, bytes], Future[_Table]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, target: Target, take: Take) -> Read:
        """Read the live blocks of a pack, and call `take` with some of them at a time.

        One request for a pack that lies in its own object and is mostly live. Raises StoreError.
        """
        kind, pack, _spans = target
        if not self._vault.places.runs(kind, pack):
            try:
                return self._own(target, take)
            except (MissingData, ObjectNotFound) as e:
                if not self._has_moved(kind, pack):
                    name = pack_name(kind, pack)
                    return Read([Finding(LEVEL, What.MISSING, name, str(e), kind, pack)], [])
        return self._moved(target, take)

    def _has_moved(self, kind: PackKind, pack: bytes) -> bool:
        """Whether the records of places know of a pack that is not there. A failed read has looked, too."""
        for wait in (False, True):
            if self._vault.places.runs(kind, pack):
                return True
            self._vault.places.look(pack, wait=wait)
        return bool(self._vault.places.runs(kind, pack))

    # --- in their own pack ----------------------------------------------------------------------------------

    def _own(self, target: Target, take: Take) -> Read:
        kind, pack, spans = target
        end = spans[-1][1]
        if end + SLACK > self._most or target.live * 2 < end:
            return self._in_parts(target, None, take)
        wanted = end + SLACK
        try:
            data = self._vault.read_pack(kind, pack, 0, wanted, up_to=True)
        except Unreadable:
            return self._in_parts(target, None, take)  # all but a part of it, perhaps
        if len(data) == wanted:
            size = self._vault.object_size(kind, pack)
            if size > wanted:
                return self._in_parts(target, size, take)
        whole = memoryview(data)
        try:
            check_header(data, pack)
            offset, stored = decode_trailer(whole, len(data), f"pack {pack.hex()}")
            rows = decode_contents(self._vault.keys, kind, pack, offset, whole[offset : offset + stored])
        except (Damaged, NewerFormat):
            return self._in_parts(target, len(data), take)  # reads it once more
        chosen, unlisted = choose(rows, spans)
        take([Sealed(row, whole[row.offset : row.offset + row.stored]) for row in chosen])
        return Read(self._unlisted(kind, pack, unlisted), unlisted)

    def _in_parts(self, target: Target, size: int | None, take: Take) -> Read:
        """Read the table of contents, then what is live, in requests of bounded length. `size` is asked if None."""
        kind, pack, spans = target
        try:
            size = self._vault.object_size(kind, pack) if size is None else size
            offset, tail = self._contents(kind, pack, size)
            check_header(self._vault.read_pack(kind, pack, 0, HEADER.size), pack)
            rows = decode_contents(self._vault.keys, kind, pack, offset, tail)
        except MissingData:
            raise
        except (Damaged, NewerFormat, ShortRead) as e:
            return Read([Finding(LEVEL, What.CONTENTS, pack_name(kind, pack), str(e), kind, pack)], spans)
        chosen, unlisted = choose(rows, spans)
        self._ranges(kind, pack, [_Held(row, row.offset) for row in chosen], take)
        return Read(self._unlisted(kind, pack, unlisted), unlisted)

    def _unlisted(self, kind: PackKind, pack: bytes, spans: list[Span]) -> list[Finding]:
        name = pack_name(kind, pack)
        reason = "the table of contents does not list the blocks from byte {} to {} that points refer to"
        return [Finding(LEVEL, What.CONTENTS, name, reason.format(*span), kind, pack) for span in spans]

    def _contents(self, kind: PackKind, one: bytes, size: int) -> tuple[int, memoryview]:
        """Offset and sealed bytes of the table of contents of an object of this size. 1 or 2 requests."""
        what = f"{kind.folder}/{one.hex()}"
        if size < HEADER.size + TRAILER.size:
            raise Damaged(f"{what} is truncated")
        start = max(size - min(TAIL, max(size // 64, 4 << 10)), 0)
        tail = self._vault.read_pack(kind, one, start, size - start)
        offset, stored = decode_trailer(tail, size, what)
        if offset < start:
            tail, start = self._vault.read_pack(kind, one, offset, stored), offset
        return offset, memoryview(tail)[offset - start :][:stored]

    def _ranges(self, kind: PackKind, holder: bytes, blocks: Sequence[_Held], take: Take) -> None:
        """Read blocks from an object, neighbours in one request. A range that is not there gives empty blocks."""
        for some in _joined(blocks, self._most):
            low, high = some[0].at, some[-1].at + some[-1].row.stored
            try:
                data = memoryview(self._vault.read_pack(kind, holder, low, high - low, up_to=True))
            except (MissingData, ObjectNotFound, Unreadable):
                data = memoryview(b"")  # each block is read once more, where it is now
            take([Sealed(row, data[at - low : at - low + row.stored]) for row, at in some])

    # --- in carriers ----------------------------------------------------------------------------------------

    def _moved(self, target: Target, take: Take) -> Read:
        kind, pack, spans = target
        runs = self._vault.places.runs(kind, pack)
        findings, unlisted = list[Finding](), list[Span]()
        for span in spans:
            for start, end, run in _cut(span, runs):
                if run is None:
                    unlisted.append((start, end))
                    continue
                try:
                    table = self._carrier(kind, run.holder)
                except ObjectNotFound:
                    unlisted.append((start, end))  # each block is looked for once more
                    continue
                except (Damaged, NewerFormat, ShortRead) as e:
                    name = pack_name(kind, run.holder)
                    findings.append(Finding(LEVEL, What.CONTENTS, name, str(e), kind, run.holder))
                    unlisted.append((start, end))
                    continue
                held = [h for h in table.get(pack, []) if start <= h.row.offset < end]
                chosen, rest = choose([h.row for h in held], [(start, end)])
                if rest or any(h.at != h.row.offset + run.shift for h in held):
                    reason = f"the table of contents does not list the blocks {start} to {end} of pack {pack.hex()}"
                    name = pack_name(kind, run.holder)
                    findings.append(Finding(LEVEL, What.CONTENTS, name, reason, kind, run.holder))
                    unlisted.append((start, end))
                    continue
                self._ranges(kind, run.holder, [_Held(row, row.offset + run.shift) for row in chosen], take)
        return Read(findings, unlisted)

    def _carrier(self, kind: PackKind, one: bytes) -> _Table:
        """The blocks in a carrier, by the packs they belong to, as its table of contents says.

        Threads that need the same table at once share one read of it.
        """
        with self._lock:
            known = self._carriers.get((kind, one))
            if known is None:
                reading = self._carriers[kind, one] = Future[_Table]()
                while len(self._carriers) > _CARRIERS:
                    self._carriers.popitem(last=False)
        if known is not None:
            return known.result()
        try:
            reading.set_result(self._read_carrier(kind, one))
        except BaseException as e:  # noqa: BLE001 - `result` raises it, here and in the threads that wait
            reading.set_exception(e)
            with self._lock:
                self._carriers.pop((kind, one), None)
        return reading.result()

    def _read_carrier(self, kind: PackKind, one: bytes) -> _Table:
        offset, sealed = self._contents(kind, one, self._vault.object_size(kind, one))
        table, at = _Table(), HEADER.size
        for packed in decode_carried(self._vault.keys, kind, one, offset, sealed):
            held = table.setdefault(packed.pack, [])
            for row in packed.blocks:
                held.append(_Held(row, at))
                at += row.stored
        for held in table.values():
            held.sort(key=lambda h: h.row.offset)
        return table


def _joined(blocks: Sequence[_Held], most: int) -> Iterator[list[_Held]]:
    """Blocks that are read in one request of at most `most` bytes, as they follow each other."""
    some: list[_Held] = []
    for block in blocks:
        end = some[-1].at + some[-1].row.stored if some else 0
        if some and not (end <= block.at <= end + GAP and block.at + block.row.stored - some[0].at <= most):
            yield some
            some = []
        some.append(block)
    if some:
        yield some


def _cut(span: Span, runs: tuple[Run, ...]) -> Iterator[tuple[int, int, Run | None]]:
    """The parts of a span that lie in one run each; None for a part that no run holds."""
    position, end = span
    while position < end:
        run = run_at(runs, position)
        if run is None:
            later = min((r.start for r in runs if r.start > position), default=end)
            yield position, min(later, end), None
            position = min(later, end)
        else:
            yield position, min(run.end, end), run
            position = min(run.end, end)
