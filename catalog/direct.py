"""Reading a tree straight from the store, for commands that look once and end."""

from __future__ import annotations

from collections import OrderedDict

from catalog.errors import Damaged
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import Extent
from catalog.tree import ChunkSource
from catalog.vault import Vault

_KEPT = 16  # decoded blocks: at most 1 MiB each, mostly 256 KiB


class DirectSource(ChunkSource):
    """Pages of a vault's trees: one request a block, a few blocks kept. Not thread-safe."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._blocks: OrderedDict[tuple[bytes, int], Buffer] = OrderedDict()

    def chunk(self, at: Extent) -> Buffer:
        """The bytes of a tree chunk. Damaged (MissingData if its pack is gone), StoreError."""
        raw = memoryview(self._block(at))[at.inner : at.inner + at.length]
        if len(raw) != at.length or self._vault.keys.chunk_id(raw) != at.id:
            raise Damaged(f"block {at.pack.hex()[:8]}+{at.offset} does not hold the chunk that should be in it")
        return raw

    def _block(self, at: Extent) -> Buffer:
        place = at.pack, at.offset
        block = self._blocks.get(place)
        if block is None:
            sealed = self._vault.fetch_block(PackKind.TREE, at)
            block = self._blocks[place] = self._vault.open_block(PackKind.TREE, at, sealed)
            if len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(place)
        return block
