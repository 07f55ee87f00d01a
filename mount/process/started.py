"""Starts a process of our own with two pipes: it gets an order by one, and answers by the other."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mount.process.base import Pipes, Processes

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)


class Started(NamedTuple):
    """A process, and our ends of the pipes: its order is written to one, its answer read from the other."""

    process: subprocess.Popen[bytes]
    order: int
    answer: int


def start(processes: Processes, module: str, words: Sequence[str], log: Path) -> Started:
    """Start `main` of a module, see Processes.start. Its stderr goes to a new file `log`. Raises OSError."""
    order_read, order_write = os.pipe()
    answer_read, answer_write = os.pipe()
    try:
        descriptor = os.open(log, _FLAGS, 0o600)
        try:
            process = processes.start(module, Pipes(order_read, answer_write), words, descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        os.close(order_write)
        os.close(answer_read)
        raise
    finally:
        os.close(order_read)
        os.close(answer_write)
    return Started(process, order_write, answer_read)
