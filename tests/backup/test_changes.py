"""A backup notices every change since the last one, and stores nothing for unchanged entries."""

from __future__ import annotations

import os
import random
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup.run import Result
from backup.systems.posix import PosixSystem
from catalog.format.values import Subtree
from catalog.store.memory import MemoryStore
from tests.kit.protected import Protected
from tests.kit.recorded import PointReader, assert_equal, of_source
from tests.kit.sources import a_bit_of_everything


@pytest.fixture
def machine(tmp_path: Path) -> Protected:
    return Protected(MemoryStore(), tmp_path / "state")


def settle() -> None:
    """Wait until all files so far are old enough to be trusted by the next backup."""
    time.sleep(0.03)


def _rewrite_in_place(folder: Path) -> None:
    path = folder / "a" / "f2"
    before = path.stat()
    with path.open("r+b") as f:
        f.write(b"other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(folder: Path) -> None:
    path = folder / "a" / "f2"
    st = path.stat()
    other = folder / "new"
    other.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(other, ns=(st.st_atime_ns, st.st_mtime_ns))
    other.rename(path)


def _to_folder(folder: Path) -> None:
    (folder / "a" / "f2").unlink()
    (folder / "a" / "f2").mkdir()
    (folder / "a" / "f2" / "in it").write_bytes(b"x")


def _folder_to_file(folder: Path) -> None:
    shutil.rmtree(folder / "a" / "deep")
    (folder / "a" / "deep").write_bytes(b"now a file")


def _file_to_symlink(folder: Path) -> None:
    (folder / "a" / "f2").unlink()
    (folder / "a" / "f2").symlink_to("f1")


def _change_symlink(folder: Path) -> None:
    (folder / "b" / "symlink").unlink()
    (folder / "b" / "symlink").symlink_to("..")


def _link_to_file(folder: Path) -> None:
    (folder / "b" / "link").unlink()
    (folder / "b" / "link").write_bytes((folder / "a" / "f0").read_bytes())


def _remove_everything(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path)


def _socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(folder / "a" / "socket"))


def _empty(folder: Path) -> None:
    for path in (folder / "a" / "deep").iterdir():
        path.rmdir() if path.is_dir() else path.unlink()


