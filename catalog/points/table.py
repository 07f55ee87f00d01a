"""The names of all points of a vault, in bounded memory: there may be twenty million.

40 bytes a point, in a temporary file once they are many. Nothing in it is secret: the store shows names to whoever
may list them.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable, Iterator, Mapping

from catalog.format.records import PointName

Key = tuple[bytes, bytes]  # machine and item
_ROW = struct.Struct(">qqQ16s")  # time and time of the object (ns), sequence, id
_MEMORY = 8 << 20  # bytes of rows; more are in the file
_ROWS = 1 << 12  # written at once


class PointTable(Mapping[PointName, int]):
    """Whole points of a listing, and when each was stored (ns, the store's clock), in the order of the listing."""

    def __init__(self, stored: Iterable[tuple[PointName, int]] = ()) -> None:
        self._file = tempfile.SpooledTemporaryFile(_MEMORY)  # noqa: SIM115 - closed with this object
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
            rows.append(_ROW.pack(name.time, modified, name.sequence, name.id))
            if len(rows) >= _ROWS:
                self._file.write(b"".join(rows))
                rows.clear()
        self._file.write(b"".join(rows))

    def __del__(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[PointName]:
        for key in self._spans:
            yield from self.of(key)

    def __getitem__(self, name: PointName) -> int:
        if not name.partial:
            for other, modified in self._rows((name.machine, name.item)):
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

    def _rows(self, key: Key) -> Iterator[tuple[PointName, int]]:
        machine, item = key
        for first, count in self._spans.get(key, ()):
            self._file.seek(first * _ROW.size)
            for time, modified, sequence, point in _ROW.iter_unpack(self._file.read(count * _ROW.size)):
                yield PointName(machine, item, time, sequence, point, False), modified
