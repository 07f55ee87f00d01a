"""The bytes of a request while they are on their way, for wrappers that limit how fast they go.

A wrapper sets the flow of its thread around a request. The store asks it before each piece of the object that it
sends or takes: it may wait, or raise, which ends the request. A store that never asks is metered by whole objects.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias, TypeVar

Buffer: TypeAlias = bytes | bytearray | memoryview  # as in base.py, which imports this module
PIECE = 64 << 10  # bytes; the largest piece of a transfer that is asked for at once, while it is limited
LARGE = 1 << 20  # bytes; the same, while it is not
T = TypeVar("T")


class Flow(Protocol):
    """Asked before bytes go. Waits until they may, or raises what ends the request.

    `piece`: the most bytes to ask for at once.
    """

    piece: int

    def sending(self, length: int) -> None: ...

    def receiving(self, length: int) -> None: ...

    def passing_by(self, length: int) -> None:
        """These bytes of the request's object are not sent from here. Never waits."""


class _Here(threading.local):
    flow: Flow | None = None


_here = _Here()


def flow_here() -> Flow | None:
    """The flow of this thread's request; None if nothing limits it."""
    return _here.flow


def put_flow(flow: Flow | None) -> Flow | None:
    """Give this thread's requests a flow. Returns the one before, which the caller puts back."""
    before, _here.flow = _here.flow, flow
    return before


def in_pieces(parts: Sequence[T]) -> Iterator[T | Buffer]:
    """The parts of an object, for a store to send; bytes in pieces as the flow allows, if there is one."""
    flow = _here.flow
    if flow is None:
        yield from parts
        return
    for part in parts:
        if isinstance(part, bytes | bytearray | memoryview):
            yield from paced(part, flow)
        else:
            yield part


def paced(data: Buffer, flow: Flow) -> Iterator[Buffer]:
    """The bytes in pieces, each when the flow lets it go."""
    view = memoryview(data).cast("B")
    for start in range(0, len(view), flow.piece):
        piece = view[start : start + flow.piece]
        flow.sending(len(piece))
        yield piece


def received_in(length: int) -> Iterator[int]:
    """The lengths in which `length` bytes are to be received, each when the flow lets it come, if there is one."""
    flow = _here.flow
    if flow is None:
        yield length
        return
    for start in range(0, length, flow.piece):
        piece = min(flow.piece, length - start)
        flow.receiving(piece)
        yield piece
