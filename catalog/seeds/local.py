"""What this machine knows of a seed that it makes: its disks, what is on each, and how far it is.

It is in a folder of its own in the state folder: an SQLite file; points and jobs that wait for the last disk,
unless a twin has them; the mirror of the index as it will be once the seed has arrived, and what was seen there. A
listing of the seed, be it of a million objects, is read in pages: memory does not grow with it.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import msgspec

from catalog.access.settings import private_folder
from catalog.errors import LocalError, RpdriveError, StoreError, StoreUnreachable, UsageError
from catalog.schedule.marks import single
from catalog.seeds.disk import DiskRow, Listed, read_seed_file, read_twin_file
from catalog.store.base import ObjectInfo
from catalog.store.local import LocalStore
from catalog.vault import Vault

DESK = 0  # the number of no disk: an object that waits here, or is in the twin
_PAGE = 5000
_END = "\x7f"  # after every character of a name
_SCHEMA = """
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS disks (number INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
    name TEXT PRIMARY KEY, size INTEGER NOT NULL, modified INTEGER NOT NULL, hash BLOB NOT NULL,
    disk INTEGER NOT NULL) WITHOUT ROWID;
"""


class Stage(StrEnum):
    """How far a seed is."""

    STARTING = "starting"  # its record may not be in the vault yet
    OPEN = "open"  # backups go to its disks
    CLOSING = "closing"  # no more do; some disks have no list yet
    CLOSED = "closed"  # every disk has its list, and may travel


class Facts(msgspec.Struct, kw_only=True, frozen=True):
    """A seed. `id`, `machine` and the keys of `items` are hex; times are ns (UTC).

    `items` are those of which a backup was begun, with their names; `names` are those that are to travel, none: all
    without points in the vault when their backup begins. `twin` is the folder at home that has every object, too.
    """

    id: str
    machine: str
    address: str
    time: int
    expires: int
    names: tuple[str, ...] = ()
    items: dict[str, str] = {}
    twin: str = ""
    stage: Stage = Stage.STARTING


class LocalDisk(DiskRow, kw_only=True, frozen=True):
    """A disk of the seed: `path` is where it was last. `full`: an object did not fit."""

    path: str
    full: bool = False

    @property
    def row(self) -> DiskRow:
        """What its seed.json says of it."""
        return DiskRow(**{field: getattr(self, field) for field in DiskRow.__struct_fields__})

    @property
    def name(self) -> str:
        """The disk, for people."""
        return f"disk {self.number} ({self.label})"


def day_of(ns: int) -> str:
    """The day of a time (UTC), for people."""
    return time.strftime("%Y-%m-%d", time.gmtime(ns / 1e9))


class Row(NamedTuple):
    """An object of the seed: on which disk it is, or at the desk. `modified` in ns."""

    name: str
    size: int
    modified: int
    hash: bytes
    disk: int


class LocalSeed:
    """The seed of one vault that this machine makes. Safe to use from several threads. Raises LocalError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._db = self._opened()

    @classmethod
    def load(cls, folder: Path) -> LocalSeed | None:
        """The seed that is kept in a folder; None if there is none: no file is made."""
        if not (folder / "seed.sqlite").exists():
            return None
        found = cls(folder)
        if found._note() is None:
            found.close()
            return None
        return found

    @property
    def mirror(self) -> Path:
        """The file of the index mirror of backups that go to the seed."""
        return self.folder / "index.sqlite"

    @property
    def desk(self) -> LocalStore:
        """The store of objects that wait here: the twin, if there is one. Raises StoreUnreachable if it is away.

        An empty folder in its place, e.g. that of a disk that is not mounted, is no twin: what is stored there
        would be missing as soon as the disk is back.
        """
        facts = self.facts
        if facts.twin:
            if not is_twin(Path(facts.twin), facts.id):
                raise StoreUnreachable(
                    f"the twin {facts.twin} is not there",
                    "connect its disk at that path; if it is lost, `rpdrive seed abandon` gives the seed up, and"
                    " the next backup sends what is missing",
                )
            return LocalStore(facts.twin)
        place = self.folder / "desk"
        private_folder(place)
        return LocalStore(place)

    def _opened(self) -> sqlite3.Connection:
        private_folder(self.folder)
        path = self.folder / "seed.sqlite"
        try:
            path.touch(mode=0o600)
            db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA trusted_schema = OFF")
            db.executescript(_SCHEMA)
            return db
        except (sqlite3.Error, OSError) as e:
            raise LocalError(
                f"the state of the seed {path} can't be used: {e}",
                "check the permissions and the free space there, or run `rpdrive seed abandon`",
            ) from e

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as e:
                what = f"the state of the seed in {self.folder} can't be used: {e}"
                raise LocalError(
                    what, "check that its disk has room; or give it up with `rpdrive seed abandon`"
                ) from e

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def forget(self) -> None:
        """Remove all that this machine knows of the seed. The disks and the twin stay. Raises LocalError."""
        self.close()
        remove(self.folder)

    # --- facts and disks ----------------------------------------------------------------------------------

    def _note(self) -> bytes | None:
        with self._used() as db:
            row = db.execute("SELECT value FROM notes WHERE name = 'facts'").fetchone()
        return None if row is None else bytes(row[0])

    @property
    def facts(self) -> Facts:
        try:
            return msgspec.json.decode(self._note() or b"", type=Facts)
        except (ValueError, RecursionError) as e:
            what = f"the state of the seed in {self.folder} is malformed"
            raise LocalError(what, f"remove {self.folder}; what is on the disks does not count then") from e

    def save(self, facts: Facts) -> None:
        with self._used() as db:
            db.execute("INSERT OR REPLACE INTO notes VALUES ('facts', ?)", (msgspec.json.encode(facts),))

    def reach(self, stage: Stage) -> None:
        self.save(msgspec.structs.replace(self.facts, stage=stage))

    def take_item(self, item: bytes, name: str) -> None:
        """Note that backups of an item travel."""
        facts = self.facts
        if item.hex() not in facts.items:
            self.save(msgspec.structs.replace(facts, items={**facts.items, item.hex(): name}))

    @property
    def disks(self) -> list[LocalDisk]:
        with self._used() as db:
            rows = db.execute("SELECT value FROM disks ORDER BY number").fetchall()
        return [msgspec.json.decode(row[0], type=LocalDisk) for row in rows]

    def save_disk(self, disk: LocalDisk) -> None:
        with self._used() as db:
            row = (disk.number, msgspec.json.encode(disk))
            db.execute("INSERT OR REPLACE INTO disks VALUES (?, ?)", row)

    def reopen(self, number: int) -> None:
        """Note that a disk needs a new list: what is on it changes. Nothing happens if it has none."""
        for disk in self.disks:
            if disk.number == number and disk.is_finished:
                self.save_disk(msgspec.structs.replace(disk, objects=0, bytes=0, list="", list_bytes=0))

    # --- objects ------------------------------------------------------------------------------------------

    def add(self, row: Row) -> None:
        with self._used() as db:
            db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", row)

    def drop(self, name: str) -> None:
        with self._used() as db:
            db.execute("DELETE FROM objects WHERE name = ?", (name,))

    def row(self, name: str) -> Row | None:
        with self._used() as db:
            found = db.execute("SELECT * FROM objects WHERE name = ?", (name,)).fetchone()
        return None if found is None else Row(*found)

    def rows(self, prefix: str = "", disk: int | None = None) -> Iterator[Row]:
        """The objects whose name begins with `prefix`, in order of name; of one disk, if it is given."""
        after, where = "", "" if disk is None else " AND disk = ?"
        while True:
            values = (max(prefix, after), after, prefix + _END, *(() if disk is None else (disk,)))
            with self._used() as db:
                page = db.execute(
                    f"SELECT * FROM objects WHERE name >= ? AND name > ? AND name < ?{where} ORDER BY name "
                    f"LIMIT {_PAGE}",
                    values,
                ).fetchall()
            yield from (Row(*row) for row in page)
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    def has_points(self, item: bytes) -> bool:
        """Whether a recovery point of an item travels."""
        rows = self.rows(f"points/{self.facts.machine}/{item.hex()}/")
        return any(not row.name.endswith(".partial") for row in rows)

    def infos(self, prefix: str) -> Iterator[ObjectInfo]:
        """The same as rows of a listing."""
        return (ObjectInfo(row.name, row.size, row.modified) for row in self.rows(prefix))

    def listed(self, disk: int) -> Iterator[Listed]:
        """The objects of a disk, as its list has them."""
        return (Listed(row.name, row.size, row.hash) for row in self.rows(disk=disk))

    def totals(self, disk: int | None = None) -> tuple[int, int]:
        """How many objects there are, with how many bytes: on a disk, or in all."""
        where = "" if disk is None else f" WHERE disk = {int(disk)}"
        with self._used() as db:
            count, size = db.execute(f"SELECT count(*), coalesce(sum(size), 0) FROM objects{where}").fetchone()
        return count, size


