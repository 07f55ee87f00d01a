"""A file system that is frozen while its device is read, for a limited time, by a watchdog that thaws it.

The watchdog is a process of its own, locked in memory: it freezes, and thaws when it is told to, when this process
ends in whatever way, or when the time is over. A file system that stays frozen stops everything that writes to it.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from catalog.errors import LocalError, SnapshotFailed, SnapshotLost

LONGEST = 600  # s
_ANSWER = 30.0  # s for the watchdog to be ready, and for the kernel to freeze
WATCHDOG = """
import ctypes, fcntl, os, select, signal, sys
folder, seconds = int(sys.argv[1]), float(sys.argv[2])
for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(name, signal.SIG_IGN)
ctypes.CDLL(None).mlockall(3)
os.write(1, b"r")
if os.read(0, 1) == b"f":
    try:
        fcntl.ioctl(folder, 0xC0045877, 0)
    except OSError as e:
        os.write(1, b"e" + str(e.strerror).encode())
        sys.exit(1)
    try:
        os.write(1, b"f")
        in_time = bool(select.select([0], [], [], seconds)[0])
    finally:
        fcntl.ioctl(folder, 0xC0045878, 0)
    os.write(1, b"t" if in_time else b"l")
"""


class Frozen:
    """A frozen file system. Raises SnapshotFailed if it can't, or must not, be frozen.

    `own`: devices (st_dev) with files that rpdrive writes, which would stop itself.
    """

    def __init__(self, place: bytes, seconds: int, own: Iterable[int]) -> None:
        self._shown = os.fsdecode(place)
        folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            used = {
                *own,
                os.stat("/").st_dev,
                os.stat(tempfile.gettempdir()).st_dev,
                Path(sys.executable).stat().st_dev,
            }
            if os.fstat(folder).st_dev in used:
                raise SnapshotFailed(
                    f"{self._shown} can't be frozen: rpdrive, or the system itself, writes to it",
                    "leave out --freeze, or read it from a snapshot",
                )
            command = [sys.executable, "-I", "-S", "-c", WATCHDOG, str(folder), str(seconds)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                pass_fds=[folder], start_new_session=True, cwd="/",
            )  # fmt: skip
        finally:
            os.close(folder)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._is_over = False
        try:
            self._expect(b"r")
            os.write(self._to, b"f")
            self._expect(b"f")
        except BaseException:
            self.close()
            raise

    def _expect(self, word: bytes) -> None:
        said = os.read(self._from, 200) if select.select([self._from], [], [], _ANSWER)[0] else b""
        if said[:1] != word:
            reason = said[1:].decode(errors="replace") or "its watchdog doesn't answer"
            raise SnapshotFailed(f"{self._shown} can't be frozen: {reason}", "leave out --freeze")

    def check(self) -> None:
        """Raise SnapshotLost if it is no longer frozen."""
        if not self._is_over and select.select([self._from], [], [], 0)[0]:
            self.close()
            raise SnapshotLost(
                f"{self._shown} was thawed before its image was read: the time was over",
                "no recovery point was made; give it more time (--freeze), or put it on LVM",
            )

    def thaw(self) -> None:
        """Let it go on: all is read. Raises SnapshotLost if it was thawed before."""
        self.check()
        if self._is_over:
            return
        self._is_over = True
        os.write(self._to, b"t")
        said = os.read(self._from, 1) if select.select([self._from], [], [], _ANSWER)[0] else b""
        self.close()
        if said != b"t":
            raise SnapshotLost(f"{self._shown} was thawed before its image was read", "run the backup again")

    def close(self) -> None:
        """Let it go on, whatever happened. No effect the second time."""
        self._is_over = True
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(_ANSWER)
        except subprocess.TimeoutExpired as e:
            raise LocalError(
                f"the watchdog of {self._shown} doesn't end", f"run `fsfreeze -u {self._shown}`"
            ) from e
