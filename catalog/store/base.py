"""What an object store is, to rpdrive.

Names are ASCII paths with `/` between their parts, no leading slash, no empty, `.` or `..` part. Objects are
immutable: made once, whole, and never overwritten; `replace` exists for vault.json alone. Everything raises
`catalog.errors.StoreError` or a subclass, never a foreign exception. All methods may be called from any
number of threads at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
LIST_PAGE = 5000  # names per listing request (Azure's maximum); other stores count alike


class ObjectInfo(NamedTuple):
    """One row of a listing. `modified` is the store's own clock, in ns since the epoch (UTC)."""

    name: str
    size: int
    modified: int


class Store(ABC):
    """An object store. `url` is its address without secrets, as it was given to `open_store`."""

    url: str

    @abstractmethod
    def create(self, name: str, parts: Sequence[Buffer]) -> None:
        """Make an object of the parts' bytes end to end, whole and durable, or not at all.

        An existing name raises ObjectExists, unless this very call made it: a retry after a lost answer
        finds an object of the same length and hash, which is success. StoreFull when there is no room.
        """

    @abstractmethod
    def replace(self, name: str, data: Buffer, tag: str) -> None:
        """Overwrite an object whose tag (from `get_tagged`) is still `tag`.

        ObjectChanged if it is not; ObjectNotFound if the object is gone.
        """

    @abstractmethod
    def get(self, name: str) -> bytes:
        """The whole object. ObjectNotFound if missing; ShortRead if fewer bytes came than it holds."""

    @abstractmethod
    def get_tagged(self, name: str) -> tuple[bytes, str]:
        """As `get`, with a tag that changes whenever the object does."""

    @abstractmethod
    def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        """`length` > 0 bytes from `offset`, in one request.

        ShortRead if the object ends before offset + length, unless `up_to`: then what there is until its
        end, which may be nothing. A transfer that broke off is ShortRead either way.
        """

    @abstractmethod
    def size(self, name: str) -> int:
        """Length in bytes. ObjectNotFound if missing."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose name starts with `prefix` (any prefix, not just folders), in order of name.

        One request per LIST_PAGE names, at least one. Nothing is said about objects made meanwhile.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove an object. A missing one is no error (a retried delete must succeed)."""

    def renew(self, token: str) -> None:  # noqa: B027 - most stores have no tokens
        """Use another access token from the next request on, in place of the one the store was opened with.

        No effect on a store that was opened without one.
        """

    def close(self) -> None:  # noqa: B027 - most stores hold nothing
        """Release connections. The store can't be used afterwards."""
