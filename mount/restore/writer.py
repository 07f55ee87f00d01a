"""Fetches ranges of packs, several at a time, opens and verifies their blocks, and writes the files in them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cache.memory import roomy_heap
from catalog.errors import Damaged, LocalError, MissingData, ShortRead
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import Extent, pack_name
from catalog.vault import Vault
from mount.restore.file_plan import Row
from mount.restore.file_writer import FileWriter
from mount.restore.plan import Plan, Range
from mount.restore.pool import WriterPool

MIB = 1 << 20
BUDGET = 128 * MIB  # bytes requested or fetched, and not yet written
FETCHERS = 8
WRITERS = 8  # more than processors, as they mostly wait for the disk: no slower with a warm cache, faster cold


class Budget:
    """Limits the bytes in memory. A request above the limit is granted once nothing else is held."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._changed = threading.Condition()

    def acquire(self, length: int) -> None:
        with self._changed:
            while self._held and self._held + length > self._limit:
                self._changed.wait()
            self._held += length

    def release(self, length: int) -> None:
        with self._changed:
            self._held -= length
            self._changed.notify_all()

    def wait_idle(self) -> None:
        """Wait until nothing is held."""
        with self._changed:
            while self._held:
                self._changed.wait()


class _Fetched:
    """A fetched range, and how many of its blocks are not written yet."""

    __slots__ = ("data", "left", "range")

    def __init__(self, wanted: Range, data: Buffer) -> None:
        self.range = wanted
        self.data = memoryview(data)
        self.left = len(wanted.blocks)


