"""Level 0: what listings and records show, without reading a page or a pack."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping

from msgspec.structs import replace

from catalog.check.finding import Finding, What
from catalog.check.ground import Ground, Key
from catalog.errors import MissingData, ObjectNotFound, RpdriveError
from catalog.format.blocks import PackKind
from catalog.format.ledger import ledger_folder
from catalog.format.packs import SERIES_BYTES, pack_named
from catalog.format.places import EVIDENCE, places_folder
from catalog.format.records import Point, PointName
from catalog.format.sealed import Kind
from catalog.ledger.state import Ledger, find_gaps, numbers_text
from catalog.mark.live import Live
from catalog.vault import Vault

LEVEL = 0
_BRING_BACK = "bring it back from a copy of the vault"


def check_points(ground: Ground, highest: Mapping[Key, int]) -> Iterator[Finding]:
    """Points that can't be read, that are missing without a reason, and that rest on old evidence.

    `highest` are the highest sequence numbers that this machine has seen, by machine and item.
    """
    for (machine, item), error in ground.unread.items():
        yield Finding(LEVEL, What.OTHER, f"ledger/{machine.hex()}/{item.hex()}/", str(error))
    yield from _doubts(ground)
    for one in ground.roots.unread:
        yield _unread(LEVEL, one.name, one.error)
    yield from _gaps(ground, highest)
    for root in ground.roots.roots:
        late = root.modified - root.point.checked
        if not root.name.partial and late > EVIDENCE:
            reason = "it was stored long after the vault was last seen to have all that it refers to"
            yield Finding(LEVEL, What.UNSOUND, str(root.name), reason, points=(root.name,))


def _unread(level: int, name: PointName, error: RpdriveError) -> Finding:
    reason = f"{error}; {_BRING_BACK}, or accept it: `rpdrive forget --damaged {name.id.hex()[:8]}`"
    return Finding(level, What.POINT, str(name), reason, points=(name,))


def check_stored_points(ground: Ground, most: int | None) -> Iterator[Finding]:
    """Points whose records this machine has in its cache, and the store no longer has whole.

    A request for each: up to `most`, drawn at random (None: for all). Belongs to level 1. Raises StoreError.
    """
    names = [root.name for root in ground.roots.roots if not root.name.partial]
    if most is not None and len(names) > most:
        names = sorted(random.Random().sample(names, most))
    stored = Vault(ground.vault.store, ground.vault.keys, ground.vault.file)  # without a cache
    records = stored.read_each(Kind.POINT, Point, names, _bare)
    for name, record in zip(names, records, strict=True):
        is_gone = isinstance(record, MissingData) and isinstance(record.__cause__, ObjectNotFound)
        if isinstance(record, RpdriveError) and not is_gone:
            yield _unread(1, name, record)


def _bare(point: Point) -> Point:
    return replace(point, problems=[])


def _doubts(ground: Ground) -> Iterator[Finding]:
    """Objects that may be later ledgers, or records of places, than those that were read."""
    folders = {ledger_folder(*key) for key in ground.ledgers}
    folders |= {places_folder(machine[:SERIES_BYTES]) for machine in ground.series}
    folders |= {places_folder(record.series, record.digits) for record in ground.places}
    for folder in sorted(folders):
        for name in ground.vault.signed.doubts(folder):
            reason = "it does not open, and may be the newest record there; the one before it is read instead"
            yield Finding(LEVEL, What.OTHER, name, f"{reason}; {_BRING_BACK}; if it is lost, or junk, delete it")


def _gaps(ground: Ground, seen: Mapping[Key, int]) -> Iterator[Finding]:
    opened = [root.name for root in ground.roots.roots]
    names = [*opened, *(one.name for one in ground.roots.unread)]
    keys = {(name.machine, name.item) for name in names if not name.partial} | _of(ground, seen)
    keys |= ground.ledgers.keys()
    ledgers = {key: ground.ledgers.get(key) or Ledger(*key) for key in keys if key not in ground.unread}
    for key, first, last in find_gaps(names, opened, ledgers, seen, ground.vault.jumps):
        folder = f"points/{key[0].hex()}/{key[1].hex()}/"
        reason = f"{numbers_text(first, last)} vanished, and no record says why"
        yield Finding(LEVEL, What.GAP, folder, f"{reason}; {_BRING_BACK}, or accept it: `rpdrive forget --missing`")


def _of(ground: Ground, seen: Mapping[Key, int]) -> set[Key]:
    return {key for key in seen if key[0] == ground.machine and ground.item in (None, key[1])}


def check_objects(
    ground: Ground,
    live: Live,
    lost: Collection[tuple[PackKind, bytes]] | None = None,
    unknown: Collection[tuple[PackKind, bytes]] = (),
) -> Iterator[Finding]:
    """Packs and carriers that are missing, or end before the last byte that points refer to.

    `lost` are the packs without which files or folders can't be given back; None if that is not known. For all that
    points refer to in the others, the records of places have other copies. `unknown` are those among them with a
    lost block of which no record says so.
    """
    known = {(row.kind, row.pack) for record in ground.places for row in record.broken if row.offset is None}
    for kind in (PackKind.DATA, PackKind.TREE):
        for pack, spans in live.spans(kind):
            for start, end in spans:
                absent = ground.presence.absence(kind, pack, start, end)
                if absent is None:
                    continue
                what = What.SHORT if absent.short else What.MISSING
                holder = pack_named(absent.object) or pack
                healed = lost is not None and (kind, pack) not in lost
                told = lost is not None and not healed and (kind, pack) not in unknown
                yield Finding(
                    LEVEL, what, absent.object, absent.reason, kind, holder,
                    acknowledged=told or (kind, pack) in known, healed=healed,
                )  # fmt: skip
                break
