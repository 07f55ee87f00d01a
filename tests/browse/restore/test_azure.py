"""The same from a vault in Azure Blob Storage, whose credentials only the page's environment has."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from catalog.access.session import Session
from mount.browse.resources.opened import Opened
from mount.browse.resources.wire import path64
from tests.browse.restore.conftest import Restoring
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.browsing import page_of
from tests.kit.cli import Cli
from tests.kit.vaults import home_of


@pytest.mark.soak
@pytest.mark.needs_azurite
@pytest.mark.needs_fuse
def test_a_restore_and_a_drive(azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    azurite.container("page")
    cli, address = Cli(tmp_path), f"azure://{ACCOUNT}/page"
    cli.environ.update(home_of(cli.home, address) | azurite.environ)
    cli.ok("vault", "create")
    (tmp_path / "source/sub").mkdir(parents=True)
    (tmp_path / "source/sub/file").write_bytes(os.urandom(100_000))
    point = cli.json("backup", tmp_path / "source")["point"]
    for name, value in (home_of(cli.home, address) | azurite.environ).items():
        monkeypatch.setenv(name, value)
    session = Session()
    with page_of(Opened(session, session.open_vault())) as page:
        here = Restoring(tmp_path, page, cli, point, point)
        one = here.planned(here.at(here.source), to=tmp_path / "to")
        assert here.done(one["id"])["state"] == "done"
        subprocess.run(["diff", "-r", here.source, tmp_path / "to/source"], check=True)
        (tmp_path / "drive").mkdir()
        made = page.post("/drives", {"point": point, "place": path64(bytes(tmp_path / "drive"))})
        inside = tmp_path / "drive" / str(here.source).lstrip("/")
        subprocess.run(["diff", "-r", here.source, inside], check=True)
        assert page.api("DELETE", f"/drives/{made['id']}").status == 204
        secret = azurite.connection_string.encode()
        assert not any(secret in path.read_bytes() for path in (cli.home / "state").rglob("*") if path.is_file())
