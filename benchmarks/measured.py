"""A command's seconds, CPU seconds and peak memory, whatever processes it starts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_EVERY = 0.1  # s between two looks at the memory
_SHARES_EVERY = 5  # looks; what several processes share is counted page by page, and holds them up meanwhile


class CommandFailed(Exception):
    """A command ended with an unexpected exit code; the text holds what it printed."""


class Measured(NamedTuple):
    """Wall seconds, CPU seconds of the command and its children, peak memory (bytes) of all of them together."""

    seconds: float
    cpu: float
    memory: int


def run(words: Sequence[str], environment: dict[str, str], log: Path, folder: Path | None = None) -> Measured:
    """Run a command to its end, in `folder`; its output is added to `log`. Raises CommandFailed."""
    with log.open("ab") as output:
        output.write(f"\n$ {' '.join(words)}\n".encode())
        output.flush()
        began = time.monotonic()
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            process_group=0,
            cwd=folder,
        )
        memory = Memory(process.pid)
        try:
            _pid, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            memory.stop()
    if process.returncode != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-5:]
        raise CommandFailed(f"{words[0]} {words[1]} ended with {process.returncode}:\n" + "\n".join(last))
    return Measured(seconds, usage.ru_utime + usage.ru_stime, memory.peak)


class Memory:
    """Watches a process and all its descendants.

    A process alone: the kernel's own high-water mark, which misses nothing but the last moment. Several: the sum
    of their proportional shares, so that what they share counts once.
    """

    def __init__(self, pid: int) -> None:
        self.peak = 0  # bytes
        self._looks = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._look()
            self._stop.wait(_EVERY)

    def _look(self) -> None:
        family = descendants(self._pid)
        own = max((_kib(pid, "status", "VmHWM:") for pid in family), default=0)
        self._looks += 1
        shares = len(family) > 1 and self._looks % _SHARES_EVERY == 0
        total = sum(_kib(pid, "smaps_rollup", "Pss:") for pid in family) if shares else 0
        self.peak = max(self.peak, own << 10, total << 10)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def descendants(pid: int) -> list[int]:
    """A process and all that it, or they, started and that still run."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def high_water(pid: int) -> int:
    """The peak memory (bytes) of a process plus the peaks of its running descendants."""
    return sum(_kib(process, "status", "VmHWM:") for process in descendants(pid)) << 10


def cpu_seconds(pid: int) -> float:
    """CPU seconds so far of a process, of its running descendants, and of those that they have waited for."""
    ticks = 0
    for process in descendants(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _kib(pid: int, file: str, field: str) -> int:
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(field)), 0)


def drop_caches() -> bool:
    """Flush dirty pages and drop the page cache, so that each step starts alike. False if not root."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


def stored(folder: Path) -> int:
    """Bytes in all files of a folder."""
    return sum(
        os.lstat(os.path.join(above, name)).st_size for above, _folders, names in os.walk(folder) for name in names
    )
