"""The store of backups that travel: what they write goes to disks, and to the twin; the rest is the vault's.

Packs, tree packs and index objects go to the disk that has room, points and jobs to the desk, where they wait for
the last disk. All else goes to the vault: machines and items are there at once. A listing is that of the vault as
it will be: the vault's objects, and those of all disks, also of those that are not connected. The clock is the
vault's.
"""

from __future__ import annotations

import heapq
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from catalog.errors import NotSupported, ObjectExists, ObjectNotFound, StoreError, StoreFull, StoreUnreachable
from catalog.seeds.disk import BULK, SEED_FILE, hash_of
from catalog.seeds.local import DESK, LocalDisk, LocalSeed, Row, Stage, is_connected
from catalog.store.base import Buffer, Loan, ObjectInfo, Store
from catalog.store.deadline import Deadline, check
from catalog.store.local import LocalStore
from catalog.store.wrapper import StoreWrapper

_KEPT = 1 << 20  # bytes that stay free on a disk for its lists, and as many as follow for each object of the seed
_LINE = 256
_LATER = ("points/", "jobs/")
MORE = "connect another disk and name it with `rpdrive seed add-disk DIR`, then run the backup again: it goes on"
T = TypeVar("T")


def free_bytes(path: Path) -> int:
    """The free space of a disk, in bytes. Raises StoreUnreachable."""
    try:
        return shutil.disk_usage(path).free
    except OSError as e:
        raise StoreUnreachable(f"{path} is not there: {e.strerror}", "connect the disk") from e


def disk_store(path: Path) -> Store:
    """The store of a disk."""
    return LocalStore(path, witness=SEED_FILE)


