"""What guests are made of, cached in .tools/guest: a Debian root image, a kernel, rpdrive and its packages.

The root is made by debootstrap, which needs root, a network and about two minutes, once; everything is made again
when what it comes from changes. Nothing in a guest needs a network.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kit.needs import TOOLS

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
CACHE = TOOLS / "guest"
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PACKAGES = (
    "systemd systemd-sysv udev kmod dbus lvm2 dmsetup thin-provisioning-tools mdadm cryptsetup-bin"
    " cryptsetup-initramfs e2fsprogs xfsprogs btrfs-progs dosfstools gdisk fdisk parted fuse3 libfuse2 python3"
    " initramfs-tools busybox-static grub-pc-bin grub-efi-amd64-bin grub2-common efibootmgr attr acl rsync procps"
    " psmisc file zstd openssl ca-certificates tzdata linux-image-cloud-amd64"
)
RECIPE = 3  # counts the changes of what is made of the packages
NEEDED = ("virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "overlay")  # to reach the root and the host
NOT_WANTED = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "var/lib/apt/lists")
NOT_TO_RUN = ("mypy", "mypyc", "pip", "setuptools", "librt", "ast_serialize", "ruff")  # packages left at home


class GuestFailed(Exception):
    """A guest, or a part of one, could not be made or did not answer."""


@dataclass(frozen=True)
class Base:
    """Paths of what a guest boots: the kernel, the root image (ext4, only read), busybox, and modules in order."""

    kernel: Path
    root: Path
    busybox: Path
    modules: Path


def _do(*command: str | Path) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False
    )
    text = done.stdout.decode(errors="replace")
    if done.returncode:
        raise GuestFailed(f"{command[0]} ended with {done.returncode}: {text[-2000:]}")
    return text


def image_of(folder: Path, image: Path, spare: int = 0) -> None:
    """Make an ext4 image of a folder, with `spare` bytes of room left."""
    used = int(_do("du", "-s", "--block-size=1", folder).split()[0])
    with image.open("wb") as file:
        file.truncate(((used * 5 // 4 + spare) // 4096 + 8192) * 4096)
    _do("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", folder, image)


@contextmanager
def _cached(kind: str, key: str) -> Iterator[tuple[Path, bool]]:
    """The folder for this kind and key, and whether it has to be filled. Those with other keys are removed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = CACHE / f"{kind}-{key[:16]}"
        if folder.exists():
            yield folder, False
            return
        for old in CACHE.glob(f"{kind}-*"):
            shutil.rmtree(old)
        making = CACHE / f"{kind}.making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        yield making, True
        making.rename(folder)


def filled(kind: str, key: str, fill: Callable[[Path], None]) -> Path:
    """The folder of what has this key; `fill` makes it in a folder that is renamed once it is whole."""
    with _cached(kind, key) as (folder, is_new):
        if is_new:
            fill(folder)
    return CACHE / f"{kind}-{key[:16]}"


def base() -> Base:
    """The root and the kernel; makes them if they aren't there. Raises GuestFailed."""
    key = hashlib.sha256(f"{SUITE} {PACKAGES} {NEEDED} {RECIPE}".encode()).hexdigest()
    folder = filled("base", key, _make_base)
    return Base(folder / "vmlinuz", folder / "root.img", folder / "busybox", folder / "modules")


def _make_base(folder: Path) -> None:
    tree = folder / "tree"
    _do(
        "debootstrap", "--variant=minbase", f"--include={PACKAGES.replace(' ', ',')}", SUITE, tree, MIRROR
    )  # fmt: skip
    for name in NOT_WANTED:
        shutil.rmtree(tree / name, ignore_errors=True)
    _do("chroot", tree, "apt-get", "clean")
    # systemd reads an empty file as a first boot with an id to make.
    (tree / "etc/machine-id").write_text("")
    version = next((tree / "lib/modules").iterdir()).name
    shutil.copy(tree / "boot" / f"vmlinuz-{version}", folder / "vmlinuz")
    shutil.copy(
        tree / "usr/bin/busybox" if (tree / "usr/bin/busybox").exists() else tree / "bin/busybox",
        folder / "busybox",
    )
    modules = folder / "modules"
    modules.mkdir()
    order: list[str] = []
    shown = _do("chroot", tree, "modprobe", "--set-version", version, "--show-depends", "--all", *NEEDED)
    for word, path in (line.split()[:2] for line in shown.splitlines()):
        name = Path(path).name
        if word == "insmod" and name not in order:
            shutil.copy(tree / path.lstrip("/"), modules / name)
            order.append(name)
    (modules / "order").write_text("\n".join(order) + "\n")
    image_of(tree, folder / "root.img")
    shutil.rmtree(tree)


def packages() -> Path:
    """An image of the Python packages of this environment, those for lint and types left out."""
    site = Path(sysconfig.get_paths()["purelib"])
    names = sorted(f"{entry.name} {entry.stat().st_mtime_ns}" for entry in site.iterdir())
    key = hashlib.sha256("\n".join([sys.version, *names, *NOT_TO_RUN]).encode()).hexdigest()

    def fill(folder: Path) -> None:
        tree = folder / "tree"
        shutil.copytree(site, tree, symlinks=True, ignore=lambda _, found: {n for n in found if _stays(n)})
        image_of(tree, folder / "packages.img")
        shutil.rmtree(tree)

    return filled("packages", key, fill) / "packages.img"


def _stays(name: str) -> bool:
    return name in NOT_TO_RUN or "__mypyc." in name or name.startswith("__editable__")


def checkout() -> Path:
    """An image of this checkout's files (those that git ignores left out), compiled, so that it starts quicker."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split(b"\0")
    names = sorted({os.fsdecode(name) for name in listed if name and (ROOT / os.fsdecode(name)).is_file()})
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0".encode() + hashlib.sha256((ROOT / name).read_bytes()).digest())

    def fill(folder: Path) -> None:
        tree = folder / "tree"
        for name in names:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
        code = [tree / name for name in ("catalog", "cache", "mount", "backup", "rpdrive.py")]
        _do(sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", *code)
        image_of(tree, folder / "checkout.img")
        shutil.rmtree(tree)

    return filled("checkout", digest.hexdigest(), fill) / "checkout.img"


def _entry(name: str, mode: int, data: bytes) -> bytes:
    """One member of a cpio archive in the "newc" format (Linux, Documentation/driver-api/early-userspace)."""
    title = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(title), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + title
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def initial_disk(base: Base, image: Path) -> None:
    """Write the initial RAM disk: busybox, the modules, and the scripts and the agent of this folder."""
    parts = [_entry(name, 0o040755, b"") for name in ("bin", "modules", "guest")]
    parts.append(_entry("bin/busybox", 0o100755, base.busybox.read_bytes()))
    parts.append(_entry("init", 0o100755, (HERE / "init-first").read_bytes()))
    for name in ("init-second", "code", "agent.py"):
        parts.append(_entry(f"guest/{name}", 0o100755, (HERE / name).read_bytes()))
    for path in sorted(base.modules.iterdir()):
        parts.append(_entry(f"modules/{path.name}", 0o100644, path.read_bytes()))
    image.write_bytes(b"".join(parts) + _entry("TRAILER!!!", 0, b""))
