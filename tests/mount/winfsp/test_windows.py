"""A point made on Windows, on a drive of the stand-in for WinFsp: attributes, streams, descriptors, links."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from cache.reader import Reader
from catalog.format.values import NodeKind, Piece
from catalog.format.windows import Stream, Windows
from catalog.store.memory import MemoryStore
from catalog.windows.links import symlink
from catalog.windows.reparse import LinkTarget
from mount.drivers.winfsp import ntstatus
from mount.drivers.winfsp.operations import Operations
from tests.kit.drives import Maker
from tests.kit.winfsp import security
from tests.kit.winfsp.values import Reparsed
from tests.kit.winfsp_drives import AT, Served, a_vault, a_view, refused, serving

CLOUD = b"\x1a\x90\x00\x90\x04\x00\x00\x00abcd"  # IO_REPARSE_TAG_CLOUD_9


# --- streams ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def from_windows() -> Iterator[Served]:
    """A point made on Windows: attributes, streams, descriptors, links."""
    vault = a_vault(MemoryStore())
    m = Maker(vault)
    descriptor = security.from_sddl("O:BAG:BAD:P(A;;FA;;;BA)(A;;FR;;;WD)")
    aces = "".join(f"(A;;FR;;;S-1-5-21-1-2-3-{n})" for n in range(100))
    huge = security.from_sddl(f"O:BAG:BAD:P(A;;FR;;;WD){aces}")
    assert len(huge) > 1024

    def stream(name: str, data: bytes) -> Stream:
        extents: list[Piece] = [*m.data.block([data])]
        m.data.finish()
        return Stream(name, len(data), extents)

    def link(target: str, on_volume: bool) -> bytes:
        return symlink(LinkTarget(target, on_volume))

    streams = [stream("Zone.Identifier", b"[ZoneTransfer]\r\nZoneId=3\r\n"), stream("b", b"second" * 1000)]
    nodes = [
        m.file(b"plain", b"data", windows=Windows(attributes=0x23, created=AT, security=descriptor)),
        m.file(b"streams", b"main", windows=Windows(attributes=0x20, security=descriptor, streams=streams)),
        m.file(b"huge", b"x", windows=Windows(attributes=0x20, security=huge)),
        m.folder(
            b"OneDrive",
            [m.file(b"in it", b"there", windows=Windows(attributes=0x420, reparse=CLOUD))],
            windows=Windows(attributes=0x410, reparse=CLOUD),
        ),
        m.file(b"secret", b"raw export of EFS", windows=Windows(attributes=0x4020, efs=5)),
        m.file(b"cloud", b"at hand", windows=Windows(attributes=0x401600 | 0x800)),
        m.folder(
            b"C",
            [
                m.folder(b"there", [m.file(b"file", b"from the root")]),
                m.folder(
                    b"here",
                    [
                        m.node(
                            b"link", NodeKind.SYMLINK, content=b"../there/file",
                            windows=Windows(attributes=0x420, reparse=link("\\there\\file", True)),
                        )
                    ],
                ),
            ],
            windows=Windows(attributes=0x10),
        ),
        m.folder(b"folder", [m.file(b"in", b"y")], windows=Windows(attributes=0x12, streams=streams[:1])),
        m.node(
            b"link", NodeKind.SYMLINK, content=b"plain",
            windows=Windows(attributes=0x420, reparse=link("PLAIN", True)),
        ),
        m.node(
            b"away", NodeKind.SYMLINK, content=b"C:/x",
            windows=Windows(attributes=0x410, reparse=link("\\??\\C:\\x", False)),
        ),
        m.node(
            b"opaque", NodeKind.FILE, content=[],
            windows=Windows(attributes=0x420, reparse=b"\x17\0\0\x80\x04\0\0\0abcd"),
        ),
    ]  # fmt: skip
    reader = Reader(vault)
    with serving(a_view(vault, reader, nodes, m, system="Windows"), reader) as served:
        yield served


def test_streams_can_be_listed_and_read(from_windows: Served) -> None:
    caller = from_windows.caller
    with caller.open("\\streams") as handle:
        assert [(s.name, s.size) for s in handle.streams()] == [("", 4), ("Zone.Identifier", 26), ("b", 6000)]
    assert caller.read("\\streams:Zone.Identifier") == b"[ZoneTransfer]\r\nZoneId=3\r\n"
    assert caller.read("\\streams:zone.IDENTIFIER:$DATA") == b"[ZoneTransfer]\r\nZoneId=3\r\n"
    assert caller.read("\\streams:b") == b"second" * 1000
    assert caller.stat("\\streams:b").size == 6000
    assert caller.read("\\streams::$DATA") == b"main"
    assert caller.read("\\folder:Zone.Identifier").startswith(b"[Zone")
    with caller.open("\\folder") as handle:
        assert [s.name for s in handle.streams()] == ["Zone.Identifier"]
    refused(ntstatus.OBJECT_NAME_NOT_FOUND, caller.open, "\\streams:none")


def test_winfspys_own_stream_listing_can_not_work(from_windows: Served) -> None:
    """If this fails, winfspy has been mended, and ll_get_stream_info may go."""
    operations = from_windows.drive.operations
    with from_windows.caller.open("\\streams"):
        (handle,) = operations._opened_objs
        own = super(Operations, operations).ll_get_stream_info
        logging.getLogger("winfspy").disabled = True
        try:
            assert own(handle, None, 0, None) == ntstatus.UNEXPECTED_IO_ERROR
        finally:
            logging.getLogger("winfspy").disabled = False


def test_what_windows_knew_of_a_file_shows(from_windows: Served) -> None:
    caller = from_windows.caller
    plain = caller.stat("\\plain")
    assert plain.attributes == 0x23 and plain.created == 116_444_736_000_000_000 + AT // 100
    assert caller.stat("\\folder").attributes == 0x12
    # Its data is here, wherever it was: reading it recalls nothing.
    assert caller.stat("\\cloud").attributes == 0x200
    with caller.open("\\plain") as handle:
        assert security.parse(handle.security()).owner == "S-1-5-32-544"
    refused(ntstatus.ACCESS_DENIED, caller.open, "\\plain", access=security.FILE_WRITE_DATA)
    # What is stored of an encrypted file is not the file.
    secret = caller.stat("\\secret")
    assert secret.size == 5 and secret.attributes == 0x4020
    refused(ntstatus.ACCESS_DENIED, caller.read, "\\secret")
    # Larger than what WinFsp tries at first: it asks again with more room.
    assert caller.read("\\huge") == b"x"


def test_what_a_filter_put_on_files_does_not_keep_them_from_being_read(from_windows: Served) -> None:
    caller = from_windows.caller
    assert caller.names("\\OneDrive") == ["in it"] and caller.stat("\\OneDrive").attributes == 0x10
    assert caller.read("\\OneDrive\\in it") == b"there" and caller.stat("\\OneDrive\\in it").attributes == 0x20


def test_links_of_windows(from_windows: Served) -> None:
    caller = from_windows.caller
    assert caller.read("\\link") == b"data"
    assert caller.read("\\C\\here\\link") == b"from the root"  # of its own drive, that is
    with pytest.raises(Reparsed) as away:
        caller.open("\\away")
    assert away.value.tag == 0xA000000C
    with pytest.raises(Reparsed) as opaque:
        caller.open("\\opaque")
    assert opaque.value.tag == 0x80000017
    assert caller.stat("\\away").attributes == 0x410 and caller.stat("\\link").attributes == 0x420
