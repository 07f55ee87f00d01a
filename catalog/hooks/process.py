"""One command of a hook as a process: without a shell, in a group of its own, with a time limit."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from catalog.errors import LocalError
from catalog.hooks.config import Hook, check_program
from catalog.screen.text import safe_text
from catalog.systems.this import SYSTEM

KEPT = 2 << 10  # bytes of output, from its end
GRACE = 10.0  # seconds between asking a group of processes to end, and ending it
READY = b"READY"
_LAST = 1.0  # seconds for the rest of the output; a process left behind may keep the pipe open


class Ended(NamedTuple):
    """How a hook ended: `fault` is empty if it succeeded. `output`: the end of what it printed."""

    fault: str
    output: str

    def text(self, hook: Hook) -> str:
        said = f": {self.output}" if self.output else ""
        return f"the hook {hook.name!r} ({hook.stage}) {self.fault}{said}"


class HookProcess:
    """A running hook. `begin` raises LocalError if it can't be started."""

    def __init__(self, hook: Hook, environ: Mapping[str, str], *, held: bool = False) -> None:
        self.hook = hook
        check_program(hook)  # again, at the last moment
        try:
            self._process = subprocess.Popen(
                hook.run, env=dict(environ), cwd="/", close_fds=True, start_new_session=True,
                stdin=subprocess.PIPE if held else subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except (OSError, ValueError) as e:
            raise LocalError(f"the hook {hook.name!r} can't be started: {e}", "try `rpdrive hooks test`") from e
        self._tail = b""
        self.ready = threading.Event()  # it has printed READY, or its output has ended
        self.said_ready = False
        self._reader = threading.Thread(target=self._read, name="hook", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            for line in iter(lambda: pipe.readline(KEPT), b""):
                if line.strip() == READY:
                    self.said_ready = True
                    self.ready.set()
                else:
                    self._tail = (self._tail + line)[-KEPT:]
        self.ready.set()

    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, seconds: float) -> Ended:
        """Wait for its end, at most so long; then its whole group is ended."""
        fault = ""
        try:
            self._process.wait(max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            fault = f"took longer than {self.hook.timeout:g} s and was stopped"
            self.kill()
        except BaseException:
            self.kill()
            raise
        self.release()
        code = self._process.returncode
        if not fault and code:
            fault = f"failed with exit code {code}" if code > 0 else f"was ended by signal {-code}"
        self._reader.join(_LAST)
        return Ended(fault, safe_text(" ".join(self._tail.decode(errors="replace").split())))

    def release(self) -> None:
        """Tell a held process to end: its standard input ends."""
        if self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except OSError:
                pass  # it has ended

    def kill(self) -> None:
        """End its group of processes: ask first, then by force."""
        SYSTEM.end_group(self._process.pid, by_force=False)
        end = time.monotonic() + GRACE
        while self._process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        SYSTEM.end_group(self._process.pid, by_force=True)
        self._process.wait()
        self.release()
