"""A real folder, backed up, mounted, and compared with itself by the programs that people trust for that."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drives import Home, acl, make_vault, noise

NOT_MANY = ("--exclude=/many/",)  # the folder of 100,000 names has a test of its own
LINES = "%P|%y|%m|%U|%G|%s|%T@|%C@|%n|%l\\0"


def make_source(top: Path, names: int = 100_000) -> None:
    """Every kind of file that this file system can hold, and so many in one folder. Needs root, for devices."""
    if os.geteuid() != 0:
        raise RuntimeError("these tests make devices and files of other owners: run them as root")
    plain = top / "plain"
    plain.mkdir(parents=True)
    (plain / "empty").touch()
    (plain / "small").write_bytes(b"small\n")
    (plain / "big").write_bytes(noise(5_000_000))
    (plain / "text").write_text("the same line again and again\n" * 50_000)
    (plain / "an empty folder").mkdir(mode=0o711)
    (plain / "control\nand\ttab \\ \"'").write_bytes(b"x")
    raw = os.fsencode(plain)
    for name in (b"\xff\xfenot UTF-8\x80", b"n" * 255, "é".encode(), "é".encode(), b".hidden", b"-dash"):
        with open(os.path.join(raw, name), "wb") as file:  # noqa: PTH123 - bytes
            file.write(name)
    with (plain / "holes").open("wb") as sparse:
        sparse.write(noise(8192))
        sparse.seek(3 << 20)
        sparse.write(noise(4096, 2))
        sparse.seek(40 << 20)
        sparse.write(noise(4096, 3))
        sparse.truncate(64 << 20)
    with (plain / "only a hole").open("wb") as sparse:
        sparse.truncate(1 << 30)
    (plain / "first link").write_bytes(noise(300_000, 4))
    (plain / "second link").hardlink_to(plain / "first link")
    (plain / "an empty folder" / "..").resolve().joinpath("folder").mkdir()
    (plain / "folder" / "third link").hardlink_to(plain / "first link")
    (plain / "setuid").write_bytes(b"#!/bin/sh\n")
    (plain / "setuid").chmod(0o6755)
    (plain / "folder").chmod(0o3775)
    (plain / "dangling").symlink_to("/no/such/place")
    os.symlink(b"\xff target", os.path.join(raw, b"raw target"))
    (plain / "relative").symlink_to("small")
    os.link(plain / "dangling", plain / "dangling again", follow_symlinks=False)
    (plain / "owners").write_bytes(b"x")
    os.chown(plain / "owners", 12345, 54321)
    os.chown(plain / "relative", 111, 222, follow_symlinks=False)
    os.mkfifo(plain / "fifo", 0o640)
    os.mknod(plain / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(plain / "loop", stat.S_IFBLK | 0o660, os.makedev(7, 300))
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(plain, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
    deep = plain / "deep"
    for n in range(100):
        deep /= f"level {n}"
    deep.mkdir(parents=True)
    (deep / "bottom").write_bytes(b"deep")
    attributed = top / "attributed"
    attributed.mkdir()
    for name in ("file", "acl"):
        (attributed / name).write_bytes(b"x")
    (attributed / "folder").mkdir()
    os.setxattr(attributed / "file", "user.text", b"text")
    os.setxattr(attributed / "file", "user.binary", bytes(range(256)))
    os.setxattr(attributed / "file", "user.long", noise(3000))
    os.setxattr(attributed / "file", "trusted.ours", b"root's own")
    os.setxattr(
        attributed / "file", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000")
    )
    os.setxattr(attributed / "folder", "user.folder", b"")
    entries = ((1, 6, 0xFFFFFFFF), (2, 5, 1234), (4, 4, 0xFFFFFFFF), (0x10, 5, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF))
    os.setxattr(attributed / "acl", "system.posix_acl_access", acl(*entries))
    os.setxattr(attributed / "folder", "system.posix_acl_access", acl(*entries))
    os.setxattr(attributed / "folder", "system.posix_acl_default", acl(*entries))
    (attributed / "folder" / "heir").write_bytes(b"x")
    many = top / "many"
    many.mkdir()
    for n in range(names):
        os.close(os.open(many / f"name {n * 7919 % names}", os.O_CREAT | os.O_WRONLY))
    for n, path in enumerate(sorted(p for p in plain.iterdir())):
        os.utime(
            path, ns=(10**18, -(10**18) + n if n % 5 == 0 else 10**18 + n * 1_000_000_007), follow_symlinks=False
        )


class Backed(Home):
    """A source, its copy as it was at the first of two points, and a drive of each point."""

    def __init__(self, folder: Path) -> None:
        make_vault(folder / "vault")
        super().__init__(folder, folder / "vault")
        self.source = folder / "source"
        make_source(self.source)
        self.run("backup", self.source)
        self.before = folder / "before"
        subprocess.run(["cp", "-a", self.source, self.before], check=True)
        self.first_listing = listing(self.source)
        (self.source / "plain" / "small").write_bytes(b"changed\n")
        (self.source / "plain" / "new").write_bytes(b"new\n")
        (self.source / "plain" / "fifo").unlink()
        (self.source / "plain" / "deep").rename(self.source / "plain" / "renamed")
        shutil.rmtree(self.source / "attributed" / "folder")
        os.setxattr(self.source / "attributed" / "file", "user.text", b"another")
        self.run("backup", self.source)

    def open(self, driver: str) -> None:
        below = str(self.source).lstrip("/")
        self.drive = self.mount("--point", "latest", "--driver", driver, name=f"{driver} drive") / below
        points = sorted(p["time"] + " " + p["id"] for p in self.points())
        old = self.mount("--point", points[0].split()[1], "--driver", driver, name=f"{driver} old")
        self.old_drive = old / below

    def points(self) -> list[dict[str, str]]:
        import json

        found = json.loads(self.run("points", "--json").stdout)
        rows: list[dict[str, str]] = found["points"] if isinstance(found, dict) else found
        return rows


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    backed = Backed(tmp_path_factory.mktemp("fidelity"))
    yield backed
    backed.close()


@pytest.fixture(scope="module")
def backed(closed: Backed, driver: str) -> Iterator[Backed]:
    closed.open(driver)
    yield closed
    closed.close()


def output(*command: str | Path, cwd: Path | None = None) -> bytes:
    done = subprocess.run(command, cwd=cwd, capture_output=True, check=False)
    assert done.returncode == 0 and done.stderr == b"", (command, done.stderr.decode(errors="replace")[:2000])
    return done.stdout


def listing(top: Path) -> list[bytes]:
    """What find tells of everything below, but for what must differ: the number of links of folders."""
    lines: list[bytes] = []
    for kind, form in ((["!", "-type", "d"], LINES), (["-type", "d"], LINES.replace("|%n", ""))):
        found = output("find", top, "-mindepth", "1", *kind, "!", "-path", f"{top}/many/*", "-printf", form)
        lines += found.split(b"\0")
    return sorted(lines)


def test_diff_finds_nothing(backed: Backed) -> None:
    # diff refuses special files of equal names; the others are compared by find and rsync.
    both = (("source", backed.source, backed.drive), ("before", backed.before, backed.old_drive))
    for _which, source, drive in both:
        for part in ("attributed", "plain"):
            done = subprocess.run(
                ["diff", "-r", "--no-dereference", source / part, drive / part], capture_output=True, check=False
            )
            lines = [
                line for line in done.stdout.splitlines()
                if not (line.startswith(b"File ") and b" is a " in line and b" while file " in line)
            ]  # fmt: skip
            assert lines == [] and done.stderr == b""
            for line in done.stdout.splitlines():
                kinds = line.split(b" is a ")
                assert kinds[1].split(b" while file ")[0] == kinds[2], line


def test_find_tells_the_same(backed: Backed) -> None:
    assert listing(backed.drive) == listing(backed.source)
    assert listing(backed.old_drive) == backed.first_listing


def test_the_large_folder_has_every_name(backed: Backed) -> None:
    assert set(os.listdir(backed.drive / "many")) == {f"name {n}" for n in range(100_000)}
    for n in range(0, 100_000, 997):
        ours, theirs = ((top / "many" / f"name {n}").stat() for top in (backed.drive, backed.source))
        assert (ours.st_mode, ours.st_size, ours.st_mtime_ns) == (
            theirs.st_mode,
            theirs.st_size,
            theirs.st_mtime_ns,
        )


@pytest.mark.parametrize("options", ["-aHAXS", "-aHAXSc"])
def test_rsync_finds_nothing_to_do(backed: Backed, options: str) -> None:
    for source, drive in ((backed.source, backed.drive), (backed.before, backed.old_drive)):
        for one, other in ((source, drive), (drive, source)):
            command = [
                "rsync",
                options,
                "--dry-run",
                "--itemize-changes",
                "--delete",
                *NOT_MANY,
                f"{one}/",
                f"{other}/",
            ]
            assert output(*command) == b""


def test_rsync_would_notice(backed: Backed) -> None:
    assert b"plain/small" in output("rsync", "-aHAXS", "-ni", *NOT_MANY, f"{backed.before}/", f"{backed.drive}/")


def test_attributes_and_acls_are_the_same(backed: Backed) -> None:
    for command in (["getfattr", "-hRd", "-m", "-", "-e", "hex", "."], ["getfacl", "-RPpnE", "."]):
        for part in ("attributed", "plain"):
            ours, theirs = (
                sorted(output(*command, cwd=top / part).split(b"\n\n")) for top in (backed.drive, backed.source)
            )
            assert ours == theirs
    found = output("getfattr", "-hRd", "-m", "-", ".", cwd=backed.drive / "attributed")
    assert b"security.capability" in found and b"system.posix_acl_access" in found and b"trusted.ours" in found


def test_du_tells_the_same(backed: Backed) -> None:
    for options in (["-al", "-B512"], ["-al", "--apparent-size", "-B1"]):
        ours, theirs = (
            sorted(output("du", *options, ".", cwd=top / "plain").splitlines())
            for top in (backed.drive, backed.source)
        )
        assert ours == theirs


def test_a_copy_off_the_drive_is_the_source(backed: Backed, tmp_path: Path) -> None:
    for part in ("plain", "attributed"):
        output("cp", "-a", "--sparse=always", backed.drive / part, tmp_path)
        command = [
            "rsync",
            "-aHAXS",
            "--dry-run",
            "-ic",
            "--delete",
            f"{backed.source / part}/",
            f"{tmp_path / part}/",
        ]
        assert output(*command) == b""
    assert (tmp_path / "plain" / "only a hole").stat().st_blocks == 0


def test_tar_reads_all_of_it(backed: Backed) -> None:
    def members(top: Path) -> list[bytes]:
        command = ["tar", "-C", top, "--xattrs", "--acls", "--sort=name", "--warning=no-file-ignored", "-cf", "-"]
        archive = output(*command, "plain", "attributed")
        shown = subprocess.run(["tar", "-tvf", "-"], input=archive, capture_output=True, check=True).stdout
        return shown.splitlines()

    assert members(backed.drive) == members(backed.source)
