"""What rpdrive and its helper process for VSS say to each other: lines of JSON, each of at most 64 KiB."""

from __future__ import annotations

from typing import TypeVar

import msgspec

LINE = 64 << 10  # bytes at most, with the line's end
MAKE, CHECK, FINISH = "make", "check", "finish"


class Malformed(Exception):
    """A line that is too long, or none of these messages."""


class Order(msgspec.Struct, omit_defaults=True):
    """To the helper. `volumes` are names such as `\\\\?\\Volume{…}\\` or `C:\\`; times are in seconds."""

    do: str
    volumes: list[str] = []
    timeout: float = 0.0
    retry: float = 0.0  # until the next attempt while another program makes a shadow copy


class Shadow(msgspec.Struct):
    """A shadow copy: `device` as `\\\\?\\GLOBALROOT\\Device\\…`, and when it was made (FILETIME)."""

    id: str
    volume: str
    device: str
    created: int


class Writer(msgspec.Struct):
    """A writer that failed. `code` is its HRESULT, or 0."""

    name: str
    state: int
    code: int


class Answer(msgspec.Struct, omit_defaults=True):
    """From the helper. A `step` is what failed, with the HRESULT `code`; without one the order was carried out."""

    step: str = ""
    code: int = 0
    shadows: list[Shadow] = []
    writers: list[Writer] = []


T = TypeVar("T", Order, Answer)


def line(message: Order | Answer) -> bytes:
    """A message as a line. Raises Malformed if it is too long."""
    data = msgspec.json.encode(message) + b"\n"
    if len(data) > LINE:
        raise Malformed(f"a message of {len(data):,} bytes")
    return data


def parsed(data: bytes, kind: type[T]) -> T:
    """The message of a line. Raises Malformed."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(str(e)) from e


class Lines:
    """Cuts bytes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def add(self, data: bytes) -> list[bytes]:
        """The lines that end in these bytes. Raises Malformed if one is too long."""
        *found, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE or any(len(each) >= LINE for each in found):
            raise Malformed("a line is too long")
        return found
