"""The items of a machine: their names, and their records."""

from __future__ import annotations

import os
import time
from pathlib import Path

from catalog.errors import Damaged, LocalError, NewerFormat, ObjectNotFound
from catalog.format.records import Item, ItemName, Machine
from catalog.format.sealed import Kind
from catalog.machines.registry import Registration, write_anew
from catalog.vault import Vault


def this_item(
    vault: Vault, state: Path, machine: Machine, name: str, paths: list[bytes], *, dry: bool = False
) -> Item:
    """The item with this name, created at its first backup. With `dry`, nothing is written."""
    known = Registration.load(state, vault)
    if known is None or known.machine != machine.id.hex():
        if not dry:
            raise LocalError(
                f"the record of this machine, {machine.name}, has gone from the state folder {state}",
                "check that its disk is there, and run the backup again",
            )
        known = Registration(machine.id.hex(), machine.name)
    if name in known.items:
        item_id = bytes.fromhex(known.items[name])
        item = Item(id=item_id, machine=machine.id, name=name, paths=paths, created=time.time_ns())
        if not dry:
            _write_if_lost(vault, item)
        return item
    for item in vault.items(machine.id).values():
        if item.name == name:
            break
    else:
        item = Item(id=os.urandom(16), machine=machine.id, name=name, paths=paths, created=time.time_ns())
        if not dry:
            vault.add_item(item)
    known.items[name] = item.id.hex()
    if not dry:
        known.save(state, vault)
    return item


def _write_if_lost(vault: Vault, item: Item) -> None:
    """Write an item's record again if the vault has lost it, or it is damaged. One request if it is there."""
    name = ItemName(item.machine, item.id, 1)
    try:
        name.check(vault.read_record(Kind.ITEM, Item, str(name), fresh=True))
        return
    except (Damaged, NewerFormat, ObjectNotFound):
        pass
    if item.id not in vault.items(item.machine):  # no later version opens, either
        write_anew(lambda version: vault.add_item(item, version), f"the item {item.name}")


def item_name(paths: list[bytes]) -> str:
    """The default name of an item: its paths, with dashes for slashes."""
    names = [os.fsdecode(p).strip("/").replace("/", "-") or "root" for p in paths]
    text = "+".join(names).encode(errors="replace").decode()
    return text if len(text) <= 80 else text[:77] + "..."
