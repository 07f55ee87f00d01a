"""Open alerts, each with the command that mends it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from catalog.alerts.health import code_of
from catalog.alerts.keeping import Kept
from catalog.alerts.rules import rank
from catalog.alerts.state import Alert
from catalog.errors import LocalError
from catalog.plans.paths import shown_path
from mount.browse.resources.looks import STATES, Found, ItemSeen, looks_of
from mount.browse.resources.mending import acknowledging, command_text, mend
from mount.browse.resources.opened import Opened
from mount.browse.resources.wire import when

MOST = 500  # alerts of an answer


class AlertRow(msgspec.Struct, frozen=True, kw_only=True):
    """An open alert. `kind` is that of docs/alerts.md, `severity` info, warning or critical; times ISO 8601.

    `command` mends it, on the machine `where` (empty: on this one); `advice` says so in words. `acknowledge` is the
    command that says that a person knows of it.
    """

    id: str
    kind: str
    severity: str
    security: bool
    title: str
    text: str
    about: str
    machine: str
    item: str
    opened: str | None
    count: int
    acknowledged: str | None
    reason: str
    command: str
    where: str
    advice: str
    acknowledge: str


class AlertPage(msgspec.Struct, frozen=True, kw_only=True):
    """The open alerts, the worst first: `total` of them. `checked`: when the vault was looked at; null: never."""

    checked: str | None
    state: str
    total: int
    alerts: list[AlertRow]


def alerts(opened: Opened, wait: float = 0.0) -> AlertPage:
    """The open alerts, without waiting for the vault longer than `wait` seconds. Raises nothing of the store's.

    Before the first look, those are shown that this machine knows already.
    """
    looks = looks_of(opened)
    found = looks.state(wait).found
    rows = known_alerts(opened, found)
    return AlertPage(
        checked=None if found is None else when(found.when), total=len(rows),
        state=STATES[code_of(rows)] if found is None else found.state(looks.now()),
        alerts=alert_rows(opened, rows[:MOST], found),
    )  # fmt: skip


def known_alerts(opened: Opened, found: Found | None) -> list[Alert]:
    """The open alerts of the last look or, without one, of this machine's own files. Worst first."""
    if found is not None:
        return list(found.health.alerts)
    kept = Kept(opened.session.settings.where("state"))
    try:
        rows = [a for a in (*kept.of(opened.vault.id.hex()), *kept.of("")) if a.is_open]
    except LocalError:
        return []  # the look says why
    return sorted(rows, key=lambda a: (-rank(a.severity), a.opened, a.key))


def alert_rows(opened: Opened, rows: Iterable[Alert], found: Found | None) -> list[AlertRow]:
    """Alerts for the page, with what the last look found about their items."""
    address = opened.session.address if opened.session.vault_option is not None else ""
    items = {} if found is None else {(i.health.machine, i.health.item): i for i in found.items}
    here = "" if found is None else found.here
    return [_row(alert, address, here, items.get((alert.machine, alert.item))) for alert in rows]


def _row(alert: Alert, address: str, here: str, item: ItemSeen | None) -> AlertRow:
    unplanned = item is not None and not item.health.planned
    paths = [shown_path(p, item.system) for p in item.paths] if item is not None and unplanned else None
    if paths is not None and not all(path.isprintable() for path in paths):
        paths = []  # it can't be typed, and might not be what it looks like
    found = mend(alert, address, paths)
    about = ", ".join(name for name in (alert.item_name, alert.machine_name) if name)
    elsewhere = found.there and alert.machine not in ("", here)
    return AlertRow(
        id=alert.ref, kind=alert.id, severity=str(alert.severity), security=alert.security, title=alert.title,
        text=alert.text or alert.cause, about=about, machine=alert.machine, item=alert.item,
        opened=when(alert.opened), count=alert.count,
        acknowledged=when(alert.acknowledged), reason=alert.reason,
        command=command_text(found), where=(alert.machine_name or alert.machine[:8]) if elsewhere else "",
        advice=found.advice, acknowledge=acknowledging(alert, address),
    )  # fmt: skip
