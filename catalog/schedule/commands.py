"""The command line of `rpdrive tick`; tick.py does the work."""

from __future__ import annotations

import typer

from catalog.access.session import Session
from catalog.screen.options import Json

app = typer.Typer(rich_markup_mode=None)


@app.command("tick", hidden=True)
def tick(ctx: typer.Context) -> None:
    """Start what is due by the plans of this machine. The timer runs this every five minutes."""
    from catalog.schedule.tick import tick

    session: Session = ctx.obj
    code = tick(session.settings)
    if code:
        raise typer.Exit(code)


timer = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Have due jobs started every five minutes.")
app.add_typer(timer, name="timer")


@timer.command("install")
def install() -> None:
    """Have the system look every five minutes what is due: by systemd, cron, or the Windows Task Scheduler."""
    from catalog.schedule.timers.this import install_timer

    for line in install_timer():
        print(line)


@timer.command("remove")
def remove() -> None:
    """Remove the timer: nothing runs by itself any more."""
    from catalog.schedule.timers.this import remove_timer

    for line in remove_timer() or ["There is no timer"]:
        print(line)


@timer.command("show")
def show(ctx: typer.Context, as_json: Json = False) -> None:
    """Show whether the timer is installed and fires, and what is due next."""
    from catalog.schedule.show import show_timer

    code = show_timer(ctx.obj, as_json=as_json)
    if code:
        raise typer.Exit(code)
