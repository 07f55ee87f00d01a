"""From packs to files: fetches ranges, several at a time, and opens and verifies their blocks."""

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
BUDGET = 128 * MIB  # bytes fetched or under way, and not yet written
FETCHERS = 8
WRITERS = 8  # they wait for the disk more than they compute: on two cores 8 were no slower warm, and quicker cold


class Budget:
    """Bytes that may be held at once. One who asks for more than there is gets it when nobody holds any."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._changed = threading.Condition()

    def take(self, length: int) -> None:
        with self._changed:
            while self._held and self._held + length > self._limit:
                self._changed.wait()
            self._held += length

    def give(self, length: int) -> None:
        with self._changed:
            self._held -= length
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until nobody holds any."""
        with self._changed:
            while self._held:
                self._changed.wait()


class _Fetched:
    """A range that has come, and how many of its blocks are not yet written."""

    __slots__ = ("data", "left", "range")

    def __init__(self, wanted: Range, data: Buffer) -> None:
        self.range = wanted
        self.data = memoryview(data)
        self.left = len(wanted.blocks)


class Writer:
    """Fetches and verifies what a plan asks for, and hands it to `files`. A context manager.

    `pool`: processes that write small files, if there are any.
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
        self._writers.shutdown()  # what has come is still written: the next run need not fetch it
        if self._pool is not None:
            self._pool.close()
        self.files.close()

    # --- ranges -------------------------------------------------------------------------------------------

    def write(self, plan: Plan) -> None:
        """Fetch and write all that is planned. StoreError, LocalError (no room); others go to the report."""
        for wanted in plan.ranges():
            self._budget.take(wanted.end - wanted.start)
            self._check()
            self._fetchers.submit(self._fetch, plan, wanted)
        self._budget.drain()
        self._check()

    def later(self, work: Callable[[], None]) -> None:
        """Do something in a writing thread; `write` waits for it."""
        self._budget.take(0)
        self._check()
        self._writers.submit(self._guarded, work)

    def settle(self) -> None:
        """Wait for all that was to be done later."""
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
            except BaseException as e:  # noqa: BLE001 - the thread that plans raises it
                self._failure = self._failure or e

    def _fetch(self, plan: Plan, wanted: Range) -> None:
        length = wanted.end - wanted.start
        if self._failure is not None:
            self._budget.give(length)
            return
        try:
            data = self._vault.read_pack(PackKind.DATA, wanted.pack, wanted.start, length, up_to=True)
        except MissingData as e:
            why = str(e)
            self._guarded(lambda: self._lose_all(wanted, why))
            self._budget.give(length)
            return
        except BaseException as e:  # noqa: BLE001 - the thread that plans raises it
            self._failure = self._failure or e
            self._budget.give(length)
            return
        fetched = _Fetched(wanted, data)
        for block in wanted.blocks:
            try:
                self._writers.submit(self._block, plan, fetched, block)
            except RuntimeError:  # closed
                self._done(fetched)

    def _lose_all(self, wanted: Range, why: str) -> None:
        for block in wanted.blocks:
            for row in block:
                self.files.lose(row.file, why, damaged=True)

    def _block(self, plan: Plan, fetched: _Fetched, rows: list[Row]) -> None:
        try:
            self._guarded(lambda: self._write_block(plan, fetched, rows))
        finally:
            self._done(fetched)

    def _done(self, fetched: _Fetched) -> None:
        with self._lock:
            fetched.left -= 1
            left = fetched.left
        if not left:
            self._budget.give(fetched.range.end - fetched.range.start)

    # --- blocks -------------------------------------------------------------------------------------------

    def _write_block(self, plan: Plan, fetched: _Fetched, rows: list[Row]) -> None:
        first = plan.extent(rows[0])
        start = first.offset - fetched.range.start
        sealed = fetched.data[start : start + first.stored]
        if self._pool is not None and len(sealed) == first.stored:
            rows = self._pool.write(first, sealed, rows)
            if not rows:
                return
        again = False
        try:
            raw = memoryview(self._opened(first, sealed))
        except Damaged as e:
            fresh = self._fresh(first)
            if fresh is None:
                for row in rows:
                    self.files.lose(row.file, str(e), damaged=True)
                return
            raw, again = fresh, True
        chunk_id = self._vault.keys.chunk_id
        verified: tuple[int, int, bytes] | None = None
        for row in rows:
            inner, length, chunk, file = row.inner, row.length, row.chunk, row.file
            data = raw[inner : inner + length]
            if verified != (inner, length, chunk):
                if len(data) != length or chunk_id(data) != chunk:
                    fresh = None if again else self._fresh(first)
                    again = True
                    if fresh is not None:
                        raw = fresh
                        data = raw[inner : inner + length]
                    if len(data) != length or chunk_id(data) != chunk:
                        what = (
                            f"a chunk in block {first.pack.hex()[:8]}+{first.offset} is not what was written there"
                        )
                        self.files.lose(file, what, damaged=True)
                        continue
                verified = (inner, length, chunk)
            if file.whole:
                self.files.write_whole(file, data)
            else:
                self.files.write_piece(file, row.position, data)

    def _opened(self, at: Extent, sealed: Buffer) -> Buffer:
        if len(sealed) < at.stored:
            raise Damaged(f"the pack {pack_name(PackKind.DATA, at.pack)} is cut short")
        return self._vault.open_block(PackKind.DATA, at, sealed)

    def _fresh(self, at: Extent) -> memoryview | None:
        """The block once more, in case the transfer was at fault; None if it is no better. StoreError."""
        try:
            return memoryview(self._opened(at, self._vault.fetch_block(PackKind.DATA, at)))
        except (Damaged, ShortRead):
            return None
