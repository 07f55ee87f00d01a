"""Commands of the siege: forked from this process, which has imported rpdrive once, or started as a new one."""

from __future__ import annotations

import contextlib
import importlib
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import rpdrive
from tests.siege import inside
from tests.siege.plan import QUIET, Plan

ROOT = Path(__file__).parents[2]
LIMIT = 60.0  # s; no command of a siege takes as long, unless it hangs
_LATER = ("backup.foreground", "catalog.points.show", "catalog.access.actions", "mount.restore.run",
          "mount.restore.job", "mount.restore.show", "mount.opening", "mount.closing")  # fmt: skip


def preload() -> None:
    """Import what commands import when they run."""
    for module in (*rpdrive.PACKAGES, *_LATER):
        importlib.import_module(module)


class Ended(NamedTuple):
    """How a command ended. `code` is the exit code, or minus the signal; `calls`, `files`: events so far."""

    args: Sequence[str]
    code: int
    out: str
    error: str
    seconds: float
    calls: int
    files: int
    entries: int
    plan: Plan
    hung: bool
    session: int


class Command:
    """One running command, in a session of its own."""

    def __init__(
        self, args: Sequence[str], environ: Mapping[str, str], plan: Plan, watched: Sequence[Path]
    ) -> None:
        self.args, self.plan = list(args), plan
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        self._paused, paused = os.pipe()
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._error = tempfile.TemporaryFile()  # noqa: SIM115
        self._began = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            inside.run(
                self.args, dict(environ), plan, self._shared, paused, tuple(map(str, watched)), self._out.fileno(),
                self._error.fileno(),
            )  # fmt: skip
        os.close(paused)
        self._handle = os.pidfd_open(self.pid)
        self._status: int | None = None
        self._hung = False
        self.over = False  # `end` has returned

    def until_paused(self, limit: float = LIMIT) -> bool:
        """Wait for the plan's pause, when every thread stands still; False if the command ended before."""
        ready, _, _ = select.select([self._paused], [], [], limit)
        if not ready or not os.read(self._paused, 1):
            return False
        _pid, status = os.waitpid(self.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return True
        self._status = status
        return False

    def go_on(self, asleep: int = 0) -> tuple[int, int]:
        """Let a command that stands still go on, after a sleep of so many ns. When, and how long."""
        slept = time.time_ns(), asleep
        if asleep:
            inside.SLEEP.pack_into(self._shared, inside.COUNTS.size, *slept)
        self.send(signal.SIGCONT)
        return slept

    def send(self, number: int) -> None:
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Wait for the end at most so long; whether it has come."""
        return self._status is not None or bool(select.select([self._handle], [], [], seconds)[0])

    def end(self, limit: float = LIMIT) -> Ended:
        """Wait for the end. A command that hangs prints its stacks and is killed."""
        if not self.wait(limit):
            self._hung = True
            self.send(signal.SIGUSR1)
            time.sleep(0.5)
            self.send(signal.SIGKILL)
        if self._status is None:
            _pid, self._status = os.waitpid(self.pid, 0)
        seconds = time.monotonic() - self._began
        calls, files, entries = inside.COUNTS.unpack_from(self._shared)
        texts = []
        for file in (self._out, self._error):
            file.seek(0)
            texts.append(file.read().decode(errors="backslashreplace"))
            file.close()
        for descriptor in (self._handle, self._paused):
            os.close(descriptor)
        code = os.waitstatus_to_exitcode(self._status)
        out, error = texts
        self.over = True
        return Ended(self.args, code, out, error, seconds, calls, files, entries, self.plan, self._hung, self.pid)


def as_new_process(args: Sequence[str], environ: Mapping[str, str]) -> Ended:
    """Run a command as a user does: a new interpreter, nothing patched."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "rpdrive", *args], env={**environ, "PYTHONPATH": str(ROOT)}, cwd="/",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    hung = False
    try:
        out, error = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        hung = True
        process.kill()
        out, error = process.communicate()
    shown, said = (text.decode(errors="backslashreplace") for text in (out, error))
    seconds = time.monotonic() - began
    return Ended(list(args), process.returncode, shown, said, seconds, 0, 0, 0, QUIET, hung, process.pid)


def left_in_session(session: int) -> dict[int, str]:
    """The processes of a session that are still alive, with their command lines."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            fields = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[3]) == session and fields[0] != b"Z":
                found[int(name)] = Path("/proc", name, "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
