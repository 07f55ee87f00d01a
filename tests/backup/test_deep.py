"""Folders nested deeper than Python's calls, and the state of the process after a backup."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.systems.posix import PosixSystem
from catalog.format.values import NodeKind
from catalog.store.memory import MemoryStore
from catalog.tree import walk
from tests.kit.descriptors import descriptors
from tests.kit.protected import Protected
from tests.kit.recorded import PointReader

LEVELS = 4_000  # paths of 8 kB; Python's recursion limit is 1,000, and a walk goes 4,096 folders deep


def descend(top: Path, *, make: bool) -> int:
    """A descriptor of the lowest folder, which no path can name. The caller closes it."""
    at = os.open(top, os.O_RDONLY)
    for _ in range(LEVELS):
        if make:
            os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    return at


def write(top: Path, name: str, data: bytes) -> None:
    bottom = descend(top, make=False)
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=bottom)
    os.write(file, data)
    os.close(file)
    os.close(bottom)


@pytest.fixture
def deep() -> Iterator[Path]:
    """On tmpfs, where so many folders are created and removed quickly."""
    top = Path(tempfile.mkdtemp(dir="/dev/shm"))
    os.close(descend(top, make=True))
    yield top
    subprocess.run(["rm", "-rf", top], check=True)  # shutil.rmtree recurses


def entries(machine: Protected) -> dict[bytes, int]:
    """The kinds of all entries of the newest point, by path."""
    vault = machine.vault
    point = vault.point(max(vault.point_names(), key=lambda n: n.sequence))
    assert point.root is not None
    return {found.path: found.found.entry.kind for found in walk(PointReader(vault), point.root.subtree())}


@pytest.mark.parametrize("partial_seconds", [900.0, 0.0])
def test_four_thousand_nested_folders(tmp_path: Path, deep: Path, partial_seconds: float) -> None:
    machine = Protected(MemoryStore(), tmp_path / "state", partial_seconds=partial_seconds)
    limit, before = sys.getrecursionlimit(), descriptors()
    above = os.fsencode(deep).strip(b"/")
    bottom = above + b"/d" * LEVELS
    first = machine.backup(deep)
    assert first.problems == []
    found = entries(machine)
    assert found[bottom] == NodeKind.FOLDER
    assert len(found) == LEVELS + above.count(b"/") + 1
    # A change at the bottom, below unchanged folders only.
    write(deep, "file", b"at the bottom")
    second = machine.backup(deep)
    assert (second.problems, second.progress.new) == ([], 1)
    assert entries(machine) == found | {bottom + b"/file": NodeKind.FILE}
    time.sleep(0.1)  # a file that is newer than a step of the clock is read again
    assert machine.backup(deep).progress.new == 0
    third = machine.backup(deep)
    assert (third.problems, third.progress.new, third.progress.changed) == ([], 0, 0)
    assert third.progress.unchanged == len(found) + 1
    assert sys.getrecursionlimit() == limit
    assert descriptors() == before


def test_folders_are_closed_when_the_walk_breaks_off(
    tmp_path: Path, deep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Protected(MemoryStore(), tmp_path / "state")
    write(deep, "file", b"at the bottom")
    before = descriptors()

    def stop(system: PosixSystem, name: bytes, parent: int) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(PosixSystem, "open_file", stop)
    with pytest.raises(KeyboardInterrupt):
        machine.backup(deep)
    assert descriptors() == before
