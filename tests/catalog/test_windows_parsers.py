"""Links and times of Windows: recorded layouts, and random input."""

from __future__ import annotations

import base64
import struct
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from catalog.format.windows import Windows
from catalog.windows.reparse import (
    LX_SYMLINK,
    MOUNT_POINT,
    SYMLINK,
    LinkTarget,
    is_link,
    link_target,
    parse,
    tag_of,
)
from catalog.windows.times import LAST, from_filetime, to_filetime
from mount.view.windows_xattrs import dos_attributes
from tests.kit.format_values import MANY
from tests.kit.golden_windows import JUNCTION

# "C:\Documents and Settings" of every Windows, as `fsutil reparsepoint query` shows it: substitute name of 24 bytes
# at 0, print name of 16 at 26, 0x34 bytes of data.
DOCUMENTS = bytes.fromhex(
    "030000a0 3400 0000 0000 1800 1a00 1000"
    "5c003f003f005c00 43003a005c005500 7300650072007300 0000"
    "43003a005c005500 7300650072007300 0000"
)
ME = "\\\\?\\C:\\Users\\anna\\link"


def symlink(path: str, relative: bool, shown: str = "") -> bytes:
    """As made by mklink: the print name first, then the substitute name."""
    names = (shown or path).encode("utf-16-le", "surrogatepass"), path.encode("utf-16-le", "surrogatepass")
    head = struct.pack("<HHHHI", len(names[0]), len(names[1]), 0, len(names[0]), relative)
    body = head + b"".join(names)
    return struct.pack("<IHH", SYMLINK, len(body), 0) + body


def wsl(target: bytes) -> bytes:
    return struct.pack("<IHHI", LX_SYMLINK, 4 + len(target), 0, 2) + target


def test_recorded_junctions() -> None:
    assert parse(DOCUMENTS) == LinkTarget("\\??\\C:\\Users", relative=False)
    assert link_target(DOCUMENTS, "C:\\Documents and Settings") == b"Users"
    assert parse(JUNCTION) == LinkTarget("\\??\\C:\\here", relative=False)
    assert tag_of(DOCUMENTS) == MOUNT_POINT and is_link(MOUNT_POINT)


@pytest.mark.parametrize(
    ("path", "relative", "target"),
    [
        # A path on a drive: relative to the link's folder, as the point contains both.
        ("\\??\\C:\\Users\\anna\\other\\file", False, b"other/file"),
        ("\\??\\C:\\Users\\bert", False, b"../bert"),
        ("\\??\\c:\\USERS\\Bert", False, b"../Bert"),
        ("\\??\\D:\\data", False, b"../../../D/data"),
        ("\\??\\d:\\", False, b"../../../D"),
        ("\\??\\C:\\Users\\anna", False, b"."),
        ("\\??\\C:\\", False, b"../.."),
        ("C:\\Users\\bert", False, b"../bert"),
        ("\\Users\\bert", True, b"../bert"),  # relative to the root of its own drive
        # Relative to its own folder: unchanged.
        ("..\\bert\\x", True, b"../bert/x"),
        ("x", True, b"x"),
        (".\\a b\\\u00e9", True, b"./a b/\xc3\xa9"),
        ("lone \ud800", True, b"lone \xed\xa0\x80"),
        # Targets that no point contains.
        ("\\??\\UNC\\server\\share\\x", False, b"//server/share/x"),
        ("\\??\\Volume{01234567-89ab-cdef-0123-456789abcdef}\\x", False,
         b"/??/Volume{01234567-89ab-cdef-0123-456789abcdef}/x"),
        ("\\\\server\\share", False, b"//server/share"),
    ],
)  # fmt: skip
def test_symbolic_links(path: str, relative: bool, target: bytes) -> None:
    assert link_target(symlink(path, relative), ME) == target
    assert link_target(symlink(path, relative), ME.removeprefix("\\\\?\\")) == target


