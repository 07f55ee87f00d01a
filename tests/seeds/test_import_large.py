"""Disks that list a great many objects: an import takes no more memory for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.cli import ROOT

PIECE = 40 << 10  # KiB: a list is copied in pieces of no more


def memory(folder: Path, packs: int) -> int:
    """KiB that an import takes of a disk that lists so many packs."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.kit.import_memory", folder, str(packs)],
        cwd=ROOT, capture_output=True, text=True, timeout=580, check=True,
    )  # fmt: skip
    grown, missing = map(int, done.stdout.split())
    assert missing == packs
    return grown


def test_ten_thousand(tmp_path: Path) -> None:
    assert memory(tmp_path, 10_000) < PIECE


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_million(tmp_path: Path) -> None:
    assert memory(tmp_path, 1_000_000) < 2 * PIECE