class Writer:
    """Fetches and verifies the pieces of a plan, and passes them to `files`. A context manager.

    `pool`: processes that write small files, if there are any; closed with the writer.
    """

    def __init__(self, vault: Vault, files: FileWriter, pool: WriterPool | None = None) -> None:
        roomy_heap()
        self._vault, self._pool = vault, pool
        self.files = files
        self._lock = threading.Lock()
        self._budget = Budget(BUDGET)
        self._failure: BaseException | None = None
        self._fetchers = ThreadPoolExecutor(FETCHERS, "fetch")
        self._writers = ThreadPoolExecutor(WRITERS, "write")

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_error: object) -> None:
        self._failure = self._failure or RuntimeError("closed")
        self._fetchers.shutdown(cancel_futures=True)
        self._writers.shutdown()  # writes what was fetched, so that the next run need not fetch it
        if self._pool is not None:
            self._pool.close()
        self.files.close()

    # --- ranges -------------------------------------------------------------------------------------------

    def write(self, plan: Plan) -> None:
        """Fetch and write a plan. Raises StoreError, or LocalError if the disk is full; reports other failures."""
        for wanted in plan.ranges():
            self._budget.acquire(wanted.end - wanted.start)
            self._check()
            self._fetchers.submit(self._fetch, plan, wanted)
        self._budget.wait_idle()
        self._check()

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work` in a writing thread."""
        self._budget.acquire(0)
        self._check()
        self._writers.submit(self._guarded, work)

    def wait_submitted(self) -> None:
        """Wait until all submitted work is done. Raises the first error of any."""
        self._writers.shutdown()
        self._writers = ThreadPoolExecutor(WRITERS, "write")
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _guarded(self, work: Callable[[], None]) -> None:
        if not isinstance(self._failure, LocalError):
            try:
                work()
            except BaseException as e:  # noqa: BLE001 - `_check` raises it in the planning thread
                self._failure = self._failure or e

    def _fetch(self, plan: Plan, wanted: Range) -> None:
        length = wanted.end - wanted.start
        if self._failure is not None:
            self._budget.release(length)
            return
        try:
            data = self._vault.read_pack(PackKind.DATA, wanted.holder, wanted.start, length, up_to=True)
        except MissingData as e:
            if plan.is_pack(wanted):
                why = str(e)
                self._guarded(lambda: self._give_up_all(plan, wanted, why))
                self._budget.release(length)
                return
            data = b""  # the carrier is gone: each block is looked for
        except BaseException as e:  # noqa: BLE001 - `_check` raises it in the planning thread
            self._failure = self._failure or e
            self._budget.release(length)
            return
        fetched = _Fetched(wanted, data)
        for offset, block in wanted.blocks:
            try:
                self._writers.submit(self._block, plan, fetched, offset - wanted.start, block)
            except RuntimeError:  # closed
                self._done(fetched)

    def _give_up_all(self, plan: Plan, wanted: Range, why: str) -> None:
        for _offset, rows in wanted.blocks:
            for row in rows:
                self._give_up(plan, row, why)

    def _block(self, plan: Plan, fetched: _Fetched, start: int, rows: list[Row]) -> None:
        try:
            self._guarded(lambda: self._write_block(plan, fetched.data[start:], rows))
        finally:
            self._done(fetched)

    def _done(self, fetched: _Fetched) -> None:
        with self._lock:
            fetched.left -= 1
            left = fetched.left
        if not left:
            self._budget.release(fetched.range.end - fetched.range.start)

    # --- blocks -------------------------------------------------------------------------------------------

    def _write_block(self, plan: Plan, data: memoryview, rows: list[Row]) -> None:
        """Write the pieces in a block, which `data` begins with."""
        first = plan.extent(rows[0])
        sealed = data[: first.stored]
        if self._pool is not None and len(sealed) == first.stored:
            rows = self._pool.write(first, sealed, rows)
            if not rows:
                return
        again = False
        try:
            raw = memoryview(self._open_block(first, sealed))
        except Damaged as e:
            fresh = self._fetch_again(first)
            if fresh is None:
                for row in rows:
                    self._give_up(plan, row, str(e))
                return
            raw, again = fresh, True
        chunk_id = self._vault.keys.chunk_id
        verified: tuple[int, int, bytes] | None = None
        for row in rows:
            inner, length, chunk = row.inner, row.length, row.chunk
            data = raw[inner : inner + length]
            if verified != (inner, length, chunk):
                if len(data) != length or chunk_id(data) != chunk:
                    fresh = None if again else self._fetch_again(first)
                    again = True
                    if fresh is not None:
                        raw = fresh
                        data = raw[inner : inner + length]
                    if len(data) != length or chunk_id(data) != chunk:
                        self._vault.on_damage(PackKind.DATA, first.pack)
                        what = f"a chunk in block {first.pack.hex()[:8]}+{first.offset} failed verification"
                        self._give_up(plan, row, what)
                        continue
                verified = (inner, length, chunk)
            self._write_row(row, data)

    def _write_row(self, row: Row, data: Buffer) -> None:
        if row.file.whole:
            self.files.write_whole(row.file, data)
        else:
            self.files.write_piece(row.file, row.position, data)

    def _give_up(self, plan: Plan, row: Row, why: str) -> None:
        """Write another copy of a lost piece, if the vault knows one; otherwise give up its file."""
        other = self._vault.other_copy(PackKind.DATA, plan.extent(row))
        raw = None if other is None else self._fetch_again(other)
        data = b"" if raw is None or other is None else raw[other.inner : other.inner + other.length]
        if len(data) == row.length and self._vault.keys.chunk_id(data) == row.chunk:
            self._write_row(row, data)
        else:
            self.files.give_up(row.file, why, damaged=True)

    def _open_block(self, at: Extent, sealed: Buffer) -> Buffer:
        if len(sealed) < at.stored:
            raise Damaged(f"the pack {pack_name(PackKind.DATA, at.pack)} is truncated")
        return self._vault.open_block(PackKind.DATA, at, sealed)

    def _fetch_again(self, at: Extent) -> memoryview | None:
        """Fetch the block again, in case the transfer was at fault. None if it is no better. Raises StoreError."""
        try:
            return memoryview(self._open_block(at, self._vault.fetch_block(PackKind.DATA, at)))
        except MissingData:
            return None
        except (Damaged, ShortRead):
            self._vault.on_damage(PackKind.DATA, at.pack)
            return None
