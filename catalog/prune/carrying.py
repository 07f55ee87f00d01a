"""Makes carriers: blocks of packs are copied verbatim, by the store itself where it can, and read back.

No block is opened but those that are read back. docs/format.md, "Carriers".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from catalog.errors import Damaged, NewerFormat, ObjectNotFound, ShortRead, StoreFull, Unreadable, Unwritable
from catalog.format.blocks import MAX_RAW, OVERHEAD, PackKind, open_block
from catalog.format.carriers import HEAD, CarrierBuilder, decode_carried
from catalog.format.packs import HEADER, BlockRow, decode_contents, decode_trailer, pack_name
from catalog.places import Run
from catalog.prune.plan import Move
from catalog.prune.segments import length, without
from catalog.prune.state import Key
from catalog.store.base import Part, Range
from catalog.vault import Vault

TAIL = 512  # bytes of the end of an object that are read for its table of contents, or 1/64 of it
READ_BACK = 512 << 10  # bytes of blocks that are opened in any case; otherwise 0.25% of all
EDGE = 16  # bytes at both ends of a run that are compared, if its blocks are not opened: a tag is as long
_PARALLEL = 8
_TABLES = 4  # tables of contents of carriers that are kept
_GAP, _MOST = 4 << 10, 8 << 20  # bytes: blocks so near are read back together, in requests of so many at most


class Made(NamedTuple):
    """A carrier that was read back: the runs of each pack in it, and its size in bytes."""

    carrier: Key
    packs: dict[Key, tuple[Run, ...]]
    size: int


class _Row(NamedTuple):
    """A block: its row in its pack's table of contents, and its offset in the object that it lies in."""

    row: BlockRow
    at: int


class _Block(NamedTuple):
    """A block to be read back: of which pack, its row, and its offset in the carrier.

    It was copied from the offset `origin` of the object with the id `holder`.
    """

    pack: bytes
    row: BlockRow
    at: int
    holder: bytes
    origin: int


class _Copied(NamedTuple):
    """Bytes that were copied: from `source` to the offset `at` of the carrier; the first and the last block.

    `holder` is the id of the object that they were copied from.
    """

    source: Range
    holder: bytes
    at: int
    first: _Block
    last: _Block


class _Rotten(Exception):
    """Packs with blocks that were damaged before they were copied, and what is wrong with one of each."""

    def __init__(self, packs: dict[Key, Damaged]) -> None:
        super().__init__(packs)
        self.packs = packs


