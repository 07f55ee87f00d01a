"""The shell: one document for every screen, whose script shows the screen that the address names."""

from __future__ import annotations

from pathlib import Path

import jinja2

from mount.browse.guard.headers import START
from mount.browse.pages.static import StaticFile, hash_of, static_files

# What app.js imports: named in the shell, so that a browser fetches them at once and not one after the other.
PRELOADED = ("vendor/lit.js", "api.js", "basket.js", "components.js", "keys.js", "page.js", "text.js")


class Pages:
    """The shell and the static files, in memory."""

    def __init__(self) -> None:
        self.files: dict[str, StaticFile] = static_files()
        self.base = f"/static/{hash_of(self.files)}"
        template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
            (Path(__file__).parent / "shell.html").read_text("utf-8")
        )
        sheets = [name for name in self.files if name.endswith(".css")]
        self.shell = template.render(static=self.base, sheets=sheets, modules=PRELOADED, start=START).encode()
