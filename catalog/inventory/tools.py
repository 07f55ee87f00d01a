"""Runs the system's own tools, without a shell, with bounds on time and output: what misbehaves costs itself."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, NamedTuple

from catalog.systems.this import SYSTEM

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 30.0  # for one tool
TOGETHER = 600.0  # for all of them
MOST = 16 << 20  # bytes of one tool's output
_SAID = 4 << 10  # bytes kept of what it says on stderr
_GRACE = 2.0  # seconds that a killed tool gets to be gone; one that waits for a dead disk is left behind


class Output(NamedTuple):
    """What a tool printed. `fault` says what went wrong, "" for nothing; then `text` is what there was of it."""

    text: bytes
    fault: str
    missing: bool = False


class Tools:
    """The tools of this machine. `path` is where they are looked for, and nowhere else."""

    def __init__(self, path: str = PATH, *, seconds: float = SECONDS, together: float = TOGETHER) -> None:
        self._path, self._seconds = path, seconds
        self._until = time.monotonic() + together

    def has(self, tool: str) -> bool:
        return shutil.which(tool, path=self._path) is not None

    def run(
        self,
        argv: Sequence[str],
        *,
        seconds: float | None = None,
        most: int = MOST,
        cwd: str = "/",
        accept: Sequence[int] = (0,),
    ) -> Output:
        """Run a tool to its end; it and its children end with the time-out. `accept`: exit codes of success."""
        program = shutil.which(argv[0], path=self._path)
        if program is None:
            return Output(b"", f"{argv[0]} is not installed", missing=True)
        left = min(self._seconds if seconds is None else seconds, self._until - time.monotonic())
        if left <= 0:
            return Output(b"", f"{argv[0]} was not run: the tools before it took too long")
        try:
            process = subprocess.Popen(
                [program, *argv[1:]], env=_environ(self._path), cwd=cwd, close_fds=True, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError as e:
            return Output(b"", f"{argv[0]} can't be started: {e.strerror}")
        assert process.stdout is not None and process.stderr is not None
        with process.stdout, process.stderr:
            text, said, fault = _read(process.stdout, process.stderr, time.monotonic() + left, most)
        if fault or not _ended(process, left):
            _kill(process)
            return Output(text, f"{argv[0]} {fault or f'took longer than {left:.0f} s and was stopped'}")
        code = process.returncode
        if code in accept:
            return Output(text, "")
        last = " ".join(said.decode(errors="replace").split())[-200:]
        how = f"ended with code {code}" if code > 0 else f"was ended by signal {-code}"
        return Output(text, f"{argv[0]} {how}{f': {last}' if last else ''}")


def _environ(path: str) -> Mapping[str, str]:
    return {
        "PATH": path,
        "LC_ALL": "C",
        "HOME": "/",
        "TERM": "dumb",
        "TZ": "UTC",
        "LVM_SUPPRESS_FD_WARNINGS": "1",
        "SYSTEMD_PAGER": "",
        "SYSTEMD_COLORS": "0",
    }


def _read(stdout: IO[bytes], stderr: IO[bytes], until: float, most: int) -> tuple[bytes, bytes, str]:
    """Both streams to their ends: stdout up to `most` bytes, the end of stderr, and what went wrong."""
    parts: list[bytes] = []
    size, said = 0, b""
    with selectors.DefaultSelector() as waiting:
        waiting.register(stdout, selectors.EVENT_READ)
        waiting.register(stderr, selectors.EVENT_READ)
        while waiting.get_map():
            left = until - time.monotonic()
            ready = waiting.select(left) if left > 0 else []
            if not ready:
                return b"".join(parts), said, "took too long and was stopped"
            for key, _events in ready:
                data = os.read(key.fd, 1 << 16)
                if not data:
                    waiting.unregister(key.fileobj)
                elif key.fileobj is stderr:
                    said = (said + data)[-_SAID:]
                else:
                    size += len(data)
                    if size > most:
                        return b"".join(parts), said, f"printed more than {most:,} bytes and was stopped"
                    parts.append(data)
    return b"".join(parts), said, ""


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    SYSTEM.end_group(process.pid, by_force=True)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
