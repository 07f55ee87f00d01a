"""One cache folder with its own quota: diskcache, restricted to bytes and not trusted.

Values from it are decrypted and verified like those from the store. Any fault of the disk or the database counts as
a miss: reading continues without the cache, and the fault is logged once.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import diskcache
import msgspec
from diskcache.core import MODE_BINARY, MODE_RAW, UNKNOWN

from catalog.errors import LocalError

log = logging.getLogger("rpdrive.cache")

MIN_FILE = 64 << 10  # bytes; smaller values are stored in the database
LEFT_FREE = 1 << 30  # bytes of the disk left to others, or a twentieth of a small disk
PAUSE = 30.0  # seconds without writing after a failed write
# The library believes what it finds in its tables: a malformed file can raise any of these. `_damaged` knows them.
_GARBLED = (UnicodeError, TypeError, AttributeError, LookupError, ArithmeticError)
_FAULTS = (OSError, sqlite3.Error, diskcache.Timeout, ValueError, *_GARBLED)
_FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")
_SETTINGS: dict[str, Any] = {
    # Reading must not write. So values are evicted by the time of storing, which `touch` updates now and then.
    "eviction_policy": "least-recently-stored",
    "cull_limit": 0,  # see _Cache.shrink
    "disk_min_file_size": MIN_FILE,
    "sqlite_cache_size": 256,  # database pages, per thread that reads
    "sqlite_mmap_size": 0,
    # No memory shared through a file: a full disk or a deleted folder would kill the process.
    "sqlite_journal_mode": "truncate",
    "sqlite_synchronous": 0,  # damage by a power cut is detected, and the data fetched again
}


class BytesDisk(diskcache.Disk):  # type: ignore[misc]
    """Keys and values are bytes. Nothing is pickled or unpickled, and no path is outside the folder."""

    def __init__(self, directory: str, **settings: Any) -> None:
        super().__init__(directory, **settings)
        self.newest = threading.local()

    def put(self, key: Any) -> tuple[Any, bool]:
        if type(key) is not bytes:
            raise TypeError("keys of the cache are bytes")
        return sqlite3.Binary(key), True

    def get(self, key: Any, raw: bool) -> bytes:
        if not raw or not isinstance(key, bytes | memoryview):
            raise ValueError("a key in the cache is not bytes")
        return bytes(key)

    def store(self, value: Any, read: bool, key: Any = UNKNOWN) -> Any:
        if type(value) is not bytes or read:
            raise TypeError("values of the cache are bytes")
        self.newest.name = None
        if len(value) < self.min_file_size:
            return 0, MODE_RAW, None, sqlite3.Binary(value)
        name, path = self.filename(key, value)
        self._write(path, (value,), "xb")  # at once: the library would write it line by line
        return len(value), MODE_BINARY, name, None

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> bytes:
        if mode == MODE_RAW and isinstance(value, bytes | memoryview):
            return bytes(value)
        if mode == MODE_BINARY and filename is not None and _FILE.fullmatch(filename) and not read:
            return Path(self._directory, filename).read_bytes()
        raise OSError("a row of the cache differs from what was stored")  # diskcache treats this as a miss

    def filename(self, key: Any = UNKNOWN, value: Any = UNKNOWN) -> tuple[str, str]:
        name, path = super().filename(key, value)
        self.newest.name = name
        return name, path

    def remove(self, file_path: str) -> None:
        if _FILE.fullmatch(file_path):
            super().remove(file_path)

    def discard_newest(self) -> None:
        """Remove the file that this thread stored last, whose row was not written."""
        name = getattr(self.newest, "name", None)
        if name is not None:
            self.remove(name)


class _Cache(diskcache.Cache):  # type: ignore[misc]
    def touch_all(self, keys: Iterable[bytes]) -> None:
        """Make these values the most recently stored ones."""
        now = time.time()
        with self._transact(retry=False) as (sql, _cleanup):
            for key in keys:
                sql("UPDATE Cache SET store_time = ? WHERE key = ? AND raw = 1", (now, sqlite3.Binary(key)))

    def shrink(self, lacking: int) -> None:
        """Evict the least recently stored values, by bytes: the library limits only their number.

        `lacking` is how many bytes the disk lacks for others.
        """
        excess = max(self.volume() - self.size_limit, lacking)
        if excess <= 0:
            return
        with self._transact(retry=False) as (sql, cleanup):
            rows = sql("SELECT rowid, filename, size + ifnull(length(value), 0) FROM Cache ORDER BY store_time")
            evicted = []
            for rowid, filename, size in rows:
                evicted.append((rowid, filename))
                excess -= size
                if excess <= 0:
                    break
            rows.close()
            for rowid, filename in evicted:
                sql("DELETE FROM Cache WHERE rowid = ?", (rowid,))
                cleanup(filename)


class ShelfStatus(msgspec.Struct, frozen=True):
    """The state of a shelf. `limit` in bytes; `fault` says why the shelf is not in use, "" if it is."""

    bytes: int
    items: int
    limit: int
    fault: str


class Shelf:
    """A bounded set of values on disk, shared by processes. Thread-safe. Opened when first used.

    `limit` in bytes. A missing folder is created with mode 0700; a folder of another user is not used. The folder
    may be deleted at any time: after the next `tend` it is created again.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self.fault = ""  # why the shelf is not used or not written; empty if it is
        self._lock = threading.Lock()
        self._cache: _Cache | None = None
        self._file: tuple[int, int] | None = None  # device and inode of the database
        self._off = False
        self._rebuilt = False
        self._paused_until = 0.0

    # --- reading ------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        try:
            cache = self._opened()
            return None if cache is None else cache.get(key)
        except _FAULTS as e:
            self._reading_failed(e)
            return None

    def has(self, key: bytes) -> bool:
        try:
            cache = self._opened()
            return cache is not None and key in cache
        except _FAULTS as e:
            self._reading_failed(e)
            return False

    def keys(self) -> Iterator[bytes]:
        try:
            cache = self._opened()
            if cache is not None:
                yield from cache.iterkeys()
        except _FAULTS as e:
            self._reading_failed(e)

    def status(self) -> ShelfStatus:
        used, items = 0, 0
        try:
            cache = self._opened()
            if cache is not None:
                used, items = cache.volume(), len(cache)
        except _FAULTS as e:
            self._reading_failed(e)
        return ShelfStatus(used, items, self.limit, self.fault)

    # --- writing ------------------------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """Whether writing may be tried now."""
        return not self._off and time.monotonic() >= self._paused_until

    def put_all(self, items: list[tuple[bytes, bytes]]) -> int:
        """Store values. Returns how many were stored."""
        if not self.writable:
            return 0
        stored = 0
        try:
            cache = self._opened()
            if cache is None:
                return 0
            if len(items) > 1 and all(len(value) < MIN_FILE for _key, value in items):
                with cache.transact():
                    for key, value in items:
                        cache.set(key, value)
                stored = len(items)
            else:
                for key, value in items:
                    cache.set(key, value)
                    stored += 1
            cache.shrink(_lacking(self.folder))
            self.fault = ""
        except _FAULTS as e:
            self._writing_failed(e)
        return stored

    def touch(self, keys: Iterable[bytes]) -> None:
        """Keep these values longer than those stored before now."""
        try:
            cache = self._opened()
            if cache is not None and self.writable:
                cache.touch_all(keys)
        except _FAULTS as e:
            self._writing_failed(e)

    def delete(self, key: bytes) -> None:
        try:
            cache = self._opened()
            if cache is not None:
                cache.delete(key)
        except _FAULTS as e:
            self._writing_failed(e)

    def clear(self) -> None:
        """Delete all values. Raises LocalError if that fails."""
        try:
            cache = self._opened()
            if cache is not None:
                cache.clear()
        except _FAULTS as e:
            raise LocalError(f"the cache in {self.folder} can't be cleared: {e}", "delete that folder") from e

    def tend(self) -> None:
        """Detect that the folder was deleted, so that it is created again."""
        if self._cache is None or self._off:
            return
        if self._identity() != self._file:
            with self._lock:
                self._cache = None

    def leave(self) -> None:
        """Close this thread's connection: the thread will not use the shelf again."""
        cache = self._cache
        if cache is not None:
            with suppress(*_FAULTS):
                cache.close()

    def close(self) -> None:
        with self._lock, suppress(*_FAULTS):
            if self._cache is not None:
                self._cache.close()
            self._cache = None

    # --- opening, and faults ------------------------------------------------------------------------------

    def _opened(self) -> _Cache | None:
        cache = self._cache
        if cache is not None or self._off:
            return cache
        with self._lock:
            if self._cache is None and not self._off:
                try:
                    self._open()
                except (*_FAULTS, LocalError) as e:
                    self._rebuild(e)
            return self._cache

    def _open(self) -> None:
        private_folder(self.folder)
        self._cache = _Cache(str(self.folder), timeout=5, disk=BytesDisk, size_limit=self.limit, **_SETTINGS)
        self._file = self._identity()

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = (self.folder / diskcache.core.DBNAME).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _rebuild(self, reason: Exception) -> None:
        """Delete a damaged cache and create it again; the second time, turn it off. Called with the lock."""
        self._cache = None
        if self._rebuilt or not _damaged(reason):
            self._turn_off(reason)
            return
        self._rebuilt = True
        log.warning("the cache in %s is damaged (%s): deleted and created again", self.folder, reason)
        try:
            shutil.rmtree(self.folder)
            self._open()
        except (*_FAULTS, LocalError) as e:
            self._turn_off(e)

    def _turn_off(self, reason: Exception) -> None:
        self._off, self._cache = True, None
        self._report(reason)

    def _reading_failed(self, reason: Exception) -> None:
        if _damaged(reason):
            with self._lock:
                if self._cache is not None and self._identity() == self._file:
                    self._rebuild(reason)

    def _writing_failed(self, reason: Exception) -> None:
        cache = self._cache
        if cache is not None:
            with suppress(*_FAULTS):
                cache.disk.discard_newest()
        if _locked(reason):
            return  # another process is writing: drop this value
        if _damaged(reason):
            self._reading_failed(reason)
            return
        self._paused_until = time.monotonic() + PAUSE
        self._report(reason)

    def _report(self, reason: Exception) -> None:
        if not self.fault:
            log.warning("the cache in %s can't be used: %s; reading continues without it", self.folder, reason)
        self.fault = str(reason) or type(reason).__name__


