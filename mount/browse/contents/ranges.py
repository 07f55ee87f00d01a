"""Conditional requests and ranges (RFC 9110), as far as downloads need them. No I/O.

One range is honoured. What asks for several gets the whole, so that nobody makes an answer larger than the file.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})", re.ASCII)
_TAG = re.compile(r'(?:W/)?("[^"]*")')
_LONGEST = 4096  # characters of a header that are looked at


class Part(NamedTuple):
    """Bytes from `start` to before `end`."""

    start: int
    end: int


class Unsatisfiable(Exception):
    """The range lies beyond the end."""


def part_of(header: str | None, length: int) -> Part | None:
    """The part that a Range header asks for; None for the whole, which a malformed one asks for, too.

    Raises Unsatisfiable.
    """
    found = _RANGE.fullmatch(header.strip()) if header is not None and len(header) < _LONGEST else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        last = int(found[2])
        if not last or not length:
            raise Unsatisfiable
        return Part(max(length - last, 0), length)
    start = int(found[1])
    if found[2] and int(found[2]) < start:
        return None
    if start >= length:
        raise Unsatisfiable
    return Part(start, min(int(found[2]) + 1, length) if found[2] else length)


def is_current(if_range: str | None, etag: str) -> bool:
    """Whether a range may be answered: If-Range is missing, or names this very content. Dates never do."""
    return if_range is None or (bool(etag) and if_range.strip() == quoted(etag))


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether the browser has this content already."""
    if if_none_match is None or not etag or len(if_none_match) > _LONGEST:
        return False
    return if_none_match.strip() == "*" or quoted(etag) in _TAG.findall(if_none_match)


def quoted(etag: str) -> str:
    return f'"{etag}"'
