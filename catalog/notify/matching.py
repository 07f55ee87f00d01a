"""Which targets an event or a ping goes to: a pure function of the configuration and the time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from fnmatch import fnmatchcase

from catalog.notify.config import DAYS, Config, Matcher, Window, minutes
from catalog.notify.event import Event, Ping, Severity, What
from catalog.notify.targets import PingUrl, Smtp

_NS = 10**9


def targets_of(event: Event, config: Config, zone: tzinfo) -> list[str]:
    """The names of the targets that an event goes to, each once, in the order of the configuration.

    A security event goes to all. Without matchers, so does every other one that is not mere information, which is
    for the digest. A target that has a fault counts, so that what it should hear waits for it.
    """
    names = [n for n in [*config.targets, *sorted(config.faulty)] if not isinstance(config.targets.get(n), PingUrl)]
    if event.what is What.DIGEST:
        wanted = config.digest.targets or [n for n, t in config.targets.items() if isinstance(t, Smtp)]
        return [] if config.digest.off else [n for n in names if n in wanted]
    if event.security or event.what is What.TEST:
        return names
    if not config.matchers:
        return [] if event.severity is Severity.INFO else names
    hearing = {name for matcher in config.matchers if matches(matcher, event, zone) for name in matcher.targets}
    return [name for name in names if name in hearing]


def pings_of(ping: Ping, config: Config) -> list[str]:
    """The names of the targets of type `ping` that hear of a run."""
    return [
        name
        for name, target in config.targets.items()
        if isinstance(target, PingUrl) and _one_of(target.kinds, ping.kind) and _one_of(target.items, ping.item)
    ]


def matches(matcher: Matcher, event: Event, zone: tzinfo) -> bool:
    """Whether an event meets all rules of a matcher. A rule about a field that the event lacks is not met."""
    return (
        (not matcher.severity or event.severity in matcher.severity)
        and (not matcher.what or event.what in matcher.what)
        and _one_of(matcher.alerts, event.alert)
        and _one_of(matcher.machines, event.machine)
        and _one_of(matcher.items, event.item)
        and (matcher.window is None or within(matcher.window, event.time, zone))
    )


def _one_of(patterns: Sequence[str], name: str) -> bool:
    return not patterns or (name != "" and any(fnmatchcase(name, pattern) for pattern in patterns))


def within(window: Window, time: int, zone: tzinfo) -> bool:
    """Whether a time (ns, UTC) is in a window of the week. One over midnight belongs to the day it begins on."""
    local = local_of(time, zone)
    now, start, to = local.hour * 60 + local.minute, minutes(window.start) or 0, minutes(window.to) or 0
    day = local.weekday()
    if start < to:
        inside = start <= now < to
    else:
        inside = now >= start or now < to
        day = (local - timedelta(days=1)).weekday() if now < to else day
    return inside and (not window.days or DAYS[day] in window.days)


def local_of(time: int, zone: tzinfo) -> datetime:
    """A time (ns, UTC) on the clocks of a zone; the nearest one that datetime can express."""
    try:
        return datetime.fromtimestamp(time // _NS, zone)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, zone)


def newest_digest(config: Config, now: int, zone: tzinfo) -> int:
    """The newest time at or before `now` for which the digest is due (ns, UTC).

    A local time that a clock change skips is taken as an hour later, one that comes twice as the first.
    """
    at = minutes(config.digest.time) or 0
    local = local_of(now, zone)
    for back in range(15):
        day = local.date() - timedelta(days=back)
        if DAYS[day.weekday()] == config.digest.day:
            slot = datetime(day.year, day.month, day.day, at // 60, at % 60, tzinfo=zone)
            found = int(slot.timestamp()) * _NS
            if found <= now:
                return found
    return now
