"""`local:N`: a scheduler in this process and N worker processes, for one command.

Each worker is a re-executed child that gets the vault's key through a pipe, as a background drive does. All of them
listen on the loopback address only, with TLS and a certificate that exists in their memory alone: another user of
this machine can connect, and gets no further. None of Dask's web pages is served.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import dask
import msgspec
from distributed import Client, Scheduler
from distributed.security import Security
from distributed.utils import LoopRunner

from catalog.access.settings import Settings
from catalog.errors import FleetFailed, LocalError
from catalog.interruption import deferred
from catalog.program import secret_environment
from mount.fleet import worker as work
from mount.fleet.dask_pool import DaskPool
from mount.fleet.dask_settings import CONFIG, HOST, Unserved, quiet
from mount.fleet.start import Start
from mount.process.started import Started, start
from mount.process.this import PROCESSES

_SPARE = 8  # for each worker, processes that are started in place of one that ended


class _Scheduler(Unserved, Scheduler):  # type: ignore[misc]
    pass


class LocalPool(DaskPool):
    """Implements Pool with `count` processes of this machine."""

    depth = 1

    def __init__(self, count: int, keys: work.Keys, settings: Settings) -> None:
        quiet()
        self._count, self._left = count, count * (1 + _SPARE)
        self._processes: list[tuple[Started, Path]] = []
        self._stack = ExitStack()
        try:
            self._stack.enter_context(dask.config.set(CONFIG))
            self._folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rpdrive-fleet-"))
            self._stack.callback(self._end_processes)
            security = Security.temporary()
            runner = LoopRunner(asynchronous=False)
            runner.start()
            self._stack.callback(runner.stop)
            self._scheduler = runner.run_sync(_scheduler, security, self._folder)
            self._stack.callback(runner.run_sync, self._scheduler.close)
            self._order = msgspec.msgpack.encode(
                Start(
                    scheduler=self._scheduler.address, certificate=security.tls_worker_cert,
                    private=security.tls_worker_key, folder=self._folder, master=keys.master, admin=keys.admin,
                    admin_private=keys.private, secrets=secret_environment(),
                )
            )  # fmt: skip
            for _ in range(count):
                self._start_process()
            client = Client(
                self._scheduler.address, security=security, loop=runner.loop, set_as_default=False,
                direct_to_workers=False,
            )  # fmt: skip
            super().__init__(client, "local")
        except OSError as e:
            self._stack.close()
            raise LocalError(f"the workers can't be started: {e}", "try again") from e
        except BaseException:
            self._stack.close()
            raise

    def _start_process(self) -> None:
        self._left -= 1
        log = Path(self._folder) / f"{self._left}.log"
        with deferred():
            started = start(PROCESSES, "mount.fleet.child", ("rpdrive", "fleet", "worker"), log)
            self._processes.append((started, log))
        os.close(started.answer)
        try:
            os.write(started.order, len(self._order).to_bytes(4, "big") + self._order)
        except BrokenPipeError:
            pass  # it has ended, and is replaced

    def members(self) -> Mapping[str, str]:
        for one in list(self._processes):
            started, log = one
            if started.process.poll() is None:
                continue
            self._processes.remove(one)
            os.close(started.order)
            if self._left <= 0:
                last = log.read_text(errors="replace").strip().rpartition("\n")[2]
                raise FleetFailed(f"the workers end by themselves: {last or started.process.returncode}")
            self._start_process()
        return super().members()

    @property
    def pids(self) -> list[int]:
        return [started.process.pid for started, _log in self._processes]

    def close(self) -> None:
        super().close()
        self._stack.close()

    def _end_processes(self) -> None:
        """End the workers: they do as soon as their pipe is closed."""
        for started, _log in self._processes:
            with suppress(OSError):
                os.close(started.order)
        for started, _log in self._processes:
            try:
                started.process.wait(5)
            except subprocess.TimeoutExpired:
                started.process.kill()
                started.process.wait()
        self._processes.clear()


async def _scheduler(security: Security, folder: str) -> Scheduler:
    # Dask puts its own folder before all others in sys.path. By default that is below a fixed name in /tmp, which
    # another user of this machine may have made first: programs of theirs would be loaded here.
    return await _Scheduler(
        host=HOST, port=0, protocol="tls", security=security, dashboard=False, local_directory=folder
    )
