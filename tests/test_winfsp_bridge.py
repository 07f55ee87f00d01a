"""File systems for WinFsp on the bridge: mounted here, and looked at by the programs that people trust."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_winfsp_standin import Memfs
from tests.winfsp.bridge import Bridge, Mounted


@pytest.fixture
def folder(winfsp: None, tmp_path: Path) -> Iterator[tuple[Memfs, Path]]:
    """memfs, mounted here."""
    place = tmp_path / "memfs"
    place.mkdir()
    with Memfs(case_preserved_names=1) as memfs, Mounted(Bridge(memfs.caller), place):
        yield memfs, place


def diff(one: Path, other: Path) -> list[str]:
    command = ["diff", "-r", "--no-dereference", one, other]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_tree_copied_onto_memfs_and_off_it_again(folder: tuple[Memfs, Path], tmp_path: Path) -> None:
    memfs, mounted = folder
    chance = random.Random(3)
    source = tmp_path / "source"
    for number in range(120):
        path = source / f"folder {number % 7}" / f"файл {number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.choice([0, 1, 4095, 4096, 70_000])))
    (source / "empty").mkdir()
    shutil.copytree(source, mounted / "copy", copy_function=shutil.copyfile)
    assert diff(source, mounted / "copy") == []
    expected = {"\\copy": None} | {
        "\\copy\\" + str(path.relative_to(source)).replace("/", "\\"): None if path.is_dir() else path.read_bytes()
        for path in source.rglob("*")
    }
    assert memfs.held() == expected
    (mounted / "copy" / "folder 1" / "файл 1.bin").write_bytes(b"changed")
    assert len(diff(source, mounted / "copy")) == 1


def test_renaming_deleting_and_times(folder: tuple[Memfs, Path]) -> None:
    _memfs, mounted = folder
    (mounted / "a").write_bytes(b"content")
    (mounted / "a").rename(mounted / "b")
    os.utime(mounted / "b", ns=(10**18 + 100, 10**18 + 200))
    assert (mounted / "b").stat().st_mtime_ns == 10**18 + 200
    with (mounted / "b").open("r+b") as file:
        file.truncate(3)
        file.seek(0, os.SEEK_END)
        file.write(b"!")
    assert (mounted / "b").read_bytes() == b"con!"
    (mounted / "f").mkdir()
    (mounted / "f" / "c").touch()
    with pytest.raises(OSError, match="not empty"):
        (mounted / "f").rmdir()
    shutil.rmtree(mounted / "f")
    assert os.listdir(mounted) == ["b"]
    with pytest.raises(FileNotFoundError):
        (mounted / "a").stat()
    with pytest.raises(FileExistsError):
        (mounted / "b").mkdir()
