"""A machine whose first backups travel on disks, all in this process, by the code of the commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from backup import attempt, files, pipeline
from backup.job import opened
from backup.request import Request
from backup.run import Result
from backup.systems.this import this_system
from catalog.access.passphrases import GivenPassphrases
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.screen.phases import NoFollower
from catalog.seeds.closing import Closed, close
from catalog.seeds.ending import abandon
from catalog.seeds.importing import Request as Import
from catalog.seeds.importing import Result as Imported
from catalog.seeds.importing import import_seed
from catalog.seeds.local import LocalSeed, seed_folder
from catalog.seeds.starting import Wish, add_disk, start
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from tests.kit.recorded import PointReader, assert_equal, of_source
from tests.kit.vaults import PASSPHRASE, new_vault

ADDRESS = "file:///the/vault"


class Exporter:
    """A machine with a home of its own, and a vault in memory. `store` may be exchanged for one with a fault."""

    def __init__(self, folder: Path, memory: MemoryStore | None = None) -> None:
        self.folder = folder
        self.memory = memory or MemoryStore()
        self.store: Store = self.memory
        self.said: list[str] = []
        if "vault.json" not in self.memory.objects:
            new_vault(self.memory)

    def session(self) -> Session:
        settings = Settings({"RPDRIVE_HOME": str(self.folder / "home")})
        passphrases = GivenPassphrases()
        passphrases.existing = lambda address: PASSPHRASE  # type: ignore[method-assign]

        def opener(url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
            return self.store

        return Session(settings, vault=ADDRESS, passphrases=passphrases, opener=opener, waiting=self.said.append)

    def open(self) -> tuple[Session, Vault]:
        session = self.session()
        return session, session.open_vault(saved=False)

    def start(self, disk: Path, **options: object) -> None:
        start(*self.open(), Wish(disk, **options)).close()  # type: ignore[arg-type]

    def add(self, disk: Path) -> int:
        return add_disk(*self.open(), disk).number

    def close(self) -> Closed:
        return close(*self.open())

    def abandon(self) -> None:
        abandon(*self.open())

    def backup(self, *paths: Path, item: str | None = None) -> Result:
        session, vault = self.open()
        with opened(session, vault, Request(list(paths), item=item, snapshot="never"), this_system()) as job:
            return job.run()

    def bring(self, *disks: Path, **options: bool) -> Imported:
        request = Import([str(disk) for disk in disks], **options)
        return import_seed(self.session(), request, NoFollower())

    @property
    def state(self) -> Path:
        return self.session().settings.state

    def seed(self) -> LocalSeed | None:
        _session, vault = self.open()
        return LocalSeed.load(seed_folder(self.state, vault))

    def visible(self) -> list[str]:
        """The points that the vault shows."""
        return [name for name in sorted(self.memory.objects) if name.startswith("points/")]

    def assert_whole(self, sources: Mapping[str, Path]) -> None:
        """Every point that the vault shows is whole, and the newest of each item equals its source."""
        _session, vault = self.open()
        reader = PointReader(vault)
        newest = {}
        for name in vault.point_names(partial=True):
            point = vault.point(name)
            newest[point.item_name] = (point, reader.snapshot(point, sources[point.item_name]))
        for item, (_point, snapshot) in newest.items():
            assert_equal(snapshot, of_source(sources[item]))


def small_steps(patch: pytest.MonkeyPatch) -> None:
    """Limits that make many packs and index objects of a small source."""
    patch.setattr(pipeline, "PACK_TARGET", 60_000)
    patch.setattr(pipeline, "BLOCK_RAW", 20_000)
    for number, name in enumerate(("SMALL_FILE", "CUT_MIN", "CUT_AVERAGE", "CUT_MAX")):
        patch.setattr(files, name, 1 << max(14, 13 + number))
    patch.setattr(files, "_BUFFER", 1 << 17)
    patch.setattr(attempt, "INDEX_BYTES", 1)
