"""A report as one HTML page: no script, nothing from elsewhere, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from catalog.alerts.state import Alert
from catalog.notify.event import Severity
from catalog.report.charts import css_of, run_chart, size_chart
from catalog.report.series import Summary
from catalog.report.wording import (
    COLUMNS,
    alert_line,
    cells,
    counts_text,
    growth_text,
    job_name,
    next_text,
)
from catalog.screen.text import counted, duration_text, local_time, safe_text, size_text

_MOST_FAULTS, _MOST_PROBLEMS = 50, 20
_STYLE = """
:root{--ink:#1a202c;--soft:#718096;--paper:#fff;--card:#f7fafc;--line:#e2e8f0;--good:#2f855a;--warn:#b7791f;
--bad:#c53030;--idle:#a0aec0;--blue:#2b6cb0}
@media (prefers-color-scheme:dark){:root{--ink:#e2e8f0;--soft:#a0aec0;--paper:#171923;--card:#1f2430;--line:#2d3748;
--good:#48bb78;--warn:#ecc94b;--bad:#fc8181;--idle:#718096;--blue:#63b3ed}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1100px;padding:28px 24px;background:var(--paper);
color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:24px;margin:0 0 2px}h2{font-size:18px;margin:32px 0 10px}h3{font-size:15px;margin:0 0 2px}
.soft,.none{color:var(--soft)}.verdict{border-left:5px solid var(--good);background:var(--card);padding:10px 16px;
margin:18px 0;border-radius:0 6px 6px 0}.verdict.bad{border-color:var(--bad)}
.tiles{display:flex;flex-wrap:wrap;gap:12px}.tile{background:var(--card);border:1px solid var(--line);
border-radius:8px;padding:10px 16px;min-width:130px}.tile b{display:block;font-size:20px}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13.5px}
th{color:var(--soft);font-weight:600;text-align:left}
th,td{padding:6px 14px 6px 0;border-bottom:1px solid var(--line);white-space:nowrap}
td.n,th.n{text-align:right}td.why{white-space:normal;min-width:240px}
.card{border:1px solid var(--line);border-radius:8px;padding:14px 18px;margin:12px 0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(380px,1fr));gap:0 16px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:8px 28px;margin-top:8px}
svg{width:100%;height:auto;display:block}svg text{font-size:11px;fill:var(--soft)}
.axis{stroke:var(--line)}rect.good{fill:var(--good)}rect.warn{fill:var(--warn)}rect.bad{fill:var(--bad)}
rect.idle{fill:var(--idle)}.line{fill:none;stroke:var(--blue);stroke-width:2}.area{fill:var(--blue);opacity:.12}
circle{fill:var(--blue)}.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}.idle{color:var(--idle)}
.dot::before{content:"";display:inline-block;width:9px;height:9px;border-radius:50%;background:currentColor;
margin-right:7px}ul{margin:6px 0;padding-left:20px}footer{margin-top:36px;color:var(--soft);font-size:12px}
@media print{.card{break-inside:avoid}body{padding:0}}
"""

_LEGEND = (
    '<p class="soft"><span class="dot good">completed</span> &ensp; '
    '<span class="dot warn">with warnings</span> &ensp; '
    '<span class="dot bad">failed or killed</span> &ensp; <span class="dot idle">skipped or interrupted</span></p>'
)


def page_of(rows: Sequence[Summary], alerts: Sequence[Alert], since: int, now: int, title: str) -> str:
    """A report about some jobs from one time to another (ns)."""
    backups = [row for row in rows if row.series.kind == "backup"]
    bad = [row for row in rows if not row.is_well]
    parts = [
        f"<h1>Backup report: {_text(title)}</h1>",
        f'<p class="soft">From {local_time(since)[:16]} to {local_time(now)[:16]}</p>',
        _verdict(rows, bad, alerts),
        _tiles(backups),
        _alerts(alerts, now),
        f"<h2>Jobs</h2>{_table(rows, now)}",
    ]
    if backups:
        parts.append(f"<h2>Backups</h2>{_LEGEND}" + "".join(_card(row, since, now) for row in backups))
    others = [row for row in rows if row.series.kind != "backup" and row.runs]
    if others:
        cards = "".join(_card(row, since, now) for row in others)
        parts.append(f'<h2>Upkeep and restores</h2><div class="pair">{cards}</div>')
    parts.append(_faults(rows, since))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head>\n<body>"
        f"{''.join(parts)}<footer>Made by rpdrive at {local_time(now)}.</footer></body></html>\n"
    )


def _text(text: str) -> str:
    return escape(safe_text(text))


def _verdict(rows: Sequence[Summary], bad: Sequence[Summary], alerts: Sequence[Alert]) -> str:
    severe = [alert for alert in alerts if alert.severity is not Severity.INFO]
    if not rows:
        return '<p class="verdict bad">Nothing ran, and nothing is planned.</p>'
    if bad or severe:
        what = [f"{job_name(r.series.kind, r.series.level)} {r.series.item}".strip() for r in bad]
        said = f"To look at: {', '.join(what)}." if what else ""
        said += f" {counted(len(severe), 'open alert')}." if severe else ""
        return f'<p class="verdict bad"><b>Something needs you.</b> {_text(said.strip())}</p>'
    return f'<p class="verdict"><b>All is well.</b> {_text(counts_text(rows))}.</p>'


def _tiles(backups: Sequence[Summary]) -> str:
    facts = [
        ("backups", str(sum(row.runs for row in backups))),
        ("protected", size_text(sum(row.bytes for row in backups))),
        ("files", f"{sum(row.files for row in backups):,}"),
        ("new", size_text(sum(row.new_bytes for row in backups))),
        ("trend of the size", growth_text(backups)),
    ]
    tiles = (f'<div class="tile"><b>{_text(value)}</b>{name}</div>' for name, value in facts if value)
    return f'<div class="tiles">{"".join(tiles)}</div>' if backups else ""


def _alerts(alerts: Sequence[Alert], now: int) -> str:
    if not alerts:
        return ""
    css = {Severity.INFO: "idle", Severity.WARNING: "warn", Severity.CRITICAL: "bad"}
    rows = "".join(
        f'<li><span class="{css[alert.severity]}">{escape(alert_line(alert, now))}</span>'
        f"{f'<br>{_text(alert.text)}' if alert.text else ''}</li>"
        for alert in alerts
    )
    return f"<h2>Open alerts</h2><ul>{rows}</ul>"


def _table(rows: Sequence[Summary], now: int) -> str:
    machines = len({row.series.machine for row in rows}) > 1
    columns = ("MACHINE", *COLUMNS) if machines else COLUMNS
    head = "".join(f"<th{_number(c)}>{escape(c.rstrip('>').capitalize())}</th>" for c in columns)
    body = []
    for row in rows:
        values = [*([row.series.machine] if machines else []), *cells(row, now)]
        css = "bad" if not row.is_well else "idle" if row.success is None else "warn" if row.warnings else "good"
        tds = [f"<td{_number(c)}>{_text(v)}</td>" for c, v in zip(columns, values, strict=True)]
        tds[0] = f'<td><span class="dot {css}">{_text(values[0])}</span></td>'
        body.append(f"<tr>{''.join(tds)}</tr>")
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(body)}</table></div>'


def _number(column: str) -> str:
    return ' class="n"' if column.endswith(">") else ""


def _card(row: Summary, since: int, now: int) -> str:
    one = row.series
    name = " · ".join(part for part in (one.machine, one.item, job_name(one.kind, one.level)) if part)
    facts = [counts_text([row])] if one.kind == "backup" else [counted(row.runs, "run")]
    facts += [f"took {duration_text(row.took)} (median)"] if row.took else []
    facts += [f"next {next_text(row)}"] if next_text(row) and not row.overdue else []
    sizes = size_chart(one.runs, since, now) if one.kind == "backup" else ""
    return (
        f'<div class="card"><h3>{_text(name)}</h3><div class="soft">{_text(", ".join(facts))}</div>'
        f'<div class="charts"><div>{run_chart(one.runs, since, now)}</div>'
        f"{f'<div>{sizes}</div>' if sizes else ''}</div></div>"
    )


def _faults(rows: Sequence[Summary], since: int) -> str:
    """What did not go well, newest first."""
    found = [
        (ran, row.series)
        for row in rows
        for ran in row.series.runs
        if ran.started >= since and (css_of(ran.outcome) in ("bad", "warn") or ran.outcome == "interrupted")
    ]
    found.sort(key=lambda pair: pair[0].started, reverse=True)
    if not found:
        return ""
    lines = []
    for ran, one in found[:_MOST_FAULTS]:
        why = escape(safe_text(ran.error or (f"{counted(ran.problem_count, 'file')}" if ran.problem_count else "")))
        paths = [safe_text(path.decode(errors="replace")) for path in ran.problems[:_MOST_PROBLEMS]]
        more = f"<ul>{''.join(f'<li>{escape(path)}</li>' for path in paths)}</ul>" if paths else ""
        lines.append(
            f'<tr><td>{local_time(ran.started)[:16]}</td><td><span class="dot {css_of(ran.outcome)}">'
            f"{_text(ran.outcome)}</span></td><td>{_text(job_name(one.kind, one.level))}</td>"
            f"<td>{_text(one.item)}</td>"
            f'<td class="why">{why}{more}</td></tr>'
        )
    left = f'<p class="soft">… and {len(found) - _MOST_FAULTS} more.</p>' if len(found) > _MOST_FAULTS else ""
    return f'<h2>What did not go well</h2><div class="wide"><table>{"".join(lines)}</table></div>{left}'
