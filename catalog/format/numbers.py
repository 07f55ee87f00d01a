"""The numbers in names of objects: the version of a record, the sequence of a point."""

from __future__ import annotations

import re

HIGHEST_NUMBER = 2**63 - 1  # names with higher ones are ignored
NUMBER = "([0-9]{8}|[1-9][0-9]{8,18})"
_NUMBERS = re.compile(NUMBER)
_OF_LEVEL = re.compile("([a-z]+)/([0-9a-f]{32})/([0-9]+)")


def written_number(number: int) -> str:
    """A sequence or version as names have it."""
    return f"{number:08d}"


def parsed_number(text: str) -> int | None:
    """The sequence or version that a name has; None for other texts, and for a number that is ignored."""
    return int(text) if _NUMBERS.fullmatch(text) and 0 < int(text) <= HIGHEST_NUMBER else None


def level_named(folder: str, name: str) -> tuple[bytes, int] | None:
    """The id and the number in the name `<folder>/<id>/<number>` of a record of a level; None for another name."""
    m = _OF_LEVEL.fullmatch(name)
    number = parsed_number(m[3]) if m and m[1] == folder else None
    return (bytes.fromhex(m[2]), number) if m and number is not None else None
