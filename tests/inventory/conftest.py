"""Loop devices, of which a machine has few."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def loop() -> Iterator[Callable[[Path], str]]:
    """Makes a loop device of an image, in place of the one before. The last one is detached at the end."""
    devices: list[str] = []

    def detach() -> None:
        while devices:
            subprocess.run(["losetup", "--detach", devices.pop()], check=True)

    def attach(image: Path) -> str:
        detach()
        found = subprocess.run(
            ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
        ).stdout.strip()
        devices.append(found)
        return found

    yield attach
    detach()
