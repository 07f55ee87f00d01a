"""The command lines of `rpdrive vault …`; actions.py does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.program import NEW_ADMIN_PASSPHRASE, NEW_PASSPHRASE
from catalog.screen.options import Json
from catalog.screen.output import print_json, say
from catalog.screen.stderr import warn
from catalog.screen.text import counted
from catalog.store.roles import Role

app = typer.Typer(rich_markup_mode=None)
vault_app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Create, inspect and unlock vaults, and connect machines to them.",
)
admin_app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="The key that signs policies and what upkeep may take away, and its passphrase.",
)
app.add_typer(vault_app, name="vault")
vault_app.add_typer(admin_app, name="admin")


@vault_app.command("create")
def create(
    ctx: typer.Context,
    address: Annotated[str | None, typer.Argument(help="the new vault's address; default: --vault")] = None,
    as_json: Json = False,
) -> None:
    """Create a vault and remember it on this machine."""
    from catalog.access.actions import make_vault

    session: Session = ctx.obj
    session.vault_option = address or session.vault_option
    vault = make_vault(session)
    if as_json:
        print_json({"vault": session.address, "id": vault.id.hex()})
        return
    say(f"Created the vault {vault.id.hex()} at {session.address}")
    print("Keep the passphrase in a safe place, away from this machine: without it, nothing in the")
    print("vault can ever be read again.")


@vault_app.command("info")
def info(
    ctx: typer.Context,
    sizes: Annotated[bool, typer.Option("--sizes", help="show stored bytes by kind (lists every object)")] = False,
    count: Annotated[
        bool, typer.Option("--count", help="count more than 100,000 points, too (lists every point)")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the vault's id, keys, machines, items and points."""
    from catalog.access.actions import show_vault

    show_vault(ctx.obj, sizes=sizes, count=count, as_json=as_json)


