"""A point that was made on Windows, mounted here: by both drivers, through the real kernel."""

from __future__ import annotations

import errno
import os
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.values import Hole, NodeKind, Owner
from catalog.format.windows import Stream, Windows
from catalog.windows.descriptor import from_sddl, mode
from catalog.windows.reparse import link_target
from catalog.windows.times import to_filetime
from tests.catalog.test_windows_parsers import DOCUMENTS, symlink
from tests.kit.drives import Home, Maker, add_machine, add_point, noise
from tests.kit.vaults import make_vault
from tests.kit.windows_machine import HOME, Machine, make_windows

ARCHIVE, HIDDEN, DIRECTORY, READONLY, REPARSE, SPARSE = 0x20, 0x2, 0x10, 0x1, 0x400, 0x200
CREATED = 1_500_000_000_123_456_700
OWNER = Owner(-1, -1, "LAPTOP\\anna", "LAPTOP\\None")
OPEN = from_sddl("O:BAG:SYD:(A;;FA;;;BA)(A;;0x1200a9;;;BU)")
CLOSED = from_sddl("O:BAG:SYD:P(A;;FA;;;BA)(A;;FA;;;SY)")
LARGE = noise(5000, 3)  # a descriptor stored out of line; nothing reads it here
STREAM, MOST = noise(300_000, 4), 64 << 10
CLOUD = struct.pack("<IHH", 0x9000001A, 12, 0) + b"whose knows?"  # IO_REPARSE_TAG_CLOUD
EXTENDED = bytes.fromhex("00000000 00 06 0400") + b"$LXUID\0" + struct.pack("<I", 1000)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, driver: str) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("windows")
    vault = make_vault(folder / "vault")
    add_machine(vault)
    m = Maker(vault)
    many = [p for n in range(40) for p in (m.data.block([noise(1000, n)])[0], Hole(24))]

    def stream(name: str, *parts: bytes | int) -> Stream:
        pieces: list[Extent | Hole] = [Hole(p) if isinstance(p, int) else m.data.block([p])[0] for p in parts]
        return Stream(name, sum(p.length for p in pieces), m.trees.pieces(pieces))

    def known(
        attributes: int = ARCHIVE, *streams: Stream, security: bytes | None = OPEN, **more: object
    ) -> Windows:
        return Windows(attributes, CREATED, security, list(streams), **more)  # type: ignore[arg-type]

    file, link = m.file, NodeKind.SYMLINK
    zone = stream("Zone.Identifier", b"[ZoneTransfer]\r\nZoneId=3\r\n")
    users = [
        file(b"report.docx", b"text", windows=known(ARCHIVE, zone, short_name="REPORT~1.DOC")),
        file(b"secret", b"text", windows=known(ARCHIVE | HIDDEN, security=CLOSED)),
        file(b"read-only", b"text", windows=known(ARCHIVE | READONLY)),
        file(b"no descriptor", b"text", windows=Windows(ARCHIVE)),
        file(b"sparse", 1 << 24, b"end", windows=known(ARCHIVE | SPARSE)),
        file(b"in the cloud", b"", windows=known(ARCHIVE | REPARSE, reparse=CLOUD)),
        file(b"of wsl", b"x", windows=known(extended=EXTENDED)),
        file(b"large descriptor", b"x", windows=known(security=None)),
        file(
            b"streams", b"own",
            windows=known(
                ARCHIVE, stream("as large as may be", STREAM[:MOST]), stream("empty"), stream("too large", STREAM),
                stream("hole", b"a", 10, b"b"), Stream("pages", 40 * 1024, m.trees.pieces(many)),
                stream("\ud800 \u00e9", b"lone"), stream("n" * 247, b"too long"), stream("n" * 246, b"long"),
            ),
            xattrs={b"user.own": b"1"},
        ),
        m.node(b"to a file", link, content=link_target(symlink("..\\Users\\report.docx", True), "C:\\Users\\x"),
               windows=known(REPARSE, reparse=symlink("..\\Users\\report.docx", True))),
        m.node(b"to nowhere", link, content=link_target(symlink("\\\\server\\share", False), "C:\\x"),
               windows=known(REPARSE, reparse=symlink("\\\\server\\share", False))),
    ]  # fmt: skip
    for node in users:
        if node.name == b"large descriptor":
            assert node.windows is not None
            node.windows.security = m.out_of_line(LARGE)
    _owned(users)
    drive = [
        m.folder(b"Users", users, windows=known(DIRECTORY, zone)),
        m.node(
            b"Documents and Settings", link, content=link_target(DOCUMENTS, "C:\\Documents and Settings"),
            windows=known(DIRECTORY | REPARSE, reparse=DOCUMENTS),
        ),
        m.folder(b"closed", [], windows=known(DIRECTORY, security=CLOSED)),
        m.folder(b"placeholder", [], windows=known(DIRECTORY | REPARSE, reparse=CLOUD)),
        *(file(b"name %03d" % n, windows=known(security=OPEN if n % 2 else CLOSED)) for n in range(300)),
    ]  # fmt: skip
    _owned(drive)
    m.data.finish()
    top = m.folder(b"C", drive, windows=known(DIRECTORY), owner=OWNER)
    plain = file(b"of another system", b"x", owner=Owner(1234, 5678), mode=0o640)
    add_point(vault, m.root([top, plain]), 1, system="Windows")
    home = Home(folder, folder / "vault")
    yield home
    home.close()


