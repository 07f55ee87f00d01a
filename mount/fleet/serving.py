"""What a worker process of `local:N` does: it is a worker of Dask."""

from __future__ import annotations

import asyncio

import dask
from distributed import Worker
from distributed.security import Security

from mount.fleet import worker as work
from mount.fleet.dask_settings import CONFIG, HOST, Unserved, quiet
from mount.fleet.start import Start


class _Worker(Unserved, Worker):  # type: ignore[misc]
    pass


def serve(order: Start) -> None:
    """Be a worker until the scheduler is gone."""
    quiet()
    work.WORKER = work.Worker(work.Keys(order.master, order.admin, order.admin_private))
    security = Security(
        require_encryption=True, tls_ca_file=order.certificate, tls_client_cert=order.certificate,
        tls_client_key=order.private, tls_worker_cert=order.certificate, tls_worker_key=order.private,
        tls_scheduler_cert=order.certificate, tls_scheduler_key=order.private,
    )  # fmt: skip
    with dask.config.set(CONFIG):
        asyncio.run(_serve(order, security))


async def _serve(order: Start, security: Security) -> None:
    worker = _Worker(
        order.scheduler, nthreads=1, security=security, host=HOST, protocol="tls", memory_limit=0,
        local_directory=order.folder, dashboard=False,
    )  # fmt: skip
    async with worker:
        await worker.finished()
