"""Runs programs of Windows without a window, for a limited time, and keeps the end of what they print."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, NamedTuple

from catalog.errors import LocalError

POWERSHELL = "WindowsPowerShell\\v1.0\\powershell.exe"
KEPT = 1 << 20  # bytes of the output's end: a list of all shadow copies has some 60 KB
_HIDDEN = 0x08000000  # CREATE_NO_WINDOW


def system_program(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The path of a program of Windows. By its name alone, one in the current folder would be started."""
    root = environment.get("SystemRoot") or "C:\\Windows"
    return f"{root}\\System32\\{name}"


class Output(NamedTuple):
    """How a program ended. `text` is the end of what it printed; `in_time` is False if it was ended by force."""

    code: int
    text: str
    in_time: bool = True

    def last(self, lines: int = 3) -> str:
        """The last lines that are not empty, as one line; without the progress that overwrites itself."""
        found = [part for line in self.text.splitlines() if (part := line.rpartition("\r")[2].strip())]
        return " ".join(" ".join(found[-lines:]).split())


Run = Callable[[Sequence[str], float, Mapping[str, str]], Output]  # a command, s at most, its environment


def run(command: Sequence[str], timeout: float, environment: Mapping[str, str]) -> Output:
    """Run a program, for `timeout` seconds at most. Raises LocalError if it can't be started."""
    try:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=dict(environment), creationflags=_HIDDEN if sys.platform == "win32" else 0,
        )  # fmt: skip
    except OSError as e:
        raise LocalError(f"{command[0]} can't be started: {e.strerror}", "check that it is installed") from e
    assert process.stdout is not None
    kept = bytearray()
    reader = threading.Thread(target=_read, args=(process.stdout, kept), daemon=True)
    reader.start()
    in_time = True
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        in_time = False
    finally:
        if process.poll() is None:  # also after Ctrl-C
            process.kill()
            process.wait()
    reader.join(5)  # what it started may hold the pipe open
    return Output(process.returncode, decoded(bytes(kept)), in_time)


def _read(pipe: IO[bytes], kept: bytearray) -> None:
    with suppress(OSError, ValueError), pipe:
        while data := pipe.read1(64 << 10):  # type: ignore[attr-defined]
            kept += data
            del kept[:-KEPT]


def decoded(data: bytes) -> str:
    """Text of a console program: UTF-16, with or without a mark at its beginning, or in the code page."""
    if data.startswith(b"\xff\xfe"):
        return data.decode("utf-16", "replace")
    if data.count(0) > len(data) // 3:  # sfc
        return data.decode("utf-16-le", "replace")
    if sys.platform == "win32":
        return data.decode("oem", "replace")
    return data.decode(errors="replace")
