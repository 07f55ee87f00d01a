"""Vectors of records of plans, and such records with one fault each."""

from __future__ import annotations

from typing import Any

import msgspec

from catalog.format.numbers import written_number
from catalog.format.plan import (
    MAX_PLAN,
    MOST,
    Care,
    Limit,
    Pause,
    PlanRecord,
    ReadPlan,
    Schedule,
    Stop,
    Window,
    decode_plan,
    encode_plan,
    plan_folder,
)
from catalog.format.sealed import Kind, seal_object
from tests.kit import golden_vault as g
from tests.kit.golden_checks import in_hex
from tests.kit.make_page_faults import Fault, fault

WHOLE = PlanRecord(
    id=g.MACHINE,
    number=1,
    written=g.TIME,
    by="someone at laptop",
    zone="America/Argentina/Buenos_Aires",
    paths=[b"/etc", b"/home/\xff"],
    exclude=["*.tmp", "!/home/kept"],
    ignore_files=".rpdriveignore",
    exclude_caches=True,
    ignore_case=False,
    one_file_system=True,
    cloud_files=False,
    schedule=Schedule(times=[0, 780, 1_439], weekdays=[1, 7], every_weeks=52, anchor=20_780),
    catch_up=False,
    spread=720,
    grace=86_400,
    ac_power=True,
    unmetered=False,
    load=10_000,
    windows=[Window(start=1_320, end=360), Window(weekdays=[6, 7], start=0, end=1_440)],
    at_most=366,
    throttle=[Limit(weekdays=[1, 5], start=480, end=1_080, up=2 << 20, down=0), Limit(start=1, end=2, up=10**12)],
    prune=Care(every=24, budget=60),
    check_1=Care(every=168),
    check_2=Care(every=24, budget=10_080, percent=1.5),
    check_3=Care(every=8_784, percent=100.0),
    restore_test=Care(every=0),
    paused=Pause(since=g.TIME, until=g.TIME + 1, reason="moving house"),
    stopped=Stop(since=g.TIME, keep=False),
)
SMALL = PlanRecord(
    id=g.VAULT_ID,
    number=100_000_000,
    written=0,
    schedule=Schedule(every=15),
    windows=[],
    throttle=[],
    paused=Pause(since=0),
)
KINDS = [
    PlanRecord(id=g.MACHINE, number=1, written=g.TIME, what="volume", paths=[b"/srv"], snapshot="always"),
    PlanRecord(id=g.MACHINE, number=2, written=g.TIME, what="", snapshot="never"),
    PlanRecord(id=g.MACHINE, number=3, written=g.TIME, what="system state"),
    PlanRecord(id=g.MACHINE, number=4, written=g.TIME, what="a mailbox", snapshot="at new moon"),
]
LATER: dict[str, Any] = {"note": None, "hours": {"keep": 3}}
LATER_INSIDE: dict[str, Any] = {"weekday_names": [b"mon"]}  # of `schedule`


def name_of(record: PlanRecord) -> str:
    return plan_folder(record.id) + written_number(record.number)


def later() -> tuple[PlanRecord, ReadPlan]:
    """The second version of a record whose first one has fields of a later version, and that one."""
    row = msgspec.msgpack.decode(encode_plan(WHOLE)) | LATER
    row["schedule"] |= LATER_INSIDE
    first = decode_plan(msgspec.msgpack.encode(row), name_of(WHOLE))
    return msgspec.structs.replace(WHOLE, number=2, spread=0, stopped=None), first


def plans() -> list[dict[str, Any]]:
    """Records as they are stored; `unknown` are fields of a later version, which are kept."""
    return _rows((WHOLE, None), (SMALL, None), later())


def plan_kinds() -> list[dict[str, Any]]:
    """The same of records with `what` and `snapshot`, which came later; also with words of a later version."""
    return _rows(*((record, None) for record in KINDS))


def _rows(*records: tuple[PlanRecord, ReadPlan | None]) -> list[dict[str, Any]]:
    rows = []
    for record, earlier in records:
        content, name = encode_plan(record, earlier), name_of(record)
        with g.raw_frames():
            sealed = seal_object(g.KEYS, Kind.PLAN, name, content, salt=g.fixed("salt", 32))
        rows.append({"name": name, "content": content.hex(), "sealed": sealed.hex()} | values(content, name))
    return rows


def values(content: bytes, name: str) -> dict[str, Any]:
    """A record's fields, read with today's code."""
    found = decode_plan(content, name)
    unknown = sorted(set(found.raw) - set(PlanRecord.__struct_fields__))
    return {"record": in_hex(msgspec.to_builtins(found.record, builtin_types=(bytes,))), "unknown": unknown}


