"""Restores by their own processes: planned, started, followed, ended."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.browse.restore.conftest import Restoring


def test_a_plan_then_the_restore_that_was_planned(here: Restoring, tmp_path: Path) -> None:
    one = here.planned(here.source, to=tmp_path / "to")
    plan = one["plan"]
    assert one["state"] == "planned", one
    found = here.done(one["id"])
    assert found["state"] == "done", found
    subprocess.run(["diff", "-r", "--no-dereference", here.source, tmp_path / "to/source"], check=True)
    assert found["result"]["new"] == plan["new"]
