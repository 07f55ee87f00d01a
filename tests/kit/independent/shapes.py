"""Types of values, as docs/format.md names them, and the errors of a reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


class Refused(Exception):
    """What a reader must not use."""


class Damaged(Refused):
    """The bytes are not those that were written."""


class Newer(Refused):
    """Written in a later version of the format."""


class Missing(Refused):
    """The store says clearly that there is no such object, and nothing says where else its data is."""


class WrongPassphrase(Refused):
    """No slot has this passphrase."""


class Locked(Refused):
    """An admin's private key needs a passphrase, and none is given."""


Shape = Callable[[Any], Any]


def unpack(data: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError) as error:
        raise Damaged(f"not MessagePack: {error}") from error


def number(low: int, high: int) -> Shape:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Damaged(f"not an integer from {low} to {high}: {value!r:.50}")
        return value

    return check


def binary(size: int | None = None) -> Shape:
    def check(value: Any) -> bytes:
        if type(value) is not bytes or (size is not None and len(value) != size):
            raise Damaged(f"not a bin of {size} bytes: {value!r:.50}")
        return value

    return check


def text(value: Any) -> str:
    if type(value) is not str:
        raise Damaged(f"not a text: {value!r:.50}")
    return value


def boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise Damaged(f"not a boolean: {value!r:.50}")
    return value


def anything(value: Any) -> Any:
    return value


def or_nil(shape: Shape) -> Shape:
    return lambda value: None if value is None else shape(value)


def sequence(value: Any) -> list[Any]:
    if type(value) is not list:
        raise Damaged(f"not an array: {value!r:.50}")
    return value


def mapping(value: Any) -> dict[Any, Any]:
    if type(value) is not dict:
        raise Damaged(f"not a map: {value!r:.50}")
    return value


def array(shape: Shape, at_least: int = 0) -> Shape:
    def check(value: Any) -> list[Any]:
        if len(sequence(value)) < at_least:
            raise Damaged("an array with too few elements")
        return [shape(element) for element in value]

    return check


def row(*shapes: Shape, exactly: bool = False) -> Shape:
    def check(value: Any) -> tuple[Any, ...]:
        if len(sequence(value)) < len(shapes) or (exactly and len(value) != len(shapes)):
            raise Damaged(f"an array of {len(value)} elements in place of {len(shapes)}")
        return tuple(shape(element) for shape, element in zip(shapes, value, strict=False))

    return check


NEEDED: Any = object()


def record(**fields: Shape | tuple[Shape, Any]) -> Shape:
    """A map: each field with its type, or with its type and its default."""

    def check(value: Any) -> dict[str, Any]:
        mapping(value)
        result = {}
        for name, field in fields.items():
            shape, default = field if isinstance(field, tuple) else (field, NEEDED)
            if name in value:
                result[name] = shape(value[name])
            elif default is NEEDED:
                raise Damaged(f"no field {name}")
            else:
                result[name] = list(default) if isinstance(default, list) else default
        return result

    return check


whole = number(0, 2**64 - 1)
integer = number(-(2**63), 2**64 - 1)
length = number(1, 2**64 - 1)
level = number(0, 8)
u32 = number(0, 2**32 - 1)
size = number(0, 2**63 - 1)
mode = number(0, 0o7777)
owner_id = number(-1, 2**32 - 2)
u31 = number(0, 2**31 - 1)
pack_kind = number(1, 2)
index_or_none = number(-1, 2**31 - 1)
offset = number(0, 2**48 - 1)
stored = number(1, 8_388_629)
stored_or_0 = number(0, 8_388_629)
ident = binary(16)
series = binary(4)
count = number(0, 2**32 - 2)
totals = row(count, count, whole, count, exactly=True)

problem = row(binary(), text)
root = row(level, ident, offset, stored, offset, length, ident, totals)
extent = row(whole, offset, stored_or_0, offset, length, ident)
far_extent = row(ident, offset, stored, offset, length, ident)
block_row = row(offset, stored, array(length), binary())
carried = array(row(ident, array(block_row)))
signed = row(binary(), binary(8), binary(64), exactly=True)

machine = record(
    id=ident, name=text, hostname=text, system=text, created=integer, forgotten=(boolean, False),
    shares=(array(ident), []),
)  # fmt: skip
item = record(id=ident, machine=ident, name=text, paths=array(binary()), created=integer, kind=(text, ""))
volume = record(
    place=binary(), file_system=(text, ""), uuid=(text, ""), label=(text, ""), source=(text, ""),
    options=(text, ""), size=(whole, 0), used=(whole, 0), subvolumes=(array(binary()), []),
    snapshot=(text, ""), time=(whole, 0),
)  # fmt: skip
point = record(
    id=ident, machine=ident, item=ident, machine_name=text, item_name=text, hostname=text, system=text,
    sequence=whole, previous=(or_nil(ident), None), time=whole, finished=whole, paths=array(binary()),
    excludes=(array(text), []), root=(or_nil(root), None), partial=(boolean, False), trusted=(integer, 0),
    links=(u31, 0), tree_blocks=(integer, 0), fresh_blocks=(integer, 0), new_bytes=(integer, 0),
    stored_bytes=(integer, 0), problems=(array(problem), []), problem_count=(integer, 0),
    distinct_names=(boolean, False), checked=(whole, 0), kind=(text, ""), volumes=(array(volume), []),
)  # fmt: skip
job = record(
    id=ident, machine=ident, item=(or_nil(ident), None), kind=text, outcome=text, machine_name=text,
    item_name=(text, ""), hostname=text, time=whole, finished=whole, point=(or_nil(ident), None),
    entries=(integer, 0), files=(integer, 0), bytes=(integer, 0), new=(integer, 0), changed=(integer, 0),
    removed=(integer, 0), unchanged=(integer, 0), read_bytes=(integer, 0), new_bytes=(integer, 0),
    stored_bytes=(integer, 0), error_kind=(text, ""), error=(text, ""), problems=(array(problem), []),
    problem_count=(integer, 0), boot=(text, ""), level=(integer, 0),
)  # fmt: skip
index = record(packs=array(row(ident, array(block_row))))
span = row(offset, offset, exactly=True)
places = record(
    series=series, digits=(text, ""), number=whole, by=ident, began=whole,
    dead=(array(row(ident, pack_kind, or_nil(whole), array(span))), []),
    carriers=(array(ident), []),
    moved=(array(row(ident, pack_kind, array(row(whole, offset, length, offset), at_least=1))), []),
    leaving=(array(row(ident, pack_kind, whole)), []),
    instead=(array(row(ident, pack_kind, offset, offset, far_extent)), []),
    broken=(array(row(ident, pack_kind, or_nil(offset), whole, text)), []),
)  # fmt: skip
