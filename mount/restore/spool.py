"""Records in a temporary file without a name, for what a restore must remember and can't keep in memory.

Only the process that wrote a record reads it, so records have no version. Positions are bytes.
"""

from __future__ import annotations

import os
import tempfile
import threading
from array import array
from collections.abc import Iterable, Iterator
from typing import IO

from catalog.errors import LocalError

_BUFFER = 1 << 20  # bytes that are kept until they are written; a spool of fewer needs no file
_PART = 32 << 10  # bytes read at once from records in order
_LENGTH = 4  # bytes of a record's length, before it
_LARGE = "/var/tmp"


class Spool:
    """Appends records, and returns them by their positions. Thread-safe. Raises LocalError if the disk is full.

    Its file is closed with the last reference, or by `close`.
    """

    def __init__(self) -> None:
        self.end = 0  # the position of the next record
        self._lock = threading.Lock()
        self._buffer = bytearray()
        self._written = 0
        self._file: IO[bytes] | None = None

    def append(self, record: bytes) -> int:
        """Add a record. Returns its position."""
        position = self.end
        self.extend((record,))
        return position

    def extend(self, records: Iterable[bytes]) -> None:
        """Add records."""
        with self._lock:
            buffer, before = self._buffer, len(self._buffer)
            for record in records:
                buffer += len(record).to_bytes(_LENGTH, "big")
                buffer += record
                if len(buffer) >= _BUFFER:
                    self.end += len(buffer) - before
                    self._write()
                    before = 0
            self.end += len(buffer) - before

    def read(self, position: int) -> bytes:
        """The record at a position."""
        length = int.from_bytes(self._bytes(position, _LENGTH), "big")
        return self._bytes(position + _LENGTH, length)

    def records(self, start: int = 0, end: int | None = None, at_once: int = _PART) -> Iterator[bytes]:
        """The records from one position to another, in order. Others may read and append meanwhile.

        `at_once`: bytes to read, if a record is not longer.
        """
        end, at_once = self.end if end is None else end, max(at_once, _LENGTH)
        part, at = b"", 0
        while start < end:
            if len(part) - at < _LENGTH:
                part, at = self._bytes(start, min(at_once, end - start)), 0
            length = _LENGTH + int.from_bytes(part[at : at + _LENGTH], "big")
            if len(part) - at < length:
                part, at = self._bytes(start, max(length, min(at_once, end - start))), 0
            yield part[at + _LENGTH : at + length]
            at += length
            start += length

    def close(self) -> None:
        with self._lock:
            self._buffer.clear()
            if self._file is not None:
                self._file.close()
                self._file = None

    __del__ = close

    def _bytes(self, position: int, length: int) -> bytes:
        with self._lock:
            if position >= self._written:
                at = position - self._written
                return bytes(self._buffer[at : at + length])
            assert self._file is not None
            self._file.seek(position)
            data = self._file.read(min(length, self._written - position))
            return data + bytes(self._buffer[: length - len(data)])

    def _write(self) -> None:
        folder = _LARGE if "TMPDIR" not in os.environ and os.access(_LARGE, os.W_OK) else None
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by `close`
            self._file.seek(self._written)
            view = memoryview(self._buffer)
            while view:
                view = view[self._file.write(view) :]
        except OSError as e:
            where = folder or tempfile.gettempdir()
            raise LocalError(
                f"cannot write to the temporary folder {where}: {e.strerror}",
                "free some space there, or set TMPDIR to a folder with more",
            ) from e
        finally:
            view = memoryview(b"")
        self._written += len(self._buffer)
        self._buffer.clear()


class Bits:
    """A set of numbers that takes a bit for each number up to the highest."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, number: int) -> bool:
        """Add a number; whether it is new."""
        at, bit = number >> 3, 1 << (number & 7)
        if at >= len(self._bits):
            self._bits.extend(bytes(max(at + 1 - len(self._bits), 1024)))
        new = not self._bits[at] & bit
        self._bits[at] |= bit
        return new

    def __contains__(self, number: int) -> bool:
        at = number >> 3
        return at < len(self._bits) and bool(self._bits[at] & 1 << (number & 7))


_PAGE = 128


class Numbers:
    """Numbers by other numbers, most of which are close together: 8 bytes for each, in pages."""

    def __init__(self) -> None:
        self._pages: dict[int, array[int]] = {}
        self._empty = array("q", bytes(8 * _PAGE))

    def __setitem__(self, key: int, value: int) -> None:
        page = self._pages.get(key // _PAGE)
        if page is None:
            page = self._pages[key // _PAGE] = self._empty[:]
        page[key % _PAGE] = value + 1

    def get(self, key: int) -> int | None:
        """The value of a key; None if it was never set."""
        page = self._pages.get(key // _PAGE)
        value = 0 if page is None else page[key % _PAGE]
        return value - 1 if value else None
