"""Fetches ranges of packs, several at a time, opens and verifies their blocks, and writes the files in them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from catalog.errors import Damaged, LocalError, MissingData, ShortRead, Unreadable
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import Extent, pack_name
from catalog.heap import roomy_heap
from catalog.interruption import check
from catalog.vault import Vault
from mount.restore.budget import Budget
from mount.restore.empty_files import EmptyFiles
from mount.restore.file_plan import FilePlan, Row
from mount.restore.file_writer import FileWriter
from mount.restore.plan import Plan, Range
from mount.restore.pool import WriterPool
from mount.restore.spill import BLOCK

MIB = 1 << 20
BUDGET = 72 * MIB  # bytes requested or fetched, and not yet written
NEAR = 36 * MIB  # the same, if the vault is in a folder: as fast, and the process takes 65 MB less
FETCHERS = 8
WRITERS = 8  # more than processors, as they mostly wait for the disk: no slower with a warm cache, faster cold
ROWS = 8_000  # pieces of blocks that are being written: about 6 MB
_AT_ONCE = 1_000  # pieces of a block that one thread writes: a block of tiny files has 200,000


class _Fetch:
    """A range that is fetched, and how many threads still need it. `again`: its blocks that were fetched again."""

    __slots__ = ("again", "future", "range", "users")

    def __init__(self, wanted: Range, future: Future[memoryview]) -> None:
        self.range, self.future = wanted, future
        self.users = 1
        self.again: dict[Extent, memoryview | None] = {}  # None if that was no better

    @property
    def length(self) -> int:
        return self.range.end - self.range.start


class _Rows:
    """The packed rows of a plan, in order, one range after the other."""

    def __init__(self, rows: Iterator[bytes]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def parts(self, wanted: Range) -> Iterator[tuple[int, list[bytes]]]:
        """The rows of a range: the offset of a block in it, and rows of that block, but not too many at once."""
        for offset in wanted.blocks:
            block = b"" if self._next is None else self._next[:BLOCK]
            while (row := self._next) is not None and row[:BLOCK] == block:
                part: list[bytes] = []
                while row is not None and row[:BLOCK] == block and len(part) < _AT_ONCE:
                    part.append(row)
                    row = next(self._rows, None)
                self._next = row
                yield offset - wanted.start, part


class Writer:
    """Fetches and verifies the pieces of a plan, and passes them to `files`. A context manager.

    `pool`: processes that write small files, if there are any; closed with the writer. `near`: see Options.
    """

    def __init__(
        self, vault: Vault, files: FileWriter, pool: WriterPool | None = None, *, near: bool = False
    ) -> None:
        roomy_heap()
        self._vault, self._pool = vault, pool
        self.files = files
        self._lock = threading.Lock()
        self._bytes, self._rows = Budget(NEAR if near else BUDGET), Budget(ROWS)
        self._failure: BaseException | None = None
        self._fetchers = ThreadPoolExecutor(FETCHERS, "fetch")
        self._writers = ThreadPoolExecutor(WRITERS, "write")
        self._empty = EmptyFiles(files, pool, self._guarded, lambda: self._failure is not None)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_error: object) -> None:
        self._failure = self._failure or RuntimeError("closed")
        self._fetchers.shutdown(cancel_futures=True)
        self._writers.shutdown()  # writes what was fetched, so that the next run need not fetch it
        self._empty.close()
        if self._pool is not None:
            self._pool.close()
        self.files.close()

    # --- ranges -------------------------------------------------------------------------------------------

    def write(self, plan: Plan) -> None:
        """Fetch and write a plan. Raises StoreError, or LocalError if the disk is full; reports other failures."""
        pending: deque[_Fetch] = deque()
        rows = _Rows(plan.packed_rows())
        try:
            for wanted in plan.ranges():
                length = wanted.end - wanted.start
                while not self._bytes.try_acquire(length):
                    if not pending:
                        self._bytes.acquire(length)
                        break
                    self._hand_out(plan, pending.popleft(), rows)
                self._check()
                pending.append(_Fetch(wanted, self._fetchers.submit(self._fetch, plan, wanted)))
                while pending and pending[0].future.done():
                    self._hand_out(plan, pending.popleft(), rows)
            while pending:
                self._hand_out(plan, pending.popleft(), rows)
        except BaseException:
            self._keep_fetched(plan, pending, rows)
            raise
        self._bytes.wait_idle()
        self._empty.wait(plan)
        self._check()

    def write_empty(self, plan: Plan, file: FilePlan) -> None:
        """Have a file without data made, by the end of `write`. Raises the first error of any such file."""
        self._empty.add(plan, file)
        self._check()

    def _check(self) -> None:
        check()
        if self._failure is not None:
            raise self._failure

    def _guarded(self, work: Callable[[], None]) -> None:
        if not isinstance(self._failure, LocalError):
            try:
                work()
            except BaseException as e:  # noqa: BLE001 - `_check` raises it in the planning thread
                self._failure = self._failure or e

    def _fetch(self, plan: Plan, wanted: Range) -> memoryview:
        if self._failure is not None:
            raise self._failure
        length = wanted.end - wanted.start
        try:
            return memoryview(self._vault.read_pack(PackKind.DATA, wanted.holder, wanted.start, length, up_to=True))
        except MissingData:
            if plan.is_pack(wanted):
                raise
            return memoryview(b"")  # the carrier is gone: each block is looked for
        except Unreadable:
            return memoryview(b"")  # the disk can't read a part of it: each block is read by itself

    def _hand_out(self, plan: Plan, fetch: _Fetch, rows: _Rows) -> None:
        """Have the writing threads write a range, once it is fetched."""
        try:
            data = fetch.future.result()
        except MissingData as e:
            for _offset, part in rows.parts(fetch.range):
                for row in part:
                    self._guarded(partial(self._give_up, plan, plan.unpack(row), str(e)))
            self._done(fetch)
            return
        except BaseException as e:
            self._failure = self._failure or e
            for _part in rows.parts(fetch.range):
                pass  # the rows of the next range follow
            self._done(fetch)
            raise
        for offset, part in rows.parts(fetch.range):
            self._rows.acquire(len(part))
            with self._lock:
                fetch.users += 1
            self._writers.submit(self._block, plan, fetch, data[offset:], part)
        self._done(fetch)

    def _keep_fetched(self, plan: Plan, pending: deque[_Fetch], rows: _Rows) -> None:
        """Write what was fetched when the restore failed, so that the next run need not fetch it."""
        for fetch in pending:
            fetch.future.cancel()
        while pending and not isinstance(self._failure, LocalError):
            with suppress(Exception, CancelledError):
                self._hand_out(plan, pending.popleft(), rows)

    def _block(self, plan: Plan, fetch: _Fetch, data: memoryview, rows: list[bytes]) -> None:
        try:
            self._guarded(lambda: self._write_block(plan, fetch, data, rows))
        finally:
            self._rows.release(len(rows))
            self._done(fetch)

    def _done(self, fetch: _Fetch) -> None:
        with self._lock:
            fetch.users -= 1
            users = fetch.users
        if not users:
            self._bytes.release(fetch.length)

    # --- blocks -------------------------------------------------------------------------------------------

    def _write_block(self, plan: Plan, fetch: _Fetch, data: memoryview, packed: list[bytes]) -> None:
        """Write pieces of one block, which `data` begins with."""
        first = plan.block(packed[0])
        sealed = data[: first.stored]
        if self._pool is not None and len(sealed) == first.stored:
            packed = self._pool.write(plan, first, sealed, packed)
            if not packed:
                return
        rows = map(plan.unpack, packed)
        again = False
        try:
            raw = memoryview(self._open_block(first, sealed))
        except Damaged as e:
            fresh = self._fetched_again(fetch, first)
            if fresh is None:
                for row in rows:
                    self._give_up(plan, row, str(e))
                return
            raw, again = fresh, True
        verified: tuple[int, int, bytes] | None = None
        for row in rows:
            place = row.inner, row.length, row.chunk
            piece = raw[row.inner : row.inner + row.length]
            if verified != place and not self._holds(piece, row):
                fresh = None if again else self._fetched_again(fetch, first)
                again = True
                raw = raw if fresh is None else fresh
                try:
                    piece = self._vault.second_read(
                        PackKind.DATA, first, partial(self._piece, first.pack, raw, row)
                    )
                except Damaged as e:
                    self._give_up(plan, row, str(e))
                    continue
            verified = place
            self._write_row(row, piece)

    def _holds(self, piece: memoryview, row: Row) -> bool:
        return len(piece) == row.length and self._vault.keys.chunk_id(piece) == row.chunk

    def _piece(self, pack: bytes, raw: memoryview, row: Row) -> memoryview:
        """A piece of a block of this pack. Raises Damaged if it is not what was written."""
        piece = raw[row.inner : row.inner + row.length]
        if not self._holds(piece, row):
            raise Damaged(f"a chunk in block {pack.hex()[:8]}+{row.offset} failed verification")
        return piece

    def _write_row(self, row: Row, piece: Buffer) -> None:
        if row.file.whole:
            self.files.write_whole(row.file, piece)
        else:
            self.files.write_piece(row.file, row.position, piece)

    def _give_up(self, plan: Plan, row: Row, why: str) -> None:
        """Write another copy of a lost piece, if the vault knows one; otherwise give up its file."""
        other = self._vault.other_copy(PackKind.DATA, plan.extent(row))
        raw = None if other is None else self._fetch_again(other)
        piece = memoryview(b"") if raw is None or other is None else raw[other.inner : other.inner + other.length]
        if self._holds(piece, row):
            self._write_row(row, piece)
        else:
            self.files.give_up(row.file, why, damaged=True)

    def _open_block(self, at: Extent, sealed: Buffer) -> Buffer:
        if len(sealed) < at.stored:
            raise Damaged(f"the pack {pack_name(PackKind.DATA, at.pack)} is truncated")
        return self._vault.open_block(PackKind.DATA, at, sealed)

    def _fetched_again(self, fetch: _Fetch, at: Extent) -> memoryview | None:
        """The block, fetched again once, however many threads write its pieces."""
        if at not in fetch.again:
            fetch.again[at] = self._fetch_again(at)
        return fetch.again[at]

    def _fetch_again(self, at: Extent) -> memoryview | None:
        """Fetch the block again, in case the transfer was at fault. None if it is no better. Raises StoreError."""
        try:
            return self._vault.second_read(
                PackKind.DATA, at, partial(self._block_again, at), partial(self._opened_block, at)
            )
        except (Damaged, ShortRead):
            return None

    def _block_again(self, at: Extent) -> memoryview:
        return self._opened_block(at, self._vault.fetch_block(PackKind.DATA, at))

    def _opened_block(self, at: Extent, sealed: Buffer) -> memoryview:
        return memoryview(self._open_block(at, sealed))
