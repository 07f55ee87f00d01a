"""Pieces of work, as bytes both ways: what a worker is asked, and what it answers. Nothing here has a key.

An answer comes from another process, maybe of another machine: it is bytes of a bounded length that fit a type, or
it is none.
"""

from __future__ import annotations

import contextlib
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from catalog import errors
from catalog.errors import RpdriveError

MOST_BODY = 16 << 20  # bytes of what a piece says
MOST_RESULT = 64 << 20  # bytes of what it comes to
_TEXT = Annotated[str, msgspec.Meta(max_length=8192)]
_ID = Annotated[str, msgspec.Meta(max_length=200)]
T = TypeVar("T")


class Piece(NamedTuple):
    """A piece of work: its `kind` (see kinds.py), what it works on, and how people call it.

    It is run again after a worker was lost, and two workers may have it at once: the second one must do no harm.
    `id` is unique within a run.
    """

    kind: str
    id: str
    body: bytes
    label: str


class Order(msgspec.Struct, frozen=True):
    """What a worker gets: a piece, for a vault. `kind` "" only asks whether it can do pieces of this run.

    `run` is the id of the command's run. `address` is where the command finds the vault. `needs` is the role of
    credentials that the pieces need, and `signs` whether they need the key that signs.
    """

    version: _ID
    run: _ID
    vault: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    address: _TEXT
    needs: _ID = ""
    signs: bool = False
    kind: _ID = ""
    id: _ID = ""
    body: bytes = b""


class Failure(msgspec.Struct, frozen=True):
    """An error, as it is told by a worker."""

    kind: _ID
    message: _TEXT
    advice: _TEXT = ""

    def error(self, of: str = "") -> RpdriveError:
        """The error, of its own class if it is one of ours. `of` says where it comes from."""
        found = getattr(errors, self.kind, None)
        kind = found if isinstance(found, type) and issubclass(found, RpdriveError) else RpdriveError
        return kind(f"{of}{self.message}", self.advice)


class Note(msgspec.Struct, frozen=True):
    """A record of the vault that a worker has passed over, see PassedOver."""

    object: _TEXT
    failure: Failure
    lost: bool


class Reply(msgspec.Struct, frozen=True):
    """What a worker answers: the `result` of a piece, or why there is none.

    `worker` is the id by which the pool knows it. `again`: another worker may do better. `seconds` it worked;
    `requests`, `received` and `sent` (bytes) to the store. `notes`: what was passed over.
    """

    id: _ID
    worker: _ID
    host: _ID
    seconds: float
    result: bytes | None = None
    failure: Failure | None = None
    again: bool = False
    requests: int = 0
    received: int = 0
    sent: int = 0
    notes: tuple[Note, ...] = ()


def encode_order(order: Order) -> bytes:
    """An order as bytes. Raises ValueError if its body is too long."""
    if len(order.body) > MOST_BODY:
        raise ValueError(f"a piece of {len(order.body)} bytes")
    return msgspec.msgpack.encode(order)


def decode_order(data: object) -> Order:
    """An order. Raises ValueError if it is malformed."""
    return _decoded(data, Order, MOST_BODY + 65536)


def decode_reply(data: object, order_id: str) -> Reply:
    """A worker's answer about the piece with this id. Raises ValueError if it is malformed or another's."""
    reply = _decoded(data, Reply, MOST_RESULT + 65536)
    if reply.id != order_id or (reply.result is None) == (reply.failure is None):
        raise ValueError("an answer to something else")
    return reply


def decode_result(data: bytes, kind: type[T]) -> T:
    """The result of a piece, of this type. Raises RpdriveError if a worker made it up."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as e:
        raise RpdriveError("a worker's result is malformed", "is it of this version of rpdrive?") from e


def encode_result(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


def _decoded(data: object, kind: type[T], most: int) -> T:
    if not isinstance(data, bytes) or len(data) > most:
        raise ValueError("not bytes, or too many")
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as e:
        raise ValueError(str(e)) from e


def own_version() -> str:
    """The version of rpdrive, and of what is said here: workers of another one are refused."""
    found = "0"
    with contextlib.suppress(PackageNotFoundError):
        found = version("rpdrive")
    return f"{found}/1"
