"""JSON and tables on stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from catalog.errors import LocalError
from catalog.screen.text import safe_text, table


def for_stdout() -> Callable[[str], str]:
    """A function that prepares names for stdout: made safe on a terminal, elsewhere unchanged.

    Unchanged, names that are not UTF-8 are printed as the bytes they are.
    """
    return safe_text if sys.stdout.isatty() else str


def say(text: str) -> None:
    """Print a line for people. Names in it may hold control characters, which could act on a terminal."""
    print(safe_text(text))


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def print_last(text: str) -> str | None:
    """Print the result of what cannot be undone. Returns None, or why that failed; stdout then accepts no more."""
    try:
        print(text, flush=True)
        return None
    except (OSError, LocalError) as e:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes once more at its end
        return str(e.strerror if isinstance(e, OSError) else e)


def print_rows(
    head: Mapping[str, object],
    key: str,
    rows: Iterable[Mapping[str, object]],
    tail: Callable[[], Mapping[str, object]] = dict,
) -> None:
    """Print one JSON object, row by row: there may be millions. `tail()` gives its last fields."""
    print(json.dumps(head, indent=2).removesuffix("\n}") + f',\n  "{key}": [', end="")
    for n, row in enumerate(rows):
        print(",\n    " if n else "\n    ", json.dumps(row), sep="", end="")
    print("\n  ]", end="")
    for name, value in tail().items():
        print(f',\n  "{name}": {json.dumps(value)}', end="")
    print("\n}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table (`catalog.screen.text.table`), its texts made safe for a terminal."""
    print(table(columns, [[safe_text(text) for text in row] for row in rows]))
