"""Commands about what a vault holds. They parse, call and print; imports that cost are inside them."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.session import Session

app = typer.Typer(rich_markup_mode=None)
vault_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Make, inspect and unlock vaults.")
app.add_typer(vault_app, name="vault")


@vault_app.command("create")
def create(
    ctx: typer.Context,
    address: Annotated[str | None, typer.Argument(help="where to make it; else --vault")] = None,
) -> None:
    """Make a vault."""
    from catalog.vault import create_vault

    session: Session = ctx.obj
    session.vault_option = address or session.vault_option
    passphrase = session.new_passphrase(session.passphrase_file, "RPDRIVE_PASSPHRASE", "Passphrase of the vault")
    vault = create_vault(session.open_store(), passphrase)
    session.settings.remember_vault(session.address, vault.id)
    print(f"Made the vault {vault.id.hex()} at {session.address}")
