"""A pool of workers at a scheduler of Dask `distributed`. What goes there and comes back are bytes.

Dask pickles: who may talk to the scheduler runs code on its workers, and in this process. So it is reached over TLS
with certificates of both sides, unless its address is a loopback address or the person accepts that there is none.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import uuid
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from distributed import Client, Future
from distributed.security import Security

from catalog.errors import FleetFailed, UsageError
from mount.fleet.dask_settings import quiet
from mount.fleet.engine import Ended
from mount.fleet.worker import answer

ALLOW_PLAIN = "RPDRIVE_ALLOW_PLAIN_FLEET"
_CONNECT, _ASK, _GATHER = 15, 30, 120  # seconds
_TLS_ADVICE = "set distributed.comm.tls in Dask's configuration (docs/fleet.md)"


class DaskPool:
    """Implements Pool with a client of a scheduler. The pool closes it. `where` names the scheduler for people."""

    asked = staticmethod(answer)  # what runs on workers
    depth = 2

    def __init__(self, client: Client, where: str) -> None:
        self._client, self._where = client, where
        self._run = uuid.uuid4().hex[:12]
        self._numbers = itertools.count(1)
        self._out: dict[str, Future] = {}
        self._done: queue.SimpleQueue[tuple[Future, Ended]] = queue.SimpleQueue()

    def members(self) -> Mapping[str, str]:
        client = self._client
        try:
            if client.status != "running":
                raise OSError(client.status)
            found: dict[str, Any] = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=_ASK)
        except (OSError, TimeoutError, RuntimeError, AttributeError) as e:
            raise FleetFailed(f"the scheduler at {self._where} does not answer any more", "see its log") from e
        rows = found["workers"]
        return {str(at): str(row.get("host", at)) for at, row in rows.items() if row.get("status") != "closed"}

    def start(self, ticket: str, order: bytes, worker: str) -> None:
        try:
            future = self._client.submit(
                self.asked,
                order,
                key=f"rpdrive-{self._run}-{next(self._numbers)}",
                workers=[worker],
                allow_other_workers=False,
                retries=0,
                pure=False,
            )
        except (OSError, RuntimeError, ValueError) as e:
            raise FleetFailed(f"the scheduler at {self._where} takes nothing: {e}", "see its log") from e
        self._out[ticket] = future
        future.add_done_callback(partial(self._note, ticket))

    def _note(self, ticket: str, future: Future) -> None:
        """A future has ended: fetch its answer. Called in a thread of Dask's."""
        self._client.loop.add_callback(self._fetch, ticket, future)

    async def _fetch(self, ticket: str, future: Future) -> None:
        """Fetch an answer, in Dask's loop.

        If its worker is cut off just then, this waits until the scheduler gives the worker up, and for longer than
        that: the run has to go on meanwhile.
        """
        try:
            if future.status == "finished":
                data = await asyncio.wait_for(self._client.gather(future, asynchronous=True), _GATHER)
                ended = Ended(ticket, data)
            else:
                error = future.exception(asynchronous=True) if future.status == "error" else None
                ended = Ended(ticket, None, _reason(None if error is None else await error))
        except Exception as e:  # noqa: BLE001 - it is another process that decides what is raised here
            ended = Ended(ticket, None, _reason(e))
        self._done.put((future, ended))

    def ended(self, seconds: float) -> list[Ended]:
        found: list[Ended] = []
        try:
            row = self._done.get(timeout=seconds) if seconds else self._done.get_nowait()
            while True:
                future, ended = row
                if self._out.get(ended.ticket) is future:
                    self._out.pop(ended.ticket).release()
                    found.append(ended)
                row = self._done.get_nowait()
        except queue.Empty:
            return found

    def cancel(self, tickets: Iterable[str]) -> None:
        futures = [future for one in tickets if (future := self._out.pop(one, None)) is not None]
        if futures and self._client.status == "running":
            try:
                self._client.cancel(futures, force=True)
            except (OSError, TimeoutError, RuntimeError):
                pass  # the scheduler is gone, and with it what was queued

    def close(self) -> None:
        try:
            self._client.close(timeout=5)
        except (OSError, TimeoutError, RuntimeError):
            pass


def _reason(error: BaseException | None) -> str:
    """Why there is no answer, in one line, without what Dask says of arguments."""
    if error is None:
        return "it was cancelled"
    if isinstance(error, ImportError) or "deserialization" in str(error):  # of the function's name
        return "rpdrive can't be loaded there"
    return f"no answer ({type(error).__name__})"


def join(address: str, environ: Mapping[str, str] = os.environ) -> DaskPool:
    """The pool at `HOST:PORT` of a scheduler. Raises UsageError and FleetFailed."""
    parts = urlsplit(f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None or parts.path or parts.query or "@" in address:
        raise UsageError(
            f"dask://{address} is no address of a scheduler", "e.g. --on dask://scheduler.example:8786"
        )
    security = Security()
    try:
        security.get_connection_args("client")
    except (OSError, TypeError, ValueError) as e:
        files = f"{security.tls_ca_file}, {security.tls_client_cert}, {security.tls_client_key}"
        raise UsageError(f"the certificates {files} can't be used: {e}", _TLS_ADVICE) from e
    has_tls = bool(security.tls_ca_file and security.tls_client_cert)
    if not has_tls and not (_is_loopback(host) or environ.get(ALLOW_PLAIN) == "1"):
        raise UsageError(
            f"without TLS, everybody on the way to {host} could run programs on its workers, and here",
            f"{_TLS_ADVICE}, or set {ALLOW_PLAIN}=1 if you trust every network on the way",
        )
    at = f"{'tls' if has_tls else 'tcp'}://{address}"
    quiet()
    try:
        client = Client(at, security=security, timeout=_CONNECT, set_as_default=False, direct_to_workers=False)
    except (OSError, TimeoutError, ValueError, RuntimeError) as e:
        raise FleetFailed(
            f"there is no scheduler that answers at {at}", "start one: `dask scheduler` (docs/fleet.md)"
        ) from e
    return DaskPool(client, at)


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
