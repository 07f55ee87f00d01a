"""MessagePack as the format uses it: types with their bounds, and decoding. docs/format.md, "MessagePack"."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias, TypeVar

import msgspec

from catalog.errors import Damaged

MAX_LEVEL = 8  # levels of pages above leaves: enough for 128 ** 8 pages; more means a damaged or forged page

MAX_BLOCK = (8 << 20) + 21  # bytes of a sealed block: the largest frame, stored raw
MAX_ENTRIES = 2**32 - 2  # of a tree, so that the number of each fits in 32 bits
MAX_SIZE = 2**63 - 1  # bytes
MAX_OFFSET = 2**48 - 1  # in a pack

Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Length: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]  # bytes of something that is never empty
Size: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_SIZE)]
U32: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Mode: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=0o7777)]
Owned: TypeAlias = Annotated[int, msgspec.Meta(ge=-1, le=2**32 - 2)]  # a uid or gid, -1 for none
U31: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Row: TypeAlias = Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)]  # of a table of the page, -1 for none
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_ENTRIES)]
Offset: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_OFFSET)]
Stored: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAX_BLOCK)]  # bytes of a sealed block
HomeStored: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_BLOCK)]  # likewise, or 0
Id: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Level: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_LEVEL)]
_T = TypeVar("_T")
_AT = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)  # the end of msgspec's errors names the field


def decode(decoder: msgspec.msgpack.Decoder[_T], data: bytes | bytearray | memoryview, what: str) -> _T:
    """The decoded value. Raises Damaged if the bytes are not what the decoder expects."""
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Damaged(f"{what} is malformed") from e


def misfit(error: Exception, what: str) -> Damaged:
    """The error to raise for a decoded value that msgspec.convert refused with this one: it names the field."""
    m = _AT.fullmatch(str(error))
    text, field = (m[1], m[2]) if m else (str(error), "")
    return Damaged(f"{what} is malformed{f' in the field {field}' if field else ''}: {text}")
