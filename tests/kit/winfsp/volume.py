"""A mounted volume: its parameters as WinFsp's driver corrects them, its queue of requests, its dispatcher.

After WinFsp's src/sys/volume.c (parameters), src/sys/ioq.c (queue, time-out, stop) and src/dll/fs.c (dispatcher). A
request waits in the queue until a thread of the dispatcher takes it; whoever asked waits for it, but no longer than
the IRP time-out. Reads, writes and listings may be left pending and answered later, by any thread. Once the
dispatcher is told to stop, nobody gets an answer any more, not even one under way.
"""

from __future__ import annotations

import itertools
import os
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, Literal

from tests.kit.winfsp import memory
from tests.kit.winfsp.layout import FLAGS, TIMEOUT_FLAGS, types
from tests.kit.winfsp.status import NtError, Status, succeeded

Guard = Literal["exclusive", "shared", "none"]
Run = Callable[[], "int | tuple[int, int]"]
IRP_TIMEOUT_DEBUG = 142  # ms; the only value outside 1 to 10 minutes that the driver lets pass
FOREVER = 0xFFFFFFFF


class Kind(IntEnum):
    CREATE = 1
    OVERWRITE = 2
    CLEANUP = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    QUERY_INFORMATION = 7
    SET_INFORMATION = 8
    FLUSH = 11
    QUERY_VOLUME = 12
    SET_VOLUME = 13
    QUERY_DIRECTORY = 14
    FILE_SYSTEM_CONTROL = 15
    QUERY_SECURITY = 19
    SET_SECURITY = 20
    QUERY_STREAMS = 21


_MAY_PEND = {Kind.READ, Kind.WRITE, Kind.QUERY_DIRECTORY}
_REQUEST = struct.Struct("<HHIQ")  # how FSP_FSCTL_TRANSACT_REQ begins: version, size, kind, hint
_RESPONSE = struct.Struct("<HHIQII")  # ..._RSP: version, size, kind, hint, information, status
current = threading.local()  # `context`: the FSP_FILE_SYSTEM_OPERATION_CONTEXT of a thread of a dispatcher


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
    def __init__(self, hint: int, kind: Kind, run: Run, guard: Guard) -> None:
        self.hint = hint
        self.kind = kind
        self.run = run
        self.guard = guard
        self.status: int | None = None
        self.information = 0
        self.done = threading.Event()


class _Lock:
    """A lock that many share or one holds."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._held = False

    @contextmanager
    def taken(self, guard: Guard) -> Iterator[None]:
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
        self.nodes: dict[str, Any] = {}  # contexts by name, where the volume has one for all handles of a file
        self.answered = 0  # requests
        self.left_pending = 0  # of them
        self._lock = _Lock()
        self._queue: deque[_Irp] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._stopped = False
        self._processing: dict[int, _Irp] = {}
        self._hints = itertools.count(1)
        self._ready = not parameters.reject_irp_prior_to_transact0

    # --- the dispatcher ---

    @property
    def running(self) -> bool:
        return bool(self._threads)

    def start(self, threads: int) -> Status:
        if self._threads or self._stopped:
            return Status.INVALID_PARAMETER
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        count = max(2, threads or min(16, max(4, processors)))
        self._threads = [
            threading.Thread(target=self._dispatch, name=f"winfsp-{number}", daemon=True) for number in range(count)
        ]
        self._ready = True
        for thread in self._threads:
            thread.start()
        return Status.SUCCESS

    def stop(self) -> None:
        """Let the pending requests finish; their answers are dropped.

        Those that were left pending are not waited for: their buffers are gone.
        """
        with self._changed:
            self._stopped = True
            waiting = [*self._queue, *self._processing.values()]
            self._queue.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = []
        for irp in waiting:
            irp.done.set()

    def _dispatch(self) -> None:
        request, response = types.new("FSP_FSCTL_TRANSACT_REQ *"), types.new("FSP_FSCTL_TRANSACT_RSP *")
        current.context = types.new("FSP_FILE_SYSTEM_OPERATION_CONTEXT *")
        current.context.Request, current.context.Response = request, response
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._stopped)
                if self._stopped:
                    return
                irp = self._queue.popleft()
                self._processing[irp.hint] = irp
            head = _REQUEST.pack(0, types.sizeof("FSP_FSCTL_TRANSACT_REQ"), irp.kind, irp.hint)
            types.memmove(request, head, len(head))
            with self._lock.taken(self._strategy(irp.guard)):
                result = irp.run()
            status, information = result if isinstance(result, tuple) else (result, 0)
            if status != Status.PENDING:
                self._complete(irp.hint, status, information)
            elif irp.kind not in _MAY_PEND:
                memory.fault(f"STATUS_PENDING for {irp.kind.name}, which can't be answered later")
                self._complete(irp.hint, Status.INTERNAL_ERROR, 0)
            else:
                self.left_pending += 1

    def _strategy(self, guard: Guard) -> Guard:
        return "exclusive" if self.raw.OpGuardStrategy else guard

    def _complete(self, hint: int, status: int, information: int) -> None:
        """Once the volume is stopped, or the request given up, an answer finds nothing that it belongs to."""
        with self._changed:
            irp = self._processing.pop(hint, None)
            if irp is None or self._stopped:
                return
            self.answered += 1
            irp.status, irp.information = status, information
        irp.done.set()

    def respond(self, raw: bytes) -> None:
        """FspFileSystemSendResponse."""
        _version, size, kind, hint, information, status = _RESPONSE.unpack_from(raw)
        if size < types.sizeof("FSP_FSCTL_TRANSACT_RSP"):
            memory.fault(f"a response of {size} bytes")
            return
        irp = self._processing.get(hint)
        if irp is not None and irp.kind != kind:
            memory.fault(f"a response of kind {kind} to a request of kind {irp.kind}")
        if status == Status.PENDING:
            memory.fault("a response that says STATUS_PENDING")
        self._complete(hint, status, information)

    # --- requests ---

    def ask(
        self, what: str, kind: Kind, run: Run, guard: Guard = "none", lend: tuple[Any, int] | None = None
    ) -> int:
        """Have a thread of the dispatcher call `run`, and lend it a buffer of so many bytes.

        What the answer says in `information`, if its NTSTATUS is a success; else NtError.
        """
        irp = _Irp(next(self._hints), kind, run, guard)
        if lend is not None:
            memory.lend(*lend)
        try:
            with self._changed:
                if self._stopped or not self._ready:
                    raise NtError(Status.CANCELLED, what)
                if len(self._queue) >= self.parameters.irp_capacity:
                    raise NtError(Status.INSUFFICIENT_RESOURCES, what)
                self._queue.append(irp)
                self._changed.notify()
            if not irp.done.wait(self.parameters.irp_timeout / 1000):
                what += " (no answer within the IRP time-out)"
            with self._changed:
                if irp in self._queue:
                    self._queue.remove(irp)
                self._processing.pop(irp.hint, None)
        finally:
            if lend is not None and irp.status is None:
                memory.take_back(lend[0])
            elif lend is not None:
                memory.give_back(lend[0])
        if irp.status is None:
            raise NtError(Status.CANCELLED, what)
        if not succeeded(irp.status):
            raise NtError(irp.status, what)
        return irp.information
