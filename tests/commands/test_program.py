"""The command itself: help, imports, exit codes, and what it does when its output can't be written."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import catalog.errors
import rpdrive as program
from catalog.errors import RpdriveError
from catalog.vault import Vault
from tests.kit.cli import ROOT, Cli
from tests.kit.vaults import PASSPHRASE

HEAVY = (
    "azure",
    "cryptography",
    "blake3",
    "msgspec",
    "zstandard",
    "rich",
    "diskcache",
    "sqlite3",
    "fuse",
)


def classes(base: type[RpdriveError]) -> set[type[RpdriveError]]:
    return {base}.union(*(classes(c) for c in base.__subclasses__()))


def test_the_page_of_exit_codes_matches_the_errors() -> None:
    rows = re.findall(
        r"^\| (\d+) \|[^|]*(?:\\\|[^|]*)*\| ?([^|]*?) ?\|$", (ROOT / "docs/exit-codes.md").read_text(), re.M
    )
    page = {int(code): {k for k in kinds.split(", ") if k} for code, kinds in rows}
    code: dict[int, set[str]] = {0: set(), catalog.errors.WITH_PROBLEMS: set(), program.BROKEN_PIPE: set()}
    for error in classes(RpdriveError):
        if error.__module__ in (catalog.errors.__name__, program.__name__):
            code.setdefault(error.exit_code, set()).add(error.__name__)
    assert page == code


# Not in a command that lists points, or in the two processes behind a drive: each costs them 2 to 100 ms.
SLOW = {"asyncio", "azure", "diskcache", "email", "fuse", "http", "jinja2", "pyfastcdc", "requests", "rich"}
SLOW |= {"sqlite3", "ssl", "starlette", "tempfile", "tomllib", "uvicorn", "xml"}
RUN = "import sys, rpdrive\nrpdrive.run(sys.argv[1:])"
BEFORE_THE_DRIVE = "import sys, rpdrive, mount.commands, mount.opening"
DRIVE = (
    "import sys, mount.process.background\n"
    "from catalog.access.session import Session\n"
    "from mount.process import service\n"
    "service.preload()"
)


@pytest.mark.unmeasured
@pytest.mark.needs_fuse
@pytest.mark.parametrize(
    ("script", "args", "absent", "most"),
    [
        (RUN, ["mounts"], {"msgspec", "cryptography", "zstandard"}, 82),
        (RUN, ["points"], {"dataclasses", "socket"}, 187),
        # The command waits for the drive's process, which should start before the command loads what it reads by.
        (BEFORE_THE_DRIVE, [], {"msgspec", "cryptography", "zstandard", "logging", "concurrent"}, 80),
        (DRIVE, [], {"typer"}, 212),
    ],
    ids=["mounts", "points", "before the drive", "drive"],
)
def test_a_start_imports_little(
    rpdrive: Cli, vault: Vault, script: str, args: list[str], absent: set[str], most: int
) -> None:
    end = "\nprint('MODULES', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script + end, *args], env=rpdrive.environ, capture_output=True, check=True, cwd=ROOT
    )
    modules = set(done.stdout.decode().partition("MODULES")[2].split())
    assert (SLOW | absent) & modules == set()
    added = {module for module in modules if module.split(".")[0] not in sys.stdlib_module_names}
    assert len(added) <= most, f"{len(added)} modules; import late what is not always used, or raise the bound"


@pytest.mark.unmeasured
@pytest.mark.parametrize("args", [["--help"], ["vault", "--help"], ["points", "--help"], ["ls", "--help"]])
def test_help_imports_nothing_heavy(rpdrive: Cli, args: list[str]) -> None:
    script = (
        "import sys, rpdrive\n"
        "code = rpdrive.run(sys.argv[1:])\n"
        "print('MODULES', *{m.split('.')[0] for m in sys.modules})\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *args], env=rpdrive.environ, capture_output=True, check=True, cwd=ROOT
    )
    text, _, modules = done.stdout.decode().partition("MODULES")
    assert "Usage: rpdrive" in text
    assert "typer" in modules.split()
    assert set(HEAVY).isdisjoint(modules.split())
    assert not rpdrive.home.exists()


def test_help_lists_the_commands_of_every_package(rpdrive: Cli) -> None:
    text = rpdrive.ok("--help")
    for name in ("backup", "points", "ls", "vault", "mount", "unmount", "mounts", "cache"):
        assert re.search(rf"^  {name} ", text, re.M), name


def test_a_local_vault_needs_no_azure(rpdrive: Cli, vault: Vault) -> None:
    script = (
        "import sys, rpdrive\n"
        "code = rpdrive.run(['points'])\n"
        "print(*{m.split('.')[0] for m in sys.modules})\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=rpdrive.environ, capture_output=True, check=True, cwd=ROOT
    )
    modules = done.stdout.decode().splitlines()[-1].split()
    assert "cryptography" in modules
    assert {"azure", "rich", "diskcache", "fuse"}.isdisjoint(modules)


def test_a_package_of_another_program_is_noticed(rpdrive: Cli, tmp_path: Path) -> None:
    script = "import sys; sys.path.insert(0, sys.argv[1]); import rpdrive"
    (tmp_path / "cache").mkdir()
    for file in ("cache/__init__.py", "mount.py"):
        (tmp_path / file).write_text("")
        done = subprocess.run(
            [sys.executable, "-c", script, tmp_path],
            env=rpdrive.environ,
            capture_output=True,
            check=False,
            cwd=ROOT,
        )
        (line,) = done.stderr.decode().splitlines()
        assert done.returncode == 1 and "environment of its own" in line
        assert f"`{Path(file).parts[0].removesuffix('.py')}` in {tmp_path}" in line
        (tmp_path / file).unlink()


def test_version(rpdrive: Cli) -> None:
    assert rpdrive.ok("--version").startswith("rpdrive")


def test_completion_offers_commands(rpdrive: Cli) -> None:
    asked = {"_RPDRIVE_COMPLETE": "complete_bash", "COMP_WORDS": "rpdrive po", "COMP_CWORD": "1"}
    assert rpdrive.run(env=dict(asked)).stdout.decode().split() == ["points", "policy"]
    asked |= {"COMP_WORDS": "rpdrive vault ", "COMP_CWORD": "2"}
    offered = rpdrive.run(env=dict(asked)).stdout.decode().split()
    want = {
        "create",
        "info",
        "passphrase",
        "unlock",
        "lock",
        "credentials",
        "connect",
        "disconnect",
        "protect",
        "admin",
    }
    assert want <= {*offered}


@pytest.mark.parametrize(
    "args",
    [["nonsense"], ["--nonsense"], ["points", "--nonsense"], ["ls"], ["ls", "a", "b"], ["vault", "nonsense"]],
)
def test_malformed_command_lines(rpdrive: Cli, args: list[str]) -> None:
    assert "--help`" in rpdrive.fails(*args, code=2)
    done = rpdrive.run(*args, "--json")
    assert done.returncode == 2
    assert json.loads(done.stderr)["error"]["kind"] == "UsageError"


def test_no_command_shows_help(rpdrive: Cli) -> None:
    done = rpdrive.run()
    assert done.returncode == 2 and b"Usage: rpdrive" in done.stderr


def test_global_options_may_come_before_or_after_the_command(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a passphrase of many words\n")
    bare = {"RPDRIVE_VAULT": None, "RPDRIVE_PASSPHRASE": None}
    here = str(rpdrive.vault)
    for args in (
        ["--vault", here, "--passphrase-file", str(secret), "vault", "info", "--json"],
        ["vault", "info", "--json", f"--vault={here}", "--passphrase-file", str(secret)],
        ["--vault", "/elsewhere", "vault", "info", "--vault", here, "--json", "--passphrase-file", str(secret)],
    ):
        assert json.loads(rpdrive.ok(*args, env=dict(bare)))["id"] == vault.id.hex()
    wrong = {"RPDRIVE_VAULT": "/elsewhere", "RPDRIVE_PASSPHRASE": "the wrong passphrase of many words"}
    args = ["vault", "info", "--json", "--vault", here, "--passphrase-file", str(secret)]
    assert json.loads(rpdrive.ok(*args, env=dict(wrong)))["id"] == vault.id.hex()


def test_verbose_prints_the_requests_and_the_cause_of_an_error(rpdrive: Cli, vault: Vault) -> None:
    done = rpdrive.run("points", "-v")
    assert done.returncode == 0 and b"rpdrive: 3 requests, " in done.stderr
    done = rpdrive.run("-v", "points", "--vault", str(rpdrive.vault / "missing"))
    assert done.returncode == 6 and b"because of ObjectNotFound" in done.stderr


# --- output that can't be written ---------------------------------------------------------------------------


def test_a_reader_that_goes_away_is_no_error(rpdrive: Cli, vault: Vault) -> None:
    for args in (["--help"], ["vault", "info"], ["vault", "info", "--json"]):
        read, write = os.pipe()
        os.close(read)
        done = rpdrive.run(*args, stdout=write)
        os.close(write)
        assert (done.returncode, done.stderr) == (program.BROKEN_PIPE, b""), args


def test_a_full_disk_under_the_output_is_an_error(rpdrive: Cli, vault: Vault) -> None:
    with Path("/dev/full").open("wb") as full:
        done = rpdrive.run("vault", "info", stdout=full)
        assert done.returncode == 11 and done.stderr.startswith(b"rpdrive: the output can't be written"), done
        assert done.stderr.count(b"\n") == 1
        done = rpdrive.run("vault", "nonsense", stderr=full)
        assert done.returncode == 2


def test_closed_descriptors_are_not_taken_by_the_vaults_files(rpdrive: Cli, vault: Vault) -> None:
    words = [str(w) for w in rpdrive.command("vault", "info", "--sizes")]
    for closed, heard in (("<&-", True), ("2>&-", True), (">&-", False), ("<&- >&- 2>&-", False)):
        done = subprocess.run(
            ["/bin/sh", "-c", f'"$@" {closed}', "sh", *words], env=rpdrive.environ, capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b""), closed
        assert (vault.id.hex().encode() in done.stdout) == heard, closed


# --- interruptions and bugs ---------------------------------------------------------------------------------


def test_an_interrupt_is_one_line(rpdrive: Cli, vault: Vault) -> None:
    fifo = rpdrive.vault.parent / "fifo"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        rpdrive.command("points", "--passphrase-file", fifo),
        env=rpdrive.environ,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with fifo.open("wb"):  # opens once the command waits for its passphrase
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"rpdrive: interrupted\n")


def test_a_bug_leaves_its_traceback_in_a_file(rpdrive: Cli) -> None:
    script = (
        "import sys, catalog.access.session, rpdrive\n"
        "def broken(self): raise ZeroDivisionError('a bug')\n"
        "catalog.access.session.Session.open_store = broken\n"
        "sys.exit(rpdrive.run(['points', *sys.argv[1:]]))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=rpdrive.environ, capture_output=True, check=False)
    line = done.stderr.decode()
    assert done.returncode == 70 and line.count("\n") == 1 and "Traceback" not in line, done
    log = Path(line.split()[-1])
    assert log.is_relative_to(rpdrive.home / "state") and log.stat().st_mode & 0o777 == 0o600
    assert "Traceback" in log.read_text() and "ZeroDivisionError: a bug" in log.read_text()
    done = subprocess.run([*command, "--json"], env=rpdrive.environ, capture_output=True, check=False)
    assert json.loads(done.stderr)["error"]["exit_code"] == done.returncode == 70


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["backup", ""], "an argument"),
        (["backup", "a", ""], "an argument"),
        (["backup", "--", ""], "an argument"),
        (["backup", "a", "--machine", ""], "the value of --machine"),
        (["backup", "a", "--machine="], "the value of --machine"),
        (["restore", "latest:/a", "--to", ""], "the value of --to"),
        (["restore", "latest:/a", "--to="], "the value of --to"),
        (["--vault", "", "points"], "the value of --vault"),
        (["restore", "latest:/a", "--json", "--to", ""], "the value of --to"),
    ],
)
def test_an_empty_argument_is_no_argument(rpdrive: Cli, vault: Vault, args: list[str], what: str) -> None:
    """`--to "$UNSET"` restored into the current folder, and `--machine ""` registered a second machine."""
    done = rpdrive.run(*args)
    assert done.returncode == 2
    text = done.stderr.decode()
    assert f"{what} is empty" in text and done.stdout == b""
    assert list(vault.store.folders("")) == ["vault"], "nothing was stored"


def test_what_only_looks_empty_is_an_argument(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "--to=").write_bytes(b"a file of this name")
    done = subprocess.run(
        rpdrive.command("backup", "--", "--to="),
        env=rpdrive.environ,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done


@pytest.mark.needs_root
@pytest.mark.parametrize(
    "args", [["points"], ["mounts"], ["backup", "/etc/hostname"], ["vault", "unlock", "--save"]]
)
def test_a_user_without_a_home(vault: Vault, tmp_path: Path, args: list[str]) -> None:
    """A container or unit that runs as a number, without HOME: a traceback of 110 lines."""
    done = subprocess.run(
        ["unshare", "--user", "--map-user=54321", "env", "-i", "PATH=/usr/bin:/bin", f"PYTHONPATH={ROOT}",
         f"RPDRIVE_PASSPHRASE={PASSPHRASE}", sys.executable, "-m", "rpdrive", f"--vault={tmp_path}/vault", *args],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 11, done
    assert done.stderr.count("\n") == 1 and "set HOME, or RPDRIVE_HOME" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["vault"]


def test_a_home_that_nobody_has(rpdrive: Cli) -> None:
    for args in (
        ["--vault", "~nobody-at-all/vault", "points"],
        ["restore", "latest:/x", "--to", "~nobody-at-all/x"],
    ):
        assert "~nobody-at-all" in rpdrive.fails(*args, code=2)
    assert "~nobody-at-all" in rpdrive.fails("points", code=2, env={"RPDRIVE_HOME": "~nobody-at-all"})


def test_a_current_folder_that_is_gone(rpdrive: Cli, tmp_path: Path) -> None:
    script = f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && exec {sys.executable} -m rpdrive mount ."
    (tmp_path / "gone").mkdir()
    done = subprocess.run(["sh", "-c", script], env=rpdrive.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 11
    assert done.stderr == "rpdrive: the current folder no longer exists; change to another one\n"


def test_a_vault_cannot_be_a_file(rpdrive: Cli) -> None:
    rpdrive.vault.write_bytes(b"mine")
    for args in (["vault", "create"], ["points"], ["backup", rpdrive.home]):
        assert "is a file, not the folder of a vault" in rpdrive.fails(*args, code=5)
    assert rpdrive.vault.read_bytes() == b"mine"


def test_a_vault_is_made_though_its_address_cannot_be_remembered(rpdrive: Cli) -> None:
    rpdrive.ok("points", "--help")
    (rpdrive.home / "config" / "vaults.json").mkdir(parents=True)
    rpdrive.fails("vault", "info", code=6)
    done = rpdrive.run("vault", "create")
    assert done.returncode == 0, done
    assert b"the vault was made, but this machine will not know it by itself" in done.stderr


def test_error_logs_do_not_pile_up(rpdrive: Cli, vault: Vault) -> None:
    folder = rpdrive.home / "state" / "errors"
    folder.mkdir(parents=True, mode=0o700)
    for number in range(60):
        (folder / f"20260101T0000{number:02}-1.log").write_text("old")
    script = (
        "import sys, rpdrive\nfrom catalog.access.session import Session\n"
        "Session.open_vault = lambda self, **options: 1 / 0\nsys.exit(rpdrive.run(['points']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=rpdrive.environ, capture_output=True, check=False)
    assert done.returncode == 70
    left = sorted(path.name for path in folder.iterdir())
    assert (
        len(left) == 50
        and left[0] == "20260101T000011-1.log"
        and "ZeroDivisionError" in (folder / left[-1]).read_text()
    )
