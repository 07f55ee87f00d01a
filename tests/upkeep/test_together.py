"""Two machines that back up, one that forgets and prunes, one that mounts and one that restores, all at once."""

from __future__ import annotations

import pytest

from tests.upkeep.together import run_together

pytestmark = [pytest.mark.soak, pytest.mark.needs_fuse, pytest.mark.needs_root]
G = 2.0  # seconds


@pytest.mark.timeout(3600 + 1200)
def test_an_hour_on_a_folder() -> None:
    counts = run_together(3600, G).counts
    assert min(counts[what] for what in ("backups", "prunes", "mounts", "restores", "forgotten")) > 50


@pytest.mark.needs_azurite
@pytest.mark.timeout(1200 + 1200)
def test_twenty_minutes_on_azurite() -> None:
    counts = run_together(1200, 4 * G, azurite=True).counts
    assert min(counts[what] for what in ("backups", "prunes", "mounts", "restores", "forgotten")) > 10
