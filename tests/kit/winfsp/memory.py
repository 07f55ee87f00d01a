"""Memory that the stand-in shares with the file system, and the accesses to it that would crash on Windows."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kit.winfsp.layout import types

faults: list[str] = []
kept: dict[int, Any] = {}  # by address: what was allocated and not freed yet

_lock = threading.Lock()
_lent: dict[int, tuple[int, bool, Any]] = {}  # by address: size, whether it is still lent, the buffer
_HERE = Path(__file__).parent


def fault(text: str) -> None:
    faults.append(text)


def where() -> str:
    """The innermost frames outside the stand-in, innermost first."""
    frames = [frame for frame in traceback.extract_stack() if Path(frame.filename).parent != _HERE]
    return " <- ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-3:]))


def address(pointer: Any) -> int:
    return int(types.cast("uintptr_t", pointer))


def allocate(size: int) -> Any:
    block = types.new("char[]", max(size, 1))
    kept[address(block)] = block
    return types.cast("void *", block)


def copied(raw: bytes) -> Any:
    """A copy in memory of its own, to be freed."""
    block = allocate(len(raw))
    types.memmove(block, raw, len(raw))
    return block


def free(block: Any) -> None:
    if kept.pop(address(block), None) is None:
        fault(f"memory given back that was not allocated, or was already, at {where()}")


def lend(buffer: Any, size: int) -> None:
    """`size` bytes are in the file system's hands: copies beyond their end are noted, and not made."""
    with _lock:
        _lent[address(buffer)] = size, True, buffer


def give_back(buffer: Any) -> None:
    with _lock:
        del _lent[address(buffer)]


def take_back(buffer: Any) -> None:
    """Its request is given up, though the file system may not know yet: it must not be written to any more."""
    with _lock:
        size, _lent_still, kept_buffer = _lent[address(buffer)]
        _lent[address(buffer)] = size, False, kept_buffer


def forget() -> None:
    with _lock:
        _lent.clear()


@contextmanager
def lent(buffer: Any, size: int) -> Iterator[None]:
    lend(buffer, size)
    try:
        yield
    finally:
        give_back(buffer)


def check_copy(dest: Any, size: int) -> None:
    """Before `size` bytes go to `dest`. Raises MemoryError where Windows would have lost its mind."""
    to = address(dest if types.typeof(dest).kind == "pointer" else types.addressof(dest))
    with _lock:
        found = next(((at, *rest) for at, rest in _lent.items() if at <= to < at + max(rest[0], 1)), None)
    if found is None:
        return
    start, length, still, _buffer = found
    if not still:
        fault(f"a copy into a buffer whose request was given up, at {where()}")
        raise MemoryError("a copy into a buffer that is not there any more")
    if to + size > start + length:
        fault(f"{size} bytes copied into a buffer with room for {start + length - to}, at {where()}")
        raise MemoryError("a copy past the end of a buffer")
