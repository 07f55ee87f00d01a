"""Choosing a driver, without loading one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from catalog.errors import UsageError
from mount.drivers import choice

ROOT = Path(__file__).parents[2]


class System(NamedTuple):
    sysname: str
    release: str


@pytest.mark.parametrize(
    ("system", "loaded"),
    [
        (System("Linux", "5.4.0-42-generic"), "mount.drivers.kernel.drive"),
        (System("Linux", "6.1"), "mount.drivers.kernel.drive"),
        (System("Linux", "4.19.0"), ""),
        (System("Linux", "unknown"), ""),
        (System("FreeBSD", "14.0"), ""),
    ],
)
def test_the_kernel_driver_is_the_default_from_linux_5_4_on(system: System, loaded: str) -> None:
    code = f"""
import os, sys
os.uname = lambda: os.uname_result(({system.sysname!r}, "node", {system.release!r}, "version", "x86_64"))
from mount.drivers import choice
drivers = ("mount.drivers.kernel.drive", "mount.drivers.libfuse", "mount.drivers.winfsp.drive", "fuse", "winfspy")
assert not any(name in sys.modules for name in drivers)
choice.preload()
print(*(name for name in drivers if name in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == loaded


def test_names_of_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in choice.NAMES:
        choice.check_name(name)
    with pytest.raises(UsageError, match="there is no driver 'none'"):
        choice.check_name("none")
    monkeypatch.setattr(choice, "IS_WINDOWS", True)
    for name in ("auto", "winfsp"):
        choice.check_name(name)
    for name in ("kernel", "fuse"):
        with pytest.raises(UsageError, match="on Windows"):
            choice.check_name(name)
