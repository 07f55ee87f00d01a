"""Runs `rpdrive browse`."""

from __future__ import annotations

from contextlib import closing

from catalog.access.session import Session
from catalog.vault import Vault
from mount.browse.api.context import Context
from mount.browse.resources.opened import Opened
from mount.browse.server.serving import link, serve
from mount.browse.server.sockets import loopback


def run(session: Session, vault: Vault, *, port: int, read_only: bool) -> None:
    """Serve the page until it is stopped, after printing its link. Raises LocalError."""
    sockets = loopback(port)
    with closing(Opened(session, vault, read_only=read_only)) as opened:
        context = Context(opened)
        print(f"Open {link(context, sockets)}", flush=True)
        serve(context, sockets)
