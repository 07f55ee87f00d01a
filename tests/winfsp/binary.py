"""Reads from winfspy's compiled bindings, a Windows binary, what MSVC made of WinFsp's headers.

cffi compiles tables into a module (its parse_c_type.h has their layout): every struct with its size, and every
field with its offset and size. Their rows point at names, so they are found by the names of a struct and of a field
that are known to be there.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from tests.winfsp.wheel import WHEEL

_STRUCT = struct.Struct("<QiiQiii4x")  # name, type, flags, size, alignment, first field, fields
_FIELD = struct.Struct("<QQQQ")  # name, offset, size, type
_UNKNOWN = 2**64 - 1  # of a field's size: an array's length was left to the compiler


class Struct(NamedTuple):
    size: int
    fields: dict[str, tuple[int, int | None]]  # offset, size


class Binary:
    def __init__(self, data: bytes) -> None:
        self._data = data
        header = struct.unpack_from("<I", data, 0x3C)[0]
        count, optional = struct.unpack_from("<H12xH", data, header + 6)
        self._base = struct.unpack_from("<Q", data, header + 24 + 24)[0]
        sections = (struct.unpack_from("<8xIIII", data, header + 24 + optional + 40 * n) for n in range(count))
        self._sections = [(start, min(size, raw), offset) for size, start, raw, offset in sections]
        self.structs = dict(self._rows())

    @classmethod
    def of_wheel(cls) -> Binary:
        return cls((WHEEL / "winfspy" / "plumbing" / "_bindings.pyd").read_bytes())

    @property
    def names(self) -> set[str]:
        """Every word in the binary that could be a name."""
        return {word.decode() for word in re.findall(rb"(?<=\0)[A-Za-z_][A-Za-z0-9_]*(?=\0)", self._data)}

    def _offset(self, address: int) -> int | None:
        for start, size, offset in self._sections:
            if start <= address - self._base < start + size:
                return address - self._base - start + offset
        return None

    def _pointers_to(self, name: str) -> list[int]:
        """Where in the file the address of a name stands."""
        at = self._data.index(b"\0" + name.encode() + b"\0") + 1
        start, _size, offset = next(s for s in self._sections if s[2] <= at < s[2] + s[1])
        address = struct.pack("<Q", self._base + start + at - offset)
        return [found.start() for found in re.finditer(re.escape(address), self._data)]

    def _name(self, address: int) -> str | None:
        at = self._offset(address)
        if at is None:
            return None
        word = self._data[at : self._data.index(b"\0", at)].decode("latin-1")
        return word.lstrip("$_") if re.fullmatch(r"[$_]?\w+", word) else None

    def _row(self, at: int) -> tuple[str, int, int, int] | None:
        """Name, size, first field and number of fields, if a struct's row is there."""
        pointer, _type, _flags, size, alignment, first, count = _STRUCT.unpack_from(self._data, at)
        name = self._name(pointer)
        sane = size < 1 << 16 and alignment in (1, 2, 4, 8) and -1 <= first < 1000 and 0 <= count < 100
        return (name, size, first, count) if name and sane else None

    def _rows(self) -> list[tuple[str, Struct]]:
        at = next(place for place in self._pointers_to("$FSP_FSCTL_DIR_INFO") if self._row(place))
        while self._row(at - _STRUCT.size):
            at -= _STRUCT.size
        rows = []
        while row := self._row(at):
            rows.append(row)
            at += _STRUCT.size
        _name, size, first, count = next(row for row in rows if row[0] == "FSP_FSCTL_DIR_INFO")
        # The last field of that struct is its name, which begins where the struct ends.
        place = next(p for p in self._pointers_to("FileNameBuf") if _FIELD.unpack_from(self._data, p)[1] == size)
        fields = place - _FIELD.size * (first + count - 1)

        def field(number: int) -> tuple[str, tuple[int, int | None]]:
            pointer, offset, size, _type = _FIELD.unpack_from(self._data, fields + _FIELD.size * number)
            return self._name(pointer) or "", (offset, None if size == _UNKNOWN else size)

        return [
            (name, Struct(size, dict(map(field, range(first, first + count))))) for name, size, first, count in rows
        ]
