"""What rpdrive asks of the system for its own files, on this one and, as far as it goes here, on Windows."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from catalog.systems.base import Folder, System
from catalog.systems.posix import PosixSystem
from catalog.systems.this import SYSTEM
from catalog.systems.windows import WindowsSystem
from tests.kit.descriptors import descriptors

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


def test_a_short_range_is_asked_of_the_disk_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def advise(_descriptor: int, offset: int, length: int, how: int) -> None:
        assert how == os.POSIX_FADV_WILLNEED
        asked.append((offset, length))
        if len(asked) == 4:
            raise OSError(errno.EINVAL, "this file system does not know it")

    monkeypatch.setattr(os, "posix_fadvise", advise)
    system = PosixSystem()
    system.read_soon(0, 5, 128 << 10)  # one request anyway
    system.read_soon(0, 5, 16 << 20)  # several anyway
    assert asked == []
    system.read_soon(0, 5, 300_000)
    assert asked == [(5, 131_072), (131_077, 131_072), (262_149, 37_856)]
    system.read_soon(0, 5, 300_000)
    assert len(asked) == 4
    WindowsSystem().read_soon(0, 5, 300_000)


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
    system.sync_folder(Folder(None, f"{tmp_path}/"))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert system.is_own(tmp_path.stat()) and system.is_private(tmp_path.stat())


@pytest.mark.parametrize("system", BOTH)
def test_a_range_is_copied_to_where_the_other_file_is_written(system: System, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "from").write_bytes(data)
    source = os.open(tmp_path / "from", os.O_RDONLY)
    target = os.open(tmp_path / "to", os.O_RDWR | os.O_CREAT)
    os.write(target, b"before")
    try:
        assert system.copy_range(source, 7, 2 << 20, target) == 2 << 20
        assert system.copy_range(source, len(data) - 5, 100, target) == 5
        assert (tmp_path / "to").read_bytes() == b"before" + data[7 : 7 + (2 << 20)] + data[-5:]
    finally:
        os.close(source)
        os.close(target)


def test_a_file_that_got_its_name_late_is_no_older_than_its_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    os.utime(path, ns=(10**18, 10**18))
    status = path.stat()
    assert PosixSystem().named_at(path, status) == status.st_ctime_ns > 10**18


def test_windows_asks_for_the_time_of_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    status = path.stat()
    for change, named in ((0, status.st_mtime_ns), (status.st_mtime_ns + 5, status.st_mtime_ns + 5)):
        monkeypatch.setattr("catalog.systems.windows._change_time", lambda _, change=change: change)
        assert WindowsSystem().named_at(path, status) == named


@pytest.mark.parametrize("system", BOTH)
def test_a_folder_is_made_and_listed(system: System, tmp_path: Path) -> None:
    with system.below(str(tmp_path), "a/b", make=True, listed=True) as folder:
        os.close(os.open(folder.path("file"), os.O_CREAT | os.O_WRONLY, dir_fd=folder.descriptor))
        with folder.scan() as entries:
            assert [entry.name for entry in entries] == ["file"]
        with pytest.raises(FileNotFoundError):
            system.open_file(folder.path("none"), dir_fd=folder.descriptor)
        os.close(system.open_file(folder.path("file"), dir_fd=folder.descriptor))
    with pytest.raises(FileNotFoundError), system.below(str(tmp_path), "none"):
        (tmp_path / "none" / "file").stat()
    assert (tmp_path / "a" / "b" / "file").is_file()


@pytest.mark.parametrize("make", [False, True])
def test_no_symlink_is_followed_below_a_folder(tmp_path: Path, make: bool) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "vault").symlink_to("inside")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to("../outside")
    (tmp_path / "inside" / "secret").symlink_to("/etc/passwd")
    system = PosixSystem()
    for folder in ("link", "link/deeper", "secret"):
        with pytest.raises(NotADirectoryError), system.below(str(tmp_path / "vault"), folder, make=make):
            pass
    with system.below(str(tmp_path / "vault"), "") as top, pytest.raises(FileNotFoundError):
        system.open_file("secret", dir_fd=top.descriptor)
    assert list((tmp_path / "outside").iterdir()) == []


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    for name in ("fifo", "socket", "."):
        with pytest.raises(FileNotFoundError):
            PosixSystem().open_file(str(tmp_path / name))


def test_a_leased_file_is_opened_all_the_same(tmp_path: Path) -> None:
    """As a file server holds one for a file that a client has open."""
    (tmp_path / "file").write_bytes(b"data")
    holder = os.open(tmp_path / "file", os.O_RDWR)
    given_up: list[int] = []

    def give_up(*_: object) -> None:
        given_up.append(1)
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    before = signal.signal(signal.SIGIO, give_up)
    try:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        descriptor = PosixSystem().open_file(str(tmp_path / "file"))
        assert os.read(descriptor, 10) == b"data"
        os.close(descriptor)
    finally:
        signal.signal(signal.SIGIO, before)
        os.close(holder)
    assert given_up


@pytest.mark.parametrize("top", ["vault", "link", "link/", "."])
def test_a_file_is_opened_below_a_folder_and_nowhere_else(tmp_path: Path, top: str) -> None:
    vault = tmp_path if top == "." else tmp_path / "vault"
    (vault / "a" / "b").mkdir(parents=True)
    (vault / "a" / "b" / "file").write_bytes(b"data")
    (tmp_path / "link").symlink_to("vault")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"secret")
    (vault / "a" / "out").symlink_to(tmp_path / "outside")
    (vault / "a" / "in").symlink_to("b")
    (vault / "a" / "last").symlink_to("b/file")
    system = PosixSystem()
    descriptor = system.open_below(str(tmp_path / top), "a/b/file")
    assert os.read(descriptor, 10) == b"data"
    os.close(descriptor)
    before = descriptors()
    for name in ("a/out/file", "a/in/file", "a/last", "a/none", "a/b", "a/b/file/x"):
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            system.open_below(str(tmp_path / top), name)
    assert descriptors() == before


def test_a_lock_that_somebody_holds_is_refused_at_once(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("wb") as one, (tmp_path / "lock").open("wb") as two:
        assert SYSTEM.try_lock(one.fileno())
        assert not SYSTEM.try_lock(two.fileno())
        one.close()
        assert SYSTEM.try_lock(two.fileno())
