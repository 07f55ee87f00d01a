"""Records of plans: from docs/format.md alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tests.kit.independent import shapes
from tests.kit.independent.retention import zone
from tests.kit.independent.shapes import Damaged, Shape


def limited(shape: Shape, low: int, high: int) -> Shape:
    def check(value: Any) -> Any:
        if not low <= len(shape(value)) <= high:
            raise Damaged(f"not {low} to {high} long")
        return value

    return check


def percent(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 100:
        raise Damaged("not a number from 0 to 100")
    return float(value)


def ascending(shape: Shape) -> Shape:
    def check(value: Any) -> list[Any]:
        found: list[Any] = shapes.array(shape)(value)
        if any(a >= b for a, b in pairwise(found)):
            raise Damaged("not strictly ascending")
        return found

    return check


def maybe(shape: Shape) -> tuple[Shape, None]:
    return shapes.or_nil(shape), None


n = shapes.number
note = limited(shapes.text, 0, 500)
weekdays: tuple[Shape, list[int]] = (ascending(n(1, 7)), [])
span: dict[str, Any] = {"weekdays": weekdays, "start": n(0, 1_439), "end": n(1, 1_440)}
schedule = shapes.record(
    times=(limited(ascending(n(0, 1_439)), 0, 24), []), weekdays=weekdays, every_weeks=(n(1, 52), 1),
    anchor=(n(0, 2_499_991), 4), every=(n(0, 1_440), 0),
)  # fmt: skip
window = shapes.record(**span)
limit = shapes.record(**span, up=maybe(n(0, 10**12)), down=maybe(n(0, 10**12)))
care = maybe(shapes.record(every=n(0, 8_784), budget=(n(0, 10_080), 0), percent=(percent, 0)))
time = n(0, 2**63 - 1)
plan = shapes.record(
    id=shapes.ident, number=shapes.whole, written=shapes.whole, by=(note, ""), zone=maybe(zone),
    paths=maybe(limited(ascending(limited(shapes.binary(), 1, 4_096)), 1, 1_000)),
    exclude=maybe(limited(shapes.array(limited(shapes.text, 0, 4_096)), 0, 5_000)),
    ignore_files=maybe(limited(shapes.text, 0, 255)), exclude_caches=maybe(shapes.boolean),
    ignore_case=maybe(shapes.boolean), one_file_system=maybe(shapes.boolean), cloud_files=maybe(shapes.boolean),
    what=maybe(limited(shapes.text, 0, 100)), snapshot=maybe(limited(shapes.text, 0, 100)),
    schedule=maybe(schedule), catch_up=maybe(shapes.boolean), spread=maybe(n(0, 720)), grace=maybe(n(0, 86_400)),
    ac_power=maybe(shapes.boolean), unmetered=maybe(shapes.boolean), load=maybe(n(0, 10_000)),
    windows=maybe(limited(shapes.array(window), 0, 64)), at_most=maybe(n(1, 366)),
    throttle=maybe(limited(shapes.array(limit), 0, 64)), prune=care, check_1=care, check_2=care, check_3=care,
    restore_test=care, paused=maybe(shapes.record(since=time, until=(time, 0), reason=(note, ""))),
    stopped=maybe(shapes.record(since=time, keep=(shapes.boolean, True))),
)  # fmt: skip


def read_plan(name: str, content: bytes) -> dict[str, Any]:
    if len(content) > 4_194_304:
        raise Damaged("too large")
    record: dict[str, Any] = plan(shapes.unpack(content))
    if name != f"plans/{record['id'].hex()}/{record['number']:08}":
        raise Damaged("a plan that is not that of its name")
    when, paused = record["schedule"], record["paused"]
    if when and ((when["every"] and (when["times"] or when["every"] < 15)) or (when["anchor"] - 4) % 7):
        raise Damaged("a schedule without a meaning")
    if any(one["start"] == one["end"] for one in [*(record["windows"] or []), *(record["throttle"] or [])]):
        raise Damaged("a window that ends when it begins")
    if any(b"\0" in path or path[:1] != b"/" for path in record["paths"] or []):
        raise Damaged("not a path from the root")
    if any(character in pattern for pattern in record["exclude"] or [] for character in "\0\n"):
        raise Damaged("a pattern that is no line")
    files = record["ignore_files"] or ""
    if files in (".", "..") or "/" in files or "\0" in files:
        raise Damaged("not a name of files")
    if paused and paused["until"] and paused["until"] < paused["since"]:
        raise Damaged("a pause that ends before it begins")
    return record
