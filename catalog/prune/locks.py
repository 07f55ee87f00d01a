"""Lengthens the locks that the store itself keeps on objects of a series, in a vault that is immutable.

What no point refers to keeps its lock until that ends, and is deleted then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from catalog.errors import NotSupported
from catalog.format.blocks import PackKind
from catalog.format.packs import pack_named, series_folder
from catalog.format.records import PointName
from catalog.protect.extend import Extended, extend_locks
from catalog.prune.state import Key, State
from catalog.vault import Vault

_SHARED = ("machines/", "policies/", "vault")  # small records of the whole vault, and vault.json with its copies


def holders(live: Iterable[Key], state: State) -> set[bytes]:
    """The objects that hold the blocks of packs, some of which may have moved: kind and id, 17 bytes each."""
    found = set[bytes]()
    for key in live:
        runs = state.moved.get(key)
        found.update((_short(key.kind, key.id),) if runs is None else (_short(key.kind, r.holder) for r in runs))
    return found


def _short(kind: int, one: bytes) -> bytes:
    return bytes((kind,)) + one


def lengthen_locks(
    vault: Vault,
    series: bytes,
    machines: Iterable[bytes],
    held: Collection[bytes],
    points: Collection[PointName],
    records: Collection[str],
) -> Extended | None:
    """Lock what a series needs for the days of the vault's rule, where less than half of them is left.

    `held` are the packs and carriers that points need (`holders`), `points` the points that are to stay, and
    `records` the names of the newest records of places and ledgers. A pack that a backup has just stored, and that
    no point has yet, keeps the lock that it was stored with.

    None if the vault is not immutable, or its store has no locks. Requests: one listing of each folder, with one
    write for each lock that is due. Raises StoreUnreachable.
    """
    rule = vault.file.immutable
    if rule is None:
        return None
    kept = {*map(str, points), *records}
    folders = [series_folder(kind, series) for kind in (PackKind.DATA, PackKind.TREE)]
    prefixes = [*folders, f"places/{series.hex()}"]
    for machine in machines:
        prefixes += [f"{top}/{machine.hex()}/" for top in ("points", "ledger", "items")]

    def in_use(name: str) -> bool:
        pack = pack_named(name)
        if pack is not None:
            kind = PackKind.DATA if name.startswith("packs/") else PackKind.TREE
            return _short(kind, pack) in held
        if name.startswith(("points/", "ledger/", "places/")):
            return name in kept
        return True

    try:
        return extend_locks(
            vault.store, [*prefixes, *_SHARED], in_use, days=rule.days, now=vault.store.now(), fixed=rule.locked
        )
    except NotSupported:
        return None
