"""The items of a machine: their names, and their records."""

from __future__ import annotations

import os
import time
from pathlib import Path

from catalog.errors import Damaged, LocalError, NewerFormat, ObjectNotFound, UsageError
from catalog.format.records import Item, ItemKind, ItemName, Machine
from catalog.format.sealed import Kind
from catalog.machines.registry import Registration, write_anew
from catalog.vault import Vault


def this_item(
    vault: Vault,
    state: Path,
    machine: Machine,
    name: str,
    paths: list[bytes],
    *,
    kind: str = ItemKind.FILES,
    dry: bool = False,
) -> Item:
    """The item with this name and kind, created at its first backup. With `dry`, nothing is written.

    Raises UsageError if there is one of another kind.
    """
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
        item = Item(id=item_id, machine=machine.id, name=name, paths=paths, created=time.time_ns(), kind=kind)
        found = _recorded(vault, item, fresh=not dry) or vault.items(item.machine).get(item.id)
        if found is not None:
            check_kind(found, kind)
        elif not dry:
            write_anew(lambda version: vault.add_item(item, version), f"the item {item.name}")
        return item
    for item in vault.items(machine.id).values():
        if item.name == name:
            check_kind(item, kind)
            break
    else:
        item = Item(
            id=os.urandom(16), machine=machine.id, name=name, paths=paths, created=time.time_ns(), kind=kind
        )
        if not dry:
            vault.add_item(item)
    known.items[name] = item.id.hex()
    if not dry:
        known.save(state, vault)
    return item


def _recorded(vault: Vault, item: Item, *, fresh: bool) -> Item | None:
    """The first record of an item; None if the vault has lost it, or it is damaged. One request."""
    name = ItemName(item.machine, item.id, 1)
    try:
        found = vault.read_record(Kind.ITEM, Item, str(name), fresh=fresh)
        name.check(found)
        return found
    except (Damaged, NewerFormat, ObjectNotFound):
        return None


def check_kind(item: Item, kind: str) -> None:
    """Raise UsageError if an item is of another kind: its points would have nothing to do with each other."""
    if item.kind != kind:
        raise UsageError(
            f"the item {item.name} has backups of {kind_text(item.kind)}, and this is one of {kind_text(kind)}",
            "give it a name of its own with --item",
        )


def item_name(paths: list[bytes], kind: str = ItemKind.FILES) -> str:
    """The default name of an item: its paths, with dashes for slashes, after the kind if it is not of files."""
    if kind == ItemKind.SYSTEM:
        return str(kind)
    names = [os.fsdecode(p).strip("/").replace("/", "-") or "root" for p in paths]
    text = "+".join(names).encode(errors="replace").decode()
    text = f"{kind.replace(' ', '-')}-{text}" if kind else text
    return text if len(text) <= 80 else text[:77] + "..."


def kind_text(kind: str) -> str:
    """What an item of a kind has: a word that a later version wrote is shown as it is."""
    known: dict[str, str] = {ItemKind.FILES: "files", ItemKind.VOLUME: "a volume", ItemKind.IMAGE: "an image"}
    return known.get(kind, kind)
