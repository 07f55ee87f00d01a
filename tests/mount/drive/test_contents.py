"""What the drive shows of each kind of file, through the real kernel."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catalog.format.values import NodeKind, Owner
from tests.kit.drives import Home, Maker, acl, add_machine, add_point, mount_options, noise
from tests.kit.vaults import make_vault

pytestmark = pytest.mark.needs_fuse

LONG = b"n" * 255
RAW = b"\xff\xfe raw \x80\x01\n name"
BIG = noise(3_000_000)
LARGE_VALUE = noise(20_000, 7)
ACL = acl((1, 6, 0xFFFFFFFF), (2, 5, 1234), (4, 4, 0xFFFFFFFF), (0x10, 5, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF))
DEFAULT_ACL = acl(
    (1, 7, 0xFFFFFFFF), (4, 5, 0xFFFFFFFF), (8, 7, 4321), (0x10, 7, 0xFFFFFFFF), (0x20, 5, 0xFFFFFFFF)
)
DEEP = 300
WINFSP_TOO = True


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, driver: str) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("contents")
    vault = make_vault(folder / "vault")
    add_machine(vault)
    m = Maker(vault)
    deep = m.file(b"bottom", b"deep down")
    for n in range(DEEP):
        deep = m.folder(b"level-%03d" % n, [deep])
    linked = m.file(b"first", b"one file", link=1, nlink=3)
    nodes = [
        m.file(b"plain.txt", b"hello\n"),
        m.file(b"empty"),
        m.folder(b"empty folder", [], content=None, mode=0o700),
        m.file(b"big.bin", BIG[:1_000_000], BIG[1_000_000:1_500_000], BIG[1_500_000:]),
        m.file(RAW, b"raw name"),
        m.file(LONG, b"long name"),
        deep,
        m.file(b"holes", noise(4096), 1 << 20, noise(8192, 2), 1 << 30),
        m.file(b"only a hole", 10 << 30),
        linked,
        msgspec.structs.replace(linked, name=b"second"),
        m.folder(b"folder", [msgspec.structs.replace(linked, name=b"third")]),
        m.node(b"dangling", NodeKind.SYMLINK, mode=0o777, content=b"/no/such \xff place", size=16),
        m.node(b"symlink", NodeKind.SYMLINK, mode=0o777, content=b"plain.txt", size=9),
        m.node(b"longest symlink", NodeKind.SYMLINK, mode=0o777, content=b"t" * 4095, size=4095),
        m.node(b"fifo", NodeKind.FIFO, mode=0o600),
        m.node(b"socket", NodeKind.SOCKET, mode=0o755),
        m.node(b"character device", NodeKind.CHAR_DEVICE, mode=0o666, content=(1, 3)),
        m.node(b"block device", NodeKind.BLOCK_DEVICE, mode=0o660, content=(259, 70_000)),
        m.file(b"setuid", b"#!/bin/sh\n", mode=0o6755, owner=Owner(0, 0, "root", "root")),
        m.folder(b"sticky", [], content=None, mode=0o1777),
        m.file(b"owners", b"x", owner=Owner(4_000_000_000, 65_534)),
        m.file(b"before 1970", b"x", mtime=-1, ctime=-1_500_000_000),
        m.file(b"attributes", b"x", xattrs={
            b"user.one": b"1", b"user.bin\xff": bytes(range(256)), b"user.empty": b"",
            b"user.large": m.out_of_line(LARGE_VALUE), b"trusted.secret": b"for root",
            b"security.capability": bytes.fromhex("0100000200040000000000000000000000000000"),
        }),
        m.file(b"acl", b"x", mode=0o650, xattrs={b"system.posix_acl_access": ACL}),
        m.folder(b"acl folder", [], content=None, mode=0o775, xattrs={b"system.posix_acl_default": DEFAULT_ACL}),
    ]  # fmt: skip
    add_point(vault, m.root(nodes), 1)
    home = Home(folder, folder / "vault")
    yield home
    home.close()


@pytest.fixture(scope="module")
def drive(home: Home) -> Path:
    return home.mount("--point", "latest")


def test_the_options_stand_as_asked(drive: Path) -> None:
    found = mount_options(drive)
    assert found is not None
    kind, options = found
    assert kind == "fuse.rpdrive"
    assert {"ro", "nosuid", "nodev", "default_permissions"} <= options
    assert "allow_other" not in options


def test_allow_other_stands_when_asked(home: Home) -> None:
    found = mount_options(home.mount("--point", "latest", "--allow-other", name="others"))
    assert found is not None and "allow_other" in found[1]
    home.run("unmount", home.folder / "others")


def test_the_root_lists_all_names(drive: Path) -> None:
    names = os.listdir(os.fsencode(drive))
    assert len(names) == 26
    assert {RAW, LONG, b"empty", b"holes"} <= set(names)
    assert (drive / "plain.txt").read_text() == "hello\n"


def test_names_of_any_bytes(drive: Path) -> None:
    top = os.fsencode(drive)
    for name, content in ((RAW, b"raw name"), (LONG, b"long name")):
        with open(os.path.join(top, name), "rb") as file:  # noqa: PTH123 - bytes
            assert file.read() == content
    with pytest.raises(FileNotFoundError):
        os.stat(os.path.join(top, RAW[:-1]))


def test_deep_paths(drive: Path) -> None:
    path = drive.joinpath(*[f"level-{n:03d}" for n in reversed(range(DEEP))], "bottom")
    assert path.read_bytes() == b"deep down"


def test_contents_at_any_offset(drive: Path) -> None:
    path = drive / "big.bin"
    assert path.read_bytes() == BIG
    with path.open("rb", buffering=0) as file:
        for offset, length in ((999_990, 20), (2_999_999, 10), (0, 1), (1_499_000, 70_000), (3_000_000, 5)):
            assert os.pread(file.fileno(), length, offset) == BIG[offset : offset + length]


@pytest.mark.posix
def test_an_empty_file_and_an_empty_folder(drive: Path) -> None:
    assert (drive / "empty").read_bytes() == b""
    assert (drive / "empty").stat().st_blocks == 0
    assert list((drive / "empty folder").iterdir()) == []
    assert stat.S_IMODE((drive / "empty folder").stat().st_mode) == 0o700


def test_holes_take_no_room(drive: Path) -> None:
    status = (drive / "holes").stat()
    assert status.st_size == 4096 + (1 << 20) + 8192 + (1 << 30)
    assert status.st_blocks * 512 == 4096 + 8192
    with (drive / "holes").open("rb") as file:
        assert file.read(4096) == noise(4096)
        assert file.read(1 << 20) == bytes(1 << 20)
        assert file.read(8192) == noise(8192, 2)
    only = (drive / "only a hole").stat()
    assert (only.st_size, only.st_blocks) == (10 << 30, 0)
    with (drive / "only a hole").open("rb") as file:
        file.seek(9 << 30)
        assert file.read(1000) == bytes(1000)


@pytest.mark.posix
def test_hard_links_share_an_inode(drive: Path) -> None:
    found = [(drive / name).stat() for name in ("first", "second", "folder/third")]
    assert len({s.st_ino for s in found}) == 1
    assert {s.st_nlink for s in found} == {3}
    assert (drive / "folder" / "third").read_bytes() == b"one file"


@pytest.mark.posix
def test_inodes_ascend_and_differ(drive: Path) -> None:
    names = sorted(os.listdir(os.fsencode(drive)))
    inodes = [s.st_ino for s in (os.lstat(os.path.join(os.fsencode(drive), n)) for n in names) if s.st_nlink == 1]
    assert inodes == sorted(set(inodes))
    listed = {e.name: e.inode() for e in os.scandir(drive)}
    assert all(listed[name] == (drive / name).lstat().st_ino for name in listed)


@pytest.mark.posix
def test_links_show_as_they_are(drive: Path) -> None:
    assert os.readlink(os.fsencode(drive / "dangling")) == b"/no/such \xff place"
    assert os.readlink(os.fsencode(drive / "longest symlink")) == b"t" * 4095
    assert (drive / "symlink").read_text() == "hello\n"
    assert (drive / "symlink").lstat().st_size == 9
    with pytest.raises(FileNotFoundError):
        (drive / "dangling").read_bytes()


def test_special_files(drive: Path) -> None:
    assert (drive / "fifo").is_fifo()
    assert (drive / "socket").is_socket()
    device = (drive / "character device").stat()
    assert stat.S_ISCHR(device.st_mode) and device.st_rdev == os.makedev(1, 3)
    device = (drive / "block device").stat()
    assert stat.S_ISBLK(device.st_mode) and device.st_rdev == os.makedev(259, 70_000)
    with pytest.raises(PermissionError):  # nodev
        (drive / "character device").read_bytes()


@pytest.mark.posix
def test_modes_owners_and_times(drive: Path) -> None:
    status = (drive / "setuid").stat()
    assert stat.S_IMODE(status.st_mode) == 0o6755
    assert (status.st_uid, status.st_gid) == (0, 0)
    assert stat.S_IMODE((drive / "sticky").stat().st_mode) == 0o1777
    status = (drive / "owners").stat()
    assert (status.st_uid, status.st_gid) == (4_000_000_000, 65_534)
    assert status.st_mtime_ns == 1_600_000_000_123_456_789
    assert status.st_ctime_ns == 1_600_000_001_987_654_321
    status = (drive / "before 1970").stat()
    assert (status.st_mtime_ns, status.st_ctime_ns) == (-1, -1_500_000_000)


@pytest.mark.posix
def test_extended_attributes(drive: Path) -> None:
    path = os.fsencode(drive / "attributes")
    values = {os.fsencode(n): os.getxattr(path, n) for n in os.listxattr(path)}
    assert values == {
        b"user.one": b"1",
        b"user.bin\xff": bytes(range(256)),
        b"user.empty": b"",
        b"user.large": LARGE_VALUE,
        b"trusted.secret": b"for root",
        b"security.capability": bytes.fromhex("0100000200040000000000000000000000000000"),
    }
    assert os.listxattr(drive / "plain.txt") == []
    with pytest.raises(OSError) as error:
        os.getxattr(drive / "attributes", "user.none")
    assert error.value.errno == errno.ENODATA


@pytest.mark.posix
def test_acls(drive: Path) -> None:
    def facl(name: str) -> set[str]:
        command: list[str | Path] = ["getfacl", "-nE", "--absolute-names", drive / name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {line for line in text.splitlines() if line and not line.startswith("#")}

    assert facl("acl") == {"user::rw-", "user:1234:r-x", "group::r--", "mask::r-x", "other::---"}
    assert "default:group:4321:rwx" in facl("acl folder")
    assert facl("plain.txt") == {"user::rw-", "group::r--", "other::r--"}


@pytest.mark.posix
def test_statfs_tells_the_size_and_no_room(drive: Path) -> None:
    status = os.statvfs(drive)
    assert status.f_bfree == status.f_bavail == status.f_ffree == 0
    total = sum(p.lstat().st_size for p in drive.rglob("*") if stat.S_ISREG(p.lstat().st_mode))
    assert status.f_blocks * status.f_frsize == -(-total // 4096) * 4096
    assert status.f_files == sum(1 for _ in drive.rglob("*"))
    assert status.f_flag & os.ST_RDONLY


def _writes(drive: Path) -> dict[str, Any]:
    plain, folder = drive / "plain.txt", drive / "folder"
    return {
        "open": lambda: plain.open("r+b"),
        "append": lambda: plain.open("ab"),
        "create": lambda: (drive / "new").open("wb"),
        "truncate": lambda: os.truncate(plain, 0),
        "mkdir": (drive / "new").mkdir,
        "rmdir": (drive / "empty folder").rmdir,
        "unlink": plain.unlink,
        "rename": lambda: plain.rename(drive / "new"),
        "symlink": lambda: (drive / "new").symlink_to("x"),
        "link": lambda: (drive / "new").hardlink_to(plain),
        "chmod": lambda: plain.chmod(0o600),
        "chown": lambda: os.chown(plain, 1, 1),
        "utimes": lambda: os.utime(plain, (1, 1)),
        "mkfifo": lambda: os.mkfifo(folder / "new"),
        "mknod": lambda: os.mknod(drive / "new", stat.S_IFCHR, os.makedev(1, 3)),
        "setxattr": lambda: os.setxattr(plain, "user.new", b"x"),
        "removexattr": lambda: os.removexattr(drive / "attributes", "user.one"),
        "bind": lambda: _bind(folder),
    }


def _bind(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{descriptor}/new")
        finally:
            os.close(descriptor)


@pytest.mark.parametrize("kind", _writes(Path()))
def test_writing_is_refused(drive: Path, kind: str) -> None:
    with pytest.raises(OSError) as error:
        _writes(drive)[kind]()
    assert error.value.errno == errno.EROFS


@pytest.mark.posix
def test_writing_is_refused_even_when_remounted_writable(home: Home) -> None:
    drive = home.mount("--point", "latest", name="remounted")
    subprocess.run(["mount", "-i", "-o", "remount,rw", drive], check=True)
    found = mount_options(drive)
    assert found is not None and "rw" in found[1]
    for kind, write in _writes(drive).items():
        with pytest.raises(OSError) as error:
            write()
        assert error.value.errno == errno.EROFS, kind
    home.run("unmount", drive)


@pytest.mark.posix
def test_a_copy_is_whole(drive: Path, tmp_path: Path) -> None:
    shutil.copytree(drive / "folder", tmp_path / "folder", symlinks=True)
    subprocess.run(["cp", "-a", drive / "big.bin", drive / "setuid", tmp_path], check=True)
    assert (tmp_path / "big.bin").read_bytes() == BIG
    status = (tmp_path / "setuid").stat()
    assert stat.S_IMODE(status.st_mode) == 0o6755
    assert status.st_mtime_ns == 1_600_000_000_123_456_789
