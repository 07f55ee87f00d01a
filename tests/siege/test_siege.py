"""A small siege, always the same. `make siege` is the large one; docs/reliability.md has its figures."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.store.local import LocalStore
from tests.kit.vaults import home_of, new_vault
from tests.siege import report
from tests.siege.command import Command
from tests.siege.plan import QUIET

ROOT = Path(__file__).parents[2]
KINDS = (
    "rollback",
    "kill-call",
    "rot-packs",
    "interrupt",
    "rotation",
    "pulled-vault",
    "full-vault",
    "two-machines",
    "moving",
    "kill-time",
)


@pytest.mark.needs_root
@pytest.mark.needs_fuse
@pytest.mark.slow
@pytest.mark.unmeasured
def test_a_small_siege(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.siege", "--seed", "7", "--rounds", "20", "--each", "2", "--json", table,
         "--only", ",".join(KINDS), "--keep", tmp_path / "kept"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    row = json.loads(table.read_text())
    assert row["rounds"] == 20
    assert sum(kind["struck"] for kind in row["kinds"].values()) >= 10
    assert re.fullmatch(r"\| \d{4}-\d\d-\d\d \| `[0-9a-z]+` \| 20 \| \d+ \| \d+ \| none \|", report.row(table))


@pytest.mark.parametrize("seconds", [None, 0.0])
def test_partial_points_are_written_when_the_plan_says_so(tmp_path: Path, seconds: float | None) -> None:
    source, vault, rng = tmp_path / "source", tmp_path / "vault", random.Random(1)
    source.mkdir()
    for n in range(300):  # the walk looks at the time after 256
        (source / f"{n}").write_bytes(rng.randbytes(1_000))
    new_vault(LocalStore(vault)).store.close()
    environ = {**os.environ, **home_of(tmp_path / "home", str(vault))}
    done = Command(["backup", str(source)], environ, QUIET.but(partial=seconds, small=True), [vault]).end()
    assert done.code == 0, done
    assert bool(list(vault.glob("points/*/*/*.partial"))) == (seconds is not None)
