"""Folders to back up, each made by a function with the name of what it holds.

Those with every kind of file need root, for devices and owners.
"""

from __future__ import annotations

import os
import random
import socket
import stat
from pathlib import Path

from tests.kit.drives import acl, noise


def every_kind(top: Path) -> None:
    """Every kind of file that this file system can hold, in a new folder, with all that stat shows of it."""
    folder = top / "folder"
    folder.mkdir(parents=True)
    raw = os.fsencode(top)
    (top / "empty").touch()
    (top / "small").write_bytes(b"small\n")
    (top / "big").write_bytes(noise(5_000_000))
    (top / "text").write_text("the same line again and again\n" * 50_000)
    (top / "control\nand\ttab \\ \"'").write_bytes(b"x")
    forms = "é".encode(), "e\u0301".encode()
    for name in (b"\xff\xfenot UTF-8\x80", b"n" * 255, *forms, b".hidden", b"-dash", b" "):
        with open(os.path.join(raw, name), "wb") as file:  # noqa: PTH123 - bytes
            file.write(name)
    with (top / "holes").open("wb") as sparse:
        for start in (0, 3 << 20, 40 << 20):
            sparse.seek(start)
            sparse.write(noise(8192, start))
        sparse.truncate(64 << 20)
    with (top / "only a hole").open("wb") as sparse:
        sparse.truncate(1 << 30)
    for linked in ("one", "large"):
        (top / linked).write_bytes(noise(300_000 if linked == "large" else 10, 4))
        (folder / f"another {linked}").hardlink_to(top / linked)
        (top / f"{linked} more").hardlink_to(top / linked)
    for mode in (0o6755, 0o4711, 0o1644, 0o000, 0o777):
        (top / f"mode {mode:o}").write_bytes(noise(400_000 if mode == 0o4711 else 10))
        os.chown(top / f"mode {mode:o}", 12345, 54321)
        (top / f"mode {mode:o}").chmod(mode)
    (top / "an empty folder").mkdir(mode=0o711)
    folder.chmod(0o3775)
    (top / "dangling").symlink_to("/no/such/place")
    os.symlink(b"\xff target", os.path.join(raw, b"raw target"))
    (top / "relative").symlink_to("small")
    os.link(top / "dangling", top / "dangling again", follow_symlinks=False)
    os.chown(top / "dangling", 111, 222, follow_symlinks=False)
    os.mkfifo(top / "fifo", 0o640)
    os.chown(top / "fifo", 12, 13)
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(top / "loop", stat.S_IFBLK | 0o660, os.makedev(7, 300))
    with socket.socket(socket.AF_UNIX) as server:
        at = os.open(top, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{at}/socket")  # its own path may be longer than an address
        os.close(at)
    deep = top / "deep"
    for n in range(100):
        deep /= f"level {n}"
    deep.mkdir(parents=True)
    (deep / "bottom").write_bytes(b"deep")
    for n, path in enumerate(sorted(top.iterdir())):
        times = (10**18, -(10**18) + n if n % 5 == 0 else 10**18 + n * 1_000_000_007)
        os.utime(path, ns=times, follow_symlinks=False)


def attributed(top: Path) -> None:
    """Files and folders with extended attributes, capabilities and ACLs, inherited ones too, in a new folder."""
    folder = top / "folder"
    folder.mkdir(parents=True)
    for name in ("file", "acl"):
        (top / name).write_bytes(b"x")
    os.setxattr(top / "file", "user.text", b"text")
    os.setxattr(top / "file", "user.binary", bytes(range(256)))
    os.setxattr(top / "file", "user.long", noise(3000))
    os.setxattr(top / "file", "trusted.ours", b"root's own")
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(top / "file", "security.capability", capability)
    os.setxattr(folder, "user.folder", b"")
    entries = ((1, 6, 0xFFFFFFFF), (2, 5, 1234), (4, 4, 0xFFFFFFFF), (0x10, 5, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF))
    os.setxattr(top / "acl", "system.posix_acl_access", acl(*entries))
    os.setxattr(folder, "system.posix_acl_access", acl(*entries))
    os.setxattr(folder, "system.posix_acl_default", acl(*entries))
    (folder / "heir").write_bytes(b"x")
    (folder / "disinherited").write_bytes(b"x")
    os.removexattr(folder / "disinherited", "system.posix_acl_access")


def small_and_large(folder: Path) -> Path:
    """Make small and large files, none of which can be compressed, a link and an empty file. The folder."""
    (folder / "below" / "further").mkdir(parents=True)
    for n in range(30):
        (folder / "below" / f"small {n}").write_bytes(os.urandom(500 + n))
    for n in range(3):
        (folder / f"large-{n}").write_bytes(os.urandom(2 * (1 << 20)))
    (folder / "link").symlink_to("large-0")
    (folder / "below" / "further" / "empty").touch()
    return folder


def a_bit_of_everything(folder: Path) -> None:
    """Make a few files of each kind that any user may make, to be changed one at a time."""
    rng = random.Random(1)
    (folder / "a" / "deep" / "er").mkdir(parents=True)
    (folder / "b").mkdir()
    (folder / "empty").mkdir()
    for n in range(5):
        (folder / "a" / f"f{n}").write_bytes(rng.randbytes(100))
        (folder / "a" / "deep" / f"f{n}").write_bytes(rng.randbytes(1000))
    (folder / "b" / "large").write_bytes(rng.randbytes(700_000))
    os.link(folder / "a" / "f0", folder / "b" / "link")
    (folder / "b" / "symlink").symlink_to("../a/f0")
    os.mkfifo(folder / "b" / "fifo")
    os.setxattr(folder / "a" / "f1", "user.one", b"1")
    os.setxattr(folder / "a", "user.big", b"x" * 3900)


def many_packs(folder: Path) -> None:
    """Make files that a backup with small packs stores in many steps."""
    rng = random.Random(5)
    for d in ("a", "b/inner", "c"):
        (folder / d).mkdir(parents=True)
    for n in range(180):
        (folder / "a" / f"empty-{n:03d}").touch()
    for n in range(30):
        (folder / "b" / "inner" / f"small-{n:02d}").write_bytes(rng.randbytes(3_000))
    for n, d in enumerate(("a", "b", "b/inner", "c")):
        (folder / d / "large").write_bytes(rng.randbytes(60_000 + n))
    (folder / "c" / "huge").write_bytes(rng.randbytes(200_000))
    os.link(folder / "a" / "large", folder / "c" / "link")
    os.link(folder / "b" / "inner" / "small-07", folder / "a" / "link")
    (folder / "z").symlink_to("a")


def small_folders(top: Path) -> None:
    """Make ten folders of 300 small files each, a large file and a link."""
    rng = random.Random(11)
    for d in range(10):
        (top / f"folder {d}").mkdir(parents=True)
        for n in range(300):
            (top / f"folder {d}" / f"file {n:03}").write_bytes(rng.randbytes(rng.randrange(500, 6000)))
    (top / "big").write_bytes(rng.randbytes(6 << 20))
    (top / "link").symlink_to("big")


def every_kind_and_many(top: Path, names: int = 100_000) -> None:
    """Make every kind of file that this file system can hold, and so many names in one folder. Needs root."""
    every_kind(top / "plain")
    attributed(top / "attributed")
    many = top / "many"
    many.mkdir()
    for n in range(names):
        os.close(os.open(many / f"name {n * 7919 % names}", os.O_CREAT | os.O_WRONLY))


def every_kind_and_deep(top: Path) -> None:
    """Make every kind of file, and a path of nearly the maximal length. Needs root."""
    every_kind(top)
    attributed(top / "attributed")
    deep = top / "deep"
    for n in range(40):
        deep /= f"level {n} of a very deep folder, whose path is nearly as long as one may be"
    deep.mkdir(parents=True)
