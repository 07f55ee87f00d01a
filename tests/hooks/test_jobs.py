"""Hooks around real backups and restores: once each, in order, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catalog.access.settings import Settings
from catalog.errors import HookFailed
from catalog.hooks.around import Around, job_facts
from catalog.hooks.config import Hooks, Mode, Stage, read_hooks
from catalog.vault import Vault
from tests.kit.cli import Cli

PROGRAM = """#!/bin/sh
# usage: hook LOG WORDS...: notes that it ran, and does what the words say
log=$1; shift
echo "$RPDRIVE_STAGE $RPDRIVE_KIND $RPDRIVE_ITEM ${RPDRIVE_OUTCOME:--} ${RPDRIVE_POINT:--}" >> "$log"
env > "$log.env.$RPDRIVE_STAGE"
for word in "$@"; do
    case $word in
    fail) echo "it went wrong" >&2; exit 7 ;;
    hang) sleep 1000 & sleep 1000 ;;
    big) head -c 1000000 /dev/zero | tr '\\0' x ;;
    ready) echo READY; cat > /dev/null; echo "held $RPDRIVE_JOB" >> "$log" ;;
    die) echo READY; echo "it died" ; exit 0 ;;
    badend) echo READY; cat > /dev/null; echo "no stop"; exit 5 ;;
    esac
