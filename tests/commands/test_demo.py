"""`make demo`, on a small folder: all that it does and compares, but not its size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.cli import ROOT


@pytest.mark.needs_fuse
def test_the_demo_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    folder, temporary = tmp_path / "folder", tmp_path / "temporary"
    temporary.mkdir()
    for n in range(30):
        below = folder / f"part {n % 3}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{n}.txt").write_text(f"file {n}\n" * 100)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RPDRIVE_")} | {"TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/demo.py", folder],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No difference." in done.stdout
    assert "All is as it should be." in done.stdout
    assert not any(temporary.iterdir())
