"""Sealed blocks and records on this machine's disk, shared by all drives and commands of a user."""

from __future__ import annotations

import atexit
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import msgspec

from cache.memory import Lru
from cache.shelf import MIN_FILE, Shelf, ShelfStatus
from catalog.format.blocks import Buffer, PackKind

GIB = 1 << 30
MIB = 1 << 20
LIMIT = 10 * GIB  # bytes on disk, by default
QUEUE = 12 * MIB  # bytes waiting to be written
PATIENCE = 2.0  # seconds that a reader waits for room in the queue before it drops its block
TOUCH_EVERY = 600.0  # seconds between two updates of a value's time of last use
_BATCH = 64  # values


class DiskStatus(msgspec.Struct, frozen=True):
    """The state of a disk cache. `limit` and `bytes` are of both shelves, in bytes; `dropped` counts values."""

    folder: str
    limit: int
    dropped: int
    data: ShelfStatus
    tree: ShelfStatus
    bytes: int


class DiskCache:
    """Blocks by vault, pack and offset; records by vault and name. Thread-safe.

    `folder` holds `data/` and `tree/`. The latter, for tree blocks and records, has its own quota, so that data
    can't evict them. `limit` is the bytes of both. One thread writes, from a queue; values in the queue can be read
    already. `close` writes what remains, and is also called at exit.
    """

    def __init__(self, folder: Path, *, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        tree = min(max(limit // 10, 256 * MIB), limit // 2)
        self._data = Shelf(folder / "data", limit - tree)
        self._tree = Shelf(folder / "tree", tree)
        self._changed = threading.Condition()
        self._queue: OrderedDict[tuple[Shelf, bytes], bytes] = OrderedDict()
        self._queued = 0
        self._writing = False
        self._in_use: dict[tuple[Shelf, bytes], float] = {}
        self._to_touch: dict[Shelf, set[bytes]] = {self._data: set(), self._tree: set()}
        self._thread: threading.Thread | None = None
        self._closed = False
        self.dropped = 0  # values not kept because the disk was too slow

    # --- blocks -------------------------------------------------------------------------------------------

    def get(self, kind: PackKind, key: bytes) -> bytes | None:
        """The sealed bytes of a block, or None."""
        return self._get(self._shelf(kind), b"b" + key)

    def has(self, kind: PackKind, key: bytes) -> bool:
        shelf, key = self._shelf(kind), b"b" + key
        return (shelf, key) in self._queue or shelf.has(key)

    def put(self, kind: PackKind, key: bytes, sealed: Buffer) -> None:
        """Keep a block. Copies its bytes, and returns before they are on disk."""
        self._put(self._shelf(kind), b"b" + key, bytes(sealed))

    def drop(self, kind: PackKind, key: bytes) -> None:
        """Delete a block whose copy is bad."""
        self._drop(self._shelf(kind), b"b" + key)

    def waiting(self) -> int:
        """Bytes in memory that wait to be written."""
        return self._queued

    def records(self, vault_id: bytes) -> MutableMapping[str, bytes]:
        """The sealed records of one vault, by name: for `Vault(records=…)`."""
        return _Records(self, vault_id)

    def _shelf(self, kind: PackKind) -> Shelf:
        return self._data if kind.folder == "packs" else self._tree

    def _get(self, shelf: Shelf, key: bytes) -> bytes | None:
        value = self._queue.get((shelf, key))
        if value is None:
            value = shelf.get(key)
            if value is not None:
                self._note_use(shelf, key)
        return value

    def _note_use(self, shelf: Shelf, key: bytes) -> None:
        # A rough time of last use is enough: a value is touched once in TOUCH_EVERY seconds.
        now = time.monotonic()
        if now - self._in_use.get((shelf, key), 0.0) < TOUCH_EVERY:
            return
        with self._changed:
            if len(self._in_use) > 100_000:
                self._in_use.clear()
            self._in_use[shelf, key] = now
            self._to_touch[shelf].add(key)
            if len(self._to_touch[shelf]) >= _BATCH:
                self._wake()

    def _drop(self, shelf: Shelf, key: bytes) -> None:
        with self._changed:
            self._unqueue((shelf, key))
        shelf.delete(key)

    # --- the queue ----------------------------------------------------------------------------------------

    def _put(self, shelf: Shelf, key: bytes, value: bytes) -> None:
        if not shelf.writable or len(value) > shelf.limit // 4:
            return
        with self._changed:
            fits = self._changed.wait_for(
                lambda: self._queued + len(value) <= QUEUE or not self._queue or not shelf.writable, PATIENCE
            )
            if not fits or self._closed or not shelf.writable:
                self.dropped += 1
                return
            self._unqueue((shelf, key))
            self._queue[shelf, key] = value
            self._queued += len(value)
            self._wake()

    def _unqueue(self, place: tuple[Shelf, bytes]) -> None:
        value = self._queue.pop(place, None)
        if value is not None:
            self._queued -= len(value)

    def _wake(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._write, name="disk cache", daemon=True)
            self._thread.start()
            atexit.register(self.close)
        self._changed.notify_all()

    def _write(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._queue or self._closed or self._touches_due())
                if self._closed and not self._queue and not any(self._to_touch.values()):
                    break
                batch = self._next_batch()
                touches = [(shelf, keys) for shelf, keys in self._to_touch.items() if keys]
                if batch and not self._closed:
                    touches = [(shelf, keys) for shelf, keys in touches if len(keys) >= _BATCH]
                for shelf, _keys in touches:
                    self._to_touch[shelf] = set()
                self._writing = True
            for shelf in (self._data, self._tree):
                shelf.tend()
            for shelf, keys in touches:
                shelf.touch(keys)
            if batch:
                shelf = batch[0][0][0]
                stored = shelf.put_all([(key, value) for (_shelf, key), value in batch])
                with self._changed:
                    self.dropped += len(batch) - stored
                    for place, value in batch:
                        if self._queue.get(place) is value:  # not replaced meanwhile
                            self._unqueue(place)
                    self._changed.notify_all()
        self._data.leave()
        self._tree.leave()

    def _touches_due(self) -> bool:
        return any(len(keys) >= _BATCH for keys in self._to_touch.values())

    def _next_batch(self) -> list[tuple[tuple[Shelf, bytes], bytes]]:
        """The oldest value, or the oldest small ones if they are of one shelf and fit into one transaction."""
        batch: list[tuple[tuple[Shelf, bytes], bytes]] = []
        for place, value in self._queue.items():
            if batch and (len(value) >= MIN_FILE or place[0] is not batch[0][0][0]):
                break
            batch.append((place, value))
            if len(value) >= MIN_FILE or len(batch) >= _BATCH:
                break
        return batch

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until all values are on disk. False if that takes more than `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._writing, timeout)

    # --- the whole ----------------------------------------------------------------------------------------

    def status(self) -> DiskStatus:
        data, tree = self._data.status(), self._tree.status()
        return DiskStatus(str(self.folder), self.limit, self.dropped, data, tree, data.bytes + tree.bytes)

    def clear(self) -> None:
        """Delete everything, even while other processes use it. Raises LocalError."""
        with self._changed:
            self._queue.clear()
            self._queued = 0
            self._in_use.clear()
        self._data.clear()
        self._tree.clear()

    def close(self) -> None:
        """Write what remains in the queue, for 10 seconds at most, and close the files."""
        with self._changed:
            self._closed = True
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join(10.0)
            atexit.unregister(self.close)
        self._data.close()
        self._tree.close()


class _Records(MutableMapping[str, bytes]):
    """Records by name. Records that this process used are also kept in memory, even if the disk fails."""

    def __init__(self, disk: DiskCache, vault_id: bytes) -> None:
        self._disk = disk
        self._shelf = disk._tree
        self._prefix = b"r" + vault_id
        self._near: Lru[str, bytes] = Lru(8 * MIB, len)

    def __getitem__(self, name: str) -> bytes:
        value = self._near.get(name)
        if value is None:
            value = self._disk._get(self._shelf, self._prefix + name.encode())
            if value is None:
                raise KeyError(name)
            self._near.put(name, value)
        return value

    def __setitem__(self, name: str, value: bytes) -> None:
        self._near.put(name, value)
        self._disk._put(self._shelf, self._prefix + name.encode(), value)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._near.pop(name)
        self._disk._drop(self._shelf, self._prefix + name.encode())

    def __iter__(self) -> Iterator[str]:
        self._disk.flush()
        for key in self._shelf.keys():  # noqa: SIM118 - a shelf is no mapping
            if key.startswith(self._prefix):
                yield key[len(self._prefix) :].decode()

    def __len__(self) -> int:
        return sum(1 for _ in self)
