"""Makes files without data beside planning and fetching: they wait for no block, and no block waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from mount.restore.file_plan import FilePlan
from mount.restore.file_writer import FileWriter
from mount.restore.plan import Plan
from mount.restore.pool import WriterPool
from mount.restore.spill import NO_BLOCK, pack_row
from mount.restore.spool import Spool

_BATCH = 250


class EmptyFiles:
    """Makes the files that are added, in one thread: the kernel lets one at a time make a name in a folder.

    They wait as packed rows in a spool, so that planning need not wait for them, and memory does not grow.
    `add` and `wait` are for one thread. `guarded` runs a call and keeps its error; `ended`: make no more.
    """

    def __init__(
        self,
        files: FileWriter,
        pool: WriterPool | None,
        guarded: Callable[[Callable[[], None]], None],
        ended: Callable[[], bool],
    ) -> None:
        self._files, self._pool, self._guarded, self._ended = files, pool, guarded, ended
        self._thread = ThreadPoolExecutor(1, "empty")
        self._lock = threading.Lock()
        self._added: list[bytes] = []
        self._spool, self._made = Spool(), 0
        self._work: Future[None] | None = None  # None if no more is in the spool

    def add(self, plan: Plan, file: FilePlan) -> None:
        """Have a file made. `plan` has its folder."""
        self._added.append(pack_row(0, NO_BLOCK, 0, file))
        if len(self._added) >= _BATCH:
            self._flush(plan)

    def wait(self, plan: Plan) -> None:
        """Wait until all files that were added are made, unless it `ended`."""
        self._flush(plan)
        work = self._work
        if work is not None:
            work.result()

    def close(self) -> None:
        """Wait for the thread. It makes no more than it has begun, if it `ended`."""
        self._thread.shutdown()
        self._spool.close()

    def _flush(self, plan: Plan) -> None:
        with self._lock:
            self._spool.extend(self._added)
            self._added.clear()
            if self._work is None:
                self._work = self._thread.submit(self._all, plan)

    def _all(self, plan: Plan) -> None:
        while True:
            with self._lock:
                start, self._made = self._made, self._spool.end
                if start == self._made:
                    self._work = None
                    return
            rows = self._spool.records(start, self._made)
            while (part := list(islice(rows, _BATCH))) and not self._ended():
                self._guarded(lambda part=part: self._make(plan, part))  # type: ignore[misc]

    def _make(self, plan: Plan, rows: list[bytes]) -> None:
        for row in rows if self._pool is None else self._pool.write(plan, NO_BLOCK, b"", rows):
            self._files.write_whole(plan.unpack(row).file)