def plan_faults() -> dict[str, Fault]:
    good, name = msgspec.msgpack.decode(encode_plan(WHOLE)), name_of(WHOLE)

    def read(what: str, layer: str = "plan", **fields: Any) -> Fault:
        row = {key: value for key, value in (good | fields).items() if value is not ...}
        return fault(what, "Damaged", layer, how="plan", name=name, content=msgspec.msgpack.encode(row).hex())

    def part(what: str, field: str, **fields: Any) -> Fault:
        inside = good[field][0] if isinstance(good[field], list) else good[field]
        row = {key: value for key, value in (inside | fields).items() if value is not ...}
        return read(what, "plan", **{field: [row] if isinstance(good[field], list) else row})

    return {
        "plan-garbage": fault(
            "content that is no MessagePack", "Damaged", "message", how="plan", name=name, content="c1"
        ),
        "plan-of-another": read("the id of another", id=g.VAULT_ID),
        "plan-of-another-number": read("another number", number=2),
        "plan-without-written": read("no time", written=...),
        "plan-by-too-long": read("501 characters", by="x" * 501),
        "plan-zone-path": read("a zone that is a path", zone="../etc/passwd"),
        "plan-paths-empty": read("no path", paths=[]),
        "plan-paths-unordered": read("paths that do not ascend", paths=[b"/b", b"/a"]),
        "plan-path-relative": read("a path without a slash at its beginning", paths=[b"etc"]),
        "plan-path-zero-byte": read("a zero byte in a path", paths=[b"/e\0"]),
        "plan-path-is-text": read("a path given as text", paths=["/etc"]),
        "plan-path-too-long": read("a path of 4,097 bytes", paths=[b"/" * 4_097]),
        "plan-paths-too-many": read("1,001 paths", paths=[b"/%04d" % n for n in range(MOST["paths"] + 1)]),
        "plan-pattern-line-end": read("a line end in a pattern", exclude=["a\nb"]),
        "plan-ignore-files-path": read("a path as name of files", ignore_files="../x"),
        "plan-exclude-caches-number": read("a bool given as a number", exclude_caches=1),
        "plan-times-unordered": part("times that do not ascend", "schedule", times=[60, 0]),
        "plan-times-25": part("25 times a day", "schedule", times=list(range(25))),
        "plan-time-24-00": part("a time of 24:00", "schedule", times=[1_440]),
        "plan-weekday-0": part("a weekday 0", "schedule", weekdays=[0]),
        "plan-weekday-twice": part("a weekday twice", "schedule", weekdays=[1, 1]),
        "plan-every-and-times": part("a period together with times", "schedule", every=60),
        "plan-every-14": part("a period of 14 minutes", "schedule", every=14, times=...),
        "plan-every-weeks-53": part("every 53 weeks", "schedule", every_weeks=53),
        "plan-anchor-tuesday": part("an anchor that is no Monday", "schedule", anchor=20_781),
        "plan-anchor-far-away": part("an anchor after the year 8814", "schedule", anchor=2_499_998),
        "plan-spread-721": read("a spread of 721 minutes", spread=721),
        "plan-grace-negative": read("a grace below 0", grace=-1),
        "plan-load-10001": read("a load of 10,001 per cent", load=10_001),
        "plan-at-most-0": read("at most 0 days", at_most=0),
        "plan-window-empty": part("a window that ends when it begins", "windows", end=1_320),
        "plan-window-end-0": part("a window that ends at minute 0", "windows", end=0),
        "plan-windows-65": read("65 windows", windows=[{"start": 0, "end": 1}] * 65),
        "plan-rate-negative": part("a rate below 0", "throttle", up=-1),
        "plan-limit-weekdays": part("weekdays that do not ascend", "throttle", weekdays=[5, 1]),
        "plan-care-without-every": part("upkeep without a period", "prune", every=...),
        "plan-percent-101": part("101 per cent", "check_2", percent=101),
        "plan-percent-nan": part("a share that is no number", "check_2", percent=float("nan")),
        "plan-pause-backwards": part("a pause that ends before it begins", "paused", until=1),
        "plan-pause-time-64-bits": part("a time of 2^63", "paused", until=2**63),
        "plan-stopped-is-bool": read("a stop given as true", stopped=True),
        "plan-too-large": fault(
            "more than 4 MiB", "Damaged", "plan", how="plan", name=name, content="00", zeros=MAX_PLAN
        ),
    }
