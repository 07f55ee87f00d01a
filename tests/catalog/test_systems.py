"""What rpdrive asks of the system for its own files, on this one and, as far as it goes here, on Windows."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from catalog.systems.base import System
from catalog.systems.posix import PosixSystem
from catalog.systems.this import SYSTEM
from catalog.systems.windows import WindowsSystem

BOTH: list[System] = [PosixSystem(), WindowsSystem()]


@pytest.mark.parametrize("system", BOTH)
def test_pread_reads_from_any_offset_in_many_threads(system: System, tmp_path: Path) -> None:
    data = bytes(range(256)) * 64
    (tmp_path / "file").write_bytes(data)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        with ThreadPoolExecutor(4) as threads:
            offsets = [n * 37 % len(data) for n in range(400)]
            read = threads.map(lambda offset: system.pread(descriptor, 50, offset), offsets)
            assert list(read) == [data[offset : offset + 50] for offset in offsets]
    finally:
        os.close(descriptor)


def test_a_rename_never_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "taken").write_bytes(b"taken")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            SYSTEM.rename_new(b"old", b"taken", dir_fd=folder)
        with pytest.raises(FileNotFoundError):
            SYSTEM.rename_new(b"missing", b"new", dir_fd=folder)
        SYSTEM.rename_new(b"old", b"new", dir_fd=folder)
    finally:
        os.close(folder)
    SYSTEM.rename_new(tmp_path / "new", tmp_path / "newer")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"taken": b"taken", "newer": b"old"}


def test_posix_permissions_decide_what_is_private(tmp_path: Path) -> None:
    system = PosixSystem()
    tmp_path.chmod(0o750)
    assert system.is_own(tmp_path.stat()) and not system.is_private(tmp_path.stat())
    system.make_private(tmp_path, tmp_path.stat())
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700 and system.is_private(tmp_path.stat())


def test_windows_leaves_permissions_to_the_profile(tmp_path: Path) -> None:
    system = WindowsSystem()
    tmp_path.chmod(0o755)
    system.make_private(tmp_path, tmp_path.stat())
    system.sync_folder(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert system.is_own(tmp_path.stat()) and system.is_private(tmp_path.stat())
