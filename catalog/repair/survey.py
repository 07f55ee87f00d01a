"""What the vault has of a machine: its packs by name and size, and the index objects that say what is in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from catalog.errors import Damaged, NewerFormat, ObjectNotFound, RpdriveError
from catalog.format.blocks import PackKind
from catalog.format.packs import BlockRow, pack_named, series_folder
from catalog.format.records import IndexedPack, IndexObject, decode_record
from catalog.format.sealed import Kind, open_object
from catalog.repair.contents import Object, read_all
from catalog.repair.work import Work
from catalog.vault import Vault

_PARALLEL = 4  # index objects that are fetched at once: each may have 64 MiB
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[BlockRow])


class Survey:
    """The objects of one series, in `work`. `machines` are the ids of the machines that have it: one, as a rule."""

    def __init__(self, vault: Vault, work: Work, series: bytes, machines: Sequence[bytes]) -> None:
        self._vault, self._work = vault, work
        self.series, self._machines = series, machines
        self.bad_index: dict[str, RpdriveError] = {}  # index objects that can't be read

    def look(self) -> None:
        """List packs and carriers, and read which packs index objects list. Raises StoreError."""
        for kind in (PackKind.DATA, PackKind.TREE):
            rows = (
                (int(kind), pack, info.size, info.modified)
                for info in self._vault.store.list(series_folder(kind, self.series))
                if (pack := pack_named(info.name)) is not None
            )
            self._work.db.executemany("INSERT OR IGNORE INTO objects VALUES (?, ?, ?, ?)", rows)
        for packs in self._index():
            self._work.db.executemany("INSERT OR IGNORE INTO indexed VALUES (?)", ((p.pack,) for p in packs))

    def size(self, kind: int, one: bytes) -> int | None:
        """Bytes of an object; None if the vault does not have it."""
        row = self._work.db.execute(
            "SELECT size FROM objects WHERE (kind, id) = (?, ?)", (int(kind), one)
        ).fetchone()
        return None if row is None else int(row[0])

    def is_indexed(self, pack: bytes) -> bool:
        return self._work.db.execute("SELECT 1 FROM indexed WHERE id = ?", (pack,)).fetchone() is not None

    def objects(self, kind: int, *, indexed: bool = True) -> Iterator[Object]:
        """The objects of a kind; without `indexed`, only those that no index object lists."""
        more = "" if indexed else " AND id NOT IN (SELECT id FROM indexed)"
        rows = self._work.db.execute(
            f"SELECT kind, id, size, modified FROM objects WHERE kind = ?{more} ORDER BY id", (int(kind),)
        ).fetchall()
        return (Object(PackKind(k), one, size, modified) for k, one, size, modified in rows)

    def tables(self, kind: PackKind) -> Iterator[Sequence[IndexedPack]]:
        """Tables of contents: what index objects say, and what else can be read of packs and carriers."""
        if kind is PackKind.DATA:
            yield from self._index()
        moved = self._vault.places.runs
        objects = (o for o in self.objects(kind, indexed=kind is PackKind.TREE) if not moved(kind, o.id))
        for _obj, contents in read_all(self._vault, objects):
            if not isinstance(contents, RpdriveError):
                yield contents.packs

    def _index(self) -> Iterator[list[IndexedPack]]:
        """What the index objects say, one by one. Those that can't be read are noted."""
        names = (i.name for m in self._machines for i in self._vault.store.list(f"index/{m.hex()}/"))
        waiting: deque[tuple[str, Future[IndexObject]]] = deque()

        def result() -> list[IndexedPack]:
            name, future = waiting.popleft()
            try:
                return [p for p in future.result().packs if p.pack[: len(self.series)] == self.series]
            except ObjectNotFound:
                return []  # deleted since it was listed
            except (Damaged, NewerFormat) as e:
                self.bad_index[name] = e
                return []

        with ThreadPoolExecutor(_PARALLEL, "index") as pool:
            try:
                for name in names:
                    waiting.append((name, pool.submit(self._read, name)))
                    if len(waiting) >= _PARALLEL:
                        yield result()
                while waiting:
                    yield result()
            finally:
                for _name, future in waiting:
                    future.cancel()

    def _read(self, name: str) -> IndexObject:
        data = self._vault.fetch_sealed(Kind.INDEX, name)
        return decode_record(IndexObject, open_object(self._vault.keys, Kind.INDEX, name, data), name)

    # --- packs that no index object lists ------------------------------------------------------------------

    def gather(self, packs: Iterable[bytes]) -> Iterator[tuple[bytes, RpdriveError]]:
        """Read the tables of contents of data packs that no index object lists; those that can't be read."""
        wanted = set(packs)
        listed, holders = list[Object](), set[bytes]()
        for pack in sorted(wanted):
            runs = self._vault.places.runs(PackKind.DATA, pack)
            size = self.size(PackKind.DATA, pack)
            if runs:
                holders |= {run.holder for run in runs}
            elif size is not None:
                listed.append(Object(PackKind.DATA, pack, size, 0))
        carriers = [Object(PackKind.DATA, h, n, 0) for h in sorted(holders) if (n := self.size(PackKind.DATA, h))]
        for obj, contents in read_all(self._vault, [*listed, *carriers]):
            if isinstance(contents, RpdriveError):
                yield obj.id, contents
                continue
            for indexed in contents.packs:
                if indexed.pack in wanted:
                    self._unpublished(indexed)

    def _unpublished(self, pack: IndexedPack) -> None:
        row = self._work.db.execute("SELECT contents FROM unpublished WHERE pack = ?", (pack.pack,)).fetchone()
        known = [] if row is None else _decoder.decode(row[0])
        blocks = {row.offset: row for row in (*known, *pack.blocks)}  # a pack may be in several carriers
        contents = _encoder.encode([blocks[offset] for offset in sorted(blocks)])
        self._work.db.execute("INSERT OR REPLACE INTO unpublished VALUES (?, ?)", (pack.pack, contents))

    def unpublished(self, most: int) -> Iterator[list[IndexedPack]]:
        """What index objects of about `most` bytes of tables of contents are to list."""
        group, size = list[IndexedPack](), 0
        names = self._work.db.execute("SELECT pack FROM unpublished ORDER BY pack").fetchall()
        for name in names:
            (contents,) = self._work.db.execute("SELECT contents FROM unpublished WHERE pack = ?", name).fetchone()
            if group and size + len(contents) > most:
                yield group
                group, size = [], 0
            group.append(IndexedPack(name[0], _decoder.decode(contents)))
            size += len(contents)
        if group:
            yield group

    def count_unpublished(self) -> int:
        return int(self._work.db.execute("SELECT count(*) FROM unpublished").fetchone()[0])
