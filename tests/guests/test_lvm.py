"""Snapshots of real logical volumes, in a guest: its kernel has device-mapper."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.guest import Disk, Guest

PYTEST = (
    "cd /tmp && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/opt/checkout:/opt/packages python3 -m pytest -q --noconftest"
    " -c /dev/null --rootdir /tmp -p no:cacheprovider --durations 0 /opt/checkout/tests/guests/inside_lvm.py"
)


POINTS, KILLS = "point or full or lost", "kill"


@pytest.mark.parametrize(
    "which",
    [
        pytest.param(POINTS, id="points"),
        pytest.param(KILLS, id="kills"),
        pytest.param(f"not ({POINTS} or {KILLS})", id="others"),
    ],
)
def test_snapshots_of_lvm(tmp_path: Path, which: str) -> None:
    disks = [Disk(tmp_path / "first.img", size=2 << 30), Disk(tmp_path / "second.img", size=512 << 20)]
    with Guest(disks, folder=tmp_path) as guest:
        print(guest.ok(f"{PYTEST} -k '{which}' 2>&1", timeout=1200))
