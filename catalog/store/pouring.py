"""An object of another store, written to a file."""

from __future__ import annotations

import os

from blake3 import blake3

from catalog.errors import Damaged
from catalog.store.base import PIECE, WHOLE, Store
from catalog.store.flow import LARGE, put_flow

_STEP = 1 << 20  # bytes


def poured(source: Store, name: str, size: int, file: int, digest: bytes | None = None) -> int:
    """Write the `size` bytes of an object of another store to an empty file, and return how many they are.

    Raises Damaged if the object has more or fewer bytes, or `digest` is not their BLAKE3 hash; the file needs to be
    readable for that. Also as `Store.pour`.
    """
    flow = put_flow(None)  # that of the store which takes the bytes; a wrapper of the source puts its own
    try:
        step = size if source.is_near or size <= WHOLE else PIECE
        if flow is not None and flow.piece < LARGE:  # there is a limit now
            step = min(step, _STEP)
        done, last = 0, False
        while not last:
            wanted = min(step, size - done)
            last = done + wanted == size
            if flow is not None:
                for start in range(0, wanted, flow.piece):
                    flow.sending(min(flow.piece, wanted - start))
            # One byte more than it has, so that a longer object is noticed.
            if source.pour(name, done, wanted + last, file, done) != wanted:
                raise Damaged(f"{name} in {source.url} does not have the {size} bytes that its listing says")
            done += wanted
    finally:
        put_flow(flow)
    if digest is not None and _digest(file) != digest:
        raise Damaged(f"{name} in {source.url} has other bytes than were written")
    return done


def _digest(file: int) -> bytes:
    hashed, buffer = blake3(), bytearray(_STEP)
    view = memoryview(buffer)
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "rb", buffering=0, closefd=False) as written:
        while length := written.readinto(buffer):
            hashed.update(view[:length])
    return hashed.digest()
