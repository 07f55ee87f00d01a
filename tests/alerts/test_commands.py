"""`rpdrive alerts`, `health` and `watch` as commands, on a real vault in a folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from catalog.access.passphrases import GivenPassphrases
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.alerts.rules import RULES
from catalog.alerts.show import run_watch
from catalog.alerts.watching import look_daily
from catalog.format.records import Job, Outcome, PointName
from catalog.store.local import LocalStore
from catalog.vault import Vault
from tests.kit.cli import ROOT, Cli
from tests.kit.vaults import new_vault
from tests.kit.watched import Told


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Vault]:
    """A home, a vault and a folder that was backed up three times, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    rpdrive, source = Cli(folder), folder / "source"
    vault = new_vault(LocalStore(rpdrive.vault))
    source.mkdir()
    for n in range(3):
        (source / f"{n}.txt").write_text(str(n))
        rpdrive.ok("backup", source, "--item", "files")
    return folder, vault


@pytest.fixture
def source(rpdrive: Cli, made: tuple[Path, Vault]) -> Path:
    for name in ("home", "vault", "source"):
        shutil.copytree(made[0] / name, rpdrive.home.parent / name)
    return rpdrive.home.parent / "source"


@pytest.fixture
def vault(rpdrive: Cli, source: Path, made: tuple[Path, Vault]) -> Vault:
    """The vault of this test."""
    return Vault(LocalStore(rpdrive.vault), made[1].keys, made[1].file)


def watch(rpdrive: Cli) -> dict[str, Any]:
    """One look: its changes and the open alerts."""
    found: dict[str, Any] = json.loads(rpdrive.ok("watch", "--once", "--json"))
    return found


def points(vault: Vault) -> list[PointName]:
    return sorted(vault.point_names(), key=lambda name: name.sequence)


def test_all_is_well(rpdrive: Cli, source: Path) -> None:
    assert watch(rpdrive) == {"changes": [], "open": []}
    assert rpdrive.json("alerts") == {"alerts": []}
    shown = rpdrive.ok("health")
    assert shown.startswith("OK: 1 item, no open alert\n")
    assert "files" in shown and "no schedule" in shown and "room: " in shown
    found = rpdrive.json("health")
    assert (found["state"], found["code"], found["items"][0]["points"]) == ("fine", 0, 3)
    assert found["items"][0]["last_point"] is not None


def test_a_point_deleted_behind_the_back(rpdrive: Cli, source: Path, vault: Vault) -> None:
    assert watch(rpdrive)["changes"] == []
    os.unlink(rpdrive.vault / str(points(vault)[1]))
    done = rpdrive.run("health")
    assert (done.returncode, done.stdout.startswith(b"CRITICAL: ")) == (2, True), done
    (change,) = watch(rpdrive)["changes"]
    assert (change["what"], change["alert"], change["item"]) == ("opened", "point.deleted", "files")
    assert "recovery point 2 vanished" in change["text"]
    assert change["id"] in rpdrive.ok("alerts")
    assert rpdrive.ok("alerts", "ack", change["id"][:4], "--reason", "a test") == f"{change['id']} is resolved\n"
    assert watch(rpdrive) == {"changes": [], "open": []}, "the act is known"
    (closed,) = rpdrive.json("alerts", "--all")["alerts"]
    assert (closed["open"], closed["reason"]) == (False, "a test")


def test_a_shortened_policy_and_a_forgotten_point(rpdrive: Cli, source: Path, vault: Vault) -> None:
    rpdrive.ok("policy", "set", "--daily", "30", "--zone", "UTC")
    rpdrive.ok("policy", "set", "--daily", "10")
    rpdrive.ok("forget", points(vault)[0].id.hex(), "--reason", "a test", "--yes")
    other = {"RPDRIVE_HOME": str(rpdrive.home.parent / "another machine")}
    changes = json.loads(rpdrive.ok("watch", "--once", "--json", env=other))["changes"]
    assert {(c["what"], c["alert"]) for c in changes} == {
        ("opened", "point.deleted"), ("opened", "policy.shortened"),
    }  # fmt: skip
    assert all(c["security"] and c["severity"] == "critical" for c in changes)


