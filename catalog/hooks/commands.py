"""The command line of `rpdrive hooks`; show.py does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import Json

app = typer.Typer(rich_markup_mode=None)
hooks = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Show and test the commands around jobs.")
app.add_typer(hooks, name="hooks")


@hooks.command("show")
def show(ctx: typer.Context, as_json: Json = False) -> None:
    """List the hooks of this machine, after checking that only this user and root may change them."""
    from catalog.hooks.show import show_hooks

    session: Session = ctx.obj
    show_hooks(session.settings, as_json=as_json)


@hooks.command("test")
def test(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="the hook, as `rpdrive hooks show` names it")],
    item: Annotated[str, typer.Option(metavar="NAME", help="the item that the hook gets to know")] = "test",
) -> None:
    """Run one hook as a job would, with RPDRIVE_KIND=test, and say how it ended."""
    from catalog.hooks.show import test_hook

    session: Session = ctx.obj
    test_hook(session.settings, name, item)
