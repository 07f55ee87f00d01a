"""What this machine notes about pruning a vault, to ask less of the store next time. It may be lost at any time.

Where the table of contents of a pack begins never changes. A wrong value would let blocks be kept, or bytes of the
table be called dead; never a block that is alive.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from catalog.errors import Damaged, MissingData, NewerFormat, ShortRead
from catalog.format.blocks import PackKind
from catalog.format.packs import TRAILER, decode_trailer
from catalog.prune.plan import Object
from catalog.prune.state import Key
from catalog.vault import Vault

RESTS = 30 * 86_400 * 10**9  # ns for which it is not tried again to move a pack with a damaged block
_MOST_ROTTEN = 10_000
_PARALLEL = 8  # requests at once
_TABLES = """
CREATE TABLE IF NOT EXISTS ends (kind INTEGER, id BLOB, size INTEGER, end INTEGER, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT);
"""  # noqa: E501


class Notes:
    """A file in the state folder; without a path, or if that can't be used, in memory. For one thread."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._db = self._opened()

    def _opened(self) -> sqlite3.Connection:
        for last in (False, True):
            try:
                db = sqlite3.connect(":memory:" if self._path is None else self._path, isolation_level=None)
                db.executescript("PRAGMA synchronous=OFF;" + _TABLES)
                return db
            except sqlite3.Error:
                if self._path is not None:
                    with suppress(OSError):
                        self._path.unlink()
                if last:
                    self._path = None
        return self._opened()

    def close(self) -> None:
        self._db.close()

    def ends(self, objects: Sequence[Object]) -> dict[Key, int]:
        """Where the tables of contents of those objects begin of which that is known (bytes)."""
        found: dict[Key, int] = {}
        with suppress(sqlite3.Error):
            for obj in objects:
                row = self._db.execute(
                    "SELECT end FROM ends WHERE kind = ? AND id = ? AND size = ?", (*obj.key, obj.size)
                ).fetchone()
                if row is not None and isinstance(row[0], int):
                    found[obj.key] = row[0]
        return found

    def keep_ends(self, ends: Iterable[tuple[Object, int]]) -> None:
        with suppress(sqlite3.Error):
            self._db.execute("BEGIN")
            self._db.executemany(
                "INSERT OR REPLACE INTO ends VALUES (?, ?, ?, ?)", ((*o.key, o.size, end) for o, end in ends)
            )
            self._db.execute("COMMIT")

    def get(self, name: str) -> str | None:
        with suppress(sqlite3.Error):
            row = self._db.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
            return None if row is None else str(row[0])
        return None

    def rotten(self, series: bytes, now: int) -> dict[Key, int]:
        """Packs of a series with a damaged block, which were to be moved at a time (ns) less than 30 days ago."""
        found = {}
        for line in (self.get(_rotten(series)) or "").splitlines():
            with suppress(ValueError):
                kind, pack, since = line.split()
                if 0 <= now - int(since) < RESTS:
                    found[Key(int(kind), bytes.fromhex(pack))] = int(since)
        return found

    def keep_rotten(self, series: bytes, packs: Mapping[Key, int]) -> None:
        lines = [f"{key.kind} {key.id.hex()} {since}" for key, since in sorted(packs.items())]
        self.set(_rotten(series), "\n".join(lines[:_MOST_ROTTEN]))

    def set(self, name: str, value: str) -> None:
        with suppress(sqlite3.Error):
            self._db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))


def _rotten(series: bytes) -> str:
    return f"rotten {series.hex()}"


def find_ends(vault: Vault, notes: Notes, objects: Sequence[Object]) -> Mapping[Key, int]:
    """Where the tables of contents of these objects begin (bytes): as noted, else by one request of 16 bytes each.

    Those whose trailer is damaged or gone are left out. Raises StoreError.
    """
    known = notes.ends(objects)
    unknown = [obj for obj in objects if obj.key not in known]
    if not unknown:
        return known

    def look(obj: Object) -> int | None:
        try:
            tail = vault.read_pack(PackKind(obj.key.kind), obj.key.id, obj.size - TRAILER.size, TRAILER.size)
            return decode_trailer(tail, obj.size, "")[0]
        except (Damaged, MissingData, NewerFormat, ShortRead):
            return None

    whole = [obj for obj in unknown if obj.size > TRAILER.size]
    with ThreadPoolExecutor(_PARALLEL, "trailers") as pool:
        rows = [(obj, end) for obj, end in zip(whole, pool.map(look, whole), strict=True) if end is not None]
    notes.keep_ends(rows)
    return known | {obj.key: end for obj, end in rows}
