"""The disk cache: bounded, private, shared, and never needed."""

from __future__ import annotations

import os
import pickle
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cache.disk import DiskCache
from cache.shelf import BytesDisk, Shelf, private_folder
from catalog.errors import LocalError
from catalog.format.blocks import PackKind

GIB, MIB = 1 << 30, 1 << 20
VAULT = b"v" * 16


def key(n: int) -> bytes:
    return VAULT + b"p" * 16 + n.to_bytes(8, "big")


def test_a_value_can_be_read_at_once_and_later(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "c")
    small, large = b"s" * 100, os.urandom(MIB)
    disk.put(PackKind.DATA, key(1), large)
    disk.put(PackKind.TREE, key(1), memoryview(small))
    assert disk.get(PackKind.DATA, key(1)) == large
    assert disk.get(PackKind.TREE, key(1)) == small
    assert disk.has(PackKind.DATA, key(1))
    assert not disk.has(PackKind.DATA, key(2))
    disk.close()
    disk = DiskCache(tmp_path / "c")
    assert disk.get(PackKind.DATA, key(1)) == large
    assert disk.get(PackKind.TREE, key(1)) == small
    assert disk.get(PackKind.TREE, key(2)) is None
    disk.drop(PackKind.DATA, key(1))
    assert disk.get(PackKind.DATA, key(1)) is None
    disk.close()


def test_the_cache_leaves_room_on_the_disk_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much it may take: the oldest values make room, in the end all of them."""
    taken = [0]  # by others

    def usage(folder: Path) -> shutil._ntuple_diskusage:
        held = sum(path.stat().st_size for path in tmp_path.rglob("*.val"))
        return shutil._ntuple_diskusage(200 * GIB, held + taken[0], 200 * GIB - held - taken[0])

    monkeypatch.setattr("cache.shelf.shutil.disk_usage", usage)
    disk = DiskCache(tmp_path / "c")
    for n in range(1, 9):
        disk.put(PackKind.DATA, key(n), os.urandom(MIB))
        assert disk.flush()
    assert [n for n in range(1, 9) if disk.has(PackKind.DATA, key(n))] == list(range(1, 9))
    taken[0] = 199 * GIB - 5 * MIB
    disk.put(PackKind.DATA, key(9), os.urandom(MIB))
    assert disk.flush()
    assert [n for n in range(1, 10) if disk.has(PackKind.DATA, key(n))] == [5, 6, 7, 8, 9]
    taken[0] = 200 * GIB - 9 * MIB
    disk.put(PackKind.DATA, key(10), os.urandom(MIB))
    assert disk.flush()
    assert disk.status().data.items == 0
    disk.close()


def test_folder_is_private(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "c")
    disk.put(PackKind.DATA, key(1), b"x")
    disk.close()
    assert stat.S_IMODE((tmp_path / "c" / "data").stat().st_mode) == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    private_folder(tmp_path / "open")
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700


def test_a_file_or_symlink_instead_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LocalError):
        private_folder(tmp_path / "file")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(LocalError):
        private_folder(tmp_path / "link")
    disk = DiskCache(tmp_path / "file")
    disk.put(PackKind.DATA, key(1), b"x")
    disk.flush()
    assert disk.get(PackKind.DATA, key(1)) is None
    assert disk.status().data.fault
    disk.close()


@pytest.mark.needs_root
def test_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    os.chown(tmp_path / "c", 12345, 12345)
    with pytest.raises(LocalError):
        private_folder(tmp_path / "c")


def test_limit_holds_and_data_does_not_evict_trees(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "c", limit=24 * MIB)
    disk.put(PackKind.TREE, key(0), b"t" * 100_000)
    disk.records(VAULT)["points/a"] = b"record"
    for n in range(60):
        disk.put(PackKind.DATA, key(n), os.urandom(MIB))
    assert disk.flush()
    status = disk.status()
    on_disk = sum(p.stat().st_size for p in (tmp_path / "c").rglob("*.val"))
    assert on_disk <= 24 * MIB
    assert status.data.bytes <= status.data.limit + MIB
    assert status.data.items >= 10
    assert disk.get(PackKind.DATA, key(0)) is None
    assert disk.get(PackKind.DATA, key(59)) is not None
    assert disk.get(PackKind.TREE, key(0)) is not None
    disk.close()
    again = DiskCache(tmp_path / "c", limit=24 * MIB)
    assert again.records(VAULT)["points/a"] == b"record"
    again.close()


def test_values_that_are_read_stay_longer(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "s", 8 * MIB)
    for n in range(5):
        shelf.put_all([(key(n), os.urandom(MIB))])
    shelf.touch([key(0)])
    n = 5
    while shelf.has(key(1)):  # until something is evicted
        shelf.put_all([(key(n), os.urandom(MIB))])
        n += 1
        assert n < 20
    assert shelf.has(key(0))
    shelf.close()


def test_reading_notes_use(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "c")
    disk.put(PackKind.DATA, key(0), b"x" * MIB)
    disk.close()
    database = tmp_path / "c" / "data" / "cache.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE Cache SET store_time = 1")
    connection.close()
    disk = DiskCache(tmp_path / "c")
    assert disk.get(PackKind.DATA, key(0)) is not None
    disk.put(PackKind.TREE, key(1), b"y")  # starts the writer, which writes times of use when closed at the latest
    disk.close()
    with sqlite3.connect(database) as connection:
        ((stored,),) = connection.execute("SELECT store_time FROM Cache").fetchall()
    connection.close()
    assert stored > 1


def test_deleted_while_in_use(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "c")
    disk.put(PackKind.DATA, key(0), os.urandom(MIB))
    assert disk.flush()
    shutil.rmtree(tmp_path / "c")
    assert disk.get(PackKind.DATA, key(0)) is None
    value = os.urandom(MIB)
    disk.put(PackKind.DATA, key(1), value)
    assert disk.flush()
    disk.close()
    disk = DiskCache(tmp_path / "c")
    assert disk.get(PackKind.DATA, key(1)) == value
    assert stat.S_IMODE((tmp_path / "c" / "data").stat().st_mode) == 0o700
    disk.close()


def without_a_key() -> bytes:
    """A database whose settings lost a name: the library raised AttributeError, and commands ended with exit 70."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript("CREATE TABLE Settings (key TEXT UNIQUE, value); INSERT INTO Settings VALUES (NULL, 1)")
        return db.serialize()


