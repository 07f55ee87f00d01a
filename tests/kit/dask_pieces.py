"""Kinds of pieces that a fleet has in tests alone: to wait, to fail, to kill the worker."""

from __future__ import annotations

import os
import platform
import signal
import time
from pathlib import Path

import msgspec

from catalog.errors import StoreUnreachable
from mount.fleet import worker
from mount.fleet.here import Here
from mount.fleet.kinds import KINDS

OWN = ("echo", "wait", "fail", "deadly", "stubborn")


def answer(order: bytes) -> bytes:
    """What runs on a worker, in place of the program's own."""
    KINDS.update({kind: (__name__, kind) for kind in OWN})
    return worker.answer(order)


def echo(here: Here, body: bytes) -> bytes:
    return body


def wait(here: Here, body: bytes) -> bytes:
    """Note in a file who has begun, and wait for so many seconds; when it is told to stop, note that."""
    path, seconds = msgspec.msgpack.decode(body, type=tuple[str, float])
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()} {platform.node()}\n")
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            here.follow.check()
            time.sleep(0.02)
    except KeyboardInterrupt:
        Path(path + ".stopped").touch()
        raise
    return body


def fail(here: Here, body: bytes) -> bytes:
    raise StoreUnreachable(f"no answer, with {here.vault.keys.master!r:.0}a token: sig=abcdef")


def deadly(here: Here, body: bytes) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return body


def stubborn(here: Here, body: bytes) -> bytes:
    """An answer that is no bytes."""
    return ["not bytes"]  # type: ignore[return-value]
