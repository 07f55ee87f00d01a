"""A set of 16-byte ids in bounded memory: in a table in memory, and in a temporary file once that is large."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from catalog.mark.spill import Spill

_ID = 16
_EMPTY = bytes(_ID)
_FIRST = 1 << 12  # slots
MOST_IN_MEMORY = 1 << 21  # slots: 32 MiB, for some 1.2 million ids
_FULL = 0.6  # of the slots


class Ids:
    """Ids of 16 bytes that are spread evenly, and not all zeros: in a table, of which 60 % at most are taken.

    Not thread-safe.
    `most_in_memory` is the number of slots (a power of two) from which the table is in a temporary file, which
    `close` removes. Raises LocalError if that can't be used.
    """

    def __init__(self, most_in_memory: int = MOST_IN_MEMORY) -> None:
        self._most = most_in_memory
        self._slots = min(_FIRST, most_in_memory)
        self._table = bytearray(self._slots * _ID)
        self._file: Spill | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, one: bytes) -> bool:
        """Add an id. Whether it was not there before."""
        assert len(one) == _ID
        if one == _EMPTY:
            return True  # no hash is expected to be all zeros
        at = self._find(one)
        if at is None:
            return False
        self._write(at, one)
        self._count += 1
        if self._count > self._slots * _FULL:
            self._grow()
        return True

    def __contains__(self, one: object) -> bool:
        return isinstance(one, bytes) and one != _EMPTY and self._find(one) is None

    def __iter__(self) -> Iterator[bytes]:
        """All ids, in no order."""
        for start in range(0, self._slots, _FIRST):
            rows = self._read(start, min(_FIRST, self._slots - start))
            for at in range(0, len(rows), _ID):
                one = rows[at : at + _ID]
                if one != _EMPTY:
                    yield one

    @property
    def slots(self) -> int:
        """The number of slots of the table."""
        return self._slots

    def parts(self) -> Iterator[bytes]:
        """The table as it is, in parts; `of_table` makes the set of them again."""
        return (self._read(at, min(_FIRST, self._slots - at)) for at in range(0, self._slots, _FIRST))

    @classmethod
    def of_table(cls, slots: int, count: int, parts: Iterable[bytes], most_in_memory: int = MOST_IN_MEMORY) -> Ids:
        """The set of `count` ids whose table had these parts."""
        made = cls(most_in_memory)
        made._slots, made._count = slots, count
        if slots > most_in_memory:
            made._file, made._table = Spill(), bytearray()
            at = 0
            for part in parts:
                made._file.write(at, part)
                at += len(part)
        else:
            made._table = bytearray().join(parts)
        return made

    def without(self, some: Collection[bytes]) -> Ids:
        """Another set without these ids."""
        made = Ids(self._most)
        for one in self:
            if one not in some:
                made.add(one)
        return made

    def _find(self, one: bytes) -> int | None:
        """The free slot for an id; None if it is there."""
        mask = self._slots - 1
        at = int.from_bytes(one[:8], "little") & mask
        if self._file is None:
            table = self._table
            while True:
                found = table[at * _ID : at * _ID + _ID]
                if found == one:
                    return None
                if found == _EMPTY:
                    return at
                at = (at + 1) & mask
        while True:
            rows = self._read(at, min(8, self._slots - at))
            for n in range(0, len(rows), _ID):
                found_there = rows[n : n + _ID]
                if found_there == one:
                    return None
                if found_there == _EMPTY:
                    return at + n // _ID
            at = (at + len(rows) // _ID) & mask

    def _read(self, slot: int, count: int) -> bytes:
        if self._file is None:
            return bytes(self._table[slot * _ID : (slot + count) * _ID])
        return self._file.read(slot * _ID, count * _ID)

    def _write(self, slot: int, one: bytes) -> None:
        if self._file is None:
            self._table[slot * _ID : (slot + 1) * _ID] = one
        else:
            self._file.write(slot * _ID, one)

    def _grow(self) -> None:
        old = Ids.__new__(Ids)
        old._slots, old._table, old._file = self._slots, self._table, self._file
        self._slots *= 2
        if self._slots > self._most:
            self._file = Spill()
            self._file.extend(self._slots * _ID)
            self._table = bytearray()
        else:
            self._table = bytearray(self._slots * _ID)
        for one in old:
            at = self._find(one)
            assert at is not None
            self._write(at, one)
        old.close()

    def close(self) -> None:
        """Remove the temporary file."""
        if self._file is not None:
            self._file.close()
            self._file = None
