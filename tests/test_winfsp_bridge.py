"""File systems for WinFsp on the bridge: mounted here, and looked at by the programs that people trust."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cache.reader import Reader
from catalog.names import shown, true_name
from catalog.store.address import open_store
from catalog.vault import open_vault
from mount.view import PointView
from tests.drives import PASSPHRASE, Home, make_vault
from tests.test_fidelity import make_source
from tests.test_winfsp_standin import Memfs
from tests.winfsp.bridge import Bridge, Mounted, Names
from tests.winfsp_drives import Served, serving


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
    for number in range(60):
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


# --- our driver ---


def true(name: str) -> bytes:
    """The name that is shown so; those that were cut are not in these folders."""
    found = true_name(name)
    assert found is not None, name
    return found


DRIVE = Names(there=shown, here=true)


class Opened:
    """A real folder, backed up by the real command, its point on the driver, that on the bridge."""

    def __init__(self, source: Path, drive: Path, served: Served) -> None:
        self.source = source
        self.drive = drive
        self.served = served


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder = tmp_path_factory.mktemp("bridge")
    make_vault(folder / "vault")
    home = Home(folder, folder / "vault")
    source = folder / "source"
    make_source(source, names=500)
    os.truncate(source / "plain" / "only a hole", 10 << 20)  # to read zeros takes its time here
    os.truncate(source / "plain" / "holes", 41 << 20)
    home.run("backup", source)
    vault = open_vault(open_store(home.vault.as_uri()), passphrase=PASSPHRASE)
    reader = Reader(vault)
    view = PointView(reader, vault.point(vault.point_names()[0]))
    place = folder / "drive"
    place.mkdir()
    with serving(view, reader) as served, Mounted(Bridge(served.caller, DRIVE), place, keep=True):
        yield Opened(source, place / str(source).lstrip("/"), served)
    reader.close()


def test_diff_finds_nothing(opened: Opened) -> None:
    # diff refuses special files of equal names; the others are compared by find.
    lines = [line for line in diff(opened.source, opened.drive) if " is a " not in line]
    assert lines == []


def test_find_tells_the_same(opened: Opened) -> None:
    """Kinds, sizes, times (to 100 ns), targets of links, numbers of devices."""

    def told(top: Path) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for path in sorted(os.fsencode(top) + b"/" + name for name in walked(top)):
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            size = status.st_size if kind in (stat.S_IFREG, stat.S_IFLNK) else None
            target = os.readlink(path) if kind == stat.S_IFLNK else None
            device = status.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else None
            times = (status.st_mtime_ns // 100, status.st_ctime_ns // 100)
            found.append((path[len(os.fsencode(top)) :], kind, size, target, device, times))
        return found

    assert told(opened.drive) == told(opened.source)
    assert len(told(opened.source)) > 600


def walked(top: Path) -> list[bytes]:
    done = subprocess.run(["find", top, "-mindepth", "1", "-printf", "%P\\0"], capture_output=True, check=True)
    return [name for name in done.stdout.split(b"\0") if name]