def no_text() -> bytes:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript("CREATE TABLE Settings (key TEXT UNIQUE, value)")
        return db.serialize().replace(b"CREATE TABLE", b"CR\xd5ATE TABLE")


@pytest.mark.parametrize("garbage", [b"no database at all" * 1000, b"", without_a_key(), no_text()])
def test_damaged_database_is_created_again(tmp_path: Path, garbage: bytes) -> None:
    disk = DiskCache(tmp_path / "c")
    disk.put(PackKind.DATA, key(0), os.urandom(MIB))
    disk.close()
    for name in ("cache.db", "cache.db-wal", "cache.db-shm"):
        (tmp_path / "c" / "data" / name).write_bytes(garbage)
    disk = DiskCache(tmp_path / "c")
    assert disk.get(PackKind.DATA, key(0)) is None
    disk.put(PackKind.DATA, key(1), b"z" * MIB)
    assert disk.flush()
    assert disk.get(PackKind.DATA, key(1)) == b"z" * MIB
    assert disk.status().data.fault == ""
    disk.close()


@pytest.mark.needs_root
def test_full_disk_is_no_fault_of_reading(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=700", "tmpfs", small], check=True)
    try:
        disk = DiskCache(small / "c")
        value = os.urandom(MIB)
        disk.put(PackKind.DATA, key(0), value)
        assert disk.flush()
        for n in range(1, 12):
            disk.put(PackKind.DATA, key(n), os.urandom(MIB))
        assert disk.flush()
        assert disk.get(PackKind.DATA, key(0)) == value
        assert disk.get(PackKind.DATA, key(11)) is None
        assert disk.status().data.fault
        assert len([r for r in caplog.records if r.name == "rpdrive.cache"]) == 1
        rows = {row.name for row in (small / "c").rglob("*.val")}
        assert len(rows) == disk.status().data.items  # no partly written value is left
        disk.close()
    finally:
        subprocess.run(["umount", small], check=True)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/rpdrive-cache-was-unpickled",)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    disk = DiskCache(folder)
    disk.put(PackKind.DATA, key(0), b"fine")
    disk.close()
    with sqlite3.connect(folder / "data" / "cache.db") as connection:
        connection.execute("UPDATE Cache SET mode = 4, value = ?", (pickle.dumps(Trap()),))
    connection.close()
    disk = DiskCache(folder)
    assert disk.get(PackKind.DATA, key(0)) is None
    disk.close()
    assert not Path("/tmp/rpdrive-cache-was-unpickled").exists()
    codec = BytesDisk(str(folder))
    with pytest.raises(TypeError):
        codec.store({"not": "bytes"}, False)
    with pytest.raises(TypeError):
        codec.put("not bytes")


def test_forged_paths_lead_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    disk = DiskCache(folder)
    disk.put(PackKind.DATA, key(0), b"x" * MIB)
    disk.close()
    with sqlite3.connect(folder / "data" / "cache.db") as connection:
        connection.execute("UPDATE Cache SET filename = '../../victim'")
    connection.close()
    disk = DiskCache(folder)
    assert disk.get(PackKind.DATA, key(0)) is None
    disk.clear()
    disk.close()
    assert victim.read_bytes() == b"precious"


def test_clear(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "c")
    other = DiskCache(tmp_path / "c")
    disk.put(PackKind.DATA, key(0), os.urandom(MIB))
    assert disk.flush()
    assert other.get(PackKind.DATA, key(0)) is not None
    disk.clear()
    assert disk.get(PackKind.DATA, key(0)) is None
    assert other.get(PackKind.DATA, key(0)) is None
    assert list((tmp_path / "c").rglob("*.val")) == []
    assert disk.status().data.items == 0
    disk.close()
    other.close()


def test_records_are_a_mapping_of_one_vault(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "c")
    records = disk.records(VAULT)
    assert "a" not in records
    records["a"] = b"1"
    records["b"] = b"2"
    assert records["a"] == b"1"
    assert disk.records(b"w" * 16).get("a") is None
    assert sorted(records) == ["a", "b"]
    assert len(records) == 2
    assert records.pop("a") == b"1"
    assert records.pop("a", None) is None
    with pytest.raises(KeyError):
        records["a"]
    disk.close()
    disk = DiskCache(tmp_path / "c")
    assert dict(disk.records(VAULT)) == {"b": b"2"}
    disk.close()


_WRITER = """
import os, sys
from pathlib import Path
from cache.disk import DiskCache
from catalog.format.blocks import PackKind
disk = DiskCache(Path(sys.argv[1]))
first = int(sys.argv[2])
for n in range(first, first + 30):
    disk.put(PackKind.DATA, b"v" * 16 + b"p" * 16 + n.to_bytes(8, "big"), n.to_bytes(4, "big") * 50_000)
"""


def test_processes_share_it(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    root = Path(__file__).parents[2]
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(folder), str(first)], cwd=root)
        for first in (0, 100, 200)
    ]
    assert [w.wait(60) for w in writers] == [0, 0, 0]
    disk = DiskCache(folder)
    for first in (0, 100, 200):
        for n in range(first, first + 30):
            assert disk.get(PackKind.DATA, key(n)) == n.to_bytes(4, "big") * 50_000
    disk.close()
