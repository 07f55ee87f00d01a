"""Memory of a backup: folders of many names, many hard links, deep folders. `make soak` prints the curves."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup import links
from backup.choosing import are_all_distinct
from backup.links import Link, Links
from backup.systems import names
from backup.systems.names import ManyNames, sorted_names
from backup.systems.posix import PosixSystem
from catalog.format.nodes import Node
from catalog.format.values import Owner
from catalog.names import are_distinct
from catalog.store.memory import MemoryStore
from tests.kit.cli import ROOT
from tests.kit.protected import Protected


@pytest.fixture
def machine(tmp_path: Path) -> Protected:
    return Protected(MemoryStore(), tmp_path / "state")


# --- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 100, 1000])
def test_many_names_are_sorted_as_a_list_is(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(names, "RUN", 16)
    monkeypatch.setattr(names, "_BLOCK", 5)
    monkeypatch.setattr(names, "_SPOOL", 500)  # bytes: the rest is in a file
    rng = random.Random(count)
    found = [bytes(rng.choices(b"\x01\n az~\x80\xff", k=rng.randint(1, 9))) for _ in range(count)]
    result = sorted_names(iter(found))
    assert isinstance(result, list) == (count < 16)
    assert bool(result) == bool(found)
    assert list(result) == sorted(found)
    assert list(result) == sorted(found), "they can be read again"


def test_names_that_windows_takes_for_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "RUN", 16)
    plain = [b"%03d" % n for n in range(100)]
    pairs = [[b"X", b"x"], ["é".encode(), "É".encode()], [b"\xff", b"\xfe"], ["é".encode(), "é".encode()]]
    for more in ([], [b"x"], [b"X"], *pairs):
        many = sorted_names([*more, *plain])
        assert isinstance(many, ManyNames)
        assert are_all_distinct(many) == are_distinct([*more, *plain])


def test_a_folder_of_many_names(machine: Protected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "RUN", 64)
    folder = tmp_path / "source"
    folder.mkdir()
    for n in random.Random(1).sample(range(1000), 500):
        (folder / f"{n:03x}").write_bytes(b"%d" % n)
    machine.checked(folder)
    for n in range(0, 1000, 7):
        (folder / f"{n:03x}").write_bytes(b"changed")
    outcome = machine.checked(folder)
    assert outcome.progress.unchanged > 300


def measured(folder: Path, *, count: int, dry: bool = True) -> int:
    """The peak of traced memory, in bytes, of a backup of a folder that lists `count` names of one file."""
    machine = Protected(MemoryStore(), folder / f"state-{count}-{dry}")
    source = folder / f"source-{count}-{dry}"
    source.mkdir(parents=True)
    (source / "file").touch()
    inode, status, st = source.stat().st_ino, PosixSystem.status, (source / "file").lstat()
    listed = PosixSystem.names

    def many(at: int) -> names.Names:
        if os.fstat(at).st_ino != inode:
            return listed(at)
        return sorted_names(b"file-%08d.dat" % (n * 7919 % count) for n in range(count))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PosixSystem, "names", staticmethod(many))
        patch.setattr(
            PosixSystem, "status", staticmethod(lambda name, at: st if name[:5] == b"file-" else status(name, at))
        )
        patch.setattr(PosixSystem, "open_file", lambda system, name, at: os.open(source / "file", os.O_RDONLY))
        tracemalloc.start()
        try:
            outcome = machine.backup(source, dry=dry)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert outcome.totals.entries >= count
    return peak


def test_memory_of_a_folder_of_many_names(tmp_path: Path) -> None:
    """The list of 100,000 names alone took 13 MB."""
    few, many = measured(tmp_path, count=10_000), measured(tmp_path, count=100_000)
    assert many - few < 8 << 20, (few, many)


@pytest.mark.slow
def test_memory_of_a_whole_backup_of_many_names(tmp_path: Path) -> None:
    """Above 10,000 names, 40 bytes for each at most: 400 MiB at ten million. It was 266."""
    few, many = measured(tmp_path, count=10_000, dry=False), measured(tmp_path, count=70_000, dry=False)
    stored = 60_000 * 12  # the vault is in memory, too
    assert many - few - stored < 60_000 * 40, (few, many)


# --- links ------------------------------------------------------------------------------------------------------


class Status:
    def __init__(self, inode: int, count: int) -> None:
        self.st_dev, self.st_ino, self.st_nlink = 2**64 - 5, inode, count

    st_mode = st_size = st_blocks = st_mtime_ns = st_ctime_ns = st_rdev = 0


def a_node(n: int) -> Node:
    return Node(b"%d" % n, 0, 0o644, Owner(1, 2, "a", "b"), n, 1, 2, n, content=[])


@pytest.mark.parametrize("held", [4, 1000])
def test_links_that_are_put_away_come_back(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(links, "_HELD", held)
    found, rng = Links(10), random.Random(1)
    left = dict.fromkeys((*range(1, 200), 2**63, 2**64 - 1), 3)
    numbers = dict[int, int]()
    while left:
        inode = rng.choice(sorted(left))
        link = found.meet(None, Status(inode, 3))
        assert numbers.setdefault(inode, link.number) == link.number
        if left[inode] == 3:
            assert link.node is None
            link.node, link.contents = a_node(inode), []
        else:
            assert link.node == a_node(inode)
        left[inode] -= 1
        if not left[inode]:
            del left[inode]
    assert len(set(numbers.values())) == len(numbers) == found.highest - 10
    assert found._open == {}


def test_a_link_whose_contents_are_on_their_way_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_HELD", 4)
    found = Links(0)
    pending = []
    for inode in range(1, 50):
        link = found.meet(None, Status(inode, 2))
        link.node = a_node(inode)
        link.node.content, link.contents = None, []
        pending.append(link)
    for inode, link in enumerate(pending, 1):
        assert found.meet(None, Status(inode, 2)) is link


@pytest.mark.parametrize("change", ["none", "touched", "renamed"])
def test_trees_of_links(machine: Protected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """Daily copies, as rsnapshot makes them; some files have links elsewhere."""
    monkeypatch.setattr(links, "_HELD", 10)
    source = tmp_path / "source"
    for day in ("daily.0", "daily.1", "daily.2"):
        (source / day).mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for n in range(100):
        file = source / "daily.0" / f"{n:02}"
        file.write_bytes(b"%d" % n * (1 + n % 3 * 100_000))
        for day in ("daily.1", "daily.2"):
            os.link(file, source / day / file.name)
        if n % 5 == 0:
            os.link(file, tmp_path / "elsewhere" / file.name)
    machine.checked(source)
    if change == "touched":
        for n in range(0, 100, 9):
            (source / "daily.1" / f"{n:02}").write_bytes(b"other contents")
    elif change == "renamed":
        (source / "daily.0").rename(source / "daily.3")
    machine.checked(source)


def test_memory_of_many_links() -> None:
    """Of files whose other links are never found: each was kept for good, 1 KB and more."""

    def peak(count: int) -> int:
        tracemalloc.start()
        found = Links(0)
        for inode in range(count):
            link = found.meet(None, Status(inode, 2))
            link.node, link.contents = a_node(inode), []
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(link, Link)
        return result

    assert peak(60_000) < peak(24_000) * 1.5


# --- soak -------------------------------------------------------------------------------------------------------

RUN = """
import json, sys
from pathlib import Path
from catalog.store.local import LocalStore
from tests.kit.peak import peak
from tests.kit.protected import Protected
machine = Protected(LocalStore(Path(sys.argv[1])), Path(sys.argv[2]))
found = []
for _ in range(2):
    machine.backup(Path(sys.argv[3]))
    found.append(peak() >> 10)
