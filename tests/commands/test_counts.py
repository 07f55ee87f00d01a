"""What the drive and the backup cost in requests and bytes, on real backups: exact, so asserted.

Read as a drive reads: through the view, which every driver only translates.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.run import Result
from cache.disk import DiskCache
from cache.reader import Reader
from catalog.ledger.listed import list_points
from catalog.points.opening import open_point
from catalog.store.metered import Traffic
from catalog.vault import Vault
from mount.view.all_points import AllPointsView
from mount.view.nodes import File, Folder, Node
from mount.view.point import PointView
from tests.kit.backing import back_up
from tests.kit.vaults import Remote

MIB = 1 << 20


@pytest.fixture
def remote() -> Remote:
    return Remote()


def mount_point(vault: Vault, reader: Reader, spec: str = "latest") -> PointView:
    """What `rpdrive mount --point` does before its driver."""
    return PointView(reader, open_point(vault, list_points(vault), spec))


def entries(folder: Node) -> Iterator[tuple[bytes, Node]]:
    assert isinstance(folder, Folder)
    for page in folder.pages():
        for n, name in enumerate(page.names):
            yield name, page.node(n)


def go(folder: Node, path: str | Path) -> Node:
    for part in os.fsencode(path).strip(b"/").split(b"/"):
        assert isinstance(folder, Folder)
        folder = folder.lookup(part)
    return folder


def content(node: Node) -> bytes:
    assert isinstance(node, File)
    return bytes(node.open().read(0, node.attributes.size))


def small_files(root: Path, *, folders: int = 200, each: int = 100) -> None:
    """Files of 1 to 16 KiB that can't be compressed."""
    rng = random.Random(7)
    for d in range(folders):
        folder = root / f"folder-{d:03}"
        folder.mkdir(parents=True)
        for n in range(each):
            size = rng.randrange(1 << 10, 16 << 10)
            (folder / f"file-{n:03}.dat").write_bytes(rng.randbytes(size))
    time.sleep(0.1)  # what changed within a tick before a backup began would be read again by the next


def deep_file(root: Path) -> Path:
    """A file of 10 KiB, five folders down, each with neighbours."""
    here = root
    for depth in range(5):
        here = here / f"level-{depth}"
        here.mkdir(parents=True)
        for n in range(40):
            (here / f"neighbour-{n:02}").write_bytes(os.urandom(3000))
    wanted = here / "wanted"
    wanted.write_bytes(os.urandom(10 << 10))
    return wanted


# --- 1. mounting --------------------------------------------------------------------------------------------


def mount_and_list(remote: Remote) -> int:
    before = remote.meter.snapshot()
    vault = remote.opened()
    reader = Reader(vault)
    assert [name for name, _ in entries(mount_point(vault, reader).root)]
    spent = remote.spent(before).requests
    reader.close()
    return spent


@pytest.mark.slow
def test_mounting_one_point_takes_five_requests_with_1_and_500_points(remote: Remote, tmp_path: Path) -> None:
    source = tmp_path / "source"
    small_files(source, folders=2, each=20)
    back_up(remote.vault, tmp_path / "state", source)
    assert mount_and_list(remote) <= 5
    for n in range(499):
        if n % 100 == 0:
            (source / "folder-000" / f"new-{n}").write_bytes(os.urandom(5000))
        back_up(remote.vault, tmp_path / "state", source)
    assert len(remote.vault.point_names()) == 500
    assert mount_and_list(remote) <= 5


