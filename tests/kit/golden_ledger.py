"""Vectors of ledgers, and ledgers with one fault each."""

from __future__ import annotations

from typing import Any

import msgspec

from catalog.format.admins import make_admin
from catalog.format.ledger import (
    LISTS,
    ForgottenRow,
    GoneRow,
    HeldRow,
    How,
    LedgerRecord,
    PastRow,
    decode_ledger,
    encode_ledger,
    ledger_folder,
)
from catalog.format.numbers import HIGHEST_NUMBER, written_number
from catalog.format.sealed import Kind
from catalog.format.signed import seal_signed
from tests.kit import golden_vault as g
from tests.kit.make_page_faults import Fault, fault

DAY = 86_400 * 10**9
ITEM = g.fixed("item")
WHOLE = LedgerRecord(
    machine=g.MACHINE,
    item=ITEM,
    number=1,
    written=g.TIME,
    by="someone at laptop",
    forgotten=[
        ForgottenRow(g.fixed("a"), 7, g.TIME, g.TIME + 14 * DAY, How.BY_HAND, "grün", "someone at laptop"),
        ForgottenRow(g.fixed("b"), 6, g.TIME, g.TIME, How.BY_POLICY, "", ""),
        ForgottenRow(g.fixed("c"), 6, 0, 2**64 - 1, How.SHORTENED, "", ""),
    ],
    held=[
        HeldRow(g.fixed("a"), 7, g.TIME, None, "a case at court", "someone"),
        HeldRow(g.fixed("d"), HIGHEST_NUMBER, g.TIME, g.TIME + 1, "", ""),
    ],
    gone=[GoneRow(g.fixed("e"), 5, g.TIME, 16, "of a later version")],
    past=[PastRow(1, 1, 0, []), PastRow(2, 3, g.TIME, [1, 0, 0, 1]), PastRow(4, 4, g.TIME, [0] * 15 + [1])],
)
EMPTY = LedgerRecord(machine=g.MACHINE, item=ITEM, number=100_000_000, written=0)
LATER: dict[Any, Any] = {
    "note": {"two": [1, b"three"]},
    ("held", g.fixed("a")): ["more", None],
    ("past", 2, 3): [[1]],
}


def name_of(record: LedgerRecord) -> str:
    return ledger_folder(record.machine, record.item) + written_number(record.number)


def ledgers() -> list[dict[str, Any]]:
    """Records as they are stored; `unknown` is what a later version added, which is kept."""
    rows = []
    admin = make_admin(g.KEYS, g.PRIVATE, g.CREATED)
    for record, unknown in ((WHOLE, {}), (EMPTY, {}), (msgspec.structs.replace(WHOLE, number=2), LATER)):
        content, name = encode_ledger(record, unknown), name_of(record)
        with g.raw_frames():
            sealed = seal_signed(g.KEYS, admin, g.PRIVATE, Kind.LEDGER, name, content, salt=g.fixed("salt", 32))
        row = {"admin": admin.to_json(), "name": name, "content": content.hex(), "sealed": sealed.hex()}
        rows.append(row | values(content, name))
    return rows


def values(content: bytes, name: str) -> dict[str, Any]:
    """A record's fields, read with today's code."""
    found = decode_ledger(content, name)
    record = {field: getattr(found.record, field) for field in LedgerRecord.__struct_fields__}
    record |= {field: [list(msgspec.structs.astuple(row)) for row in record[field]] for field in LISTS}
    return {"record": plain(record), "unknown": sorted(map(str, plain([*found.unknown])))}


def plain(value: Any) -> Any:
    """A value with bytes as hex."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value.hex() if isinstance(value, bytes) else value


def ledger_faults() -> dict[str, Fault]:
    good: dict[str, Any] = msgspec.msgpack.decode(encode_ledger(WHOLE))
    name = name_of(WHOLE)

    def read(what: str, layer: str = "message", **fields: Any) -> Fault:
        row = {key: value for key, value in (good | fields).items() if value is not ...}
        content = msgspec.msgpack.encode(row).hex()
        return fault(what, "Damaged", layer, how="ledger", name=name, content=content)

    def first(what: str, field: str, layer: str = "message", **elements: Any) -> Fault:
        """The first row of a list with other elements."""
        order = LISTS[field].__struct_fields__
        row = [elements.get(key, value) for key, value in zip(order, good[field][0], strict=True)]
        return read(what, layer, **{field: [[e for e in row if e is not ...], *good[field][1:]]})

    past, gone = good["past"], good["gone"][0]
    return {
        "ledger-garbage": fault(
            "content that is no MessagePack", "Damaged", "message", how="ledger", name=name, content="c1"
        ),
        "ledger-of-another-machine": read("the machine of another", "ledger", machine=ITEM),
        "ledger-of-another-item": read("the item of another", "ledger", item=g.MACHINE),
        "ledger-of-another-number": read("another number", "ledger", number=2),
        "ledger-without-number": read("no number", number=...),
        "ledger-without-written": read("no time", written=...),
        "ledger-item-short": read("an item of 15 bytes", item=ITEM[:15]),
        "ledger-point-short": first("a point of 15 bytes", "forgotten", point=bytes(15)),
        "ledger-sequence-0": first("a sequence of 0", "forgotten", sequence=0),
        "ledger-sequence-too-large": first("a sequence of 2^63", "held", sequence=2**63),
        "ledger-until-nil": first("no time until which a point can be had back", "forgotten", until=None),
        "ledger-until-negative": first("a hold that ends before 1970", "held", until=-1),
        "ledger-way-0": first("a way of 0", "gone", how=0),
        "ledger-way-17": first("a way of 17", "gone", how=17),
        "ledger-row-cut": first("a row without its last element", "forgotten", by=...),
        "ledger-reason-nil": first("no reason", "held", reason=None),
        "ledger-counts-17": first("17 counts", "past", removed=[0] * 17),
        "ledger-count-negative": first("a count below 0", "past", removed=[-1]),
        "ledger-past-backwards": read("a range that ends before it begins", "ledger", past=[[2, 1, 0, []]]),
        "ledger-past-overlap": read("ranges that overlap", "ledger", past=[[1, 2, 0, []], [2, 3, 0, []]]),
        "ledger-past-descends": read("ranges that descend", "ledger", past=[*reversed(past)]),
        "ledger-forgotten-twice": read("a point twice", "ledger", forgotten=good["forgotten"] * 2),
        "ledger-held-twice": read("a point held twice", "ledger", held=good["held"] * 2),
        "ledger-gone-twice": read("a point gone twice", "ledger", gone=[gone, gone]),
        "ledger-gone-and-forgotten": first("a point gone and forgotten", "gone", "ledger", point=g.fixed("b")),
        "ledger-gone-and-held": first("a point gone and held", "gone", "ledger", point=g.fixed("d")),
    }
