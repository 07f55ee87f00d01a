"""How Dask is set up in the processes of `local:N`, whatever its user has configured; and that it says nothing."""

from __future__ import annotations

import logging
from typing import Any

from distributed.http.routing import RoutingApplication
from tornado.httpserver import HTTPServer

HOST = "127.0.0.1"
CONFIG = {
    "distributed.scheduler.worker-ttl": "60s",
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.http.routes": [],
    "distributed.scheduler.preload": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.preload": [],
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.memory.pause": False,
    "distributed.client.preload": [],
    "distributed.admin.tick.interval": "500ms",  # by default 20: an idle process took 1 % of a processor, now 0.2
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.diagnostics.nvml": False,
    "distributed.comm.compression": None,
}


def quiet() -> None:
    """Keep Dask's log away from the person's terminal: what matters is told in our own lines."""
    logging.raiseExceptions = False
    known = [name for name in logging.root.manager.loggerDict if name.startswith("distributed.")]
    for name in ("distributed", "tornado", "asyncio", *known):  # Dask gives some of them levels of their own
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class Unserved:
    """Serves no web pages."""

    def start_http_server(self, *_given: Any, **_named: Any) -> None:
        self.http_application = RoutingApplication([])
        self.http_server = HTTPServer(self.http_application)
