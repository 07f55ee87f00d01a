"""Reads packs and checks their blocks, on all processors, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from catalog.check.blocks import Sealed, Span, check_blocks
from catalog.check.finding import Finding
from catalog.check.packs import READ, PackReader, Target
from catalog.heap import steady_heap
from catalog.processors import usable_processors
from catalog.vault import Vault

IN_FLIGHT = 72 << 20  # bytes of packs that are in memory at once: one is checked while the next one is read
_READERS = 4  # packs that are read at once, if they are small
_CHECKERS = 16  # threads at most, one for each processor
_BATCH = 4 << 20  # sealed bytes that one thread checks at a time


class Outcome(NamedTuple):
    """What reading a pack has found. `unlisted` are its live spans whose blocks no table of contents lists."""

    target: Target
    findings: list[Finding]
    unlisted: list[Span]


class Reading:
    """Threads that read and check packs. To be used in a `with` statement. `most`: bytes of a request at most."""

    def __init__(self, vault: Vault, *, most: int = READ, processors: int | None = None) -> None:
        steady_heap()
        self._vault, self._most = vault, most
        self._reader = PackReader(vault, most)
        workers = min(usable_processors() if processors is None else processors, _CHECKERS)
        self._readers = ThreadPoolExecutor(_READERS, "read")
        self._checkers = ThreadPoolExecutor(workers, "check")

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_error: object) -> None:
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._checkers.shutdown(wait=True, cancel_futures=True)

    def run(self, targets: Iterable[Target], is_over: Callable[[], bool] = lambda: False) -> Iterator[Outcome]:
        """Check packs. The outcomes are in the order of the targets, and end early once `is_over`.

        Raises StoreError.
        """
        running: deque[tuple[Target, Future[Outcome]]] = deque()
        held = 0
        for target in targets:
            while running and (held + target.cost(self._most) > IN_FLIGHT or len(running) >= _READERS):
                held -= running[0][0].cost(self._most)
                yield running.popleft()[1].result()
            if is_over():
                break
            held += target.cost(self._most)
            running.append((target, self._readers.submit(self._one, target)))
        while running:
            yield running.popleft()[1].result()

    def _one(self, target: Target) -> Outcome:
        kind, pack, _spans = target
        found: list[Finding] = []

        def take(blocks: list[Sealed]) -> None:
            """Check these blocks, many of them in several threads. Ends when they are checked, and can be freed."""
            first, *others = _batches(blocks) or [[]]
            checks = [self._checkers.submit(check_blocks, self._vault, kind, pack, some) for some in others]
            found.extend(check_blocks(self._vault, kind, pack, first))
            for check in checks:
                found.extend(check.result())

        read = self._reader.read(target, take)
        return Outcome(target, read.findings + found, read.unlisted)


def _batches(blocks: list[Sealed]) -> list[list[Sealed]]:
    batches, size = list[list[Sealed]](), _BATCH
    for block in blocks:
        if size >= _BATCH:
            batches.append([])
            size = 0
        batches[-1].append(block)
        size += block.row.stored
    return batches
