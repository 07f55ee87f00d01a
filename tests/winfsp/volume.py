"""A mounted volume: its parameters as WinFsp's driver corrects them, its queue of requests, its dispatcher.

After WinFsp's src/sys/volume.c (parameters), src/sys/ioq.c (queue, time-out, stop) and src/dll/fs.c (dispatcher). A
request waits in the queue until a thread of the dispatcher takes it; whoever asked waits for it, but no longer than
the IRP time-out. Once the dispatcher is told to stop, nobody gets an answer any more, not even one under way.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, Literal

from tests.winfsp.layout import FLAGS, TIMEOUT_FLAGS, types
from tests.winfsp.status import NtError, Status, succeeded

Guard = Literal["exclusive", "shared", "none"]
IRP_TIMEOUT_DEBUG = 142  # ms; the only value outside 1 to 10 minutes that the driver lets pass
FOREVER = 0xFFFFFFFF


class Parameters:
    """FSP_FSCTL_VOLUME_PARAMS after the driver has looked it over; times in ms."""

    def __init__(self, raw: Any) -> None:
        def bounded(value: int, low: int, high: int, default: int) -> int:
            return value if low <= value <= high else default

        flags, timeouts = raw._Flags, raw._TimeoutFlags
        self.set = frozenset(name for name, bit in FLAGS.items() if flags & bit)
        self.sector_size = raw.SectorSize or 512
        self.sectors_per_unit = raw.SectorsPerAllocationUnit or 1
        self.max_component_length = raw.MaxComponentLength or 255
        self.creation_time = raw.VolumeCreationTime
        self.serial_number = raw.VolumeSerialNumber
        self.irp_timeout = bounded(raw.IrpTimeout, 60000, 600000, 300000)
        if raw.IrpTimeout == IRP_TIMEOUT_DEBUG:
            self.irp_timeout = IRP_TIMEOUT_DEBUG
        self.irp_capacity = bounded(raw.IrpCapacity, 100, 1000, 1000)
        self.file_info_timeout = raw.FileInfoTimeout

        def timeout(valid: str, value: int) -> int:
            return value if timeouts & TIMEOUT_FLAGS[valid] else self.file_info_timeout

        self.volume_info_timeout = timeout("volume_info_timeout_valid", raw.VolumeInfoTimeout)
        self.dir_info_timeout = timeout("dir_info_timeout_valid", raw.DirInfoTimeout)
        self.security_timeout = timeout("security_timeout_valid", raw.SecurityTimeout)
        self.stream_info_timeout = timeout("stream_info_timeout_valid", raw.StreamInfoTimeout)
        self.prefix = types.string(raw.Prefix).rstrip("\\")
        self.file_system_name = types.string(raw.FileSystemName)

    def __getattr__(self, name: str) -> bool:
        if name in FLAGS:
            return name in self.set
        raise AttributeError(name)

    @property
    def cached(self) -> bool:
        """Does the kernel keep file data? Only if what is known of a file never grows old."""
        return bool(self.file_info_timeout == FOREVER)


class _Irp:
    def __init__(self, run: Callable[[], int], guard: Guard) -> None:
        self.run = run
        self.guard = guard
        self.status: int | None = None
        self.done = threading.Event()


class _Lock:
    """A lock that many share or one holds."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._held = False

    @contextmanager
    def taken(self, guard: Guard) -> Any:
        if guard == "none":
            yield
            return
        with self._changed:
            if guard == "exclusive":
                self._changed.wait_for(lambda: not self._held and not self._sharing)
                self._held = True
            else:
                self._changed.wait_for(lambda: not self._held)
                self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                if guard == "exclusive":
                    self._held = False
                else:
                    self._sharing -= 1
                self._changed.notify_all()


class Volume:
    """What FspFileSystemCreate makes; `raw` is the FSP_FILE_SYSTEM."""

    def __init__(self, raw: Any, parameters: Parameters, interface: Any, network: bool) -> None:
        self.raw = raw
        self.parameters = parameters
        self.interface = interface
        self.network = network
        self.mount_point: str | None = None
        self.requests = 0  # answered by the file system so far
        self._lock = _Lock()
        self._queue: deque[_Irp] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._stopped = False
        self._processing: set[_Irp] = set()
        self._ready = not parameters.reject_irp_prior_to_transact0

    # --- the dispatcher ---

    @property
    def running(self) -> bool:
        return bool(self._threads)

    def start(self, threads: int) -> Status:
        if self._threads or self._stopped:
            return Status.INVALID_PARAMETER
        count = max(2, threads or min(16, max(4, len(os.sched_getaffinity(0)))))
        self._threads = [
            threading.Thread(target=self._dispatch, name=f"winfsp-{number}", daemon=True) for number in range(count)
        ]
        self._ready = True
        for thread in self._threads:
            thread.start()
        return Status.SUCCESS

    def stop(self) -> None:
        """Let the requests under way come to their end, and give nobody an answer any more."""
        with self._changed:
            self._stopped = True
            waiting = [*self._queue, *self._processing]
            self._queue.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = []
        for irp in waiting:
            irp.done.set()

    def _dispatch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._stopped)
                if self._stopped:
                    return
                irp = self._queue.popleft()
                self._processing.add(irp)
            with self._lock.taken(self._strategy(irp.guard)):
                status = irp.run()
            with self._changed:
                self._processing.discard(irp)
                if self._stopped:
                    continue  # the answer finds no request to belong to
                self.requests += 1
                irp.status = status
            irp.done.set()

    def _strategy(self, guard: Guard) -> Guard:
        return "exclusive" if self.raw.OpGuardStrategy else guard

    # --- requests ---

    def ask(self, what: str, run: Callable[[], int], guard: Guard = "none") -> int:
        """Have a thread of the dispatcher call `run`; its NTSTATUS if that is a success, else NtError."""
        irp = _Irp(run, guard)
        with self._changed:
            if self._stopped or not self._ready:
                raise NtError(Status.CANCELLED, what)
            if len(self._queue) >= self.parameters.irp_capacity:
                raise NtError(Status.INSUFFICIENT_RESOURCES, what)
            self._queue.append(irp)
            self._changed.notify()
        if not irp.done.wait(self.parameters.irp_timeout / 1000):
            with self._changed:
                if irp in self._queue:
                    self._queue.remove(irp)
            raise NtError(Status.CANCELLED, f"{what} (no answer within the IRP time-out)")
        if irp.status is None:
            raise NtError(Status.CANCELLED, what)
        if not succeeded(irp.status):
            raise NtError(irp.status, what)
        return irp.status