print(json.dumps(found))
"""


def resident(tmp_path: Path, source: Path) -> list[int]:
    """The resident memory, in MiB, after a first and a second backup of a folder, in a process of its own."""
    arguments = [str(tmp_path / "vault"), str(tmp_path / "state"), str(source)]
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["rm", "-rf", *arguments[:2]], check=True)
    found: list[int] = json.loads(done.stdout)
    return found


@pytest.fixture
def roomy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        (Path(folder) / "source").mkdir()
        yield Path(folder) / "source"
        subprocess.run(["rm", "-rf", Path(folder) / "source"], check=True)


@pytest.mark.soak
def test_the_curve_of_names(tmp_path: Path, roomy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = 0
    for count in (10_000, 100_000, 1_000_000):
        for n in range(made, count):
            os.close(os.open(roomy / f"file-{n * 7919 % 1_000_003:07d}", os.O_CREAT | os.O_WRONLY))
        made = count
        first, second = resident(tmp_path, roomy)
        with capsys.disabled():
            print(f"\none folder of {count:,} names: {first} MiB, again {second} MiB", end="")
        assert second < 200


@pytest.mark.soak
def test_the_curve_of_links(tmp_path: Path, roomy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, elsewhere = 0, roomy.parent / "elsewhere"
    elsewhere.mkdir()
    for count in (10_000, 100_000, 300_000):
        for n in range(made, count):
            if n % 1000 == 0:
                (roomy / f"{n:07d}").mkdir()
                (elsewhere / f"{n:07d}").mkdir()
            name = f"{n // 1000 * 1000:07d}/{n:07d}"
            (roomy / name).write_bytes(b"%d" % n)
            os.link(roomy / name, elsewhere / name)
        made = count
        first, second = resident(tmp_path, roomy)
        with capsys.disabled():
            print(f"\n{count:,} files with a link elsewhere: {first} MiB, again {second} MiB", end="")
        assert second < 200
    subprocess.run(["rm", "-rf", elsewhere], check=True)