def test_a_link_of_wsl_says_what_it_says() -> None:
    assert link_target(wsl(b"/home/\xff"), ME) == b"/home/\xff"


def test_names_that_count_their_nul() -> None:
    path = "\\??\\C:\\x\0".encode("utf-16-le")
    body = struct.pack("<HHHH", 0, len(path), len(path), 0) + path
    assert link_target(struct.pack("<IHH", MOUNT_POINT, len(body), 0) + body, "C:\\y") == b"x"


@pytest.mark.parametrize(
    "buffer",
    [
        b"", DOCUMENTS[:7], DOCUMENTS[:15], DOCUMENTS[:-40], symlink("x", True)[:19], symlink("", True), wsl(b""),
        wsl(b"a\0b"), wsl(b"abc")[:-1], wsl(b"abc")[:9], struct.pack("<IHHI", LX_SYMLINK, 5, 0, 1) + b"a",
        symlink("a\0b", True), struct.pack("<IHH", 0x9000001A, 4, 0) + bytes(4),
        DOCUMENTS[:10] + b"\x17" + DOCUMENTS[11:],  # half a unit
        DOCUMENTS[:8] + b"\xff\xff" + DOCUMENTS[10:],
    ],
)  # fmt: skip
def test_what_is_no_link_is_an_error_like_any_other(buffer: bytes) -> None:
    with pytest.raises(OSError, match="reparse point is malformed"):
        link_target(buffer, ME)


@MANY
@given(st.binary(max_size=80), st.sampled_from((MOUNT_POINT, SYMLINK, LX_SYMLINK)), st.text(max_size=20))
def test_no_buffer_does_harm(data: bytes, tag: int, path: str) -> None:
    try:
        target = link_target(struct.pack("<IHH", tag, len(data), 0) + data, path)
    except OSError:
        return
    assert target and b"\0" not in target


# --- times ----------------------------------------------------------------------------------------------------


def test_times_that_everybody_knows() -> None:
    assert to_filetime(0) == 116_444_736_000_000_000
    # [MS-DTYP] 2.3.3 counts from here; times in a tree begin later, in 1677.
    assert from_filetime(0) == -(2**63) + 8
    when = int(datetime(2026, 11, 26, 1, 2, 3, 456789, tzinfo=UTC).timestamp()) * 10**9 + 456_789_100
    assert from_filetime(to_filetime(when)) == when
    assert to_filetime(when + 99) == to_filetime(when)
    assert to_filetime(-1) == to_filetime(-100) == 116_444_735_999_999_999


@MANY
@given(st.integers(0, LAST))
@example(LAST)
def test_filetimes_come_back_or_are_the_nearest_there_is(filetime: int) -> None:
    ns = from_filetime(filetime)
    assert -(2**63) <= ns < 2**64 and ns % 100 == 0
    first, last = to_filetime(-(2**63) + 8), to_filetime(2**64 - 16)
    assert to_filetime(ns) == max(first, min(filetime, last))


@MANY
@given(st.integers(-(2**63), 2**64 - 1))
def test_times_are_exact_to_100_ns(ns: int) -> None:
    assert 0 <= to_filetime(ns) <= LAST
    if -(2**63) + 8 <= ns <= 2**64 - 16:
        assert from_filetime(to_filetime(ns)) == ns // 100 * 100


# --- Samba ----------------------------------------------------------------------------------------------------


def test_attributes_are_as_samba_writes_them() -> None:
    # Output of `getfattr -e base64` for a file on a share: an archived file made on 2023-07-08, 07:56:14 UTC.
    recorded = base64.b64decode("AAAFAAUAAAARAAAAIAAAAABj2qpxsdkB")
    created = from_filetime(int.from_bytes(recorded[16:], "little"))
    assert datetime.fromtimestamp(created // 10**9, UTC) == datetime(2023, 7, 8, 7, 56, 14, tzinfo=UTC)
    assert dos_attributes(Windows(0x20, created)) == recorded