def test_missing_files_are_a_warning(rpdrive: Cli, source: Path) -> None:
    (source / "bad.txt").write_text("x")
    code = (
        "import builtins, os, sys\n"
        "import rpdrive\n"
        "from backup.systems import posix\n"
        "real = os.open\n"
        "def fails(path, *args, **more):\n"
        "    if os.fsencode(path).endswith(b'bad.txt'):\n"
        "        raise PermissionError(13, 'Permission denied')\n"
        "    return real(path, *args, **more)\n"
        "os.open = fails\n"
        "sys.exit(rpdrive.run(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "backup", str(source), "--item", "files"],
        env=rpdrive.environ, cwd=ROOT, capture_output=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 3, done
    (change,) = watch(rpdrive)["changes"]
    assert (change["alert"], change["severity"]) == ("backup.incomplete", "warning")
    assert "bad.txt" in change["text"]
    assert rpdrive.run("health").returncode == 1
    rpdrive.ok("backup", source, "--item", "files")
    assert [(c["what"], c["alert"]) for c in watch(rpdrive)["changes"]] == [("resolved", "backup.incomplete")]


def test_a_killed_backup(rpdrive: Cli, source: Path, vault: Vault) -> None:
    for n in range(3):
        (source / f"{n}.bin").write_bytes(os.urandom(40 << 20))
    process = subprocess.Popen(
        rpdrive.slow_command("backup", source, "--item", "files"), env=rpdrive.environ, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    before = {info.name for info in vault.store.list("jobs/")}
    while process.poll() is None and {info.name for info in vault.store.list("jobs/")} == before:
        time.sleep(0.05)
    process.kill()
    assert process.wait(60) == -9
    (machine,) = vault.machines().values()
    later = Job(
        id=os.urandom(16), machine=machine.id, kind="check", outcome=Outcome.COMPLETED, machine_name=machine.name,
        hostname="h", time=time.time_ns(), finished=time.time_ns(), boot="the machine was started again",
    )  # fmt: skip
    vault.add_job(later)
    (change,) = watch(rpdrive)["changes"]
    assert (change["what"], change["alert"], change["item"]) == ("opened", "backup.killed", "files")
    for n in range(3):
        (source / f"{n}.bin").unlink()
    rpdrive.ok("backup", source, "--item", "files")
    assert [(c["what"], c["alert"]) for c in watch(rpdrive)["changes"]] == [("resolved", "backup.killed")]


def test_bad_command_lines_and_a_vault_that_is_away(rpdrive: Cli, source: Path) -> None:
    assert "every 1s" not in rpdrive.fails("watch", "--every", "1s", code=2)
    rpdrive.fails("alerts", "ack", "ffff", code=4)
    rpdrive.fails("health", code=8, env={"RPDRIVE_PASSPHRASE": "another passphrase of words"})
    (rpdrive.vault / "vault.json").rename(rpdrive.vault / "away")
    rpdrive.fails("health", code=6)


def test_a_vault_that_is_away_is_an_alert(rpdrive: Cli, source: Path) -> None:
    rpdrive.ok("vault", "unlock", "--save")
    file = rpdrive.vault / "vault.json"
    file.rename(rpdrive.vault / "away")
    done = rpdrive.run("watch", "--once")
    assert done.returncode == 6 and b"vault.unreachable" in done.stdout, done
    (rpdrive.vault / "away").rename(file)
    assert [(c["what"], c["alert"]) for c in watch(rpdrive)["changes"]] == [("resolved", "vault.unreachable")]


def test_it_looks_again_and_again(rpdrive: Cli, source: Path, vault: Vault, capsys: Any) -> None:
    settings = Settings({"RPDRIVE_HOME": str(rpdrive.home)})
    session = Session(settings, vault=str(rpdrive.vault), passphrases=GivenPassphrases())
    session.open_vault = lambda **_more: Vault(vault.store, vault.keys, vault.file)  # type: ignore[method-assign]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            vault.store.delete(str(points(vault)[0]))
        if len(slept) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_watch(session, once=False, every="90s", as_json=True, sleep=sleep)
    looks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [[c["alert"] for c in look["changes"]] for look in looks] == [[], ["point.deleted"], []]
    assert slept == [90.0] * 3


def test_a_machine_looks_after_itself_once_a_day(rpdrive: Cli, source: Path, vault: Vault) -> None:
    """It is what a run of due jobs ends with."""
    session, told = Session(Settings({"RPDRIVE_HOME": str(rpdrive.home)}), vault=str(rpdrive.vault)), Told()
    assert look_daily(session, vault, told) is not None
    vault.store.delete(str(points(vault)[1]))
    assert look_daily(session, vault, told) is None
    path = rpdrive.home / "state" / "alerts" / vault.id.hex() / "known.json"
    known = json.loads(path.read_bytes())
    for looked in (known["looked"] - 21 * 3600 * 10**9, known["looked"] + 10**18):  # yesterday; by a wrong clock
        path.write_text(json.dumps(known | {"looked": looked}))
        assert look_daily(session, vault, told) is not None
    assert told.take() == [("opened", "point.deleted")]


def test_credentials_that_were_issued(rpdrive: Cli, source: Path, tmp_path: Path) -> None:
    from catalog.alerts.keeping import Kept
    from catalog.alerts.local import step_here

    rpdrive.ok("vault", "credentials", "--role", "backup", "--output", tmp_path / "c.json")
    told = Told()
    step_here(rpdrive.home / "state", 1_800_000_000 * 10**9, told)
    assert told.take() == [("opened", "credentials.issued")]
    (alert,) = Kept(rpdrive.home / "state").all()
    assert alert.security and "the role backup" in alert.text
    step_here(rpdrive.home / "state", 1_800_000_001 * 10**9, told)
    assert told.take() == []


def test_every_kind_is_raised_somewhere() -> None:
    """No row of the table is an empty promise."""
    names = ("jobs", "overdue", "vaults", "local", "watching")
    code = "".join((ROOT / "catalog" / "alerts" / f"{name}.py").read_text() for name in names)
    assert [kind for kind in RULES if f'"{kind}"' not in code] == []


def test_the_page_has_the_table_of_the_code() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text()
    for kind, rule in RULES.items():
        mark = " †" if rule.security else ""
        assert f"| `{kind}`{mark} | {rule.severity} | {rule.opens} | {rule.resolves} |" in page
    assert len(re.findall(r"\n\| `[a-z_]+\.[a-z_]+`", page)) == len(RULES)
