"""Bytes <-> values: keys, sealed objects, blocks, packs, trees, points, index. No I/O."""
