"""Orders to the process behind a page: for a new link, and to end. Only this user can give them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

MOST = 64 << 10  # bytes of an order or an answer
SECONDS = 5.0  # for an answer
Row: TypeAlias = dict[str, Any]
Answering: TypeAlias = Callable[[Row], Row]


class OrderServer(Protocol):
    """Answers orders from threads until it is closed."""

    def close(self) -> None: ...


class Orders(Protocol):
    """The way that orders take on one operating system. `address`: a file that names it."""

    def serve(self, address: Path, answer: Answering) -> OrderServer:
        """Answer orders. Raises LocalError."""
        ...

    def ask(self, address: Path, order: Row) -> Row | None:
        """The answer to an order; None if nobody gives one."""
        ...


def packed(row: Row) -> bytes:
    return json.dumps(row).encode() + b"\n"


def unpacked(data: bytes) -> Row | None:
    """A row of the other side; None if it is malformed."""
    try:
        row = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def answered(answer: Answering, data: bytes) -> bytes:
    """The answer to an order as it came."""
    order = unpacked(data)
    return packed({"error": "the order is malformed"} if order is None else answer(order))
