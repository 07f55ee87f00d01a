"""Processes on Linux and other POSIX systems."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from catalog.program import child_environment, main_command
from mount.process.base import Pipes


class PosixProcesses:
    """Implements Processes on POSIX."""

    def start(self, module: str, pipes: Pipes, words: Sequence[str], log: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*main_command(module, *pipes), *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=pipes,
            env=child_environment(),
            cwd="/",
            start_new_session=True,
        )

    def inherited(self, pipes: Pipes) -> Pipes:
        for descriptor in pipes:
            os.set_inheritable(descriptor, False)
        return pipes

    def started(self, pid: int) -> str | None:
        """See Processes. Kernel ticks since the machine's start; None where there is no /proc."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if fields[0] == b"Z" else fields[19].decode()

    def is_running(self, pid: int, started: str | None) -> bool:
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            pass
        return self.started(pid) == started

    def namespace(self) -> str | None:
        """See Processes. The name of the mount namespace; None on systems other than Linux."""
        try:
            return os.readlink("/proc/self/ns/mnt")
        except OSError:
            return None
