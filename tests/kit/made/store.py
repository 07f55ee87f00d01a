"""The store of a made-up vault, `made:///FOLDER`: what is written and deleted is kept in the folder."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from catalog.errors import ObjectExists, ShortRead
from catalog.format.keys import Keys
from catalog.format.values import Subtree
from catalog.store.base import LIST_PAGE, Buffer, ObjectInfo, Store
from catalog.store.bounded import check_size
from catalog.store.deadline import Deadline
from catalog.store.local import LocalStore
from catalog.store.scheme import Scheme
from catalog.vault import Vault
from tests.kit.made.contents import Contents
from tests.kit.made.shape import Made, Names, Shape

T = TypeVar("T")
WRITTEN, SHAPE, DELETED = "written", "shape", "deleted.sqlite"


class Plan(msgspec.Struct):
    """All that the folder needs to know. `sizes` of objects that are missing are found out by each process anew."""

    shape: Shape
    master: bytes
    vault_id: bytes
    sizes: dict[str, list[int]]

    @classmethod
    def of(cls, vault: Vault, shape: Shape) -> Plan:
        return cls(shape, vault.keys.master, vault.keys.vault_id, {})


class MadeStore(Store):
    """`spent` is the CPU time (s) that making names and objects up took."""

    def __init__(self, plan: Plan, written: Store, url: str, deleted: Path | None = None) -> None:
        """What is written goes to a store of its own, the names of what is deleted to memory or a file of SQLite's.

        There is no file until something is deleted.
        """
        self.url = url
        self.shape, self._sizes = plan.shape, plan.sizes
        self._contents = Contents(Keys(plan.master, plan.vault_id), plan.shape)
        self.names: Names = self._contents.names
        self._written = written
        self._file = deleted
        self._table: sqlite3.Connection | None = None
        self._lock = threading.RLock()
        self._bytes = lru_cache(32)(self._contents.object)
        self.spent = 0.0

    @classmethod
    def at(cls, folder: Path) -> MadeStore:
        """The store of the vault in a folder."""
        plan = msgspec.msgpack.decode((folder / SHAPE).read_bytes(), type=Plan)
        return cls(plan, HollowStore(folder / WRITTEN), made_url(folder), folder / DELETED)

    def give_trees(self, roots: Sequence[Subtree], turn: int = 1) -> None:
        """Let points of a vault without folders have trees that were written to it, by turns of `turn` points."""
        self._contents.roots, self._contents.turn = roots, turn
        self._sizes.pop("points", None)
        self._bytes.cache_clear()

    def _timed(self, work: Callable[[], T]) -> T:
        began = time.thread_time()
        try:
            return work()
        finally:
            with self._lock:
                self.spent += time.thread_time() - began

    # --- made up ----------------------------------------------------------------------------------------------

    def _size(self, made: Made) -> int:
        of = "starts" if made.is_start else made.group
        sizes = self._sizes.get(of) or self._sizes.setdefault(
            of, self._contents.sizes(made.group, is_start=made.is_start)
        )
        return sizes[made.point] if made.point < len(sizes) else sizes[-1]

    def _known(self, name: str) -> Made | None:
        """What is made up under this name; None if there is nothing, or it was deleted."""
        made = self.names.parse(name)
        if made is None or (deleted := self._deleted()) is None:
            return made
        with self._lock:
            gone = deleted.execute("SELECT 1 FROM deleted WHERE name = ?", (name,)).fetchone()
        return made if gone is None else None

    def _deleted(self, *, make: bool = False) -> sqlite3.Connection | None:
        """The names of what was deleted, here or by another process; None if nothing was."""
        if self._table is None and (make or (self._file is not None and self._file.exists())):
            with self._lock:
                if self._table is None:
                    table = sqlite3.connect(self._file or ":memory:", check_same_thread=False, isolation_level=None)
                    table.execute("CREATE TABLE IF NOT EXISTS deleted (name TEXT PRIMARY KEY) WITHOUT ROWID")
                    self._table = table
        return self._table

    def _made(self, name: str) -> bytes | None:
        def make() -> bytes | None:
            made = self._known(name)
            if made is None:
                return None
            data = self._bytes(made)
            assert len(data) == self._size(made), f"{name} has {len(data)} bytes, not {self._size(made)}"
            return data

        return self._timed(make)

    def _all_made(self, prefix: str) -> Iterator[ObjectInfo]:
        modified = self.shape.modified
        rows = (
            ObjectInfo(name, self._size(made), modified(made.machine, made.point))
            for name, made in self.names.listed(prefix)
        )
        while page := self._timed(lambda: list(islice(rows, LIST_PAGE))):
            yield from page

    def _left(self, prefix: str) -> Iterator[ObjectInfo]:
        """What is made up, but for what was deleted."""
        found = self._all_made(prefix)
        if (deleted := self._deleted()) is None:
            yield from found
            return
        gone = deleted.cursor().execute(
            "SELECT name FROM deleted WHERE name >= ? AND name < ? ORDER BY name", (prefix, prefix + "\x7f")
        )
        next_gone = next(gone, None)
        for info in found:
            while next_gone is not None and next_gone[0] < info.name:
                next_gone = next(gone, None)
            if next_gone is None or next_gone[0] != info.name:
                yield info

    # --- the interface ----------------------------------------------------------------------------------------

    def create(self, name: str, parts: Sequence[Buffer], *, until: Deadline | None = None) -> int:
        if self._known(name) is not None:
            raise ObjectExists(f"{name} exists already")
        return self._written.create(name, parts, until=until)

    def now(self) -> int:
        return time.time_ns()

    def replace(self, name: str, data: Buffer, tag: str) -> None:
        self._written.replace(name, data, tag)

    def get(self, name: str, most: int) -> bytes:
        data = self._made(name)
        if data is None:
            return self._written.get(name, most)
        check_size(name, len(data), most)
        return data

    def get_tagged(self, name: str, most: int) -> tuple[bytes, str]:
        return self._written.get_tagged(name, most)

    def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        data = self._made(name)
        if data is None:
            return self._written.read(name, offset, length, up_to=up_to)
        data = data[offset : offset + length]
        if len(data) < length and not up_to:
            raise ShortRead(f"{name}: the object ends {length - len(data)} bytes before offset {offset + length}")
        return data

    def size(self, name: str) -> int:
        made = self._known(name)
        return self._written.size(name) if made is None else self._size(made)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return merge(self._left(prefix), self._written.list(prefix))

    def folders(self, prefix: str) -> Iterator[str]:
        return iter(sorted({*self.names.folders(prefix), *self._written.folders(prefix)}))

    def delete(self, name: str) -> None:
        if self._known(name) is None:
            self._written.delete(name)
            return
        deleted = self._deleted(make=True)
        assert deleted is not None
        with self._lock:
            deleted.execute("INSERT OR IGNORE INTO deleted VALUES (?)", (name,))

    def close(self) -> None:
        self._written.close()
        if self._table is not None:
            self._table.close()


class HollowStore(LocalStore):
    """Keeps only the ends of a data pack: the rest is a hole."""

    def create(self, name: str, parts: Sequence[Buffer], *, until: Deadline | None = None) -> int:
        if not name.startswith("packs/"):
            return super().create(name, parts, until=until)
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        head, *_blocks, contents, trailer = map(bytes, parts)
        try:
            with path.open("xb") as file:
                file.write(head)
                file.seek(sum(map(len, parts)) - len(contents) - len(trailer))
                file.write(contents + trailer)
        except FileExistsError as e:
            raise ObjectExists(f"{name} exists already") from e
        return path.stat().st_mtime_ns


def made_url(folder: Path) -> str:
    return f"made://{folder.absolute()}"


class MadeScheme(Scheme):
    """Made-up vaults. `opened` has the stores of this process."""

    name = "made"
    forms = ("made:///PATH",)
    patience = 0.0

    def __init__(self) -> None:
        self.opened: list[MadeStore] = []

    def accepts(self, url: str) -> bool:
        return url.startswith("made:///")

    def open(self, url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
        store = MadeStore.at(Path(url.removeprefix("made://")))
        self.opened.append(store)
        return store
