"""Records of a zip archive (PKWARE's APPNOTE 6.3, Info-ZIP's extra fields), as bytes. No I/O.

Contents are stored as they are. Names are UTF-8 and say so. Times stand there twice: in this machine's time zone to
two seconds, as DOS had them, and exactly to the second in UTC (`UT`); owners in `ux`; modes as Unix zip keeps them.
Sizes and offsets of 4 GiB and more are in Zip64 fields.
"""

from __future__ import annotations

import stat
import struct
import time
from typing import NamedTuple

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s4B4H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_DESCRIPTOR, _DESCRIPTOR64 = struct.Struct("<4s3I"), struct.Struct("<4sI2Q")
_UT, _UX, _EXTRA = struct.Struct("<2sHBi"), struct.Struct("<2sHBBIBI"), struct.Struct("<HH")
_UNIX, _PLAIN, _ZIP64 = 3, 20, 45  # the system that made it; versions needed to extract
_LATER, _UTF8 = 0x8, 0x800  # flags: CRC and sizes follow the contents; names are UTF-8
_MAX, _MANY = 0xFFFFFFFF, 0xFFFF  # in fields: see Zip64
_FOLDER = 0x10  # DOS attribute
NAME_MAX = 0xFFFF  # bytes


class Fields(NamedTuple):
    """One member. `mode` with the type bits, `mtime` in ns since the epoch (UTC), ids -1 if there are none.

    `later`: its CRC-32 is known only after its contents, and follows them.
    """

    name: bytes
    mode: int
    mtime: int
    uid: int
    gid: int
    size: int
    later: bool

    @property
    def large(self) -> bool:
        """Whether its size needs Zip64."""
        return self.size >= _MAX


def local(f: Fields, crc: int) -> bytes:
    """What stands before the contents."""
    zip64 = _EXTRA.pack(1, 16) + struct.pack("<QQ", 0, 0) if f.large else b""
    extra = zip64 + _extra(f)
    shown = _MAX if f.large else 0 if f.later else f.size
    time_, date = _dos_time(f.mtime)
    return (
        _LOCAL.pack(
            b"PK\3\4", _ZIP64 if f.large else _PLAIN, _flags(f), 0, time_, date, 0 if f.later else crc, shown,
            shown, len(f.name), len(extra),
        )
        + f.name
        + extra
    )  # fmt: skip


def member_size(f: Fields) -> int:
    """The bytes of a member: what stands before its contents, these, and what stands after them."""
    after = 0 if not f.later else _DESCRIPTOR64.size if f.large else _DESCRIPTOR.size
    return _LOCAL.size + len(f.name) + (20 if f.large else 0) + _extra_size(f) + f.size + after


def central_size(f: Fields, offset: int) -> int:
    """The bytes of `central`."""
    wide = (16 if f.large else 0) + (8 if offset >= _MAX else 0)
    return _CENTRAL.size + len(f.name) + (wide + _EXTRA.size if wide else 0) + _extra_size(f)


def descriptor(f: Fields, crc: int) -> bytes:
    """What stands after the contents."""
    if not f.later:
        return b""
    return (_DESCRIPTOR64 if f.large else _DESCRIPTOR).pack(b"PK\7\x08", crc, f.size, f.size)


def central(f: Fields, crc: int, offset: int) -> bytes:
    """The member's row in the directory; `offset` is that of its local header."""
    far = offset >= _MAX
    zip64 = struct.pack("<QQ", f.size, f.size) if f.large else b""
    if far:
        zip64 += struct.pack("<Q", offset)
    extra = (_EXTRA.pack(1, len(zip64)) + zip64 if zip64 else b"") + _extra(f)
    size = _MAX if f.large else f.size
    time_, date = _dos_time(f.mtime)
    needed = _ZIP64 if zip64 else _PLAIN
    attributes = f.mode << 16 | (_FOLDER if stat.S_ISDIR(f.mode) else 0)
    return (
        _CENTRAL.pack(
            b"PK\1\2", _ZIP64, _UNIX, needed, 0, _flags(f), 0, time_, date, crc, size, size, len(f.name),
            len(extra), 0, 0, 0, attributes, _MAX if far else offset,
        )
        + f.name
        + extra
    )  # fmt: skip


def end(count: int, offset: int, size: int) -> bytes:
    """The end of an archive, whose directory of `count` rows and `size` bytes begins at `offset`."""
    zip64 = b""
    if count >= _MANY or offset >= _MAX or size >= _MAX:
        zip64 = _END64.pack(b"PK\6\6", 44, _UNIX << 8 | _ZIP64, _ZIP64, 0, 0, count, count, size, offset)
        zip64 += _LOCATOR64.pack(b"PK\6\7", 0, offset + size, 1)
    count, size, offset = min(count, _MANY), min(size, _MAX), min(offset, _MAX)
    return zip64 + _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)


def _flags(f: Fields) -> int:
    return _UTF8 | (_LATER if f.later else 0)


def _extra(f: Fields) -> bytes:
    seconds = f.mtime // 10**9
    extra = _UT.pack(b"UT", 5, 1, seconds) if 0 <= seconds < 1 << 31 else b""
    if f.uid >= 0 and f.gid >= 0:
        extra += _UX.pack(b"ux", 11, 1, 4, f.uid, 4, f.gid)
    return extra


def _extra_size(f: Fields) -> int:
    time_size = _UT.size if 0 <= f.mtime // 10**9 < 1 << 31 else 0
    return time_size + (_UX.size if f.uid >= 0 and f.gid >= 0 else 0)


def _dos_time(ns: int) -> tuple[int, int]:
    """A time as DOS keeps it: of this machine's zone, to 2 seconds, of the years 1980 to 2107."""
    seconds = min(max(ns // 10**9, 315_619_200), 4_354_732_799)
    t = time.localtime(seconds)
    year = min(max(t.tm_year - 1980, 0), 127)
    return t.tm_hour << 11 | t.tm_min << 5 | min(t.tm_sec, 59) >> 1, year << 9 | t.tm_mon << 5 | t.tm_mday
