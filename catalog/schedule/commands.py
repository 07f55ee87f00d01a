"""The command line of `rpdrive tick`; tick.py does the work."""

from __future__ import annotations

import typer

from catalog.access.session import Session

app = typer.Typer(rich_markup_mode=None)


@app.command("tick", hidden=True)
def tick(ctx: typer.Context) -> None:
    """Start what is due by the plans of this machine. The timer runs this every five minutes."""
    from catalog.schedule.tick import tick

    session: Session = ctx.obj
    code = tick(session.settings)
    if code:
        raise typer.Exit(code)
