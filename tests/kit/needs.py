"""What a test needs of the machine, as markers. A test whose needs are not met fails in one line.

`needs_root`, `needs_fuse`, `needs_ipv6`, `needs_azurite` and `needs_winfsp` take no arguments;
`needs_program("rsync", "tar")` names programs that have to be in PATH. Fixtures bring
their markers along (`OF_FIXTURES`).
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest  # not when a drive's process imports this by way of the stand-in for WinFsp

TOOLS = Path(__file__).parents[2] / ".tools"
AZURITE = TOOLS / "node_modules/azurite/dist/src/blob/main.js"
WINFSPY_VERSION = "0.8.4"
WINFSPY = TOOLS / f"winfspy-{WINFSPY_VERSION}"
INSTALL = "run `tests/setup.sh test`"

OF_FIXTURES = {"azurite": "needs_azurite", "driver": "needs_fuse"}


def has_winfspy() -> bool:
    return (WINFSPY / "winfspy" / "__init__.py").is_file()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


def missing(marker: pytest.Mark) -> str | None:
    """Why this machine can't run a test with this marker, in one line; None if it can."""
    match marker.name:
        case "needs_root" if os.name != "nt" and os.geteuid() != 0:
            return "needs root: run it as root, or leave it out by -m 'not needs_root'"
        case "needs_fuse" if os.name != "nt" and not os.access("/dev/fuse", os.R_OK | os.W_OK):
            return "needs read and write access to /dev/fuse, or leave it out by -m 'not needs_fuse'"
        case "needs_ipv6" if not has_ipv6():
            return "needs the address ::1, or leave it out by -m 'not needs_ipv6'"
        case "needs_azurite" if shutil.which("node") is None or not AZURITE.is_file():
            return f"needs Azurite and node: {INSTALL}"
        case "needs_winfsp" if not has_winfspy():
            return f"needs winfspy {WINFSPY_VERSION} in .tools: {INSTALL}"
        case "needs_program":
            absent = [str(name) for name in marker.args if shutil.which(name) is None]
            return f"needs {', '.join(absent)} in PATH: {INSTALL}" if absent else None
    return None


def mark_by_fixtures(items: Iterable[pytest.Item]) -> None:
    """Give each test the markers of the fixtures that it uses."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if marker := OF_FIXTURES.get(fixture):
                item.add_marker(marker)
