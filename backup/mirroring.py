"""Brings the local mirror of the index up to date with the vault."""

from __future__ import annotations

from backup.mirror import Mirror
from backup.run import Problems
from catalog.errors import Damaged
from catalog.format.blocks import PackKind
from catalog.format.packs import pack_named, series_folder
from catalog.format.records import IndexObject, Machine, decode_record
from catalog.format.sealed import Kind, open_object
from catalog.vault import Vault


def refresh_mirror(
    mirror: Mirror, vault: Vault, machine: Machine, problems: Problems, now: int, *, dry: bool
) -> None:
    """Read the machine's new index objects, and check that the packs they list still exist if that is due.

    `now` is in ns. A damaged index object is a problem; what it lists is stored again. With `dry`, nothing is
    forgotten.
    """
    known = mirror.mirrored()
    store, keys = vault.store, vault.keys
    for info in store.list(f"index/{machine.id.hex()}/"):
        if info.name in known:
            known.discard(info.name)
            continue
        try:
            raw = open_object(keys, Kind.INDEX, info.name, vault.fetch_sealed(Kind.INDEX, info.name))
            mirror.mirror(info.name, decode_record(IndexObject, raw, info.name).packs)
        except Damaged as e:
            problems.add(info.name.encode(), f"{e}; what it lists is stored again")
    if known and not dry:  # some index objects are gone: the vault may be an older copy of itself
        mirror.forget_objects(known)
    if mirror.evidence_due() and not dry:
        gather_evidence(mirror, vault, machine, now)


def gather_evidence(mirror: Mirror, vault: Vault, machine: Machine, now: int) -> int:
    """List the machine's packs, at `now` (ns): one request for 5,000 of them. Returns how many are gone."""
    present = set()
    for kind in (PackKind.DATA, PackKind.TREE):
        for info in vault.store.list(series_folder(kind, machine.id)):
            pack = pack_named(info.name)
            if pack is not None:
                present.add(pack)
    return mirror.evidence(present, now)
