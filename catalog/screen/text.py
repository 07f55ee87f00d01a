"""Sizes, times, names and tables as text. Cheap to import."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from catalog.errors import UsageError

_SIZE = r"(?ai)(\d{1,15}(?:\.\d{1,15})?) ?([KMGTP]?)(?:I?B)?"
_DURATION = r"(?ai)(\d{1,15}(?:\.\d{1,15})?) ?([smhdw])"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST = 100 * 365 * 86400  # seconds


def size_text(size: int) -> str:
    """Bytes as text: `17 B`, `1.2 GiB`."""
    if size < 1024:
        return f"{size} B"
    value, units = size / 1024, ["KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1023.95 and len(units) > 1:
        value /= 1024
        del units[0]
    return f"{value:.1f} {units[0]}"


def counted(number: int, thing: str, things: str = "") -> str:
    """`1 file`, `2,000 files`; `things` is the plural if it is not `thing` with an s."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def short_ids(ids: Sequence[str]) -> list[str]:
    """Ids cut to 8 digits, or to as many as distinguish them."""
    digits = 8
    while len({i[:digits] for i in ids}) < len(set(ids)):
        digits += 1
    return [i[:digits] for i in ids]


def parse_size(text: str) -> int:
    """Bytes, from a number and a unit K, M, G, T or P (powers of 1024): `500M`, `1.5 GiB`. Raises UsageError."""
    found = re.fullmatch(_SIZE, text.strip())
    if found is None:
        raise UsageError(f"{text!r} is not a size", "write e.g. 500M or 10G")
    return int(float(found[1]) * 1024.0 ** " KMGTP".index(found[2].upper() or " "))


def parse_duration(text: str) -> float:
    """Seconds, from a positive number and a unit: `90s`, `30m`, `6h`, `2d`, `1w`. Raises UsageError."""
    found = re.fullmatch(_DURATION, text.strip())
    seconds = float(found[1]) * _SECONDS[found[2].lower()] if found else 0.0
    if not 0 < seconds <= _LONGEST:
        raise UsageError(f"{text!r} is not a length of time", "write e.g. 90s, 30m, 6h or 2d")
    return seconds


def duration_text(seconds: float) -> str:
    """Seconds as text, in the two largest units: `45 s`, `5 h 59 min`."""
    left = max(int(seconds), 0)
    parts: list[str] = []
    for name, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= length or (name == "s" and not parts):
            parts.append(f"{left // length} {name}")
            left %= length
        elif parts:
            break
    return " ".join(parts[:2])


def local_time(ns: int) -> str:
    """A time (ns, UTC) as this machine's local time, to the second."""
    try:
        return datetime.fromtimestamp(ns // 10**9).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"@{ns // 10**9}"  # a file can have any number as its time


def iso_time(ns: int) -> str | None:
    """A time (ns) in UTC, ISO 8601, to the second; None outside the years 1 to 9999."""
    try:
        return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as text; a heading that ends in `>` aligns its column to the right."""
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
    """Bytes for --json. If they are not UTF-8, also as `<key>_bytes` (base64)."""
    try:
        return {key: value.decode()}
    except UnicodeDecodeError:
        return {key: value.decode(errors="replace"), f"{key}_bytes": base64.b64encode(value).decode()}


def safe_text(text: str) -> str:
    """Text that is safe on a terminal: control characters, which a name may contain, become `?`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in text)
