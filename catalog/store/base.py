"""The interface of an object store.

Names are ASCII paths with `/` between their parts, no leading slash, no empty, `.` or `..` part. Objects are
immutable: created once, whole, and never overwritten; `replace` exists for vault.json alone. Every method raises
`catalog.errors.StoreError` or a subclass, never a foreign exception, and is safe to call from any number of
threads at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
LIST_PAGE = 5000  # names per listing request: Azure's maximum, and how requests of other stores are counted


class ObjectInfo(NamedTuple):
    """One row of a listing. `size` in bytes; `modified` by the store's own clock, in ns since the epoch (UTC)."""

    name: str
    size: int
    modified: int


class Store(ABC):
    """An object store. `url` is its address, as given to `open_store`; it contains no secret."""

    url: str

    @abstractmethod
    def create(self, name: str, parts: Sequence[Buffer]) -> None:
        """Create an object from the parts' bytes end to end, whole and durable, or not at all.

        Raises ObjectExists if the name exists, unless this very call created it: a retry after a lost answer
        finds an object of the same length and content, which is success. Raises StoreFull if there is no room.
        """

    @abstractmethod
    def replace(self, name: str, data: Buffer, tag: str) -> None:
        """Overwrite an object if its tag (from `get_tagged`) is still `tag`.

        Raises ObjectChanged if it is not, and ObjectNotFound if the object is gone.
        """

    @abstractmethod
    def get(self, name: str) -> bytes:
        """Fetch the whole object.

        Raises ObjectNotFound if it is missing, and ShortRead if fewer bytes arrived than it has.
        """

    @abstractmethod
    def get_tagged(self, name: str) -> tuple[bytes, str]:
        """Like `get`, with a tag that changes whenever the object does."""

    @abstractmethod
    def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        """Fetch `length` > 0 bytes from `offset`, in one request.

        Raises ShortRead if the object ends before offset + length, unless `up_to` is set: the result then
        ends where the object does, and may be empty. A broken transfer raises ShortRead in either case.
        """

    @abstractmethod
    def size(self, name: str) -> int:
        """The object's length in bytes. Raises ObjectNotFound if it is missing."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose name starts with `prefix` (any prefix, not just folders), in order of name.

        Takes one request per LIST_PAGE names, at least one. Objects created meanwhile may be included or not.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete an object. A missing object is not an error, since a retried delete must succeed."""

    def renew(self, token: str) -> None:  # noqa: B027 - most stores have no tokens
        """Use another access token from the next request on, in place of the one the store was opened with.

        No effect on a store that was opened without one.
        """

    def close(self) -> None:  # noqa: B027 - most stores hold no connection
        """Close connections. The store can't be used afterwards."""
