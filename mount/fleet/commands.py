"""The command line of `rpdrive fleet`."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)
fleet = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(fleet, name="fleet", help="Check, prune, test and restore a vault by many processes or machines.")

On = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="FLEET",
        help="local:N, that many processes here; or dask://HOST:PORT, a scheduler's workers",
    ),
]
