"""Days of this machine's clock, which have 23 to 25 hours, and times that no clock here shows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from catalog.errors import UsageError

_NS = 10**9
_NEVER = 1 << 80  # ns, later than any time


def day_of(ns: int) -> date:
    """The local date of a time (ns, UTC); that in UTC if this system has none for it."""
    try:
        return datetime.fromtimestamp(ns // _NS).date()
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(ns // _NS, UTC).date()


def begin(text: str, name: str) -> int:
    """The first instant (ns, UTC) that a date, or a time in ISO 8601, means here. Raises UsageError."""
    found = _parsed(text, name)
    return -_NEVER if found.date() == date.min else _instant(found)


def end(text: str, name: str) -> int:
    """The first instant after a day, or after a second in ISO 8601. Raises UsageError."""
    return _after(_parsed(text, name), is_day=_is_day(text))


def _is_day(text: str) -> bool:
    return len(text) == len("2026-11-23")


def _parsed(text: str, name: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as e:
        raise UsageError(f"{name} is not a date", "write e.g. 2026-11-23, or 2026-11-23T09:00:00+01:00") from e


def _after(when: datetime, *, is_day: bool) -> int:
    try:  # added to the clock, not to the instant: a day can have 23 or 25 hours
        return _instant(when + (timedelta(days=1) if is_day else timedelta(seconds=1)))
    except OverflowError:  # the last day of all
        return _NEVER


def _instant(when: datetime) -> int:
    try:
        return int(when.timestamp()) * _NS
    except (ValueError, OverflowError, OSError):
        return int(when.replace(tzinfo=UTC).timestamp()) * _NS
