"""Drives for tests: real vaults on disk, the real command, the real /dev/fuse."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from catalog.format.blocks import PackKind
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.records import Item, Machine, Point, Root
from catalog.format.values import Hole, NodeKind, OutOfLine, Owner, Subtree
from catalog.vault import Vault
from tests.kit import ready
from tests.kit.vaultmaker import MACHINE as MAKER
from tests.kit.vaultmaker import Packer, Trees
from tests.kit.vaults import home_of

ROOT = Path(__file__).parents[2]
MACHINE, ITEM = MAKER, bytes(range(16, 32))


class Home:
    """One user's rpdrive: a vault, RPDRIVE_HOME, mount points; and the command."""

    def __init__(self, folder: Path, vault: Path) -> None:
        self.folder = folder
        self.vault = vault
        self.environment = os.environ | home_of(folder / "home", vault.as_uri())
        self._mount_points: list[Path] = []

    def run(self, *args: str | Path, exit_code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command and check its exit code."""
        done = ready.run(
            self.command(*args), env=self.environment | environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == exit_code, (args, done.returncode, done.stdout, done.stderr)
        return done

    def command(self, *args: str | Path) -> list[str]:
        return [sys.executable, str(ROOT / "rpdrive.py"), *map(str, args)]

    def mount_point(self, name: str = "drive") -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        self._mount_points.append(path)
        return path

    def mount(self, *args: str, name: str = "drive", **environment: str) -> Path:
        path = self.mount_point(name)
        self.run("mount", path, *args, exit_code=0, **environment)
        return path

    def mounts(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.run("mounts", "--json").stdout)
        return rows

    def pid(self) -> int:
        (row,) = self.mounts()
        return int(row["pid"])

    def close(self) -> None:
        for path in self._mount_points:
            subprocess.run(["umount", "-l", path], capture_output=True, check=False)


def add_point(
    vault: Vault,
    root: Subtree | None,
    sequence: int,
    at: int | None = None,
    *,
    machine: bytes = MACHINE,
    item: bytes = ITEM,
    machine_name: str = "box",
    item_name: str = "home",
    system: str = "Linux",
    point_id: bytes | None = None,
) -> Point:
    """Commit a point of this tree, made at `at` (ns, UTC)."""
    at = time.time_ns() if at is None else at
    point = Point(
        id=point_id or os.urandom(16), machine=machine, item=item, machine_name=machine_name, item_name=item_name,
        hostname="box", system=system, sequence=sequence, time=at, finished=at, paths=[b"/home"],
        root=Root.of(root) if root is not None else None,
    )  # fmt: skip
    vault.add_point(point)
    return point


def add_machine(
    vault: Vault, machine: bytes = MACHINE, name: str = "box", created: int = 1, system: str = "Linux"
) -> None:
    vault.add_machine(Machine(id=machine, name=name, hostname=name, system=system, created=created))


def add_item(vault: Vault, item: bytes = ITEM, name: str = "home", machine: bytes = MACHINE) -> None:
    vault.add_item(Item(id=item, machine=machine, name=name, paths=[b"/home"], created=1))


class Maker:
    """Builds one point's tree by hand."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.data = Packer(vault, PackKind.DATA)
        self.trees = Trees(vault)
        self._inode = 100

    def node(self, name: bytes, kind: NodeKind = NodeKind.FILE, **fields: Any) -> Node:
        self._inode += 1
        row: dict[str, Any] = {
            "mode": 0o644, "owner": Owner(1000, 1001, "someone", "people"), "size": 0,
            "mtime": 1_600_000_000_123_456_789, "ctime": 1_600_000_001_987_654_321, "inode": self._inode,
        }  # fmt: skip
        return Node(name, kind, **(row | fields))

    def file(self, name: bytes, *parts: bytes | int, **fields: Any) -> Node:
        """A file of these parts, numbers being holes of as many bytes. A pack of its own, `data.names[-1]`."""
        pieces: list[Extent | Hole] = [
            Hole(p) if isinstance(p, int) else self.data.block([p])[0] for p in parts if p
        ]
        size = sum(p if isinstance(p, int) else len(p) for p in parts)
        self.data.finish()
        return self.node(name, size=size, content=pieces, **fields)

    def folder(self, name: bytes, nodes: list[Node], **fields: Any) -> Node:
        subtree = self.trees.folder(sorted(nodes, key=lambda n: n.name))
        return self.node(name, NodeKind.FOLDER, **({"mode": 0o755, "size": 4096, "content": subtree} | fields))

    def out_of_line(self, value: bytes) -> OutOfLine:
        return OutOfLine(self.trees.write(value))

    def root(self, nodes: list[Node]) -> Subtree:
        return self.trees.root(self.trees.folder(sorted(nodes, key=lambda n: n.name)))


def acl(*entries: tuple[int, int, int]) -> bytes:
    """A POSIX ACL as system.posix_acl_* holds it: rows of tag, permissions, id (linux/posix_acl_xattr.h)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, perm, who) for tag, perm, who in entries)


def eventually(check: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Wait until something holds; not a measure of time, only a bound on a hang."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"


def children(pid: int) -> list[int]:
    """The processes that a process has started and that run still."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_bytes().rpartition(b")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid and alive(int(stat.parent.name)):
            found.append(int(stat.parent.name))
    return found


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal and wait for the end."""
    os.kill(pid, number)
    eventually(lambda: not alive(pid), f"process {pid} ends")


def mount_options(path: Path) -> tuple[str, set[str]] | None:
    """Type and options of what is mounted at a path."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _source, target, kind, options, *_ = line.split()
        if target == str(path):
            return kind, set(options.split(","))
    return None


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)
