"""Alerts as events, for those who tell people."""

from __future__ import annotations

from catalog.alerts.rules import RULES, Ends
from catalog.alerts.state import Alert, Change
from catalog.notify.event import Event, What

_ADVICE = {
    "backup.failed": ("see why, mend it, and back up again", "rpdrive jobs"),
    "backup.overdue": ("see whether the machine is on, and its timer runs", "rpdrive health"),
    "backup.killed": ("the next backup goes on where it stopped", "rpdrive jobs"),
    "backup.incomplete": ("see which files, and leave out what need not be saved", "rpdrive jobs"),
    "restore.failed": ("see why, and run it again: it goes on where it stopped", "rpdrive jobs"),
    "restore_test.failed": ("find out what is damaged", "rpdrive check"),
    "check.damage": ("find out what can be mended (docs/repair.md)", "rpdrive repair"),
    "prune.overdue": ("what is not needed any more takes room", "rpdrive prune"),
    "check.overdue": ("damage is not found unless it is looked for", "rpdrive check"),
    "restore_test.overdue": ("see that files come back", "rpdrive test-restore"),
    "point.deleted": ("if it was no act of yours, bring them back", "rpdrive points --deleted"),
    "point.deleted vanished": (
        "bring them back from a copy of the vault, or accept the loss",
        "rpdrive forget --missing",
    ),
    "protection.lowered plan": ("if it was no act of yours, set it again", "rpdrive plan show"),
    "item.deleted": ("if it was no act of yours, bring them back", "rpdrive points --deleted"),
    "policy.shortened": ("if it was no act of yours, set it again", "rpdrive policy show"),
    "protection.lowered": ("if it was no act of yours, see who has the admin key", "rpdrive vault protect"),
    "purge.upcoming": ("bring them back if they are still needed", "rpdrive points --deleted"),
    "token.expiring": ("ask for new credentials, and connect again", "rpdrive vault connect FILE"),
    "store.nearly_full": ("make room, or keep points for a shorter time", "rpdrive prune"),
}


def event_of(change: Change) -> Event:
    """What to tell of a change."""
    alert = change.alert
    advice, command = _ADVICE.get(f"{alert.id} {alert.cause}") or _ADVICE.get(alert.id, ("", ""))
    rule, ack = RULES.get(alert.id), f"rpdrive alerts ack {alert.ref}"
    if rule is not None and rule.ends is Ends.BY_HAND:
        known = "acknowledge it once you know why"
        advice, command = (f"{advice}; {known}: `{ack}`", command) if advice else (known, ack)
    fields = {name: str(value) for name, value in alert.details.items() if value not in ("", 0)}
    if alert.count > 1:
        fields["count"] = f"{alert.count:,}"
    if alert.reason:
        fields["acknowledged"] = alert.reason
    return Event(
        what=What(change.what), alert=alert.id, severity=alert.severity, time=change.time, title=alert.title,
        text=alert.text, advice=advice if change.what != "resolved" else "",
        command=command if change.what != "resolved" else "", machine=alert.machine_name, item=alert.item_name,
        key=thread_of(alert), opened=alert.opened, security=alert.security, fields={"id": alert.ref, **fields},
    )  # fmt: skip


def thread_of(alert: Alert) -> str:
    """What names an alert from its opening to its end."""
    return f"{alert.ref}-{alert.opened // 10**9}"
