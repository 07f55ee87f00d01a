"""What the command prints: links, and how to reach the page from another machine. A browser is opened, too."""

from __future__ import annotations

import getpass
import html
import json
import os
import shlex
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.errors import RpdriveError
from catalog.screen.stderr import warn
from catalog.screen.text import safe_text

if TYPE_CHECKING:
    from mount.browse.options import Options
    from mount.browse.server.control.base import Row
    from mount.browse.server.files import PageFiles

_ADVICE = "each link works once, within two minutes; `rpdrive browse --link` prints another"


def started(row: Row, told: Options, files: PageFiles) -> None:
    """The page runs now. `row` is as for orders: url, port, socket, listen, fingerprint, notice."""
    if told.as_json:
        _json(row)
        return
    if row.get("notice"):
        warn(str(row["notice"]))
    print(f"The page of {safe_text(str(row['vault']))}:\n  {row['url']}")
    _listening(row)
    print(f"({_ADVICE}; Ctrl-C ends the page)", flush=True)
    _show(row, told, files)


def running(row: Row, told: Options, files: PageFiles) -> None:
    """The page ran before this command."""
    if told.as_json:
        _json(row)
        return
    print(f"The page of this vault runs already (process {row.get('pid')}):\n  {row['url']}")
    _listening(row)
    print(f"({_ADVICE}; `rpdrive browse --stop` ends the page)", flush=True)
    _show(row, told, files)


def link(row: Row, told: Options) -> None:
    """A new link of the page that runs."""
    if told.as_json:
        _json(row)
    else:
        print(row["url"])
        _listening(row)


def _json(row: Row) -> None:
    print(
        json.dumps({name: row.get(name) for name in ("url", "port", "socket", "listen", "fingerprint")}), flush=True
    )


def _listening(row: Row) -> None:
    if row.get("listen"):
        print(f"For another device:\n  {row['listen']}")
        print(f"  The certificate that it will warn of has the SHA-256\n  {row['fingerprint']}")


def _show(row: Row, told: Options, files: PageFiles) -> None:
    if told.opens and has_display(os.environ):
        open_browser(str(row["url"]), files.redirect)
    elif not row.get("listen"):
        print("From another machine, run this there, and open the link in its browser:")
        print(f"  {ssh_line(row, os.environ)}", flush=True)


def ssh_line(row: Row, environ: Mapping[str, str]) -> str:
    """The command that makes the page reachable at the same port of another machine."""
    port = row["port"]
    target = shlex.quote(str(row["socket"])) if row.get("socket") else f"localhost:{port}"
    where, more = safe_text(socket.gethostname()), ""
    connection = environ.get("SSH_CONNECTION", "").split()  # of the client and of us: address, port, address, port
    if len(connection) == 4:
        where = connection[2]
        more = "" if connection[3] == "22" else f"-p {shlex.quote(connection[3])} "
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "USER"
    return f"ssh {more}-L {port}:{target} {shlex.quote(f'{user}@{where}')}"


def has_display(environ: Mapping[str, str]) -> bool:
    """Whether a browser can be opened in front of the person: not over ssh, and not by root for somebody else."""
    if environ.get("SSH_CONNECTION") or environ.get("SUDO_UID"):
        return False
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def open_browser(url: str, redirect: Path) -> threading.Thread:
    """Open a browser in a thread, by a file of mode 0600 that leads to the URL: `ps` shows the file's name only.

    Some browsers can't read the file, so the link was printed, too.
    """

    def opened() -> None:
        import webbrowser

        from catalog.access.settings import write_private

        try:
            write_private(redirect, redirecting(url))
            webbrowser.open(redirect.as_uri())
        except (RpdriveError, OSError, webbrowser.Error) as e:
            warn(f"no browser could be opened: {e}")

    thread = threading.Thread(target=opened, name="browser", daemon=True)
    thread.start()
    return thread


def redirecting(url: str) -> bytes:
    """A document that leads to a URL."""
    safe = html.escape(url, quote=True)
    return (
        '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>rpdrive</title>'
        f'<meta http-equiv="refresh" content="0;url={safe}"><a href="{safe}">Open the page</a>\n'
    ).encode()
