"""Small files are opened before their turn, a bounded number of them, and read in the order of the walk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backup.ahead import Ahead
from backup.systems.posix import PosixSystem
from catalog.format.blocks import PackKind
from catalog.store.memory import MemoryStore
from tests.kit.protected import Protected, assert_equal, extents_of, of_source

pytestmark = pytest.mark.skipif(not PosixSystem.opens_ahead, reason="the system has no such call")


def test_actions_keep_their_order() -> None:
    done: list[int] = []
    ahead = Ahead[int](done.append, 4096)
    assert not ahead.is_behind
    for n in range(200):
        ahead.put(lambda n=n: done.append(n), n, 10)  # type: ignore[misc]
        assert n + 1 - len(done) == min(n + 1, 32)
    assert ahead.is_behind and not ahead.is_running
    ahead.settle()
    assert done == list(range(200)) and not ahead.is_behind


def test_few_bytes_and_few_actions_wait() -> None:
    done: list[int] = []
    ahead = Ahead[int](done.append, 4096)
    for n in range(20):
        ahead.put(lambda n=n: done.append(n), n, 4 << 20)  # type: ignore[misc]
    assert done == list(range(16))
    for n in range(600):
        ahead.put(lambda n=n: done.append(n))  # type: ignore[misc]
    assert done == [*range(20), *range(88)]


def test_an_action_settles_nothing_and_files_are_closed_if_one_fails() -> None:
    closed: list[int] = []
    ahead = Ahead[int](closed.append, 4096)
    seen: list[bool] = []

    def act() -> None:
        ahead.settle()
        seen.append(ahead.is_running and not ahead.is_behind)

    def fail() -> None:
        raise ValueError("lost")

    ahead.put(act, 1)
    ahead.put(act)
    ahead.put(fail, 2)
    ahead.put(act, 3)
    ahead.put(act, 4)
    with pytest.raises(ValueError, match="lost"):
        ahead.settle()
    assert seen == [True, True] and not ahead.is_running
    ahead.close()
    assert closed == [3, 4] and len(seen) == 2


# --- backups --------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path) -> Protected:
    return Protected(MemoryStore(), tmp_path / "state")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Folders of few and of many small files, links among them."""
    for folder in range(6):
        inner = tmp_path / "source" / f"{folder}" / "inner"
        inner.mkdir(parents=True)
        for number in range(50 if folder == 3 else 4):
            (inner / f"f{number:02}").write_bytes(f"{folder} {number} ".encode() * (number + 100))
        (inner / "f01-link").symlink_to("f01")
        os.link(inner / "f02", inner.parent / "z-linked")
        (inner.parent / "a-first").write_bytes(os.urandom(2000))
    return tmp_path / "source"


@contextmanager
def open_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many files are open each time one is read."""
    opened: set[int] = set()
    counts: list[int] = []
    originals = PosixSystem.open_file, PosixSystem.close, PosixSystem.read_small

    def open_file(self: PosixSystem, name: bytes, parent: int) -> int:
        file = originals[0](self, name, parent)
        opened.add(file)
        return file

    def close(file: int) -> None:
        opened.discard(file)
        originals[1](file)

    def read_small(file: int, size: int, most: int) -> bytes:
        counts.append(len(opened))
        return originals[2](file, size, most)

    with monkeypatch.context() as patched:
        patched.setattr(PosixSystem, "open_file", open_file)
        patched.setattr(PosixSystem, "close", staticmethod(close))
        patched.setattr(PosixSystem, "read_small", staticmethod(read_small))
        yield counts
    assert not opened


def test_the_order_of_chunks_is_that_of_the_walk(
    machine: Protected, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_files(monkeypatch) as counts:
        machine.checked(source)
    assert max(counts) == 33  # with the one that made room
    files = sorted((p for p in source.rglob("*") if p.is_file() and not p.is_symlink()), key=lambda p: p.parts)
    expected = list(dict.fromkeys(machine.vault.keys.chunk_id(p.read_bytes()) for p in files))
    (extents,) = extents_of(machine.vault, PackKind.DATA).values()
    assert [e.id for e in extents] == expected


def test_few_are_opened_ahead_where_few_files_may_be_open(
    machine: Protected, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PosixSystem, "raise_limits", staticmethod(lambda: 32))  # as for 64 open files
    with open_files(monkeypatch) as counts:
        machine.checked(source)
    assert max(counts) == 5  # with the one that made room


def test_the_same_tree_as_without(machine: Protected, source: Path, tmp_path: Path) -> None:
    machine.checked(source)
    plain = Protected(MemoryStore(), tmp_path / "plain")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PosixSystem, "opens_ahead", False)
        plain.checked(source)
    for kind in (PackKind.DATA, PackKind.TREE):
        ids = [[[e.id for e in pack] for pack in extents_of(m.vault, kind).values()] for m in (machine, plain)]
        assert len(ids[0]) == len(ids[1]) == 1
        if kind is PackKind.DATA:
            assert ids[0] == ids[1]
        else:
            assert len(ids[0][0]) == len(ids[1][0])


def test_what_happens_between_opening_and_reading(
    machine: Protected, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are saved as they are when they are read; one that can't be read then is a problem."""
    original = PosixSystem.read_small
    inner = source / "3" / "inner"
    odd = {(inner / name).stat().st_ino: name for name in ("f00", "f10", "f20", "f30")}
    acted: set[str] = set()

    def read_small(file: int, size: int, most: int) -> bytes:
        name = odd.get(os.fstat(file).st_ino, "")
        if name == "f10":
            raise OSError(5, "Input/output error")
        if name == "f00" and not acted:  # while f20 and f30 are open
            acted.add(name)
            (inner / "f20").write_bytes(b"short")
            (inner / "f30").write_bytes(b"long" * 100_000)
        return original(file, size, most)

    monkeypatch.setattr(PosixSystem, "read_small", staticmethod(read_small))
    outcome = machine.backup(source)
    assert [(p.path.rsplit(b"/", 1)[1], p.reason) for p in outcome.problems] == [
        (b"f10", "it can't be read: Input/output error")
    ]
    assert outcome.point is not None
    assert outcome.progress.new == outcome.progress.entries - 1
    assert_equal(machine.snapshot(outcome.point, source), of_source(source, (b"3/inner/f10",)))


