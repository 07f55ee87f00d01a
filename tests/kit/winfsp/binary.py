"""Reads from winfspy's compiled bindings, a Windows binary, what MSVC made of WinFsp's headers.

cffi compiles tables into a module (its parse_c_type.h has their layout): every struct with its size, every field
with its offset and size, every function with its type. Their rows point at names, so they are found by the names
of a struct and of a field that are known to be there; one row points at all the tables.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from tests.kit.needs import WINFSPY

_STRUCT = struct.Struct("<QiiQiii4x")  # name, type, flags, size, alignment, first field, fields
_FIELD = struct.Struct("<QQQQ")  # name, offset, size, type
_TABLES = struct.Struct(
    "<QQQQQQiiii"
)  # types, globals, fields, structs, enums, typenames, and how many of the last
_UNKNOWN = 2**64 - 1  # of a field's size: an array's length was left to the compiler
_PRIMITIVE, _POINTER, _OPEN_ARRAY, _STRUCT_OR_UNION, _ENUM, _FUNCTION, _FUNCTION_END, _NOOP, _TYPENAME = (
    *(1, 3, 7, 9, 11, 13, 15, 17, 21),
)
_OF_PYTHON = 41
_FUNCTIONS = {23, 25, 27, _OF_PYTHON}  # plain ones by number of arguments, and those that Python fills
# C's own types as numbers of parse_c_type.h: signed or not, bytes on Windows; `w` is its 16-bit character.
_PRIMITIVES = {
    0: "void", 2: "c1", 3: "i1", 4: "u1", 5: "i2", 6: "u2", 7: "i4", 8: "u4", 9: "i4", 10: "u4", 11: "i8",
    12: "u8", 16: "w", 17: "i1", 18: "u1", 19: "i2", 20: "u2", 21: "i4", 22: "u4", 23: "i8", 24: "u8", 28: "u8",
}  # fmt: skip


class Struct(NamedTuple):
    size: int
    fields: dict[str, tuple[int, int | None]]  # offset, size


class Binary:
    def __init__(self, data: bytes) -> None:
        self._data = data
        header = struct.unpack_from("<I", data, 0x3C)[0]
        count, optional = struct.unpack_from("<H12xH", data, header + 6)
        self._base: int = struct.unpack_from("<Q", data, header + 24 + 24)[0]
        sections = (struct.unpack_from("<8xIIII", data, header + 24 + optional + 40 * n) for n in range(count))
        self._sections: list[tuple[int, int, int]] = [
            (start, min(size, raw), offset) for size, start, raw, offset in sections
        ]
        self._first_struct = self._first_field = 0
        self._struct_names: list[str] = []
        self.structs = dict(self._rows())
        self.functions = dict(self._signatures())

    @classmethod
    def of_wheel(cls) -> Binary:
        return cls((WINFSPY / "winfspy" / "plumbing" / "_bindings.pyd").read_bytes())

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
        """The offsets in the file at which the address of a name is stored."""
        at = self._data.index(b"\0" + name.encode() + b"\0") + 1
        address = struct.pack("<Q", self._address(at))
        return [found.start() for found in re.finditer(re.escape(address), self._data)]

    def _address(self, at: int) -> int:
        start, _size, offset = next(s for s in self._sections if s[2] <= at < s[2] + s[1])
        return self._base + start + at - offset

    def _name(self, address: int) -> str | None:
        at = self._offset(address)
        if at is None:
            return None
        word = self._data[at : self._data.index(b"\0", at)].decode("latin-1")
        return word if re.fullmatch(r"\$?\w+", word) else None

    def _row(self, at: int) -> tuple[str, int, int, int] | None:
        """Name, size, first field and number of fields, if a struct's row is there."""
        pointer, _type, _flags, size, alignment, first, count = _STRUCT.unpack_from(self._data, at)
        name = self._name(pointer)
        sane = size < 1 << 16 and alignment in (1, 2, 4, 8) and -1 <= first < 1000 and 0 <= count < 100
        return (name.lstrip("$_"), size, first, count) if name and sane else None

    def _rows(self) -> list[tuple[str, Struct]]:
        at = next(place for place in self._pointers_to("$FSP_FSCTL_DIR_INFO") if self._row(place))
        while self._row(at - _STRUCT.size):
            at -= _STRUCT.size
        self._first_struct = at
        rows = []
        while row := self._row(at):
            rows.append(row)
            at += _STRUCT.size
        _name, size, first, count = next(row for row in rows if row[0] == "FSP_FSCTL_DIR_INFO")
        # The last field of that struct is its name, which begins where the struct ends.
        place = next(p for p in self._pointers_to("FileNameBuf") if _FIELD.unpack_from(self._data, p)[1] == size)
        fields = place - _FIELD.size * (first + count - 1)
        self._first_field = fields
        self._struct_names = [row[0] for row in rows]

        def field(number: int) -> tuple[str, tuple[int, int | None]]:
            pointer, offset, size, _type = _FIELD.unpack_from(self._data, fields + _FIELD.size * number)
            return self._name(pointer) or "", (offset, None if size == _UNKNOWN else size)

        return [
            (name, Struct(size, dict(map(field, range(first, first + count))))) for name, size, first, count in rows
        ]

    # --- functions ---

    def _signatures(self) -> list[tuple[str, str]]:
        """The result and arguments of each function."""
        both = struct.pack("<QQ", self._address(self._first_field), self._address(self._first_struct))
        tables = _TABLES.unpack_from(self._data, self._data.index(both) - 16)
        types, globals_, _fields, _structs, enums, typenames, count, *_counts = tables
        found = []
        for number in range(count):
            name, _address, kind, _size = _FIELD.unpack_from(self._data, self._at(globals_, number, _FIELD.size))
            if kind & 0xFF in _FUNCTIONS:
                signature = self._type((types, enums, typenames), kind >> 8)
                if kind & 0xFF == _OF_PYTHON:
                    signature = signature.removeprefix("*")  # declared as pointers to functions
                found.append((self._name(name) or "", signature))
        return found

    def _at(self, table: int, number: int, size: int) -> int:
        at = self._offset(table)
        assert at is not None
        return at + number * size

    def _word(self, table: int, number: int) -> int:
        return int(struct.unpack_from("<Q", self._data, self._at(table, number, 8))[0])

    def _type(self, tables: tuple[int, int, int], number: int) -> str:
        """A type in words: numbers as u4, pointers as *…, functions as result(arguments)."""
        types, enums, typenames = tables
        kind, rest = self._word(types, number) & 0xFF, self._word(types, number) >> 8
        if kind == _PRIMITIVE:
            return _PRIMITIVES[rest]
        if kind in (_POINTER, _OPEN_ARRAY):
            return "*" + self._type(tables, rest)
        if kind == _STRUCT_OR_UNION:
            return self._struct_names[rest]
        if kind == _ENUM:
            return (self._name(self._word(enums, rest * 3)) or "").lstrip("$_")
        if kind == _NOOP:
            return self._type(tables, rest)
        if kind == _TYPENAME:
            return self._type(tables, struct.unpack_from("<i", self._data, self._at(typenames, rest, 16) + 8)[0])
        if kind == _FUNCTION:
            arguments = []
            number += 1
            while self._word(types, number) & 0xFF != _FUNCTION_END:
                arguments.append(self._type(tables, number))
                number += 1
            dots = ["..."] if self._word(types, number) >> 8 & 1 else []
            return f"{self._type(tables, rest)}({', '.join(arguments + dots)})"
        raise ValueError(f"an operation {kind} that this does not know")
