"""The names of all points of a vault, in bounded memory: there may be twenty million.

44 bytes a point, in a temporary file once they are many. Nothing in it is secret: the store shows names to whoever
may list them.
"""

from __future__ import annotations

import heapq
import io
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO

from catalog.format.records import PointName

Key = tuple[bytes, bytes]  # machine and item
Order = Callable[[PointName], tuple[int, int, bytes]]
_ROW = struct.Struct(">qqIQ16s")  # time (s), time of the object (s, and ns of a second), sequence, id
_S = 10**9  # ns; a name may claim the year 9999, which no 64 bits of ns reach
_MEMORY = 8 << 20  # bytes of rows; more are in the file
_ROWS = 1 << 12  # written at once


class PointTable(Mapping[PointName, int]):
    """Whole points of a listing, and when each was stored (ns, the store's clock), in the order of the listing.

    Thread-safe.
    """

    def __init__(self, stored: Iterable[tuple[PointName, int]] = ()) -> None:
        self._lock = threading.Lock()
        self._file: IO[bytes] = io.BytesIO()
        self._spans: dict[Key, list[list[int]]] = {}  # first row and number of rows, one span in a sorted listing
        self._length = 0
        rows = list[bytes]()
        last: Key | None = None
        for name, modified in stored:
            if name.partial:
                continue
            key = name.machine, name.item
            if key != last:
                self._spans.setdefault(key, []).append([self._length, 0])
                span, last = self._spans[key][-1], key
            span[1] += 1
            self._length += 1
            rows.append(_ROW.pack(name.time // _S, *divmod(modified, _S), name.sequence, name.id))
            if len(rows) >= _ROWS:
                self._write(b"".join(rows))
                rows.clear()
        self._write(b"".join(rows))

    def _write(self, rows: bytes) -> None:
        if isinstance(self._file, io.BytesIO) and self._file.tell() + len(rows) > _MEMORY:
            import tempfile  # few vaults have so many points

            memory = self._file
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
            self._file.write(memory.getbuffer())
        self._file.write(rows)

    def __del__(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[PointName]:
        for key in self._spans:
            yield from self.of(key)

    def __getitem__(self, name: PointName) -> int:
        key = name.machine, name.item
        if not name.partial:
            for first, count in self._spans.get(key, ()):  # in a sorted listing, times ascend
                low, high = first, first + count
                while low < high:
                    middle = (low + high) // 2
                    if self._row(middle)[0] < name.time:
                        low = middle + 1
                    else:
                        high = middle
                for n in range(low, first + count):
                    time, modified, sequence, point = self._row(n)
                    if time != name.time:
                        break
                    if (sequence, point) == (name.sequence, name.id):
                        return modified
            for other, modified in self._rows(key):
                if other == name:
                    return modified
        raise KeyError(name)

    def keys_of_items(self) -> list[Key]:
        """The items that have points, in the order of the listing."""
        return list(self._spans)

    def of(self, key: Key) -> list[PointName]:
        """The points of an item."""
        return [name for name, _modified in self._rows(key)]

    def each(self) -> Iterator[tuple[PointName, int]]:
        """All points with the times of their objects. As `items`, but each row is read once."""
        for key in self._spans:
            yield from self._rows(key)

    def ranked(self, order: Order, before: int | None = None) -> Iterator[PointName]:
        """The points, those of an item by `order` from the highest on; the items by time (and sequence) of that.

        Only those that were made `before` a time (ns), if it is given. No more than one item is in memory at first:
        and then those of which points are taken.
        """

        def some(key: Key) -> Iterator[PointName]:
            return (name for name in self.of(key) if before is None or name.time < before)

        tops, left = list[tuple[int, int, int]](), dict[int, list[PointName]]()
        newest: dict[int, PointName] = {}
        keys = self.keys_of_items()
        for n, key in enumerate(keys):
            top = max(some(key), key=order, default=None)
            if top is not None:
                newest[n] = top
                tops.append((-top.time, -top.sequence, n))
        heapq.heapify(tops)
        while tops:
            n = heapq.heappop(tops)[2]
            yield newest[n]
            if n not in left:
                left[n] = sorted(some(keys[n]), key=order)
            left[n].pop()
            if left[n]:
                newest[n] = left[n][-1]
                heapq.heappush(tops, (-newest[n].time, -newest[n].sequence, n))

    def _row(self, n: int) -> tuple[int, int, int, bytes]:
        with self._lock:
            self._file.seek(n * _ROW.size)
            data = self._file.read(_ROW.size)
        time, second, rest, sequence, point = _ROW.unpack(data)
        return time * _S, second * _S + rest, sequence, point

    def _rows(self, key: Key) -> Iterator[tuple[PointName, int]]:
        machine, item = key
        for first, count in self._spans.get(key, ()):
            with self._lock:
                self._file.seek(first * _ROW.size)
                data = self._file.read(count * _ROW.size)
            for time, second, rest, sequence, point in _ROW.iter_unpack(data):
                yield PointName(machine, item, time * _S, sequence, point, False), second * _S + rest


def by_sequence(name: PointName) -> tuple[int, int, bytes]:
    return name.sequence, name.time, name.id


def by_time(name: PointName) -> tuple[int, int, bytes]:
    return name.time, name.sequence, name.id
