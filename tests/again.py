"""Runs the few tests that failed beside others once more, alone: `python -m tests.again CODE FAILED FOLDER`.

Three processes of tests share one machine: its network, its mounts, its two processors. What fails by that alone is
told, and does not hold up all else; what fails twice fails, and so does everything if more than MOST tests failed,
or a process of the tests died. CODE is what pytest ended with, FAILED the file that Noting wrote.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MOST = 2  # tests
VARIABLE = "RPDRIVE_TEST_FAILED"  # names the file
SOME_FAILED = 1  # pytest's exit code


class Noting:
    """A plugin of pytest that notes the tests that failed. If a process died, not all were run: it notes none."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._failed: dict[str, None] = {}
        self._all_ran = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None
            self._all_ran = self._all_ran and str(report.when) in {"setup", "call", "teardown"}

    def pytest_sessionfinish(self) -> None:
        if self._all_ran:
            self._file.write_text("".join(f"{name}\n" for name in self._failed))


def again(code: int, failed: Path, folder: Path) -> int:
    """Run the tests that a file names once more, in one process, whose files go to a folder; the exit code."""
    names = failed.read_text().splitlines() if failed.exists() else []
    if code != SOME_FAILED or not 0 < len(names) <= MOST:
        return code
    print(f"\nOnce more, alone: {', '.join(names)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--basetemp", folder / "again", f"@{failed}"], check=False
    )
    if done.returncode != 0:
        return code
    print("\nFAILED BESIDE OTHERS, passed alone. Find out why: it may be a fault that takes bad luck.")
    for name in names:
        print(f"  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(again(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))