done
"""


class Hooked:
    """A machine with hooks, a source and a log of what ran."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self.cli = cli
        self.source = folder / "source"
        self.source.mkdir()
        for n in range(3):
            (self.source / f"file-{n}").write_bytes(os.urandom(100_000))
        self.program = folder / "hook"
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        self.log = folder / "log"

    def write(self, *rows: tuple[str, str], mode: str = "essential", more: str = "") -> None:
        text = ""
        for n, (stage, words) in enumerate(rows):
            run = [str(self.program), str(self.log), *words.split()]
            text += f'[[hook]]\nname = "{stage}-{n}"\nstage = "{stage}"\nmode = "{mode}"\n{more}\nrun = {run}\n'
        path = Settings(self.cli.environ).config / "hooks.toml"
        path.write_text(text)
        path.chmod(0o600)

    def ran(self) -> list[str]:
        """The stages that ran, with their outcomes."""
        rows = [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [row[0] if row[0] == "held" else f"{row[0]} {row[3]}" for row in rows]

    def job(self) -> Any:
        return self.cli.json("jobs", "--last", "1")["jobs"][0]


@pytest.fixture
def hooked(rpdrive: Cli, vault: Vault, tmp_path: Path) -> Hooked:
    return Hooked(rpdrive, tmp_path)


ALL = [("before", ""), ("hold", "ready"), ("after", ""), ("on_failure", "")]


def test_a_backup_runs_each_hook_once(hooked: Hooked) -> None:
    hooked.write(*ALL)
    done = hooked.cli.json("backup", hooked.source)
    text = hooked.log.read_text().splitlines()
    assert hooked.ran() == ["before -", "hold -", "held", "after completed"]
    assert text[-1].split()[-1] == done["point"]
    environment = (hooked.log.parent / "log.env.after").read_text()
    assert "RPDRIVE_JOB=" in environment and "RPDRIVE_MACHINE=" in environment
    assert "PASSPHRASE" not in environment


@pytest.mark.parametrize("stage", ["before", "hold"])
def test_an_essential_hook_that_fails_stops_the_job(hooked: Hooked, stage: str) -> None:
    hooked.write((stage, "big fail"), ("after", ""), ("on_failure", ""))
    said = hooked.cli.fails("backup", hooked.source, code=11)
    assert f"the hook '{stage}-0' ({stage})" in said and "it went wrong" in said and len(said) < 6_000
    assert hooked.ran() == [f"{stage} -", "on_failure failed", "after failed"]
    assert hooked.cli.json("points")["points"] == []
    assert hooked.job()["outcome"] == "failed" and "it went wrong" in hooked.job()["error"]


def test_an_optional_hook_that_fails_is_a_problem(hooked: Hooked) -> None:
    hooked.write(("before", "fail"), ("hold", "badend"), ("after", "fail"), mode="optional")
    done = hooked.cli.run("backup", hooked.source)
    assert done.returncode == 3
    assert hooked.ran() == ["before -", "hold -", "after completed"]
    job = hooked.job()
    assert job["outcome"] == "completed with warnings" and job["warnings"] == 3


def test_a_held_process_that_ended_by_itself_is_missed(hooked: Hooked) -> None:
    """While files are read, or at the latest when all are read: what they are worth is not known."""
    hooked.write(("hold", "die"))
    hooks = read_hooks(Settings(hooked.cli.environ))
    for look in (Around.check, Around.end):
        around = Around(hooks, "x", job_facts(kind="backup"), pytest.fail)
        around.begin()
        while around.held[0].running():
            time.sleep(0.01)
        with pytest.raises(HookFailed, match="ended while files were read: it died"):
            look(around)
    hooked.ran()
    warnings: list[str] = []
    optional = Hooks(hooks.path, [msgspec.structs.replace(hooks.rows[0], mode=Mode.OPTIONAL)])
    around = Around(optional, "x", job_facts(kind="backup"), warnings.append)
    with around.job(Stage.BEFORE, Stage.AFTER):
        around.begin()
        while around.held[0].running():
            time.sleep(0.01)
        around.check()
        around.check()
        around.end()
    assert len(warnings) == 1


def test_a_held_process_that_does_not_end_well_fails_the_job(hooked: Hooked) -> None:
    hooked.write(("hold", "badend"), ("after", ""))
    said = hooked.cli.fails("backup", hooked.source, code=11)
    assert "failed with exit code 5: no stop" in said
    assert hooked.ran() == ["hold -", "after failed"]
    assert hooked.cli.json("points")["points"] == []


def test_a_hook_that_takes_too_long_is_ended_with_all_that_it_started(hooked: Hooked) -> None:
    hooked.write(("before", "hang"), ("after", ""), more="timeout = 0.5")
    said = hooked.cli.fails("backup", hooked.source, code=11)
    assert "the hook 'before-0' (before) took longer than 0.5 s and was stopped" in said
    assert hooked.ran()[-1] == "after failed"
    left = subprocess.run(["pgrep", "-f", str(hooked.program)], capture_output=True, text=True, check=False)
    assert left.stdout == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_hooks_after_a_job_run_when_it_is_ended(hooked: Hooked, number: signal.Signals) -> None:
    hooked.write(("hold", "ready"), ("after", ""), ("on_failure", ""))
    (hooked.source / "large").write_bytes(os.urandom(2_000_000))
    process = subprocess.Popen(
        hooked.cli.slow_command("backup", hooked.source), env=hooked.cli.environ, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    while not hooked.log.exists():
        assert process.poll() is None
    process.send_signal(number)
    assert process.wait(60) == 130
    assert process.stderr.read() == b"rpdrive: interrupted\n"
    process.stderr.close()
    ran = hooked.ran()
    assert ran == ["hold -", "held", "on_failure interrupted", "after interrupted"]
    assert hooked.job()["outcome"] == "interrupted"


def test_nohup_lets_a_job_go_on(hooked: Hooked) -> None:
    hooked.write(("hold", "ready"), ("after", ""))
    process = subprocess.Popen(
        ["nohup", *hooked.cli.slow_command("backup", hooked.source)], env=hooked.cli.environ,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while not hooked.log.exists():
        assert process.poll() is None
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 0
    assert hooked.ran()[-1] == "after completed"


def test_restores_have_hooks_of_their_own(hooked: Hooked, tmp_path: Path) -> None:
    hooked.write(("before", ""), ("before_restore", ""), ("after_restore", ""))
    hooked.cli.ok("backup", hooked.source)
    assert hooked.ran() == ["before -"]
    hooked.cli.ok("restore", "latest", "--to", tmp_path / "out")
    assert hooked.ran() == ["before_restore -", "after_restore completed"]
    hooked.write(("before_restore", "fail"), ("after_restore", ""))
    hooked.cli.fails("restore", "latest", "--to", tmp_path / "other", code=11)
    assert hooked.ran() == ["before_restore -", "after_restore failed"]
    assert not (tmp_path / "other" / "file-0").exists()


def test_async_hooks_are_waited_for(hooked: Hooked) -> None:
    hooked.write(("before", "fail"), mode="async")
    assert hooked.cli.run("backup", hooked.source).returncode == 3
    assert hooked.ran() == ["before -"]


def test_hooks_that_do_not_run(hooked: Hooked) -> None:
    """Those of other items, those of a dry run, and all of a file that others may change: that job fails."""
    hooked.write(("before", "fail"), more='items = ["other"]')
    hooked.cli.ok("backup", hooked.source, "--item", "mine")
    hooked.write(("before", "fail"))
    hooked.cli.ok("backup", hooked.source, "--dry-run")
    (Settings(hooked.cli.environ).config / "hooks.toml").chmod(0o666)
    said = hooked.cli.fails("backup", hooked.source, code=11)
    assert "may be changed by other users" in said and hooked.ran() == []
    jobs = hooked.cli.json("jobs")["jobs"]  # of two within one second, either may be the last
    assert sorted(job["outcome"] for job in jobs) == ["completed", "failed"]
