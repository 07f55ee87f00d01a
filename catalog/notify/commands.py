"""The command lines of `rpdrive notify …`; show.py does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import Json

app = typer.Typer(rich_markup_mode=None)
notify_app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Set up who is told when protection stops working: mail, webhooks, other services and pings.",
)
set_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Add a target or replace it, and send a test message."
)
app.add_typer(notify_app, name="notify")
notify_app.add_typer(set_app, name="set")

Name = Annotated[str, typer.Option("--name", metavar="NAME", help="the name of the target")]
NoTest = Annotated[bool, typer.Option("--no-test", help="send no test message")]
CaFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="authorities (PEM) for the server's certificate, not the system's"),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="allow http to another machine: anybody can read it")]
Url = Annotated[
    str | None, typer.Argument(metavar="[URL]", help="the URL; without it, it is read from --url-file or asked for")
]
UrlFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="read the URL from a file: other users can see a command line")
]


@set_app.command("mail")
def set_mail(
    ctx: typer.Context,
    to: Annotated[list[str], typer.Option("--to", metavar="ADDRESS", help="who gets it; may be given again")],
    smtp: Annotated[str, typer.Option("--smtp", metavar="HOST[:PORT]", help="the mail server")],
    security: Annotated[str, typer.Option(metavar="KIND", help="starttls, tls or none")] = "starttls",
    user: Annotated[str | None, typer.Option(metavar="USER", help="the user at the server")] = None,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="a file with the password; without it, it is asked for")
    ] = None,
    sender: Annotated[str | None, typer.Option("--from", metavar="ADDRESS", help="the sender's address")] = None,
    ca_file: CaFile = None,
    name: Name = "mail",
    no_test: NoTest = False,
    as_json: Json = False,
) -> None:
    """Tell by mail."""
    from catalog.notify.show import mail_row, set_up

    session: Session = ctx.obj
    public, private = mail_row(to, smtp, security, user, password_file, sender, ca_file)
    set_up(session.settings, name, public, private, test=not no_test, as_json=as_json)


@set_app.command("webhook")
def set_webhook(
    ctx: typer.Context,
    url: Url = None,
    url_file: UrlFile = None,
    insecure: Insecure = False,
    ca_file: CaFile = None,
    name: Name = "webhook",
    no_test: NoTest = False,
    as_json: Json = False,
) -> None:
    """Tell by a POST of JSON to a URL. Headers with secrets belong into notify-secrets.toml."""
    from catalog.notify.show import set_up, url_row

    session: Session = ctx.obj
    public, private = url_row("webhook", url, url_file, ca_file, insecure=insecure)
    set_up(session.settings, name, public, private, test=not no_test, as_json=as_json)


@set_app.command("ping")
def set_ping(
    ctx: typer.Context,
    url: Url = None,
    url_file: UrlFile = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", metavar="KIND", help="only of these jobs, e.g. backup")
    ] = None,
    item: Annotated[list[str] | None, typer.Option("--item", metavar="ITEM", help="only of these items")] = None,
    insecure: Insecure = False,
    ca_file: CaFile = None,
    name: Name = "ping",
    no_test: NoTest = False,
    as_json: Json = False,
) -> None:
    """Give signs of life to a dead man's switch in the manner of Healthchecks: it tells when they stop."""
    from catalog.notify.show import set_up, url_row

    session: Session = ctx.obj
    public, private = url_row("ping", url, url_file, ca_file, insecure=insecure)
    public |= {key: value for key, value in (("kinds", kind), ("items", item)) if value}
    set_up(session.settings, name, public, private, test=not no_test, as_json=as_json)


@set_app.command("apprise")
def set_apprise(
    ctx: typer.Context,
    url: Url = None,
    url_file: UrlFile = None,
    name: Name = "apprise",
    no_test: NoTest = False,
    as_json: Json = False,
) -> None:
    """Tell by one of the services that the library apprise knows (needs `rpdrive[notify]`)."""
    from catalog.notify.show import set_up, url_row

    session: Session = ctx.obj
    public, private = url_row("apprise", url, url_file, None)
    set_up(session.settings, name, public, private, test=not no_test, as_json=as_json)


@notify_app.command("list")
def list_targets(ctx: typer.Context, as_json: Json = False) -> None:
    """List the targets, how deliveries go, and what is wrong with the configuration."""
    from catalog.notify.show import show_targets

    session: Session = ctx.obj
    show_targets(session.settings, as_json=as_json)


@notify_app.command("remove")
def remove(ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME")], as_json: Json = False) -> None:
    """Remove a target, and what waits for it."""
    from catalog.notify.show import remove as run

    session: Session = ctx.obj
    run(session.settings, name, as_json=as_json)


@notify_app.command("test")
def test(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="only this target")] = None,
    as_json: Json = False,
) -> None:
    """Send a test message to all targets, and say whether each took it."""
    from catalog.notify.show import test as run

    session: Session = ctx.obj
    run(session.settings, name, as_json=as_json)


@notify_app.command("flush")
def flush(ctx: typer.Context, as_json: Json = False) -> None:
    """Send now what waits for its targets, without regard to when the next attempt is due."""
    from catalog.notify.show import flush as run

    session: Session = ctx.obj
    run(session.settings, as_json=as_json)
