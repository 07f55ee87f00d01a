"""Records of plans: what is backed up, when, and what else runs by itself. docs/format.md, "Plans".

Everybody who makes backups can write one, so each value has bounds here. A plan never says what to run: only what
to save, when, and how fast. Importing this loads little: rpdrive does so each time it looks what is due.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeAlias

import msgspec

from catalog.errors import Damaged, Unwritable
from catalog.format.message import Id, Whole, decode, misfit
from catalog.format.numbers import level_named, written_number

DAY = 1_440  # minutes
MONDAY, LAST_MONDAY = 4, 2_499_991  # 1970-01-05 and 8814-09-29, in days since 1970-01-01
MOST = {"paths": 1_000, "exclude": 5_000, "windows": 64, "throttle": 64}  # elements
MOST_TIMES = 24  # of a day
LONGEST_PATH = 4_096  # bytes
LONGEST_PATTERN = 4_096  # characters
MAX_PLAN = 4 << 20  # bytes of a record's content

Minute: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=DAY - 1)]
EndMinute: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=DAY)]
Period: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=DAY)]  # minutes
Weekday: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=7)]
Weeks: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=52)]
Anchor: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=LAST_MONDAY)]  # days since 1970-01-01
ZoneName: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_+\-]{1,30}(/[A-Za-z0-9_+\-]{1,30}){0,3}$")]
PathBytes: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=1, max_length=LONGEST_PATH)]
Pattern: TypeAlias = Annotated[str, msgspec.Meta(max_length=LONGEST_PATTERN)]
FileName: TypeAlias = Annotated[str, msgspec.Meta(max_length=255)]
Word: TypeAlias = Annotated[str, msgspec.Meta(max_length=100)]
Note: TypeAlias = Annotated[str, msgspec.Meta(max_length=500)]
Rate: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=10**12)]  # bytes/s
Spread: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=720)]  # minutes
Grace: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=60 * DAY)]  # minutes
Load: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=10_000)]  # per cent of all processors
AtMost: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=366)]  # days
Hours: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=24 * 366)]
Budget: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=7 * DAY)]  # minutes
Percent: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=100)]
Time: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # ns since the epoch, UTC


class Schedule(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """When backups are due: at `times` of the day (minutes), or `every` n minutes from midnight to midnight.

    Only on `weekdays` (1 is Monday; none: all), and only in each `every_weeks`-th week from the Monday `anchor`
    (days since 1970-01-01). Neither times nor `every`: never by itself.
    """

    times: list[Minute] = []
    weekdays: list[Weekday] = []
    every_weeks: Weeks = 1
    anchor: Anchor = MONDAY
    every: Period = 0


class Window(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """From the minute `start` of weekdays (none: all) to the minute `end`, of the next day if that is not later."""

    weekdays: list[Weekday] = []
    start: Minute
    end: EndMinute


class Limit(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """The rates (bytes/s) of a window. 0: no bytes at all; None: no limit."""

    weekdays: list[Weekday] = []
    start: Minute
    end: EndMinute
    up: Rate | None = None
    down: Rate | None = None


class Care(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Upkeep that runs every so many hours (0: off), for at most `budget` minutes (0: no limit).

    `percent` is the share of the data to read, or of the files to test; 0: the command's default.
    """

    every: Hours
    budget: Budget = 0
    percent: Percent = 0.0


