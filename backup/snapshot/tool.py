"""Programs of the system that make, list and remove snapshots: lvs, lvcreate, zfs and others.

A program gets none of our descriptors, no secret and no terminal, and speaks English. Its output goes to memory,
never to a file: while lvcreate makes a snapshot, the file system is frozen, and a write to it would wait for ever.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple, Protocol

from catalog.errors import SnapshotFailed
from catalog.program import child_environment
from catalog.screen.text import safe_text

KEPT = 8 << 20  # bytes of output: one with more is stopped
GRACE = 30.0  # seconds for a program to end after it was asked to
_MESSAGES = 64 << 10  # bytes of messages that are looked at
_LINES = 3  # of messages that are told
_LONGEST = 400  # characters of a message
# cron and some units leave these out of PATH.
_PLACES = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
_NOISE = ("WARNING:", "File descriptor ", "Reducing ", "Rounding ", "Usage:")
_left: list[subprocess.Popen[bytes]] = []  # still running, and not to be killed


class StillRuns(SnapshotFailed):
    """A program did not end in time, nor after it was asked to: it may still do what it was started for."""


class Ended(NamedTuple):
    """How a program ended. `said`: its last messages, as one line for people; empty if it said nothing."""

    code: int
    output: bytes
    said: str


class Run(Protocol):
    """What runs a program: `run`, or a double in tests."""

    def __call__(self, name: str, *arguments: str, seconds: float, changes: bool = False) -> Ended: ...


def find(name: str) -> str | None:
    """Where a program is: in PATH, or in a folder for programs of administrators."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_PLACES]))


def missing(*names: str) -> list[str]:
    """Those of the programs that this machine doesn't have."""
    return [name for name in names if find(name) is None]


def environment() -> dict[str, str]:
    """The environment of such a program."""
    return child_environment() | {"LC_ALL": "C", "LVM_SUPPRESS_FD_WARNINGS": "1"}


def run(name: str, *arguments: str, seconds: float, changes: bool = False) -> Ended:
    """Run a program to its end, at most `seconds`. Raises SnapshotFailed if it can't be run or doesn't end.

    `changes`: it changes the system, and may have frozen a file system for a moment. It is asked to end, and if it
    does not, it is left alone: killed between freezing and thawing it would leave the file system frozen.
    """
    program = find(name)
    if program is None:
        raise SnapshotFailed(f"the program {name} is not installed")
    with Memory(name) as output, Memory(name) as messages:
        try:
            process = subprocess.Popen(
                [program, *arguments], env=environment(), cwd="/", close_fds=True, stdin=subprocess.DEVNULL,
                stdout=output.number, stderr=messages.number,
                start_new_session=True,  # Ctrl-C is for us, not for a program that has frozen a file system
            )  # fmt: skip
        except (OSError, ValueError) as e:
            raise SnapshotFailed(f"{name} can't be started: {e}") from e
        end = time.monotonic() + seconds
        try:
            fault = _wait(process, end, output, messages)
        except BaseException:
            _stop(process, changes)
            raise
        if fault:
            told = f"{name} {fault.format(seconds=seconds)}"
            if _stop(process, changes):
                raise SnapshotFailed(f"{told} and was stopped")
            raise StillRuns(f"{told} and still runs as process {process.pid}")
        return Ended(process.returncode, output.read(KEPT), message(messages.read(_MESSAGES)))


def message(text: bytes) -> str:
    """The last lines of a program's messages that are no warnings, as one: at most 400 characters.

    LVM ends with what it did then, e.g. "Aborting.", and says why before.
    """
    lines = [" ".join(line.split()) for line in text.decode(errors="replace").splitlines()]
    telling = [line for line in lines if line and not line.startswith(_NOISE)]
    return safe_text("; ".join((telling or [line for line in lines if line])[-_LINES:])[:_LONGEST])


def _wait(process: subprocess.Popen[bytes], end: float, *files: Memory) -> str:
    """Wait for its end; what is wrong if it takes too long or prints too much."""
    while True:
        try:
            process.wait(min(0.2, max(end - time.monotonic(), 0.001)))
            return ""
        except subprocess.TimeoutExpired:
            if any(file.size() > KEPT for file in files):
                return f"printed more than {KEPT >> 20} MiB"
            if time.monotonic() >= end:
                return "did not end within {seconds:g} s"


def _stop(process: subprocess.Popen[bytes], changes: bool) -> bool:
    """Ask a program to end; kill it if it only reads. Whether it has ended."""
    if changes:
        process.terminate()
    else:
        process.kill()
    try:
        process.wait(GRACE)
        return True
    except subprocess.TimeoutExpired:
        _left.append(process)
        return False


class Memory:
    """A file in memory for what a program prints."""

    def __init__(self, name: str) -> None:
        try:
            self.number = os.memfd_create(f"rpdrive-{name}", os.MFD_CLOEXEC)
        except (AttributeError, OSError) as e:
            raise SnapshotFailed(f"{name} can't be started: no memory for its output ({e})") from e

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.number)

    def size(self) -> int:
        return os.fstat(self.number).st_size

    def read(self, limit: int) -> bytes:
        return os.pread(self.number, limit, 0)


def read_small(path: Path) -> str:
    """The text of a file in /sys, at most 4 KiB; empty if it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(4096).decode(errors="replace").strip()
    except OSError:
        return ""
