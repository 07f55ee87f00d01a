"""The command line and environment with which this program starts itself again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from catalog import program
from catalog.program import HOME, SECRETS


def test_a_child_finds_our_modules_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "catalog.py").write_text("raise SystemExit('imported from the current folder')")
    command = [*program.main_command("rpdrive", variables={"TEST": 'it\'s "set"'}), "--version"]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("rpdrive")


def test_arguments_are_those_of_main() -> None:
    *_python, code = program.main_command("mount.process.background", 5, 17)
    assert code.endswith("from mount.process.background import main; main(5, 17)")


def test_rpdrive_is_found_by_its_lasting_environment(tmp_path: Path) -> None:
    environment = program.lasting_environment([HOME, "UNSET"], {HOME: "home", "OTHER": "x"})
    assert environment.pop(HOME) == str(Path("home").absolute()) and "OTHER" not in environment
    done = subprocess.run(
        [*program.rpdrive_command(), "--version"], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0


def test_a_child_gets_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    stores = {
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_KEY__second",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_CONNECTION_STRING",
        "a_client_secret",
    }
    for name in (*SECRETS, *stores):
        monkeypatch.setenv(name, "secret")
    assert {name for name, value in program.secret_environment().items() if value == "secret"} == stores
    monkeypatch.setenv(HOME, "~/rpdrive")
    environment = program.child_environment()
    assert not set(SECRETS) & set(environment) and "secret" not in environment.values()
    assert environment[HOME] == str(Path.home() / "rpdrive") and environment["PATH"] == os.environ["PATH"]