def _owned(nodes: list[Node]) -> None:
    """Owners and modes as a backup on Windows makes them up."""
    for node in nodes:
        assert node.windows is not None
        node.owner = OWNER
        if node.kind != NodeKind.SYMLINK:
            security = node.windows.security
            node.mode = mode(security if isinstance(security, bytes) else None, node.windows.attributes)


@pytest.fixture(scope="module")
def drive(home: Home) -> Path:
    return home.mount("--point", "latest")


def attribute(path: Path, name: str | bytes) -> bytes:
    return os.getxattr(os.fsencode(path), name, follow_symlinks=False)


def names(path: Path) -> set[bytes]:
    return {os.fsencode(n) for n in os.listxattr(os.fsencode(path), follow_symlinks=False)}


EVERY = {b"user.DOSATTRIB", b"system.ntfs_attrib", b"system.ntfs_crtime", b"system.ntfs_acl"}


def test_what_a_file_has(drive: Path) -> None:
    path = drive / "C/Users/report.docx"
    assert names(path) == EVERY | {b"system.ntfs_dos_name", b"user.ads.Zone.Identifier"}
    assert attribute(path, "user.DOSATTRIB") == struct.pack(
        "<HHHHIIQ", 0, 5, 5, 0, 0x11, ARCHIVE, to_filetime(CREATED)
    )
    assert attribute(path, "system.ntfs_attrib") == struct.pack("=I", ARCHIVE)
    assert attribute(path, "system.ntfs_crtime") == struct.pack("=Q", to_filetime(CREATED))
    assert attribute(path, "system.ntfs_acl") == OPEN
    assert attribute(path, "system.ntfs_dos_name") == b"REPORT~1.DOC"
    assert attribute(path, "user.ads.Zone.Identifier") == b"[ZoneTransfer]\r\nZoneId=3\r\n"
    assert path.read_text() == "text"
    for name in ("user.ads.zone.identifier", "user.ads.", "user.ads", "user.other", "system.ntfs_ea", "trusted.x"):
        with pytest.raises(OSError) as refused:
            attribute(path, name)
        assert refused.value.errno in (errno.ENODATA, errno.EOPNOTSUPP)


