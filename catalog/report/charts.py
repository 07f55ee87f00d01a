"""Charts as SVG within a page: bars for runs, a line for sizes. Texts in them are escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from catalog.report.series import is_success
from catalog.schedule.history import Ran
from catalog.screen.text import duration_text, local_time, safe_text, size_text

_WIDTH, _BARS, _AXIS = 500, 90, 18  # px: of a chart, the height of its bars, and of the line of dates
_MOST = 240  # runs in a chart
_GAP = 1.5  # px


def run_chart(runs: Sequence[Ran], since: int, now: int) -> str:
    """A bar for each run at its time: as high as its new bytes (or its time), coloured by its outcome."""
    runs = [ran for ran in runs if since <= ran.started <= now][-_MOST:]
    if not runs:
        return '<p class="none">No runs in this time.</p>'
    by_bytes = any(ran.new_bytes for ran in runs)
    most = max([_value(ran, by_bytes) for ran in runs]) or 1
    span = max(now - since, 1)
    wide = max(min(_WIDTH / len(runs) * 0.7, 14), 2)
    bars = []
    for ran in runs:
        x = (ran.started - since) / span * (_WIDTH - wide)
        high = max(_value(ran, by_bytes) / most * (_BARS - 18), 4)
        if css_of(ran.outcome) == "bad":
            high = _BARS - 18  # so that nobody overlooks it
        elif not is_success(ran):
            high = 10
        bars.append(
            f'<rect class="{css_of(ran.outcome)}" x="{x:.1f}" y="{_BARS - high:.1f}" width="{wide - _GAP / 2:.1f}" '
            f'height="{high:.1f}" rx="1"><title>{escape(_told(ran))}</title></rect>'
        )
    top = size_text(int(most)) if by_bytes else duration_text(most)
    what = "new in a run, at most" if by_bytes else "a run took at most"
    return _svg(
        f'{"".join(bars)}<text class="top" x="0" y="10">{escape(top)} {what}</text>{_dates(since, now)}',
        f"Runs: {len(runs)}",
    )


def size_chart(runs: Sequence[Ran], since: int, now: int) -> str:
    """The sizes of what successful runs covered, as a line; "" with fewer than two of them."""
    points = [(ran.started, ran.bytes) for ran in runs if is_success(ran) and since <= ran.started <= now][-_MOST:]
    if len(points) < 2:
        return ""
    low, high = min(size for _, size in points), max(size for _, size in points)
    base = low - max((high - low) * 0.3, high * 0.02)
    span, tall = max(now - since, 1), max(high - base, 1)
    places = [
        (f"{(time - since) / span * _WIDTH:.1f}", f"{_BARS - (size - base) / tall * (_BARS - 20):.1f}")
        for time, size in points
    ]
    line = " ".join(f"{x},{y}" for x, y in places)
    area = f"{places[0][0]},{_BARS} {line} {places[-1][0]},{_BARS}"
    dots = "".join(
        f'<circle cx="{x}" cy="{y}" r="3"><title>{local_time(time)[:16]}: {size_text(size)}</title></circle>'
        for (x, y), (time, size) in zip(places, points, strict=True)
    )
    text = f"{size_text(points[0][1])} → {size_text(points[-1][1])}"
    return _svg(
        f'<polygon class="area" points="{area}"/><polyline class="line" points="{line}"/>{dots}'
        f'<text class="top" x="0" y="10">{escape(text)}</text>{_dates(since, now)}',
        "Size",
    )


def css_of(outcome: str) -> str:
    """The class of an outcome in the page's styles."""
    known = {"completed": "good", "completed with warnings": "warn", "failed": "bad", "killed": "bad"}
    return known.get(outcome, "idle")


def _value(ran: Ran, by_bytes: bool) -> float:
    return ran.new_bytes if by_bytes else max(ran.finished - ran.started, 0) / 1e9


def _told(ran: Ran) -> str:
    parts = [f"{local_time(ran.started)[:16]}: {ran.outcome}"]
    if ran.finished:
        parts.append(f"took {duration_text((ran.finished - ran.started) / 1e9)}")
    if ran.new_bytes:
        parts.append(f"{size_text(ran.new_bytes)} new")
    parts += [text for text in (ran.reason, ran.error) if text]
    return safe_text(", ".join(parts))[:400]


def _dates(since: int, now: int) -> str:
    rows = []
    for n in range(5):
        at = since + (now - since) * n // 4
        anchor = ("start", "middle", "middle", "middle", "end")[n]
        rows.append(
            f'<text class="date" x="{_WIDTH * n / 4:.0f}" y="{_BARS + _AXIS - 4}" text-anchor="{anchor}">'
            f"{local_time(at)[5:10]}</text>"
        )
    return f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{_BARS}" y2="{_BARS}"/>{"".join(rows)}'


def _svg(inside: str, label: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {_BARS + _AXIS}" role="img" aria-label="{escape(label)}">{inside}</svg>'
