"""Descriptors of folders stay open while they are used, whatever other threads open and close meanwhile."""

from __future__ import annotations

import ast
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mount.restore
from mount.restore.disk.posix import PosixDisk
from mount.restore.folder_table import FolderTable
from mount.restore.target import Target


class MeetingDisk(PosixDisk):
    """Lets two threads open the same folder at the same time: each waits until the other has opened it, too."""

    def __init__(self) -> None:
        self.meeting = threading.Barrier(2, timeout=60)
        self.waits = False

    def open(self, *args: Any, **options: Any) -> int:
        fd = os.open(*args, **options)
        if self.waits:
            self.meeting.wait()
        return fd


def test_two_threads_that_open_a_folder_at_once(tmp_path: Path) -> None:
    """The one that came second closed the descriptor of the first: it wrote nowhere, or into another folder."""
    disk = MeetingDisk()
    target = Target(disk, os.fsencode(tmp_path), make=True)
    folder = FolderTable(target.root).add(target.root, b"folder")
    target.make(folder)
    target.close_folders()
    disk.waits = True
    found: list[tuple[int, int] | OSError] = []

    def use() -> None:
        try:
            with target.handle(folder) as fd:
                disk.meeting.wait()  # both have a descriptor
                st = os.fstat(fd)
                found.append((st.st_dev, st.st_ino))
                disk.meeting.wait()
        except OSError as e:
            found.append(e)
            disk.meeting.abort()

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    disk.waits = False
    st = (tmp_path / "folder").stat()
    assert found == [(st.st_dev, st.st_ino)] * 2
    target.close()


def test_a_descriptor_outlives_its_place_in_the_table(tmp_path: Path) -> None:
    target = Target(PosixDisk(), os.fsencode(tmp_path), make=True)
    folder = FolderTable(target.root).add(target.root, b"folder")
    target.make(folder)
    with target.handle(folder) as fd:
        target.close_folders()
        assert os.path.samestat(os.fstat(fd), (tmp_path / "folder").stat())
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    target.close()


def test_nobody_takes_a_descriptor_without_its_handle() -> None:
    """`handle(folder).fd` closes the descriptor before it is used, once the table drops it."""
    top = Path(mount.restore.__file__).parent
    assert [where for path in sorted(top.rglob("*.py")) for where in _bare(path)] == []


def _bare(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Attribute) and node.attr == "fd" and isinstance(node.value, ast.Call):
            yield f"{path.name}:{node.lineno}"
