"""The local mirror of the index: chunk id -> extent, in SQLite, so that memory does not grow with the vault.

It holds the contents of this machine's index objects, and a journal of packs that the store acknowledged and that
no index object lists yet. After a kill, only packs that were not acknowledged are sent again. If the file is lost,
the index is read again; restores don't need it.

It has a row for each pack of the machine that the vault was last seen to have, or has acknowledged since. A chunk
counts only while its pack has one: what is gone from the vault leaves the mirror with its pack's row.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import IntEnum
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec

from backup.mirrorfile import Compared, Listed, Marks, MirrorFile, Moved
from catalog.format.blocks import PackKind
from catalog.format.keys import ID_BYTES, Keys
from catalog.format.packs import BlockRow, Extent
from catalog.format.records import IndexedPack

PUBLISHED_BYTES = 16 << 20  # of tables of contents in one index object
_LARGEST = 1 << 62  # bytes; of a pack whose size is not known
_KNOWN = 1 << 14  # packs that `reach` remembers
_ROW = struct.Struct(">16s16sQQQQ")  # chunk, pack, offset, stored, inner, length
_PACK = struct.Struct(">BQB")  # kind, size, origin
_encoder = msgspec.msgpack.Encoder()
_rows_decoder = msgspec.msgpack.Decoder(list[BlockRow])


class Origin(IntEnum):
    """Why a pack has a row."""

    OWN = 1  # this machine sent it, and this file recorded that
    LISTED = 2  # the vault has it, but its contents are not known
    INDEX = 3  # an index object said what it holds; nothing of it was read yet
    PROVEN = 4  # as INDEX; a chunk of it was read, and was what the index object said


# Packs that the listing lacks: `FROM …`.
_UNLISTED = "FROM packs WHERE NOT EXISTS (SELECT 1 FROM listed l WHERE l.id = packs.id AND l.kind = packs.kind)"
_ORIGINS = frozenset(Origin)
NoteDamage: TypeAlias = Callable[[PackKind, bytes], None]  # records a damaged pack where it outlives this process


class Found(NamedTuple):
    """A chunk's extent, and the origin of its pack."""

    at: Extent
    origin: Origin