EDITS: dict[str, Callable[[Path], object]] = {
    "content, time restored": _rewrite_in_place,
    "inode": _replace,
    "mode of a file": lambda f: (f / "a" / "f2").chmod(0o4711),
    "mode of a folder": lambda f: (f / "a" / "deep").chmod(0o2700),
    "owner of a file": lambda f: os.chown(f / "a" / "f2", 1234, 4321),
    "owner of a folder": lambda f: os.chown(f / "empty", 1234, 4321),
    "owner of a symlink": lambda f: os.lchown(f / "b" / "symlink", 1234, 4321),
    "xattr added": lambda f: os.setxattr(f / "a" / "f2", "user.new", b"new"),
    "xattr changed": lambda f: os.setxattr(f / "a" / "f1", "user.one", b"2"),
    "xattr removed": lambda f: os.removexattr(f / "a" / "f1", "user.one"),
    "xattr of a folder": lambda f: os.setxattr(f / "a" / "deep", "user.new", b"new"),
    "large xattr": lambda f: os.setxattr(f / "a", "user.big", b"y" * 3901),
    "ACL": lambda f: subprocess.run(["setfacl", "-m", "u:1234:r", f / "a" / "f2"], check=True),
    "file renamed": lambda f: (f / "a" / "f2").rename(f / "a" / "g2"),
    "folder renamed": lambda f: (f / "a").rename(f / "c"),
    "folder moved": lambda f: (f / "a").rename(f / "empty" / "c"),
    "symlink changed": _change_symlink,
    "file to folder": _to_folder,
    "folder to file": _folder_to_file,
    "file to symlink": _file_to_symlink,
    "hard link added": lambda f: os.link(f / "a" / "f3", f / "another"),
    "third link": lambda f: os.link(f / "a" / "f0", f / "another"),
    "hard link removed": lambda f: (f / "b" / "link").unlink(),
    "link made a file": _link_to_file,
    "mtime only": lambda f: os.utime(f / "a" / "f2", ns=(1, 2)),
    "mtime before 1970": lambda f: os.utime(f / "a" / "f2", ns=(0, -5 * 10**9 + 7)),
    "mtime of a folder": lambda f: os.utime(f / "a" / "deep", ns=(1, 2)),
    "folder emptied": _empty,
    "folder removed": lambda f: shutil.rmtree(f / "a"),
    "empty folder filled": lambda f: (f / "empty" / "new").write_bytes(b"new"),
    "name that is no text": lambda f: os.rename(f / "a" / "f2", os.fsencode(f / "a") + b"/\xff\xfe\n"),
    "longest name": lambda f: (f / "a" / ("n" * 255)).touch(),
    "truncated": lambda f: os.truncate(f / "a" / "f2", 0),
    "made sparse": lambda f: os.truncate(f / "a" / "f2", 3_000_000),
    "small to large": lambda f: (f / "a" / "f2").write_bytes(random.Random(2).randbytes(2_000_000)),
    "large to small": lambda f: (f / "b" / "large").write_bytes(b"small"),
    "device": lambda f: os.mknod(f / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
    "socket": _socket,
    "file made": lambda f: (f / "b" / "a").write_bytes(b"new"),
    "everything removed": _remove_everything,
}


# Changes that need root or a program of their own.
NEEDS = {
    "owner of a file": pytest.mark.needs_root,
    "owner of a folder": pytest.mark.needs_root,
    "owner of a symlink": pytest.mark.needs_root,
    "device": pytest.mark.needs_root,
    "ACL": pytest.mark.needs_program("setfacl"),
}


@pytest.mark.parametrize("edit", [pytest.param(edit, marks=NEEDS.get(edit, ())) for edit in EDITS])
def test_change_is_noticed(machine: Protected, tmp_path: Path, edit: str) -> None:
    folder = tmp_path / "source"
    a_bit_of_everything(folder)
    settle()
    machine.checked(folder)
    EDITS[edit](folder)
    outcome = machine.checked(folder)
    assert outcome.progress.new or outcome.progress.changed or outcome.progress.removed
    settle()
    again = machine.checked(folder)
    assert again.progress.sent.data_bytes == 0


def test_unchanged(machine: Protected, tmp_path: Path) -> None:
    a_bit_of_everything(tmp_path / "source")
    settle()
    first = machine.checked(tmp_path / "source")
    again = machine.checked(tmp_path / "source")
    p = again.progress
    assert (p.new, p.changed, p.removed) == (0, 0, 0)
    assert (p.read_bytes, p.sent.data_bytes, p.sent.tree_bytes) == (0, 0, 0)
    assert again.record_bytes < 16 << 10
    assert first.point and again.point
    assert again.point.root == first.point.root
    assert (again.point.sequence, again.point.previous) == (2, first.point.id)
    assert (again.point.tree_blocks, again.point.fresh_blocks) == (1, 1)


TICK = 10 * 10**6  # ns; the step of the clock of file times on some systems


def coarse(found: os.stat_result) -> os.stat_result:
    """A status as on a system with coarse file times."""
    names = ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")
    times = {name: getattr(found, name) // TICK * TICK for name in names}
    rest = {name: getattr(found, name) for name in ("st_blksize", "st_blocks", "st_rdev")}
    return os.stat_result(tuple(found)[:10], rest | times)


def test_file_changed_within_a_tick_of_the_clock(
    machine: Protected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changed right after it was read, without a new time, is read again."""
    folder, fstat, close = tmp_path / "source", os.fstat, os.close
    folder.mkdir()
    path = folder / "file"
    path.write_bytes(b"before..")
    opened: list[os.stat_result] = []

    def open_file(name: bytes, parent: int) -> int:
        path.write_bytes(b"was read")
        file = os.open(name, os.O_RDONLY, dir_fd=parent)
        opened.append(coarse(fstat(file)))
        return file

    def close_file(file: int) -> None:
        if opened and fstat(file).st_ino == opened[-1].st_ino:
            with path.open("r+b") as f:
                f.write(b"is there")
            path.stat()
            opened.append(coarse(path.stat()))
        close(file)

    monkeypatch.setattr(PosixSystem, "file_status", staticmethod(lambda file: coarse(fstat(file))))
    status = PosixSystem.status
    monkeypatch.setattr(PosixSystem, "status", staticmethod(lambda name, parent: coarse(status(name, parent))))
    for _ in range(100):
        opened.clear()
        with monkeypatch.context() as patch:
            patch.setattr(PosixSystem, "open_file", staticmethod(open_file))
            patch.setattr(PosixSystem, "close", staticmethod(close_file))
            machine.backup(folder)
        if opened[0].st_ctime_ns == opened[-1].st_ctime_ns:
            break
    else:
        raise AssertionError("the clock moved between reading and writing, each time")
    outcome = machine.backup(folder)
    assert outcome.point is not None
    assert (
        machine.snapshot(outcome.point, folder).entries[b"file"].content
        == of_source(folder).entries[b"file"].content
    )
    # The times of a folder as new as the backup could not be trusted either.
    assert outcome.progress.changed >= 1


def test_link_across_a_renamed_folder(machine: Protected, tmp_path: Path) -> None:
    """Only one of two links is new to the backup, before or after the other."""
    folder = tmp_path / "source"
    for name in ("m", "z"):
        (folder / name).mkdir(parents=True)
    (folder / "m" / "file").write_bytes(b"linked")
    os.link(folder / "m" / "file", folder / "z" / "file")
    settle()
    machine.checked(folder)
    for new in ("n", "a", "zz", "b"):
        (folder / "m").rename(folder / "other")
        (folder / "other").rename(folder / new)
        settle()
        machine.checked(folder)
        (folder / new).rename(folder / "m")
        machine.checked(folder)


def subtrees(machine: Protected, outcome: Result, folder: Path) -> dict[bytes, Subtree | None]:
    from catalog.tree import walk

    assert outcome.point is not None and outcome.point.root is not None
    return {
        path: leaf.subtree(entry)
        for path, (entry, leaf, _n) in walk(PointReader(machine.vault), outcome.point.root.subtree())
        if entry.kind == 1
    }


@pytest.mark.slow
def test_pages_of_unchanged_folders_are_shared(machine: Protected, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    for n in range(30):
        (folder / f"d{n:02d}").mkdir(parents=True)
        for m in range(200):
            (folder / f"d{n:02d}" / f"f{m}").touch()
    settle()
    before = subtrees(machine, machine.checked(folder), folder)
    (folder / "d07" / "f100").write_bytes(b"changed")
    after = subtrees(machine, machine.checked(folder), folder)
    own = os.fsencode(folder).strip(b"/")
    differ = {p for p in after if after[p] != before[p]}
    above = {own.rsplit(b"/", n)[0] for n in range(own.count(b"/") + 1)}
    assert differ == {own + b"/d07"} | above


# --- random edits ---------------------------------------------------------------------------------------------

NAMES = st.sampled_from([b"a", b"b", b"b.", b"bb", b"\xff", b"dir", b"x" * 200])
PATHS = st.lists(NAMES, min_size=1, max_size=3)
EDIT = st.tuples(
    st.sampled_from(
        ["write", "folder", "remove", "rename", "link", "symlink", "chmod", "xattr", "touch", "sparse"]
    ),
    PATHS,
    PATHS,
    st.integers(0, 5),
)


def apply(root: bytes, edit: tuple[str, list[bytes], list[bytes], int]) -> None:
    """Do an edit, if it is possible."""
    what, at, to, number = edit
    path, other = os.path.join(root, *at), os.path.join(root, *to)
    try:
        match what:
            case "write":
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as f:  # noqa: PTH123 - bytes
                    f.write(b"%d" % number * (10 ** (number + 1) // 2))
            case "folder":
                os.makedirs(path, exist_ok=True)
            case "remove":
                shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
            case "rename":
                os.rename(path, other)
            case "link":
                os.link(path, other, follow_symlinks=False)
            case "symlink":
                os.symlink(other, path)
            case "chmod":
                os.chmod(path, 0o700 + number)
            case "xattr":
                os.setxattr(path, "user.x", b"x" * number)
            case "touch":
                os.utime(path, ns=(0, number), follow_symlinks=False)
            case "sparse":
                os.truncate(path, number * 100_000)
    except OSError:
        pass


def _stamps(source: Path) -> list[tuple[int, int]]:
    """The times of the folders above, which are saved with a source."""
    return [(st.st_mtime_ns, st.st_ctime_ns) for st in map(os.stat, source.parents)]


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(EDIT, max_size=8), min_size=2, max_size=4), st.booleans())
def test_random_edits(tmp_path_factory: pytest.TempPathFactory, runs: list[list[tuple]], wait: bool) -> None:  # type: ignore[type-arg]
    """After each backup, the point equals the source."""
    base = tmp_path_factory.mktemp("edits")
    machine = Protected(MemoryStore(), base / "state")
    source = base / "source"
    source.mkdir()
    try:
        for edits in runs:
            for edit in edits:
                apply(os.fsencode(source), edit)
            if wait:
                settle()
            machine.checked(source)
        before = len(machine.store.objects)  # type: ignore[attr-defined]
        settle()
        above = _stamps(source)
        machine.checked(source)
        for _attempt in range(10):
            settle()
            now = _stamps(source)
            again = machine.checked(source)
            before += 2
            if _stamps(source) == above:
                break
            above = now  # somebody made something in a folder above, e.g. SQLite a temporary file in /var/tmp
        assert again.progress.sent.packs == 0
        assert len(machine.store.objects) <= before + 2  # type: ignore[attr-defined]
    finally:
        shutil.rmtree(base)


@pytest.fixture
def scattered(machine: Protected, tmp_path: Path) -> Iterator[tuple[Protected, Path]]:
    folder = tmp_path / "source"
    for n in range(200):
        (folder / f"d{n:03d}").mkdir(parents=True)
        for m in range(60):
            (folder / f"d{n:03d}" / f"f{m:02d}").touch()
    settle()
    machine.checked(folder)
    yield machine, folder


@pytest.mark.slow
def test_scattered_tree_is_written_afresh(scattered: tuple[Protected, Path]) -> None:
    machine, folder = scattered
    rng, most, rewritten = random.Random(4), 0.0, 0
    for run in range(24):
        for _ in range(10):
            (folder / f"d{rng.randrange(200):03d}" / f"f{rng.randrange(60):02d}").write_bytes(rng.randbytes(20))
        settle()
        outcome = machine.backup(folder)
        point, before = outcome.point, outcome.previous
        assert point is not None and before is not None
        most = max(most, point.tree_blocks / point.fresh_blocks)
        rewritten += point.tree_blocks < before.tree_blocks
        blocks = blocks_of(machine, outcome)
        assert point.tree_blocks == len(blocks), run
        # An unchanged run in between stores nothing, however scattered the tree is.
        again = machine.backup(folder)
        assert again.progress.sent.packs == 0
        assert again.point is not None
        assert again.point.root == point.root
        assert (again.point.tree_blocks, again.point.fresh_blocks) == (point.tree_blocks, point.fresh_blocks)
    assert rewritten >= 2
    assert most < 5
    assert point is not None
    assert_equal(machine.snapshot(point, folder), of_source(folder))


def blocks_of(machine: Protected, outcome: Result) -> set[tuple[bytes, int]]:
    """The tree blocks that contain a point's pages."""
    assert outcome.point is not None and outcome.point.root is not None
    found: set[tuple[bytes, int]] = set()

    class Noting(PointReader):
        def chunk(self, at):  # type: ignore[no-untyped-def]
            found.add((at.pack, at.offset))
            return super().chunk(at)

    Noting(machine.vault).snapshot(outcome.point)
    return found
