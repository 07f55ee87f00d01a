"""Backups made in this process, for tests that count or inspect what reaches the store."""

from __future__ import annotations

import os
from pathlib import Path

from backup.engine import perform
from backup.mirror import Mirror
from backup.run import Result, Run
from backup.selection import Selection
from backup.systems.this import this_system
from cache.reader import Reader
from catalog.access.damage import DamagedPacks
from catalog.machines.items import item_name, this_item
from catalog.machines.registry import this_machine
from catalog.points.seen import Seen
from catalog.vault import Vault


def back_up(vault: Vault, state: Path, *paths: Path, item: str | None = None, dry: bool = False) -> Result:
    """One backup, as `rpdrive backup` runs it, with the state of the machine in `state`."""
    wanted = [os.fsencode(p.resolve()) for p in paths]
    machine = this_machine(vault, state, None)
    record = this_item(vault, state, machine, item or item_name(wanted), wanted)
    mirror = Mirror(state / "mirror.sqlite", vault.keys)
    reader = Reader(vault)
    try:
        run = Run(
            vault, reader, mirror, machine, record, Selection(wanted), this_system(), Seen(state, vault),
            DamagedPacks(state, vault.state_id),
        )  # fmt: skip
        return perform(run, dry=dry)
    finally:
        reader.close()
        mirror.close()
