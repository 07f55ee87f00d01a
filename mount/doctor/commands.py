"""The command line of `rpdrive doctor`; show.py does the work."""

from __future__ import annotations

import typer

from catalog.access.session import Session
from catalog.screen.options import Json

app = typer.Typer(rich_markup_mode=None)


@app.command("doctor")
def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Look at what breaks in practice: timer, plans, keys, tokens, clocks, room, permissions, drivers, messages.

    Changes nothing. Ends with 3 if something is wrong, or can't be found out.
    """
    session: Session = ctx.obj
    from mount.doctor.show import show_doctor

    code = show_doctor(session, as_json=as_json)
    if code:
        raise typer.Exit(code)
