"""The whole way of a seed, by commands: two small disks, a machine that imports them without a key, a drive."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from catalog.vault import Vault
from tests.kit.cli import Cli
from tests.kit.loops import mounted

pytestmark = [
    pytest.mark.soak,
    pytest.mark.needs_root,
    pytest.mark.needs_fuse,
    pytest.mark.needs_program("mkfs.ext4", "diff"),
    pytest.mark.timeout(400),
]
MIB = 1 << 20


@pytest.fixture
def usb(tmp_path: Path) -> Iterator[list[Path]]:
    """Two disks, of which the first one is too small."""
    with ExitStack() as stack:
        places = []
        for number, size in enumerate((100 * MIB, 300 * MIB), 1):
            place = stack.enter_context(mounted(tmp_path / f"usb{number}", "ext4", size))
            places.append(place / "seed")
        yield places


def compare(one: Path, other: Path) -> None:
    done = subprocess.run(
        ["diff", "-r", "--no-dereference", one, other], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def make_source(folder: Path) -> Path:
    (folder / "deep/er").mkdir(parents=True)
    for number in range(4):
        (folder / f"large-{number}").write_bytes(os.urandom(32 * MIB))
    for number in range(200):
        (folder / "deep/er" / f"small-{number}").write_bytes(os.urandom(2_000))
    (folder / "link").symlink_to("deep")
    return folder


def test_the_whole_way(tmp_path: Path, usb: list[Path], rpdrive: Cli, vault: Vault) -> None:
    source, other = make_source(tmp_path / "source"), tmp_path / "other"
    other.mkdir()
    (other / "file").write_bytes(os.urandom(MIB))
    rpdrive.ok("seed", "start", "--disk", usb[0], "--item", "home")
    full = rpdrive.run("backup", source, "--item", "home")
    assert full.returncode == 5 and b"disks of the seed are full" in full.stderr, full
    rpdrive.ok("seed", "add-disk", usb[1])
    rpdrive.ok("backup", source, "--item", "home")
    rpdrive.ok("backup", other, "--item", "other")
    assert [point["item"] for point in rpdrive.json("points")["points"]] == ["other"]
    rpdrive.ok("seed", "close")
    for disk in usb:
        assert not list(disk.rglob("vault.json"))

    depot = Cli(tmp_path / "depot")
    nobody = {"RPDRIVE_VAULT": str(rpdrive.vault), "RPDRIVE_PASSPHRASE": None}
    first = depot.run("seed", "import", usb[1], env=nobody)
    assert first.returncode == 3 and b"disk 1 of 2" in first.stderr, first
    waiting = rpdrive.run("backup", source, "--item", "home")
    assert waiting.returncode == 13 and b"travelling on disks" in waiting.stderr, waiting
    (other / "new").write_bytes(os.urandom(MIB))
    rpdrive.ok("backup", other, "--item", "other")
    rpdrive.ok("prune")
    row = depot.json("seed", "import", "--verify", *usb, env=nobody)
    assert row["complete"] and row["points"] == 1
    assert not (depot.home / "state").exists() and not (depot.home / "config").exists()

    for level in ("0", "1", "2", "3"):
        rpdrive.ok("check", "--level", level)
    at = str(source).lstrip("/")
    rpdrive.ok("restore", f"latest:/{at}", "--item", "home", "--to", tmp_path / "restored")
    (found,) = [path.parent for path in (tmp_path / "restored").rglob("large-0")]
    compare(source, found)
    drive = tmp_path / "drive"
    drive.mkdir()
    rpdrive.ok("mount", drive)
    try:
        (machine,) = [name for name in os.listdir(drive) if not name.startswith(".")]
        compare(source, drive / machine / "home" / "latest" / at)
        compare(other, drive / machine / "other" / "latest" / str(other).lstrip("/"))
    finally:
        if rpdrive.run("unmount", drive).returncode:
            subprocess.run(["umount", "-l", drive], check=False)
    (source / "new").write_bytes(os.urandom(1_000))
    rpdrive.ok("backup", source, "--item", "home")
    points = [point for point in rpdrive.json("points")["points"] if point["item"] == "home"]
    assert sorted(point["sequence"] for point in points) == [1, 2]
    packs = {info.name: info.size for info in vault.store.list("packs/")}
    assert sum(packs.values()) < 4 * 32 * MIB + 4 * MIB  # nothing was stored twice
    rpdrive.ok("prune")
    rpdrive.ok("check", "--level", "1")


def test_given_up_and_sent(tmp_path: Path, usb: list[Path], rpdrive: Cli, vault: Vault) -> None:
    """The second disk is lost: what was on the first one is not sent again, but for what no index object lists."""
    source = make_source(tmp_path / "source")
    rpdrive.ok("seed", "start", "--disk", usb[0])
    assert rpdrive.run("backup", source).returncode == 5
    rpdrive.ok("seed", "add-disk", usb[1])
    rpdrive.ok("backup", source)
    rpdrive.ok("seed", "close")
    rpdrive.ok("seed", "import", "--partial", usb[0], env={"RPDRIVE_PASSPHRASE": None})
    assert rpdrive.json("points")["points"] == []
    rpdrive.ok("seed", "abandon")
    rpdrive.ok("backup", source)
    late = rpdrive.run("seed", "import", *usb)
    assert late.returncode == 4 and b"has ended" in late.stderr, late
    rpdrive.ok("check", "--level", "3")
    rpdrive.ok("restore", "latest", "--to", tmp_path / "restored")
    (found,) = [path.parent for path in (tmp_path / "restored").rglob("large-0")]
    compare(source, found)
