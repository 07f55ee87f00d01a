"""A drive on a store far away: `far_drive.py MOUNTPOINT DRIVER DELAY` serves it until it is unmounted.

The vault is that of RPDRIVE_VAULT, RPDRIVE_PASSPHRASE opens it, and each of its requests takes DELAY seconds
longer. `rate` says what such a store gives without a drive.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tools import PASSPHRASE

if TYPE_CHECKING:
    from catalog.format.packs import Extent
    from catalog.store.base import Store
    from catalog.vault import Vault

RANGE = 16 << 20  # bytes of a request, about: rpdrive's own window
THREADS = (4, 8)  # requests at once: as many as rpdrive reads ahead with, and as many as it has in all


def serve(mount_point: Path, driver: str, delay: float) -> None:
    """The newest point, until it is unmounted."""
    from catalog.access.session import Session
    from catalog.store.address import open_store
    from catalog.store.delayed import DelayedStore
    from mount.process.order import Order
    from mount.process.service import serve as serve_order

    def far(url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
        return DelayedStore(open_store(url, token=token, endpoint=endpoint), delay)

    session = Session(opener=far)
    vault = session.open_vault()
    order = Order(
        address=session.address, vault_file=Order.vault_text(vault), master=vault.keys.master,
        mount_point=bytes(mount_point), point="latest", driver=driver,
    )  # fmt: skip
    serve_order(order, session, lambda notices: None)


class Rate(NamedTuple):
    """The throughput of a store: bytes of a file, seconds, and threads."""

    seconds: float
    stored: int
    requests: int
    threads: int


def rate(repository: Path, name: str, delay: float, forget: Callable[[], object]) -> Rate:
    """The fastest of several thread counts at fetching the ranges (about 16 MiB each) that hold a file's contents.

    `forget` drops what the kernel keeps of the repository's files.
    """
    from catalog.store.address import open_store
    from catalog.store.delayed import DelayedStore
    from catalog.vault import open_vault

    vault = open_vault(open_store(repository.as_uri()), passphrase=PASSPHRASE)
    ranges = list(_ranges(_extents(vault, name.encode())))
    far = DelayedStore(vault.store, delay)
    best: Rate | None = None
    for threads in THREADS:
        forget()
        with ThreadPoolExecutor(threads) as pool:
            began = time.monotonic()
            stored = sum(pool.map(lambda where: len(far.read(*where)), ranges))
            seconds = time.monotonic() - began
        if best is None or seconds < best.seconds:
            best = Rate(seconds, stored, len(ranges), threads)
    vault.store.close()
    assert best is not None
    return best


def _extents(vault: Vault, name: bytes) -> Iterator[Extent]:
    """The extents of the first file of this name in the newest point."""
    from cache.reader import Reader
    from catalog.format.values import Hole, NodeKind
    from catalog.points.choice import choose_point
    from catalog.tree import Pieces, walk

    reader = Reader(vault)
    try:
        point = vault.point(choose_point(vault.point_names(), "latest"))
        assert point.root is not None
        for _path, found in walk(reader, point.root.subtree()):
            if found.entry.name == name and found.entry.kind == NodeKind.FILE:
                pieces = Pieces(reader, found.leaf.pieces(found.entry)).all()
                yield from (piece for piece in pieces if not isinstance(piece, Hole))
                return
    finally:
        reader.close()
    raise RuntimeError(f"there is no file {name.decode()} in the newest point")


def _ranges(extents: Iterable[Extent]) -> Iterator[tuple[str, int, int]]:
    """Object, offset and length of what to ask for: neighbours together, in even parts of about 16 MiB."""
    from catalog.format.blocks import PackKind
    from catalog.format.packs import pack_name

    for pack, low, high in _runs(extents):
        parts = max(round((high - low) / RANGE), 1)
        borders = [low + (high - low) * n // parts for n in range(parts + 1)]
        for start, end in pairwise(borders):
            yield pack_name(PackKind.DATA, pack), start, end - start


def _runs(extents: Iterable[Extent]) -> Iterator[tuple[bytes, int, int]]:
    """Pack, start and end of each contiguous run."""
    pack, low, high = b"", 0, 0
    for extent in extents:
        start, end = extent.offset, extent.offset + extent.stored
        if extent.pack == pack and low <= start <= high:
            high = max(high, end)
            continue
        if pack:
            yield pack, low, high
        pack, low, high = extent.pack, start, end
    if pack:
        yield pack, low, high


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