def test_problems_are_listed_in_the_order_of_the_walk(
    machine: Protected, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, reading = PosixSystem.open_file, PosixSystem.read_small
    inner = source / "3" / "inner"
    unread = {(inner / f"f{n:02}").stat().st_ino for n in (3, 5, 44)}

    def open_file(self: PosixSystem, name: bytes, parent: int) -> int:
        if name in (b"f04", b"f40"):
            raise PermissionError(13, "Permission denied")
        return opening(self, name, parent)

    def read_small(file: int, size: int, most: int) -> bytes:
        if os.fstat(file).st_ino in unread:
            raise OSError(5, "Input/output error")
        return reading(file, size, most)

    monkeypatch.setattr(PosixSystem, "open_file", open_file)
    monkeypatch.setattr(PosixSystem, "read_small", staticmethod(read_small))
    outcome = machine.backup(inner)
    assert [p.path[-3:] for p in outcome.problems] == [b"f03", b"f04", b"f05", b"f40", b"f44"]


def test_partial_points_in_between_have_all_that_was_walked(
    machine: Protected, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.partial_seconds = 0.0
    for number in range(600):
        (source / "3" / "inner" / f"g{number:03}").write_bytes(b"%d" % number)
    with open_files(monkeypatch):
        machine.checked(source)
    assert len(list(machine.vault.store.list("points/"))) == 3


def test_a_folder_whose_only_files_cannot_be_read_has_nothing(
    machine: Protected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "asked"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"a")
    (folder / "b.log").write_bytes(b"b")

    def read_small(file: int, size: int, most: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(PosixSystem, "read_small", staticmethod(read_small))
    outcome = machine.backup(folder, excludes=("*.log",))
    assert [p.reason.split(":")[0] for p in outcome.problems] == ["it can't be read", "no file of it is saved"]


# --- what memory holds ----------------------------------------------------------------------------------------


def in_memory(path: Path) -> bool:
    """Whether the last page of a file is in the memory of the system."""
    with path.open("rb", buffering=0) as file:
        try:
            return os.preadv(file.fileno(), [bytearray(1)], path.stat().st_size - 1, os.RWF_NOWAIT) == 1
        except BlockingIOError:
            return False


def let_go(path: Path) -> None:
    with path.open("rb+", buffering=0) as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_a_large_file_leaves_no_trace_in_memory(machine: Protected, tmp_path: Path) -> None:
    """What others use stays there."""
    folder = tmp_path / "large"
    folder.mkdir()
    used, unused = folder / "used", folder / "not used"
    for path in (used, unused):
        path.write_bytes(os.urandom(18 << 20))
        let_go(path)
    try:
        if in_memory(unused):
            pytest.skip("the file system keeps all in memory")
    except OSError:
        pytest.skip("the file system can't say")
    for _ in range(5):  # a page may stay in the list of another processor, once
        used.read_bytes()
        machine.checked(folder)  # which reads both files to compare them
        for path in (used, unused):
            let_go(path)
        used.read_bytes()
        for path in (used, unused):
            path.touch()
        assert machine.backup(folder).progress.read_files == 2
        found = in_memory(used), in_memory(unused)  # asked once: that makes the system read
        if found == (True, False):
            break
    assert found == (True, False)
