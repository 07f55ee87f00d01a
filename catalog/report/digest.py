"""The weekly digest: one event with what ran, what did not, and what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from catalog.alerts.state import Alert
from catalog.notify.event import Event, Severity, What
from catalog.report.series import Series, Summary, summarise
from catalog.report.wording import COLUMNS, alert_line, cells, counts_text, growth_text
from catalog.screen.text import local_time, safe_text, size_text, table

WEEK = 7 * 86400 * 10**9  # ns
_CELL = "padding:4px 12px 4px 0;border-bottom:1px solid #e2e8f0;text-align:left;white-space:nowrap"


def digest_of(series: Sequence[Series], alerts: Sequence[Alert], since: int, now: int, machine: str) -> Event:
    """The digest of a machine for a time (ns)."""
    rows = [summarise(one, since, now) for one in series]
    rows = [row for row in rows if row.runs or row.missed or row.skipped or row.series.expected is not None]
    bad = [row for row in rows if not row.is_well]
    title = f"weekly report: {counts_text(rows)}"
    words = [f"From {local_time(since)} to {local_time(now)}."]
    if bad:
        words.append("To look at: " + "; ".join(_name(row) for row in bad) + ".")
    elif rows:
        words.append("All is well.")
    else:
        words.append("Nothing ran, and nothing is planned here: `rpdrive protect` sets that up.")
    backups = [row for row in rows if row.series.kind == "backup"]
    stored = sum(row.new_bytes for row in backups)
    facts = {"Protected": size_text(sum(row.bytes for row in backups)), "New": size_text(stored)} if backups else {}
    growth = growth_text(backups)
    if growth:
        facts["Trend"] = growth
    lines = [table(COLUMNS, [[safe_text(c) for c in cells(row, now)] for row in rows])] if rows else []
    open_ = [alert_line(alert, now) for alert in alerts]
    if open_:
        lines.append("Open alerts:\n" + "\n".join(f"- {line}" for line in open_))
    summary = "\n".join(f"{name}: {value}" for name, value in facts.items())
    text = "\n\n".join(part for part in (" ".join(words), summary, *lines) if part)
    return Event(
        what=What.DIGEST, alert="digest", severity=Severity.INFO, time=now, title=title, text=text, machine=machine,
        fields=facts, html=_html(f"{machine}: {title}", words, facts, rows, open_, now),
    )  # fmt: skip


def _name(row: Summary) -> str:
    one = row.series
    what = f"{one.kind}{f' level {one.level}' if one.level else ''}{f' of {one.item}' if one.item else ''}"
    return safe_text(f"{what} ({'overdue' if row.overdue else row.last.outcome if row.last else ''})")


def _html(
    title: str, words: list[str], facts: dict[str, str], rows: list[Summary], open_: list[str], now: int
) -> str:
    """A page without pictures or styles elsewhere: programs for mail leave those out."""
    head = "".join(f'<th style="{_CELL};color:#718096">{escape(c.rstrip(">").capitalize())}</th>' for c in COLUMNS)
    body = "".join(
        f'<tr style="color:{"#1a202c" if row.is_well else "#c53030"}">'
        + "".join(f'<td style="{_CELL}">{escape(safe_text(c))}</td>' for c in cells(row, now))
        + "</tr>"
        for row in rows
    )
    parts = [f"<p>{escape(safe_text(' '.join(words)))}</p>"]
    parts += (
        ["<p>" + "<br>".join(f"{escape(n)}: <b>{escape(v)}</b>" for n, v in facts.items()) + "</p>"]
        if facts
        else []
    )
    if rows:
        parts.append(f'<table style="border-collapse:collapse;font-size:14px"><tr>{head}</tr>{body}</table>')
    if open_:
        parts.append(f"<h3>Open alerts</h3><ul>{''.join(f'<li>{escape(line)}</li>' for line in open_)}</ul>")
    return (
        '<!doctype html><html><body style="margin:0;padding:16px;font-family:system-ui,sans-serif;color:#1a202c">'
        f'<h2 style="font-size:18px">{escape(safe_text(title))}</h2>{"".join(parts)}'
        '<p style="color:#a0aec0;font-size:12px">Sent by rpdrive. `rpdrive report --html FILE` has charts.</p>'
        "</body></html>"
    )