class StagedStore(StoreWrapper):
    """The vault as a backup to a seed sees it. `inner` is the vault's store.

    Raises StoreFull once no disk has room: what was stored is kept, and a backup goes on where it stopped.
    """

    def __init__(self, inner: Store, seed: LocalSeed) -> None:
        super().__init__(inner)
        self._seed = seed
        facts = seed.facts
        self._id, self._is_open = facts.id, facts.stage is Stage.OPEN
        self._desk, self._has_twin = seed.desk, bool(facts.twin)
        self._lock = threading.Lock()
        self._stores: dict[int, Store] = {}
        self._disks = {disk.number: disk for disk in seed.disks}
        self._objects, self._waiting = seed.totals()[0], seed.totals(DESK)[1]
        for disk in self._disks.values():
            if is_connected(disk, facts.id):
                self._stores[disk.number] = disk_store(Path(disk.path))

    @property
    def connected(self) -> list[int]:
        """The numbers of the disks that are connected."""
        return sorted(self._stores)

    # --- writing ------------------------------------------------------------------------------------------

    def create(self, name: str, parts: Sequence[Buffer], *, until: Deadline | None = None) -> int:
        if name.startswith(_LATER):
            return self._keep(name, parts, until)
        if not name.startswith(BULK):
            return self.inner.create(name, parts, until=until)
        size, digest = sum(memoryview(part).nbytes for part in parts), hash_of(parts)
        if self._seed.row(name) is not None:
            raise ObjectExists(f"{name} exists already")
        modified = self._create(self._desk, name, parts) if self._has_twin else 0
        disk = DESK
        if self._is_open:
            disk, modified = self._on_disk(name, parts, size)
        elif not self._has_twin:
            raise NotSupported("the seed is closed, and has no twin")
        self._add(Row(name, size, modified, digest, disk))
        return modified

    def take(self, name: str, source: Store, size: int, *, digest: bytes | None = None) -> int:
        return Store.take(self, name, source, size, digest=digest)  # where `create` puts it

    def _keep(self, name: str, parts: Sequence[Buffer], until: Deadline | None) -> int:
        """Store what comes last. Its time is by the vault's clock, by which its makers judge it."""
        now = self.inner.now()
        check(until, name)
        self._create(self._desk, name, parts)
        size = sum(memoryview(part).nbytes for part in parts)
        self._add(Row(name, size, now, hash_of(parts), DESK))
        return now

    def _add(self, row: Row) -> None:
        self._seed.add(row)
        with self._lock:
            self._objects += 1
            self._waiting += row.size if row.name.startswith(_LATER) else 0

    def _create(self, store: Store, name: str, parts: Sequence[Buffer]) -> int:
        """Create an object. One that is there already, e.g. of a run that was killed, must have the same bytes."""
        try:
            return store.create(name, parts)
        except ObjectExists:
            whole = b"".join(parts)
            if store.get(name, max(len(whole), 1)) != whole:
                raise
            return store.now()

    def _on_disk(self, name: str, parts: Sequence[Buffer], size: int) -> tuple[int, int]:
        """Create an object on the first disk that has room. Raises StoreFull if none has."""
        while True:
            number = self._current()
            store, disk = self._stores[number], self._disks[number]
            try:
                if free_bytes(Path(disk.path)) < size + self.kept():
                    raise StoreFull(f"{disk.name} is full")
                if disk.is_finished:  # a close began, and found that another disk had lost something
                    with self._lock:
                        self._seed.reopen(number)
                        self._disks[number] = msgspec.structs.replace(self._disks[number], list="")
                return number, self._create(store, name, parts)
            except StoreFull:
                self._note_full(disk)

    def kept(self) -> int:
        """Bytes that objects must leave free on a disk: for lists, and for what waits at the desk."""
        return _KEPT + _LINE * self._objects + self._waiting

    def _current(self) -> int:
        with self._lock:
            for number in sorted(self._disks):
                if number in self._stores and not self._disks[number].full:
                    return number
            away = [disk.name for disk in self._disks.values() if disk.number not in self._stores and not disk.full]
        if away:
            raise StoreUnreachable(
                f"{away[-1]} of the seed is not connected", "connect it, then run the backup again"
            )
        raise StoreFull("the disks of the seed are full", MORE)

    def _note_full(self, disk: LocalDisk) -> None:
        with self._lock:
            now = self._disks[disk.number]
            if not now.full:
                self._disks[disk.number] = full = msgspec.structs.replace(now, full=True)
                self._seed.save_disk(full)

    # --- reading ------------------------------------------------------------------------------------------

    def get(self, name: str, most: int) -> bytes:
        return self._read(name, lambda store: store.get(name, most))

    def get_tagged(self, name: str, most: int) -> tuple[bytes, str]:
        return self._read(name, lambda store: store.get_tagged(name, most))

    def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        return self._read(name, lambda store: store.read(name, offset, length, up_to=up_to))

    def read_parts(self, name: str, offset: int, lengths: Sequence[int]) -> list[bytes]:
        return self._read(name, lambda store: store.read_parts(name, offset, lengths))

    def pour(self, name: str, offset: int, length: int, file: int, at: int) -> int:
        return self._read(name, lambda store: store.pour(name, offset, length, file, at))

    def lend(self, name: str) -> Loan | None:
        return self._read(name, lambda store: store.lend(name))

    def size(self, name: str) -> int:
        return self._read(name, lambda store: store.size(name))

    def _read(self, name: str, ask: Callable[[Store], T]) -> T:
        """Ask where an object is: its disk, the twin, and the vault, which may have it by now."""
        row = self._seed.row(name)
        if row is None:
            return ask(self.inner)
        stores = [self._stores[row.disk]] if row.disk in self._stores else []
        if row.disk == DESK or self._has_twin:
            stores.append(self._desk)
        error: StoreError | None = None
        for store in stores:
            try:
                return ask(store)
            except (ObjectNotFound, StoreUnreachable) as e:
                error = e
        try:
            return ask(self.inner)
        except ObjectNotFound as e:
            if error is None and row.disk in self._disks:
                disk = self._disks[row.disk]
                error = StoreUnreachable(
                    f"{name} is on {disk.name}, which is not connected", "connect that disk, too"
                )
            raise (error or e) from e

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        before = ""
        for info in heapq.merge(self.inner.list(prefix), self._seed.infos(prefix), key=lambda info: info.name):
            if info.name != before:  # one that has arrived is in both
                yield info
            before = info.name

    def folders(self, prefix: str) -> Iterator[str]:
        before = ""
        at = len(prefix)
        own = (info.name[at:].split("/", 1)[0] for info in self._seed.infos(prefix) if "/" in info.name[at:])
        for name in heapq.merge(self.inner.folders(prefix), own):
            if name != before:
                yield name
            before = name

    # --- the rest -----------------------------------------------------------------------------------------

    def delete(self, name: str) -> None:
        if self._seed.row(name) is not None:
            raise NotSupported(f"{name} is part of a seed: nothing is deleted there")
        self.inner.delete(name)

    def sweep(self, mark: str) -> None:
        for store in (self.inner, self._desk, *self._stores.values()):
            store.sweep(mark)

    def close(self) -> None:
        """Close the disks and the desk. The vault's store stays open: it is its opener's."""
        for store in (self._desk, *self._stores.values()):
            store.close()
