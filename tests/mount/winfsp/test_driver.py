"""What a drive shows on Windows, on the stand-in for WinFsp: contents, names, attributes, links, security."""

from __future__ import annotations

import os
import random
import stat
import struct
from collections.abc import Iterator
from datetime import datetime

import msgspec
import pytest

from cache.reader import Reader
from catalog.format.values import NodeKind
from catalog.names import shown
from catalog.windows.links import special, symlink, target_of, windows_target
from catalog.windows.reparse import LinkTarget
from catalog.windows.times import to_filetime
from mount.drivers.winfsp import ntstatus
from mount.view.point import PointView
from tests.kit.drives import Maker, add_machine, add_point, noise
from tests.kit.vaults import make_vault
from tests.kit.winfsp import security, standin
from tests.kit.winfsp.caller import Caller
from tests.kit.winfsp.values import (
    CREATE,
    DIRECTORY,
    DIRECTORY_FILE,
    NON_DIRECTORY_FILE,
    OPEN_REPARSE_POINT,
    OVERWRITE,
    REPARSE_POINT,
    Reparsed,
)
from tests.kit.winfsp_drives import AT, SECOND, Served, refused, serving

BIG = noise(3_000_000)
RAW = b"\xff raw"
OWN = bytes.fromhex("01000480") + b"own descriptor".ljust(60, b"\0")
DESCRIPTOR = security.from_sddl("O:BAG:BAD:P(A;;FA;;;BA)(A;;FR;;;WD)")


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A point made on Linux with every kind of entry, on R:."""
    vault = make_vault(tmp_path_factory.mktemp("driver") / "vault")
    add_machine(vault)
    m = Maker(vault)
    linked = m.file(b"first", b"one file", link=1, nlink=2)
    nodes = [
        m.file(b"plain.txt", b"hello\n"),
        m.file(b"empty"),
        m.file(b"big.bin", BIG[:1_000_000], BIG[1_000_000:1_500_000], BIG[1_500_000:]),
        m.file(RAW, b"raw name"),
        m.file(b"a:b*c?", b"forbidden"),
        m.file(b"aux.txt", b"reserved"),
        m.file(b"ends with dot.", b"dot"),
        m.file("e\u0301t\u00e9".encode(), b"summer"),
        m.file(b"holes", noise(4096), 1 << 20, noise(8192, 2)),
        linked,
        msgspec.structs.replace(linked, name=b"second"),
        m.folder(
            b"Folder",
            [
                m.file(b"Inner.TXT", b"inner"),
                m.folder(b"deeper", [m.file(b"bottom", b"deep down")]),
                m.node(b"up", NodeKind.SYMLINK, content=b"../plain.txt"),
            ],
        ),
        m.node(b"link", NodeKind.SYMLINK, content=b"plain.txt"),
        m.node(b"link to link", NodeKind.SYMLINK, content=b"Folder/up"),
        m.node(b"to folder", NodeKind.SYMLINK, content=b"Folder/deeper"),
        m.node(b"absolute", NodeKind.SYMLINK, content=b"/Folder/deeper/bottom"),
        m.node(b"dangling", NodeKind.SYMLINK, content=b"no/such/place"),
        m.node(b"round", NodeKind.SYMLINK, content=b"round"),
        m.node(b"fifo", NodeKind.FIFO),
        m.node(b"socket", NodeKind.SOCKET),
        m.node(b"device", NodeKind.CHAR_DEVICE, content=(4, 7)),
    ]
    reader = Reader(vault)
    point = add_point(vault, m.root(nodes), 1, AT, machine_name="box")
    view = PointView(reader, msgspec.structs.replace(point, distinct_names=True))
    with serving(view, reader) as served:
        yield served


@pytest.fixture
def windows(drive: Served) -> Caller:
    return drive.caller


# --- the volume -------------------------------------------------------------------------------------------------


def test_the_volume_says_what_it_is(drive: Served, windows: Caller) -> None:
    info = windows.volume_info()
    day = datetime.fromtimestamp(AT // SECOND).strftime("%Y-%m-%d %H.%M")
    assert info.label == f"box {day}" and len(info.label) <= 32
    assert info.total == drive.drive.view.totals().bytes > len(BIG) and info.free == 0


# --- names ------------------------------------------------------------------------------------------------------


def test_every_name_that_is_listed_can_be_opened(windows: Caller) -> None:
    walked = list(windows.walk())
    assert len(walked) == 25
    for path, info in walked:
        assert windows.stat(path) == info
        assert windows.find(path).info == info


def test_a_folder_lists_itself_and_its_parent_but_not_the_root(windows: Caller) -> None:
    assert {".", ".."}.isdisjoint(entry.name for entry in windows.list("\\"))
    inside = {entry.name: entry.info for entry in windows.list("\\Folder")}
    assert inside["."] == windows.stat("\\Folder") and inside[".."] == windows.stat("\\")
    assert set(inside) == {".", "..", "Inner.TXT", "deeper", "up"}


def test_names_that_windows_cannot_have_are_spelled_otherwise(windows: Caller) -> None:
    names = windows.names("\\")
    for name in (RAW, b"a:b*c?", b"aux.txt", b"ends with dot."):
        assert shown(name) in names
    assert windows.read("\\" + shown(b"a:b*c?")) == b"forbidden"
    assert windows.read("\\" + shown(RAW)) == b"raw name"
    refused(ntstatus.OBJECT_NAME_NOT_FOUND, windows.open, "\\ends with dot.")


def test_case_and_unicode_form_do_not_matter(windows: Caller) -> None:
    assert windows.read("\\PLAIN.txt") == b"hello\n"
    assert windows.read("\\folder\\INNER.txt") == b"inner"
    assert windows.read("\\\u00e9t\u00e9") == b"summer"
    # Opened in another case, Windows gets the true name: programs take it for that.
    assert windows.find("\\folder\\inner.txt").name == "Inner.TXT"
    with windows.open("\\FOLDER\\inner.txt") as handle:
        assert handle.final_name == "\\Folder\\Inner.TXT"


def test_what_is_not_there_says_which_part_is_missing(windows: Caller) -> None:
    refused(ntstatus.OBJECT_NAME_NOT_FOUND, windows.open, "\\missing")
    refused(ntstatus.OBJECT_PATH_NOT_FOUND, windows.open, "\\missing\\file")
    refused(ntstatus.OBJECT_PATH_NOT_FOUND, windows.open, "\\plain.txt\\file")
    refused(ntstatus.FILE_IS_A_DIRECTORY, windows.open, "\\Folder", options=NON_DIRECTORY_FILE)
    refused(ntstatus.NOT_A_DIRECTORY, windows.open, "\\plain.txt", options=DIRECTORY_FILE)
    refused(ntstatus.OBJECT_NAME_NOT_FOUND, windows.open, "\\plain.txt:stream")


# --- contents ---------------------------------------------------------------------------------------------------


def test_contents_are_those_of_the_source(windows: Caller) -> None:
    assert windows.read("\\plain.txt") == b"hello\n"
    assert windows.read("\\empty") == b""
    assert windows.read("\\big.bin") == BIG
    assert windows.read("\\holes") == noise(4096) + bytes(1 << 20) + noise(8192, 2)
    assert windows.read("\\Folder\\deeper\\bottom") == b"deep down"


def test_reads_of_any_place_and_length(windows: Caller) -> None:
    rng = random.Random(3)
    with windows.open("\\big.bin") as handle:
        for _ in range(60):
            offset, length = rng.randrange(len(BIG) + 5000), rng.choice((1, 511, 4096, 65_536, 1 << 20))
            expected = BIG[offset : offset + length]
            if not expected:
                refused(ntstatus.END_OF_FILE, handle.read_uncached, offset, length)
            else:
                assert handle.read_uncached(offset, length) == expected
                assert handle.read(offset, length) == expected


def test_a_read_gives_no_more_than_asked_for_and_says_where_the_end_is(windows: Caller) -> None:
    with windows.open("\\plain.txt") as handle:
        for length in (1, 5, 6, 7, 4096):
            assert handle.read_uncached(0, length) == b"hello\n"[:length]
        assert handle.read_uncached(5, 100) == b"\n"
        for offset in (6, 7, 1 << 40):
            refused(ntstatus.END_OF_FILE, handle.read_uncached, offset, 1)
    assert standin.faults == []


# --- attributes of files ----------------------------------------------------------------------------------------


def test_times_sizes_and_numbers(windows: Caller) -> None:
    info = windows.stat("\\plain.txt")
    assert info.written == info.accessed == to_filetime(1_600_000_000_123_456_789)
    assert info.changed == to_filetime(1_600_000_001_987_654_321)
    assert info.created == info.written
    assert (info.size, info.allocation_size) == (6, 4096)
    holes = windows.stat("\\holes")
    assert holes.size == 4096 + (1 << 20) + 8192 and holes.allocation_size == 12288
    first, second = windows.stat("\\first"), windows.stat("\\second")
    assert first.index == second.index != info.index
    assert windows.stat("\\Folder").attributes == DIRECTORY and not windows.stat("\\Folder").size


def test_index_numbers_are_those_of_every_mount(drive: Served, windows: Caller) -> None:
    for path, info in windows.walk():
        names = path[1:].split("\\")
        node = drive.drive.operations.tree.find(path).node
        assert info.index == node.attributes.inode, names


# --- links ------------------------------------------------------------------------------------------------------


def test_links_are_followed_on_the_drive(windows: Caller) -> None:
    assert windows.read("\\link") == b"hello\n"
    assert windows.read("\\Folder\\up") == b"hello\n"
    assert windows.read("\\link to link") == b"hello\n"
    assert windows.read("\\to folder\\bottom") == b"deep down"
    assert windows.read("\\absolute") == b"deep down"
    assert windows.names("\\to folder") == ["bottom"]


def test_links_show_as_links(windows: Caller) -> None:
    for path, target in {
        "\\link": "plain.txt",
        "\\Folder\\up": "..\\plain.txt",
        "\\absolute": "\\Folder\\deeper\\bottom",
        "\\dangling": "no\\such\\place",
    }.items():
        info = windows.stat(path)
        assert info.attributes == REPARSE_POINT and info.reparse_tag == 0xA000000C
        with windows.open(path, options=OPEN_REPARSE_POINT) as handle:
            assert target_of(handle.reparse_point()) == LinkTarget(target, relative=True)
    assert windows.stat("\\to folder").attributes == REPARSE_POINT | DIRECTORY


def test_links_that_lead_nowhere(windows: Caller) -> None:
    refused(ntstatus.OBJECT_PATH_NOT_FOUND, windows.open, "\\dangling")
    refused(ntstatus.REPARSE_POINT_NOT_RESOLVED, windows.open, "\\round")
    with windows.open("\\plain.txt") as handle:
        refused(ntstatus.NOT_A_REPARSE_POINT, handle.reparse_point)


def test_special_files_are_no_empty_files(windows: Caller) -> None:
    for name, kind in (("fifo", b"FIFO"), ("socket", b"SOCK"), ("device", b"CHR")):
        info = windows.stat(f"\\{name}")
        assert info.reparse_tag == 0x80000014 and info.attributes & REPARSE_POINT
        with pytest.raises(Reparsed):
            windows.open(f"\\{name}")
        with windows.open(f"\\{name}", options=OPEN_REPARSE_POINT) as handle:
            data = handle.reparse_point()
            assert data[8:].startswith(kind)
    assert data[8:] == b"CHR".ljust(8, b"\0") + struct.pack("<II", 4, 7)


def test_targets_of_other_systems() -> None:
    assert windows_target(b"a/b") == LinkTarget("a\\b", True)
    assert windows_target(b"/a//b/") == LinkTarget("\\a\\b", True)
    assert windows_target(b"/") == LinkTarget("\\", True)
    assert windows_target(b"../x:y/.") == LinkTarget("..\\" + shown(b"x:y") + "\\.", True)
    assert windows_target(b"/etc", ("box", "home", "day")) == LinkTarget("\\box\\home\\day\\etc", True)
    assert target_of(symlink(LinkTarget("C:\\x", False))) == LinkTarget("C:\\x", False)
    for broken in (b"", b"\x0c\0\0\xa0", symlink(LinkTarget("abc", True))[:-1]):
        assert target_of(broken) is None
    assert special(stat.S_IFREG | 0o644, 0) is None
    assert special(stat.S_IFBLK, os.makedev(8, 300)) == struct.pack("<IHH8sII", 0x80000014, 16, 0, b"BLK", 8, 300)


# --- security ---------------------------------------------------------------------------------------------------


def test_who_may_open_what(drive: Served, windows: Caller) -> None:
    for token, may in ((security.Token(), True), (security.ADMINISTRATOR, True), (security.STRANGER, False)):
        someone = Caller(drive.volume, token)
        if may:
            assert someone.read("\\plain.txt") == b"hello\n"
            refused(ntstatus.ACCESS_DENIED, someone.open, "\\plain.txt", access=security.FILE_WRITE_DATA)
        else:
            refused(ntstatus.ACCESS_DENIED, someone.open, "\\plain.txt")
    with windows.open("\\plain.txt") as handle:
        found = security.parse(handle.security())
    assert found.owner == security.Token().user and found.group is not None and found.dacl is not None


def test_others_are_let_in_if_asked_for(drive: Served) -> None:
    with serving(drive.drive.view, drive.reader, allow_other=True) as open_to_all:
        stranger = Caller(open_to_all.volume, security.STRANGER)
        assert stranger.read("\\Folder\\deeper\\bottom") == b"deep down"
        refused(ntstatus.ACCESS_DENIED, stranger.open, "\\plain.txt", access=security.FILE_WRITE_DATA)


# --- everything that writes -------------------------------------------------------------------------------------


def test_everything_that_writes_is_refused(drive: Served) -> None:
    system = Caller(drive.volume)

    def kernel(path: str, **how: object) -> object:
        return system.open(path, user_mode=False, **how)  # type: ignore[arg-type]

    for path, how in (
        ("\\new", {"disposition": CREATE}),
        ("\\new folder", {"disposition": CREATE, "options": DIRECTORY_FILE}),
        ("\\plain.txt", {"disposition": OVERWRITE}),
        ("\\plain.txt:stream", {"disposition": CREATE}),
    ):
        refused(ntstatus.MEDIA_WRITE_PROTECTED, kernel, path, **how)
    everything = 0x1F01FF
    with system.open("\\plain.txt", access=everything, user_mode=False) as handle:
        refused(ntstatus.MEDIA_WRITE_PROTECTED, handle.write, 0, b"x")
        refused(ntstatus.MEDIA_WRITE_PROTECTED, handle.set_size, 0)
        refused(ntstatus.MEDIA_WRITE_PROTECTED, handle.set_basic, 0x20)
        refused(ntstatus.MEDIA_WRITE_PROTECTED, handle.set_security, 4, DESCRIPTOR)
        refused(ntstatus.MEDIA_WRITE_PROTECTED, handle.rename, "\\other")
        refused(ntstatus.MEDIA_WRITE_PROTECTED, handle.delete)
        refused(ntstatus.MEDIA_WRITE_PROTECTED, handle.set_reparse_point, symlink(LinkTarget("x", True)))
        handle.flush()
    refused(ntstatus.MEDIA_WRITE_PROTECTED, system.set_volume_label, "label")
    assert system.read("\\plain.txt") == b"hello\n"
