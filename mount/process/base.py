"""What differs between systems for the processes behind drives: how one is started, and whether one still runs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Pipes(NamedTuple):
    """Two ends of pipes: descriptors, or what stands for them on a command line."""

    order: int  # read by the drive's process
    answer: int  # written by it


class Processes(Protocol):
    """The processes of one system."""

    def start(self, module: str, pipes: Pipes, words: Sequence[str], log: int) -> subprocess.Popen[bytes]:
        """Start `main(order, answer)` of one of our modules in a session of its own. Raises OSError.

        The process inherits these two descriptors and, as stdout and stderr, the log, but no other and no secret.
        `words` only show in lists of processes.
        """
        ...

    def inherited(self, pipes: Pipes) -> Pipes:
        """In the started process: the descriptors for main's arguments, which its own children don't inherit."""
        ...

    def started(self, pid: int) -> str | None:
        """When a process started, in a notation of the system's; None if it has ended or the system can't say."""
        ...

    def is_running(self, pid: int, started: str | None) -> bool:
        """Whether the process still runs; its start time guards against a reused process id."""
        ...
