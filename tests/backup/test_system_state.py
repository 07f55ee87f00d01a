"""`rpdrive backup --system-state`: what is collected stands at /.system, and nothing is left behind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backup.request import Request
from backup.sources.choice import selection
from backup.sources.staging import Staging, remove_left_behind
from backup.systems.posix import PosixSystem
from catalog.errors import LocalError, UsageError
from catalog.format.records import ItemKind
from tests.kit.cli import ROOT, Cli

# Of the real machine only what is small; nobody knows what else a machine that runs tests has there.
FEW = [
    f"--exclude={path}"
    for path in ("/boot", "/efi", "/usr", "/var", "/lib", "/etc/*", "!/etc/passwd", "!/etc/apt/")
]


def staged(cli: Cli) -> list[Path]:
    return [path for path in cli.home.rglob("*") if path.parent.name == "staging"]


@pytest.mark.needs_root
def test_a_system_state_is_saved_and_shown(rpdrive: Cli, vault: Path) -> None:
    text = rpdrive.ok("backup", "--system-state", "--dry-run", *FEW)
    assert text.startswith("Dry run of system state: nothing was stored")
    assert staged(rpdrive) == []
    made = rpdrive.json("backup", "--system-state", *FEW)
    assert (made["item"], made["sequence"]) == ("system state", 1)
    assert staged(rpdrive) == []
    assert not Path("/.system").exists()

    shown = rpdrive.json("system", "show", "latest")
    assert shown["refused"] == [] and shown["state"]["computer"]["os"] == "debian"
    assert shown["point"]["id"] == made["point"]

    again = rpdrive.json("backup", "--system-state", *FEW)
    assert (again["new"], again["removed"]) == (0, 0)
    # Only what is volatile changes by itself; what other tests mount and install meanwhile is no fault.
    changed = rpdrive.json("diff", made["point"], again["point"])["changes"]
    by_others = ("/etc", "/.system/system.json", "/.system/drift/unowned.txt", "/.system/disks/lsblk.json")
    steady = [c["path"] for c in changed if not c["path"].startswith(("/.system/volatile/", *by_others))]
    assert steady == []


def test_why_says_what_is_saved(rpdrive: Cli) -> None:
    args = [f"--why={path}" for path in ("/.system/system.json", "/etc/hosts", "/home", "/etc/passwd")]
    answers = rpdrive.json("backup", "--system-state", "--exclude=/etc/passwd", *args)
    assert [answer["saved"] for answer in answers] == [True, True, False, False]
    assert "made by the backup" in answers[0]["reason"]


def test_a_point_without_one_is_named(rpdrive: Cli, vault: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    rpdrive.ok("backup", tmp_path / "file")
    assert "holds no system state; `rpdrive points`" in rpdrive.fails("system", "show", "latest", code=4)


def test_paths_and_options_that_do_not_fit(rpdrive: Cli) -> None:
    assert "--system-state chooses what it saves" in rpdrive.fails(
        "backup", "--system-state", "/etc", "--why", "/x", code=2
    )
    assert "nothing to save was named" in rpdrive.fails("backup", code=2)
    assert "--with-luks-headers is for --system-state" in rpdrive.fails(
        "backup", "/etc", "--with-luks-headers", code=2
    )


class Elsewhere(PosixSystem):
    name = "Darwin"


def test_other_systems_are_refused() -> None:
    request = Request([], kind=ItemKind.SYSTEM)
    with pytest.raises(UsageError, match="of Darwin can't be collected"):
        selection(request, Elsewhere())
    paths = selection(request, PosixSystem()).paths
    assert b"/etc" in paths and b"/.system" in paths and all(p == b"/.system" or os.path.exists(p) for p in paths)


# --- the staging folder ----------------------------------------------------------------------------------------

HOLDING = """
import sys, time
from pathlib import Path
from backup.sources.staging import Staging
from backup.systems.posix import PosixSystem
made = Staging(Path(sys.argv[1]), PosixSystem.lock)
(made.path / "secret").write_text("key slots")
print(made.path, flush=True)
time.sleep(600)
"""


def test_what_a_killed_process_left_is_removed_at_the_next_start(rpdrive: Cli, vault: Path, tmp_path: Path) -> None:
    state = rpdrive.home / "state"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, state], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert process.stdout is not None
    with process, process.stdout:
        folder = Path(process.stdout.readline().strip())
        assert folder.is_relative_to(state) and folder.stat().st_mode & 0o077 == 0
        (tmp_path / "file").write_text("x")
        rpdrive.ok("backup", tmp_path / "file")
        assert (folder / "secret").exists(), "its process lives"
        process.send_signal(signal.SIGKILL)
    assert (folder / "secret").exists()
    rpdrive.ok("backup", tmp_path / "file")
    assert staged(rpdrive) == []


def test_a_staging_folder_without_its_lock_is_left_behind(tmp_path: Path) -> None:
    made, other = Staging(tmp_path, PosixSystem.lock), Staging(tmp_path, PosixSystem.lock)
    (tmp_path / "staging" / "lost").mkdir()
    remove_left_behind(tmp_path, PosixSystem.lock)
    assert made.path.exists() and other.path.exists() and not (tmp_path / "staging" / "lost").exists()
    made.close()
    made.close()
    assert not made.path.exists() and other.path.exists()
    other.close()
    assert list((tmp_path / "staging").iterdir()) == []
    remove_left_behind(tmp_path / "nothing", PosixSystem.lock)


def test_a_staging_folder_that_can_not_be_made(tmp_path: Path) -> None:
    def refuse(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
        raise OSError(28, "No space left on device")

    with pytest.raises(LocalError, match="can't be made: No space left"):
        Staging(tmp_path, refuse)
