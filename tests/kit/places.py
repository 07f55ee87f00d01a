"""Vaults in several places: copies of folders, and sessions whose stores are counted and can go away."""

from __future__ import annotations

import shutil
from pathlib import Path

from catalog.access.passphrases import GivenPassphrases
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.format.vaultfile import CopyMark, VaultFile
from catalog.store.address import open_store
from catalog.store.base import Store
from catalog.store.metered import MeteredStore
from catalog.store.wrapper import Request
from catalog.vault import Vault
from tests.kit.faults import UnreachableStore
from tests.kit.vaults import home_of


def copy_of(vault: Vault, folder: Path, to: Path) -> Path:
    """A copy of a vault's folder that follows it, as `rpdrive vault copy` leaves it."""
    shutil.copytree(folder, to)
    file = VaultFile.decode((to / "vault.json").read_bytes())
    mark = CopyMark(of=folder.as_uri(), since="2026-11-27T12:00:00+00:00", promoted=None)
    (to / "vault.json").write_bytes(file.changed(copy=mark).encode(vault.keys))
    return to


class Places:
    """Sessions of one user. By its address, each store is counted, with a log, and can be away."""

    def __init__(self, folder: Path, first: Path) -> None:
        self.first = first
        self.settings = Settings(home_of(folder / "home", str(first)))
        self.meters: dict[str, MeteredStore] = {}
        self.away: dict[str, UnreachableStore] = {}
        self.unreachable: set[Path] = set()
        self.said: list[str] = []

    def _open(self, url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
        gone = any(url == path.as_uri() for path in self.unreachable)
        self.away[url] = UnreachableStore(open_store(url, token=token, endpoint=endpoint), reachable=not gone)
        self.meters[url] = MeteredStore(self.away[url], log=True)
        return self.meters[url]

    def session(self, *also: Path) -> Session:
        """A new process, so to say: nothing was counted yet, and nothing said."""
        from catalog.points.lacking import lacking

        self.meters.clear()
        self.said.clear()
        return Session(
            self.settings, vault=str(self.first), opener=self._open, waiting=self.said.append,
            also=[str(path) for path in also], lacking=lacking, passphrases=GivenPassphrases(),
        )  # fmt: skip

    def requests(self, folder: Path) -> list[Request]:
        """The requests to a place so far: all of them, in order of name."""
        meter = self.meters.get(folder.as_uri())
        return sorted(meter.log or []) if meter is not None else []
