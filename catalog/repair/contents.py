"""Reads the tables of contents of packs and carriers: the end of each object, several at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from catalog.errors import Damaged, NewerFormat, RpdriveError, ShortRead, Unreadable
from catalog.format.blocks import Buffer, PackKind
from catalog.format.carriers import HEAD, decode_carried
from catalog.format.packs import HEADER, TRAILER, check_header, decode_contents, decode_trailer
from catalog.format.records import IndexedPack
from catalog.vault import Vault

TAIL = 256 << 10  # bytes of the end of an object that are read first: most tables of contents fit
PARALLEL = 8  # requests at once


class Object(NamedTuple):
    """A listed pack or carrier. `size` in bytes, `modified` in ns by the store's clock."""

    kind: PackKind
    id: bytes
    size: int
    modified: int


class Contents(NamedTuple):
    """The blocks in an object, by the packs that they belong to: of a pack, only its own."""

    is_carrier: bool
    packs: list[IndexedPack]


def read_contents(vault: Vault, obj: Object, *, header: bool = False) -> Contents:
    """The table of contents of an object, in one request or two; with `header`, that is looked at, too.

    Raises Damaged (MissingData if it is gone), ShortRead if it has become shorter, NewerFormat, or StoreError.
    """
    what = f"{obj.kind.folder}/{obj.id.hex()}"
    if obj.size < HEADER.size + TRAILER.size:
        raise Damaged(f"{what} is truncated")
    start = max(obj.size - TAIL, 0)
    try:
        tail = vault.read_pack(obj.kind, obj.id, start, obj.size - start)
    except Unreadable:  # perhaps only a block before the table
        start = obj.size - TRAILER.size
        tail = vault.read_pack(obj.kind, obj.id, start, TRAILER.size)
    offset, stored = decode_trailer(tail, obj.size, what)
    if offset < start:
        tail, start = vault.read_pack(obj.kind, obj.id, offset, stored), offset
    sealed = memoryview(tail)[offset - start :][:stored]
    found = _decoded(vault, obj, offset, sealed)
    if header:
        head = vault.read_pack(obj.kind, obj.id, 0, HEADER.size)
        if not found.is_carrier:
            check_header(head, obj.id)
        elif bytes(head) != HEAD:
            raise Damaged(f"{what} does not begin as a carrier does")
    return found


def _decoded(vault: Vault, obj: Object, offset: int, sealed: Buffer) -> Contents:
    try:
        rows = decode_contents(vault.keys, obj.kind, obj.id, offset, sealed)
        return Contents(False, [IndexedPack(obj.id, rows)])
    except Damaged as e:
        try:
            return Contents(True, decode_carried(vault.keys, obj.kind, obj.id, offset, sealed))
        except Damaged:
            raise e from None


def read_all(
    vault: Vault, objects: Iterable[Object], *, headers: bool = False
) -> Iterator[tuple[Object, Contents | RpdriveError]]:
    """The tables of contents of many objects, in their order, or what is wrong with them. Raises StoreError.

    With `headers`, what is wrong with these counts, too.
    """

    def read(obj: Object) -> Contents | RpdriveError:
        try:
            return read_contents(vault, obj, header=headers)
        except (Damaged, NewerFormat, ShortRead) as e:
            return e

    waiting: deque[tuple[Object, Future[Contents | RpdriveError]]] = deque()
    with ThreadPoolExecutor(PARALLEL, "contents") as pool:
        try:
            for obj in objects:
                waiting.append((obj, pool.submit(read, obj)))
                if len(waiting) >= PARALLEL:
                    done, future = waiting.popleft()
                    yield done, future.result()
            for done, future in waiting:
                yield done, future.result()
        finally:
            for _obj, future in waiting:
                future.cancel()
