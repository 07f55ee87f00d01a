"""The interface of an object store.

Names are ASCII paths with `/` between their parts, no leading slash, no empty, `.` or `..` part; other names are
never listed. Objects are immutable: created once, whole, and never overwritten; `replace` exists for vault.json
alone. Every method raises `catalog.errors.StoreError` or a subclass, or Damaged for a single object that is not
what it must be, never a foreign exception, and is safe to call from any number of threads at once. No more bytes
are taken from a store than were asked for.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, TypeAlias

from catalog.errors import Damaged, NotSupported
from catalog.store.deadline import Deadline
from catalog.store.flow import put_flow
from catalog.store.protection import Fact, Lock

Buffer: TypeAlias = bytes | bytearray | memoryview
REPLACEABLE = 2**20  # bytes; no larger object can be replaced
WHOLE, PIECE = 40 << 20, 16 << 20  # bytes; an object of more than WHOLE is read from another store in PIECEs
LIST_PAGE = 5000  # names per listing request: Azure's maximum, and how requests of other stores are counted


class ObjectInfo(NamedTuple):
    """One row of a listing. `size` in bytes; `modified` by the store's own clock, in ns since the epoch (UTC).

    `modified` is never before the moment when the object got its name, so no object is born old. An object that
    was copied, or whose permissions were changed, may look younger than it is.
    """

    name: str
    size: int
    modified: int


class Range(NamedTuple):
    """`length` > 0 bytes of the object `name`, from `offset`."""

    name: str
    offset: int
    length: int


Part: TypeAlias = Range | Buffer  # of an object that is put together


class Loan(NamedTuple):
    """Where a service of the same kind can read an object by itself. Both are secrets; no `authorization` is ""."""

    url: str
    authorization: str

    def __repr__(self) -> str:
        return "Loan(...)"


def cut(data: bytes, lengths: Sequence[int]) -> list[bytes]:
    """Copies of the parts of `data`, as `Store.read_parts` returns them."""
    view, ends = memoryview(data), accumulate(lengths)
    return [bytes(view[end - n : end]) for end, n in zip(ends, lengths, strict=True) if end - n < len(view)]


class Store(ABC):
    """An object store. `url` is its address, as given to `open_store`; it contains no secret.

    `is_near`: requests cost no round trip over a network, so a few at a time keep the store busy.
    """

    url: str
    is_near = False

    @abstractmethod
    def create(self, name: str, parts: Sequence[Buffer], *, until: Deadline | None = None) -> int:
        """Create an object from the parts' bytes end to end, whole and durable, or not at all.

        Returns its `modified`. Raises ObjectExists if the name exists, unless this very call created it: a retry
        after a lost answer finds an object of the same length and content, which is success. Raises StoreFull if
        there is no room, and TooLate, unsent, if `until` has passed when an attempt is about to begin.
        """

    def compose(self, name: str, parts: Sequence[Part]) -> int:
        """Create an object from ranges of other objects and from bytes, end to end, if the name does not exist.

        Returns its `modified`. A store that can copies the ranges by itself; otherwise they are read and written
        through this process. Raises ObjectNotFound and ShortRead for a range that is not there, else as `create`.
        """
        return self.create(name, [self.read(*part) if isinstance(part, Range) else part for part in parts])

    def take(self, name: str, source: Store, size: int, *, digest: bytes | None = None) -> int:
        """Create an object with the `size` bytes that another store has under this name, if it does not exist here.

        With `digest`, the BLAKE3 hash of the bytes (32 bytes), they are checked before the object gets its name.
        Returns its `modified`. Raises ObjectNotFound if the source has no such object, Damaged if its bytes are not
        the ones that were asked for or can't be read, and else as `create`.
        """
        return self.create(name, list(pieces(source, name, size, digest)))

    @abstractmethod
    def now(self) -> int:
        """The time by the store's own clock, by which `modified` is set: ns since the epoch (UTC).

        It may be up to a second behind, and no request is counted for it. Raises AccessDenied if the store's
        clock can be read only by writing, and this is not allowed.
        """

    @abstractmethod
    def replace(self, name: str, data: Buffer, tag: str) -> None:
        """Overwrite an object of at most REPLACEABLE bytes if its tag (from `get_tagged`) is still `tag`.

        Raises ObjectChanged if it is not, and ObjectNotFound if the object is gone.
        """

    @abstractmethod
    def get(self, name: str, most: int) -> bytes:
        """Fetch the whole object, of at most `most` > 0 bytes.

        Raises ObjectNotFound if it is missing, ShortRead if fewer bytes arrived than it has, and ObjectTooLarge
        (a kind of Damaged) if it has more than `most`: none of them is fetched then.
        """

    @abstractmethod
    def get_tagged(self, name: str, most: int) -> tuple[bytes, str]:
        """Like `get`, with a tag that changes whenever the object does."""

    @abstractmethod
    def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        """Fetch `length` > 0 bytes from `offset`, in one request.

        Raises ShortRead if the object ends before offset + length, unless `up_to` is set: the result then
        ends where the object does, and may be empty. A broken transfer raises ShortRead in either case.
        """

    def read_parts(self, name: str, offset: int, lengths: Sequence[int]) -> list[bytes]:
        """As `read` with `up_to`, in one request too, but cut into parts of `lengths` > 0 bytes.

        Each part is memory of its own, so that a caller can free one before the others. Where the object ends, the
        last part is shorter, and there may be none.
        """
        return cut(self.read(name, offset, sum(lengths), up_to=True), lengths)

    def pour(self, name: str, offset: int, length: int, file: int, at: int) -> int:
        """Write `length` > 0 bytes from `offset` of an object to the open file `file`, from its offset `at`.

        Returns how many bytes there were: fewer only if the object ends before. The bytes don't pass through this
        process where the store can do without. Raises as `read`, and OSError for what the file can't take.
        """
        data = self.read(name, offset, length, up_to=True)
        os.lseek(file, at, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
        return len(data)

    def lend(self, name: str) -> Loan | None:
        """Let the service behind another store read an object by itself. None: it has to go through this process.

        Counted as `read`, without bytes. Neither the object nor the right to read it is looked at.
        """
        return None

    @abstractmethod
    def size(self, name: str) -> int:
        """The object's length in bytes. Raises ObjectNotFound if it is missing."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose name starts with `prefix` (any prefix, not just folders), in order of name.

        Takes one request per LIST_PAGE names, at least one. Objects created meanwhile may be included or not.
        """

    @abstractmethod
    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders directly below `prefix`, which is "" or ends with a slash, in order.

        A name is without `prefix` and without slashes. A folder whose last object was deleted may be included.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete an object. A missing object is not an error, since a retried delete must succeed.

        Raises ObjectImmutable if the store keeps it by a lock that has not ended.
        """

    def protection(self, sample: Sequence[str]) -> Sequence[Fact]:
        """What the place of the store does by itself to keep objects; none where nothing can be asked.

        Looks at the objects of `sample`, too. What these credentials may not read is UNKNOWN.
        """
        return []

    def locks(self, prefix: str) -> Iterator[Lock]:
        """The locks of all objects whose name starts with `prefix`, in order of name. Requests as of `list`.

        Raises NotSupported if the store has no locks.
        """
        raise NotSupported(f"{self.url} has no locks on objects")

    def extend(self, name: str, until: int, *, fixed: bool) -> None:
        """Lock an object until a time (ns since the epoch, UTC), or lengthen its lock. One request.

        With `fixed`, nobody can shorten the lock from then on, also not the owner of the store. Raises NotSupported
        if the store has no locks, ObjectNotFound, or another StoreError, e.g. if the lock would be shortened.
        """
        raise NotSupported(f"{self.url} has no locks on objects")

    def sweep(self, mark: str) -> None:  # noqa: B027 - most stores leave nothing unfinished
        """Mark what is being written as `mark`, and remove what writers with that mark left unfinished.

        The caller must be the only writer with it. `mark` has letters and digits.
        """

    def keep_room(self) -> None:  # noqa: B027 - most stores have no end
        """Keep some space back, so that records can be written when the store is full. Never fails."""

    def make_room(self) -> bool:
        """Let the space go that was kept back. Whether there was any."""
        return False

    def renew(self, token: str) -> None:  # noqa: B027 - most stores have no tokens
        """Use another access token from the next request on, in place of the one the store was opened with.

        No effect on a store that was opened without one.
        """

    def stop_waiting(self) -> None:  # noqa: B027 - most stores hold nothing back
        """End all waits for a limit of the rate: who waits gets StoreError. For a command that is to end."""

    def close(self) -> None:  # noqa: B027 - most stores hold no connection
        """Close connections. The store can't be used afterwards."""


def pieces(source: Store, name: str, size: int, digest: bytes | None = None) -> Iterator[bytes]:
    """The bytes of an object of `size` bytes of another store, whole up to WHOLE bytes, else in PIECEs.

    Raises Damaged at the end if the object has more or fewer bytes, or `digest` is not their BLAKE3 hash; and as
    `read`. A flow of this thread is not asked: it is that of the store which takes the bytes.
    """
    if digest is None:
        hashed = None
    else:
        from blake3 import blake3  # only where bytes are hashed: every command imports this module

        hashed = blake3()
    step = size if size <= WHOLE else PIECE
    offset = 0
    while True:
        wanted = min(step, size - offset)
        last = offset + wanted == size
        before = put_flow(None)
        try:
            # One byte more than it has, so that a longer object is noticed.
            data = source.read(name, offset, wanted + last, up_to=True)
        finally:
            put_flow(before)
        if len(data) != wanted:
            raise Damaged(f"{name} in {source.url} does not have the {size} bytes that its listing says")
        if hashed is not None:
            hashed.update(data)
            if last and hashed.digest() != digest:
                raise Damaged(f"{name} in {source.url} has other bytes than were written")
        if data:
            yield data
        offset += wanted
        if last:
            return
