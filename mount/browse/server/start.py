"""Starts the page of a vault, or speaks with the one that runs: there is one for each vault and user."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from catalog.access.session import Session
from catalog.errors import LocalError, NotFound, UsageError
from catalog.screen.options import importing
from mount.browse.server import telling
from mount.browse.server.control.base import Row
from mount.browse.server.control.this import ORDERS
from mount.browse.server.files import PageFiles

if TYPE_CHECKING:
    from mount.browse.options import Options

_STARTING = 10.0  # seconds that a page which holds the lock may need until it answers
_ENDING = 15.0  # seconds that it may need to end


def start(session: Session, told: Options) -> None:
    """Serve the page until it is stopped; if one runs for this vault, print a new link of that.

    Raises LocalError, UsageError, and what opening a vault raises.
    """
    files = PageFiles(session.settings, session.address)
    lock = files.lock()
    if lock is None:
        row = _ask(files, {"do": "link"}, _STARTING)
        if row is None:
            raise LocalError("a page of this vault runs, but does not answer", "end its process, and try again")
        check_same(row, told)
        telling.running(row, told, files)
        return
    with lock:
        vault = session.open_vault(meanwhile=importing("mount.browse.server.page"), reading=True)
        from mount.browse.server.page import serve

        serve(session, vault, told, files)


def check_same(row: Row, told: Options) -> None:
    """Refuse options that the page which runs does not have: its link would do what was forbidden. UsageError."""
    other = [
        name
        for name, differs in (
            ("--read-only", told.read_only and not row.get("read_only")),
            ("--allow-restore", not told.read_only and told.listen is not None and row.get("read_only")),
            ("--port", told.port and told.port != row.get("port")),
            ("--socket", told.socket is not None and str(told.socket) != row.get("socket")),
            ("--listen", told.listen is not None and told.listen.text != row.get("listening")),
        )
        if differs
    ]
    if other:
        raise UsageError(
            f"the page of this vault runs already, without {' and '.join(other)}",
            "end it first: `rpdrive browse --stop`",
        )


def order(session: Session, told: Options, *, link: bool, stop: bool) -> None:
    """`--link` and `--stop`. Raises NotFound if no page runs."""
    if link and stop:
        raise UsageError("--link and --stop can't be combined", "leave one of them out")
    files = PageFiles(session.settings, session.address)
    row = _ask(files, {"do": "link" if link else "stop"}, 0)
    if row is None:
        raise NotFound("no page of this vault runs here", "start it with `rpdrive browse`")
    if link:
        telling.link(row, told)
        return
    end = time.monotonic() + _ENDING
    while (lock := files.lock()) is None:
        if time.monotonic() > end:
            raise LocalError("the page was told to end, but has not ended yet", "look again with `rpdrive browse`")
        time.sleep(0.05)
    lock.close()


def _ask(files: PageFiles, order: Row, seconds: float) -> Row | None:
    """The answer of the page that runs; None if there is none within so many seconds."""
    end = time.monotonic() + seconds
    while (row := ORDERS.ask(files.orders, order)) is None:
        if time.monotonic() >= end:
            return None
        time.sleep(0.1)
    return row
