"""The commands `rpdrive vault …`: who may reach a vault, and from where."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.access.settings import NEW_PASSPHRASE
from catalog.screen.options import Json
from catalog.screen.output import print_json
from catalog.store.roles import Role

app = typer.Typer(rich_markup_mode=None)
vault_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Make, inspect and unlock vaults.")
app.add_typer(vault_app, name="vault")


@vault_app.command("create")
def create(
    ctx: typer.Context,
    address: Annotated[str | None, typer.Argument(help="where to make it; else --vault")] = None,
    as_json: Json = False,
) -> None:
    """Make a vault, and remember it on this machine."""
    from catalog.access.vaults import make_vault

    session: Session = ctx.obj
    session.vault_option = address or session.vault_option
    vault = make_vault(session)
    if as_json:
        print_json({"vault": session.address, "id": vault.id.hex()})
        return
    print(f"Made the vault {vault.id.hex()} at {session.address}")
    print("Keep the passphrase in a safe place, away from this machine: without it, nothing in the vault can")
    print("ever be read again, by anybody.")


@vault_app.command("info")
def info(
    ctx: typer.Context,
    sizes: Annotated[bool, typer.Option("--sizes", help="add up stored bytes (lists every object)")] = False,
    as_json: Json = False,
) -> None:
    """Show the vault's id, keys, machines, items and points."""
    from catalog.access.listing import vault_json, vault_text

    session: Session = ctx.obj
    row = vault_json(session.open_vault(), sizes=sizes)
    if as_json:
        print_json(row)
    else:
        print(vault_text(row))


@vault_app.command("passphrase")
def passphrase(
    ctx: typer.Context,
    new_passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"read the new one from a file; else {NEW_PASSPHRASE}")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change the passphrase. The keys of the data stay: this is no revocation."""
    from catalog.access.passphrases import GivenPassphrases
    from catalog.access.vaults import change_passphrase

    session: Session = ctx.obj
    vault = change_passphrase(session, GivenPassphrases(new_passphrase_file, NEW_PASSPHRASE))
    if as_json:
        print_json({"vault": session.address, "id": vault.id.hex(), "number": vault.file.number})
        return
    print(f"Changed the passphrase of {session.address}")
    print("This is no revocation: whoever had the old passphrase and a copy of vault.json, or of vault/, keeps")
    print("access, and keys saved by `rpdrive vault unlock --save` still open the vault.")


@vault_app.command("unlock")
def unlock(
    ctx: typer.Context,
    save: Annotated[bool, typer.Option("--save", help="keep the key, for your user alone, until `lock`")] = False,
    as_json: Json = False,
) -> None:
    """Check the passphrase; with --save, keep the key.

    A kept key opens the vault for your user on this machine, and no passphrase is asked for until `lock`.
    """
    session: Session = ctx.obj
    vault = session.open_vault(saved=False)
    where = session.save_key(vault) if save else None
    if as_json:
        row = {"vault": session.address, "id": vault.id.hex(), "saved": str(where) if where else None}
        print_json(row)
    elif where:
        print(f"Saved the key of {session.address} in {where}")
    else:
        print(f"The passphrase of {session.address} is right; --save would keep the key on this machine")


@vault_app.command("lock")
def lock(ctx: typer.Context, as_json: Json = False) -> None:
    """Delete the key that `unlock --save` kept."""
    session: Session = ctx.obj
    deleted = session.delete_key()
    if as_json:
        print_json({"vault": session.address, "deleted": deleted})
    elif deleted:
        print(f"Deleted the saved key of {session.address}")
    else:
        print(f"No key of {session.address} was saved here")


@vault_app.command("credentials")
def credentials(
    ctx: typer.Context,
    role: Annotated[Role, typer.Option(help="what they are for")],
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="how long they are good: 12h, 10d (the default), 4w")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="where to write them")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a vault credentials file, with which another machine can reach the vault for a while.

    It holds the vault's address and an access token of the role, never the passphrase.
    """
    from catalog.access.listing import credentials_json, credentials_text, credentials_warnings
    from catalog.access.vaults import write_credentials

    session: Session = ctx.obj
    path, made = write_credentials(session, role, expires, output)
    warnings = credentials_warnings(made)
    if as_json:
        print_json({"file": str(path), **credentials_json(made), "warnings": warnings})
        return
    print(f"Wrote vault credentials into {path}")
    print(credentials_text(made))
    print("The passphrase is not in it: tell it by another way.")
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


@vault_app.command("connect")
def connect(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="vault credentials")],
    save_key: Annotated[
        bool, typer.Option("--save-key", help="keep the key too, so that no passphrase is asked for")
    ] = False,
    as_json: Json = False,
) -> None:
    """Connect this machine to a vault by a vault credentials file, or renew its connection.

    Asks for the passphrase, and remembers address and token for your user.
    """
    from catalog.access.listing import credentials_json, credentials_text
    from catalog.access.vaults import connect as connect_by

    session: Session = ctx.obj
    given = connect_by(session, file, save_key=save_key)
    if as_json:
        print_json({**credentials_json(given), "saved_key": save_key})
        return
    print(f"Connected to {given.address}")
    print(credentials_text(given))
    if given.tokens and session.environment_has_credentials():
        variables = given.tokens.variables
        print(f"warning: credentials in the environment ({variables}) come before this token", file=sys.stderr)


@vault_app.command("disconnect")
def disconnect(ctx: typer.Context, as_json: Json = False) -> None:
    """Forget a vault: its token, its saved key and its address. The vault itself stays as it is."""
    session: Session = ctx.obj
    address = session.address
    done = session.disconnect()
    if as_json:
        print_json({"vault": address, "disconnected": done})
    elif done:
        print(f"Forgot {address}; what was cached of it is encrypted, and goes with `rpdrive cache clear`")
    else:
        print(f"{address} was not known here")
