"""Pings of real jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.notify.pinging import ping_end, ping_start
from catalog.program import HOME
from catalog.vault import Vault
from tests.catalog.notify.events import write
from tests.kit.cli import Cli
from tests.kit.web_server import web_server


def test_a_backup_gives_signs_of_life(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"x" * 5000)
    with web_server() as server:
        write(
            rpdrive.home / "config",
            f'[targets.home]\ntype = "ping"\nurl = "{server.url}/h"\nkinds = ["backup"]\nitems = ["docs"]\n'
            f'[targets.other]\ntype = "ping"\nurl = "{server.url}/o"\nkinds = ["prune"]\n',
        )
        rpdrive.ok("backup", source, "--item", "docs")
        start, end = server.requests
        assert start.path.startswith("/h/start?rid=") and end.path == start.path.replace("/start", "")
        assert end.body == b"completed: 1 file, 5,000 bytes, 5,000 of them new"


@pytest.mark.parametrize("outcome", ["interrupted", "skipped", "running", "a later word"])
def test_nothing_is_said_of_other_ends(outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path))
    with web_server() as server:
        write(tmp_path / "config", f'[targets.home]\ntype = "ping"\nurl = "{server.url}"\n')
        ping_end(tmp_path / "state", "backup", "docs", "0" * 32, outcome, "")
        assert server.requests == []


def test_jobs_of_other_state_folders_are_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path))
    with web_server() as server:
        write(tmp_path / "config", f'[targets.home]\ntype = "ping"\nurl = "{server.url}"\n')
        ping_start(tmp_path / "elsewhere", "backup", "docs", "0" * 32)
        ping_end(tmp_path / "elsewhere", "backup", "docs", "0" * 32, "completed", "")
        assert server.requests == []
        ping_end(tmp_path / "state", "backup", "docs", "0" * 32, "failed", "no route")
        assert [(r.path, r.body) for r in server.requests] == [
            ("/fail?rid=00000000-0000-0000-0000-000000000000", b"failed: no route")
        ]
