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

# Of `restore`, and `fleet restore`.
OnConflict = Annotated[
    str | None,
    typer.Option(
        metavar="copy|overwrite|skip|newer",
        help="what to do if something else exists where a file belongs (default: copy)",
    ),
]
NoPermissions = Annotated[
    bool, typer.Option("--no-permissions", help="do not restore owners, permissions and ACLs")
]
TrustModes = Annotated[
    bool,
    typer.Option(
        "--trust-modes",
        help="restore set-user-id bits, capabilities and devices of another machine's point, too",
    ),
]
RestoreInclude = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="restore only what matches, as in .gitignore; may be repeated"),
]
RestoreExclude = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="leave out what matches, as in .gitignore; may be repeated"),
]
RestoreVerify = Annotated[
    bool,
    typer.Option("--verify", help="compare existing files by content, and read back what was written"),
]
# Of `prune`, and `fleet prune`.
PruneDryRun = Annotated[
    bool, typer.Option("--dry-run", "-n", help="change nothing, print what would go and what it would cost")
]
PruneTime = Annotated[
    str | None, typer.Option(metavar="TIME", help="stop after this time, e.g. 30m or 6h; the next run goes on")
]
PruneYes = Annotated[bool, typer.Option("--yes", help="confirm what is so unusual that prune would stop")]


def importing(module: str) -> Callable[[object], object]:
    """A function that imports a command's modules while `Session.open_vault` derives keys from a passphrase."""
    return lambda _store: import_module(module)
