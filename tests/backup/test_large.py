"""Files of any size and shape: holes, many pieces, insertions; and the memory that a backup takes."""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from backup.attempt import Attempt
from catalog.format.packs import Extent
from catalog.format.values import Hole, Paged, Piece
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.tree import Pieces, walk
from tests.kit.cli import Cli
from tests.kit.protected import Protected
from tests.kit.recorded import PointReader

pytestmark = pytest.mark.slow

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
LIMIT = 400 << 20  # bytes of memory


@pytest.fixture
def machine(tmp_path: Path) -> Protected:
    return Protected(MemoryStore(), tmp_path / "state")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def contents(machine: Protected, name: bytes) -> tuple[list[Piece] | Paged, list[Piece]]:
    """The content of a file's entry in the newest point, and all its pieces."""
    vault = machine.vault
    point = vault.point(max(vault.point_names(), key=lambda n: n.sequence))
    assert point.root is not None
    reader = PointReader(vault)
    for path, (entry, leaf, _n) in walk(reader, point.root.subtree()):
        if path.endswith(b"/" + name):
            content = leaf.pieces(entry)
            return content, list(Pieces(reader, content).all())
    raise AssertionError(name)


def sparse(path: Path, size: int, *data: tuple[int, int]) -> None:
    """A file of `size` bytes, with holes everywhere but at `data`: (offset, length)."""
    rng = random.Random(size)
    with path.open("wb") as f:
        f.truncate(size)
        for offset, length in data:
            f.seek(offset)
            f.write(rng.randbytes(length))


