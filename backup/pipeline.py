"""Turns chunks into acknowledged packs, in order; keeps processors and uplink busy, and memory bounded.

One thread (the caller's) hashes, looks up, seals and keeps the order; a few compress; a few upload. Actions that
need the place of a chunk (e.g. writing an entry of a folder) wait in one queue, so that trees are written in walk
order: `after` runs an action once its chunks have their places and all earlier actions have run.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import NamedTuple, TypeAlias

import msgspec

from backup.mirror import Mirror
from catalog.format.blocks import Buffer, PackKind, encode_frame
from catalog.format.packs import PACK_TARGET, Extent, PackBuilder
from catalog.format.writing import TREE_BLOCK_RAW
from catalog.interruption import check, deferred
from catalog.processors import usable_processors
from catalog.vault import Vault

BLOCK_RAW = 1 << 20  # bytes; a shared block is closed once it reaches this
PACK_CHUNKS = 1 << 16  # a pack of very many small chunks is closed early: their ids are in memory until then
LEVEL = 3  # of zstd
_IN_FLIGHT_RAW = 24 << 20  # bytes of blocks being compressed or waiting for their turn
_COMPRESSORS = 8  # threads at most, one for each processor: _IN_FLIGHT_RAW holds six of the largest chunks
_UPLOADS = 3
_TURN = 1.0  # seconds; a signal that comes just before a thread begins to wait doesn't wake it
_QUEUE = 1 << 15  # actions waiting (about 1 KB each) for which the shared block is closed early
_KNOWN_PAGES = 1 << 17


class Place:
    """The place of a pending chunk: its extent, once it has one."""

    __slots__ = ("extent",)

    def __init__(self) -> None:
        self.extent: Extent | None = None


Placed: TypeAlias = Extent | Place


class Sent(msgspec.Struct):
    """Amounts that this run added to the vault."""

    new_chunks: int = 0
    new_bytes: int = 0  # raw bytes of new chunks
    packs: int = 0
    data_bytes: int = 0  # of data packs
    tree_bytes: int = 0  # of tree packs


class _Block(NamedTuple):
    frame: Future[bytes]
    raw: int
    lengths: list[int]
    ids: list[bytes]
    places: list[Place]


class _Sending(NamedTuple):
    pack: PackBuilder
    size: int  # of the object, in bytes


class Uploads:
    """Uploads finished packs, a few at a time, and records each in the mirror once the store has it."""

    def __init__(self, vault: Vault, mirror: Mirror, sent: Sent, forget: Callable[[PackBuilder], None]) -> None:
        self._vault, self._mirror, self._sent, self._forget = vault, mirror, sent, forget
        self._pool = ThreadPoolExecutor(_UPLOADS, "upload")
        self._running: dict[Future[int], _Sending] = {}
        self._failed: BaseException | None = None

    def send(self, pack: PackBuilder) -> None:
        """Upload a pack. Waits while too many uploads are running."""
        while len(self._running) >= _UPLOADS:
            self._wait()
            self.collect()
        parts = pack.finish()
        with deferred():  # or `stop` would not know of the upload, nor wait for a thread that was started for it
            future = self._pool.submit(self._vault.store.create, pack.name, parts)
            self._running[future] = _Sending(pack, sum(map(len, parts)))

    def collect(self) -> None:
        """Record uploads that are complete. Raises the error of one that failed, after recording the others.

        It raises that error from then on: nothing may be committed, whoever catches it first.
        """
        for future in [f for f in self._running if f.done()]:
            (pack, size), error = self._running[future], future.exception()
            if error is not None:
                self._failed = self._failed or error
                del self._running[future]
                continue
            self._mirror.acknowledge(pack.kind, pack.id, pack.rows, size)
            del self._running[future]  # not earlier: after a Ctrl-C in between, `stop` records it
            self._sent.packs += 1
            if pack.kind is PackKind.DATA:
                self._sent.data_bytes += pack.size
            else:
                self._sent.tree_bytes += pack.size
            self._forget(pack)
        if self._failed is not None:
            raise self._failed

    def finish(self) -> None:
        """Wait for all uploads. Raises the error of one that failed, now or before."""
        self.collect()
        while self._running:
            self._wait()
            self.collect()

    def _wait(self) -> None:
        """Wait until an upload is complete."""
        while not wait(self._running, timeout=_TURN, return_when=FIRST_COMPLETED).done:
            check()

    def stop(self) -> None:
        """Wait for running uploads, record those that succeed, and accept no more.

        No error takes the place of the one that stops the run; what is not recorded is sent again.
        """
        self._pool.shutdown(wait=True, cancel_futures=True)
        with suppress(sqlite3.Error):
            for future, (pack, size) in self._running.items():
                if not future.cancelled() and future.exception() is None:
                    self._mirror.acknowledge(pack.kind, pack.id, pack.rows, size)
        self._running.clear()


class Pipeline:
    """Writes the chunks and tree pages of one run, for a machine (its id). All methods are called by one thread.

    `find` returns the extent of a chunk that the vault has already, or None.
    """

    def __init__(
        self,
        vault: Vault,
        mirror: Mirror,
        machine: bytes,
        find: Callable[[bytes], Extent | None],
        *,
        level: int = LEVEL,
    ) -> None:
        self.sent = Sent()
        self._vault, self._find, self._machine, self._level = vault, find, machine, level
        self._pool = ThreadPoolExecutor(min(usable_processors(), _COMPRESSORS), "compress")
        self._uploads = Uploads(vault, mirror, self.sent, self._arrived)
        self._pending: dict[bytes, Place] = {}  # chunks of this run that the store hasn't acknowledged
        self._blocks: deque[_Block] = deque()
        self._in_flight = 0  # raw bytes in _blocks
        self._waiting: deque[tuple[list[Place], Callable[[], None]]] = deque()
        self._pack: PackBuilder | None = None
        self._pack_chunks = 0
        self.trees = TreeWriter(vault, mirror, machine, self._uploads, level, self._flush_data)
        self._begin_block()

    # --- data ---------------------------------------------------------------------------------------------

    def _begin_block(self) -> None:
        self._parts: list[Buffer] = []
        self._raw = 0
        self._lengths: list[int] = []
        self._ids: list[bytes] = []
        self._places: list[Place] = []

    def chunk(self, data: Buffer, chunk: bytes, *, alone: bool) -> Placed:
        """Add a chunk with the id `chunk`; `alone` gives it a block of its own.

        A chunk that is in the vault or pending already is not added again. The data must not change afterwards.
        """
        place = self._pending.get(chunk)
        if place is not None:
            return place.extent or place
        found = self._find(chunk)
        if found is not None:
            return found
        self.sent.new_chunks += 1
        self.sent.new_bytes += len(data)
        place = self._pending[chunk] = Place()
        if alone:
            self._submit([data], len(data), [len(data)], [chunk], [place])
            return place
        self._parts.append(data)
        self._raw += len(data)
        self._lengths.append(len(data))
        self._ids.append(chunk)
        self._places.append(place)
        if self._raw >= BLOCK_RAW:
            self._close_block()
        return place

    def _close_block(self) -> None:
        if self._parts:
            self._submit(self._parts, self._raw, self._lengths, self._ids, self._places)
            self._begin_block()

    def _submit(
        self, parts: list[Buffer], raw: int, lengths: list[int], ids: list[bytes], places: list[Place]
    ) -> None:
        while self._blocks and self._in_flight + raw > _IN_FLIGHT_RAW:
            self._seal_first()
        frame = self._pool.submit(_compress, parts, self._level)
        self._blocks.append(_Block(frame, raw, lengths, ids, places))
        self._in_flight += raw
        self.advance()

    def _seal_first(self) -> None:
        """Wait until the oldest block is compressed, and give its chunks their places."""
        block = self._blocks.popleft()
        frame = block.frame.result()
        self._in_flight -= block.raw
        if self._pack is None:
            self._pack, self._pack_chunks = PackBuilder(self._vault.keys, PackKind.DATA, self._machine), 0
        row = self._pack.add(frame, block.lengths, b"".join(block.ids))
        for place, extent in zip(block.places, row.extents(self._pack.id), strict=True):
            place.extent = extent
        self._pack_chunks += len(block.places)
        if self._pack.size >= PACK_TARGET or self._pack_chunks >= PACK_CHUNKS:
            self._close_pack()

    def _close_pack(self) -> None:
        if self._pack is not None:
            pack, self._pack = self._pack, None
            self._uploads.send(pack)

    def _flush_data(self) -> None:
        """Wait until the store has all data that tree pages written so far can refer to."""
        self._close_pack()
        self._uploads.finish()

    def _arrived(self, pack: PackBuilder) -> None:
        if pack.kind is PackKind.DATA:
            for row in pack.rows:
                for chunk in row.chunks():
                    self._pending.pop(chunk, None)

    def advance(self) -> None:
        """Seal blocks, run actions and record uploads that are ready, without waiting."""
        while self._blocks and self._blocks[0].frame.done():
            self._seal_first()
        self._run_waiting()
        self._uploads.collect()

    # --- waiting actions ----------------------------------------------------------------------------------

    def after(self, pieces: list[Placed], action: Callable[[], None]) -> None:
        """Run `action` once all of `pieces` have extents and all earlier actions have run."""
        places = [p for p in pieces if isinstance(p, Place) and p.extent is None]
        if not places and not self._waiting:
            action()
            return
        self._waiting.append((places, action))
        if len(self._waiting) >= _QUEUE:
            self._seal_all()
            self._run_waiting()

    def _run_waiting(self) -> None:
        waiting = self._waiting
        while waiting:
            places, action = waiting[0]
            for place in places:
                if place.extent is None:
                    return
            waiting.popleft()
            action()

    def _seal_all(self) -> None:
        self._close_block()
        while self._blocks:
            self._seal_first()

    def flush(self) -> None:
        """Give every chunk its place, run all actions, and wait until the store has every data pack."""
        self.settle()
        self._flush_data()

    def settle(self) -> None:
        """Give every chunk its place and run all actions."""
        self._seal_all()
        self._run_waiting()
        assert not self._waiting

    def flush_trees(self) -> None:
        """Wait until the store has every tree pack."""
        self.trees.close_pack()
        self._uploads.finish()

    def stop(self) -> None:
        """Stop without finishing. Packs that the store has acknowledged stay recorded."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._uploads.stop()


