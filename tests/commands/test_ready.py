"""The commands of other tests begin as copies of a Python that has started: they do what a new process does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit import ready
from tests.kit.cli import Cli

ROOT = Path(__file__).parents[2]


def test_a_copy_answers_as_a_new_process(rpdrive: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = rpdrive.environ
    monkeypatch.setattr(ready, "_ready", {})
    for args in (["--version"], ["vault", "nonsense"], ["points"], ["ls", os.fsdecode(b"latest:/\xff")]):
        command = rpdrive.command(*args)
        new = subprocess.run(command, env=environ, capture_output=True, cwd=tmp_path, check=False)
        copy = ready.run(command, env=environ, capture_output=True, cwd=tmp_path)
        assert (copy.returncode, copy.stdout, copy.stderr) == (new.returncode, new.stdout, new.stderr)
    assert len(ready._ready) == 1, "none was copied"
    with open(os.devnull, "wb") as nothing, pytest.raises(subprocess.TimeoutExpired):  # noqa: PTH123
        ready.run(rpdrive.command("--version"), env=environ, stdout=nothing, stderr=nothing, timeout=0)


def test_what_is_copied_has_no_module_of_ours() -> None:
    loaded = "sorted(name for name in sys.modules if name.split('.')[0] in ready.OURS)"
    code = f"import sys; from tests.kit import ready; ready.prepare(False); sys.exit(' '.join({loaded}) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_not_copied(rpdrive: Cli) -> None:
    def can(command: list[str | Path | bytes]) -> bool:
        return ready.order_of(command, rpdrive.environ, None, False) is not None

    assert can(rpdrive.command("points"))
    assert not can(["ls"]) and not can([sys.executable, "-X", "utf8", "-m", "rpdrive"])
    assert not can(rpdrive.slow_command("points")) and not can(rpdrive.command("a\0b"))
    assert ready.ready_for(rpdrive.environ | {"PYTHONPATH": "/elsewhere"}) is None
