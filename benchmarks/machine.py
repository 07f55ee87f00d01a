"""What a benchmark runs on, and what it measures: the machine, the version, and messages about progress."""

from __future__ import annotations

import compileall
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MIB = 1 << 20
ROOT = Path(__file__).parents[1]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def stop_as_by_hand() -> None:
    """SIGTERM ends this as Ctrl-C does: what is mounted is unmounted, what was measured is printed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "processor": model, "cores": len(os.sched_getaffinity(0)), "memory": memory,
        "system": f"{platform.system()} {platform.release()}", "python": platform.python_version(),
        "load": os.getloadavg()[0], "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip


def described(m: dict[str, Any]) -> str:
    """A line about a machine."""
    return (
        f"{m['processor']}, {m['cores']} cores, {m['memory'] / (1 << 30):.0f} GiB; {m['system']}, "
        f"Python {m['python']}; load at the start {m['load']:.1f}."
    )


def commit() -> dict[str, str]:
    """The commit of this checkout and its day, and whether files differ from it; empty outside of a checkout."""
    found = {}
    for key, words in (
        ("commit", ["log", "-1", "--format=%h"]),
        ("date", ["log", "-1", "--format=%cs"]),
        ("changed", ["status", "--porcelain", "--untracked-files=no"]),
    ):
        try:
            done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
        except OSError:
            return {}
        if done.returncode:
            return {}
        found[key] = done.stdout.strip()
    return found | {"changed": "yes" if found["changed"] else ""}


def compile_packages() -> None:
    """As an installed package is."""
    for package in ("catalog", "cache", "mount", "backup"):
        compileall.compile_dir(ROOT / package, quiet=2)
    compileall.compile_file(ROOT / "rpdrive.py", quiet=2)
