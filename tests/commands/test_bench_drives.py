"""Benchmarks on a few files: each step is measured through real commands and drives; what was reached is said."""

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
OF_A_PROCESS = {"seq-cpu", "mount-all-key", "mount-all-key-again", "memory-walk", "memory-seq", "far-cp", "far-seq"}


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
    for row, tools in figures.items():  # of processor seconds, so few files may take less than a tick of the clock
        for found in tools.values():
            assert len(found) == 1 and (found[0] > 0 or (row == "seq-cpu" and found[0] == 0)), row
    assert result["store"]["stored"] > 1 << 20 and figures["far-seq"]["store"]
    for step in ("cp", "find", "ls", "seq", "random", "far-cp", "far-seq"):
        status = result["status"][step]["kernel"]
        assert status["driver"]["name"] == "kernel" and status["store_requests"] > 0
    assert "| `ls -l` of 300 names, s |" in done.stdout
    assert "all 5 points as one drive, again, s |" in done.stdout
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


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


def test_targets(benchmarks: None) -> None:
    from targets import Sizes, rows, verdict

    found = rows(Sizes(1 << 30, 20_000, 100_000, 50_000, 1_000, 0.03, 500))

    def of(row: str, **least: float) -> tuple[str, str]:
        return verdict(found[row], row, {row: least})

    assert of("mount-key", kernel=0.25) == ("0.25", "reached")
    assert of("mount-many-passphrase", kernel=0.51, fuse=0.5)[1] == "kernel **missed**, fuse reached"
    assert of("first", rpdrive=10, restic=20, squashfs=8) == ("1.25 x squashfs (10.0)", "reached")
    assert of("first", rpdrive=10, restic=20) == ("", "")  # nothing to compare with
    assert of("unchanged", rpdrive=1.6, restic=5) == ("0.3 x restic (1.50)", "**missed**")
    assert of("cp", kernel=3.0, squashfuse=6.0, plain=3.0) == ("1 x the plain files (3.00)", "reached")
    assert of("seq", rpdrive=1.1, squashfuse=1.2, squashfuse_ll=1.0)[1] == "**missed**"
    assert of("restore-memory", rpdrive=251) == ("250", "**missed**")
    assert of("restore-cpu", rpdrive=1) == ("", "")
    assert verdict(found["far-seq"], "far-seq", {"far-seq": {"kernel": 2.0}, "seq": {"kernel": 1.8}}) == (
        "1.11 x the same without delay (2.00)", "reached",
    )  # fmt: skip
    assert verdict(found["far-seq"], "far-seq", {"far-seq": {"kernel": 2.0}}) == ("", "")


def test_a_table_has_least_median_ratios_and_verdict(benchmarks: None) -> None:
    from figures import Figures, turned
    from targets import Sizes, rows, table

    found = rows(Sizes(1 << 30, 20_000, 100_000, 50_000, 1_000, 0.03))
    figures = Figures()
    for tool, seconds in (
        ("rpdrive", (0.6, 0.5, 0.9)),
        ("restic", (18, 19, 20)),
        ("borg", (5,)),
        ("plain", (0.5,)),
    ):
        for each in seconds:
            figures.note("ls", tool, each)
    figures.note("memory-walk", "rpdrive", 100)
    figures.note("memory-walk", "plain", 1)
    lines = table(found, figures, ["rpdrive", "restic", "borg", "plain"]).splitlines()
    assert lines[0] == "|  | rpdrive | restic | borg | plain | x others | x plain | to reach |  |"
    assert lines[2] == "| peak memory of the drive after `find`, MB | 100 |  |  | 1.00 |  |  | 150 | reached |"
    assert lines[3] == (
        "| `ls -l` of 50,000 names, s | 0.50 (0.60) | 18.0 (19.0) | 5.00 | 0.50 | 0.10 | 1.00 "
        "| 1 x the plain files (0.50) | reached |"
    )
    assert [turned("abc", number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_a_row_of_the_history(benchmarks: None) -> None:
    import history

    result = {
        "machine": {"time": "2026-11-28T04:00:00Z"}, "commit": {"commit": "0123abcd", "changed": "yes"},
        "tools": {"rpdrive": {"version": "rpdrive 0.2.0, driver kernel"}},
        "least": {"first": {"rpdrive": 10.0, "squashfs": 8.0}, "random": {"rpdrive": 4.3, "squashfs": 0.36},
                  "find": {"rpdrive": 1.0}},
    }  # fmt: skip
    line = history.row(result)
    assert line == "| 2026-11-28 | 0.2.0 (0123abcd, changed) | 1.25 |  |  |  |  |  |  |  | 11.9 |  |"
    page = history.PAGE.read_text()
    assert page.count(history.heads()) == 1
    longer = history.appended(page, line).splitlines()
    longer.remove(line)
    assert longer == page.splitlines()
    with pytest.raises(ValueError):
        history.appended("no history", line)


@pytest.mark.needs_fuse
def test_the_table_of_everything(tmp_path: Path) -> None:
    words = ["--rounds", "1", "--tools", "rpdrive,plain", "--rows", "first,unchanged,ls,seq,restore,changed"]
    file = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/bench.py", "--table", "--tiny", "--dir", tmp_path, *words,
         "--json", file, "--history"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(file.read_text())
    both = {"first", "first-cpu", "first-memory", "ls", "seq", "seq-again"}
    both |= {"restore", "restore-cpu", "restore-memory"}
    figures = result["figures"]
    assert {row for row in figures if "plain" in figures[row]} == both
    own = both | {"first-stored", "unchanged", "changed", "seq-cpu"}
    assert {row for row in figures if "rpdrive" in figures[row]} > own
    assert "| `ls -l` of 300 names, s |" in done.stdout and done.stdout.splitlines()[-1].startswith("| 20")
    assert left(tmp_path) == []
