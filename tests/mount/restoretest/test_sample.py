"""Files are chosen at random and without a walk, and their bytes compared piece by piece."""

from __future__ import annotations

import os
import platform
import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from cache.reader import Reader
from catalog.errors import Damaged
from catalog.format.packs import Extent
from catalog.format.pages import Entry
from catalog.format.records import Point
from catalog.format.values import Hole, Paged, Piece
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.tree import walk
from mount.restoretest.compare import compare, digest_of
from mount.restoretest.live import Live, compare_live, is_here
from mount.restoretest.sample import Lost, Sampled, sample, wanted
from tests.kit.drives import Maker, add_point
from tests.kit.vaultmaker import SmallFiles, open_empty


class Many:
    """A point of 2,000 small files in 20 folders."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.store = MeteredStore(self.memory)
        self.vault = open_empty(self.store)
        self.files = SmallFiles(self.vault, folders=20, each=100)
        self.point: Point = add_point(self.vault, self.files.root, 1)
        self.reader = Reader(self.vault, memory=8 << 20)

    def sample(self, count: int, seed: int = 1) -> list[Sampled | Lost]:
        return list(sample(self.reader, self.point, count, random.Random(seed)))


@pytest.fixture(scope="module")
def many() -> Many:
    return Many()


def test_every_file_can_be_chosen_and_none_twice(many: Many) -> None:
    found = many.sample(2000)
    assert all(isinstance(one, Sampled) for one in found)
    assert sorted(one.path for one in found) == sorted(b"/".join(names) for names in many.files.contents)


def test_a_sample_takes_no_walk(many: Many) -> None:
    many = Many()
    before = many.store.snapshot()
    found = many.sample(10)
    spent = many.store.snapshot() - before
    assert len({one.path for one in found}) == 10
    assert spent.requests <= 12
    assert {one.path for one in many.sample(10, seed=2)} != {one.path for one in found}


def test_files_are_found_among_many_folders() -> None:
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    folders = [maker.folder(b"%03d" % n, [maker.folder(b"x", [])]) for n in range(300)]
    root = maker.root([*folders, maker.file(b"only", b"content")])
    point = add_point(vault, root, 1)
    for seed in range(3):
        found = list(sample(Reader(vault), point, 20, random.Random(seed)))
        assert [one.path for one in found] == [b"only"]


def test_an_empty_point_has_no_files() -> None:
    vault = open_empty(MemoryStore())
    assert list(sample(Reader(vault), add_point(vault, None, 1), 5, random.Random(1))) == []


def test_how_many() -> None:
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    point = add_point(vault, maker.root([maker.file(b"%03d" % n, b"x") for n in range(150)]), 1)
    assert wanted(point, 20, None) == 20
    assert wanted(point, 999, None) == 150
    assert wanted(point, None, 1) == 2
    assert wanted(point, None, 100) == 150
    assert wanted(point, None, 0.001) == 1
    assert wanted(add_point(vault, None, 2), 20, 50) == 0


def test_an_unreadable_page_is_a_lost_entry() -> None:
    many = Many()
    for name in [i.name for i in many.memory.list("meta/")]:
        data = many.memory.objects[name]
        many.memory.objects[name] = data[:12] + bytes([data[12] ^ 1]) + data[13:]
    found = many.sample(20)
    assert any(isinstance(one, Lost) for one in found)
    assert all("block" in str(one.error) for one in found if isinstance(one, Lost))


class Filed:
    """A point with one file of these parts."""

    def __init__(self, *parts: bytes | int, pages: bool = False) -> None:
        self.vault = open_empty(MemoryStore())
        maker = Maker(self.vault)
        node = maker.file(b"file", *parts)
        if pages:
            assert isinstance(node.content, list)
            pieces: list[Piece] = [p for p in node.content if isinstance(p, Extent | Hole)]
            node.content = maker.trees.pieces(pieces)
            assert isinstance(node.content, Paged)
        root = maker.root([node])
        self.reader = Reader(self.vault)
        ((_path, found),) = list(walk(self.reader, root))
        self.entry: Entry = found.entry
        self.content = found.leaf.pieces(found.entry)
        self.bytes = b"".join(bytes(p) if isinstance(p, int) else p for p in parts)
        self.sampled = Sampled(b"file", self.entry, self.content)

    def compare(self, data: bytes) -> bytes:
        return compare(
            self.vault.keys, self.reader, self.content, self.entry.size, lambda at, n: data[at : at + n]
        ).digest


PARTS: list[tuple[bytes | int, ...]] = [
    (),
    (b"content",),
    (b"a" * 5000, 9 << 20, b"b" * 300, 1000),
    tuple(b"%d" % n for n in range(40)),
]


@pytest.mark.parametrize("parts", PARTS, ids=len)
def test_the_same_bytes_are_the_file(parts: tuple[bytes | int, ...]) -> None:
    file = Filed(*parts, pages=len(parts) > 32)
    assert file.compare(file.bytes) == digest_of(file.reader, file.content)
    opened = file.reader.open(file.content, file.entry.size)
    assert compare(file.vault.keys, file.reader, file.content, file.entry.size, opened.read).size == len(file.bytes)


@pytest.mark.parametrize("parts", PARTS, ids=len)
def test_any_other_bytes_are_not(parts: tuple[bytes | int, ...]) -> None:
    file, rng = Filed(*parts, pages=len(parts) > 32), random.Random(1)
    wrong = [file.bytes + b"x", file.bytes[:-1]] if file.bytes else [b"x"]
    for _ in range(20 if file.bytes else 0):
        at = rng.randrange(len(file.bytes))
        wrong.append(file.bytes[:at] + bytes([file.bytes[at] ^ 1]) + file.bytes[at + 1 :])
    for data in wrong:
        with pytest.raises(Damaged):
            file.compare(data)


def of_status(file: Filed, path: Path) -> Sampled:
    """The file as saved from this path."""
    s = path.stat()
    entry = replace(file.entry, size=s.st_size, mtime=s.st_mtime_ns, ctime=s.st_ctime_ns, inode=s.st_ino)
    return Sampled(os.fsencode(path)[1:], entry, file.content)


def test_a_file_here_counts_only_if_it_is_unchanged(tmp_path: Path) -> None:
    file, path = Filed(b"content"), tmp_path / "file"
    path.write_bytes(b"content")
    saved = of_status(file, path)

    def live(one: Sampled) -> Live:
        return compare_live(file.vault.keys, file.reader, one)

    assert live(saved) is Live.SAME
    for changed in ("mtime", "ctime", "inode", "size"):
        assert live(saved._replace(entry=replace(saved.entry, **{changed: getattr(saved.entry, changed) + 1}))) is (
            Live.CHANGED
        )
    path.write_bytes(b"CONTENT")  # the disk has rotted: what was saved had these times
    assert live(of_status(file, path)) is Live.DIFFERS
    path.unlink()
    assert live(saved) is Live.CHANGED
    path.mkdir()
    assert live(of_status(file, path)) is Live.CHANGED
    path.rmdir()
    path.symlink_to("/etc/passwd")
    assert live(saved) is Live.CHANGED


def test_only_points_of_this_machine_are_compared_with_it() -> None:
    vault = open_empty(MemoryStore())
    here, there = os.urandom(16), os.urandom(16)
    for system, own, machine, wanted_answer in (
        (platform.system(), here, here, platform.system() != "Windows"),
        (platform.system(), here, there, False),
        (platform.system(), None, here, False),
        ("Plan9", here, here, False),
    ):
        point = add_point(vault, None, 1, machine=machine, system=system)
        assert is_here(point, own) is wanted_answer
