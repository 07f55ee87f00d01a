"""Serves the page of an open vault in this process, until it is stopped."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

from catalog.access.session import Session
from catalog.errors import LocalError
from catalog.screen.stderr import warn
from catalog.vault import Vault
from mount.browse.api.context import Context
from mount.browse.guard.door import Door, Guard
from mount.browse.guard.hosts import ListenedHosts, LoopbackHosts, Origin
from mount.browse.guard.sessions import TOKEN_SECONDS
from mount.browse.resources.opened import Opened
from mount.browse.server import sockets, telling
from mount.browse.server.app import page_guard
from mount.browse.server.control.base import Row
from mount.browse.server.control.this import ORDERS
from mount.browse.server.files import PageFiles
from mount.browse.server.serving import Listener, Serving, end_for_sure, signals

if TYPE_CHECKING:
    from mount.browse.options import Listen, Options


def serve(session: Session, vault: Vault, told: Options, files: PageFiles) -> None:
    """Serve until stopped; print where. The caller holds the page's lock. Raises LocalError and UsageError."""
    with ExitStack() as stack:
        own = sockets.loopback(told.port or None)
        listening = list(own.sockets)
        stack.callback(_close, list(own.sockets))
        if told.socket is not None:
            listening.append(stack.enter_context(sockets.unix(told.socket)))
        opened = stack.enter_context(closing(Opened(session, vault, read_only=told.read_only)))
        context = Context(opened)
        guard = page_guard(context)
        listeners = [Listener(Door(LoopbackHosts(), guard), listening)]
        if told.listen is not None:
            listeners += _listened(told.listen, files, context, guard, stack)
        serving = Serving(guard, listeners, idle=told.idle)

        def row() -> Row:
            return {
                "pid": os.getpid(), "vault": session.address, "notice": own.notice, "port": own.port,
                "socket": None if told.socket is None else str(told.socket),
                "url": f"http://127.0.0.1:{own.port}/#t={context.sessions.new_token()}",
                "listen": context.listened and f"{context.listened}/#t={context.sessions.new_token()}",
                "fingerprint": context.fingerprint, "read_only": told.read_only,
                "listening": told.listen and told.listen.text,
            }  # fmt: skip

        def answer(order: Row) -> Row:
            if order.get("do") == "link":
                return row()
            if order.get("do") == "stop":
                serving.stop("")
                return {"pid": os.getpid()}
            return {"error": "there is no such order"}

        def ready() -> None:
            telling.started(row(), told, files)
            forget = threading.Timer(TOKEN_SECONDS, _forget, (files,))
            forget.daemon = True
            forget.start()

        stack.callback(_forget, files)
        with signals(serving.stop), closing(ORDERS.serve(files.orders, answer)):
            serving.run(ready)
        end_for_sure(0)
        if serving.reason and not serving.reason.startswith("SIG"):
            warn(f"the page has ended: {serving.reason}")


def _forget(files: PageFiles) -> None:
    """Remove the file that led a browser to the page: its token is worth nothing any more."""
    with suppress(OSError, LocalError):
        files.redirect.unlink(missing_ok=True)


def _close(listening: list[sockets.Socket]) -> None:
    for one in listening:
        one.close()


def _listened(listen: Listen, files: PageFiles, context: Context, guard: Guard, stack: ExitStack) -> list[Listener]:
    """Listeners for other devices, by TLS: the app at one port, contents at the next. Raises as `sockets.named`."""
    from mount.browse.server.certificate import certificate

    made = certificate(files.certificates, listen.host)
    first, second = _ports(listen)
    stack.callback(_close, [*first, *second])
    app, contents = (Origin("https", listen.shown, found[0].getsockname()[1]) for found in (first, second))
    context.listened, context.fingerprint = str(app), made.fingerprint
    return [
        Listener(Door(ListenedHosts(app, contents, is_contents=False), guard), first, made.path),
        Listener(Door(ListenedHosts(app, contents, is_contents=True), guard), second, made.path),
    ]


def _ports(listen: Listen) -> tuple[list[sockets.Socket], list[sockets.Socket]]:
    """Sockets at the port that was asked for and the next one, or at two free ones."""
    if listen.port:
        first = sockets.named(listen.host, listen.port)
        try:
            return first, sockets.named(listen.host, listen.port % 65535 + 1)
        except BaseException:
            _close(first)
            raise
    return sockets.named(listen.host, 0), sockets.named(listen.host, 0)
