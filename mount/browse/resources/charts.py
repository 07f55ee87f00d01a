"""Storage as a chart: one SVG document, complete in itself, in light and dark. Pure; every text is escaped."""

from __future__ import annotations

from html import escape

from catalog.screen.text import safe_text, size_text
from mount.browse.resources.storage import StoragePage, StorageRow

WIDTH, NARROW, WIDEST = 720, 320, 1_600  # px: of the chart as it is usually, at least, and at most
BARS, AXIS, LINE = 180, 24, 26  # px: the heights of all bars, of the dates below them, of the row of an item
ROOMY = 560  # px from which on the legend is beside the text above the bars
MOST = 25  # rows of a chart of items or machines: the table beside it has all
_STYLE = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#4a5568}"
    ".stored{fill:#2b6cb0}.new{fill:#a3bffa}.axis{stroke:#cbd5e0}.number{fill:#1a202c}"
    "@media(prefers-color-scheme:dark){text{fill:#a0aec0}.stored{fill:#63b3ed}.new{fill:#3c4f76}"
    ".axis{stroke:#4a5568}.number{fill:#e2e8f0}}"
    "@media(forced-colors:active){.stored{fill:CanvasText}.new{fill:GrayText}.axis{stroke:CanvasText}"
    "text{fill:CanvasText}}"
)


def chart(page: StoragePage, width: int = WIDTH) -> str:
    """The chart of a page: bars for days, or lines of bars for items and machines. XML 1.0, UTF-8.

    It is `width` px wide, and its texts are as large as those around it if it is shown so.
    """
    return _days(page, width) if page.by == "day" else _owners(page, width)


def _days(page: StoragePage, width: int) -> str:
    rows, above = page.rows, _above(width)
    most = max((max(row.stored, row.new) for row in rows), default=0)
    step = width / max(len(rows), 1)
    wide = max(step * 0.8, 1.0)
    bars = []
    for n, row in enumerate(rows):
        x = n * step + (step - wide) / 2
        for name, value in (("new", row.new), ("stored", row.stored)):
            high = _share(value, most) * BARS
            if value:
                bars.append(
                    f'<rect class="{name}" x="{x:.1f}" y="{above + BARS - high:.1f}" width="{wide:.1f}" '
                    f'height="{high:.1f}"><title>{_told(row)}</title></rect>'
                )
    dates = [
        f'<text x="{(n + 0.5) * step:.1f}" y="{above + BARS + 16}" text-anchor="{anchor}">'
        f"{_text(rows[n].label)}</text>"
        for n, anchor in _ticks(len(rows), 4 if width >= ROOMY else 2)
    ]
    axis = f'<line class="axis" x1="0" x2="{width}" y1="{above + BARS}" y2="{above + BARS}"/>'
    top = f"at most {size_text(most)} a day" if most else "nothing was added"
    inside = f"{_legend(top, width)}{''.join(bars)}{axis}{''.join(dates)}"
    return _svg(page, inside, width, above + BARS + AXIS)


def _ticks(count: int, parts: int) -> list[tuple[int, str]]:
    """The days with a date below them: the first, the last, and those between so many parts."""
    if count < 2:
        return [(n, "middle") for n in range(count)]
    places = sorted({*(count * part // parts for part in range(parts)), count - 1})
    return [(n, "start" if n == 0 else "end" if n == count - 1 else "middle") for n in places]


def _owners(page: StoragePage, width: int) -> str:
    rows, above, names = page.rows[:MOST], _above(width), width // 3
    most = max((max(row.stored, row.new) for row in rows), default=0)
    room, lines = width - names - 80, []
    for n, row in enumerate(rows):
        y = above + n * LINE
        lines.append(
            f"<g><title>{_told(row)}</title>"
            f'<text x="{names - 8}" y="{y + 17}" text-anchor="end">{_short(row.label, names // 8)}</text>'
            f'<rect class="new" x="{names}" y="{y + 4}" width="{_share(row.new, most) * room:.1f}" '
            f'height="18"/><rect class="stored" x="{names}" y="{y + 4}" '
            f'width="{_share(row.stored, most) * room:.1f}" height="18"/>'
            f'<text class="number" x="{width}" y="{y + 17}" text-anchor="end">{size_text(row.stored)}</text></g>'
        )
    more = f", the first {len(rows)} of {len(page.rows)}" if len(page.rows) > len(rows) else ""
    inside = f"{_legend(f'by {page.by}{more}', width)}{''.join(lines)}"
    return _svg(page, inside, width, above + max(len(rows), 1) * LINE)


def _svg(page: StoragePage, inside: str, width: int, height: int) -> str:
    title = f"Stored in the last {page.days} days, by {page.by}"
    said = (
        f"{size_text(page.total_stored)} stored of {size_text(page.total_new)} that were new."
        f"{f' Partial: {page.partial}.' if page.partial else ''} The table beside it has every number."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-labelledby="t d"><title id="t">{_text(title)}</title><desc id="d">{_text(said)}</desc>'
        f"<style>{_STYLE}</style>{inside}</svg>\n"
    )


def _above(width: int) -> int:
    """The height of what is above the bars."""
    return 24 if width >= ROOMY else 44


def _legend(text: str, width: int) -> str:
    y = _above(width) - 20
    return (
        f'<text x="0" y="14">{_text(text)}</text>'
        f'<rect class="new" x="{width - 250}" y="{y}" width="12" height="12"/>'
        f'<text x="{width - 232}" y="{y + 10}">new, uncompressed</text>'
        f'<rect class="stored" x="{width - 90}" y="{y}" width="12" height="12"/>'
        f'<text x="{width - 72}" y="{y + 10}">stored</text>'
    )


def _share(value: int, most: int) -> float:
    return min(max(value, 0) / most, 1.0) if most > 0 else 0.0


def _told(row: StorageRow) -> str:
    return _text(f"{row.label}: {size_text(row.stored)} stored, {size_text(row.new)} new, {row.points:,} points")


def _short(label: str, most: int) -> str:
    return _text(label if len(label) <= most else f"{label[: most - 1]}…")


def _text(text: str) -> str:
    """Text within XML: escaped, and without the characters that XML does not have."""
    return escape(safe_text(text.encode(errors="replace").decode()))
