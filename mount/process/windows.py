"""Processes on Windows.

Windows has no fork: a child inherits the handles that are marked as inheritable. The two pipes' handles are, while
the process is started, and a list names them, so that it inherits no other handle, whatever is marked elsewhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from catalog.program import child_environment, main_command
from catalog.systems.windows import process_start
from mount.process.base import Pipes

# Not DETACHED_PROCESS: a virtual environment's python.exe starts another, which would open a window of its own.
_CREATE_NO_WINDOW, _CREATE_NEW_PROCESS_GROUP = 0x08000000, 0x00000200


class WindowsProcesses:
    """Implements Processes on Windows. `started` returns the start time of a process."""

    def __init__(self, started: Callable[[int], str | None] = process_start) -> None:
        self._started = started

    def start(self, module: str, pipes: Pipes, words: Sequence[str], log: int) -> subprocess.Popen[bytes]:
        set_inheritable: Any = getattr(os, "set_handle_inheritable")  # noqa: B009 - on Windows only
        startup_info: Any = getattr(subprocess, "STARTUPINFO")  # noqa: B009
        handles = [_handle_of(descriptor) for descriptor in pipes]
        for handle in handles:
            set_inheritable(handle, True)
        try:
            return subprocess.Popen(
                [*main_command(module, *handles), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                close_fds=True,
                startupinfo=startup_info(lpAttributeList={"handle_list": handles}),
                creationflags=_CREATE_NO_WINDOW | _CREATE_NEW_PROCESS_GROUP,
                env=child_environment(),
                cwd=Path(sys.executable).anchor,
            )
        finally:
            for handle in handles:
                set_inheritable(handle, False)

    def inherited(self, pipes: Pipes) -> Pipes:
        """See Processes. The arguments are handles."""
        return Pipes(_descriptor_of(pipes.order, os.O_RDONLY), _descriptor_of(pipes.answer, os.O_WRONLY))

    def started(self, pid: int) -> str | None:
        """See Processes. A FILETIME; None also for a process that this user may not query."""
        return self._started(pid)

    def is_running(self, pid: int, started: str | None) -> bool:
        """See Processes. Does not use os.kill(pid, 0), which would send Ctrl+C."""
        return started is not None and self._started(pid) == started

    def namespace(self) -> str | None:
        return None


def _handle_of(descriptor: int) -> int:
    msvcrt: Any = import_module("msvcrt")
    return int(msvcrt.get_osfhandle(descriptor))


def _descriptor_of(handle: int, flags: int) -> int:
    msvcrt: Any = import_module("msvcrt")
    set_inheritable: Any = getattr(os, "set_handle_inheritable")  # noqa: B009 - on Windows only
    set_inheritable(handle, False)
    return int(msvcrt.open_osfhandle(handle, flags))
