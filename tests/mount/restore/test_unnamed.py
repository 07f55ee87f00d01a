"""New files that helpers make have no name until they are complete, where the system can do so."""

from __future__ import annotations

import array
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.format.blocks import PackKind
from catalog.format.values import NodeKind, Owner
from catalog.store.memory import MemoryStore
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.posix import PosixDisk
from mount.restore.file_plan import FilePlan
from mount.restore.folder import Folder
from mount.restore.spill import pack_row
from mount.restore.worker import Done, Hello, Task, _Worker
from tests.kit.vaultmaker import Packer, open_empty

NS = 1_600_000_000_123_456_789


class Calls(PosixDisk):
    """Notes which ways of naming were used. `refused`: what a call answers instead."""

    def __init__(self, refused: dict[str, int] | None = None) -> None:
        self.noted: list[str] = []
        self.refused = refused or {}

    def _note(self, call: str) -> None:
        self.noted.append(call)
        if call in self.refused:
            raise OSError(self.refused[call], os.strerror(self.refused[call]))

    def open_unnamed(self, folder: int, mode: int) -> int:  # type: ignore[override]
        self._note("open_unnamed")
        return PosixDisk.open_unnamed(folder, mode)

    def give_name(self, fd: int, folder: int, name: bytes) -> None:  # type: ignore[override]
        self._note("give_name")
        PosixDisk.give_name(fd, folder, name)

    def rename_new(self, folder: int, name: bytes, new: bytes) -> None:  # type: ignore[override]
        self._note("rename_new")
        PosixDisk.rename_new(folder, name, new)


class Made:
    """Has a worker make three files in a folder."""

    def __init__(self, to: Path) -> None:
        self._to = to
        self._vault = open_empty(MemoryStore())
        data = Packer(self._vault, PackKind.DATA)
        self._places = data.block([b"one", b"two", b"three"])
        data.finish()
        self._sealed = bytearray(self._vault.fetch_block(PackKind.DATA, self._places[0]))

    def by(self, disk: PosixDisk) -> Done:
        keys = self._vault.keys
        worker = _Worker(disk, Hello(keys.master, keys.vault_id, bytes(32), True))
        folder = Folder(1, None, b"")
        a = Attributes(int(NodeKind.FILE), 0o640, Owner(os.geteuid(), os.getegid(), "", ""), NS, {b"user.x": b"y"})
        rows = [
            pack_row(0, at, 0, FilePlan(n, folder, b"f%d" % n, b"f%d" % n, at.length, a, False, 0, 3))
            for n, at in enumerate(self._places)
        ]
        fd = os.open(self._to, os.O_RDONLY)
        try:
            task = Task(self._places[0].pack, self._places[0].offset, rows, [(1, True)])
            return worker.write(task, self._sealed, array.array("i", [fd]))
        finally:
            os.close(fd)

    def check(self, *names: str) -> None:
        contents = {"f0": b"one", "f1": b"two", "f2": b"three"}
        for name in names:
            path = self._to / name
            st = path.stat()
            assert path.read_bytes() == contents[name]
            assert (st.st_mode & 0o7777, st.st_mtime_ns, st.st_nlink) == (0o640, NS, 1)
            assert os.getxattr(path, "user.x") == b"y"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    yield Made(tmp_path)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_they_have_no_name_until_they_are_complete(made: Made, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    class Looking(Calls):
        def give_name(self, fd: int, folder: int, name: bytes) -> None:  # type: ignore[override]
            seen.append(names(tmp_path))
            assert os.fstat(fd).st_mtime_ns == NS and os.fstat(fd).st_nlink == 0
            super().give_name(fd, folder, name)

    disk = Looking()
    assert made.by(disk) == Done([], [])
    assert seen == [[], ["f0"], ["f0", "f1"]]
    assert disk.noted == ["open_unnamed", "give_name"] * 3
    made.check("f0", "f1", "f2")


@pytest.mark.parametrize("call", ["open_unnamed", "give_name"])
@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EPERM])
def test_a_system_without_such_files(made: Made, tmp_path: Path, call: str, number: int) -> None:
    disk = Calls({call: number})
    assert made.by(disk) == Done([], [])
    assert names(tmp_path) == ["f0", "f1", "f2"]
    assert disk.noted.count("open_unnamed") == 1, "it is not tried again"
    assert disk.noted.count("rename_new") == 3
    made.check("f0", "f1", "f2")


@pytest.mark.parametrize("call", ["open_unnamed", "give_name"])
def test_a_full_disk(made: Made, tmp_path: Path, call: str) -> None:
    disk = Calls({call: errno.ENOSPC})
    assert made.by(disk) == Done([0, 1, 2], [])
    assert names(tmp_path) == [] and "rename_new" not in disk.noted


def test_a_name_that_is_taken(made: Made, tmp_path: Path) -> None:
    (tmp_path / "f1").write_bytes(b"mine")
    assert made.by(Calls()) == Done([1], [])
    assert (tmp_path / "f1").read_bytes() == b"mine"
    assert names(tmp_path) == ["f0", "f1", "f2"]
    made.check("f0", "f2")
