"""A machine that backs up into a vault, in this process, with a state folder of its own."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from backup.engine import perform
from backup.mirror import Mirror
from backup.run import Result, Run
from backup.selection import Selection
from backup.sources.base import LiveFiles, Source
from backup.systems.this import this_system
from cache.reader import Reader
from catalog.access.damage import DamagedPacks
from catalog.format.blocks import PackKind
from catalog.format.keys import Keys
from catalog.format.packs import Extent, decode_pack
from catalog.format.records import IndexObject, Point, decode_record
from catalog.format.sealed import Kind, open_object
from catalog.format.vaultfile import VaultFile
from catalog.machines.items import item_name, this_item
from catalog.machines.registry import this_machine
from catalog.points.seen import Seen
from catalog.store.base import Store
from catalog.vault import Vault
from tests.kit.recorded import PointReader, Snapshot, assert_equal, of_source
from tests.kit.stores import MOST

SETTLED = 0.03  # s; a backup reads what changed within a tick of the clock before it began again, the next time


def vault_on(store: Store) -> Vault:
    """A vault with keys known beforehand; there is no vault.json in the store."""
    keys = Keys(bytes(range(32)), bytes(range(16)))
    return Vault(store, keys, VaultFile(keys.vault_id, 1, "2026-01-01T00:00:00+00:00", ()))


@dataclass
class Protected:
    """One machine. `store` may be exchanged between two backups."""

    store: Store
    state: Path
    name: str | None = None
    item: str | None = None
    partial_seconds: float = 900.0
    pause: float = SETTLED  # before each backup; none is needed where nothing has changed for long

    @property
    def vault(self) -> Vault:
        return vault_on(self.store)

    @property
    def damaged(self) -> DamagedPacks:
        return DamagedPacks(self.state, self.vault.state_id)

    def backup(
        self, *paths: Path, dry: bool = False, excludes: tuple[str, ...] = (), one_file_system: bool = False,
        skip: set[tuple[int, int]] | None = None, source: Source | None = None,
    ) -> Result:  # fmt: skip
        """One backup, as `rpdrive backup` runs it, of a source that changed before and not just now."""
        time.sleep(self.pause)
        vault = self.vault
        wanted = sorted({os.fsencode(p.resolve()) for p in paths})
        self.state.mkdir(parents=True, exist_ok=True)
        machine = this_machine(vault, self.state, self.name)
        item = this_item(vault, self.state, machine, self.item or item_name(wanted), wanted)
        mirror = Mirror(self.state / f"index-{machine.id.hex()}.sqlite", vault.keys)
        reader = Reader(vault, memory=16 << 20, parallel=2)
        selection = Selection(wanted, list(excludes), one_file_system, skip or set())
        try:
            run = Run(
                vault, reader, mirror, machine, item, selection, this_system(), Seen(self.state, vault),
                self.damaged, partial_seconds=self.partial_seconds, source=source or LiveFiles(),
            )  # fmt: skip
            return perform(run, dry=dry)
        finally:
            reader.close()
            mirror.close()

    def checked(self, path: Path, *, problems: int = 0, leave_out: tuple[bytes, ...] = ()) -> Result:
        """A backup whose point must equal the source."""
        outcome = self.backup(path)
        assert [p.reason for p in outcome.problems] == [] or problems, outcome.problems
        assert outcome.problem_count == problems, outcome.problems
        assert outcome.point is not None
        assert_equal(self.snapshot(outcome.point, path), of_source(path, leave_out))
        return outcome

    def snapshot(self, point: Point, root: Path | None = None) -> Snapshot:
        return PointReader(self.vault).snapshot(point, root)


def extents_of(vault: Vault, kind: PackKind) -> dict[str, list[Extent]]:
    """The extents of the chunks in each pack of a kind, by the pack's name."""
    found = {}
    for info in vault.store.list(f"{kind.folder}/"):
        pack = bytes.fromhex(info.name.rsplit("/", 1)[1])
        rows = decode_pack(vault.keys, kind, pack, vault.store.get(info.name, MOST))
        found[info.name] = [e for row in rows for e in row.extents(pack)]
    return found


def listed(vault: Vault) -> set[bytes]:
    """The packs that some index object lists."""
    return {
        pack.pack
        for info in vault.store.list("index/")
        for pack in decode_record(
            IndexObject, open_object(vault.keys, Kind.INDEX, info.name, vault.store.get(info.name, MOST)), info.name
        ).packs
    }


__all__ = ["PointReader", "Protected", "assert_equal", "extents_of", "listed", "of_source", "vault_on"]
