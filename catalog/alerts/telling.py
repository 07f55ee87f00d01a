"""Tells of changes of alerts, each at least once: a change is kept as untold until somebody took it over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import msgspec

from catalog.alerts.keeping import Kept
from catalog.alerts.sending import event_of
from catalog.alerts.state import Alert, Change, Step
from catalog.errors import LocalError
from catalog.notify.event import Notifications

PATIENCE = 60 * 10**9  # ns; to tell something takes a few seconds
_log = logging.getLogger("rpdrive.alerts")


def tell(
    kept: Kept, vault: str, change: Callable[[tuple[Alert, ...]], Step], now: int, notifications: Notifications
) -> Step:
    """Change the alerts about a vault, and tell of that, and of what was not told before.

    A process that is killed meanwhile has it told again later. Raises LocalError: nothing has changed then.
    """
    result = kept.change(vault, lambda before: _noted(change(before), now))
    if result.changes:
        events = [event_of(one) for one in result.changes]
        lost = {(event.key, event.what) for event in notifications.send(events, now) or ()}
        told = [
            _which(one.alert)
            for one, event in zip(result.changes, events, strict=True)
            if (event.key, event.what) not in lost
        ]
        try:
            result = result._replace(alerts=kept.change(vault, lambda before: _cleared(before, told)).alerts)
        except LocalError as e:
            _log.warning("what was told is told again: %s", e)
    return result


def _which(alert: Alert) -> tuple[object, ...]:
    return alert.key, alert.opened


def _noted(result: Step, now: int) -> Step:
    """A step whose alerts say what is yet to be told of them."""
    news = {_which(one.alert): one for one in result.changes}
    alerts, changes = list[Alert](), list(result.changes)
    for alert in result.alerts:
        one = news.get(_which(alert))
        if one is not None:
            alert = msgspec.structs.replace(alert, untold=one.what)  # noqa: PLW2901
        elif alert.untold != "" and _is_left(alert, now):
            changes.append(Change(alert.untold, alert, now))
        alerts.append(alert)
    return Step(tuple(alerts), tuple(changes))


def _is_left(alert: Alert, now: int) -> bool:
    """Whether a change was not told for so long that nobody is telling it right now."""
    return abs(now - max(alert.opened, alert.reminded, alert.resolved)) >= PATIENCE


def _cleared(alerts: tuple[Alert, ...], told: Collection[tuple[object, ...]]) -> Step:
    after = [
        msgspec.structs.replace(alert, untold="") if alert.untold and _which(alert) in told else alert
        for alert in alerts
    ]
    return Step(tuple(after), ())
