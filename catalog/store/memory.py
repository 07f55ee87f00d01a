"""A store in this process's memory, for tests and measurements."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence

from catalog.errors import ObjectChanged, ObjectExists, ObjectNotFound, ShortRead
from catalog.store.base import Buffer, ObjectInfo, Store
from catalog.store.name import checked_name


class MemoryStore(Store):
    """An object store that lasts as long as this instance. Tests may change `objects`: name -> bytes."""

    def __init__(self, url: str = "memory:") -> None:
        self.url = url
        self.objects: dict[str, bytes] = {}
        self._modified: dict[str, int] = {}
        self._lock = threading.Lock()

    def create(self, name: str, parts: Sequence[Buffer]) -> None:
        data = b"".join(parts)
        with self._lock:
            if checked_name(name) in self.objects:
                raise ObjectExists(f"{name} exists already")
            self._put(name, data)

    def replace(self, name: str, data: Buffer, tag: str) -> None:
        with self._lock:
            if _tag(self._held(name)) != tag:
                raise ObjectChanged(f"{name} was changed meanwhile")
            self._put(name, bytes(data))

    def get(self, name: str) -> bytes:
        with self._lock:
            return self._held(name)

    def get_tagged(self, name: str) -> tuple[bytes, str]:
        data = self.get(name)
        return data, _tag(data)

    def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        data = self.get(name)[offset : offset + length]
        if len(data) < length and not up_to:
            raise ShortRead(f"{name}: the object ends {length - len(data)} bytes before offset {offset + length}")
        return data

    def size(self, name: str) -> int:
        return len(self.get(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._lock:
            found = [
                ObjectInfo(name, len(data), self._modified.get(name, 0))
                for name, data in self.objects.items()
                if name.startswith(prefix)
            ]
        yield from sorted(found)

    def delete(self, name: str) -> None:
        with self._lock:
            self.objects.pop(checked_name(name), None)

    def _held(self, name: str) -> bytes:
        try:
            return self.objects[checked_name(name)]
        except KeyError:
            raise ObjectNotFound(f"no object {name}") from None

    def _put(self, name: str, data: bytes) -> None:
        self.objects[name] = data
        self._modified[name] = time.time_ns()


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