@vault_app.command("passphrase")
def passphrase(
    ctx: typer.Context,
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"read the new passphrase from a file; default: {NEW_PASSPHRASE}"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Change the passphrase. The data keys stay the same: this revokes no access."""
    from catalog.access.actions import change_passphrase
    from catalog.access.passphrases import GivenPassphrases

    session: Session = ctx.obj
    vault = change_passphrase(session, GivenPassphrases(new_passphrase_file, NEW_PASSPHRASE))
    if as_json:
        print_json({"vault": session.address, "id": vault.id.hex(), "number": vault.file.number})
        return
    say(f"Changed the passphrase of {session.address}")
    print("This revokes no access: the old passphrase still opens older copies of vault.json and vault/,")
    print("and keys saved by `rpdrive vault unlock --save` still open the vault.")


@admin_app.command("show")
def admin_show(ctx: typer.Context, as_json: Json = False) -> None:
    """Show the keys that sign, and what opens each."""
    from catalog.access.admin import admin_json, admin_text

    session: Session = ctx.obj
    vault = session.open_vault()
    rows = [admin_json(admin) for admin in vault.file.admins]
    if as_json:
        print_json({"vault": session.address, "admins": rows})
        return
    for row in rows:
        say(f"Admin key {admin_text(row)}")
    if not rows:
        say("The vault has no admin key; `rpdrive vault admin passphrase` makes one")


@admin_app.command("passphrase")
def admin_passphrase(
    ctx: typer.Context,
    new_admin_passphrase_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"read the new passphrase from a file; default: {NEW_ADMIN_PASSPHRASE}"),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="need no passphrase: the vault's own key opens the admin key")
    ] = False,
    forgotten: Annotated[
        bool, typer.Option("--forgotten", help="do not ask for the present passphrase, because it is lost")
    ] = False,
    as_json: Json = False,
) -> None:
    """Give the admin key a passphrase of its own, or another one.

    The vault gets a new key, with which all that counts is signed again. The old key then counts for nothing.
    """
    from catalog.access.admin import admin_json, admin_text, change_admin_passphrase
    from catalog.access.passphrases import GivenPassphrases

    session: Session = ctx.obj
    new = GivenPassphrases(new_admin_passphrase_file, NEW_ADMIN_PASSPHRASE)
    _vault, done = change_admin_passphrase(session, new, remove=remove, forgotten=forgotten)
    row = admin_json(done.admin)
    if as_json:
        removed = [key.hex() for key in done.removed]
        print_json({"vault": session.address, **row, "signed": done.signed, "removed": removed})
        return
    say(f"The admin key of {session.address} is {admin_text(row)}")
    gone = counted(len(done.removed), "earlier key")
    say(f"Signed {counted(done.signed, 'record')} again; {gone} left the vault")


@admin_app.command("unlock")
def admin_unlock(
    ctx: typer.Context,
    save: Annotated[bool, typer.Option("--save", help="save the key for your user until `admin lock`")] = False,
    as_json: Json = False,
) -> None:
    """Check the passphrase of the admin key; with --save, save the key, e.g. for a timer.

    With a saved key, your user on this machine signs without the passphrase, until `admin lock`.
    """
    from catalog.access.admin import unlock_admin

    session: Session = ctx.obj
    vault, where = unlock_admin(session, save=save)
    if as_json:
        print_json({"vault": session.address, "id": vault.id.hex(), "saved": where})
    elif where:
        say(f"Saved the admin key of {session.address} in {where}")
    elif save:
        say(f"The admin key of {session.address} has no passphrase of its own: there is nothing to save")
    else:
        say(f"The admin key of {session.address} opens; use --save to save it on this machine")


@admin_app.command("accept")
def admin_accept(
    ctx: typer.Context,
    keys: Annotated[
        list[str], typer.Argument(metavar="ID…", help="ids of the admin keys, or their first 8 digits")
    ],
    as_json: Json = False,
) -> None:
    """Accept a changed admin key on this machine, after you have compared its id: the warning ends."""
    session: Session = ctx.obj
    from catalog.access.admin import accept_admins

    new = accept_admins(session, keys)
    if as_json:
        print_json({"vault": session.address, "accepted": new})
    elif new:
        say(f"Accepted the admin key {' '.join(new)} of {session.address} on this machine")
    else:
        say(f"The admin keys of {session.address} were known on this machine")


@admin_app.command("lock")
def admin_lock(ctx: typer.Context, as_json: Json = False) -> None:
    """Delete the admin key that `admin unlock --save` saved."""
    session: Session = ctx.obj
    deleted = session.delete_admin_key()
    if as_json:
        print_json({"vault": session.address, "deleted": deleted})
    elif deleted:
        say(f"Deleted the saved admin key of {session.address}")
    else:
        say(f"No admin key of {session.address} is saved on this machine")


@vault_app.command("unlock")
def unlock(
    ctx: typer.Context,
    save: Annotated[bool, typer.Option("--save", help="save the key for your user until `lock`")] = False,
    as_json: Json = False,
) -> None:
    """Check the passphrase; with --save, save the key.

    A saved key opens the vault for your user on this machine, without the passphrase, until `lock`.
    """
    session: Session = ctx.obj
    vault = session.open_vault(saved=False)
    where = session.save_key(vault) if save else None
    if as_json:
        row = {"vault": session.address, "id": vault.id.hex(), "saved": str(where) if where else None}
        print_json(row)
    elif where:
        say(f"Saved the key of {session.address} in {where}")
    else:
        say(f"The passphrase of {session.address} is right; use --save to save the key on this machine")


@vault_app.command("lock")
def lock(ctx: typer.Context, as_json: Json = False) -> None:
    """Delete the key that `unlock --save` saved."""
    session: Session = ctx.obj
    deleted = session.delete_key()
    if as_json:
        print_json({"vault": session.address, "deleted": deleted})
    elif deleted:
        say(f"Deleted the saved key of {session.address}")
    else:
        say(f"No key of {session.address} is saved on this machine")


@vault_app.command("credentials")
def credentials(
    ctx: typer.Context,
    role: Annotated[Role, typer.Option(help="what the credentials allow")],
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="how long the file is valid, e.g. 12h or 4w; default: 10d")
    ] = None,
    locks: Annotated[
        bool, typer.Option("--locks", help="allow to lengthen the locks of objects, too (docs/protect.md)")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="the file to write; default: a new file in the current folder"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a vault credentials file for another machine.

    It gives access for a limited time: it contains the vault's address and an access token for the role, never the
    passphrase.
    """
    from catalog.access.actions import write_credentials
    from catalog.access.listing import credentials_json, credentials_text, credentials_warnings

    session: Session = ctx.obj
    path, made = write_credentials(session, role, expires, output, locks=locks)
    warnings = credentials_warnings(made)
    if as_json:
        print_json({"file": str(path), **credentials_json(made), "warnings": warnings})
        return
    say(f"Wrote vault credentials to {path}")
    print(credentials_text(made))
    print("The file does not contain the passphrase: send that through another channel.")
    for warning in warnings:
        warn(warning, prefix="warning")


@vault_app.command("protect")
def protect(
    ctx: typer.Context,
    *,
    immutable: Annotated[
        str | None, typer.Option(metavar="DAYS", help="keep every point for so many days at least, or `off`")
    ] = None,
    lock: Annotated[bool, typer.Option("--lock", help="lock --immutable: it can't be undone or shortened")] = False,
    soft_delete: Annotated[
        int | None, typer.Option(metavar="DAYS", help="keep forgotten points so long (14 to 180)")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="lock without asking")] = False,
    as_json: Json = False,
) -> None:
    """Show from whom the vault is kept, by what, and what is missing; or change the vault's own rules.

    What this machine's credentials may not read is shown as unknown.
    """
    from catalog.access.protecting import parse_days
    from catalog.access.protecting import protect as run
    from catalog.protect.rules import Change

    days = None if immutable is None else parse_days(immutable)
    run(ctx.obj, Change(days, lock, soft_delete), yes=yes, as_json=as_json)


@vault_app.command("connect")
def connect(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a vault credentials file")],
    save_key: Annotated[
        bool, typer.Option("--save-key", help="save the key, too, so that the vault opens without the passphrase")
    ] = False,
    accept_endpoint: Annotated[
        bool,
        typer.Option("--accept-endpoint", help="accept a server that the vault's address does not name"),
    ] = False,
    as_json: Json = False,
) -> None:
    """Connect this machine to a vault, or renew its connection.

    This needs the passphrase. The vault's address and token are remembered for your user.
    """
    from catalog.access.actions import connect as connect_by
    from catalog.access.listing import credentials_json, credentials_text

    session: Session = ctx.obj
    given = connect_by(session, file, save_key=save_key, accept_endpoint=accept_endpoint)
    if as_json:
        print_json({**credentials_json(given), "saved_key": save_key})
        return
    say(f"Connected to {given.address}")
    print(credentials_text(given))
    if given.tokens and session.environment_has_credentials():
        variables = given.tokens.variables
        warn(f"credentials in the environment ({variables}) come before this token", prefix="warning")


@vault_app.command("disconnect")
def disconnect(ctx: typer.Context, as_json: Json = False) -> None:
    """Forget a vault's token, saved key and address. The vault itself does not change."""
    session: Session = ctx.obj
    address = session.address
    done = session.disconnect()
    if as_json:
        print_json({"vault": address, "disconnected": done})
    elif done:
        say(f"Forgot {address}; its cached data is encrypted, and `rpdrive cache clear` deletes it")
    else:
        say(f"{address} was not known on this machine")
