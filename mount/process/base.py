"""The interface to the operating system for the processes behind drives: starting and recognising them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Pipes(NamedTuple):
    """Two ends of pipes: descriptors, or the numbers that represent them on a command line."""

    order: int  # read by the drive's process
    answer: int  # written by it


class Processes(Protocol):
    """The processes of one operating system."""

    def start(self, module: str, pipes: Pipes, words: Sequence[str], log: int) -> subprocess.Popen[bytes]:
        """Start `main(order, answer)` of one of our modules in a session of its own. Raises OSError.

        The process inherits these two descriptors and, as stdout and stderr, the log, but no other and no secret.
        `words` only show in lists of processes.
        """
        ...

    def inherited(self, pipes: Pipes) -> Pipes:
        """The started process's descriptors from main's arguments; its own children don't inherit them."""
        ...

    def started(self, pid: int) -> str | None:
        """The start time of a process, in the system's own form; None if it has ended or the time is unknown."""
        ...

    def is_running(self, pid: int, started: str | None) -> bool:
        """Whether the process still runs; its start time guards against a reused process id."""
        ...

    def namespace(self) -> str | None:
        """The table of mounts that this process sees, where there are several; None where there is one."""
        ...
