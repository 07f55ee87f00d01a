"""Rules as people write and read them: `4 weeks on saturday, sunday at 00:00, 18:00`, `off`.

rule  = "off" | count [unit] [" on " days] [" of " months] [" at " times]
days  = weekdays                       of a weekly rule
      | "day" numbers | "last day"     of a monthly or yearly one
      | weeks weekdays                 e.g. `first, third monday`, `last saturday`
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from catalog.errors import UsageError
from catalog.format.retention import LAST_DAY, LAST_WEEK, MOST, Retention, RetentionRule, fault_of
from catalog.retention.slots import Unit

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
WEEKS = ("first", "second", "third", "fourth", "last")
_PARTS = re.compile(
    r"(?P<count>\d{1,9}) *(?P<unit>[a-z]+)?(?: +on +(?P<on>.+?))?(?: +of +(?P<of>.+?))?(?: +at +(?P<at>.+))?"
)
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_SEPARATOR = re.compile(r"[, ]+(?:and +)?")
_EXAMPLES = {
    Unit.DAILY: "30, or 30 days at 00:00, 18:00",
    Unit.WEEKLY: "12 weeks on saturday at 18:00",
    Unit.MONTHLY: "12 months on last saturday, or 12 months on day 1, 15",
    Unit.YEARLY: "10 years on last saturday of march",
}


def parse_rule(unit: Unit, text: str) -> RetentionRule:
    """A rule from its text. Raises UsageError, which says what is wrong with it."""
    plain = " ".join(text.lower().split())
    if plain == "off":
        return RetentionRule(keep=0)
    m = _PARTS.fullmatch(plain)
    if m is None:
        raise _bad(unit, text, "it is not a number with what follows")
    one = unit.name_of_one
    if m["unit"] not in (None, one, one + "s", one[0]):
        raise _bad(unit, text, f"its unit is {one}s")
    if (m["on"] and unit is Unit.DAILY) or (m["of"] and unit is not Unit.YEARLY):
        raise _bad(unit, text, f"a {unit} rule has no {'days' if m['on'] and unit is Unit.DAILY else 'months'}")
    days = _days(unit, m["on"], text) if m["on"] else {}
    rule = RetentionRule(
        keep=int(m["count"]) if int(m["count"]) <= MOST[unit] else 0,
        times=_sorted(_time(unit, word, text) for word in _words(m["at"])),
        months=_sorted(_index(unit, MONTHS, word, text, "a month") for word in _words(m["of"])),
        **days,
    )
    if rule.keep == 0:
        raise _bad(unit, text, f"the number must be from 1 to {MOST[unit]:,}; `off` switches the rule off")
    alone: dict[str, Any] = {str(unit): rule}
    fault = fault_of(Retention(id=bytes(16), number=1, written=0, **alone))
    if fault is not None:
        raise _bad(unit, text, fault[1])
    return rule


def _days(unit: Unit, on: str, text: str) -> dict[str, list[int]]:
    words = _words(on)
    if unit is Unit.WEEKLY:
        return {"weekdays": _sorted(_index(unit, WEEKDAYS, word, text, "a weekday") for word in words)}
    if words == ["last", "day"]:
        return {"days": [LAST_DAY]}
    if words[0] in ("day", "days") and words[1:]:
        return {"days": _sorted(_day(unit, word, text) for word in words[1:])}
    count = next((n for n, word in enumerate(words) if word not in WEEKS), len(words))
    if count in (0, len(words)):
        raise _bad(unit, text, "after `on` come weeks and weekdays, or `day` and numbers")
    return {
        "weeks": _sorted(WEEKS.index(word) + 1 for word in words[:count]),
        "weekdays": _sorted(_index(unit, WEEKDAYS, word, text, "a weekday") for word in words[count:]),
    }


def _words(text: str | None) -> list[str]:
    return _SEPARATOR.split(text) if text else []


def _sorted(numbers: object) -> list[int]:
    return sorted(set(numbers))  # type: ignore[call-overload]


def _time(unit: Unit, word: str, text: str) -> int:
    m = _TIME.fullmatch(word)
    if m is None:
        raise _bad(unit, text, f"{word!r} is not a time from 00:00 to 23:59")
    return int(m[1]) * 60 + int(m[2])


def _day(unit: Unit, word: str, text: str) -> int:
    if word == "last":
        return LAST_DAY
    if not word.isdecimal() or not 1 <= int(word) <= LAST_DAY:
        raise _bad(unit, text, f"{word!r} is not a day from 1 to {LAST_DAY}")
    return int(word)


def _index(unit: Unit, names: Sequence[str], word: str, text: str, what: str) -> int:
    """The place of a name, or of its first three letters or more, counted from 1."""
    found = [n for n, name in enumerate(names, 1) if len(word) >= 3 and name.startswith(word)]
    if len(found) != 1:
        raise _bad(unit, text, f"{word!r} is not {what}")
    return found[0]


def _bad(unit: Unit, text: str, why: str) -> UsageError:
    return UsageError(f"the {unit} rule {text[:100]!r} can't be used: {why}", f"write e.g. {_EXAMPLES[unit]}")


def rule_text(unit: Unit, rule: RetentionRule) -> str:
    """A rule as `parse_rule` reads it, with all that it leaves open."""
    if not rule.keep:
        return "off"
    parts = [counted_text(rule.keep, unit.name_of_one)]
    if unit is Unit.WEEKLY:
        parts.append("on " + _names(WEEKDAYS, rule.weekdays or [1]))
    elif unit is not Unit.DAILY:
        if rule.weeks:
            parts.append(f"on {_names(WEEKS, rule.weeks)} {_names(WEEKDAYS, rule.weekdays)}")
        elif rule.days == [LAST_DAY]:
            parts.append("on last day")
        else:
            parts.append("on day " + ", ".join("last" if d == LAST_DAY else str(d) for d in rule.days or [1]))
        if unit is Unit.YEARLY:
            parts.append("of " + _names(MONTHS, rule.months or [1]))
    if rule.times:
        parts.append("at " + ", ".join(f"{t // 60:02}:{t % 60:02}" for t in rule.times))
    return " ".join(parts)


def counted_text(number: int, thing: str) -> str:
    """`1 day`, `9999 days`: as it can be typed again."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _names(names: Sequence[str], numbers: Sequence[int]) -> str:
    return ", ".join(names[n - 1] for n in numbers)


assert len(WEEKS) == LAST_WEEK
