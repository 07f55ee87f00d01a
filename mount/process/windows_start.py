"""How a process is started on Windows that gets two pipes and nothing else of its parent's.

Windows has no fork: what a child inherits are the handles that are marked so. These two are, for the moment of the
start, and a list names them, so that nothing else of the parent's goes along, whatever is marked by others.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from importlib import import_module
from typing import Any

# Not DETACHED_PROCESS: a virtual environment's python.exe starts another, which would open a window of its own.
_CREATE_NO_WINDOW, _CREATE_NEW_PROCESS_GROUP = 0x08000000, 0x00000200


def start(
    command: Sequence[str], handles: Sequence[int], log: int, environment: dict[str, str], folder: str
) -> subprocess.Popen[bytes]:
    """Start a process that inherits these handles and, as stdout and stderr, the log. OSError."""
    set_inheritable: Any = getattr(os, "set_handle_inheritable")  # noqa: B009 - of Windows only
    startup_info: Any = getattr(subprocess, "STARTUPINFO")  # noqa: B009
    for handle in handles:
        set_inheritable(handle, True)
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            close_fds=True,
            startupinfo=startup_info(lpAttributeList={"handle_list": list(handles)}),
            creationflags=_CREATE_NO_WINDOW | _CREATE_NEW_PROCESS_GROUP,
            env=environment,
            cwd=folder,
        )
    finally:
        for handle in handles:
            set_inheritable(handle, False)


def handle_of(descriptor: int) -> int:
    """The handle behind a descriptor of this process."""
    msvcrt: Any = import_module("msvcrt")
    return int(msvcrt.get_osfhandle(descriptor))


def descriptor_of(handle: int, *, writes: bool) -> int:
    """A descriptor of this process for a handle that it inherited, which goes to no child of its own."""
    msvcrt: Any = import_module("msvcrt")
    set_inheritable: Any = getattr(os, "set_handle_inheritable")  # noqa: B009
    set_inheritable(handle, False)
    return int(msvcrt.open_osfhandle(handle, os.O_WRONLY if writes else os.O_RDONLY))
