"""From packs to files: ranges are fetched several at a time, blocks opened once, pieces put where they belong.

A file is written under a temporary name in its folder, and gets its own when it is complete and every chunk of
it was verified. What is there already under that name is gone only then.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b

from cache.memory import roomy_heap
from catalog.errors import Damaged, LocalError, MissingData, ShortRead
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import Extent, pack_name
from catalog.vault import Vault
from mount.restore.conflict import Action, Existing, Policy, copy_name, decide
from mount.restore.crew import Crew
from mount.restore.disk.attributes import Wearer
from mount.restore.disk.calls import CLOEXEC, NOFOLLOW, disk, lock
from mount.restore.disk.target import FULL, Handle, Target, rename_new, temporary_name
from mount.restore.disk.whole import NEW, make_whole, write_all
from mount.restore.plan import FilePlan, Plan, Range, Row
from mount.restore.report import Report

MIB = 1 << 20
BUDGET = 128 * MIB  # bytes fetched or under way, and not yet written
FETCHERS = 8
WRITERS = 8  # they wait for the disk more than they compute: on two cores 8 were no slower warm, and quicker cold
_OPEN_FILES = 256
_AGAIN = os.O_RDWR | NOFOLLOW | CLOEXEC
_TRIES = 100  # names for one copy


class Growing:
    """A file of several pieces, on its way. `left` is the bytes still to come."""

    __slots__ = ("file", "left", "lock", "lost", "temporary", "writing")

    def __init__(self, file: FilePlan) -> None:
        self.file = file
        self.left = file.todo
        self.lost = False
        self.temporary = file.temporary
        self.lock = threading.Lock()
        self.writing = threading.Lock()


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
    """Writes files to a target. `token`: 4 bytes of this run; `crew` helps with small files. A context manager."""

    def __init__(
        self, vault: Vault, target: Target, wearer: Wearer, report: Report, policy: Policy, token: bytes,
        crew: Crew | None = None,
    ) -> None:  # fmt: skip
        roomy_heap()
        self._vault, self._target, self._wearer = vault, target, wearer
        self._report, self._policy, self._token, self._crew = report, policy, token, crew
        self.landed: dict[int, bytes] = {}  # of files with links, and of those that landed elsewhere than planned
        self._lock = threading.Lock()
        self._growing: dict[int, Growing] = {}
        self._handles: OrderedDict[int, Handle] = OrderedDict()
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
        if self._crew is not None:
            self._crew.close()
        self._handles.clear()

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
                self._lose(row[8], why, damaged=True)

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
        if self._crew is not None and len(sealed) == first.stored:
            rows = self._crew.write(first, sealed, rows)
            if not rows:
                return
        again = False
        try:
            raw = memoryview(self._opened(first, sealed))
        except Damaged as e:
            fresh = self._fresh(first)
            if fresh is None:
                for row in rows:
                    self._lose(row[8], str(e), damaged=True)
                return
            raw, again = fresh, True
        chunk_id = self._vault.keys.chunk_id
        verified: tuple[int, int, bytes] | None = None
        for row in rows:
            _pack, _offset, _stored, inner, length, chunk, _number, position, file = row
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
                        self._lose(file, what, damaged=True)
                        continue
                verified = (inner, length, chunk)
            if file.whole:
                self._whole(file, data)
            else:
                self._piece(file, position, data)

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

    # --- files --------------------------------------------------------------------------------------------

    def _lose(self, file: FilePlan, reason: str, *, damaged: bool = False) -> None:
        """A file will not come back: said once for each."""
        if not file.whole:
            growing = self._grow(file)
            with growing.lock:
                if growing.lost:
                    return
                growing.lost = True
            self._forget(growing)
        self._report.failed(file.path(), reason, damaged=damaged)

    def _grow(self, file: FilePlan) -> Growing:
        with self._lock:
            growing = self._growing.get(file.number)
            if growing is None:
                growing = self._growing[file.number] = Growing(file)
            return growing

    def temporary(self, number: int) -> bytes:
        """A temporary name for what is no file."""
        return temporary_name(number.to_bytes(8, "big"), self._token)

    def is_own(self, name: bytes) -> bool:
        """Whether a temporary name is one of this run."""
        return name.endswith(self._token.hex().encode() + b".part")

    def whole(self, file: FilePlan, data: Buffer = b"") -> None:
        """Write a file in one go: a small one, or one of nothing but holes. LocalError if there is no room."""
        self._whole(file, data)

    def _whole(self, file: FilePlan, data: Buffer) -> None:
        for attempt in (1, 2):
            try:
                folder = self._target.handle(file.folder)
                self._write_whole(folder.fd, file, data)
                return
            except FileNotFoundError as e:
                # Another restore took the temporary file for one that a dead one left.
                if attempt == 2:
                    self._not_written(file, e)
            except OSError as e:
                self._not_written(file, e)
                return

    def _write_whole(self, folder: int, file: FilePlan, data: Buffer) -> None:
        temporary = temporary_name(file.number.to_bytes(8, "big"), self._token)
        make_whole(
            folder, temporary, data, file.size, file.attributes, self._wearer, file.path,
            plain=file.folder.plain, sync=file.replace,
        )  # fmt: skip
        try:
            self._land(folder, file, temporary, len(data))
        except BaseException:
            with suppress(OSError):
                disk.unlink(temporary, dir_fd=folder)
            raise

    def _piece(self, file: FilePlan, position: int, data: Buffer) -> None:
        growing = self._grow(file)
        if growing.lost:
            return
        try:
            handle = self._handle(growing)
            with growing.writing:  # the system lets one at a time write to a file, and has the others spin
                write_all(handle.fd, data, position)
        except OSError as e:
            self._not_written(file, e)
            return
        with growing.lock:
            growing.left -= len(data)
            complete = growing.left == 0 and not growing.lost
        with self._report.lock:
            self._report.written_bytes += len(data)
        if complete:
            self._complete(growing)

    def adopt(self, file: FilePlan) -> None:
        """A file of which everything was there, under its temporary name, gets its own."""
        self._complete(self._grow(file))

    def _complete(self, growing: Growing) -> None:
        file = growing.file
        try:
            handle = self._handle(growing)
            self._wearer.put_on_file(handle.fd, file.attributes, file.path, plain=False)
            if file.replace:
                disk.fsync(handle.fd)
            self._land(self._target.handle(file.folder).fd, file, growing.temporary, 0)
        except OSError as e:
            self._not_written(file, e)
            return
        with self._lock:
            self._growing.pop(file.number, None)
            self._handles.pop(file.number, None)

    def _handle(self, growing: Growing) -> Handle:
        """A descriptor of the temporary file; kept with others of late, opened again when it was not."""
        file = growing.file
        with self._lock:
            held = self._handles.get(file.number)
            if held is not None:
                self._handles.move_to_end(file.number)
                return held
        with growing.lock:
            with self._lock:
                held = self._handles.get(file.number)
            if held is not None:
                return held
            folder = self._target.handle(file.folder).fd
            if growing.temporary:
                held = Handle(disk.open(growing.temporary, _AGAIN, dir_fd=folder))
            else:
                temporary = temporary_name(mark(file), self._token)
                mode = self._wearer.first_mode(file.attributes, plain=False)
                held = Handle(disk.open(temporary, NEW, mode, dir_fd=folder))
                growing.temporary = temporary
                disk.ftruncate(held.fd, file.size)
            with suppress(OSError):  # a lock tells other restores that this one lives
                lock(held.fd)
            with self._lock:
                self._handles[file.number] = held
                if len(self._handles) > _OPEN_FILES:
                    self._handles.popitem(last=False)
            return held

    def _forget(self, growing: Growing) -> None:
        with self._lock:
            self._handles.pop(growing.file.number, None)
        if growing.temporary:
            with suppress(OSError):
                disk.unlink(growing.temporary, dir_fd=self._target.handle(growing.file.folder).fd)

    def _not_written(self, file: FilePlan, error: OSError) -> None:
        if error.errno in FULL:
            where = os.fsdecode(self._target.top)
            raise LocalError(
                f"{where} can't take more: {error.strerror}",
                "make room and run the same command again: it goes on where it stopped",
            ) from error
        self._lose(file, f"it could not be written: {error.strerror or error}")

    # --- landing ------------------------------------------------------------------------------------------

    def _land(self, folder: int, file: FilePlan, temporary: bytes, length: int) -> None:
        """Give a complete file its name. OSError."""
        final, number = file.final, 1
        copied = final != file.name
        while True:
            if file.replace:
                disk.rename(temporary, final, src_dir_fd=folder, dst_dir_fd=folder)
                break
            try:
                rename_new(folder, temporary, final)
                break
            except FileExistsError:
                # It came there since the plan was made.
                there = Existing.of(disk.stat(final, dir_fd=folder, follow_symlinks=False))
                action = self._met(file, there)
                if action is Action.REPLACE:
                    file.replace = True
                elif action is Action.COPY and number < _TRIES:
                    final, copied = copy_name(file.name, file.time, number), True
                    number += 1
                elif action in (Action.KEEP, Action.SAME):
                    disk.unlink(temporary, dir_fd=folder)
                    with self._report.lock:
                        self._report.kept += 1
                    self.landed[file.number] = final
                    return
                else:
                    raise
        if file.link or final != file.final:
            self.landed[file.number] = final
        report = self._report
        with report.lock:
            report.written += 1
            report.written_bytes += length
            report.replaced += file.replace
            report.copies += copied

    def _met(self, file: FilePlan, there: Existing) -> Action:
        wanted = Existing(file.attributes.kind, file.size, file.attributes.mtime)
        return decide(self._policy, there, wanted)


def mark(file: FilePlan) -> bytes:
    """8 bytes that say which file a temporary one will be, the same in every run."""
    text = b"%d %d " % (file.size, file.attributes.mtime) + file.name
    return blake2b(text, digest_size=8).digest()