def test_getfattr_shows_it(drive: Path) -> None:
    shown = subprocess.run(
        ["getfattr", "-d", "-m", "-", "-e", "text", "report.docx"], cwd=drive / "C/Users", capture_output=True,
        text=True, errors="replace", check=True,
    ).stdout  # fmt: skip
    assert 'user.ads.Zone.Identifier="[ZoneTransfer]\\015\\012ZoneId=3\\015\\012"' in shown
    assert 'system.ntfs_dos_name="REPORT~1.DOC"' in shown
    user = subprocess.run(
        ["getfattr", "-d", "report.docx"], cwd=drive / "C/Users", capture_output=True, text=True, check=True
    ).stdout
    assert [line.partition("=")[0] for line in user.splitlines() if "=" in line] == [
        "user.DOSATTRIB",
        "user.ads.Zone.Identifier",
    ]


def test_streams(drive: Path) -> None:
    path = drive / "C/Users/streams"
    streams = {n.removeprefix(b"user.ads.") for n in names(path) if n.startswith(b"user.ads.")}
    assert streams == {
        b"as large as may be", b"empty", b"hole", b"pages", b"\xed\xa0\x80 \xc3\xa9", b"n" * 246,
    }  # fmt: skip
    assert attribute(path, "user.own") == b"1"
    assert attribute(path, "user.ads.as large as may be") == STREAM[:MOST]
    assert attribute(path, "user.ads.empty") == b""
    assert attribute(path, "user.ads.hole") == b"a" + bytes(10) + b"b"
    assert attribute(path, "user.ads.pages") == b"".join(noise(1000, n) + bytes(24) for n in range(40))
    assert attribute(path, b"user.ads.\xed\xa0\x80 \xc3\xa9") == b"lone"
    assert attribute(path, b"user.ads." + b"n" * 246) == b"long"
    with pytest.raises(OSError) as refused:
        attribute(path, "user.ads.too large")
    assert refused.value.errno == errno.ENODATA
    assert path.read_bytes() == b"own"
    assert path.stat().st_blocks == 8, "streams take no room of the file's own"
    assert attribute(drive / "C/Users", "user.ads.Zone.Identifier").startswith(b"[Zone")


def test_owners_and_modes(drive: Path) -> None:
    found = {
        name: stat.S_IMODE((drive / "C" / name).lstat().st_mode)
        for name in (
            "Users/report.docx",
            "Users/secret",
            "Users/read-only",
            "Users/no descriptor",
            "Users",
            "closed",
        )
    }
    assert found == {
        "Users/report.docx": 0o644, "Users/secret": 0o600, "Users/read-only": 0o444, "Users/no descriptor": 0o600,
        "Users": 0o755, "closed": 0o700,
    }  # fmt: skip
    me = (os.getuid(), os.getgid())
    listed = list(os.scandir(drive / "C"))
    assert len(listed) == 304
    for path in (*(Path(entry) for entry in listed), drive / "C/Users/secret", drive / "C"):
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == me, path
    other = (drive / "of another system").stat()
    assert (other.st_uid, other.st_gid, names(drive / "of another system")) == (1234, 5678, set())


def test_links(drive: Path) -> None:
    junction = drive / "C/Documents and Settings"
    assert os.readlink(junction) == "Users"
    assert (junction / "report.docx").read_text() == "text"
    assert os.readlink(drive / "C/Users/to a file") == "../Users/report.docx"
    assert (drive / "C/Users/to a file").read_text() == "text"
    assert os.readlink(drive / "C/Users/to nowhere") == "//server/share"
    assert names(junction) == EVERY - {b"user.DOSATTRIB"} | {b"system.ntfs_reparse_data"}
    assert attribute(junction, "system.ntfs_reparse_data") == DOCUMENTS


def test_other_reparse_points_are_files_and_folders(drive: Path) -> None:
    for path in (drive / "C/Users/in the cloud", drive / "C/placeholder"):
        assert attribute(path, "system.ntfs_reparse_data") == CLOUD
    assert (drive / "C/Users/in the cloud").read_bytes() == b""
    assert list((drive / "C/placeholder").iterdir()) == []