def test_the_drive_of_all_points_takes_three_requests_three_for_each_machine_and_one_for_each_item(
    remote: Remote, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    small_files(source, folders=1, each=5)
    machines, items = 3, 2
    for m in range(machines):
        for i in range(items):
            for _ in range(3):
                back_up(remote.vault, tmp_path / f"state-{m}", source, item=f"item-{i}")
    before = remote.meter.snapshot()
    vault = remote.opened()
    reader = Reader(vault)
    view = AllPointsView(vault, reader)
    seen = 0
    for _name, machine in entries(view.root):
        for _item, points in entries(machine):
            seen += len(list(entries(points)))
    assert seen == machines * items * 5  # three points, `latest` and `.versions`
    assert remote.spent(before).requests == 3 + 3 * machines + machines * items
    reader.close()


# --- 2. one small file --------------------------------------------------------------------------------------


def test_a_file_five_folders_down_takes_six_requests(remote: Remote, tmp_path: Path) -> None:
    source = tmp_path / "source"
    small_files(source / "a", folders=50, each=40)
    wanted = deep_file(source / "m")
    small_files(source / "z", folders=50, each=40)
    back_up(remote.vault, tmp_path / "state", source)
    vault = remote.opened()
    reader = Reader(vault)
    top = go(mount_point(vault, reader).root, source)
    assert list(entries(top))
    before = remote.meter.snapshot()
    assert content(go(top, wanted.relative_to(source))) == wanted.read_bytes()
    spent = remote.spent(before)
    assert spent.requests <= 6
    assert spent.received <= 2 * MIB
    reader.close()


# --- 3. a large file ----------------------------------------------------------------------------------------


def large_file(path: Path, size: int) -> None:
    """Half compressible, a mebibyte at a time."""
    with path.open("wb") as f:
        for _ in range(size // MIB):
            f.write(os.urandom(MIB // 2) + b"0123456789abcdef" * (MIB // 32))


@pytest.mark.slow
def test_a_file_of_1_gib_costs_its_stored_bytes_once(remote: Remote, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    large_file(source / "large", 1 << 30)
    back_up(remote.vault, tmp_path / "state", source)
    stored = remote.stored("packs")
    vault = remote.opened()
    reader = Reader(vault)
    # The same five requests as for a small vault:
    assert mount_and_list(remote) <= 5
    node = go(mount_point(vault, reader).root, source / "large")
    assert isinstance(node, File)
    before = remote.meter.snapshot()
    file = node.open()
    with (source / "large").open("rb") as f:
        offset = 0
        while piece := f.read(128 << 10):  # as the kernel asks
            assert bytes(file.read(offset, len(piece))) == piece
            offset += len(piece)
    spent = remote.spent(before)
    assert spent.received <= 1.05 * stored
    assert spent.read.requests <= 110
    assert spent.requests == spent.read.requests
    reader.close()


# --- 4. many small files ------------------------------------------------------------------------------------


def walk(folder: Node, path: Path) -> list[tuple[Path, Node]]:
    """Everything below, folder by folder in order of name; the files of each."""
    found = []
    for name, node in entries(folder):
        here = path / os.fsdecode(name)
        if isinstance(node, Folder):
            found += walk(node, here)
        elif isinstance(node, File):
            found.append((here, node))
    return found


def read_through(remote: Remote, source: Path, disk: DiskCache | None = None) -> tuple[Traffic, Traffic, Reader]:
    """Mount, walk, then read every file in directory order: traffic of the walk, of all, and the reader."""
    before = remote.meter.snapshot()
    vault = remote.opened()
    reader = Reader(vault, disk=disk)
    files = walk(go(mount_point(vault, reader).root, source), source)
    walked = remote.spent(before)
    for path, node in files:
        assert content(node) == path.read_bytes(), path
    return walked, remote.spent(before), reader


@pytest.mark.slow
@pytest.mark.timeout(1200)  # 200 backups, on a machine with other work
@pytest.mark.parametrize("points", [15, pytest.param(200, marks=pytest.mark.soak)])
def test_20000_small_files_first_again_offline_and_after_many_points(
    remote: Remote, tmp_path: Path, points: int
) -> None:
    source = tmp_path / "source"
    small_files(source)
    back_up(remote.vault, tmp_path / "state", source)
    stored = remote.stored("packs", "meta")
    disk = DiskCache(tmp_path / "cache")
    first_walk, first, reader = read_through(remote, source, disk)
    assert first.requests <= stored / (4 * MIB) + 20
    again = remote.meter.snapshot()
    vault_view = PointView(reader, reader.vault.point(reader.vault.point_names()[-1]))
    files = walk(go(vault_view.root, source), source)
    base = remote.spent(again).requests
    for path, node in files:
        assert content(node) == path.read_bytes()
    assert remote.spent(again).requests == base <= 2  # the list of points and the point; no block
    reader.close()
    disk.flush()
    remote.away.reachable = False
    offline = Reader(reader.vault, disk=disk, timeout=5)
    for path, node in walk(go(PointView(offline, vault_view.point).root, source), source):
        assert content(node) == path.read_bytes(), path
    offline.close()
    remote.away.reachable = True
    disk.close()

    rng = random.Random(11)
    every = sorted(p for p in source.rglob("*") if p.is_file())
    for _ in range(points - 1):
        for path in rng.sample(every, 50):
            data = bytearray(path.read_bytes())
            data[:16] = rng.randbytes(16)
            path.write_bytes(data)
        back_up(remote.vault, tmp_path / "state", source)
    last_disk = DiskCache(tmp_path / "cache-2")
    last_walk, last, reader = read_through(remote, source, last_disk)
    reader.close()
    last_disk.close()
    print(f"walk {first_walk.requests} -> {last_walk.requests}, all {first.requests} -> {last.requests} requests")
    print(f"walk {first_walk.received} -> {last_walk.received}, all {first.received} -> {last.received} bytes")
    assert last_walk.requests <= 3 * first_walk.requests
    assert last.requests <= 6 * first.requests


# --- 5. one name among many ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_name_in_a_directory_of_100000_takes_three_requests(remote: Remote, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for n in range(100_000):
        (source / f"name-{n:06}").touch()
    back_up(remote.vault, tmp_path / "state", source)
    for n in (0, 54_321, 99_999):
        vault = remote.opened()
        reader = Reader(vault)
        view = mount_point(vault, reader)
        assert [name for name, _ in entries(view.root)]
        above = go(view.root, source.parent)
        before = remote.meter.snapshot()
        assert go(above, f"source/name-{n:06}").attributes.size == 0
        spent = remote.spent(before)
        assert spent.requests <= 3
        assert spent.received <= MIB
        reader.close()


# --- 6. backing up again ------------------------------------------------------------------------------------


def sent(outcome: Result) -> int:
    return outcome.progress.sent.data_bytes


def test_an_unchanged_backup_uploads_a_record_only(remote: Remote, tmp_path: Path) -> None:
    source = tmp_path / "source"
    small_files(source, folders=20, each=50)
    back_up(remote.vault, tmp_path / "state", source)
    before = remote.meter.snapshot()
    outcome = back_up(remote.vault, tmp_path / "state", source)
    assert sent(outcome) == outcome.progress.sent.tree_bytes == outcome.progress.read_bytes == 0
    assert remote.spent(before).sent < 16 << 10
    assert outcome.progress.unchanged == outcome.totals.entries


@pytest.mark.slow
def test_100_bytes_in_front_of_a_file_of_1_gib_upload_less_than_4_mib(remote: Remote, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    large_file(source / "large", 1 << 30)
    back_up(remote.vault, tmp_path / "state", source)
    (source / "longer").write_bytes(b"x" * 100)
    with (source / "large").open("rb") as f, (source / "longer").open("ab") as g:
        while piece := f.read(8 * MIB):
            g.write(piece)
    (source / "longer").replace(source / "large")
    before = remote.meter.snapshot()
    back_up(remote.vault, tmp_path / "state", source)
    assert remote.spent(before).sent < 4 * MIB


@pytest.mark.slow
def test_renaming_a_folder_of_10000_files_uploads_no_data(remote: Remote, tmp_path: Path) -> None:
    source = tmp_path / "source"
    small_files(source, folders=1, each=10_000)
    back_up(remote.vault, tmp_path / "state", source)
    (source / "folder-000").rename(source / "renamed")
    outcome = back_up(remote.vault, tmp_path / "state", source)
    assert outcome.totals.files == 10_000
    assert sent(outcome) == 0
