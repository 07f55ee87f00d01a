"""Copying one object: what comes of it is a value, except for what concerns a whole store."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeAlias

from blake3 import blake3

from catalog.errors import AccessDenied, Damaged, ObjectExists, ObjectNotFound
from catalog.store.base import Store, pieces
from catalog.transfer.outcome import Conflict, Fault, Wanted

_ATTEMPTS = 3  # while an object comes and goes at the target


class Done(Enum):
    """COPIED: by this call. PRESENT: the target had it. GONE: the source has it no more."""

    COPIED = 1
    PRESENT = 2
    GONE = 3


class Refused(NamedTuple):
    """One of the stores denied access, to this object or to all."""

    error: AccessDenied


Result: TypeAlias = Done | Conflict | Fault | Refused


def copy_one(source: Store, target: Store, wanted: Wanted, *, verify: bool) -> Result:
    """Copy one object, or find that the target has it; with `verify`, read the target's bytes and compare them.

    Raises StoreError for what is not about this object alone.
    """
    try:
        digest = wanted.hash
        if verify and digest is None:
            digest = _digest(source, wanted)
        for _ in range(_ATTEMPTS):
            try:
                target.take(wanted.name, source, wanted.size, digest=wanted.hash)
                return _read_back(target, wanted, digest) if verify and digest else Done.COPIED
            except ObjectExists:
                there = _size(target, wanted.name)
                if there is not None:
                    return _found(target, wanted, there, digest if verify else None)
        return Fault(wanted.name, wanted.size, "the target says by turns that it has it and that it does not")
    except ObjectNotFound:
        return Done.GONE
    except Damaged as error:
        return Fault(wanted.name, wanted.size, str(error))
    except AccessDenied as error:
        return Refused(error)


def _found(target: Store, wanted: Wanted, there: int, digest: bytes | None) -> Result:
    if there != wanted.size:
        return Conflict(wanted.name, wanted.size, there, "it has another size there")
    if digest is None:
        return Done.PRESENT
    found = _read_back(target, wanted, digest)
    return Done.PRESENT if found is Done.COPIED else found


def _read_back(target: Store, wanted: Wanted, digest: bytes) -> Result:
    try:
        if _digest(target, wanted) == digest:
            return Done.COPIED
        reason = "it has other bytes there"
    except Damaged as error:
        reason = str(error)
    return Conflict(wanted.name, wanted.size, wanted.size, reason)


def _digest(store: Store, wanted: Wanted) -> bytes:
    hashed = blake3()
    for piece in pieces(store, wanted.name, wanted.size):
        hashed.update(piece)
    return hashed.digest()


def _size(store: Store, name: str) -> int | None:
    try:
        return store.size(name)
    except ObjectNotFound:
        return None
