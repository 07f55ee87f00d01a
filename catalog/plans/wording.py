"""The values of plans as people write and read them: `21:00, 13:00 on mon-fri`, `every 4h`, `22:00-06:00`.

schedule = "off" | (times | "every" duration) ["on" weekdays] ["every" n "weeks" ["from" date]]
window   = [weekdays] time "-" time
limit    = [weekdays] [time "-" time] ["up" rate] ["down" rate] | … "unlimited"
care     = "off" | ["every"] duration ["for" duration] [number "%"]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal

from catalog.errors import UsageError
from catalog.format.plan import DAY, LAST_MONDAY, MONDAY, Care, Limit, Schedule, Window
from catalog.screen.text import parse_duration, parse_size

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FULL = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
OFF = "off"
_EPOCH = date(1970, 1, 1)
_TIME = r"(?:[01]?\d|2[0-4]):[0-5]\d"
_SEPARATOR = re.compile(r"[, ]+(?:and +)?")
_SCHEDULE = re.compile(
    rf"(?:at +)?(?:(?P<times>{_TIME}(?:[, ]+(?:and +)?{_TIME})*)|every +(?P<every>[\d.]+ *[mhd]))"
    r"(?: +on +(?P<days>[a-z, -]+?))?(?: +every +(?P<weeks>\d{1,3}) +weeks?(?: +from +(?P<date>[\d-]{10}))?)?"
)
_SPAN = re.compile(rf"(?:(?P<days>[a-z][a-z, -]*?) +)?(?P<start>{_TIME}) *- *(?P<end>{_TIME})")
_LIMIT = re.compile(
    rf"(?P<span>(?:[a-z][a-z, -]*? +)?{_TIME} *- *{_TIME})?"
    r"(?P<rates>(?:(?:^| +)(?:up +[\d.]+ *[kmgtib]*|down +[\d.]+ *[kmgtib]*|unlimited))+)"
)
_RATE = re.compile(r"(up|down) +([\d.]+ *[kmgtib]*)")
_CARE = re.compile(
    r"(?:every +)?(?P<every>[\d.]+ *[mhdw])(?: +for +(?P<budget>[\d.]+ *[smhdw]))?(?: +(?P<percent>[\d.]+) *%)?"
)


def parse_minutes(text: str, what: str) -> int:
    """Whole minutes, from a length of time, e.g. `90m`, `4h`; `0` is none. Raises UsageError."""
    plain = text.strip()
    if plain in ("0", "0m"):
        return 0
    minutes = parse_duration(plain) / 60
    if minutes != int(minutes):
        raise UsageError(f"{what} {text[:100]!r} is not a number of whole minutes", "write e.g. 15m or 2h")
    return int(minutes)


def minutes_text(minutes: int) -> str:
    """Minutes as `parse_minutes` reads them: `0m`, `90m`, `4h`, `1d`."""
    for unit, length in (("d", DAY), ("h", 60)):
        if minutes and minutes % length == 0:
            return f"{minutes // length}{unit}"
    return f"{minutes}m"


# --- schedules -----------------------------------------------------------------------------------------------


def parse_schedule(text: str) -> Schedule:
    """A schedule from its text. Raises UsageError, which says what is wrong with it."""
    plain = " ".join(text.lower().split())
    if plain == OFF:
        return Schedule()
    m = _SCHEDULE.fullmatch(plain)
    if m is None:
        raise _bad("schedule", text, "21:00, or '13:00, 21:00 on mon-fri every 2 weeks', or 'every 4h', or off")
    return schedule_of(
        times=parse_times(m["times"]) if m["times"] else [],
        every=parse_minutes(m["every"].replace(" ", ""), "every") if m["every"] else 0,
        weekdays=parse_weekdays(m["days"]) if m["days"] else [],
        every_weeks=int(m["weeks"] or 1),
        start=parse_date(m["date"]) if m["date"] else None,
    )


def schedule_of(
    *, times: list[int], every: int, weekdays: list[int], every_weeks: int, start: date | None = None
) -> Schedule:
    """A schedule of these values; `start` is in a week that counts. Raises UsageError if one is out of bounds."""
    if not 1 <= every_weeks <= 52:
        raise UsageError(f"every {every_weeks} weeks is not from 1 to 52", "write e.g. --every-weeks 2")
    if every and not 15 <= every <= DAY:
        raise UsageError(f"every {minutes_text(every)} is not from 15m to 24h", "write e.g. --every 4h")
    if every and times:
        raise UsageError("times of day and a period exclude each other", "give one of --at and --every")
    anchor = MONDAY if start is None else monday_of(start)
    if anchor > LAST_MONDAY:
        raise UsageError(f"{start} is too far away", "write e.g. 2026-11-30")
    return Schedule(times=times, every=every, weekdays=weekdays, every_weeks=every_weeks, anchor=anchor)


def monday_of(day: date) -> int:
    """The Monday of the week of a day, in days since 1970-01-01, but not before the first one of 1970."""
    return max((day - timedelta(days=day.weekday()) - _EPOCH).days, MONDAY)


def schedule_text(schedule: Schedule) -> str:
    """A schedule as `parse_schedule` reads it."""
    if not schedule.every and not schedule.times:
        return OFF
    parts = [f"every {minutes_text(schedule.every)}" if schedule.every else times_text(schedule.times)]
    if schedule.weekdays:
        parts.append(f"on {weekdays_text(schedule.weekdays)}")
    if schedule.every_weeks != 1:
        plural = f"every {schedule.every_weeks} weeks"
        parts.append(plural + f" from {(_EPOCH + timedelta(days=schedule.anchor)).isoformat()}")
    return " ".join(parts)


def parse_times(text: str) -> list[int]:
    """Minutes of the day, ascending, from `13:00, 21:00`. Raises UsageError."""
    found = sorted({_minute(word, text) for word in _SEPARATOR.split(text.strip()) if word})
    if not found or len(found) > 24 or found[-1] >= DAY:
        raise _bad("times", text, "21:00, or 13:00,21:00: at most 24, from 00:00 to 23:59")
    return found


def times_text(times: Iterable[int]) -> str:
    return ", ".join(f"{t // 60:02}:{t % 60:02}" for t in times)


def parse_weekdays(text: str) -> list[int]:
    """Weekdays, ascending, from `mon, wed` or `mon-fri`; all are written as none. Raises UsageError."""
    found: set[int] = set()
    for word in re.sub(r" *- *", "-", text.strip().lower()).replace(",", " ").split():
        if word == "and":
            continue
        first, _, last = word.partition("-")
        start, end = _weekday(first, text), _weekday(last or first, text)
        found.update(range(start, end + 1) if start <= end else [*range(start, 8), *range(1, end + 1)])
    if not found:
        raise _bad("weekdays", text, "mon,fri or mon-fri")
    return [] if len(found) == 7 else sorted(found)


def _weekday(word: str, text: str) -> int:
    found = [n for n, name in enumerate(_FULL, 1) if len(word) >= 3 and name.startswith(word)]
    if len(found) != 1:
        raise _bad("weekdays", text, "mon,fri or mon-fri")
    return found[0]


def weekdays_text(weekdays: Sequence[int]) -> str:
    """Weekdays as `parse_weekdays` reads them: `mon-fri`, `mon, wed`."""
    runs: list[list[int]] = []
    for day in weekdays:
        if runs and day == runs[-1][-1] + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    parts: list[str] = []
    for run in runs:
        names = [WEEKDAYS[day - 1] for day in run]
        parts += [f"{names[0]}-{names[-1]}"] if len(run) > 2 else names
    return ", ".join(parts)


def parse_date(text: str) -> date:
    """A day from `2026-11-30`. Raises UsageError."""
    try:
        found = date.fromisoformat(text)
    except ValueError as e:
        raise _bad("date", text, "2026-11-30") from e
    if found.year < 1970:
        raise _bad("date", text, "2026-11-30")
    return found


def _minute(word: str, text: str) -> int:
    if not re.fullmatch(_TIME, word):
        raise _bad("time", text, "21:00, or 13:00,21:00")
    hours, minutes = map(int, word.split(":"))
    if hours * 60 + minutes > DAY:
        raise _bad("time", text, "21:00: the latest one is 24:00")
    return hours * 60 + minutes


# --- windows and limits ----------------------------------------------------------------------------------------


def parse_window(text: str) -> Window:
    """A window from `22:00-06:00`, or `sat, sun 00:00-24:00`. Raises UsageError."""
    weekdays, start, end = _span(text)
    return Window(weekdays=weekdays, start=start, end=end)


def _span(text: str) -> tuple[list[int], int, int]:
    m = _SPAN.fullmatch(" ".join(text.lower().split()))
    if m is None:
        raise _bad("window", text, "22:00-06:00, or 'mon-fri 18:00-24:00'")
    start, end = _minute(m["start"], text), _minute(m["end"], text) or DAY
    if start in (DAY, end):
        raise _bad("window", text, "22:00-06:00: it must not end when it begins")
    return parse_weekdays(m["days"]) if m["days"] else [], start, end


def window_text(window: Window | Limit) -> str:
    """A window as `parse_window` reads it."""
    days = f"{weekdays_text(window.weekdays)} " if window.weekdays else ""
    return f"{days}{times_text([window.start])}-{times_text([window.end])}"


def parse_limit(text: str) -> Limit:
    """A limit from `mon-fri 08:00-18:00 up 2M down 0`; without hours it is for all. Raises UsageError."""
    example = "'mon-fri 08:00-18:00 up 2M down 0', or 'up 500K'; 0 sends nothing at all"
    m = _LIMIT.fullmatch(" ".join(text.lower().split()))
    if m is None:
        raise _bad("limit", text, example)
    weekdays, start, end = _span(m["span"]) if m["span"] else ([], 0, DAY)
    rates = _RATE.findall(m["rates"])
    named = dict(rates)
    if len(named) != len(rates) or ("unlimited" in m["rates"]) == bool(rates):
        raise _bad("limit", text, example)
    values = {name: parse_size(value) for name, value in named.items()}
    if any(value > 10**12 for value in values.values()):
        raise _bad("limit", text, "up 2M: at most 10^12 bytes a second")
    return Limit(weekdays=weekdays, start=start, end=end, up=values.get("up"), down=values.get("down"))


def limit_text(limit: Limit) -> str:
    """A limit as `parse_limit` reads it."""
    rates = [f"{name} {_rate(rate)}" for name, rate in (("up", limit.up), ("down", limit.down)) if rate is not None]
    return f"{window_text(limit)} {' '.join(rates) or 'unlimited'}"


def _rate(rate: int) -> str:
    for unit, size in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if rate and rate % size == 0:
            return f"{rate // size}{unit}"
    return str(rate)


# --- upkeep -----------------------------------------------------------------------------------------------


def parse_care(text: str, what: str) -> Care:
    """Upkeep from `24h`, `7d for 60m`, or `every 1d for 2h 1%`. Raises UsageError."""
    plain = " ".join(text.lower().split())
    if plain == OFF:
        return Care(every=0)
    example = "1d, '1d for 60m', or off"
    m = _CARE.fullmatch(plain)
    if m is None:
        raise _bad(what, text, example)
    hours = parse_duration(m["every"]) / 3600
    budget = parse_minutes(m["budget"], what) if m["budget"] else 0
    if hours != int(hours) or not 1 <= hours <= 24 * 366 or budget > 7 * DAY:
        raise _bad(what, text, f"{example}: whole hours up to 366d, for at most 7d")
    try:
        percent = float(m["percent"] or 0)
    except ValueError as e:
        raise _bad(what, text, example) from e
    if not 0 <= percent <= 100:
        raise _bad(what, text, f"{example}: a share is from 0 to 100%")
    return Care(every=int(hours), budget=budget, percent=percent)


def care_text(care: Care) -> str:
    """Upkeep as `parse_care` reads it."""
    if not care.every:
        return OFF
    parts = [f"every {minutes_text(care.every * 60)}"]
    if care.budget:
        parts.append(f"for {minutes_text(care.budget)}")
    if care.percent:
        parts.append(f"{Decimal(repr(care.percent)):f}".removesuffix(".0") + "%")
    return " ".join(parts)


def _bad(what: str, text: str, example: str) -> UsageError:
    return UsageError(f"{what} {text[:100]!r} can't be used", f"write e.g. {example}")