class Carrying:
    """Makes the carriers of a run. `allowed` are the bytes of blocks that may be read back.

    What can't be moved is in `problems`: a pack whose table of contents is damaged stays where it is. So does one
    with a damaged block, which is in `rotten`: there a copy of the vault can put it right.
    """

    def __init__(self, vault: Vault, allowed: int = READ_BACK) -> None:
        self._vault, self._left = vault, allowed
        self._carried: OrderedDict[Key, dict[bytes, list[_Row]]] = OrderedDict()
        self.problems: list[str] = []
        self.rotten: set[Key] = set()
        self.is_full = False  # the store has no room

    def make(self, moves: Sequence[Move]) -> Made | None:
        """Make one carrier. None if nothing of it can be moved, or if it is not as it should be.

        Raises StoreError.
        """
        left = list(moves)
        while left:
            try:
                return self._made(left)
            except _Rotten as e:
                self.rotten |= e.packs.keys()
                full = {move.source for move in left if move.key in e.packs}  # these would not get empty
                left = [move for move in left if move.source not in full]
                for key, why in e.packs.items():
                    self.problems.append(f"{pack_name(PackKind(key.kind), key.id)} stays where it is: {why}")
        return None

    def _made(self, moves: Sequence[Move]) -> Made | None:
        """The same. Raises _Rotten if some of the packs had better stay where they are."""
        kind = PackKind(moves[0].key.kind)
        builder = CarrierBuilder(self._vault.keys, kind, moves[0].key.id)
        packs: dict[Key, tuple[Run, ...]] = {}
        copied: list[_Copied] = []
        for move, rows in self._contents(moves):
            if rows:
                at = builder.refer(move.key.id, [one.row for one in rows])
                packs[move.key] = tuple(_runs(rows, builder.id, at))
                copied.extend(_copies(kind, move, rows, at))
        if not packs:
            return None
        try:
            tail = b"".join(builder.tail())
            parts: list[Part] = [HEAD, *_joined(one.source for one in copied), tail]
            self._vault.store.compose(builder.name, parts)
            self._read_back(builder, tail, copied)
        except StoreFull:
            self.is_full = True
            self.problems.append(f"there is no room for {builder.name}: packs stay where they are")
            return None
        except (Damaged, NewerFormat, ObjectNotFound, ShortRead, Unwritable) as e:
            if isinstance(e, Unreadable):
                for move in moves:  # one of those that are there names the object
                    if pack_name(kind, move.source.id) == e.name:
                        raise _Rotten({move.key: e}) from e
            self.problems.append(f"{builder.name} was not made as it should be, and is not used: {e}")
            return None
        return Made(Key(int(kind), builder.id), packs, builder.size + len(tail))

    # --- what is to be copied -----------------------------------------------------------------------------

    def _contents(self, moves: Sequence[Move]) -> Iterator[tuple[Move, list[_Row]]]:
        """The blocks of each pack that stay, in their order."""
        own = [move for move in moves if move.source == move.key]
        with ThreadPoolExecutor(_PARALLEL, "contents") as pool:
            found = dict(zip((move.key for move in own), pool.map(self._own_rows, own), strict=True))
        for move in moves:
            rows = found[move.key] if move.source == move.key else self._carried_rows(move)
            if rows is not None:
                yield move, [one for one in rows if not _is_dropped(one.row, move)]

    def _tail(self, key: Key, size: int) -> tuple[int, memoryview]:
        """Offset and sealed bytes of an object's table of contents. 1 or 2 requests."""
        kind, what = PackKind(key.kind), f"the object {pack_name(PackKind(key.kind), key.id)}"
        start = max(size - max(TAIL, size // 64), 0)
        tail = self._vault.read_pack(kind, key.id, start, size - start)
        offset, stored = decode_trailer(tail, size, what)
        if stored > MAX_RAW[kind.contents] + OVERHEAD:  # a length that nothing vouches for
            raise Damaged(f"{what} has a table of contents of {stored} bytes")
        if offset < start:
            tail, start = self._vault.read_pack(kind, key.id, offset, stored), offset
        return offset, memoryview(tail)[offset - start :][:stored]

    def _own_rows(self, move: Move) -> list[_Row] | None:
        kind = PackKind(move.key.kind)
        try:
            offset, sealed = self._tail(move.key, move.size)
            rows = decode_contents(self._vault.keys, kind, move.key.id, offset, sealed)
        except (Damaged, NewerFormat, ShortRead) as e:
            self.problems.append(f"{pack_name(kind, move.key.id)} stays where it is: {e}")
            return None
        return [_Row(row, row.offset) for row in rows]

    def _carried_rows(self, move: Move) -> list[_Row] | None:
        """The rows of a pack's blocks in a carrier, which must be those that the runs say."""
        name = pack_name(PackKind(move.key.kind), move.source.id)
        try:
            table = self._table(move)
        except (Damaged, NewerFormat, ShortRead) as e:
            self.problems.append(f"{name} stays as it is: {e}")
            return None
        rows = [one for one in table.get(move.key.id, ()) if _is_in(one, move.runs)]
        spans = [(one.row.offset, one.row.offset + one.row.stored) for one in rows]
        if without([(run.start, run.end) for run in move.runs], spans) or length(spans) != sum(
            run.end - run.start for run in move.runs
        ):
            self.problems.append(f"{name} stays as it is: it does not list the blocks of {move.key.id.hex()}")
            return None
        return sorted(rows, key=lambda one: one.row.offset)

    def _table(self, move: Move) -> dict[bytes, list[_Row]]:
        """The blocks in a carrier, by pack."""
        key = move.source
        if key not in self._carried:
            offset, sealed = self._tail(key, move.size)
            table: dict[bytes, list[_Row]] = {}
            at = HEADER.size
            for pack in decode_carried(self._vault.keys, PackKind(key.kind), key.id, offset, sealed):
                for row in pack.blocks:
                    table.setdefault(pack.pack, []).append(_Row(row, at))
                    at += row.stored
            self._carried[key] = table
            if len(self._carried) > _TABLES:
                self._carried.popitem(last=False)
        return self._carried[key]

    # --- reading back -------------------------------------------------------------------------------------

    def _read_back(self, builder: CarrierBuilder, tail: bytes, copied: Sequence[_Copied]) -> None:
        """Compare a carrier with what it should be: size, contents, and both ends of all that was copied.

        The first and the last block of each run are opened, as long as they are few bytes beside the vault's; of
        other runs the ends are compared with the originals. Raises _Rotten, Damaged, ShortRead or StoreError.
        """
        vault, kind, size = self._vault, builder.kind, builder.size + len(tail)
        if vault.object_size(kind, builder.id) != size:
            raise Damaged(f"it does not have {size} bytes")
        if vault.read_pack(kind, builder.id, builder.size, len(tail)) != tail:
            raise Damaged("its contents are not what was written")
        opened: list[_Block] = []
        compared: list[_Copied] = []
        for one in copied:
            blocks = [one.first] if one.first.at == one.last.at else [one.first, one.last]
            cost = sum(block.row.stored for block in blocks)
            if cost <= self._left:
                self._left -= cost
                opened += blocks
            else:
                compared.append(one)
        with ThreadPoolExecutor(_PARALLEL, "read back") as pool:
            rotten: dict[Key, Damaged] = {}
            for bad in pool.map(lambda some: self._open(kind, builder.id, some), _near(opened)):
                rotten |= bad
            for same in pool.map(lambda one: self._ends_match(kind, builder.id, one), compared):
                if not same:
                    raise Damaged("what was copied is not what the original has")
        if rotten:
            raise _Rotten(rotten)

    def _open(self, kind: PackKind, carrier: bytes, blocks: Sequence[_Block]) -> dict[Key, Damaged]:
        """Open blocks that are near each other in a carrier. The packs whose originals have the same bad bytes.

        Raises Damaged if a block differs from what was copied, or ShortRead.
        """
        low, high = blocks[0].at, blocks[-1].at + blocks[-1].row.stored
        data = memoryview(self._vault.read_pack(kind, carrier, low, high - low))
        rotten: dict[Key, Damaged] = {}
        for block in blocks:
            sealed = data[block.at - low : block.at - low + block.row.stored]
            try:
                open_block(self._vault.keys, kind, block.pack, block.row.offset, sealed)
            except Damaged as e:
                if self._vault.read_pack(kind, block.holder, block.origin, block.row.stored) != sealed:
                    raise
                rotten[Key(int(kind), block.pack)] = e
        return rotten

    def _ends_match(self, kind: PackKind, carrier: bytes, one: _Copied) -> bool:
        read, source = self._vault.read_pack, one.source
        return all(
            read(kind, carrier, one.at + at, EDGE) == read(kind, one.holder, source.offset + at, EDGE)
            for at in (0, source.length - EDGE)
        )


def _is_dropped(row: BlockRow, move: Move) -> bool:
    """Whether all of a block may go. In doubt it stays."""
    return any(start <= row.offset and row.offset + row.stored <= end for start, end in move.drop)


def _is_in(one: _Row, runs: Sequence[Run]) -> bool:
    """Whether a block is where a run says."""
    start, end = one.row.offset, one.row.offset + one.row.stored
    return any(run.start <= start and end <= run.end and one.at == start + run.shift for run in runs)


def _runs(rows: Sequence[_Row], carrier: bytes, at: int) -> Iterator[Run]:
    """The runs of a pack's blocks that lie in a carrier end to end from `at`."""
    for some in _neighbours(rows):
        start, end = some[0].row.offset, some[-1].row.offset + some[-1].row.stored
        yield Run(start, end, carrier, at)
        at += end - start


def _copies(kind: PackKind, move: Move, rows: Sequence[_Row], at: int) -> Iterator[_Copied]:
    name = pack_name(kind, move.source.id)
    for some in _neighbours(rows):
        first, last = some[0], some[-1]
        size = last.at + last.row.stored - first.at
        yield _Copied(
            Range(name, first.at, size),
            move.source.id,
            at,
            _Block(move.key.id, first.row, at, move.source.id, first.at),
            _Block(move.key.id, last.row, at + last.at - first.at, move.source.id, last.at),
        )
        at += size


def _neighbours(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """The blocks in groups that lie end to end, in the pack and where they are."""
    some: list[_Row] = []
    for one in rows:
        if some:
            before = some[-1]
            if (before.row.offset + before.row.stored, before.at + before.row.stored) != (one.row.offset, one.at):
                yield some
                some = []
        some.append(one)
    if some:
        yield some


def _joined(ranges: Iterator[Range]) -> list[Range]:
    """Ranges, with those that lie end to end in one object as one."""
    found: list[Range] = []
    for one in ranges:
        last = found[-1] if found else None
        if last is not None and last.name == one.name and last.offset + last.length == one.offset:
            found[-1] = last._replace(length=last.length + one.length)
        else:
            found.append(one)
    return found


def _near(blocks: Sequence[_Block]) -> Iterator[list[_Block]]:
    """Blocks of a carrier in groups that are read together."""
    blocks = sorted(blocks, key=lambda block: block.at)
    some: list[_Block] = []
    for block in blocks:
        if some and (
            block.at - (some[-1].at + some[-1].row.stored) > _GAP
            or block.at + block.row.stored - some[0].at > _MOST
        ):
            yield some
            some = []
        some.append(block)
    if some:
        yield some