class Mirror:
    """One vault's mirror for one machine. For one thread, and one backup at a time.

    Raises sqlite3.Error from any method; `is_malformed` (mirrorfile.py) says what helps.
    """

    def __init__(self, path: Path, keys: Keys) -> None:
        self._file = MirrorFile(path, keys)
        self.hidden: Callable[[Extent], bool] = lambda at: False  # whether nothing may newly refer to a block
        self._begin()

    def _begin(self) -> None:
        self._db, self._row_check = self._file.db, self._file.checks(b"row")
        self._db.create_function("pack_check", 4, self._pack_check, deterministic=True)
        empty = self._db.execute("SELECT 1 FROM chunks LIMIT 1").fetchone() is None
        self._marks = Marks() if empty else None  # of all chunks, if they are known since the mirror was empty
        self._known: dict[bytes, int] = {}  # packs that `reach` looked up, a bounded number
        self._taken: set[bytes] = set()  # packs that were noted as taken, likewise

    def remake(self) -> None:
        """Make a malformed file anew. Raises LocalError."""
        self._file.remake()
        self._begin()

    def close(self) -> None:
        self._file.close()

    # --- chunks and pages ---------------------------------------------------------------------------------

    def find(self, chunk: bytes) -> Found | None:
        """Where a data chunk is, if it is known to be in the vault and may be referred to."""
        return None if self._marks and not self._marks.may_have(chunk) else self._find("chunks", chunk)

    def find_page(self, page: bytes) -> Extent | None:
        """The extent of a tree page that an interrupted run uploaded."""
        found = self._find("pages", page)
        if found is None:
            return None
        self.rely(found.at.pack, taken=True)
        return found.at

    def has_pages(self) -> bool:
        return self._db.execute("SELECT 1 FROM pages LIMIT 1").fetchone() is not None

    def _find(self, table: str, chunk: bytes) -> Found | None:
        row = self._db.execute(
            "SELECT p.id, p.origin, c.offset, c.stored, c.place, c.length, c.seal "
            f"FROM {table} c JOIN packs p ON p.number = c.pack WHERE c.id = ?",
            (chunk,),
        ).fetchone()
        if row is None:
            return None
        pack, origin, offset, stored, inner, length, seal = row
        try:
            if len(pack) != ID_BYTES or seal != self._row_check(
                _ROW.pack(chunk, pack, offset, stored, inner, length)
            ):
                return None
        except (TypeError, struct.error):  # a changed bit can change a column's type
            return None
        at = Extent(pack, offset, stored, inner, length, chunk)
        return None if self.hidden(at) else Found(at, Origin(origin) if origin in _ORIGINS else Origin.INDEX)

    def proven(self, pack: bytes) -> None:
        """Note that a chunk of a pack was read, and was what an index object said."""
        row = self._db.execute("SELECT kind, size FROM packs WHERE id = ?", (pack,)).fetchone()
        if row is not None:
            self._db.execute(
                "UPDATE packs SET origin = ?, seal = ? WHERE id = ?",
                (Origin.PROVEN, self._pack_check(pack, row[0], row[1], Origin.PROVEN), pack),
            )

    def drop(self, pack: bytes) -> None:
        """Forget a pack, with all its chunks: it is damaged."""
        with self._file.transaction():
            self._lose([pack])

    # --- the journal --------------------------------------------------------------------------------------

    def acknowledge(self, kind: PackKind, pack: bytes, rows: Iterable[BlockRow], size: int) -> None:
        """Record a pack of `size` bytes that the store has. The record survives the end of this process."""
        rows = list(rows)
        with self._file.transaction():
            number = self._add_pack(pack, kind, size, Origin.OWN)
            self._add_rows(kind, number, pack, rows, "OR REPLACE")
            if kind is PackKind.DATA:
                contents = _encoder.encode(rows)
                seal = self._file.check(b"unpublished", pack, contents)
                self._db.execute("INSERT OR REPLACE INTO unpublished VALUES (?, ?, ?)", (pack, contents, seal))
                if self._marks:
                    self._marks.add(rows)
        self.rely(pack, taken=True)

    def _pack_check(self, pack: bytes, kind: int, size: int, origin: int) -> bytes:
        return self._file.check(b"pack", pack, _PACK.pack(kind, size, origin))

    def _add_pack(self, pack: bytes, kind: PackKind, size: int, origin: Origin) -> int:
        self._db.execute("DELETE FROM packs WHERE id = ?", (pack,))
        self._known.pop(pack, None)
        seal = self._pack_check(pack, kind, size, origin)
        number = self._db.execute(
            "INSERT INTO packs (id, kind, size, origin, seal) VALUES (?, ?, ?, ?, ?)",
            (pack, int(kind), size, int(origin), seal),
        ).lastrowid
        assert number is not None
        return number

    def _add_rows(self, kind: PackKind, number: int, pack: bytes, rows: Iterable[BlockRow], conflict: str) -> None:
        check, packed = self._row_check, _ROW.pack
        table = "chunks" if kind is PackKind.DATA else "pages"
        self._db.executemany(
            f"INSERT {conflict} INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    chunk,
                    number,
                    offset,
                    stored,
                    inner,
                    length,
                    check(packed(chunk, pack, offset, stored, inner, length)),
                )
                for row in rows
                for _pack, offset, stored, inner, length, chunk in row.extents(pack)
            ),
        )

    def unpublished(self) -> Iterator[list[IndexedPack]]:
        """The data packs that no index object lists yet, with their tables of contents: a list for each object."""
        group: list[IndexedPack] = []
        size = 0
        names = self._db.execute(
            "SELECT pack FROM unpublished u WHERE EXISTS (SELECT 1 FROM packs p WHERE p.id = u.pack) ORDER BY pack"
        ).fetchall()
        for name in names:
            row = self._db.execute("SELECT * FROM unpublished WHERE pack = ?", name).fetchone()
            rows = self._contents(*row)
            if rows is None:
                self.drop(name[0])  # its chunks would be lost with this file: store them again
                continue
            if group and size + len(row[1]) > PUBLISHED_BYTES:
                yield group
                group, size = [], 0
            group.append(IndexedPack(name[0], rows))
            size += len(row[1])
        if group:
            yield group

    def _contents(self, pack: Any, contents: Any, seal: Any) -> list[BlockRow] | None:
        try:
            is_own = seal == self._file.check(b"unpublished", pack, contents)
            return _rows_decoder.decode(contents) if is_own else None
        except (TypeError, msgspec.DecodeError):
            return None

    def published(self, name: str, packs: Iterable[bytes]) -> None:
        """Record that the index object `name` lists these packs."""
        with self._file.transaction():
            self._db.executemany("DELETE FROM unpublished WHERE pack = ?", ((p,) for p in packs))
            self._db.execute("INSERT OR IGNORE INTO objects VALUES (?)", (name.encode(),))

    def committed(self, item: bytes, point: str) -> None:
        """Record that a `point` of an item (its name) is written. Now tree pages are found through the point."""
        with self._file.transaction():
            self._db.execute("DELETE FROM pages")
            self._file.keep(b"whole" + item, self._file.number(b"losses"))
            self._file.keep(b"point" + item, point.encode())

    def last_point(self, item: bytes) -> str | None:
        """The name of the newest whole point of an item that this machine wrote; None if it is not known."""
        name = self._file.note(b"point" + item)
        return None if name is None else name.decode(errors="replace")

    def had_ledger(self, item: bytes) -> bool:
        """Whether an item had a ledger when that was last looked for."""
        return self._file.note(b"ledger" + item) is not None

    def keep_ledger(self, item: bytes) -> None:
        if not self.had_ledger(item):
            self._file.keep(b"ledger" + item, 1)

    # --- index objects ------------------------------------------------------------------------------------

    def has_read_index(self) -> bool:
        """Whether all of the machine's index objects have been read since this file was made."""
        return self._file.note(b"index") is not None

    def must_list_index(self) -> bool:
        """Whether the vault may have index objects that this file doesn't know.

        It has if a run ended between writing and recording one; or if packs are there that this file can't explain.
        """
        if self._db.execute("SELECT 1 FROM unpublished LIMIT 1").fetchone():
            return True
        if not self.has_read_index():
            if self._db.execute("SELECT 1 FROM packs LIMIT 1").fetchone():
                return True
            self.listed_index()  # without packs there is nothing that an index could say
        return self._strangers() != self._file.note(b"strangers")

    def listed_index(self) -> None:
        """Record that every index object there is was looked at."""
        self._file.keep(b"index", 1)
        self._file.keep(b"strangers", self._strangers())

    def _strangers(self) -> bytes:
        """A digest of the data packs whose contents are not known."""
        rows = self._db.execute(
            "SELECT id FROM packs WHERE origin = ? AND kind = ? ORDER BY id", (Origin.LISTED, PackKind.DATA)
        )
        return self._file.check(b"strangers", *chain.from_iterable(rows))

    def knows_object(self, name: str) -> bool:
        return self._db.execute("SELECT 1 FROM objects WHERE name = ?", (name.encode(),)).fetchone() is not None

    def pass_over(self, name: str) -> None:
        """Don't look at an index object again."""
        self._db.execute("INSERT OR IGNORE INTO objects VALUES (?)", (name.encode(),))

    def is_own(self, packs: list[IndexedPack]) -> bool:
        """Whether an index object lists only what this file was about to publish, or knows as its own."""
        for pack in packs:
            row = self._db.execute("SELECT * FROM unpublished WHERE pack = ?", (pack.pack,)).fetchone()
            if row is None or self._contents(*row) != pack.blocks:
                return False
        return True

    def learns_from(self, packs: list[IndexedPack]) -> bool:
        """Whether an index object lists packs that the vault has, and whose contents this file doesn't know."""
        return any(
            self._db.execute(
                "SELECT 1 FROM packs WHERE id = ? AND kind = ? AND origin = ?",
                (p.pack, PackKind.DATA, Origin.LISTED),
            ).fetchone()
            for p in packs
        )

    def mirror(self, name: str, packs: Iterable[IndexedPack], note: NoteDamage) -> list[bytes]:
        """Add what an index object says about packs that the vault has. Returns those that are too short for it.

        `note` is told of these before this file forgets them.
        """
        short: list[bytes] = []
        with self._file.transaction():
            for pack, blocks in ((p.pack, p.blocks) for p in packs):
                row = self._db.execute(
                    "SELECT size FROM packs WHERE id = ? AND kind = ? AND origin = ?",
                    (pack, PackKind.DATA, Origin.LISTED),
                ).fetchone()
                if row is None:
                    continue
                if any(b.offset + b.stored > (row[0] or _LARGEST) for b in blocks):
                    note(PackKind.DATA, pack)
                    short.append(pack)
                    continue
                number = self._add_pack(pack, PackKind.DATA, row[0], Origin.INDEX)
                self._add_rows(PackKind.DATA, number, pack, blocks, "OR IGNORE")
            self._lose(short)
            self._db.execute("INSERT OR IGNORE INTO objects VALUES (?)", (name.encode(),))
        self._marks = None
        return short

    # --- which packs the vault has ------------------------------------------------------------------------

    def take_listing(self, listed: Iterable[Listed]) -> None:
        """Take a listing of all packs of the machine. `compare` draws the conclusions."""
        db = self._db
        db.execute("DELETE FROM listed")
        try:
            db.execute("BEGIN")
            rows = ((p.id, int(p.kind), p.size) for p in listed)
            db.executemany("INSERT OR IGNORE INTO listed VALUES (?, ?, ?)", rows)
        finally:
            if db.in_transaction:
                db.execute("COMMIT")

    def lacks_some(self) -> bool:
        """Whether the listing lacks a pack that this file knows."""
        return self._db.execute(f"SELECT 1 {_UNLISTED} LIMIT 1").fetchone() is not None

    def compare(self, moved: Iterable[Moved], damaged: Collection[bytes], note: NoteDamage) -> Compared:
        """Compare with the listing, in which packs in `damaged` don't count, and those in `moved` do.

        Packs that are gone, or have another size than they had, are forgotten with their chunks. Those that come
        back as they were are known again; others that are new get a row. `note` is told of those with another size
        before this file forgets the size they had: a run that is killed between the two must not forget the damage.
        """
        db = self._db
        with self._file.transaction():
            self._list_moved(moved)
            db.executemany("DELETE FROM listed WHERE id = ?", ((pack,) for pack in damaged))
            cut = self._cut()
            for kind, pack in cut:
                note(kind, pack)
            db.executemany("DELETE FROM listed WHERE id = ?", ((pack,) for _kind, pack in cut))
            self._lose([pack for _kind, pack in cut])
            gone = self._lose_unlisted()
            db.execute("DELETE FROM listed WHERE EXISTS (SELECT 1 FROM packs p WHERE p.id = listed.id)")
            db.execute(
                "INSERT OR IGNORE INTO packs SELECT number, l.id, l.kind, l.size, origin, seal FROM lost "
                "JOIN listed l USING (id, kind, size)"
            )
            db.execute("DELETE FROM lost WHERE EXISTS (SELECT 1 FROM listed l WHERE l.id = lost.id)")
            db.execute(
                "INSERT OR IGNORE INTO packs (id, kind, size, origin, seal) "
                "SELECT id, kind, ifnull(size, 0), :o, pack_check(id, kind, ifnull(size, 0), :o) FROM listed",
                {"o": Origin.LISTED},
            )
        db.execute("DELETE FROM listed")
        self._known.clear()
        return Compared(gone, cut)

    def _list_moved(self, moved: Iterable[Moved]) -> None:
        """Let packs count whose blocks lie in carriers that are listed; and carriers themselves not."""
        carriers: set[bytes] = set()
        for pack, kind, holders in moved:
            carriers |= holders
            marks = ", ".join("?" * len(holders))
            self._db.execute(
                "INSERT OR IGNORE INTO listed SELECT ?, ?, NULL WHERE ? = "
                f"(SELECT count(*) FROM listed WHERE kind = ? AND id IN ({marks}))",
                (pack, int(kind), len(holders), int(kind), *holders),
            )
        self._db.executemany("DELETE FROM listed WHERE id = ?", ((carrier,) for carrier in carriers))

    def _cut(self) -> list[tuple[PackKind, bytes]]:
        """Packs that have another size than they had. A row that fails its check says nothing about that."""
        cut = []
        rows = self._db.execute(
            "SELECT p.id, p.kind, p.size, p.origin, p.seal FROM packs p JOIN listed l USING (id, kind) "
            "WHERE l.size IS NOT NULL AND p.size IS NOT 0 AND l.size IS NOT p.size"
        ).fetchall()
        for pack, kind, size, origin, seal in rows:
            try:
                genuine = seal == self._pack_check(pack, kind, size, origin)
            except (TypeError, struct.error):
                genuine = False
            if genuine:
                cut.append((PackKind(kind), pack))
            else:
                self._db.execute("DELETE FROM packs WHERE id = ?", (pack,))
        return cut

    def _lose_unlisted(self) -> int:
        self._db.execute(f"INSERT OR REPLACE INTO lost SELECT * {_UNLISTED}")
        count = self._db.execute(f"DELETE {_UNLISTED}").rowcount
        if count:
            self._lost()
        return count

    def _lose(self, packs: Collection[bytes]) -> None:
        """Forget packs for good, and so their chunks: these are overwritten when they are stored again."""
        if packs:
            for table, column in (("unpublished", "pack"), ("packs", "id"), ("lost", "id")):
                self._db.executemany(f"DELETE FROM {table} WHERE {column} = ?", ((p,) for p in packs))
            self._lost()

    def _lost(self) -> None:
        self._file.keep(b"losses", self._file.number(b"losses") + 1)
        self._known.clear()
        self._sweep()

    def _sweep(self) -> None:
        """Delete all rows of packs that are gone, in one scan, once they may be a fifth of all rows."""
        left: int = self._db.execute("SELECT count(*) FROM packs").fetchone()[0]
        last: int = self._db.execute("SELECT max(seq) FROM sqlite_sequence").fetchone()[0] or 0
        gone = last - left - self._file.number(b"swept")
        if gone > (left >> 2) + 64:
            for table in ("chunks", "pages"):
                self._db.execute(f"DELETE FROM {table} WHERE pack NOT IN (SELECT number FROM packs)")
            self._db.execute("DELETE FROM unpublished WHERE pack NOT IN (SELECT id FROM packs)")
            self._db.execute("DELETE FROM lost")
            self._file.keep(b"swept", last - left)

    def reach(self, pack: bytes) -> int:
        """Up to which offset what an earlier point has in a pack may be kept; 0 if the vault lacks the pack.

        That is its size if nothing but a listing is known of it: it may have been cut.
        """
        known = self._known.get(pack)
        if known is None:
            row = self._db.execute("SELECT size, origin FROM packs WHERE id = ?", (pack,)).fetchone()
            known = 0 if row is None else (row[0] if row[1] == Origin.LISTED and row[0] else _LARGEST)
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[pack] = known
            if known:
                self.rely(pack, taken=False)
        return known

    def kind(self, pack: bytes) -> PackKind | None:
        row = self._db.execute("SELECT kind FROM packs WHERE id = ?", (pack,)).fetchone()
        return PackKind(row[0]) if row else None

    def places(self) -> str:
        """Which records of places were read last; empty if there were none."""
        return (self._file.note(b"places") or b"").decode(errors="replace")

    def keep_places(self, state: str) -> None:
        self._file.keep(b"places", state.encode())

    def note_broken(self, blocks: bytes) -> None:
        """Take a digest of the blocks that are lost: if it is another one than before, more were lost since."""
        if blocks != (self._file.note(b"broken") or b""):
            self._lost()
            self._file.keep(b"broken", blocks)

    def lost_since_whole(self, item: bytes) -> bool:
        """Whether packs were lost since the item's last point, or this file knows nothing of that point."""
        note = self._file.note(b"whole" + item)
        return note is None or int.from_bytes(note, "big") != self._file.number(b"losses")

    # --- what the point to come relies on -----------------------------------------------------------------

    def begin_attempt(self) -> None:
        """Nothing is relied on yet."""
        self._db.execute("DELETE FROM relied")
        self._known.clear()
        self._taken.clear()

    def rely(self, pack: bytes, *, taken: bool) -> None:
        """Note that the point to come refers to a pack; `taken`: not only through the point before it."""
        if taken:
            if pack in self._taken:
                return
            if len(self._taken) >= _KNOWN:
                self._taken.clear()
            self._taken.add(pack)
        self._db.execute(
            "INSERT INTO relied VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET taken = max(taken, excluded.taken)",
            (pack, taken),
        )

    def unreliable(self, hidden: Collection[bytes], broken: Collection[bytes]) -> Sequence[bytes]:
        """Packs among those relied on that are gone; or taken, and `hidden` by now; or have lost blocks."""
        rows = self._db.execute(
            "SELECT id, taken, EXISTS (SELECT 1 FROM packs p WHERE p.id = r.id) FROM relied r WHERE taken OR "
            "NOT EXISTS (SELECT 1 FROM packs p WHERE p.id = r.id)"
        )
        bad = {pack for pack, taken, there in rows if not there or (taken and pack in hidden)}
        relied = "SELECT 1 FROM relied WHERE id = ?"
        return [*bad, *(pack for pack in broken if self._db.execute(relied, (pack,)).fetchone())]
