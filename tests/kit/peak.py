"""The most resident memory of this process, for tests that run what they measure in a process of its own.

Not `ru_maxrss`: Linux carries that of the parent over fork and exec, so that a child of a large test run begins
with the peak of all tests before it.
"""

from __future__ import annotations

from pathlib import Path


def peak() -> int:
    """The most resident memory (KiB) since this program was executed, or since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def forget_peak() -> None:
    """Count from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
