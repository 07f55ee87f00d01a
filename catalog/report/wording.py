"""Summaries as rows and phrases, for the terminal, mails and pages."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.alerts.state import Alert
from catalog.report.series import Summary
from catalog.screen.text import counted, duration_text, local_time, safe_text, size_text

COLUMNS = (
    "JOB",
    "ITEM",
    "RUNS>",
    "FAILED>",
    "WARNINGS>",
    "MISSED>",
    "LAST SUCCESS",
    "SIZE>",
    "NEW>",
    "TOOK>",
    "NEXT",
)
_NS = 10**9


def job_name(kind: str, level: int) -> str:
    """`backup`, `check 2`."""
    return f"{kind} {level}" if level else kind


def cells(row: Summary, now: int) -> list[str]:
    """A summary as the cells of COLUMNS, not made safe."""
    one = row.series
    return [
        job_name(one.kind, one.level), one.item, str(row.runs), _number(row.failed + row.killed),
        _number(row.warnings), _number(row.missed), _last(row, now), size_text(row.bytes) if row.bytes else "",
        size_text(row.new_bytes) if one.kind == "backup" and row.runs else "",
        duration_text(row.took) if row.runs else "", next_text(row),
    ]  # fmt: skip


def _number(number: int) -> str:
    return str(number) if number else ""


def _last(row: Summary, now: int) -> str:
    if row.success is None:
        return "never"
    return local_time(row.success.started)[:16]


def next_text(row: Summary) -> str:
    """When a job is expected next, or why it is not."""
    one = row.series
    if row.overdue:
        return "OVERDUE"
    if one.paused:
        return "paused"
    if one.next is not None:
        return local_time(one.next)[:16]
    return f"by {local_time(one.expected)[:16]}" if one.expected is not None else ""


def counts_text(rows: Sequence[Summary]) -> str:
    """`14 backups, 1 failed, 2 missed`; upkeep counts where it failed."""
    backups = [row for row in rows if row.series.kind == "backup"]
    parts = [counted(sum(row.runs for row in backups), "backup")]
    failed = sum(row.failed + row.killed for row in rows)
    for number, what in (
        (failed, "failed"),
        (sum(row.warnings for row in rows), "with warnings"),
        (sum(row.missed for row in rows), "missed"),
        (sum(row.overdue for row in rows), "overdue"),
    ):
        parts += [f"{number} {what}"] if number else []
    return ", ".join(parts)


def growth_text(rows: Sequence[Summary]) -> str:
    """How the size of all backups changed: `+3.2 %`; "" if nothing was known before."""
    known = [row for row in rows if row.before and row.bytes]
    before, after = sum(row.before or 0 for row in known), sum(row.bytes for row in known)
    return f"{(after - before) * 100 / before:+.1f} %" if before else ""


def alert_line(alert: Alert, now: int) -> str:
    """An open alert in one line, made safe."""
    where = ": ".join(part for part in (alert.machine_name, alert.item_name) if part)
    age = duration_text(max(now - alert.opened, 0) / _NS)
    return safe_text(f"{alert.severity}: {where + ': ' if where else ''}{alert.title} (for {age})")
