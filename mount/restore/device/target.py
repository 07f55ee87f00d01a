"""A device that an image is written to: claimed, so that nobody mounts it meanwhile, and shown beforehand."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path
from types import TracebackType

from catalog.disks.devices import Device, claim, describe, is_device
from catalog.disks.geometry import look
from catalog.disks.probe import MEMBERS
from catalog.errors import LocalError, UsageError
from catalog.screen.text import counted, size_text

_ZEROOUT, _DISCARD, _REREAD = 0x127F, 0x1277, 0x125F
_RANGE = struct.Struct("=QQ")
_NO_DISCARD = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EREMOTEIO)
_SYNC = 256 << 20  # bytes written between two waits for the device: what a kill would cost stays small


class DeviceTarget:
    """A claimed device; a context manager. Raises LocalError if it can't be claimed, UsageError for no device."""

    def __init__(self, path: Path, *, write: bool) -> None:
        if not is_device(path):
            raise UsageError(f"{path} is not a device", "to restore an image as a file, use --to DIR")
        self._fd = claim(path, os.O_RDWR if write else os.O_RDONLY)
        self._unsynced = 0
        try:
            self.device: Device = describe(path, self._fd)
            self._forget_cache()
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> DeviceTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def contents(self) -> list[str]:
        """What is on it now, in lines for a person. Raises LocalError if it is a part of something larger."""
        found, table, slots = look(self._look, self.device.size)
        rows = [(str(self.device.path), found)]
        rows += [(f"{self.device.path} partition {s.partition.number}", s.contents) for s in slots]
        for name, contents in rows:
            if contents.kind in MEMBERS:
                raise LocalError(
                    f"{name} belongs to something larger: it is a {contents.kind}",
                    "take it out of its group or array, wipe its signature (`wipefs -a`), and run this again",
                )
        head = f"{self.device.path}: {size_text(self.device.size)}" + f", {self.device.model}" * bool(
            self.device.model
        )
        if table.kind:
            lines = [f"{head}, {counted(len(slots), 'partition')} ({table.kind})"]
            return lines + [
                f"  {s.partition.number}: {size_text(s.partition.size)}, {s.contents}"
                + f" ({s.partition.name})" * bool(s.partition.name)
                for s in slots
            ]
        return [f"{head}, {found}"]

    def _look(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._fd, length, offset)
        except OSError:
            return b""  # what can't be read can't be recognised

    def read(self, start: int, length: int) -> bytes:
        """What is there; less, or nothing, where the device can't read."""
        try:
            return os.pread(self._fd, length, start)
        except OSError:
            return b""

    def write(self, start: int, data: memoryview) -> None:
        """Write, and wait for the device now and then. Raises LocalError."""
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], start + done)
        except OSError as e:
            raise self._failed(start + done, e) from e
        self._wrote(len(data))

    def zero(self, start: int, length: int, *, discard: bool) -> None:
        """Make a range zeros; with `discard`, the device may let go the space. Raises LocalError."""
        if discard:
            try:
                fcntl.ioctl(self._fd, _DISCARD, _RANGE.pack(start, length))
                self._forget_cache()
                if self.is_zero(start, length):
                    return
            except OSError as e:
                if e.errno not in _NO_DISCARD:
                    raise self._failed(start, e) from e
        try:
            fcntl.ioctl(self._fd, _ZEROOUT, _RANGE.pack(start, length))
        except OSError as e:
            if e.errno not in _NO_DISCARD:
                raise self._failed(start, e) from e
            self.write(start, memoryview(bytes(length)))
        self._wrote(length)

    def is_zero(self, start: int, length: int) -> bool:
        data = self.read(start, length)
        return len(data) == length and data.count(0) == length

    def _wrote(self, length: int) -> None:
        self._unsynced += length
        if self._unsynced >= _SYNC:
            self.sync()

    def sync(self) -> None:
        """Wait until the device has all. Raises LocalError."""
        self._unsynced = 0
        try:
            os.fsync(self._fd)
        except OSError as e:
            raise self._failed(0, e) from e

    def end(self) -> None:
        """Wait until the device has all, let go the kernel's cache, and have it read the partitions again."""
        self.sync()
        self._forget_cache()
        try:
            fcntl.ioctl(self._fd, _REREAD)
        except OSError:
            pass  # a partition itself, or a device that has none

    def _forget_cache(self) -> None:
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def _failed(self, at: int, error: OSError) -> LocalError:
        return LocalError(
            f"{self.device.path} can't be written at byte {at}: {error.strerror}",
            "what it has now is incomplete: look after the device, then run this again, and it goes on",
        )
