"""Bad blocks of data packs that earlier checks noted, or that this one has found: what files they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from catalog.check import records
from catalog.check.blocks import LEVEL, recheck
from catalog.check.finding import Finding, What
from catalog.format.blocks import PackKind
from catalog.format.checks import BadRow, ChecksRecord
from catalog.format.packs import SERIES_BYTES, BlockRow, pack_name
from catalog.format.places import PlacesRecord
from catalog.mark.faults import Bad, Fault, Place
from catalog.vault import Vault

BadBlocks = Mapping[tuple[bytes, int], Bad]  # of data packs: by pack, and offset of the block
_RECHECKED = 1000  # rows: each costs a request or two


def newest_records(vault: Vault, machines: Iterable[bytes]) -> dict[bytes, ChecksRecord]:
    """The newest record of each series, by the first bytes of these machines' ids. Raises StoreError."""
    found = {}
    for series in sorted({machine[:SERIES_BYTES] for machine in machines}):
        record = records.newest(vault, series)
        if record is not None:
            found[series] = record
    return found


def rows_of(known: Mapping[bytes, ChecksRecord]) -> list[BadRow]:
    """The blocks that checks of level 2 have found bad."""
    return [row for record in known.values() for row in record.bad if row.level >= LEVEL and row.stored]


def bad_blocks(found: Iterable[BadRow | Finding]) -> BadBlocks:
    """The blocks of data packs among rows or findings."""
    blocks: dict[tuple[bytes, int], Bad] = {}
    for one in found:
        if one.kind == PackKind.DATA and one.stored:
            place = Place(PackKind.DATA, one.pack, one.offset, one.stored)
            blocks[one.pack, one.offset] = Bad(pack_name(PackKind.DATA, one.pack), one.reason, place)
    return blocks


def finding_of(row: BadRow) -> Finding:
    """The finding that a row was made of."""
    what, _colon, reason = row.reason.partition(": ")
    kind = PackKind(row.kind)
    return Finding(
        row.level, What(what) if what in set(What) else What.OTHER, pack_name(kind, row.pack), reason or row.reason,
        kind, row.pack, row.offset, row.stored,
    )  # fmt: skip


class Earlier(NamedTuple):
    """What earlier checks have found: the blocks that are bad, and the rows of those that are whole again."""

    bad: list[Finding]
    whole: list[BadRow]


def look_again(vault: Vault, rows: Sequence[BadRow]) -> Earlier:
    """Read blocks that were bad. One request each, two for one that still is. Raises StoreError."""
    bad, whole = list[Finding](), list[BadRow]()
    for n, row in enumerate(rows):
        block = BlockRow(row.offset, row.stored, [], b"")
        if n >= _RECHECKED or recheck(vault, PackKind(row.kind), row.pack, block, has_chunks=False):
            bad.append(finding_of(row))
        else:
            whole.append(row)
    return Earlier(bad, whole)


def told(findings: Iterable[Finding], faults: Iterable[Fault], places: Iterable[PlacesRecord]) -> list[Finding]:
    """Findings of bad blocks, with the points and paths that reading the trees has met them in.

    A block that no file needs, since the records of places have other copies of its chunks, is healed.
    """
    met = {(f.at.kind, f.at.pack, f.at.offset): f for f in faults if f.at.stored}
    copied = {(row.kind, row.pack, row.offset) for record in places for row in record.instead}

    def one(finding: Finding) -> Finding:
        assert finding.kind is not None
        fault = met.get((finding.kind, finding.pack, finding.offset))
        if fault is not None:
            known = finding.acknowledged or fault.acknowledged
            return finding._replace(points=fault.points, path=fault.path, acknowledged=known)
        has_copy = finding.stored > 0 and (int(finding.kind), finding.pack, finding.offset) in copied
        return finding._replace(healed=has_copy)

    return [one(finding) for finding in findings]
