"""What a copy has and its source no longer has, and since when, as this machine has seen it. And the last run.

It is a file in the state folder, one for each copy. If it is lost, the time of each object begins anew, so that it
stays longer: nothing is ever deleted sooner.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from catalog.errors import LocalError

MOST = 300_000  # objects; of more, those last by name are noted once others are gone
_BATCH = 1000
_TABLES = """
CREATE TABLE IF NOT EXISTS missing
(name TEXT PRIMARY KEY, size INTEGER, since INTEGER, run INTEGER, why TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS compared (name TEXT PRIMARY KEY, modified TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB);
"""


class Missing(NamedTuple):
    """An object that only the copy has. `size` in bytes, `since` by the copy's store (ns), `why`, if known."""

    name: str
    size: int
    since: int
    why: str | None


class LastRun(msgspec.Struct):
    """The last run that looked at everything: when it ended (ns, this machine's time), and what it came to.

    `points` are the whole recovery points at the source, `behind` those of them that the copy lacked afterwards.
    """

    finished: int
    points: int
    behind: int
    problems: int = 0


_last_run = msgspec.msgpack.Decoder(LastRun)


def state_of_copy(state: Path, vault_id: bytes, address: str) -> Path:
    """The file for the copy of a vault at an address, without an ending."""
    return state / f"copy-{hashlib.sha256(vault_id + address.encode()).hexdigest()[:16]}"


def last_run(state: Path, vault_id: bytes, address: str) -> LastRun | None:
    """What is known of the last run of copying a vault to an address; None if there was none. Without requests."""
    path = state_of_copy(state, vault_id, address).with_suffix(".sqlite")
    if not path.exists():
        return None
    try:
        with MissingObjects(path, reading=True) as notes:
            return notes.last_run()
    except LocalError:
        return None


class MissingObjects:
    """The file, opened by one run at a time: a second one gets LocalError. A context manager. For one thread.

    With `reading`, others may use it meanwhile, and nothing is kept. What was noted is kept if the block ends
    without an error, and at each `keep`.
    """

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        self._path, self._reading = path, reading
        self._db = self._opened()
        self._run = 0
        self._batch: list[tuple[str, int, int, int]] = []

    def _opened(self) -> sqlite3.Connection:
        for last in (False, True):
            try:
                return self._tried()
            except sqlite3.OperationalError as e:
                if e.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise LocalError(
                        "another `rpdrive vault copy` to this copy is running on this machine", "wait until it ends"
                    ) from e
                if last:
                    raise LocalError(f"{self._path} can't be used: {e}", "check its folder, or delete it") from e
            except sqlite3.DatabaseError as e:
                if last:
                    raise LocalError(f"{self._path} can't be used: {e}", "delete it") from e
            if not self._reading:
                with suppress(OSError):
                    self._path.unlink()  # not a database any more
        raise AssertionError

    def _tried(self) -> sqlite3.Connection:
        db = sqlite3.connect(":memory:" if self._reading else self._path, isolation_level=None, timeout=0)
        try:
            if self._reading and self._path.exists():  # as it is now: another run may go on with the file
                with closing(sqlite3.connect(self._path, timeout=0)) as file:
                    file.backup(db)
            db.execute("PRAGMA synchronous=OFF")
            db.executescript(_TABLES)
            db.execute("BEGIN IMMEDIATE")
            db.execute("SELECT name FROM missing LIMIT 1").fetchone()
        except BaseException:
            db.close()
            raise
        return db

    def __enter__(self) -> MissingObjects:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        try:
            self._db.execute("ROLLBACK" if self._reading or kind is not None else "COMMIT")
        except sqlite3.Error:
            pass  # it is full, or gone: what is missing is noted by a later run
        finally:
            self._db.close()

    def _do(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        with self._translated():
            return self._db.execute(sql, values)

    def _each(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        with self._translated():
            self._db.executemany(sql, rows)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as e:
            raise LocalError(f"{self._path} can't be used: {e}", "free some space, or delete it") from e

    def keep(self) -> None:
        """Keep what was noted so far, whatever happens later."""
        if not self._reading:
            self._do("COMMIT")
            self._do("BEGIN IMMEDIATE")

    # --- one listing --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to note what a listing says."""
        self._batch.clear()
        (run,) = self._do("SELECT coalesce(max(run), 0) FROM missing").fetchone()
        self._run = int(run) + 1

    def saw(self, name: str, size: int, now: int) -> None:
        """Note that only the copy has an object, at a time (ns) by the copy's store."""
        self._batch.append((name, size, now, self._run))
        if len(self._batch) >= _BATCH:
            self._write()

    def _write(self) -> None:
        (count,) = self._do("SELECT count(*) FROM missing").fetchone()
        if count >= MOST:
            known = "UPDATE missing SET run = ?4, size = ?2, since = min(since, ?3) WHERE name = ?1"
            self._each(known, self._batch)
        else:
            self._each(
                "INSERT INTO missing VALUES (?1, ?2, ?3, ?4, NULL) ON CONFLICT (name) DO UPDATE"
                " SET run = excluded.run, size = excluded.size, since = min(since, excluded.since)",
                self._batch,
            )
        self._batch.clear()

    def end(self) -> None:
        """The listing was whole: what it did not say is not missing any more."""
        self._write()
        self._do("DELETE FROM missing WHERE run != ?", (self._run,))

    # --- what is known ------------------------------------------------------------------------------------

    def all(self, kind: str, before: int | None = None) -> Iterator[Missing]:
        """What is missing of a kind (the first part of names), since a time (ns) or longer, in order of name."""
        limit = 2**63 - 1 if before is None else before
        cursor = self._do(
            "SELECT name, size, since, why FROM missing WHERE name >= ? AND name < ? AND since <= ? ORDER BY name",
            (f"{kind}/", f"{kind}0", limit),  # 0 comes after the slash
        )
        return (Missing(*row) for row in cursor)

    def explain(self, names: Iterable[tuple[str, str]]) -> None:
        """Note why objects are missing: it is true for ever."""
        self._each("UPDATE missing SET why = ?2 WHERE name = ?1", names)

    def is_compared(self, name: str, modified: str) -> bool:
        """Whether an object that both sides stored at these times was the same: disks may take turns."""
        row = self._do("SELECT modified FROM compared WHERE name = ?", (name,)).fetchone()
        return row is not None and row[0] == modified

    def note_compared(self, names: Iterable[tuple[str, str]]) -> None:
        """Note that objects that both sides stored at these times are the same."""
        self._each("INSERT OR REPLACE INTO compared VALUES (?, ?)", names)

    @property
    def count(self) -> int:
        return int(self._do("SELECT count(*) FROM missing").fetchone()[0])

    @property
    def mark(self) -> str:
        """What runs of this machine mark unfinished files with in the copy's folder: nobody else uses it."""
        row = self._do("SELECT value FROM facts WHERE name = 'mark'").fetchone()
        if row is not None and isinstance(row[0], str) and row[0].isalnum():
            return row[0]
        mark = f"copy{os.urandom(8).hex()}"
        self._do("INSERT OR REPLACE INTO facts VALUES ('mark', ?)", (mark,))
        self.keep()  # before the first file has it
        return mark

    def last_run(self) -> LastRun | None:
        row = self._do("SELECT value FROM facts WHERE name = 'last run'").fetchone()
        try:
            return None if row is None else _last_run.decode(row[0])
        except (msgspec.DecodeError, TypeError):
            return None

    def note_run(self, run: LastRun) -> None:
        value = msgspec.msgpack.encode(run)
        self._do("INSERT OR REPLACE INTO facts VALUES ('last run', ?)", (value,))
