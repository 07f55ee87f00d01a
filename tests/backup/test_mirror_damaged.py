"""The mirror of the index is damaged: no point ever refers to wrong bytes, and no run fails."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from backup.mirrorfile import Marks
from catalog.format.packs import BlockRow
from catalog.store.memory import MemoryStore
from tests.kit.protected import Protected
from tests.kit.recorded import Snapshot, assert_equal, of_source

FILES = 500


class World:
    """A machine with one point of many small files, and its state; the source has each file twice by now."""

    def __init__(self, folder: Path) -> None:
        rng = random.Random(5)
        self.source = folder / "source"
        self.source.mkdir()
        for n in range(FILES):
            (self.source / f"f{n}").write_bytes(rng.randbytes(200))
        self.memory, self.state = MemoryStore(), folder / "state"
        self.machine = Protected(self.memory, self.state)
        self.machine.checked(self.source)
        self._objects = dict(self.memory.objects)
        (self.mirror,) = self.state.glob("index-*.sqlite")
        with closing(sqlite3.connect(self.mirror)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.good = self.mirror.read_bytes()
        self._files = {f: f.read_bytes() for f in self.state.iterdir() if "index-" not in f.name}
        shutil.copytree(self.source, folder / "copy")
        (folder / "copy").rename(self.source / "copy")
        self.want: Snapshot = of_source(self.source)

    def back_up_with(self, mirror: bytes) -> int:
        """A backup with this mirror, from the same state each time: its point must be whole. Bytes sent again."""
        self.memory.objects = dict(self._objects)
        for file in self.state.iterdir():
            file.unlink()
        for file, data in self._files.items():
            file.write_bytes(data)
        self.mirror.write_bytes(mirror)
        outcome = self.machine.backup(self.source)
        assert outcome.point is not None
        assert_equal(self.machine.snapshot(outcome.point, self.source), self.want)
        return outcome.progress.sent.new_bytes


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def flipped(world: World, times: int) -> Counter[str]:
    rng, found = random.Random(7), Counter[str]()
    for _ in range(times):
        data = bytearray(world.good)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        sent = world.back_up_with(bytes(data))
        found["nothing" if sent == 0 else "a part" if sent < FILES * 200 else "everything"] += 1
    return found


def test_one_bit_of_the_mirror_flips(world: World) -> None:
    assert world.back_up_with(world.good) == 0
    assert flipped(world, 20)["nothing"] < 20


@pytest.mark.slow
@pytest.mark.parametrize("count", [100, pytest.param(300, marks=pytest.mark.soak)])
def test_single_bits_flip(world: World, count: int) -> None:
    """SQLite has no checksums: without the rows' own, 25 of 300 made a point that could not be read."""
    found = flipped(world, count)
    assert found["a part"] > count // 30, found


def cut(data: bytes) -> bytes:
    return data[: len(data) // 3]


def no_header(data: bytes) -> bytes:
    return b"SQLite format 4?" + data[16:]


def bad_page(data: bytes) -> bytes:
    """Every second page of the file is other bytes."""
    pages = [data[n : n + 4096] for n in range(0, len(data), 4096)]
    return b"".join(b"\x5a" * 4096 if n % 2 and n > 1 else page for n, page in enumerate(pages))


def bad_schema(data: bytes) -> bytes:
    return data.replace(b"CREATE TABLE chunks", b"CREATE TABLE chinks").replace(b"chunks", b"chonks", 2)


def schema_that_is_no_text(data: bytes) -> bytes:
    """SQLite quotes it in its message: sqlite3 raises UnicodeDecodeError."""
    return data.replace(b"CREATE TABLE chunks", b"CR\xd5ATE TABLE chunks")


def written_for_later_ones(data: bytes) -> bytes:
    """The header says that only a later SQLite may write to the file: to this one it is read-only."""
    return data[:18] + b"\xff" + data[19:]


def empty(data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize(
    "spoil", [cut, no_header, bad_page, bad_schema, schema_that_is_no_text, written_for_later_ones, empty]
)
def test_a_malformed_mirror_is_made_anew(world: World, spoil: Callable[[bytes], bytes]) -> None:
    assert world.back_up_with(spoil(world.good)) == 0
    (world.source / "new").write_bytes(b"new")
    assert world.machine.checked(world.source).progress.sent.new_bytes == 3


def test_a_mirror_that_is_no_file(world: World) -> None:
    """What can't be made anew is an error of this machine, in one line."""
    from catalog.errors import LocalError

    world.mirror.unlink()
    world.mirror.mkdir()
    with pytest.raises(LocalError, match=r"the index mirror .* can't be opened"):
        world.machine.backup(world.source)


def test_rows_of_another_vault_or_key_are_no_rows(world: World) -> None:
    """A row that was changed on purpose, without the vault's keys, fails its check like one that rotted."""
    with closing(sqlite3.connect(world.mirror)) as db:
        rows = db.execute("SELECT id FROM chunks ORDER BY id LIMIT 2").fetchall()
        place = db.execute(
            "SELECT pack, offset, stored, place, length FROM chunks WHERE id = ?", rows[0]
        ).fetchone()
        db.execute(
            "UPDATE chunks SET pack = ?, offset = ?, stored = ?, place = ?, length = ? WHERE id = ?",
            (*place, *rows[1]),
        )
        db.execute("UPDATE chunks SET offset = 'text' WHERE id = (SELECT max(id) FROM chunks)")
        db.commit()
    outcome = world.machine.backup(world.source)
    assert outcome.point is not None
    assert_equal(world.machine.snapshot(outcome.point, world.source), world.want)
    assert outcome.progress.sent.new_bytes == 400


def test_marks_miss_no_chunk() -> None:
    marks, ids = Marks(), random.Random(7).randbytes(16 * 40_000)
    marks.add([BlockRow(0, 1, [1] * 20_000, ids[: 16 * 20_000])])
    found = [marks.may_have(ids[n : n + 16]) for n in range(0, len(ids), 16)]
    assert all(found[:20_000]) and sum(found[20_000:]) < 100
