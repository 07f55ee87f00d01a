"""The kernel's table of mounts, as it is written and as it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog import mountinfo
from catalog.mountinfo import Mount, mounted_at, mounts, parse, unescape

TABLE = rb"""21 28 0:20 / /proc rw,nosuid shared:5 - proc proc rw
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
95 28 0:51 / /mnt/a\040b\011c\012d\134e ro,nosuid,nodev - fuse.rpdrive rpdrive ro,user_id=0
96 28 0:52 / /mnt/plain ro shared:2 master:1 propagate_from:3 - fuse.rpdrive rpdrive ro
97 28 0:53 / /mnt/plain rw - tmpfs tmpfs rw
"""


def test_lines_are_parsed_whatever_optional_fields_they_have() -> None:
    assert [(m.device, m.place, m.file_system) for m in parse(TABLE)] == [
        ("0:20", b"/proc", "proc"),
        ("254:0", b"/", "ext4"),
        ("0:51", b"/mnt/a b\tc\nd\\e", "fuse.rpdrive"),
        ("0:52", b"/mnt/plain", "fuse.rpdrive"),
        ("0:53", b"/mnt/plain", "tmpfs"),
    ]
    assert next(m for m in parse(TABLE) if m.device == "0:51").place_as_written == rb"/mnt/a\040b\011c\012d\134e"


def test_an_escape_is_undone_once() -> None:
    """A folder named `\\040` is no folder named by a space."""
    assert unescape(rb"/a\134040b") == rb"/a\040b"
    assert unescape(rb"/a\134134") == rb"/a\134"
    assert unescape("/ü\\040".encode()) == "/ü ".encode()
    assert unescape(b"/\xff") == b"/\xff"


@pytest.mark.parametrize("line", [b"", b"\n", b"21 28 0:20 / /proc rw", b" - ", b"a - b"])
def test_lines_of_another_form_are_left_out(line: bytes) -> None:
    assert list(parse(line)) == []


def test_the_topmost_mount_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(TABLE)
    monkeypatch.setattr(mountinfo, "TABLE", tmp_path / "table")
    assert mounted_at(b"/mnt/plain") == Mount(
        "0:53", b"/mnt/plain", b"/mnt/plain", "tmpfs", "97", "28", b"/", b"tmpfs", "rw", "rw"
    )
    assert mounted_at(b"/mnt/a b\tc\nd\\e") is not None
    assert mounted_at(b"/mnt") is None
    monkeypatch.setattr(mountinfo, "TABLE", tmp_path / "missing")
    with pytest.raises(OSError, match="missing"):
        mounted_at(b"/mnt")


def test_this_machines_table() -> None:
    assert (b"/proc", "proc") in {(mount.place, mount.file_system) for mount in mounts()}
