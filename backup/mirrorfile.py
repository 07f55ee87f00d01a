"""The file of the index mirror: an SQLite database whose rows carry a keyed check, made anew if it is malformed.

SQLite has no checksums: a flipped bit could change the place of a chunk, and a new point would refer to the wrong
bytes. The key of the checks is derived from the vault's, and nothing but this file has them. A row that fails its
check is no row: what it said is found out again, or stored again.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from catalog.errors import LocalError
from catalog.format.blocks import PackKind
from catalog.format.keys import Keys, expand
from catalog.format.packs import BlockRow

CHECK_BYTES = 8
_LAYOUT = 3  # of the tables; a file with another layout is deleted and filled from the vault
_SCHEMA = """
CREATE TABLE IF NOT EXISTS packs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL, size INTEGER NOT NULL,
    origin INTEGER NOT NULL, seal BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS chunks (
    id BLOB PRIMARY KEY, pack INTEGER NOT NULL, offset INTEGER NOT NULL, stored INTEGER NOT NULL,
    place INTEGER NOT NULL, length INTEGER NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pages (
    id BLOB PRIMARY KEY, pack INTEGER NOT NULL, offset INTEGER NOT NULL, stored INTEGER NOT NULL,
    place INTEGER NOT NULL, length INTEGER NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unpublished (
    pack BLOB PRIMARY KEY, contents BLOB NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (name BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lost (
    number INTEGER PRIMARY KEY, id BLOB NOT NULL, kind INTEGER NOT NULL, size INTEGER NOT NULL,
    origin INTEGER NOT NULL, seal BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS notes (name BLOB PRIMARY KEY, value BLOB NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID;
CREATE TEMP TABLE IF NOT EXISTS listed (id BLOB PRIMARY KEY, kind INTEGER, size INTEGER) WITHOUT ROWID;
CREATE TEMP TABLE IF NOT EXISTS relied (id BLOB PRIMARY KEY, taken INTEGER) WITHOUT ROWID;
"""
_TABLES = ("packs", "chunks", "pages", "unpublished", "objects", "lost", "notes", "sqlite_sequence")
# What the disk, its permissions or another process is to blame for; anything else is a malformed file.
_OF_THE_SYSTEM = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY,
}  # fmt: skip
_CUT = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ}  # the file is unreadable, or ends too early


class Listed(NamedTuple):
    """A pack in a listing of the vault; `size` in bytes."""

    id: bytes
    kind: PackKind
    size: int


class Moved(NamedTuple):
    """A pack whose blocks lie in other objects, all of which must be listed."""

    pack: bytes
    kind: PackKind
    holders: set[bytes]


class Compared(NamedTuple):
    """What a listing showed: how many packs are gone, and which are there with another size than they had."""

    gone: int
    cut: list[tuple[PackKind, bytes]]


class _Connection(sqlite3.Connection):
    """Raises sqlite3.Error for a malformed file in every case.

    SQLite's message quotes the file's schema. If that is not text, the module raises UnicodeDecodeError instead.
    """

    def execute(self, *args: Any) -> sqlite3.Cursor:
        try:
            return super().execute(*args)
        except UnicodeDecodeError as e:
            raise _malformed(e) from e

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        try:
            return super().executemany(*args)
        except UnicodeDecodeError as e:
            raise _malformed(e) from e

    def executescript(self, *args: Any) -> sqlite3.Cursor:
        try:
            return super().executescript(*args)
        except UnicodeDecodeError as e:
            raise _malformed(e) from e


def _malformed(error: UnicodeDecodeError) -> sqlite3.DatabaseError:
    return sqlite3.DatabaseError(error.object.decode(errors="backslashreplace"))


def is_malformed(error: sqlite3.Error) -> bool:
    """Whether the file itself is to blame for an error: then it must be made anew."""
    code = _code(error)
    return code is None or code in _CUT or code & 0xFF not in _OF_THE_SYSTEM


def _code(error: sqlite3.Error) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code


class MirrorFile:
    """An open mirror file. For one thread. `db` is in autocommit mode; `made` says that the file was made just now.

    Raises LocalError if the file can't be used.
    """

    def __init__(self, path: Path, keys: Keys) -> None:
        self._path = path
        key = expand(keys.index, b"rpdrive local mirror")
        self._hash = hashlib.blake2b(key=key, digest_size=CHECK_BYTES)
        self.made = False
        self.db = self._opened()

    def check(self, table: bytes, *fields: bytes) -> bytes:
        """The check of a row, from all its fields; all but the last have a fixed length."""
        found = self._hash.copy()
        found.update(b"".join((table, *fields)))
        return found.digest()

    def checks(self, table: bytes) -> Callable[[bytes], bytes]:
        """A function that returns the check of a row of `table` from all its fields: for many rows."""
        started = self._hash.copy()
        started.update(table)

        def check(fields: bytes) -> bytes:
            found = started.copy()
            found.update(fields)
            return found.digest()

        return check

    def _opened(self) -> sqlite3.Connection:
        try:
            try:
                return self._connected()
            except sqlite3.Error as e:
                # "Read-only" may be the header's word; a disk that is read-only refuses to remove the file.
                if not is_malformed(e) and _code(e) != sqlite3.SQLITE_READONLY:
                    raise
            self._remove()
            return self._connected()
        except (sqlite3.Error, OSError) as e:
            reason = e.strerror if isinstance(e, OSError) else e
            raise LocalError(
                f"the index mirror {self._path} can't be opened: {reason}",
                "check the permissions of its folder and the free space there",
            ) from e

    def _connected(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        db = sqlite3.connect(
            self._path, timeout=30, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA cache_size = -32768")
            db.execute("PRAGMA trusted_schema = OFF")
            layout = db.execute("PRAGMA user_version").fetchone()[0]
            if layout not in (0, _LAYOUT):
                raise sqlite3.DatabaseError(f"layout {layout}")
            self.made = layout == 0
            db.executescript(_SCHEMA)
            for (
                table
            ) in _TABLES:  # a file that can't be read at all is found out here, and not in the middle of a run
                db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()
            db.execute(f"PRAGMA user_version = {_LAYOUT}")
            return db
        except BaseException:
            db.close()
            raise

    def _remove(self) -> None:
        for tail in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + tail).unlink(missing_ok=True)

    def remake(self) -> None:
        """Make the file anew: the vault has everything that was in it. Raises LocalError."""
        try:
            self.db.close()
            self._remove()
        except (sqlite3.Error, OSError) as e:
            raise LocalError(f"the index mirror {self._path} can't be made anew: {e}", "remove that file") from e
        self.db = self._opened()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes within, or none of them."""
        try:  # around BEGIN and COMMIT, too: Ctrl-C may come between them and the next line
            self.db.execute("BEGIN IMMEDIATE")
            yield
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:  # a full disk ends it
                self.db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self.db.close()

    # --- notes --------------------------------------------------------------------------------------------

    def note(self, name: bytes) -> bytes | None:
        """A single value kept under a name; None if there is none."""
        row = self.db.execute("SELECT value, seal FROM notes WHERE name = ?", (name,)).fetchone()
        if row is None or not isinstance(row[0], bytes) or row[1] != self._note_check(name, row[0]):
            return None
        value: bytes = row[0]
        return value

    def number(self, name: bytes) -> int:
        """A single number kept under a name; 0 if there is none."""
        return int.from_bytes(self.note(name) or b"", "big")

    def keep(self, name: bytes, value: bytes | int) -> None:
        """Keep a single value or a number >= 0 under a name."""
        raw = value if isinstance(value, bytes) else value.to_bytes(16, "big")
        self.db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (name, raw, self._note_check(name, raw)))

    def _note_check(self, name: bytes, value: bytes) -> bytes:
        return self.check(b"note", len(name).to_bytes(2, "big"), name, value)


class Marks:
    """A bit for each chunk, by the first three bytes of its id: 2 MiB. It spares a first backup the queries.

    Of a million chunks, 6 in 100 others are taken for one of them.
    """

    def __init__(self) -> None:
        self._bits = bytearray(1 << 21)

    def add(self, rows: Iterable[BlockRow]) -> None:
        """Mark all chunks of these blocks."""
        for row in rows:
            for chunk in row.chunks():
                at = int.from_bytes(chunk[:3], "big")
                self._bits[at >> 3] |= 1 << (at & 7)

    def may_have(self, chunk: bytes) -> bool:
        """False for a chunk that was not marked. True for all others, and a few more."""
        at = int.from_bytes(chunk[:3], "big")
        return bool(self._bits[at >> 3] >> (at & 7) & 1)
