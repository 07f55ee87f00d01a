"""Options that many commands share."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
MachineName = Annotated[
    str | None, typer.Option("--machine", metavar="MACHINE", help="only this machine (name or id)")
]
ItemName = Annotated[str | None, typer.Option("--item", metavar="ITEM", help="only this item (name or id)")]
Limit = Annotated[
    str | None,
    typer.Option(
        "--limit", metavar="RATE", help="at most so many bytes a second to and from the vault, e.g. 2M, or `off`"
    ),
]
LimitUp = Annotated[str | None, typer.Option("--limit-up", metavar="RATE", help="as --limit, to the vault only")]
LimitDown = Annotated[
    str | None, typer.Option("--limit-down", metavar="RATE", help="as --limit, from the vault only")
]
All = Annotated[bool, typer.Option("--all", help="include forgotten machines")]


def importing(module: str) -> Callable[[object], object]:
    """A function that imports a command's modules while `Session.open_vault` derives keys from a passphrase."""
    return lambda _store: import_module(module)
