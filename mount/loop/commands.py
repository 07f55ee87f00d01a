"""The command lines of `rpdrive loop`; attaching.py does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.screen.options import Json

app = typer.Typer(rich_markup_mode=None)
loop = typer.Typer(help="Open disk images in a drive as loop devices.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(loop, name="loop")


@loop.command("attach")
def attach(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="an image in an open drive", readable=False)],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="mount its file system at an empty folder")
    ] = None,
    partition: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="mount this partition of the image")
    ] = None,
    without_journal: Annotated[
        bool,
        typer.Option("--without-journal", help="show a file system that was in use as it lies there: see the docs"),
    ] = False,
    as_json: Json = False,
) -> None:
    """Open an image as a loop device, read-only; with --to, mount it."""
    from mount.loop.show import show_attached

    show_attached(image, to, partition, without_journal=without_journal, as_json=as_json)


@loop.command("detach")
def detach(
    what: Annotated[
        Path, typer.Argument(metavar="DIR|DEVICE|IMAGE", help="as `rpdrive loop list` shows it", readable=False)
    ],
) -> None:
    """Unmount and detach an image."""
    from mount.loop.show import show_detached

    show_detached(what)


@loop.command("list")
def list_(as_json: Json = False) -> None:
    """List the images that are open as loop devices."""
    from mount.loop.show import show_list

    show_list(as_json=as_json)
