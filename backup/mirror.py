"""The local mirror of the index: chunk id -> extent, in SQLite, so that memory does not grow with the vault.

It holds the contents of this machine's index objects, and a journal of packs that the store acknowledged and that
no index object lists yet. After a kill, only packs that were not acknowledged are sent again. If the file is lost,
the index is read again; restores don't need it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from catalog.errors import LocalError
from catalog.format.blocks import PackKind
from catalog.format.packs import BlockRow, Extent
from catalog.format.records import IndexedPack

EVIDENCE_AGE = 42 * 3600 * 10**9  # ns; a quarter of the 7 days for which a condemned pack stays readable

_SCHEMA = """
CREATE TABLE IF NOT EXISTS packs (
    number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL,
    seen INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS chunks (
    id BLOB PRIMARY KEY, pack INTEGER NOT NULL, offset INTEGER NOT NULL, stored INTEGER NOT NULL,
    place INTEGER NOT NULL, length INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pages (
    id BLOB PRIMARY KEY, pack INTEGER NOT NULL, offset INTEGER NOT NULL, stored INTEGER NOT NULL,
    place INTEGER NOT NULL, length INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unpublished (pack BLOB PRIMARY KEY, contents BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lost (pack BLOB PRIMARY KEY, noticed INTEGER NOT NULL) WITHOUT ROWID;
"""
_LAYOUT = 2  # of the tables above; a file with another layout is deleted and filled from the vault

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[BlockRow])


class Mirror:
    """One vault's mirror for one machine. For one thread, and one backup at a time."""

    def __init__(self, path: Path) -> None:
        try:
            self._db = self._open(path)
        except (sqlite3.Error, OSError) as e:
            raise LocalError(
                f"the index mirror {path} can't be opened: {e}", f"remove {path}; the next backup makes a new one"
            ) from e
        self.empty = self._db.execute("SELECT 1 FROM chunks LIMIT 1").fetchone() is None
        self._ids: dict[int, bytes] = dict(self._db.execute("SELECT number, id FROM packs"))

    @staticmethod
    def _open(path: Path) -> sqlite3.Connection:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for attempt in (0, 1):
            db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute("PRAGMA cache_size = -32768")
                layout = db.execute("PRAGMA user_version").fetchone()[0]
                if layout not in (0, _LAYOUT):
                    raise sqlite3.DatabaseError(f"layout {layout}")
                db.executescript(_SCHEMA)
                db.execute(f"PRAGMA user_version = {_LAYOUT}")
                return db
            except sqlite3.DatabaseError as e:
                db.close()
                if attempt or isinstance(e, sqlite3.OperationalError):
                    raise
                # Damaged, or of another layout. The vault has everything that is in it.
                for tail in ("", "-wal", "-shm"):
                    path.with_name(path.name + tail).unlink(missing_ok=True)
        raise AssertionError

    def close(self) -> None:
        self._db.close()

    # --- looking up ---------------------------------------------------------------------------------------

    def find(self, chunk: bytes) -> Extent | None:
        """The extent of a data chunk, if it is known to be in the store."""
        if self.empty:
            return None
        row = self._db.execute(
            "SELECT pack, offset, stored, place, length FROM chunks WHERE id = ?", (chunk,)
        ).fetchone()
        return Extent(self._ids[row[0]], row[1], row[2], row[3], row[4], chunk) if row else None

    def find_page(self, page: bytes) -> Extent | None:
        """The extent of a tree page that an interrupted run uploaded."""
        row = self._db.execute(
            "SELECT pack, offset, stored, place, length FROM pages WHERE id = ?", (page,)
        ).fetchone()
        return Extent(self._ids[row[0]], row[1], row[2], row[3], row[4], page) if row else None

    def has_pages(self) -> bool:
        return self._db.execute("SELECT 1 FROM pages LIMIT 1").fetchone() is not None

    # --- the journal --------------------------------------------------------------------------------------

    def acknowledge(self, kind: PackKind, pack: bytes, rows: Iterable[BlockRow]) -> None:
        """Record a pack that the store has. The record survives the end of this process."""
        rows = list(rows)
        with self._transaction():
            self._add(kind, pack, rows, time.time_ns())
            if kind is PackKind.DATA:
                contents = _encoder.encode(rows)
                self._db.execute("INSERT OR REPLACE INTO unpublished VALUES (?, ?)", (pack, contents))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _add(self, kind: PackKind, pack: bytes, rows: Iterable[BlockRow], seen: int) -> None:
        if self._db.execute("SELECT 1 FROM packs WHERE id = ?", (pack,)).fetchone():
            return
        cursor = self._db.execute("INSERT INTO packs (id, kind, seen) VALUES (?, ?, ?)", (pack, int(kind), seen))
        number = cursor.lastrowid
        assert number is not None
        table = "chunks" if kind is PackKind.DATA else "pages"
        self._db.executemany(
            f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?, ?, ?, ?)",
            ((e.id, number, e.offset, e.stored, e.inner, e.length) for row in rows for e in row.extents(pack)),
        )
        self._ids[number] = pack
        if kind is PackKind.DATA:
            self.empty = False

    def unpublished(self) -> list[IndexedPack]:
        """The data packs that no index object lists yet, with their tables of contents."""
        rows = self._db.execute("SELECT pack, contents FROM unpublished ORDER BY pack").fetchall()
        return [IndexedPack(pack, _decoder.decode(contents)) for pack, contents in rows]

    def published(self, name: str, packs: Iterable[bytes]) -> None:
        """Record that the index object `name` lists these packs."""
        with self._transaction():
            self._db.executemany("DELETE FROM unpublished WHERE pack = ?", ((p,) for p in packs))
            self._db.execute("INSERT OR IGNORE INTO objects VALUES (?)", (name,))

    def committed(self) -> None:
        """Record that the run's point is written: from now on, its tree pages are found through the point."""
        self._db.execute("DELETE FROM pages")

    # --- mirroring ----------------------------------------------------------------------------------------

    def mirrored(self) -> set[str]:
        return {row[0] for row in self._db.execute("SELECT name FROM objects")}

    def mirror(self, name: str, packs: Iterable[IndexedPack]) -> None:
        """Add an index object. That it lists a pack is no evidence that the pack still exists."""
        with self._transaction():
            for pack in packs:
                self._add(PackKind.DATA, pack.pack, pack.blocks, 0)
                self._db.execute("DELETE FROM unpublished WHERE pack = ?", (pack.pack,))
            self._db.execute("INSERT OR IGNORE INTO objects VALUES (?)", (name,))

    def forget_objects(self, names: Iterable[str]) -> None:
        """Forget index objects that are gone from the vault. All packs must then be checked again."""
        with self._transaction():
            self._db.executemany("DELETE FROM objects WHERE name = ?", ((n,) for n in names))
            self._db.execute("UPDATE packs SET seen = 0")

    # --- evidence -----------------------------------------------------------------------------------------

    def evidence_due(self) -> bool:
        """Whether some pack was last seen in the store more than EVIDENCE_AGE ago."""
        oldest = self._db.execute("SELECT min(seen) FROM packs").fetchone()[0]
        return oldest is not None and oldest < time.time_ns() - EVIDENCE_AGE

    def evidence(self, present: set[bytes], now: int) -> int:
        """Compare with a full listing of packs at `now` (ns). Packs that are gone are forgotten, with their chunks.

        They are recorded as lost. Returns their number.
        """
        gone = [
            (number, pack)
            for number, pack in self._db.execute("SELECT number, id FROM packs")
            if pack not in present
        ]
        with self._transaction():
            self._db.execute("UPDATE packs SET seen = ?", (time.time_ns(),))
            self._db.executemany("DELETE FROM lost WHERE pack = ?", ((p,) for p in present))
            for number, pack in gone:
                for table in ("chunks", "pages"):
                    self._db.execute(f"DELETE FROM {table} WHERE pack = ?", (number,))
                self._db.execute("DELETE FROM unpublished WHERE pack = ?", (pack,))
                self._db.execute("DELETE FROM packs WHERE number = ?", (number,))
                self._db.execute("INSERT OR REPLACE INTO lost VALUES (?, ?)", (pack, now))
        self.empty = self._db.execute("SELECT 1 FROM chunks LIMIT 1").fetchone() is None
        return len(gone)

    def lost_since(self, time: int) -> frozenset[bytes]:
        """Packs whose loss was noticed after `time` (ns): a point of that time may refer to them."""
        return frozenset(row[0] for row in self._db.execute("SELECT pack FROM lost WHERE noticed > ?", (time,)))
