"""A worker process of `local:N`: it gets its order through a pipe, and ends with that, wherever it is."""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import IO

import msgspec

from catalog.access.memory import protect_memory
from catalog.screen.redacted import protect_stderr
from mount.fleet.start import Start
from mount.process.base import Pipes
from mount.process.this import PROCESSES


def main(order_pipe: int, answer_pipe: int) -> None:
    """Run the process. The arguments represent the pipes, see Processes.inherited."""
    protect_memory()
    protect_stderr()
    pipes = PROCESSES.inherited(Pipes(order_pipe, answer_pipe))
    os.close(pipes.answer)
    pipe = os.fdopen(pipes.order, "rb", buffering=0)
    length = int.from_bytes(_exactly(pipe, 4), "big")
    order = msgspec.msgpack.decode(_exactly(pipe, length), type=Start)
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    os.environ.update(order.secrets)
    import_module("mount.fleet.serving").serve(order)  # Dask takes a second to load
    os._exit(0)


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = pipe.read(length - len(data))
        if not part:
            os._exit(0)  # the command has ended
        data += part
    return data


def _end_with(pipe: IO[bytes]) -> None:
    """End this process with the command: every piece can be stopped anywhere, as by kill -9."""
    pipe.read(1)
    os._exit(0)
