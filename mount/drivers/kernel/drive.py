"""The driver `kernel`: mounts a drive, passes requests from /dev/fuse to our session, and unmounts."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from cache.reader import Reader
from catalog.errors import MountFailed
from catalog.format.blocks import Buffer
from mount.drivers.kernel.connection import Ended
from mount.drivers.kernel.device import device_at, open_drive, read_ahead
from mount.drivers.kernel.session import Session
from mount.drivers.signals import on_signals
from mount.place.mounted import unmount
from mount.view.nodes import View

READ_AHEAD = 4 << 20  # bytes that the kernel reads ahead, in several reads of the largest size
BUFFER = 128 << 10  # bytes; the largest request that the kernel may send
_CONNECTIONS = Path("/sys/fs/fuse/connections")  # there if fusectl is mounted, as systemd does


class Stopped(BaseException):
    """The process was asked to end. Not an Exception: it must pass through the request that it interrupts."""


class Drive:
    """A `Driver` on Linux: `run` returns after an unmount, or on SIGTERM, SIGINT or SIGHUP."""

    name = "kernel"
    closable = None
    windows_names = False

    def __init__(
        self, view: View, reader: Reader, *, ready: Callable[[], None] = lambda: None, read_timeout: float = 60.0
    ) -> None:
        """`ready` is called once the drive is mounted. `read_timeout` is in seconds, see Session."""
        self.view = view
        self._descriptor = -1
        self._device: str | None = None  # as the kernel numbers it
        self._ready = ready
        self._reader = reader
        self._stopping = False
        self._session = Session(view, reader, self._write, read_timeout=read_timeout, abort=self._abort)
        self.errors = self._session.errors
        self.status = self._session.status

    @property
    def served(self) -> int:
        return self._session.served

    @property
    def calls(self) -> int:
        return self._session.calls

    @property
    def statfs_calls(self) -> int:
        return self._session.statfs_calls

    def _write(self, parts: Sequence[Buffer]) -> None:
        os.writev(self._descriptor, parts)

    def run(self, mount_point: str, *, allow_other: bool = False, at: str | None = None) -> None:
        self._session.for_others = allow_other
        self._descriptor = open_drive(at or mount_point, allow_other=allow_other)
        self._device = device_at(mount_point)
        try:
            with on_signals(self._stop):
                self._serve_until_stopped(mount_point)
        finally:
            self._session.close()
            # Ends the connection if it is still open. The number stays taken: a thread that is late with an answer
            # must not write it into a file that got the number meanwhile.
            nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(nowhere, self._descriptor, inheritable=False)
            os.close(nowhere)

    def _serve_until_stopped(self, mount_point: str) -> None:
        try:
            self._serve()
        except Ended:
            pass
        except Stopped:
            self._stopping = True
            if device_at(mount_point) == self._device:  # else it is another drive's mount by now
                unmount(Path(mount_point), lazy=True)

    def _abort(self) -> None:
        """End the drive at once: the thread that reads its requests is stuck."""
        if self._device is not None:
            with suppress(OSError):  # a thread that waits in the kernel for this very drive keeps a process alive
                (_CONNECTIONS / self._device.rpartition(":")[2] / "abort").write_text("1\n")
        os._exit(MountFailed.exit_code)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self._stopping:  # a further signal must not interrupt the unmount
            raise Stopped

    def _serve(self) -> None:
        buffer = bytearray(BUFFER)
        whole = memoryview(buffer)
        buffers = [buffer]
        session, answer, readv, descriptor = self._session, self._session.answer, os.readv, self._descriptor
        while not session.started:
            length = self._first(descriptor, buffers)
            answer(whole[:length])
            if not session.started:
                raise MountFailed("this kernel's FUSE is too old for the driver `kernel`", "use `--driver fuse`")
        read_ahead(self._device, READ_AHEAD)
        self._ready()
        ahead, requests = session.ahead, select.poll()
        requests.register(descriptor, select.POLLIN)
        with self._reader.without_waiting():
            while True:
                while ahead.pending and not requests.poll(0):
                    ahead.step()
                try:
                    length = readv(descriptor, buffers)
                except OSError as e:
                    if e.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                        continue  # the request was taken back
                    if e.errno in (errno.ENODEV, errno.ECONNABORTED):
                        return
                    raise
                answer(whole[:length])

    @staticmethod
    def _first(descriptor: int, buffers: list[bytearray]) -> int:
        try:
            return os.readv(descriptor, buffers)
        except OSError as e:
            raise MountFailed(f"no FUSE_INIT from the kernel: {e.strerror}") from e
