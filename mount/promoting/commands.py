"""The command line of `rpdrive vault promote`; catalog/promotion does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import Json
from catalog.screen.output import print_json, say

app = typer.Typer(rich_markup_mode=None)
vault_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(vault_app, name="vault")


@vault_app.command("promote")
def promote(
    ctx: typer.Context,
    address: Annotated[str | None, typer.Argument(help="the copy's address; default: --vault")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do it though its source still answers")] = False,
    as_json: Json = False,
) -> None:
    """Make a copy of a vault a vault of its own, once the vault that it follows is lost.

    From then on it takes backups, and `rpdrive vault copy` writes to it no more. This machine uses it in place of
    the lost one.
    """
    from catalog.promotion.promote import promote as make
    from catalog.screen.text import iso_time
    from mount.login.this import LOGIN

    session: Session = ctx.obj
    session.vault_option = address or session.vault_option
    done = make(session, yes=yes, drives=LOGIN.readdress)
    if as_json:
        copy = done.vault.file.copy
        print_json({
            "vault": session.address, "id": done.vault.id.hex(), "of": None if copy is None else copy.of,
            "promoted": iso_time(done.since * 10**9), "was_before": done.was_before, "changed": done.lines,
        })  # fmt: skip
        return
    if done.was_before:
        say(f"The copy at {session.address} is a vault already")
    else:
        say(f"The copy at {session.address} is a vault now: back up into it")
    for line in done.lines:
        say(line)
