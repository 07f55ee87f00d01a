"""MessagePack as the format uses it: types with their bounds, and decoding. docs/format.md, "MessagePack"."""

from __future__ import annotations

from typing import Annotated, TypeAlias, TypeVar

import msgspec

from catalog.errors import Damaged

MAX_LEVEL = 8  # levels of pages above leaves: enough for 128 ** 8 pages; more means a damaged or forged page

Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Length: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]  # bytes of something that is never empty
Id: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Level: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_LEVEL)]
_T = TypeVar("_T")


def decode(decoder: msgspec.msgpack.Decoder[_T], data: bytes | bytearray | memoryview, what: str) -> _T:
    """The decoded value. Raises Damaged if the bytes are not what the decoder expects."""
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Damaged(f"{what} is malformed") from e
