"""What is known of an entry: each value as text, bounded, and a damaged one costs itself alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.format.values import NodeKind
from catalog.format.windows import Stream, Windows
from catalog.windows.descriptor import from_sddl
from mount.browse.resources.entries import EntryInfo, acl_lines, entry
from mount.browse.resources.opened import Opened
from mount.browse.resources.wire import path64
from tests.browse.find.vaults import Made, made, opened
from tests.kit.drives import Maker, acl, add_machine, add_point
from tests.kit.vaultmaker import OWNER
from tests.kit.vaults import Remote


@pytest.fixture(scope="module")
def vault() -> Made:
    return made()


@pytest.fixture(scope="module")
def page(vault: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    with opened(vault, tmp_path_factory.mktemp("home")) as found:
        yield found


def test_a_file_with_rights_and_attributes(page: Opened, vault: Made) -> None:
    found = entry(page, vault.points[0], b"/kinds/rights")
    assert (found.name, found.path, found.path64) == ("rights", "/kinds/rights", path64(b"/kinds/rights"))
    assert (found.kind, found.mode, found.mode_text, found.nlink) == ("file", "4750", "-rwsr-x---", 2)
    assert (found.uid, found.gid, found.user, found.group) == (1000, 1001, "someone", "people")
    assert (found.mtime_ns, found.size, found.pieces, found.holes) == ("0", 1, 1, 0)
    assert found.acl == ["user::rw-", "user:77:r-x", "group::r--", "group:people:rwx", "mask::rw-", "other::---"]
    assert found.xattr_count == 5
    values = {row.name: (row.size, row.text, row.hex, row.cut) for row in found.xattrs}
    assert values["user.note"] == (5, "grün", None, False)
    assert values["user.raw"] == (768, None, bytes(range(256)).hex(), True)
    assert values["user.large"] == (10_000, "L" * 4096, None, True)
    assert values["user.huge"] == (200_000, None, None, False)  # stored apart, and too long to fetch it for a look
    assert found.problem is None
    assert found.windows is None


def test_entries_of_every_kind(page: Opened, vault: Made) -> None:
    def of(at: bytes) -> EntryInfo:
        return entry(page, vault.points[0], at)

    assert of(b"/kinds/link").target == "../texts"
    assert of(b"/kinds/disk").device == [8, 17]
    assert of(b"/kinds/disk").mode_text == "brw-r--r--"
    holes = of(b"/texts/holes")
    assert (holes.size, holes.holes, holes.pieces) == (1_000_008, 1_000_000, 3)
    folder = of(b"/texts")
    assert (folder.kind, folder.files, folder.n) == ("folder", 6, entry(page, vault.points[0], folder.n).n)
    root = of(b"/")
    assert (root.kind, root.name, root.n, root.path64) == ("folder", "/", 1, "Lw")
    assert root.files == 1000 + 1 + 7 + 6 + 1
    unknown = of(b"/kinds/unknown")
    assert (unknown.kind, unknown.name) == ("malformed", "unknown")
    assert unknown.problem is not None


def test_metadata_of_windows(tmp_path: Path) -> None:
    remote = Remote()
    add_machine(remote.vault)
    maker = Maker(remote.vault)
    sddl = "O:BAG:SYD:(A;;FA;;;BA)"
    link = bytes.fromhex("0c0000a0") + (24).to_bytes(2, "little") + bytes(2)
    link += bytes.fromhex("0000 0600 0600 0600 01000000") + "C:\\"[:3].encode("utf-16-le") * 2
    w = Windows(
        attributes=0x2 | 0x20 | 0x400 | 0x10000000, created=1_600_000_000 * 10**9, security=from_sddl(sddl),
        reparse=link, streams=[Stream("Zone.Identifier", 26, []), Stream("\ud800", 2**62, [])], efs=12,
        short_name="A~1.TXT", extended=maker.out_of_line(b"E" * 5000),
    )  # fmt: skip
    bad = Windows(security=b"\x01\x00", reparse=b"\x01")
    nodes = [maker.file(b"a.txt", b"x", windows=w), maker.file(b"bad", b"x", windows=bad)]
    point = add_point(remote.vault, maker.root(nodes), 1, system="Windows").id.hex()
    with opened(Made(remote, [point]), tmp_path) as page:
        found = entry(page, point, b"/a.txt")
        assert found.windows is not None
        assert found.windows.words == ["hidden", "archive", "reparse point", "0x10000000"]
        assert (found.hidden, found.sddl, found.windows.short_name) == (True, sddl, "A~1.TXT")
        assert (found.windows.reparse_tag, found.windows.reparse_target) == ("0xa000000c", "C:\\")
        assert (found.windows.encrypted_size, found.windows.extended_size) == (12, 5000)
        assert [(s.name, s.size) for s in found.streams] == [
            ("Zone.Identifier", 26),
            ("\ufffd\ufffd\ufffd", 2**53 - 1),
        ]
        found = entry(page, point, b"/bad")
        assert (found.sddl, found.size) == (None, 1)


def test_a_damaged_attribute_costs_itself(tmp_path: Path) -> None:
    remote = Remote()
    add_machine(remote.vault)
    maker = Maker(remote.vault)
    before = set(remote.memory.objects)
    lost = maker.out_of_line(b"L" * 9000)
    maker.trees.finish()
    (pack,) = set(remote.memory.objects) - before
    lost = lost._replace(at=maker.trees.resolve(lost.at))
    node = maker.file(b"a", b"x", xattrs={b"user.lost": lost, b"user.here": b"here"})
    point = add_point(remote.vault, maker.root([node]), 1).id.hex()
    remote.memory.objects[pack] = bytes(len(remote.memory.objects[pack]))
    with opened(Made(remote, [point]), tmp_path) as page:
        found = entry(page, point, b"/a")
    assert {row.name: row.text for row in found.xattrs} == {"user.here": "here", "user.lost": None}
    assert found.problem is not None
    assert "user.lost" in found.problem
    assert found.mode_text == "-rw-r--r--"


@pytest.mark.parametrize("data", [b"", b"\x02\0\0\0x", b"\x09\0\0\0", acl((1, 7, 0))[:-1]])
def test_a_malformed_acl(data: bytes) -> None:
    assert acl_lines(data, OWNER, is_default=True) == ["default:malformed"]


def test_a_long_acl_is_cut_and_unknown_tags_are_shown() -> None:
    rows: list[Any] = [(2, 4, n) for n in range(5000)]
    assert len(acl_lines(acl(*rows), OWNER, is_default=False)) == 1001
    assert acl_lines(acl((0x40, 5, 9)), OWNER, is_default=False) == ["tag 64:9:r-x"]


def test_many_attributes_are_counted_and_some_shown(tmp_path: Path) -> None:
    remote = Remote()
    add_machine(remote.vault)
    maker = Maker(remote.vault)
    node = maker.node(b"a", NodeKind.FIFO, xattrs={b"user.%04d" % n: b"x" for n in range(300)})
    point = add_point(remote.vault, maker.root([node]), 1).id.hex()
    with opened(Made(remote, [point]), tmp_path) as page:
        found = entry(page, point, b"/a")
    assert (found.xattr_count, len(found.xattrs)) == (300, 100)
