"""The command lines of `rpdrive policy …`; show.py does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import ItemName, Json, MachineName, importing
from catalog.store.roles import Role

app = typer.Typer(rich_markup_mode=None)
policy_app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Set, show and list how long recovery points are kept, and preview what would go.",
)
app.add_typer(policy_app, name="policy")

_RULE = "RULE"
File = Annotated[Path | None, typer.Option("--file", metavar="FILE", help="read the fields from a TOML file")]
Zone = Annotated[str | None, typer.Option(metavar="ZONE", help="time zone of all times, e.g. Europe/Berlin")]
Daily = Annotated[str | None, typer.Option(metavar=_RULE, help="e.g. 30, or '30 days at 00:00, 18:00'")]
Weekly = Annotated[str | None, typer.Option(metavar=_RULE, help="e.g. '12 weeks on saturday at 18:00'")]
Monthly = Annotated[
    str | None, typer.Option(metavar=_RULE, help="e.g. '12 months on last saturday', '12 on day 1'")
]
Yearly = Annotated[str | None, typer.Option(metavar=_RULE, help="e.g. '10 years on last saturday of march'")]
Last = Annotated[str | None, typer.Option(metavar="NUMBER", help="keep so many of the newest points, too")]
Hourly = Annotated[str | None, typer.Option(metavar="HOURS", help="keep the first point of each hour so long, too")]
EraseAfter = Annotated[
    str | None, typer.Option(metavar="DAYS", help="remove older points, even if a rule would keep them")
]
UnsafeShort = Annotated[bool, typer.Option("--unsafe-short", help="accept less than 7 days, 4 weeks or 3 months")]


@policy_app.command("set")
def set_policy(
    ctx: typer.Context,
    *,
    zone: Zone = None,
    daily: Daily = None,
    weekly: Weekly = None,
    monthly: Monthly = None,
    yearly: Yearly = None,
    last: Last = None,
    hourly: Hourly = None,
    erase_after: EraseAfter = None,
    file: File = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="drop what this level said before, instead of changing it")
    ] = False,
    unsafe_short: UnsafeShort = False,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """Set how long points of the vault are kept, or with --machine or --item those of a machine or an item.

    Fields that are not given stay as they are; `off` switches a field off, `inherit` takes it from the wider level.
    """
    session: Session = ctx.obj
    session.require(Role.ADMIN)
    from catalog.policies.setting import read_fields

    given = _given(zone, daily, weekly, monthly, yearly, last, hourly, erase_after)
    fields = read_fields(file, given, needed=True)
    vault = session.open_vault(meanwhile=importing("catalog.policies.show"))
    from catalog.policies.show import set_policy as run

    run(session, vault, machine, item, fields, anew=replace, short=unsafe_short, as_json=as_json)


@policy_app.command("show")
def show(ctx: typer.Context, machine: MachineName = None, item: ItemName = None, as_json: Json = False) -> None:
    """Show the policy of the vault, a machine or an item, and which level each value comes from."""
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.policies.show"))
    from catalog.policies.show import show_policy

    show_policy(session, vault, machine, item, as_json=as_json)


@policy_app.command("preview")
def preview(
    ctx: typer.Context,
    *,
    zone: Zone = None,
    daily: Daily = None,
    weekly: Weekly = None,
    monthly: Monthly = None,
    yearly: Yearly = None,
    last: Last = None,
    hourly: Hourly = None,
    erase_after: EraseAfter = None,
    file: File = None,
    days: Annotated[int, typer.Option(min=0, max=3660, metavar="DAYS", help="how far to look ahead")] = 90,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """Show which points would go, now and on each day to come, and why. Nothing is removed or changed.

    With fields as `set` takes them, shows what would go if they were set.
    """
    session: Session = ctx.obj
    from catalog.policies.setting import read_fields

    fields = read_fields(file, _given(zone, daily, weekly, monthly, yearly, last, hourly, erase_after))
    vault = session.open_vault(meanwhile=importing("catalog.policies.show"))
    from catalog.policies.show import preview as run

    run(session, vault, machine, item, fields, days, as_json=as_json)


@policy_app.command("list")
def list_policies(ctx: typer.Context, as_json: Json = False) -> None:
    """List what the vault and each machine and item say themselves about how long points are kept."""
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.policies.transfer"))
    from catalog.policies.transfer import list_policies as run

    run(session, vault, as_json=as_json)


@policy_app.command("export")
def export(ctx: typer.Context, machine: MachineName = None, item: ItemName = None, as_json: Json = False) -> None:
    """Print policies as TOML, for `rpdrive policy import`: all of them, or what one machine or item says itself."""
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.policies.transfer"))
    from catalog.policies.transfer import export_policies

    export_policies(session, vault, machine, item, as_json=as_json)


@policy_app.command("import")
def import_(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", readable=False, help="a TOML file, as `export` prints it")
    ],
    *,
    unsafe_short: UnsafeShort = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="change nothing, say what would be set")] = False,
    as_json: Json = False,
) -> None:
    """Set the policies that a TOML file names to what it says. Others stay as they are."""
    session: Session = ctx.obj
    session.require(Role.ADMIN)
    vault = session.open_vault(meanwhile=importing("catalog.policies.transfer"))
    from catalog.policies.transfer import import_policies

    import_policies(session, vault, file, short=unsafe_short, dry_run=dry_run, as_json=as_json)


def _given(*values: str | None) -> dict[str, str | None]:
    names = ("zone", "daily", "weekly", "monthly", "yearly", "last", "hourly", "erase_after")
    return dict(zip(names, values, strict=True))