def _lacking(folder: Path) -> int:
    """How many bytes more should be free on the disk with this folder."""
    usage = shutil.disk_usage(folder)
    return min(LEFT_FREE, usage.total // 20) - usage.free


def _damaged(reason: Exception) -> bool:
    """Whether the database itself is damaged, not only this operation failed."""
    if isinstance(reason, sqlite3.OperationalError):
        return any(sign in str(reason) for sign in ("malformed", "no such table", "no such column"))
    return isinstance(reason, (sqlite3.DatabaseError, *_GARBLED))


def _locked(reason: Exception) -> bool:
    return isinstance(reason, diskcache.Timeout) or "locked" in str(reason)


def private_folder(folder: Path) -> None:
    """Make a folder with mode 0700, or check that it is ours alone. Raises LocalError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise LocalError(f"{folder} is not a folder", "remove it, or choose another RPDRIVE_HOME")
        if hasattr(os, "geteuid"):
            if found.st_uid != os.geteuid():
                raise LocalError(f"{folder} belongs to another user", "choose another RPDRIVE_HOME")
            if found.st_mode & 0o077:
                folder.chmod(0o700)
    except OSError as e:
        raise LocalError(f"the folder {folder} can't be used: {e.strerror}", "choose another RPDRIVE_HOME") from e
