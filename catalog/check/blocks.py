"""Blocks of packs: whether their bytes are what was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from catalog.check.finding import Finding, What
from catalog.errors import Damaged, MissingData, NewerFormat, RpdriveError, ShortRead
from catalog.format.blocks import Buffer, PackKind, open_block
from catalog.format.keys import ID_BYTES, Keys
from catalog.format.packs import BlockRow, Extent, pack_name
from catalog.vault import Vault

LEVEL = 2  # that reads blocks, and says so in findings
Span: TypeAlias = tuple[int, int]  # bytes of a pack, [from, to)


class Sealed(NamedTuple):
    """A block: its row in the table of contents, and its sealed bytes."""

    row: BlockRow
    data: Buffer


def check_block(keys: Keys, kind: PackKind, pack: bytes, row: BlockRow, sealed: Buffer) -> None:
    """Open a block, and compare every chunk with its id. Raises Damaged or NewerFormat."""
    raw = open_block(keys, kind, pack, row.offset, sealed)
    what = f"block {pack.hex()}+{row.offset}"
    if len(raw) != sum(row.lengths):
        raise Damaged(f"{what} holds {len(raw)} bytes, and the table of contents says {sum(row.lengths)}")
    whole, at, ids = memoryview(raw), 0, row.ids
    for n, length in enumerate(row.lengths):
        if keys.chunk_id(whole[at : at + length]) != ids[n * ID_BYTES : (n + 1) * ID_BYTES]:
            raise Damaged(f"{what} does not contain the chunks that the table of contents lists")
        at += length


def check_blocks(vault: Vault, kind: PackKind, pack: bytes, blocks: Sequence[Sealed]) -> list[Finding]:
    """The blocks that are bad. What is damaged is fetched once more: the transfer may have been at fault."""
    found = []
    for row, data in blocks:
        try:
            check_block(vault.keys, kind, pack, row, data)
        except (Damaged, NewerFormat):
            found += recheck(vault, kind, pack, row)
    return found


def recheck(vault: Vault, kind: PackKind, pack: bytes, row: BlockRow, *, has_chunks: bool = True) -> list[Finding]:
    """Fetch a block again and check it: what is wrong with it, if anything. Raises StoreError.

    Without `has_chunks`, the row says only where the block is: then it is opened, which proves each of its bytes.
    """
    at = Extent(pack, row.offset, row.stored, 0, 0, b"")

    def check() -> None:
        sealed = vault.fetch_block(kind, at)
        if has_chunks:
            check_block(vault.keys, kind, pack, row, sealed)
        else:
            vault.open_block(kind, at, sealed)

    try:
        vault.second_read(kind, at, check)
    except MissingData as e:
        return [bad_block(kind, pack, row, What.MISSING, e)]
    except ShortRead as e:
        return [bad_block(kind, pack, row, What.SHORT, e)]
    except (Damaged, NewerFormat) as e:
        return [bad_block(kind, pack, row, What.BLOCK, e)]
    return []


def bad_block(kind: PackKind, pack: bytes, row: BlockRow, what: What, error: RpdriveError) -> Finding:
    return Finding(LEVEL, what, pack_name(kind, pack), str(error), kind, pack, row.offset, row.stored)


class Chosen(NamedTuple):
    """Blocks in live spans, by a table of contents, and the spans of which it does not list every block."""

    rows: list[BlockRow]
    unlisted: list[Span]


def choose(rows: Sequence[BlockRow], spans: Sequence[Span]) -> Chosen:
    """Choose what is in the spans. Rows and spans ascend."""
    chosen, unlisted = list[BlockRow](), list[Span]()
    n = 0
    for start, end in spans:
        while n < len(rows) and rows[n].offset + rows[n].stored <= start:
            n += 1
        position, some = start, list[BlockRow]()
        while n < len(rows) and rows[n].offset == position and position + rows[n].stored <= end:
            some.append(rows[n])
            position += rows[n].stored
            n += 1
        if position == end:
            chosen += some
        else:
            unlisted.append((start, end))
    return Chosen(chosen, unlisted)
