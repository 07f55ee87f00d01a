"""A store in this process's memory, for tests and measurements."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from catalog.errors import (
    ObjectChanged,
    ObjectExists,
    ObjectImmutable,
    ObjectNotFound,
    ShortRead,
    StoreError,
)
from catalog.store.base import Buffer, ObjectInfo, Store
from catalog.store.bounded import check_size
from catalog.store.deadline import Deadline, check
from catalog.store.name import checked_name
from catalog.store.protection import Lock


class MemoryStore(Store):
    """An object store that lasts as long as this instance. Tests may change `objects`: name -> bytes.

    `clock` returns ns since the epoch (UTC): the store's own clock. `locked` has the locks of objects: name ->
    (until, fixed). As with a policy for a whole container, what is locked can't be deleted or replaced.
    """

    is_near = True

    def __init__(self, url: str = "memory:", clock: Callable[[], int] = time.time_ns) -> None:
        self.url = url
        self._clock = clock
        self.objects: dict[str, bytes] = {}
        self.locked: dict[str, tuple[int, bool]] = {}
        self._modified: dict[str, int] = {}
        self._lock = threading.Lock()

    def create(self, name: str, parts: Sequence[Buffer], *, until: Deadline | None = None) -> int:
        data = b"".join(parts)
        with self._lock:
            check(until, name)
            if checked_name(name) in self.objects:
                raise ObjectExists(f"{name} exists already")
            self._put(name, data)
            return self._modified[name]

    def now(self) -> int:
        return self._clock()

    def replace(self, name: str, data: Buffer, tag: str) -> None:
        with self._lock:
            if _tag(self._held(name)) != tag:
                raise ObjectChanged(f"{name} was changed meanwhile")
            self._check_lock(name)
            self._put(name, bytes(data))

    def get(self, name: str, most: int) -> bytes:
        with self._lock:
            data = self._held(name)
        check_size(name, len(data), most)
        return data

    def get_tagged(self, name: str, most: int) -> tuple[bytes, str]:
        data = self.get(name, most)
        return data, _tag(data)

    def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        with self._lock:
            data = self._held(name)[offset : offset + length]
        if len(data) < length and not up_to:
            raise ShortRead(f"{name}: the object ends {length - len(data)} bytes before offset {offset + length}")
        return data

    def size(self, name: str) -> int:
        with self._lock:
            return len(self._held(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._lock:
            found = [
                ObjectInfo(name, len(data), self._modified.get(name, 0))
                for name, data in self.objects.items()
                if name.startswith(prefix)
            ]
        yield from sorted(found)

    def folders(self, prefix: str) -> Iterator[str]:
        with self._lock:
            names = [name.removeprefix(prefix) for name in self.objects if name.startswith(prefix)]
        yield from sorted({name.split("/", 1)[0] for name in names if "/" in name}, key=lambda name: name + "/")

    def delete(self, name: str) -> None:
        with self._lock:
            self._check_lock(name)
            self.objects.pop(checked_name(name), None)
            self.locked.pop(name, None)

    def locks(self, prefix: str) -> Iterator[Lock]:
        for info in self.list(prefix):
            until, fixed = self.locked.get(info.name, (None, False))
            yield Lock(info.name, until, fixed)

    def extend(self, name: str, until: int, *, fixed: bool) -> None:
        with self._lock:
            self._held(name)
            earlier, was_fixed = self.locked.get(name, (0, False))
            if was_fixed and (until < earlier or not fixed):
                raise StoreError(f"{name}: a fixed lock can't be shortened")
            self.locked[name] = until, fixed

    def _check_lock(self, name: str) -> None:
        if self.locked.get(name, (0, False))[0] > self._clock():
            raise ObjectImmutable(f"{name} is locked")

    def _held(self, name: str) -> bytes:
        try:
            return self.objects[checked_name(name)]
        except KeyError:
            raise ObjectNotFound(f"no object {name}") from None

    def _put(self, name: str, data: bytes) -> None:
        self.objects[name] = data
        self._modified[name] = self._clock()


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