def _compress(parts: list[Buffer], level: int) -> bytes:
    return encode_frame(parts[0] if len(parts) == 1 else b"".join(parts), level)


class TreeWriter:
    """Writes tree pages into blocks and packs. The format's writers call `write` and `resolve`.

    A page equal to one of the parent point, of this run, or of an interrupted run is not written again.
    """

    def __init__(
        self,
        vault: Vault,
        mirror: Mirror,
        machine: bytes,
        uploads: Uploads,
        level: int,
        flush_data: Callable[[], None],
    ) -> None:
        self._vault, self._mirror, self._machine = vault, mirror, machine
        self._uploads, self._level = uploads, level
        self._flush_data = flush_data
        self.gone: Callable[[Extent], bool] = lambda at: False  # whether a page is lost, and must not be reused
        self._pack: PackBuilder | None = None
        self._pages: list[bytes] = []
        self._ids: list[bytes] = []
        self._raw = 0
        self._stored: dict[tuple[bytes, int], int] = {}  # this run's tree blocks
        self._known: OrderedDict[bytes, Extent] = OrderedDict()
        self._resume = mirror.has_pages()
        self.sent = False  # whether this run has sent a tree pack

    def remember(self, at: Extent) -> None:
        """Let a page of the parent point be reused."""
        if not self.gone(at):
            self._keep(at)

    def _keep(self, at: Extent) -> None:
        self._known[at.id] = at
        if len(self._known) > _KNOWN_PAGES:
            self._known.popitem(last=False)

    def write(self, page: bytes) -> Extent:
        """Write a page, or find an equal one. The stored length is 0 until the block is full: see `resolve`."""
        chunk = self._vault.keys.chunk_id(page)
        known = self._known.get(chunk) or (self._mirror.find_page(chunk) if self._resume else None)
        if known is not None:
            return self.resolve(known)
        if self._pack is None:
            self._pack = PackBuilder(self._vault.keys, PackKind.TREE, self._machine)
        at = Extent(self._pack.id, self._pack.size, 0, self._raw, len(page), chunk)
        self._pages.append(page)
        self._ids.append(chunk)
        self._raw += len(page)
        self._keep(at)
        if self._raw >= TREE_BLOCK_RAW:
            self._close_block()
        return at

    def resolve(self, at: Extent) -> Extent:
        """The extent with its stored length, or unchanged if its block is not full yet."""
        if at.stored:
            return at
        stored = self._stored.get((at.pack, at.offset), 0)
        return at._replace(stored=stored) if stored else at

    def _close_block(self) -> None:
        if not self._pages:
            return
        assert self._pack is not None
        frame = encode_frame(b"".join(self._pages), self._level)
        row = self._pack.add(frame, [len(p) for p in self._pages], b"".join(self._ids))
        self._stored[(self._pack.id, row.offset)] = row.stored
        self._pages, self._ids, self._raw = [], [], 0
        if self._pack.size >= PACK_TARGET:
            self._send()

    def _send(self) -> None:
        if self._pack is not None:
            pack, self._pack = self._pack, None
            self.sent = True
            self._flush_data()  # a tree pack is sent after all that it refers to
            self._uploads.send(pack)

    def close_pack(self) -> None:
        """Seal the current pack and send it."""
        self._close_block()
        self._send()

    def discard(self) -> None:
        """Drop pages that have not been sent; nothing refers to them."""
        self._pack = None
        self._pages, self._ids, self._raw = [], [], 0
