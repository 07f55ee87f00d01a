"""Runs the command `rpdrive report`."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from catalog.access.session import Session
from catalog.access.settings import write_private
from catalog.alerts.keeping import Kept
from catalog.alerts.state import Alert
from catalog.errors import LocalError, UsageError
from catalog.report.series import Series, Summary, series_here, summarise
from catalog.report.wording import COLUMNS, alert_line, cells, counts_text
from catalog.schedule.history import History, Ran
from catalog.screen.output import print_json, print_table, say
from catalog.screen.text import iso_time, local_time, parse_duration, text_json


def show_report(session: Session, since: str, html: Path | None, *, everything: bool, as_json: bool) -> None:
    """Print a report, or write it as a page. Raises UsageError, LocalError and what opening the vault raises."""
    now = time.time_ns()
    begin = begin_of(since, now)
    state = session.settings.where("state")
    alerts = [alert for alert in Kept(state).all() if alert.is_open]
    if everything:
        from catalog.report.vaults import series_of_vault

        vault = session.open_vault()
        series = series_of_vault(vault, session.address, begin, now, History(state).all())
        alerts = [alert for alert in alerts if alert.vault == vault.id.hex()]
        title = session.address
    else:
        series = series_here(state, now)
        title = next((one.machine for one in series if one.machine), platform.node())
    rows = [summarise(one, begin, now) for one in series]
    if html is not None:
        _write(html, rows, alerts, begin, now, title)
    if as_json:
        print_json(_json(rows, alerts, begin, now))
    elif html is not None:
        say(f"Wrote the report to {html}")
    else:
        _print(series, rows, alerts, begin, now)


def begin_of(text: str, now: int) -> int:
    """The time (ns) that a length of time before now, or a local date, means. Raises UsageError."""
    try:
        return int(datetime.fromisoformat(text).timestamp()) * 10**9
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return max(now - int(parse_duration(text) * 1e9), 0)
    except UsageError:
        raise UsageError(
            f"{text!r} is neither a length of time nor a date", "write e.g. 7d or 2026-11-01"
        ) from None


def _write(html: Path, rows: Sequence[Summary], alerts: Sequence[Alert], begin: int, now: int, title: str) -> None:
    from catalog.report.page import page_of

    path = html.absolute()
    if path.is_dir():
        raise LocalError(f"{html} is a folder", "name a file")
    # It names files and machines: other users may read it only if somebody lets them.
    write_private(path, page_of(rows, alerts, begin, now, title).encode(errors="replace"))


def _print(
    series: Sequence[Series], rows: Sequence[Summary], alerts: Sequence[Alert], begin: int, now: int
) -> None:
    if not rows:
        say("Nothing ran here, and nothing is planned.")
        return
    machines = len({one.machine for one in series}) > 1
    vaults = len({one.vault for one in series}) > 1
    columns = [*(["VAULT"] if vaults else []), *(["MACHINE"] if machines else []), *COLUMNS]
    print_table(
        columns,
        [
            [*([r.series.vault] if vaults else []), *([r.series.machine] if machines else []), *cells(r, now)]
            for r in rows
        ],
    )
    say(f"Since {local_time(begin)[:16]}: {counts_text(rows)}.")
    for alert in alerts:
        say(f"Open alert: {alert_line(alert, now)}")


def _json(rows: Sequence[Summary], alerts: Sequence[Alert], begin: int, now: int) -> dict[str, object]:
    return {
        "since": iso_time(begin),
        "time": iso_time(now),
        "jobs": [_summary(row, begin) for row in rows],
        "alerts": [
            {
                "id": alert.ref, "alert": alert.id, "severity": alert.severity, "machine": alert.machine_name,
                "item": alert.item_name, "opened": iso_time(alert.opened), "title": alert.title, "text": alert.text,
            }
            for alert in alerts
        ],
    }  # fmt: skip


def _summary(row: Summary, begin: int) -> dict[str, object]:
    one = row.series
    return {
        "vault": one.vault, "machine": one.machine, "item": one.item, "kind": one.kind, "level": one.level,
        "runs": row.runs, "completed": row.completed, "with_warnings": row.warnings, "failed": row.failed,
        "killed": row.killed, "skipped": row.skipped, "missed": row.missed,
        "last_success": iso_time(row.success.started) if row.success else None,
        "last_outcome": row.last.outcome if row.last else None,
        "expected_by": iso_time(one.expected) if one.expected is not None else None,
        "next": iso_time(one.next) if one.next is not None else None,
        "overdue": row.overdue, "paused": one.paused, "bytes": row.bytes, "bytes_before": row.before,
        "files": row.files, "new_bytes": row.new_bytes, "median_seconds": round(row.took, 3),
        "history": [_run(ran) for ran in one.runs if ran.started >= begin],
    }  # fmt: skip


def _run(ran: Ran) -> dict[str, object]:
    return {
        "id": ran.id, "began": iso_time(ran.started), "finished": iso_time(ran.finished) if ran.finished else None,
        "slot": iso_time(ran.slot) if ran.slot else None, "outcome": ran.outcome, "reason": ran.reason or None,
        "missed": ran.missed, "error": ran.error or None, "bytes": ran.bytes, "new_bytes": ran.new_bytes,
        "files": ran.files, "problem_count": ran.problem_count,
        "problems": [text_json("path", path) for path in ran.problems],
    }  # fmt: skip