SHAPES: dict[str, tuple[int, tuple[tuple[int, int], ...]]] = {
    "whole": (3 * MIB, ()),
    "whole, tiny": (5 * KIB, ()),
    "start": (3 * MIB, ((2 * MIB, MIB),)),
    "end": (3 * MIB, ((0, MIB),)),
    "middle": (3 * MIB, ((0, 4 * KIB), (3 * MIB - 4 * KIB, 4 * KIB))),
    "tiny": (100 * KIB, ((64 * KIB, 4 * KIB),)),
    "end not at a block": (3 * MIB + 17, ((MIB, 5),)),
    "alternating": (4 * MIB, tuple((n * 64 * KIB, 4 * KIB) for n in range(64))),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_holes(machine: Protected, folder: Path, shape: str) -> None:
    size, data = SHAPES[shape]
    sparse(folder / "file", size, *data)
    allocated = (folder / "file").stat().st_blocks * 512
    assert allocated < size
    outcome = machine.checked(folder)
    _content, pieces = contents(machine, b"file")
    holes = sum(p.length for p in pieces if isinstance(p, Hole))
    assert size - allocated <= holes < size + 1
    assert sum(p.length for p in pieces) == size
    assert outcome.progress.read_bytes == size - holes
    assert not any(isinstance(a, Hole) and isinstance(b, Hole) for a, b in pairwise(pieces))


def test_fallocated(machine: Protected, folder: Path) -> None:
    subprocess.run(["fallocate", "-l", "3M", folder / "file"], check=True)
    with (folder / "file").open("r+b") as f:
        f.seek(MIB)
        f.write(b"data")
    subprocess.run(["fallocate", "-p", "-o", "2M", "-l", "512K", folder / "file"], check=True)
    machine.checked(folder)


def test_sparse_image(machine: Protected, folder: Path) -> None:
    """A file of 10 GiB with little data takes little room and time."""
    sparse(folder / "image", 10 * GIB, (0, MIB), (3 * GIB + 512, 200 * KIB), (10 * GIB - MIB, MIB))
    outcome = machine.backup(folder)
    _content, pieces = contents(machine, b"image")
    assert sum(p.length for p in pieces) == 10 * GIB
    assert sum(p.length for p in pieces if isinstance(p, Extent)) < 3 * MIB
    assert outcome.progress.read_bytes < 3 * MIB
    assert outcome.totals.bytes == 10 * GIB
    reader = PointReader(machine.vault)
    at = 0
    with (folder / "image").open("rb") as f:
        for piece in pieces:
            if isinstance(piece, Extent):
                f.seek(at)
                assert reader.data(piece) == f.read(piece.length)
            at += piece.length
    with (folder / "image").open("r+b") as f:
        f.seek(5 * GIB)
        f.write(b"new")
    outcome = machine.backup(folder)
    assert outcome.progress.sent.new_bytes <= 8 * KIB


@pytest.mark.parametrize("count", [31, 33, 1_023, 1_100, 3_000])
def test_many_pieces(machine: Protected, folder: Path, count: int) -> None:
    """More than 32 pieces are in pages; a change in the middle rewrites few of these."""
    step = 8 * KIB
    sparse(folder / "file", count * step, *((n * step, 4 * KIB) for n in range(0, count, 2)))
    machine.checked(folder)
    content, pieces = contents(machine, b"file")
    assert isinstance(content, Paged) == (len(pieces) > 32)
    assert abs(len(pieces) - count) <= 1
    with (folder / "file").open("r+b") as f:
        f.seek(count // 2 // 2 * 2 * step)
        f.write(b"other")
    time.sleep(0.03)
    outcome = machine.checked(folder)
    assert outcome.progress.sent.new_bytes <= 4 * KIB
    assert outcome.progress.sent.tree_bytes < 150 * KIB
    (folder / "another").touch()
    assert machine.checked(folder).progress.read_bytes == 0


def test_insertion_at_the_front(machine: Protected, folder: Path) -> None:
    data = random.Random(2).randbytes(100 * MIB)
    (folder / "file").write_bytes(data)
    machine.checked(folder)
    (folder / "file").write_bytes(b"x" * 100 + data)
    sent = machine.checked(folder).progress.sent
    assert sent.data_bytes + sent.tree_bytes < 4 * MIB


def test_large_link_is_read_once(machine: Protected, folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "file").write_bytes(random.Random(2).randbytes(40 * MIB))
    for n in range(5):
        os.link(folder / "a" / "file", folder / f"link {n}")
    time.sleep(0.03)
    assert machine.checked(folder).progress.read_bytes == 40 * MIB
    os.link(folder / "a" / "file", folder / "link 5")
    outcome = machine.checked(folder)
    assert outcome.progress.read_bytes == 40 * MIB
    assert outcome.progress.sent.data_bytes == 0


def test_equal_files_are_stored_once(machine: Protected, folder: Path) -> None:
    data = random.Random(2).randbytes(10 * MIB)
    for n in range(4):
        (folder / f"file {n}").write_bytes(data)
        (folder / f"small {n}").write_bytes(data[:1000])
    assert machine.checked(folder).progress.sent.new_bytes == 10 * MIB + 1000


def test_renamed_folder_sends_no_data(machine: Protected, folder: Path) -> None:
    (folder / "old").mkdir()
    for n in range(2_000):
        (folder / "old" / f"file {n}").write_bytes(b"%d" % n * 50)
    machine.checked(folder)
    (folder / "old").rename(folder / "new")
    assert machine.checked(folder).progress.sent.data_bytes == 0


# --- memory ---------------------------------------------------------------------------------------------------


def peak(cli: Cli, *args: str | Path) -> int:
    """Run a command that must succeed. Returns its peak memory in bytes."""
    code = (
        "import re, sys, rpdrive; status = rpdrive.run(sys.argv[1:]); "
        "print('\\npeak', re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]); sys.exit(status)"
    )
    command: list[Any] = [cli.command()[0], "-c", code, *args]
    done = subprocess.run(command, env=cli.environ, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 0, done
    found = re.search(rb"\npeak (\d+)\n", done.stdout)
    assert found, done
    print(f"{int(found[1]) // 1024} MiB")
    return int(found[1]) * 1024


@pytest.mark.parametrize("count", [40_000, pytest.param(300_000, marks=pytest.mark.soak)])
@pytest.mark.usefixtures("vault")
def test_memory_for_many_empty_files(rpdrive: Cli, folder: Path, count: int) -> None:
    for n in range(count):
        os.close(os.open(folder / f"a name of some length {n}", os.O_CREAT | os.O_WRONLY))
    first = peak(rpdrive, "backup", folder)
    assert first < LIMIT
    (folder / "another").touch()
    assert peak(rpdrive, "backup", folder) < LIMIT
    row = rpdrive.json("backup", folder)
    assert row["tree_bytes"] == 0


@pytest.mark.soak
@pytest.mark.usefixtures("vault")
def test_memory_for_many_tiny_files(rpdrive: Cli, folder: Path) -> None:
    rng = random.Random(1)
    for n in range(100_000):
        with (folder / f"{n}").open("wb") as f:
            f.write(rng.randbytes(rng.randrange(10, 100)))
    assert peak(rpdrive, "backup", folder) < LIMIT
    assert peak(rpdrive, "backup", folder) < LIMIT


@pytest.mark.soak
@pytest.mark.usefixtures("vault")
def test_memory_for_a_large_file(rpdrive: Cli, folder: Path) -> None:
    with (folder / "file").open("wb") as f:
        for n in range(64):
            f.write(random.Random(n).randbytes(32 * MIB))
    assert peak(rpdrive, "backup", folder) < LIMIT


@pytest.mark.soak
@pytest.mark.usefixtures("vault")
def test_memory_for_many_links(rpdrive: Cli, folder: Path) -> None:
    """Files with links outside of the given paths are remembered to the end."""
    (folder.parent / "outside").mkdir()
    for n in range(100_000):
        path = folder / f"{n}"
        path.write_bytes(b"%d" % n)
        os.link(path, folder.parent / "outside" / f"{n}")
    assert peak(rpdrive, "backup", folder) < LIMIT
    assert peak(rpdrive, "backup", folder) < LIMIT


def test_requests_of_an_unchanged_backup(machine: Protected, folder: Path) -> None:
    for n in range(5_000):
        (folder / f"file {n}").write_bytes(b"%d" % n)
    time.sleep(0.03)
    machine.checked(folder)
    meter = MeteredStore(machine.store)
    machine.store = meter
    outcome = machine.backup(folder)
    assert outcome.record_bytes < 16 * KIB
    assert meter.snapshot().requests < 20


def test_progress_within_a_large_file(machine: Protected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, size = tmp_path / "source", 24 << 20
    folder.mkdir()
    (folder / "file").write_bytes(random.Random(5).randbytes(size))
    seen: list[int] = []
    plain = Attempt.tick

    def tick(self: Attempt[Any, Any, Any]) -> None:
        seen.append(self.progress.done)
        plain(self)

    monkeypatch.setattr(Attempt, "tick", tick)
    done = machine.backup(folder).progress
    assert done.done == done.size == size
    assert seen == sorted(seen) and seen[0] < size / 2 and len(set(seen)) > 3, seen
