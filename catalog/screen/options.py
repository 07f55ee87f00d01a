"""Options and output that many commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
MachineName = Annotated[str | None, typer.Option("--machine", metavar="MACHINE", help="a name or id")]
ItemName = Annotated[str | None, typer.Option("--item", metavar="ITEM", help="a name or id")]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def print_rows(head: dict[str, Any], key: str, rows: Iterable[Any], tail: Any = dict) -> None:
    """One JSON object, row by row: there may be millions. `tail()` gives its last fields."""
    print(json.dumps(head, indent=2).removesuffix("\n}") + f',\n  "{key}": [', end="")
    for n, row in enumerate(rows):
        print(",\n    " if n else "\n    ", json.dumps(row), sep="", end="")
    print("\n  ]", end="")
    for name, value in tail().items():
        print(f',\n  "{name}": {json.dumps(value)}', end="")
    print("\n}")
