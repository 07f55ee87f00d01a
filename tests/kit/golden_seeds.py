"""Vectors of records of seeds and of their ends, and such records with one fault each."""

from __future__ import annotations

from typing import Any

import msgspec

from catalog.format.sealed import Kind, seal_object
from catalog.format.seeds import SeedEnded, SeedName, SeedRecord, decode_ended, decode_seed, encode_seed
from tests.kit import golden_vault as g
from tests.kit.golden_checks import in_hex
from tests.kit.make_page_faults import Fault, fault

SEED = g.fixed("seed")
WHOLE = SeedRecord(
    id=SEED, machine=g.MACHINE, items=[g.fixed("item"), g.fixed("another")], time=g.TIME, expires=2**64 - 1
)
SMALL = SeedRecord(id=g.fixed("small seed"), machine=g.MACHINE, time=0, expires=0)
IMPORTED = SeedEnded(id=SEED, machine=g.MACHINE, time=g.TIME + 9, outcome="imported")
ABANDONED = SeedEnded(id=SMALL.id, machine=g.MACHINE, time=1, outcome="abandoned")


def name_of(record: SeedRecord | SeedEnded) -> str:
    return str(SeedName(record.id, isinstance(record, SeedEnded)))


def decoded(content: bytes, name: str) -> SeedRecord | SeedEnded:
    return decode_ended(content, name) if name.endswith(".ended") else decode_seed(content, name)


def seeds() -> list[dict[str, Any]]:
    rows = []
    for record in (WHOLE, SMALL, IMPORTED, ABANDONED):
        content, name = encode_seed(record), name_of(record)
        with g.raw_frames():
            sealed = seal_object(g.KEYS, Kind.SEED, name, content, salt=g.fixed("salt", 32))
        row = {"name": name, "content": content.hex(), "sealed": sealed.hex()}
        rows.append(row | {"record": values(content, name)})
    return rows


def values(content: bytes, name: str) -> dict[str, Any]:
    """A record's fields, read with today's code."""
    found: dict[str, Any] = in_hex(msgspec.to_builtins(decoded(content, name), builtin_types=(bytes,)))
    return found


def seed_faults() -> dict[str, Fault]:
    def read(what: str, record: SeedRecord | SeedEnded, layer: str = "message", **fields: Any) -> Fault:
        good = msgspec.msgpack.decode(encode_seed(record))
        row = {key: value for key, value in (good | fields).items() if value is not ...}
        content = msgspec.msgpack.encode(row).hex()
        return fault(what, "Damaged", layer, how="seed", name=name_of(record), content=content)

    return {
        "seed-garbage": fault(
            "content that is no MessagePack", "Damaged", "message", how="seed", name=name_of(WHOLE), content="c1"
        ),
        "seed-of-another-id": read("another id", WHOLE, "seed", id=SMALL.id),
        "seed-without-machine": read("no machine", WHOLE, machine=...),
        "seed-expires-negative": read("a time before 1970", WHOLE, expires=-1),
        "seed-item-of-15-bytes": read("an id of 15 bytes", WHOLE, items=[bytes(15)]),
        "seed-ended-of-another-id": read("another id", IMPORTED, "seed end", id=SMALL.id),
        "seed-ended-without-outcome": read("no outcome", IMPORTED, outcome=...),
        "seed-ended-outcome-is-bytes": read("an outcome that is no text", IMPORTED, outcome=b"imported"),
    }
