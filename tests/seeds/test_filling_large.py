"""Seeds of a million objects in bounded memory; disks that are real file systems, and the real command."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from catalog.seeds.disk import read_seed_file
from catalog.vault import Vault
from tests.kit.cli import ROOT, Cli
from tests.kit.loops import mounted
from tests.kit.protected import PointReader, assert_equal, of_source

MIB = 1 << 20


def measured(folder: Path, objects: int) -> int:
    """KiB that listing a seed of so many objects takes."""
    command: list[str | Path] = [sys.executable, "-m", "tests.kit.seed_memory", folder, str(objects)]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)


def test_memory_does_not_grow_with_the_seed(tmp_path: Path) -> None:
    assert measured(tmp_path, 30_000) < 12 << 10


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_million_objects(tmp_path: Path) -> None:
    assert measured(tmp_path, 1_000_000) < 16 << 10


@pytest.mark.soak
@pytest.mark.needs_root
@pytest.mark.timeout(600)
def test_two_real_disks(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    """By the real command: ext4 on loop devices, a backup larger than one of them, one unmounted in the middle."""
    source = tmp_path / "source"
    source.mkdir()
    for n in range(12):
        (source / f"file-{n}").write_bytes(os.urandom(12 * MIB))
    one, two = mounted(tmp_path / "usb1", "ext4", 100 * MIB), mounted(tmp_path / "usb2", "ext4", 200 * MIB)
    with one as first, two as second:
        rpdrive.ok("seed", "start", "--disk", first / "seed", "--label", "red")
        assert "is not empty" in rpdrive.fails("seed", "add-disk", first, code=2)
        assert "add-disk" in rpdrive.fails("backup", source, "--item", "home", code=5)
        on_first = sorted(p.name for p in (first / "seed" / "packs").rglob("*") if p.is_file())
        assert on_first
        rpdrive.ok("seed", "add-disk", second, "--label", "blue")
        interrupted = subprocess.Popen(
            rpdrive.slow_command("backup", source, "--item", "home"), env=rpdrive.environ, stderr=subprocess.PIPE
        )
        while not any(path.is_file() for path in second.glob("packs/*/*/*")):
            assert interrupted.poll() is None
            time.sleep(0.05)
        subprocess.run(["umount", "-l", second], check=True)
        _out, said = interrupted.communicate(timeout=60)
        assert interrupted.returncode == 5 and b"Traceback" not in said, said
        assert not list(second.iterdir())
        subprocess.run(["mount", "-o", "loop", tmp_path / "usb2.img", second], check=True)
        rpdrive.ok("backup", source, "--item", "home")
        assert "no recovery points" in rpdrive.ok("points")
        rpdrive.ok("seed", "close")
        rpdrive.fails("backup", source, "--item", "home", code=13)
        status = rpdrive.json("seed", "status")["seed"]
        assert status["stage"] == "closed" and [disk["label"] for disk in status["disks"]] == ["red", "blue"]
        assert [disk["arrived"] for disk in status["disks"]] == [0, 0]
        file = read_seed_file(first / "seed")
        assert file is not None and file.row.objects >= len(on_first)
        rpdrive.ok("seed", "import", first / "seed", second)
        (name,) = vault.point_names()
        assert_equal(PointReader(vault).snapshot(vault.point(name), source), of_source(source))
        same = 12 + len(source.parts) - 1  # the files, and the folders on the way
        assert f"0 new, 0 changed, 0 removed, {same} unchanged" in rpdrive.ok("backup", source, "--item", "home")
