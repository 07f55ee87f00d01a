"""The memory of a mark does not grow with the vault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.mark_memory import measure


@pytest.mark.soak
def test_a_million_files_are_marked_in_150_mb(tmp_path: Path) -> None:
    first, again = measure(tmp_path / "vault", 1_000_000)
    assert first["entries"] > 1_000_000 and not first["faults"]
    assert first["memory"] < 150 and again["memory"] < 150, (first, again)
    assert first["reads"] < 60, first  # of 4 MiB each
    assert again["reads"] == again["pages"] == 0
