"""The base class of stores that wrap another store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias, TypeVar

from catalog.store.base import LIST_PAGE, Buffer, ObjectInfo, Store

Kind: TypeAlias = Literal["create", "replace", "get", "read", "list", "size", "delete"]
T = TypeVar("T")


class Request(NamedTuple):
    """One request to a store. `length` is the number of bytes sent, or requested by `read`; otherwise 0.

    For a listing, `name` is the prefix and `offset` the number of names before this page.
    """

    kind: Kind
    name: str
    offset: int = 0
    length: int = 0


class StoreWrapper(Store):
    """Passes every call on to `inner`. A subclass overrides `_pass_on`, through which each request goes."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.url = inner.url

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        """Run `call`, which sends `request` to the inner store. For a listing, this is called before each page."""
        return call()

    def create(self, name: str, parts: Sequence[Buffer]) -> None:
        length = sum(memoryview(part).nbytes for part in parts)
        self._pass_on(Request("create", name, 0, length), lambda: self.inner.create(name, parts))

    def replace(self, name: str, data: Buffer, tag: str) -> None:
        length = memoryview(data).nbytes
        self._pass_on(Request("replace", name, 0, length), lambda: self.inner.replace(name, data, tag))

    def get(self, name: str) -> bytes:
        return self._pass_on(Request("get", name), lambda: self.inner.get(name))

    def get_tagged(self, name: str) -> tuple[bytes, str]:
        return self._pass_on(Request("get", name), lambda: self.inner.get_tagged(name))

    def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        return self._pass_on(
            Request("read", name, offset, length),
            lambda: self.inner.read(name, offset, length, up_to=up_to),
        )

    def size(self, name: str) -> int:
        return self._pass_on(Request("size", name), lambda: self.inner.size(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._pass_on(Request("list", prefix), lambda: None)
        for count, info in enumerate(self.inner.list(prefix)):
            if count and count % LIST_PAGE == 0:
                self._pass_on(Request("list", prefix, count), lambda: None)
            yield info

    def delete(self, name: str) -> None:
        self._pass_on(Request("delete", name), lambda: self.inner.delete(name))

    def renew(self, token: str) -> None:
        self.inner.renew(token)

    def close(self) -> None:
        self.inner.close()