class Pause(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Nothing runs by itself since a time (ns) until another one; 0: until it is resumed."""

    since: Time
    until: Time = 0
    reason: Note = ""


class Stop(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Protection was stopped at a time (ns). `keep` says whether the recovery points were to stay."""

    since: Time
    keep: bool = True


class PlanRecord(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """plans/<id>/<number>: what the vault, a machine or an item says. None: what the wider level says.

    `written` is the writer's clock (ns), and `by` says who it was, for people. Times of day are of the time zone
    `zone`. `spread` and `grace` are minutes, `at_most` days, `load` per cent of all processors (0: off).
    `paths` are raw bytes as a point has them; `what` is an ItemKind, and `snapshot` auto, always or never. Later
    versions may write other words.
    """

    id: Id
    number: Whole
    written: Whole
    by: Note = ""
    zone: ZoneName | None = None
    paths: list[PathBytes] | None = None
    exclude: list[Pattern] | None = None
    ignore_files: FileName | None = None
    exclude_caches: bool | None = None
    ignore_case: bool | None = None
    one_file_system: bool | None = None
    cloud_files: bool | None = None
    what: Word | None = None
    snapshot: Word | None = None
    schedule: Schedule | None = None
    catch_up: bool | None = None
    spread: Spread | None = None
    grace: Grace | None = None
    ac_power: bool | None = None
    unmetered: bool | None = None
    load: Load | None = None
    windows: list[Window] | None = None
    at_most: AtMost | None = None
    throttle: list[Limit] | None = None
    prune: Care | None = None
    check_1: Care | None = None
    check_2: Care | None = None
    check_3: Care | None = None
    restore_test: Care | None = None
    paused: Pause | None = None
    stopped: Stop | None = None


HEAD = ("id", "number", "written", "by")  # the fields that don't say what the plan is
FIELDS = tuple(name for name in PlanRecord.__struct_fields__ if name not in HEAD)
CARE = ("prune", "check_1", "check_2", "check_3", "restore_test")
Raw: TypeAlias = Mapping[str, Any]  # a record's content, with fields that this version does not know


class ReadPlan(NamedTuple):
    """A record, and its whole content, which the next version of it keeps where it isn't changed."""

    record: PlanRecord
    raw: Raw


_LEAST_EVERY = 15  # minutes


@cache
def _decoder() -> msgspec.msgpack.Decoder[dict[str, Any]]:
    return msgspec.msgpack.Decoder(dict[str, Any])


def fault_of(record: PlanRecord) -> tuple[str, str] | None:
    """The first field whose value has no meaning, and why; None if there is none."""
    for name, most in MOST.items():
        if len(getattr(record, name) or ()) > most:
            return name, f"more than {most:,}"
    schedule = record.schedule
    if schedule is not None:
        if len(schedule.times) > MOST_TIMES:
            return "schedule.times", f"more than {MOST_TIMES}"
        for name, numbers in (("times", schedule.times), ("weekdays", schedule.weekdays)):
            if numbers != sorted(set(numbers)):
                return f"schedule.{name}", "not ascending"
        if schedule.every and schedule.times:
            return "schedule.every", "together with times"
        if 0 < schedule.every < _LEAST_EVERY:
            return "schedule.every", f"less than {_LEAST_EVERY} minutes"
        if (schedule.anchor - MONDAY) % 7:
            return "schedule.anchor", "not a Monday"
    spans: list[tuple[str, Window | Limit]] = [(f"windows[{n}]", w) for n, w in enumerate(record.windows or ())]
    spans += [(f"throttle[{n}]", limit) for n, limit in enumerate(record.throttle or ())]
    for name, span in spans:
        if span.weekdays != sorted(set(span.weekdays)):
            return f"{name}.weekdays", "not ascending"
        if span.start == span.end:
            return f"{name}.end", "the same as start"
    for n, path in enumerate(record.paths or ()):
        if b"\0" in path or not path.startswith(b"/"):
            return f"paths[{n}]", "not a path from the root"
    if record.paths is not None and (not record.paths or record.paths != sorted(set(record.paths))):
        return "paths", "not ascending" if record.paths else "empty"
    for n, pattern in enumerate(record.exclude or ()):
        if "\0" in pattern or "\n" in pattern:
            return f"exclude[{n}]", "has a zero character or a line end"
    if record.ignore_files is not None and (
        record.ignore_files in (".", "..") or "/" in record.ignore_files or "\0" in record.ignore_files
    ):
        return "ignore_files", "not a name of files"
    paused = record.paused
    if paused is not None and 0 < paused.until < paused.since:
        return "paused.until", "before since"
    return None


def encode_plan(record: PlanRecord, earlier: ReadPlan | None = None) -> bytes:
    """The content of a record. What `earlier` says is kept as it is written there, in fields with the same value
    and in fields that this version doesn't know.

    Raises Unwritable if no reader would accept it.
    """
    row: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(bytes,))
    if earlier is not None:
        for name, value in earlier.raw.items():
            if name not in PlanRecord.__struct_fields__ or (
                name not in HEAD and name in row and getattr(record, name) == getattr(earlier.record, name)
            ):
                row[name] = value
    try:
        data = msgspec.msgpack.encode(row)
        decode_plan(data, plan_folder(record.id) + written_number(record.number))
    except (OverflowError, UnicodeEncodeError, Damaged) as e:
        raise Unwritable(f"the plan could not be read again: {e}") from e
    return data


def decode_plan(data: bytes | bytearray | memoryview, name: str) -> ReadPlan:
    """The record in the content of the object of this name. Raises Damaged, which names the bad field."""
    if len(data) > MAX_PLAN:
        raise Damaged(f"{name} is malformed: it has more than {MAX_PLAN} bytes")
    row = decode(_decoder(), data, name)
    try:
        record = msgspec.convert(row, PlanRecord)
    except (msgspec.ValidationError, OverflowError) as e:
        raise misfit(e, name) from e
    fault = fault_of(record)
    if fault is not None:
        raise Damaged(f"{name} is malformed in the field {fault[0]}: {fault[1]}")
    if plan_folder(record.id) + written_number(record.number) != name:
        raise Damaged(f"{name} holds a different record than its name says")
    return ReadPlan(record, row)


def plan_folder(level: bytes) -> str:
    """The folder of the records of a vault, a machine or an item (its id), with a slash."""
    return f"plans/{level.hex()}/"


def plan_named(name: str) -> tuple[bytes, int] | None:
    """The id and the number in the name of a record of a plan; None for another name."""
    return level_named("plans", name)
