"""The scripts of the page keep to their types."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_scripts_keep_to_their_types() -> None:
    """By the TypeScript compiler that tests/setup.sh installs; it reads the JSDoc comments."""
    compiler = ROOT / ".tools" / "node_modules" / ".bin" / "tsc"
    assert compiler.exists(), "TypeScript is missing: run tests/setup.sh test"
    project = Path(__file__).with_name("tsconfig.json")
    done = subprocess.run([compiler, "-p", project], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
