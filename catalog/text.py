"""Sizes, times, names and tables as text. Costs nothing to import."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime


def size_text(size: int) -> str:
    """Bytes for people: `17 B`, `1.2 GiB`."""
    if size < 1024:
        return f"{size} B"
    value, units = size / 1024, ["KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1023.95 and len(units) > 1:
        value /= 1024
        del units[0]
    return f"{value:.1f} {units[0]}"


def local_time(ns: int) -> str:
    """A time (ns, UTC) as this machine's local time, to the second."""
    try:
        return datetime.fromtimestamp(ns // 10**9).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"@{ns // 10**9}"  # a file may carry any number as its time


def iso_time(ns: int) -> str | None:
    """A time (ns) in UTC, ISO 8601, to the second; None for one beyond the years 1 to 9999."""
    try:
        return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side; a heading that ends in `>` aligns its column to the right."""
    right = [c.endswith(">") for c in columns]
    lines = [[c.rstrip(">") for c in columns], *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def text_json(key: str, value: bytes) -> dict[str, str]:
    """Bytes for --json; `<key>_bytes` (base64) stands beside what is not UTF-8."""
    try:
        return {key: value.decode()}
    except UnicodeDecodeError:
        return {key: value.decode(errors="replace"), f"{key}_bytes": base64.b64encode(value).decode()}


def safe_text(text: str) -> str:
    """Text for a terminal: a name may hold control sequences, which must not act."""
    return "".join(c if c.isprintable() else "?" for c in text)