def test_values_out_of_line_and_extended_attributes(drive: Path) -> None:
    assert attribute(drive / "C/Users/large descriptor", "system.ntfs_acl") == LARGE
    assert attribute(drive / "C/Users/of wsl", "system.ntfs_ea") == EXTENDED
    assert names(drive / "C/Users/no descriptor") == {b"user.DOSATTRIB", b"system.ntfs_attrib"}
    assert attribute(drive / "C/Users/no descriptor", "user.DOSATTRIB") == struct.pack(
        "<HHHHIIQ", 0, 5, 5, 0, 0x1, ARCHIVE, 0
    )


def test_holes(drive: Path) -> None:
    status = (drive / "C/Users/sparse").stat()
    assert (status.st_size, status.st_blocks) == ((1 << 24) + 3, 8)


def test_a_copy_keeps_what_the_file_system_can(drive: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", drive / "C/Users", tmp_path / "copy"], check=True)
    assert (tmp_path / "copy/report.docx").read_text() == "text"
    if "user.DOSATTRIB" in os.listxattr(tmp_path / "copy/report.docx"):
        assert os.getxattr(tmp_path / "copy/report.docx", "user.ads.Zone.Identifier").startswith(b"[Zone")
    assert (tmp_path / "copy/secret").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "copy/to a file").is_symlink()


def test_what_a_backup_of_windows_made(tmp_path: Path, driver: str) -> None:
    double, other = make_windows(), Home(tmp_path, tmp_path / "vault")
    Machine(tmp_path / "state", make_vault(tmp_path / "vault")).back_up(double)
    top = os.fsencode(other.mount("--point", "latest"))
    try:
        compared = 0
        for path, entry in double.walk():
            here = os.path.join(top, path.replace("\\", "/").encode("utf-8", "surrogatepass"))
            item = entry.item
            if not path.startswith(f"{HOME}\\") or not os.path.lexists(here):
                continue
            compared += 1
            found = {os.fsencode(n): os.getxattr(here, n, follow_symlinks=False)
                     for n in os.listxattr(here, follow_symlinks=False)}  # fmt: skip
            assert found[b"system.ntfs_acl"] == item.security
            assert found[b"system.ntfs_attrib"] == struct.pack("=I", item.attributes)
            assert found[b"system.ntfs_crtime"] == struct.pack("=Q", item.created)
            assert found.get(b"system.ntfs_dos_name", b"").decode() == entry.short
            assert found.get(b"system.ntfs_ea", b"") == item.extended
            assert {n.removeprefix(b"user.ads."): v for n, v in found.items() if n.startswith(b"user.ads.")} == {
                name.encode("utf-8", "surrogatepass"): bytes(data.data)
                for name, data in item.streams.items()
                if name and len(data.data) <= MOST and not os.path.islink(here)
            }
            if stat.S_ISREG(os.lstat(here).st_mode):
                with open(here, "rb") as file:  # noqa: PTH123 - bytes
                    assert file.read() == bytes(item.data.data)
        assert compared == sum(path.startswith(f"{HOME}\\") for path, _entry in double.walk())
        home = os.path.join(top, b"C/Users/anna")
        with open(os.path.join(home, b"My Documents/letter.txt"), "rb") as file:  # noqa: PTH123 - bytes
            assert file.read() == b"Dear Ms. Miller"
        assert os.readlink(os.path.join(home, b"link")) == b"Documents/letter.txt"
    finally:
        other.run("unmount", tmp_path / "drive")


def test_all_points_and_versions_show_it_too(home: Home) -> None:
    top = home.mount(name="all") / "box" / "home"
    assert attribute(top / "latest/C/Users/report.docx", "user.ads.Zone.Identifier").startswith(b"[Zone")
    versions = top / ".versions/C/Users/report.docx"
    (version,) = [p for p in versions.iterdir() if p.suffix == ".docx"] or list(versions.iterdir())
    assert version.read_text() == "text"
    assert attribute(version, "system.ntfs_acl") == OPEN
    home.run("unmount", home.folder / "all")
