"""What a repair has found out, in a temporary file of SQLite: memory does not grow with what is lost.

The file has no name, and goes when it is closed. Numbers in it are those of packs and offsets, and names of files
that can't be read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from catalog.format.blocks import PackKind
from catalog.format.packs import Extent

_CACHE = 16 << 10  # KiB of the file that are kept in memory
_SCHEMA = """
CREATE TABLE objects (kind INTEGER, id BLOB, size INTEGER, modified INTEGER, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE indexed (id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE suspects (kind INTEGER, pack BLOB, why TEXT, PRIMARY KEY (kind, pack)) WITHOUT ROWID;
CREATE TABLE extents (kind INTEGER, pack BLOB, offset INTEGER, inner INTEGER, stored INTEGER, length INTEGER,
    id BLOB, PRIMARY KEY (kind, pack, offset, inner)) WITHOUT ROWID;
CREATE TABLE bad (kind INTEGER, pack BLOB, offset INTEGER, reason TEXT, PRIMARY KEY (kind, pack, offset))
    WITHOUT ROWID;
CREATE TABLE unpublished (pack BLOB PRIMARY KEY, contents BLOB) WITHOUT ROWID;
CREATE TABLE copies (kind INTEGER, pack BLOB, offset INTEGER, inner INTEGER, to_pack BLOB, to_offset INTEGER,
    to_stored INTEGER, to_inner INTEGER, PRIMARY KEY (kind, pack, offset, inner)) WITHOUT ROWID;
CREATE TABLE candidates (kind INTEGER, id BLOB, pack BLOB, offset INTEGER, inner INTEGER, stored INTEGER,
    length INTEGER, PRIMARY KEY (kind, pack, offset, inner)) WITHOUT ROWID;
CREATE INDEX candidates_by_id ON candidates (id, kind);
CREATE TABLE pages (number INTEGER PRIMARY KEY, key BLOB UNIQUE);
CREATE TABLE edges (parent INTEGER, child INTEGER, name BLOB, is_file INTEGER);
CREATE TABLE holds (page INTEGER, name BLOB, kind INTEGER, pack BLOB, offset INTEGER, inner INTEGER);
"""


# Chunks in bad blocks that have no other copy: `FROM …`.
LOST = (
    "FROM extents e JOIN bad b USING (kind, pack, offset) WHERE NOT EXISTS (SELECT 1 FROM copies c WHERE "
    "(c.kind, c.pack, c.offset, c.inner) = (e.kind, e.pack, e.offset, e.inner))"
)


class Copy(NamedTuple):
    """A lost chunk, and where another copy of it is."""

    kind: PackKind
    lost: Extent
    other: Extent


class Work:
    """The temporary file. For one thread. Raises sqlite3.Error if the disk is full."""

    def __init__(self) -> None:
        self.db = sqlite3.connect("", isolation_level=None)  # no name: a temporary file, once it is large
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE}", "temp_store = FILE"):
            self.db.execute(f"PRAGMA {pragma}")
        self.db.executescript(_SCHEMA)

    def close(self) -> None:
        self.db.close()

    # --- suspects -----------------------------------------------------------------------------------------

    def suspect(self, kind: int, pack: bytes, why: str) -> None:
        """Note a pack of which blocks may be lost; the first reason is kept."""
        self.db.execute("INSERT OR IGNORE INTO suspects VALUES (?, ?, ?)", (int(kind), pack, why))

    def is_suspect(self, kind: int, pack: bytes) -> bool:
        return (
            self.db.execute("SELECT 1 FROM suspects WHERE (kind, pack) = (?, ?)", (int(kind), pack)).fetchone()
            is not None
        )

    def suspects(self) -> list[tuple[PackKind, bytes, str]]:
        rows = self.db.execute("SELECT kind, pack, why FROM suspects ORDER BY kind, pack").fetchall()
        return [(PackKind(kind), pack, why) for kind, pack, why in rows]

    # --- extents, and which are bad -----------------------------------------------------------------------

    def add_extent(self, kind: int, at: Extent) -> None:
        self.db.execute(
            "INSERT OR IGNORE INTO extents VALUES (?, ?, ?, ?, ?, ?, ?)",
            (int(kind), at.pack, at.offset, at.inner, at.stored, at.length, at.id),
        )

    def extents(self, kind: int, pack: bytes) -> Iterator[Extent]:
        """The chunks of a pack that points refer to, as they follow each other."""
        rows = self.db.execute(
            "SELECT pack, offset, stored, inner, length, id FROM extents WHERE (kind, pack) = (?, ?) "
            "ORDER BY offset, inner",
            (int(kind), pack),
        )
        return (Extent(*row) for row in rows)

    def add_bad(self, kind: int, pack: bytes, offset: int, reason: str) -> None:
        """Note a block that can't be read."""
        self.db.execute("INSERT OR IGNORE INTO bad VALUES (?, ?, ?, ?)", (int(kind), pack, offset, reason))

    def bad(self) -> Iterator[tuple[PackKind, bytes, int, str]]:
        rows = self.db.execute("SELECT kind, pack, offset, reason FROM bad ORDER BY kind, pack, offset")
        return ((PackKind(kind), pack, offset, reason) for kind, pack, offset, reason in rows)

    def end(self, kind: int, pack: bytes) -> int:
        """How long a pack must be at least, by the chunks that were noted of it."""
        row = self.db.execute(
            "SELECT max(offset + stored) FROM extents WHERE (kind, pack) = (?, ?)", (int(kind), pack)
        ).fetchone()
        return int(row[0] or 0)

    # --- copies -------------------------------------------------------------------------------------------

    def lost(self, kind: int, *, most: int = -1, after: Extent | None = None) -> list[Extent]:
        """The lost chunks without another copy, by place; `most` of them, that come `after` one."""
        rows = self.db.execute(
            f"SELECT e.pack, e.offset, e.stored, e.inner, e.length, e.id {LOST} AND e.kind = ? AND "
            "(e.pack, e.offset, e.inner) > (?, ?, ?) ORDER BY e.pack, e.offset, e.inner LIMIT ?",
            (int(kind), *((b"", 0, 0) if after is None else (after.pack, after.offset, after.inner)), most),
        )
        return [Extent(*row) for row in rows]

    def count_lost(self, kind: int) -> int:
        """The number of lost chunks without another copy."""
        return int(self.db.execute(f"SELECT count(*) {LOST} AND e.kind = ?", (int(kind),)).fetchone()[0])

    def add_copy(self, kind: int, lost: Extent, other: Extent) -> None:
        self.db.execute(
            "INSERT OR REPLACE INTO copies VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (int(kind), lost.pack, lost.offset, lost.inner, other.pack, other.offset, other.stored, other.inner),
        )

    def copies(self) -> Iterator[Copy]:
        """The copies of chunks that are lost, and these."""
        rows = self.db.execute(
            "SELECT e.kind, e.pack, e.offset, e.stored, e.inner, e.length, e.id, c.to_pack, c.to_offset, "
            "c.to_stored, c.to_inner FROM copies c JOIN extents e USING (kind, pack, offset, inner) "
            "JOIN bad b USING (kind, pack, offset) ORDER BY e.kind, e.pack, e.offset, e.inner"
        )
        known: dict[object, object] = {}  # equal values are one object: callers keep many of these

        def one(value: Any) -> Any:
            return known.setdefault(value, value)

        for row in rows:
            kind, pack, offset, stored, inner, length = map(one, row[:6])
            to_pack, to_offset, to_stored, to_inner = map(one, row[7:])
            lost = Extent(pack, offset, stored, inner, length, row[6])
            yield Copy(PackKind(kind), lost, Extent(to_pack, to_offset, to_stored, to_inner, length, row[6]))

    def add_candidates(self, kind: int, extents: Iterable[Extent]) -> None:
        """Note where the vault may have chunks that are lost elsewhere."""
        self.db.executemany(
            "INSERT OR IGNORE INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((int(kind), at.id, at.pack, at.offset, at.inner, at.stored, at.length) for at in extents),
        )

    def candidates(self, kind: int, at: Extent) -> list[Extent]:
        """Where else a lost chunk may be. Not in a block that is known to be bad."""
        rows = self.db.execute(
            "SELECT pack, offset, stored, inner, length, id FROM candidates c INDEXED BY candidates_by_id "
            "WHERE id = ? AND kind = ? AND length = ? AND NOT EXISTS (SELECT 1 FROM bad b WHERE "
            "(b.kind, b.pack, b.offset) = (c.kind, c.pack, c.offset))",
            (at.id, int(kind), at.length),
        ).fetchall()
        return sorted(e for row in rows if (e := Extent(*row))[:4] != at[:4])
