"""Finds the item that a backup belongs to; catalog/machines/registry.py finds the machine."""

from __future__ import annotations

import os
import time
from pathlib import Path

from catalog.errors import NotFound
from catalog.format.records import Item, Machine
from catalog.machines.registry import Registration, this_machine
from catalog.vault import Vault

__all__ = ["item_name", "this_item", "this_machine"]


def this_item(
    vault: Vault, state: Path, machine: Machine, name: str, paths: list[bytes], *, dry: bool = False
) -> Item:
    """The item with this name, created at its first backup. With `dry`, nothing is written."""
    known = Registration.load(state, vault)
    if known is None or known.machine != machine.id.hex():
        if not dry:
            raise NotFound(f"machine {machine.name} is not registered here")
        known = Registration(machine.id.hex(), machine.name)
    if name in known.items:
        item_id = bytes.fromhex(known.items[name])
        return Item(id=item_id, machine=machine.id, name=name, paths=paths, created=0)
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


def item_name(paths: list[bytes]) -> str:
    """The default name of an item: its paths, with dashes for slashes."""
    names = [os.fsdecode(p).strip("/").replace("/", "-") or "root" for p in paths]
    text = "+".join(names).encode(errors="replace").decode()
    return text if len(text) <= 80 else text[:77] + "..."
