"""What a process that holds keys lets others see: no core dump, no environment, no memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.vault import Vault
from tests.kit.cli import Cli
from tests.kit.drives import Home
from tests.kit.vaults import make_vault

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux about itself")

ASK = """
import ctypes, resource, sys
import rpdrive
from catalog.access.session import Session
opened = Session.open_vault
def ask(self, **options):
    vault = opened(self, **options)
    print(resource.getrlimit(resource.RLIMIT_CORE)[0], ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
    return vault
Session.open_vault = ask
sys.argv[0] = "rpdrive"
rpdrive.main()
"""


def test_a_command_that_opens_a_vault_dumps_no_memory(rpdrive: Cli, vault: Vault) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK, "points"], env=rpdrive.environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("0 0\n")


@pytest.mark.needs_fuse
def test_a_drive_keeps_secrets_out_of_its_environment(tmp_path: Path) -> None:
    make_vault(tmp_path / "vault")
    (tmp_path / "source").mkdir()
    home = Home(tmp_path, tmp_path / "vault")
    home.run("backup", tmp_path / "source")
    try:
        home.mount(AZURE_STORAGE_KEY="a-key-of-a-store")
        process = Path(f"/proc/{home.pid()}")
        limits = (process / "limits").read_text().splitlines()
        (core,) = [line.split() for line in limits if line.startswith("Max core file size")]
        assert core[4] == "0"
        assert (process / "mem").stat().st_uid == 0
        if os.geteuid() == 0:
            environ = (process / "environ").read_bytes()
            assert b"a-key-of-a-store" not in environ and b"AZURE_STORAGE_KEY" not in environ
            assert b"RPDRIVE_PASSPHRASE" not in environ and b"RPDRIVE_HOME" in environ
    finally:
        home.close()
