"""The command line of `rpdrive vault cost`; show.py does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.screen.options import Json

app = typer.Typer(rich_markup_mode=None)
vault_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(vault_app, name="vault")


@vault_app.command("cost")
def cost(
    ctx: typer.Context,
    *,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="what something else would cost, e.g. tier=cool or machines=2000; repeatable"
        ),
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(metavar="FILE", help="a price table; default: prices.toml in the config folder")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="count every object of a large vault, not those of some machines")
    ] = False,
    as_json: Json = False,
) -> None:
    """Estimate what the vault costs by the month, and what restores and checks cost.

    With a size, e.g. --what-if "size=50GB files=10^6 machines=20 daily=30", no vault is needed.
    """
    from catalog.cost.show import show

    show(ctx.obj, what_if or [], prices, everything=everything, as_json=as_json)
