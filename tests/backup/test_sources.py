"""What a backup reads instead of what is there: folders that stand for others, and sources that turn bad."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.sources.base import Begun, LiveFiles
from backup.systems.posix import PosixSystem
from catalog.errors import LocalError
from catalog.format.records import ItemKind, Volume
from catalog.store.memory import MemoryStore
from tests.kit.protected import Protected, assert_equal, of_source


class Standing(LiveFiles):
    """A source that has folders stand for others."""

    kind = ItemKind.VOLUME

    def __init__(self, places: dict[Path, Path]) -> None:
        self.begun, self.lost = Begun(), ""
        self.handles: list[int] = []
        for path, folder in places.items():
            self.handles.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
            self.begun.top.at(os.fsencode(path)).handle = self.handles[-1]

    def begin(self) -> Begun:
        return self.begun

    def check(self, *, final: bool = False) -> None:
        if self.lost and final:
            raise LocalError(self.lost)

    def close(self) -> None:
        while self.handles:
            os.close(self.handles.pop())


@pytest.fixture
def machine(tmp_path: Path) -> Protected:
    return Protected(MemoryStore(), tmp_path / "state")


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A folder, a copy of it as it was (`frozen`, where `inner` is empty), and what is in `inner` (`other`)."""
    frozen, other, live = tmp_path / "frozen", tmp_path / "other", tmp_path / "live"
    (frozen / "inner").mkdir(parents=True)
    (frozen / "file").write_bytes(b"as it was")
    (frozen / "gone").write_bytes(b"removed since")
    (other / "deep").mkdir(parents=True)
    (other / "deep" / "file").write_bytes(b"on another file system")
    os.setxattr(other, "user.of", b"other")
    shutil.copytree(frozen, live)
    shutil.copytree(other, live / "inner", dirs_exist_ok=True)
    (live / "file").write_bytes(b"changed")
    (live / "gone").unlink()
    (live / "new").write_bytes(b"made since")
    return live


@pytest.fixture
def standing(tmp_path: Path, live: Path) -> Iterator[Standing]:
    source = Standing({live: tmp_path / "frozen", live / "inner": tmp_path / "other"})
    yield source
    source.close()


def test_folders_stand_for_others(tmp_path: Path, machine: Protected, live: Path, standing: Standing) -> None:
    standing.begun.time = 1_000_000_000 * 10**9
    standing.begun.volumes = [Volume(place=os.fsencode(live), file_system="none", snapshot="copy", time=1)]
    result = machine.backup(live, source=standing)
    assert not result.problems and result.point is not None
    found = machine.snapshot(result.point, live)
    expected = of_source(tmp_path / "frozen")
    expected.entries.update({b"inner/" + k: v for k, v in of_source(tmp_path / "other").entries.items()})
    expected.entries[b"inner"] = found.entries[b"inner"]
    assert_equal(found, expected)
    assert found.entries[b"inner"].xattrs == {b"user.of": b"other"}
    assert (result.point.kind, result.point.volumes) == ("volume", standing.begun.volumes)
    assert result.point.time == standing.begun.time

    standing.begun.time = 0  # else all files would be newer than what can be trusted
    machine.backup(live, source=standing)
    again = machine.backup(live, source=standing)
    assert (again.progress.read_files, again.progress.new, again.progress.changed) == (0, 0, 0)


def test_a_folder_stands_where_nothing_is(tmp_path: Path, machine: Protected, live: Path) -> None:
    source = Standing({tmp_path / "not there": tmp_path / "frozen"})
    try:
        result = machine.backup(live, tmp_path / "not there", source=source)
    finally:
        source.close()
    assert not result.problems and result.point is not None
    assert_equal(machine.snapshot(result.point, tmp_path / "not there"), of_source(tmp_path / "frozen"))
    assert_equal(machine.snapshot(result.point, live), of_source(live))


def test_the_root_can_be_another_folder(tmp_path: Path, machine: Protected) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "hosts").write_bytes(b"of the snapshot")
    source = Standing({Path("/"): root})
    try:
        result = machine.backup(Path("/etc"), source=source)
    finally:
        source.close()
    assert result.point is not None
    assert_equal(machine.snapshot(result.point, Path("/etc")), of_source(root / "etc"))


def test_own_folders_are_left_out_of_a_snapshot(
    tmp_path: Path, machine: Protected, live: Path, standing: Standing
) -> None:
    st = (tmp_path / "other" / "deep").stat()
    standing.begun.skip = {(st.st_dev, st.st_ino)}
    result = machine.backup(live, source=standing)
    assert result.point is not None
    assert b"inner/deep" not in machine.snapshot(result.point, live).entries


def test_no_point_of_a_source_that_is_lost(machine: Protected, live: Path, standing: Standing) -> None:
    standing.lost = "the snapshot is full"
    machine.partial_seconds = 0.0
    with pytest.raises(LocalError, match="the snapshot is full"):
        machine.backup(live, source=standing)
    assert not list(machine.vault.store.list("points/"))


def test_no_point_if_a_file_changes_in_a_snapshot(
    tmp_path: Path, machine: Protected, live: Path, standing: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing.begun.frozen = {tmp_path.stat().st_dev}
    read = PosixSystem.read_small

    def writing(file: int, size: int, most: int) -> bytes:
        with Path(f"/proc/self/fd/{file}").open("ab") as same:
            same.write(b"more")
        return read(file, size, most)

    monkeypatch.setattr(PosixSystem, "read_small", staticmethod(writing))
    with pytest.raises(LocalError, match="changed in a snapshot"):
        machine.backup(live, source=standing)
    assert not list(machine.vault.store.list("points/"))


def test_what_a_source_says_is_told(tmp_path: Path, machine: Protected, live: Path, standing: Standing) -> None:
    standing.begun.problems = ["read while it is in use"]
    result = machine.backup(live, source=standing)
    assert [(p.path, p.reason) for p in result.problems] == [(b"", "read while it is in use")]
    assert result.point is not None