def remove(folder: Path) -> None:
    """Remove the folder of a seed. Raises LocalError."""
    try:
        (folder / "seed.sqlite").unlink(missing_ok=True)  # first: without it, there is no seed
        shutil.rmtree(folder)
    except OSError as e:
        raise LocalError(f"{folder} can't be removed: {e.strerror}", "remove that folder") from e


def is_connected(disk: LocalDisk, seed: str) -> bool:
    """Whether a disk is where it was last, by its seed.json."""
    try:
        found = read_seed_file(Path(disk.path))
    except (StoreError, ValueError):
        return False
    except Exception:  # noqa: BLE001 - its seed.json is damaged: `seed close` writes it again
        return Path(disk.path).is_dir()
    return found is not None and found.seed == seed and found.row.id == disk.id


def is_twin(folder: Path, seed: str) -> bool:
    """Whether a folder is the twin of this seed (hex), by its twin.json."""
    try:
        found = read_twin_file(folder)
    except (StoreError, RpdriveError):
        return False
    return found is not None and found.seed == seed


def seed_folder(state: Path, vault: Vault) -> Path:
    """Where the seed of a vault is kept."""
    return state / f"seed-{vault.state_id}"


@contextmanager
def alone(state: Path, vault_id: bytes) -> Iterator[None]:
    """Keep backups into a vault, and other commands for its seed, away meanwhile. Raises UsageError."""
    private_folder(state)
    with single(state / f"backup-{vault_id.hex()}.lock") as is_alone:
        if not is_alone:
            raise UsageError(
                "a backup into this vault, or another command for its seed, is running on this machine",
                "wait until it ends, then try again",
            )
        yield
