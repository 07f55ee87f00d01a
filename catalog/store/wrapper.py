"""The base class of stores that wrap another store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias, TypeVar

from catalog.store.base import LIST_PAGE, Buffer, Loan, ObjectInfo, Part, Range, Store
from catalog.store.deadline import Deadline
from catalog.store.protection import Fact, Lock

Kind: TypeAlias = Literal[
    "create", "compose", "now", "replace", "get", "read", "lend", "list", "size", "delete", "protection", "extend"
]
T = TypeVar("T")


class Request(NamedTuple):
    """One request to a store. `length` is the number of bytes sent, or requested by `read`; otherwise 0.

    For a listing (of objects or folders), `name` is the prefix and `offset` the number of names before this page.
    For `protection`, `offset` is the number of objects to look at. For `compose`, `offset` is the number of parts,
    and `length` counts only bytes that this process sends.
    """

    kind: Kind
    name: str
    offset: int = 0
    length: int = 0


def carried_by(request: Request, result: object) -> int:
    """The bytes of objects that a request sent, or that its result has."""
    if request.kind == "protection":
        return 0
    if isinstance(result, tuple):  # get_tagged
        result = result[0]
    if isinstance(result, bytes):
        return len(result)
    if request.kind == "read" and isinstance(result, list):  # read_parts
        return sum(map(len, result))
    return result if request.kind == "read" and isinstance(result, int) else request.length


class StoreWrapper(Store):
    """Passes every call on to `inner`. A subclass overrides `_pass_on`, through which each request goes."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.url = inner.url
        self.is_near = inner.is_near

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        """Run `call`, which sends `request` to the inner store. For a listing, this is called before each page."""
        return call()

    def create(self, name: str, parts: Sequence[Buffer], *, until: Deadline | None = None) -> int:
        length = sum(memoryview(part).nbytes for part in parts)
        return self._pass_on(
            Request("create", name, 0, length), lambda: self.inner.create(name, parts, until=until)
        )

    def compose(self, name: str, parts: Sequence[Part]) -> int:
        length = sum(memoryview(part).nbytes for part in parts if not isinstance(part, Range))
        return self._pass_on(Request("compose", name, len(parts), length), lambda: self.inner.compose(name, parts))

    def take(self, name: str, source: Store, size: int, *, digest: bytes | None = None) -> int:
        return self._pass_on(
            Request("create", name, 0, size), lambda: self.inner.take(name, source, size, digest=digest)
        )

    def now(self) -> int:
        return self._pass_on(Request("now", ""), self.inner.now)

    def replace(self, name: str, data: Buffer, tag: str) -> None:
        length = memoryview(data).nbytes
        self._pass_on(Request("replace", name, 0, length), lambda: self.inner.replace(name, data, tag))

    def get(self, name: str, most: int) -> bytes:
        return self._pass_on(Request("get", name), lambda: self.inner.get(name, most))

    def get_tagged(self, name: str, most: int) -> tuple[bytes, str]:
        return self._pass_on(Request("get", name), lambda: self.inner.get_tagged(name, most))

    def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        return self._pass_on(
            Request("read", name, offset, length),
            lambda: self.inner.read(name, offset, length, up_to=up_to),
        )

    def read_parts(self, name: str, offset: int, lengths: Sequence[int]) -> list[bytes]:
        return self._pass_on(
            Request("read", name, offset, sum(lengths)), lambda: self.inner.read_parts(name, offset, lengths)
        )

    def pour(self, name: str, offset: int, length: int, file: int, at: int) -> int:
        return self._pass_on(
            Request("read", name, offset, length), lambda: self.inner.pour(name, offset, length, file, at)
        )

    def lend(self, name: str) -> Loan | None:
        return self._pass_on(Request("lend", name), lambda: self.inner.lend(name))

    def size(self, name: str) -> int:
        return self._pass_on(Request("size", name), lambda: self.inner.size(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._paged(prefix, self.inner.list(prefix))

    def folders(self, prefix: str) -> Iterator[str]:
        return self._paged(prefix, self.inner.folders(prefix))

    def _paged(self, prefix: str, names: Iterator[T]) -> Iterator[T]:
        self._pass_on(Request("list", prefix), lambda: None)
        for count, name in enumerate(names):
            if count and count % LIST_PAGE == 0:
                self._pass_on(Request("list", prefix, count), lambda: None)
            yield name

    def delete(self, name: str) -> None:
        self._pass_on(Request("delete", name), lambda: self.inner.delete(name))

    def protection(self, sample: Sequence[str]) -> Sequence[Fact]:
        return self._pass_on(Request("protection", "", len(sample)), lambda: self.inner.protection(sample))

    def locks(self, prefix: str) -> Iterator[Lock]:
        return self._paged(prefix, self.inner.locks(prefix))

    def extend(self, name: str, until: int, *, fixed: bool) -> None:
        self._pass_on(Request("extend", name), lambda: self.inner.extend(name, until, fixed=fixed))

    def sweep(self, mark: str) -> None:
        self.inner.sweep(mark)

    def keep_room(self) -> None:
        self.inner.keep_room()

    def make_room(self) -> bool:
        return self.inner.make_room()

    def renew(self, token: str) -> None:
        self.inner.renew(token)

    def stop_waiting(self) -> None:
        self.inner.stop_waiting()

    def close(self) -> None:
        self.inner.close()
