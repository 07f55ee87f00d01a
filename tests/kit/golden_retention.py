"""Vectors of records of retention, and such records with one fault each."""

from __future__ import annotations

from typing import Any

import msgspec

from catalog.format.admins import make_admin
from catalog.format.numbers import written_number
from catalog.format.retention import Retention, RetentionRule, decode_retention, encode_retention, policy_folder
from catalog.format.sealed import Kind
from catalog.format.signed import seal_signed
from tests.kit import golden_vault as g
from tests.kit.make_page_faults import Fault, fault

WHOLE = Retention(
    id=g.VAULT_ID,
    number=1,
    written=g.TIME,
    by="someone at laptop",
    zone="America/Argentina/Buenos_Aires",
    daily=RetentionRule(keep=9_999, times=[0, 1_080, 1_439]),
    weekly=RetentionRule(keep=5_163, times=[0], weekdays=[1, 7]),
    monthly=RetentionRule(keep=1_188, weekdays=[6], weeks=[1, 5]),
    yearly=RetentionRule(keep=99, days=[1, 31], months=[2, 12]),
    last=9_999,
    hourly=48,
    erase_after=0,
)
SMALL = Retention(id=g.MACHINE, number=100_000_000, written=0, daily=RetentionRule(keep=0))
LATER: dict[str, Any] = {"quarterly": {"keep": 3}, "weekly.shift": [1, "two", b"three"], "note": None}


def name_of(record: Retention) -> str:
    return policy_folder(record.id) + written_number(record.number)


def retention() -> list[dict[str, Any]]:
    """Records as they are stored; `unknown` are fields of a later version, which are kept."""
    rows = []
    admin = make_admin(g.KEYS, g.PRIVATE, g.CREATED)
    for record, unknown in ((WHOLE, {}), (SMALL, {}), (msgspec.structs.replace(WHOLE, number=2), LATER)):
        content, name = encode_retention(record, unknown), name_of(record)
        with g.raw_frames():
            sealed = seal_signed(g.KEYS, admin, g.PRIVATE, Kind.RETENTION, name, content, salt=g.fixed("salt", 32))
        row = {"admin": admin.to_json(), "name": name, "content": content.hex(), "sealed": sealed.hex()}
        rows.append(row | values(content, name))
    return rows


def values(content: bytes, name: str) -> dict[str, Any]:
    """A record's fields, read with today's code."""
    found = decode_retention(content, name)
    said = msgspec.to_builtins(found.record, builtin_types=(bytes,))
    return {"record": said | {"id": said["id"].hex()}, "unknown": sorted(found.unknown)}


def retention_faults() -> dict[str, Fault]:
    good = msgspec.msgpack.decode(encode_retention(WHOLE))
    name = name_of(WHOLE)

    def read(what: str, layer: str = "retention", name: str = name, **fields: Any) -> Fault:
        row = {key: value for key, value in (good | fields).items() if value is not ...}
        content = msgspec.msgpack.encode(row).hex()
        return fault(what, "Damaged", layer, how="retention", name=name, content=content)

    def rule(what: str, field: str, **fields: Any) -> Fault:
        row = {key: value for key, value in (good[field] | fields).items() if value is not ...}
        return read(what, "retention", name, **{field: row})

    return {
        "retention-garbage": fault(
            "content that is no MessagePack", "Damaged", "message", how="retention", name=name, content="c1"
        ),
        "retention-of-another": read("the id of another", id=g.MACHINE),
        "retention-of-another-number": read("another number", number=2),
        "retention-without-number": read("no number", number=...),
        "retention-id-short": read("an id of 15 bytes", id=g.VAULT_ID[:15]),
        "retention-zone-path": read("a zone that is a path", zone="../etc/passwd"),
        "retention-zone-empty": read("an empty zone", zone=""),
        "retention-last-negative": read("last below 0", last=-1),
        "retention-hourly-too-long": read("10,000 hours", hourly=10_000),
        "retention-erase-after-is-bool": read("erase_after given as true", erase_after=True),
        "retention-rule-is-number": read("a rule that is a number", daily=7),
        "retention-rule-without-keep": rule("a rule without keep", "daily", keep=...),
        "retention-daily-too-long": rule("10,000 days", "daily", keep=10_000),
        "retention-weekly-too-long": rule("5,164 weeks", "weekly", keep=5_164),
        "retention-monthly-too-long": rule("1,189 months", "monthly", keep=1_189),
        "retention-yearly-too-long": rule("100 years", "yearly", keep=100),
        "retention-time-24-00": rule("a time of 24:00", "daily", times=[1_440]),
        "retention-times-25": rule("25 times a day", "daily", times=list(range(25))),
        "retention-times-unordered": rule("times that do not ascend", "daily", times=[60, 0]),
        "retention-weekday-0": rule("a weekday 0", "weekly", weekdays=[0]),
        "retention-weekday-twice": rule("a weekday twice", "weekly", weekdays=[1, 1]),
        "retention-week-6": rule("a sixth week", "monthly", weeks=[6]),
        "retention-weeks-alone": rule("weeks without weekdays", "monthly", weekdays=...),
        "retention-weekdays-alone": rule("weekdays of a month without weeks", "monthly", weeks=...),
        "retention-days-and-weeks": rule("days together with weeks", "monthly", days=[1]),
        "retention-day-32": rule("a day 32", "yearly", days=[32]),
        "retention-month-13": rule("a month 13", "yearly", months=[13]),
        "retention-daily-weekdays": rule("weekdays of a daily rule", "daily", weekdays=[1]),
        "retention-monthly-months": rule("months of a monthly rule", "monthly", months=[1]),
    }
