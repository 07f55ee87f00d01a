"""The commands `rpdrive vault …`: who may reach a vault, and from where."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.access.session import NEW_PASSPHRASE, PASSPHRASE, Session
from catalog.errors import LocalError
from catalog.screen.options import Json
from catalog.screen.output import print_json
from catalog.store.roles import Role

if TYPE_CHECKING:
    from catalog.access.credentials import Credentials

app = typer.Typer(rich_markup_mode=None)
vault_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Make, inspect and unlock vaults.")
app.add_typer(vault_app, name="vault")

_MAY = {
    Role.RESTORE: "list, mount and restore",
    Role.BACKUP: "list, mount, restore and back up, but not delete or overwrite",
    Role.ADMIN: "everything",
}
_LONGEST_FILE = 64 << 10  # bytes


@vault_app.command("create")
def create(
    ctx: typer.Context,
    address: Annotated[str | None, typer.Argument(help="where to make it; else --vault")] = None,
    as_json: Json = False,
) -> None:
    """Make a vault, and remember it on this machine."""
    from catalog.vault import check_no_vault, create_vault

    session: Session = ctx.obj
    session.vault_option = address or session.vault_option
    check_no_vault(session.open_store())
    passphrase = session.new_passphrase(session.passphrase_file, PASSPHRASE, "Passphrase (16 characters or more)")
    vault = create_vault(session.open_store(), passphrase)
    session.settings.remember_vault(session.address, vault.id)
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
    session: Session = ctx.obj
    session.require(Role.ADMIN)
    vault = session.open_vault()
    vault.change_passphrase(session.new_passphrase(new_passphrase_file, NEW_PASSPHRASE, "New passphrase"))
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
    session: Session = ctx.obj
    session.require(role)

    from datetime import timedelta

    from catalog.access.credentials import issue
    from catalog.access.settings import write_private
    from catalog.screen.text import parse_duration
    from catalog.vault import read_vault_file

    lifetime = timedelta(seconds=parse_duration(expires)) if expires is not None else None
    made = issue(session.address, read_vault_file(session.open_store()).vault_id, role, lifetime)
    path = output or Path(f"rpdrive-{role}-{made.vault_id.hex()[:8]}.json")
    write_private(path, json.dumps(made.to_json(), indent=2).encode() + b"\n")
    warnings = _warnings(made)
    if as_json:
        print(json.dumps({"file": str(path), **_row(made), "warnings": warnings}, indent=2))
        return
    print(f"Wrote vault credentials into {path}")
    print(_text(made))
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
    session: Session = ctx.obj

    from catalog.access.credentials import read_credentials

    given = read_credentials(_read(file), str(file))
    vault = session.connect(given)
    if save_key:
        session.save_key(vault)
    if as_json:
        print(json.dumps({**_row(given), "saved_key": save_key}, indent=2))
        return
    print(f"Connected to {given.address}")
    print(_text(given))
    if given.tokens and session.environment_has_credentials():
        print(
            f"warning: credentials in the environment ({given.tokens.variables}) come before this token",
            file=sys.stderr,
        )


@vault_app.command("disconnect")
def disconnect(ctx: typer.Context, as_json: Json = False) -> None:
    """Forget a vault: its token, its saved key and its address. The vault itself stays as it is."""
    session: Session = ctx.obj
    address = session.address
    done = session.disconnect()
    if as_json:
        print(json.dumps({"vault": address, "disconnected": done}, indent=2))
    elif done:
        print(f"Forgot {address}; what was cached of it is encrypted, and goes with `rpdrive cache clear`")
    else:
        print(f"{address} was not known here")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as f:
            return f.read(_LONGEST_FILE)
    except OSError as e:
        raise LocalError(f"the vault credentials {file} can't be read: {e.strerror}") from e


def _row(made: Credentials) -> dict[str, Any]:
    row = made.to_json()
    return {
        "vault": row["address"],
        "id": row["vault"],
        "role": row["role"],
        "issued": row["issued"],
        "expires": row["expires"],
        "signed_by": made.token.signed_by if made.token else None,
        "enforced_by": "the server" if made.token is not None else "rpdrive only",
    }


def _text(made: Credentials) -> str:
    lines = [
        f"  vault    {made.vault_id.hex()} at {made.address}",
        f"  role     {made.role}: {_MAY[made.role]}",
        f"  expires  {made.expires:%Y-%m-%d %H:%M:%S} UTC",
    ]
    if made.tokens and made.token:
        lines.append(f"  token    {made.tokens.describe(made.token)}")
    else:
        lines.append("  token    none: the vault is a folder, and the role is only advice, which rpdrive follows;")
        lines.append("           what others can do in the folder is up to its permissions")
    return "\n".join(lines)


def _warnings(made: Credentials) -> list[str]:
    from catalog.access.credentials import DEFAULT_LIFETIME

    tokens, lifetime = made.tokens, made.expires - made.issued
    warnings = []
    if lifetime > DEFAULT_LIFETIME:
        end = tokens.revocation(made.token) if tokens and made.token else ""
        warnings.append(
            f"the file opens the store for {lifetime.days} days to whoever gets it" + (end and f"; {end}")
        )
    return warnings + (tokens.warnings(made.address) if tokens else [])
