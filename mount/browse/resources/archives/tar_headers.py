"""Headers of a tar archive: POSIX.1-2001 (pax), as bytes. No I/O.

A member is a header of 512 bytes (ustar), before which there is an extended header of type `x` if a field has no
room or no exact form there: long names and names that aren't ASCII, times with fractions, large numbers, extended
attributes (SCHILY.xattr.*, as GNU tar and libarchive write them). Names that aren't UTF-8 stand there as they are,
after hdrcharset=BINARY.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

BLOCK = 512
END = bytes(2 * BLOCK)  # of an archive
FILE, HARD_LINK, SYMLINK, CHAR_DEVICE, BLOCK_DEVICE, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
MAX_DEVICE = 0o7777777
_EXTENDED = b"x"
_MAX_ID, _MAX_NUMBER = 0o7777777, 0o77777777777
_NAME, _OWNER = 100, 31  # bytes that have room in the fields
_USTAR = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")
assert _USTAR.size == BLOCK


class Fields(NamedTuple):
    """The fields of one member. `size` in bytes of contents, `mtime` in ns since the epoch (UTC).

    `path` of a folder ends with a slash. `user` and `group` may be empty.
    """

    path: bytes
    type: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    target: bytes = b""
    user: bytes = b""
    group: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


def padding(size: int) -> int:
    """The zeros after so many bytes of contents."""
    return -size % BLOCK


def header(f: Fields) -> bytes:
    """All that stands before a member's contents."""
    records = _records(f)
    if not records:
        return _ustar(f)
    text = b"".join(records)
    extended = Fields(b"././@PaxHeader", _EXTENDED, 0o644, 0, 0, len(text), 0)
    return b"".join((_ustar(extended), text, bytes(padding(len(text))), _ustar(f)))


def header_size(f: Fields) -> int:
    """The bytes of `header`, in half the time."""
    size = sum(map(len, _records(f)))
    return 2 * BLOCK + size + padding(size) if size else BLOCK


def record(key: bytes, value: bytes) -> bytes:
    """A record of an extended header: its own length in decimal, key and value."""
    size = len(key) + len(value) + 3
    length = size + len(str(size))
    if len(str(length)) != len(str(size)):
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def time_text(ns: int) -> bytes:
    """A time in ns as decimal seconds: as few digits as are exact."""
    seconds, rest = divmod(abs(ns), 10**9)
    sign = "-" if ns < 0 else ""
    return (f"{sign}{seconds}.{rest:09}".rstrip("0") if rest else f"{sign}{seconds}").encode()


def _records(f: Fields) -> list[bytes]:
    records: list[bytes] = []
    texts = []
    if len(f.path) > _NAME or not f.path.isascii():
        texts.append((b"path", f.path))
    if len(f.target) > _NAME or not f.target.isascii():
        texts.append((b"linkpath", f.target))
    if len(f.user) > _OWNER or not f.user.isascii():
        texts.append((b"uname", f.user))
    if len(f.group) > _OWNER or not f.group.isascii():
        texts.append((b"gname", f.group))
    if texts:
        if not all(_is_utf8(value) for _key, value in texts):
            records.append(record(b"hdrcharset", b"BINARY"))
        records += [record(key, value) for key, value in texts]
    if f.mtime % 10**9 or not 0 <= f.mtime <= _MAX_NUMBER * 10**9:
        records.append(record(b"mtime", time_text(f.mtime)))
    if f.size > _MAX_NUMBER:
        records.append(record(b"size", b"%d" % f.size))
    if f.uid > _MAX_ID:
        records.append(record(b"uid", b"%d" % f.uid))
    if f.gid > _MAX_ID:
        records.append(record(b"gid", b"%d" % f.gid))
    for name, value in f.xattrs:
        # As GNU tar writes and reads them: a `=` would end the key.
        key = name.replace(b"%", b"%25").replace(b"=", b"%3D")
        records.append(record(b"SCHILY.xattr." + key, value))
    return records


def _ustar(f: Fields) -> bytes:
    major, minor = f.device
    block = bytearray(
        _USTAR.pack(
            f.path[:_NAME],
            b"%07o" % f.mode,
            b"%07o" % (f.uid if f.uid <= _MAX_ID else 0),
            b"%07o" % (f.gid if f.gid <= _MAX_ID else 0),
            b"%011o" % (f.size if f.size <= _MAX_NUMBER else 0),
            b"%011o" % min(max(f.mtime // 10**9, 0), _MAX_NUMBER),
            b"        ",
            f.type,
            f.target[:_NAME],
            b"ustar",
            b"00",
            f.user[:_OWNER],
            f.group[:_OWNER],
            b"%07o" % major,
            b"%07o" % minor,
            b"",
        )
    )
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
