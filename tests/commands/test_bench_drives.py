"""The benchmark of drives, on a few files: it measures each step through real drives, and says what was reached."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit.cli import ROOT

STEPS = "mount-all-key,cp,find,ls,seq,random,far"
READING = {"cp", "find", "ls", "seq", "seq-again", "random", "random-again"}
OF_A_PROCESS = {"mount-all-key", "mount-all-key-again", "memory-walk", "memory-seq", "far-cp", "far-seq"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def bench(folder: Path, *words: str | Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RPDRIVE_")}
    if path is not None:
        environment["PATH"] = str(path)
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks/drives.py", "--tiny", "--rounds", "1", "--dir", folder, *words],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def programs(folder: Path, *names: str) -> Path:
    """A folder with these programs of the system, and no others."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found is not None, f"{name} is not on this machine"
        (folder / name).symlink_to(found)
    return folder


def left(folder: Path) -> list[str]:
    """What is still mounted below a folder."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [where for where in mounted if where.startswith(f"{folder}/")]


@pytest.mark.needs_fuse
def test_every_step_is_measured_and_the_vault_used_again(folder: Path) -> None:
    file = folder / "result.json"
    file.write_text('{"comparison": 1}')
    done = bench(folder, "--only", STEPS, "--tools", "kernel,plain", "--json", file)
    assert done.returncode == 0, done.stdout + done.stderr
    whole = json.loads(file.read_text())
    assert whole["comparison"] == 1  # what another part has put there
    result: dict[str, Any] = whole["drives"]
    figures = result["figures"]
    assert {row for row in figures if "kernel" in figures[row]} == READING | OF_A_PROCESS
    assert {row for row in figures if "plain" in figures[row]} == READING
    assert set(figures) == set(result["units"]) and result["failures"] == []
    assert all(len(found) == 1 and found[0] > 0 for tools in figures.values() for found in tools.values())
    assert result["store"]["stored"] > 1 << 20 and figures["far-seq"]["store"]
    for step in ("cp", "find", "ls", "seq", "random", "far-cp", "far-seq"):
        status = result["status"][step]["kernel"]
        assert status["driver"]["name"] == "kernel" and status["store_requests"] > 0
    assert "| `ls -l` of 300 names, s |" in done.stdout
    assert "all 5 points as one drive, once more, s |" in done.stdout
    assert "missed" not in done.stdout and "| to reach |" not in done.stdout  # that is said of the full data only
    assert left(folder) == [] and not Path(result["copies"]).exists()

    vault = folder / "drives/tiny/rpdrive-repository/vault.json"
    before = vault.stat()
    done = bench(folder, "--only", "ls", "--tools", "kernel", "--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    assert vault.stat().st_ino == before.st_ino


def test_a_missing_tool_is_left_out_and_said(folder: Path, tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", "ls", "df")
    done = bench(folder, "--only", "ls", "--tools", "restic,squashfuse,plain", path=path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out: restic is missing: `apt install restic`" in done.stdout
    assert "left out: squashfuse is missing: `apt install squashfuse`" in done.stdout
    assert "|  | plain |" in done.stdout


def test_a_tool_that_fails_is_left_out_and_ends_in_an_error(folder: Path, tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", "ls", "df")
    (path / "restic").write_text("#!/bin/sh\necho 'no such luck' >&2\nexit 1\n")
    (path / "restic").chmod(0o755)
    done = bench(folder, "--only", "ls", "--tools", "restic,plain", path=path)
    assert done.returncode == 1
    assert "left out: restic failed at preparing" in done.stdout and "no such luck" in done.stdout
    assert "|  | plain |" in done.stdout


def test_what_is_not_there_is_refused(folder: Path) -> None:
    for words, text in ((("--only", "fly"), "no step 'fly'"), (("--tools", "tar"), "no tool 'tar'")):
        done = bench(folder, *words)
        assert done.returncode == 2 and text in done.stderr


def test_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from drive_targets import rows, table, verdict

    found = rows(500, 1 << 30, 20_000, 100_000, 50_000, 1_000, 0.03)

    def of(row: str, **medians: float) -> tuple[str, str]:
        return tuple(verdict(found[row], medians))  # type: ignore[return-value]

    assert of("mount-key", kernel=0.4) == ("0.4 s or less", "reached")
    assert of("mount-many-passphrase", kernel=0.71, fuse=0.7)[1] == "kernel **missed**, fuse reached"
    others = {"restic": 18.0, "borg": 12.0}
    assert of("cp", kernel=3.0, squashfuse=6.0, **others) == (
        "ahead of squashfuse; 4 x the better of restic and Borg (3.00 s)", "reached",
    )  # fmt: skip
    assert of("cp", kernel=3.1, squashfuse=6.0, **others)[1] == "**missed**"
    assert of("cp", kernel=3.0, squashfuse=2.9, **others)[1] == "**missed**"
    assert of("cp", kernel=3.0) == ("", "")  # nothing to compare with
    assert of("find", kernel=4.0, restic=16.0) == ("4 x the other (4.00 s)", "reached")
    assert of("ls", kernel=1.0, **others)[1] == "**missed**"
    assert of("seq", kernel=451.0, squashfuse=450.0)[1] == "reached"
    assert of("seq", kernel=450.0, squashfuse=450.0)[1] == "**missed**"
    assert of("seq-again", kernel=4999.0)[1] == "**missed**"
    assert of("random-again", kernel=0.3)[1] == "reached"
    assert of("memory-walk", kernel=150.0) == ("under 150 MB", "**missed**")
    assert of("far-cp", kernel=9.9)[1] == "reached"
    assert of("far-seq", kernel=80.0, store=100.0) == ("80% of what the store gives (80.0 of 100 MB/s)", "reached")
    assert of("far-seq", kernel=79.0, store=100.0)[1] == "**missed**"
    last = table(found, {"ls": {"kernel": 0.5, **others}}, ["kernel", "restic", "borg"]).splitlines()[-1]
    assert last.startswith("| `ls -l` of 50,000 names, s | 0.50 | 18.0 | 12.0 | 15 x the better of ")
    assert last.endswith(" (0.80 s) | reached |")
