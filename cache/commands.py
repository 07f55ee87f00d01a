"""The commands `rpdrive cache …`: status and clear."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from catalog.access.session import Session
from catalog.screen.options import Json

if TYPE_CHECKING:
    from cache.disk import DiskCache

app = typer.Typer(rich_markup_mode=None)
cache_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Inspect and empty the cache on disk.")
app.add_typer(cache_app, name="cache")


def _disk(ctx: typer.Context) -> DiskCache:
    from cache.disk import DiskCache

    session: Session = ctx.obj
    return DiskCache(session.settings.cache)


@cache_app.command("status")
def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Show the size and contents of the cache."""
    disk = _disk(ctx)
    row = disk.status()
    disk.close()
    if as_json:
        import json

        import msgspec

        print(json.dumps(msgspec.to_builtins(row), indent=2))
        return
    from catalog.screen.text import size_text

    print(f"folder          {row.folder}")
    for part, what in ((row.data, "data"), (row.tree, "trees, records")):
        fault = f"; not in use: {part.fault}" if part.fault else ""
        used, limit = size_text(part.bytes), size_text(part.limit)
        print(f"{what:<15} {part.items:,} entries, {used} of {limit}{fault}")


@cache_app.command("clear")
def clear(ctx: typer.Context, as_json: Json = False) -> None:
    """Delete everything in the cache. Open drives stay usable, and fetch again what they need."""
    disk = _disk(ctx)
    before = disk.status().bytes
    disk.clear()
    freed = before - disk.status().bytes  # an empty cache occupies some bytes, too
    disk.close()
    if as_json:
        import json

        print(json.dumps({"folder": str(disk.folder), "freed": freed}))
        return
    from catalog.screen.text import size_text

    print(f"Freed {size_text(freed)} in {disk.folder}")
