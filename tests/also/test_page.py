"""The page of a vault with `--also`: it goes on when the first place is away, and so do restores that it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.access.passphrases import GivenPassphrases
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.store.local import LocalStore
from catalog.vault import open_vault
from mount.browse.resources.opened import Opened
from tests.browse.restore.conftest import Restoring
from tests.kit.browsing import page_of
from tests.kit.cli import Cli
from tests.kit.drives import noise
from tests.kit.places import copy_of
from tests.kit.vaults import PASSPHRASE, home_of


@pytest.mark.soak
def test_the_page_and_its_restores_go_on(rpdrive: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for n in range(4):
        (source / f"{n}").write_bytes(noise(200_000, n))
    rpdrive.ok("vault", "create")
    rpdrive.ok("backup", source)
    copy = copy_of(open_vault(LocalStore(rpdrive.vault), passphrase=PASSPHRASE), rpdrive.vault, tmp_path / "copy")
    environ = home_of(rpdrive.home, str(rpdrive.vault))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    session = Session(
        Settings(environ), passphrases=GivenPassphrases(environ=environ), waiting=said.append, also=[str(copy)]
    )
    with page_of(Opened(session, session.open_vault(reading=True))) as page:
        (point,) = page.get("/points")["points"]
        here = Restoring(tmp_path, page, rpdrive, point["id"], point["id"])
        rpdrive.vault.rename(tmp_path / "away")
        at = here.at(source / "0")["at"]
        assert page.get(f"/points/{point['id']}/preview", at=at)
        one = here.planned(here.at(source), to=tmp_path / "to")
        assert one["state"] == "planned", one
        found = here.done(one["id"])
        assert found["state"] == "done" and found["result"]["new"] == 4, found
        for n in range(4):
            assert (tmp_path / "to" / "source" / f"{n}").read_bytes() == noise(200_000, n)
    assert len(said) == 1 and said[0].endswith(f"reading from {copy.as_uri()}"), said
