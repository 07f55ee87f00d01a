"""Reading a vault without a folder for rpdrive's own files, e.g. where the home folder is read-only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kit.drives import Home
from tests.kit.vaults import make_vault


def test_what_only_reads_goes_on(tmp_path: Path) -> None:
    make_vault(tmp_path / "vault")
    home = Home(tmp_path, tmp_path / "vault")
    source = tmp_path / "source"
    source.write_bytes(b"contents")
    home.run("backup", source)
    home.environment["RPDRIVE_HOME"] = "/proc/nowhere/home"  # no folder can be made there, by root either
    assert home.run("points").stdout and home.run("points", "--json").stderr == ""
    home.run("restore", f"latest:{source}", "--to", tmp_path / "out")
    assert (tmp_path / "out/source").read_bytes() == b"contents"
    assert home.run("mounts").stdout == "No drives are open\n"
    done = home.run("backup", source, exit_code=11)
    assert done.stderr.count("\n") == 1 and "set RPDRIVE_HOME to another folder" in done.stderr


@pytest.mark.needs_root
def test_a_folder_of_another_user_is_an_error(tmp_path: Path) -> None:
    make_vault(tmp_path / "vault")
    home = Home(tmp_path, tmp_path / "vault")
    theirs = tmp_path / "theirs/state"
    theirs.mkdir(parents=True)
    os.chown(theirs, 3000, 3000)
    for command in ("points", "mounts"):
        done = home.run(command, exit_code=11, RPDRIVE_HOME=str(theirs.parent))
        assert "belongs to another user" in done.stderr
