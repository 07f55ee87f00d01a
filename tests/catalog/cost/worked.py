"""Machines that work in one vault by the code of the commands, over a store that is not near and counts."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from backup.foreground import back_up
from backup.request import Request
from catalog.access.passphrases import GivenPassphrases
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.check.options import Options
from catalog.check.show import run_check
from catalog.cost.counts import Shape
from catalog.cost.look import look
from catalog.cost.use import Use, use_of
from catalog.plans.records import refresh
from catalog.prune.job import Request as PruneRequest
from catalog.prune.show import prune_vault
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.vault import Vault, open_vault
from mount.restore.job import Job
from tests.kit.protected import SETTLED
from tests.kit.vaults import PASSPHRASE, new_vault

ADDRESS = "azure://account/vault"


class Worked:
    """A vault, and machines of which each has a home, a source of files and a cache of records."""

    def __init__(self, folder: Path, machines: int) -> None:
        self.folder, self.memory = folder, MemoryStore()
        self.vault = new_vault(self.memory)
        self.caches: list[dict[str, bytes]] = [{} for _ in range(machines)]
        self._rng = random.Random(7)

    def copy(self, folder: Path) -> Worked:
        """The same vault and machines once more, in another folder."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        time.sleep(SETTLED)
        new = Worked.__new__(Worked)
        new.folder, new.memory, new.caches = folder, MemoryStore(), [dict(cache) for cache in self.caches]
        for name, data in self.memory.objects.items():
            new.memory.create(name, [data])
        new.vault = open_vault(new.memory, passphrase=PASSPHRASE)
        new._rng = random.Random(8)
        return new

    def session(self, machine: int) -> Session:
        environ = {"RPDRIVE_HOME": str(self.folder / f"home{machine}"), "RPDRIVE_PASSPHRASE": PASSPHRASE}
        return Session(
            Settings(environ), vault=ADDRESS, passphrases=GivenPassphrases(environ=environ),
            records_factory=lambda _session, _vault: self.caches[machine],
            opener=self._open,
        )  # fmt: skip

    def _open(self, url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
        return self.memory

    def use(self, machine: int, work: Callable[[Session, Vault], object]) -> Use:
        """What work takes on a machine, the opening of the vault included."""
        session = self.session(machine)
        try:
            work(session, session.open_vault())
            assert session.meter is not None
            return use_of(session.meter.snapshot())
        finally:
            session.close()

    def source(self, machine: int) -> Path:
        return self.folder / f"source{machine}"

    def fill(self, machine: int, *, files: int = 200, large: int = 0) -> None:
        for n in range(files):
            path = self.source(machine) / f"d{n % 10}" / f"f{n}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._rng.randbytes(1_500))
        if large:
            (self.source(machine) / "large").write_bytes(self._rng.randbytes(large))
        time.sleep(SETTLED)

    def change(self, machine: int) -> None:
        (self.source(machine) / "d3" / "f3").write_bytes(self._rng.randbytes(900))
        time.sleep(SETTLED)

    def back_up(self, machine: int, *, is_scheduled: bool = False) -> Use:
        """A backup of what `source` has."""
        request = Request([self.source(machine)], item="home")

        def work(session: Session, vault: Vault) -> None:
            if is_scheduled:  # as the timer does
                refresh(vault, ADDRESS, session.settings)
            back_up(session, vault, request, as_json=True)

        return self.use(machine, work)

    def check(self, machine: int, level: int) -> Use:
        options = Options(level, None, None)
        return self.use(
            machine, lambda session, vault: run_check(session, vault, None, None, options, as_json=False)
        )

    def prune(self, machine: int) -> Use:
        request = PruneRequest(None, False, None, True)
        return self.use(machine, lambda session, vault: prune_vault(session, vault, request, as_json=True))

    def restore(self, machine: int, place: str, to: Path) -> Use:
        def work(session: Session, vault: Vault) -> None:
            job = Job(session, [place], to=str(to), in_place=False, include=[], exclude=[])
            assert job.run(vault, None, None).problem_count == 0

        return self.use(machine, work)

    def shape(self) -> Shape:
        return look(self.vault).shape

    def looked(self, machine: int) -> None:
        """Have a machine cache the records of all points, machines and items."""

        def work(_session: Session, vault: Vault) -> None:
            vault.points(vault.point_names())
            vault.machines()
            vault.all_items()

        self.use(machine, work)
