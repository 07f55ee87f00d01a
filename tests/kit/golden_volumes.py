"""Vectors of the records of an item that is a volume, and of a recovery point of it."""

from __future__ import annotations

from typing import Any

import msgspec

from catalog.format.records import Item, ItemKind, ItemName, Point, PointName, Volume, decode_record, encode_record
from catalog.format.sealed import Kind, seal_object
from tests.kit import golden_vault as g
from tests.kit.golden_checks import in_hex

ITEM = Item(
    id=g.fixed("volume item"), machine=g.MACHINE, name="srv", paths=[b"/srv"], created=g.TIME, kind=ItemKind.VOLUME
)
POINT = Point(
    id=g.fixed("volume point"), machine=g.MACHINE, item=ITEM.id, machine_name="laptop", item_name="srv",
    hostname="laptop.example", system="Linux", sequence=1, time=g.TIME, finished=g.TIME + 10**9, paths=[b"/srv"],
    kind=ItemKind.VOLUME,
    volumes=[
        Volume(
            place=b"/srv", file_system="btrfs", uuid="0a1b2c3d-0000-4000-8000-00000000002b", label="data",
            source="/dev/vdb1", options="rw,relatime", size=1 << 40, used=1 << 30, subvolumes=[b"www", b"db/\xff"],
            snapshot="btrfs", time=g.TIME,
        ),
        Volume(place=b"/srv/mnt"),
    ],
)  # fmt: skip
_KINDS: dict[str, tuple[Kind, type[Item] | type[Point]]] = {
    "item": (Kind.ITEM, Item), "point": (Kind.POINT, Point),
}  # fmt: skip


def volumes() -> list[dict[str, Any]]:
    """The records as they are stored."""
    rows = []
    item, point = ItemName(ITEM.machine, ITEM.id, 1), PointName.of(POINT)
    for what, name, record in (("item", str(item), ITEM), ("point", str(point), POINT)):
        content = encode_record(record)
        with g.raw_frames():
            sealed = seal_object(g.KEYS, _KINDS[what][0], name, content, salt=g.fixed("salt", 32))
        rows.append(
            {"what": what, "name": name, "content": content.hex(), "sealed": sealed.hex()}
            | {"record": values(what, content, name)}
        )
    return rows


def kind_of(what: str) -> Kind:
    """The kind of the sealed object of a row."""
    return _KINDS[what][0]


def values(what: str, content: bytes, name: str) -> dict[str, Any]:
    """The record's fields, read with today's code."""
    record = decode_record(_KINDS[what][1], content, name)
    found: dict[str, Any] = in_hex(msgspec.to_builtins(record, builtin_types=(bytes,)))
    return found


def encoded_again(what: str, content: bytes, name: str) -> bytes:
    """The bytes of the record that today's code reads from `content`."""
    if what == "item":
        return encode_record(decode_record(Item, content, name))
    return encode_record(decode_record(Point, content, name))
