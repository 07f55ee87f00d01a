"""Runs the page in this process until it is stopped: by a signal, by an order, or because nobody uses it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any, NamedTuple

import uvicorn

from catalog.screen.text import duration_text
from mount.browse.guard.door import App, Guard
from mount.browse.server.protocol import MOST_HEAD, PatientProtocol

KEEP_ALIVE = 30  # seconds that a connection may be silent between two requests
GRACE = 3  # seconds for requests that still run at the end
_HARD = 6.0  # seconds after the stop at which the process ends whatever still runs
_log = logging.getLogger("rpdrive.browse")


class Listener(NamedTuple):
    """An ASGI application and the sockets that listen for it; with a certificate (a PEM file), by TLS."""

    app: App
    sockets: list[socket]
    certificate: Path | None = None


class Serving:
    """Serves until stopped. `reason` says afterwards what ended it."""

    def __init__(self, guard: Guard, listeners: list[Listener], *, idle: float | None) -> None:
        """`idle`: seconds without a request or a job after which it ends; None: never."""
        self._guard, self._idle = guard, idle
        self._servers = [(_Server(_config(listener)), listener.sockets) for listener in listeners]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = threading.Event()
        self.reason = ""

    def stop(self, reason: str) -> None:
        """End soon. From any thread, any number of times, before it runs, too."""
        self.reason = self.reason or reason
        self._stopped.set()
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._end)
            except RuntimeError:
                pass  # the loop has ended

    def run(self, ready: Callable[[], None]) -> None:
        """Serve. `ready` is called in a thread once requests are answered; what it raises ends this."""
        asyncio.run(self._run(ready))

    async def _run(self, ready: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        if self._stopped.is_set():
            return
        tasks = [asyncio.ensure_future(server.serve(sockets)) for server, sockets in self._servers]
        watch = asyncio.ensure_future(self._watch())
        try:
            while not all(server.started for server, _sockets in self._servers):
                await asyncio.sleep(0.005)
                for task in tasks:
                    if task.done():
                        task.result()
            await asyncio.to_thread(ready)
            await asyncio.gather(*tasks)
        finally:
            watch.cancel()
            self._end()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._hang_up()
            self._loop = None

    def _end(self) -> None:
        if not self._guard.stopping.is_set():
            self._guard.stopping.set()
            self._guard.ending()
        for server, _sockets in self._servers:
            server.should_exit = True

    async def _hang_up(self) -> None:
        """Close the connections that are left: of browsers that keep one open, or have just come."""
        for server, _sockets in self._servers:
            for connection in list(server.server_state.connections):
                if connection.transport is not None:
                    connection.transport.abort()
        await asyncio.sleep(0.01)  # a transport closes its socket in the loop's next rounds

    async def _watch(self) -> None:
        while self._idle is not None:
            left = self._idle - self._guard.activity.idle()
            if left <= 0:
                self.stop(f"nobody used it for {duration_text(self._idle)}")
                return
            await asyncio.sleep(max(min(left, 60.0), 0.05))


class _Server(uvicorn.Server):
    """A server that leaves signals to us: there may be several in one process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(listener: Listener) -> uvicorn.Config:
    tls: dict[str, Any] = {}
    if listener.certificate is not None:
        tls = {"ssl_certfile": str(listener.certificate), "ssl_keyfile": str(listener.certificate)}
    return uvicorn.Config(
        listener.app, loop="asyncio", http=PatientProtocol, ws="none", lifespan="off", interface="asgi3",
        log_config=None, log_level=logging.CRITICAL, access_log=False, proxy_headers=False, server_header=False,
        timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=GRACE, h11_max_incomplete_event_size=MOST_HEAD,
        **tls,
    )  # fmt: skip


@contextmanager
def signals(stop: Callable[[str], None]) -> Iterator[None]:
    """While entered, Ctrl-C, SIGTERM and the end of the terminal call `stop`; a second one ends the process.

    After the first, the process ends within _HARD seconds, even if a request still waits for the store.
    """
    seen: list[int] = []

    def caught(number: int, _frame: object) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        end_for_sure(128 + number)
        stop(signal.Signals(number).name)

    before: dict[int, Any] = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # e.g. SIGHUP under nohup
            before[number] = signal.signal(number, caught)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_for_sure(code: int) -> None:
    """End the process in _HARD seconds if it still runs then: a thread may wait for the store."""
    timer = threading.Timer(_HARD, os._exit, (code,))
    timer.daemon = True
    timer.start()
