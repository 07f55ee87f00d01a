"""Writes an image to a device, only what differs: so it goes on where an earlier run was stopped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from cache.reader import Reader
from catalog.errors import Damaged
from catalog.format.blocks import PackKind
from catalog.format.packs import Extent
from catalog.format.values import Piece
from catalog.interruption import check
from catalog.screen.progress import JobProgress
from mount.restore.device.target import DeviceTarget

_PART = 4 << 20  # bytes of a hole that are handled at once
_BATCH = 16 << 20  # bytes that are compared before what differs among them is fetched
_COMPARING = 2  # threads
_LISTED = 100  # ranges


class Amounts:
    """What was done, in bytes. Another thread may read it."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.compared = self.same = self.written = self.zeroed = self.verified = 0
        self.verifying = False
        self.bad: list[tuple[int, int, str]] = []  # ranges (start, end) that could not be restored, and why
        self.bad_count = 0

    def progress(self, seconds: float) -> JobProgress:
        done = self.same + self.written + self.zeroed
        if self.verifying:
            done = self.verified
        return JobProgress(seconds, 0, 1, done, self.total, present=0 if self.verifying else self.same)

    def failed(self, start: int, end: int, why: str) -> None:
        self.bad_count += 1
        if len(self.bad) < _LISTED:
            self.bad.append((start, end, why))


class _Part(NamedTuple):
    start: int
    length: int
    extent: Extent | None  # None: zeros


class Writer:
    """Writes one image. `pieces` returns its pieces with their positions, anew at each call."""

    def __init__(
        self,
        reader: Reader,
        pieces: Callable[[], Iterator[tuple[int, Piece]]],
        target: DeviceTarget,
        amounts: Amounts,
        *,
        discard: bool,
        dry: bool,
    ) -> None:
        self._reader, self._pieces, self._target, self.amounts = reader, pieces, target, amounts
        self._discard, self._dry = discard, dry
        self._keys = reader.vault.keys

    def run(self) -> None:
        """Compare and write all. A piece that is damaged in the vault is counted, and left as it is on the device.

        Raises LocalError if the device fails, StoreError.
        """
        with ThreadPoolExecutor(_COMPARING, "compare") as pool:
            waiting: deque[tuple[_Part, Future[bool]]] = deque()
            held = 0
            for part in self._parts():
                waiting.append((part, pool.submit(self._has, part)))
                held += part.length
                if held >= 2 * _BATCH:
                    held -= self._settle(waiting, _BATCH)
            self._settle(waiting, held)
        if not self._dry:
            self._target.end()

    def verify(self) -> None:
        """Read all of it again from the device. What differs is counted."""
        self.amounts.verifying = True
        with ThreadPoolExecutor(_COMPARING, "compare") as pool:
            waiting: deque[tuple[_Part, Future[bool]]] = deque()
            for part in self._parts():
                waiting.append((part, pool.submit(self._has, part)))
                if len(waiting) > 8:
                    self._verified(*waiting.popleft())
            while waiting:
                self._verified(*waiting.popleft())

    def _verified(self, part: _Part, same: Future[bool]) -> None:
        if not same.result():
            self.amounts.failed(part.start, part.start + part.length, "it differs when it is read again")
        self.amounts.verified += part.length

    def _parts(self) -> Iterator[_Part]:
        for start, piece in self._pieces():
            check()
            if isinstance(piece, Extent):
                yield _Part(start, piece.length, piece)
                continue
            for at in range(start, start + piece.length, _PART):
                yield _Part(at, min(_PART, start + piece.length - at), None)

    def _has(self, part: _Part) -> bool:
        """Whether the device has a part already."""
        if part.extent is None:
            return self._target.is_zero(part.start, part.length)
        data = self._target.read(part.start, part.length)
        return len(data) == part.length and self._keys.chunk_id(data) == part.extent.id

    def _settle(self, waiting: deque[tuple[_Part, Future[bool]]], most: int) -> int:
        """Wait for the comparison of the first `most` bytes, and write what differs. Returns how many they were."""
        taken, differs = 0, list[_Part]()
        while waiting and taken < most:
            part, same = waiting.popleft()
            taken += part.length
            if same.result():
                self.amounts.same += part.length
            else:
                differs.append(part)
        if not self._dry:
            self._reader.expect([part.extent for part in differs if part.extent is not None])
        for part in differs:
            self._write(part)
        return taken

    def _write(self, part: _Part) -> None:
        if part.extent is None:
            if not self._dry:
                self._target.zero(part.start, part.length, discard=self._discard)
            self.amounts.zeroed += part.length
            return
        if not self._dry:
            try:
                data = self._reader.chunk(PackKind.DATA, part.extent)
            except Damaged as e:
                self.amounts.failed(part.start, part.start + part.length, str(e))
                return
            self._target.write(part.start, data)
        self.amounts.written += part.length
