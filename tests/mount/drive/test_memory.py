"""Memory of a drive: bounded by what is used, not by how much the point holds."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.kit.drives import Home, Maker, add_machine, add_point
from tests.kit.vaults import make_vault

pytestmark = pytest.mark.needs_fuse

MIB = 1 << 20
EACH = 1000  # files in a folder


def anonymous(pid: int) -> int:
    """The memory that a process has for itself alone (bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no RssAnon")


def fill(folder: Path, folders: int) -> Home:
    vault = make_vault(folder / "vault")
    add_machine(vault)
    m = Maker(vault)
    names = [b"file %06d" % n for n in range(EACH)]
    nodes = [m.folder(b"folder %05d" % f, [m.file(name) for name in names]) for f in range(folders)]
    add_point(vault, m.root(nodes), 1)
    return Home(folder, folder / "vault")


def walk(folders: list[Path]) -> None:
    subprocess.run(["find", *folders, "-printf", "%s"], stdout=subprocess.DEVNULL, check=True)


def curve(folder: Path, driver: str, steps: list[int]) -> list[int]:
    """The drive's memory after walks through so many folders (bytes)."""
    home = fill(folder, steps[-1])
    try:
        drive = home.mount("--point", "latest", "--driver", driver)
        folders = [drive / name for name in sorted(os.listdir(drive))]
        found = []
        for step in steps:
            walk(folders[:step])
            found.append(anonymous(home.pid()))
        print([f"{step * EACH:,} entries: {size / MIB:.1f} MiB" for step, size in zip(steps, found, strict=True)])
        return found
    finally:
        home.close()


@pytest.mark.slow
@pytest.mark.unmeasured
def test_memory_from_10_000_to_100_000_entries(tmp_path: Path) -> None:
    """It fills its caches of pages: 29 MiB more, measured."""
    first, last = curve(tmp_path, "kernel", [10, 100])
    assert last - first < 64 * MIB


@pytest.mark.soak
@pytest.mark.unmeasured
@pytest.mark.parametrize(
    # libfuse keeps a node of each name that the kernel has in its cache, some 160 bytes. Measured: 102 and 255 MiB.
    ("name", "most"),
    [("kernel", 150), ("fuse", 150 + 160)],
)
def test_memory_up_to_a_million_entries(tmp_path: Path, name: str, most: int) -> None:
    assert curve(tmp_path, name, [10, 30, 100, 300, 1000])[-1] < most * MIB
