"""Partition tables: MBR with logical partitions, and GPT. Bounded, and believed only as far as they make sense."""

from __future__ import annotations

import zlib
from uuid import UUID

import msgspec

from catalog.disks.probe import Read

MOST = 256  # partitions that are looked at
_EXTENDED = (0x05, 0x0F, 0x85)
_SECTORS = (512, 4096)
_END = 1 << 62  # bytes; no disk is larger, and beyond 2^63 no system call can say where something is


class Partition(msgspec.Struct, frozen=True, omit_defaults=True):
    """A partition: its number as Linux counts, its place in bytes, and what the table says of it.

    `type` is two hex digits (MBR) or a UUID (GPT).
    """

    number: int
    start: int
    size: int
    type: str = ""
    uuid: str = ""
    name: str = ""
    bootable: bool = False


class Table(msgspec.Struct, frozen=True, omit_defaults=True):
    """A partition table. `kind` is `gpt`, `dos` (MBR), or empty if there is none; `sector` its unit in bytes.

    `damaged`: it is there, but its checksum is wrong.
    """

    kind: str = ""
    id: str = ""
    sector: int = 512
    damaged: bool = False
    partitions: list[Partition] = []


def partition_table(read: Read, size: int) -> Table:
    """The partition table of the `size` bytes that `read` reads. Raises what `read` raises."""
    first = read(0, 512)
    if first[510:512] != b"\x55\xaa":
        return Table()
    for sector in _SECTORS:
        header = read(sector, 512)
        if header[:8] == b"EFI PART":
            return _gpt(read, size, sector, header)
    return _mbr(read, size, first)


def _gpt(read: Read, size: int, sector: int, header: bytes) -> Table:
    length = int.from_bytes(header[12:16], "little")
    crc = int.from_bytes(header[16:20], "little")
    whole = header[:length] if 92 <= length <= 512 else b""
    at = int.from_bytes(header[72:80], "little") * sector
    count, each = int.from_bytes(header[80:84], "little"), int.from_bytes(header[84:88], "little")
    disk = str(UUID(bytes_le=header[56:72]))
    if not whole or zlib.crc32(whole[:16] + bytes(4) + whole[20:]) != crc or not 128 <= each <= 4096 or at >= size:
        return Table("gpt", disk, sector, damaged=True)
    rows = read(at, min(count, MOST) * each)
    damaged = count <= MOST and zlib.crc32(rows) != int.from_bytes(header[88:92], "little")
    found = []
    for n in range(len(rows) // each):
        row = rows[n * each : n * each + 128]
        first, last = int.from_bytes(row[32:40], "little"), int.from_bytes(row[40:48], "little")
        start, end = first * sector, (last + 1) * sector
        if not any(row[:16]) or not 0 < start < min(end, size) or end > _END:
            continue
        name = row[56:128].decode("utf-16-le", "replace").split("\0", 1)[0]
        name = "".join(c if c.isprintable() else "?" for c in name)
        kind, own = str(UUID(bytes_le=row[:16])), str(UUID(bytes_le=row[16:32]))
        found.append(Partition(n + 1, start, end - start, kind, own, name, bool(row[48] & 4)))
    return Table("gpt", disk, sector, damaged, found)


def _mbr(read: Read, size: int, first: bytes) -> Table:
    disk = f"{int.from_bytes(first[440:444], 'little'):08x}"
    found, extended = [], 0
    for n in range(4):
        row = first[446 + 16 * n : 462 + 16 * n]
        if row[0] & 0x7F:
            return Table()  # no table: the boot sector of a file system
        start, length = _place(row)
        if not row[4] or not length or start >= size:
            continue
        found.append(Partition(n + 1, start, length, f"{row[4]:02x}", f"{disk}-{n + 1:02x}", "", bool(row[0])))
        if row[4] in _EXTENDED and not extended:
            extended = start
    if not found:
        return Table()
    return Table("dos", disk, 512, False, found + _logical(read, size, extended, disk))


def _logical(read: Read, size: int, extended: int, disk: str) -> list[Partition]:
    found: list[Partition] = []
    at, seen = extended, set[int]()
    while 0 < at < size and at not in seen and len(found) < MOST:
        seen.add(at)
        block = read(at, 512)
        if block[510:512] != b"\x55\xaa":
            break
        row, link = block[446:462], block[462:478]
        start, length = _place(row)
        number = 5 + len(found)
        if row[4] and length:
            uuid = f"{disk}-{number:02x}"
            found.append(Partition(number, at + start, length, f"{row[4]:02x}", uuid, "", bool(row[0] & 0x80)))
        at = extended + _place(link)[0] if link[4] in _EXTENDED else 0
    return found


def _place(row: bytes) -> tuple[int, int]:
    return int.from_bytes(row[8:12], "little") * 512, int.from_bytes(row[12:16], "little") * 512
