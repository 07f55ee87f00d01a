"""LocalStore alone: writers that die, disks that disappear, descriptors."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from catalog.errors import (
    ObjectExists,
    ObjectNotFound,
    ObjectTooLarge,
    StoreError,
    StoreUnreachable,
)
from catalog.store import local
from catalog.store.address import open_store
from catalog.store.base import ObjectInfo
from catalog.store.descriptors import Descriptors
from catalog.store.durable import PREFIX, STALE, place_new
from catalog.store.local import LocalStore
from catalog.store.retrying import RetryingStore
from catalog.systems.base import Folder
from catalog.systems.this import SYSTEM
from tests.kit.stores import MOST

WRITER = """
import sys
from catalog.store.local import LocalStore
store = LocalStore(sys.argv[1])
number = 0
while True:
    store.create(f"packs/{number % 4:02x}/{number}", [b"%08d" % number * 1024] * 256)
    print(number, flush=True)
    number += 1
"""


def test_a_writer_that_is_killed_leaves_whole_objects_or_none(tmp_path: Path) -> None:
    reader = LocalStore(tmp_path / "vault")
    acknowledged: list[str] = []
    for pause in (0.0, 0.003, 0.007, 0.011, 0.02):
        for path in (tmp_path / "vault").glob("packs/*/*"):
            path.unlink()
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(reader.root)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            acknowledged = [writer.stdout.readline().strip() for _ in range(3)]
            time.sleep(pause)
            writer.send_signal(signal.SIGKILL)
            acknowledged += writer.stdout.read().split()
        found = {info.name.rpartition("/")[2]: info for info in reader.list("")}
        assert set(acknowledged) <= set(found)
        for number, info in found.items():
            assert reader.get(info.name, MOST) == b"%08d" % int(number) * 1024 * 256
    # Its unfinished files are in a folder that listings skip, and they block no other writer.
    left = {path.relative_to(reader.root).parts[0] for path in reader.root.rglob("*")}
    assert left == {"packs", ".rpdrive"}
    reader.create("points/m/i/p", [b"next"])


def fails_with(number: int) -> Callable[..., object]:
    def call(*_: object, **__: object) -> object:
        raise OSError(number, os.strerror(number))

    return call


def test_old_files_of_dead_writers_are_swept(tmp_path: Path) -> None:
    LocalStore(tmp_path).create("packs/00/a", [b"data"])
    old, young = (tmp_path / ".rpdrive" / f"{PREFIX}{name}" for name in ("old", "young"))
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    past = time.time_ns() - STALE - 10**9
    os.utime(old, ns=(past, past))
    LocalStore(tmp_path).create("packs/00/b", [b"data"])
    assert (old.exists(), young.exists()) == (False, True)


def test_what_a_killed_writer_left_is_swept_by_the_next_one(tmp_path: Path) -> None:
    LocalStore(tmp_path).create("packs/00/a", [b"data"])
    names = ("one-1-half", "two-1-half", "1-half")
    files = [tmp_path / ".rpdrive" / f"{PREFIX}{name}" for name in names]
    for file in files:
        file.write_bytes(b"half")
    store = RetryingStore(LocalStore(tmp_path))
    store.sweep("one")
    store.create("packs/00/b", [b"data"])
    assert [file.exists() for file in files] == [False, True, True]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_clone_of_the_same_host_name_sweeps_while_this_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Two machines with one identity back up at once: each takes the other's unfinished files for left ones."""
    swept: list[str] = []
    store = LocalStore(tmp_path)
    store.sweep("one")

    def between(until: object, file: str) -> None:
        if file == "a" and len(swept) < times:
            clone = LocalStore(tmp_path)
            clone.sweep("one")
            clone.create(f"packs/00/clone-{len(swept)}", [b"clone's"])
            swept.append(file)

    monkeypatch.setattr(local, "check", between)
    if times == 3:
        with pytest.raises(StoreUnreachable):  # it goes on and on: another run will do
            store.create("packs/00/a", [b"da", b"ta"])
        return
    store.create("packs/00/a", [b"da", b"ta"])
    assert store.get("packs/00/a", MOST) == b"data" and len(swept) == times
    assert not list((tmp_path / ".rpdrive").glob(f"{PREFIX}*"))


def test_a_created_object_leaves_nothing_else(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "new" / "vault")
    store.create("packs/0a/pack", [b"data"])
    with pytest.raises(ObjectExists):
        store.create("packs/0a/pack", [b"other"])
    files = [path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()]
    assert files == ["packs/0a/pack"]


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.EROFS])
def test_a_file_system_without_links_is_served_by_renaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    monkeypatch.setattr(os, "link", fails_with(refusal))
    store = LocalStore(tmp_path)
    store.create("packs/0a/pack", [b"data"])
    assert store.get("packs/0a/pack", MOST) == b"data"
    (tmp_path / "one").write_bytes(b"1")
    with pytest.raises(FileExistsError):
        SYSTEM.rename_new(tmp_path / "one", tmp_path / "packs/0a/pack")
    assert store.get("packs/0a/pack", MOST) == b"data"
    assert (tmp_path / "one").read_bytes() == b"1"


@pytest.mark.parametrize("fault", [None, errno.EIO])
def test_a_file_system_that_can_only_replace_is_served_by_claiming_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int | None
) -> None:
    """As exfat-fuse: link(2) is not implemented, and renameat2(2) knows no RENAME_NOREPLACE."""
    monkeypatch.setattr(os, "link", fails_with(errno.ENOSYS))
    monkeypatch.setattr(type(SYSTEM), "rename_new", fails_with(errno.EINVAL))
    store = LocalStore(tmp_path / "vault")
    if fault:
        monkeypatch.setattr(os, "replace", fails_with(fault))
        with pytest.raises(StoreUnreachable):
            store.create("vault.json", [b"data"])
        assert list(store.list("")) == []
        return
    store.create("vault.json", [b"data"])
    with pytest.raises(ObjectExists):
        store.create("vault.json", [b"other"])
    assert store.get("vault.json", MOST) == b"data"
    assert os.listdir(tmp_path / "vault" / ".rpdrive") == []
    store.replace("vault.json", b"more", store.get_tagged("vault.json", MOST)[1])
    assert store.get("vault.json", MOST) == b"more"


def test_one_of_many_wins_where_a_name_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", fails_with(errno.ENOSYS))
    monkeypatch.setattr(type(SYSTEM), "rename_new", fails_with(errno.EINVAL))
    store = LocalStore(tmp_path)

    def create(mine: int) -> int:
        try:
            store.create("vault.json", [b"%d" % mine])
        except ObjectExists:
            return 0
        return mine

    with ThreadPoolExecutor(8) as threads:
        won = [mine for mine in threads.map(create, range(1, 9)) if mine]
    assert store.get("vault.json", MOST) == b"%d" % won[0]
    assert len(won) == 1


def test_a_folder_that_never_existed_is_an_empty_store(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "none")
    assert list(store.list("")) == []
    with pytest.raises(ObjectNotFound):
        store.get("vault.json", MOST)
    assert not store.root.exists()


def test_a_disk_that_is_pulled_out_is_unreachable_not_empty(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "disk")
    store.create("packs/0a/pack", [b"0123456789"])
    store.read("packs/0a/pack", 0, 1)
    away = tmp_path / "away"
    store.root.rename(away)
    attempts: list[Callable[[], object]] = [
        lambda: store.get("packs/0a/pack", MOST),
        lambda: store.size("packs/0a/pack"),
        lambda: store.read("packs/0a/other", 0, 1),
        lambda: list(store.list("packs/")),
        lambda: list(store.list("")),
        lambda: store.create("packs/0a/more", [b"x"]),
        lambda: store.delete("packs/0a/pack"),
        lambda: store.replace("vault.json", b"x", "tag"),
    ]
    for attempt in attempts:
        with pytest.raises(StoreUnreachable):
            attempt()
    assert not store.root.exists()
    store.root.mkdir()  # the bare mount point
    for attempt in attempts:
        with pytest.raises(StoreUnreachable):
            attempt()
    assert list(store.root.iterdir()) == []
    store.root.rmdir()
    away.rename(store.root)  # the disk is connected again
    assert store.read("packs/0a/pack", 3, 3) == b"345"
    with pytest.raises(ObjectNotFound):
        store.get("packs/0a/other", MOST)


@pytest.mark.parametrize("is_bare", [True, False])
@pytest.mark.parametrize("what", ["create", "now", "replace", "list", "keep_room"])
def test_a_disk_that_is_pulled_out_at_any_moment_is_not_made_again_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, is_bare: bool
) -> None:
    """Also after the request has made sure that it is there, and before it opens the folder."""
    root, away = tmp_path / "disk", tmp_path / "away"
    store = LocalStore(root)
    store.create("vault.json", [b"{}"])
    tag = store.get_tagged("vault.json", MOST)[1]
    ask: dict[str, Callable[[], object]] = {
        "create": lambda: store.create(f"packs/0a/{step}", [b"x"]),
        "now": store.now,
        "replace": lambda: store.replace("vault.json", b"{}", tag),
        "list": lambda: list(store.list("")),
        "keep_room": store.keep_room,
    }
    real, left = type(SYSTEM).below, -1

    def below(*args: object, **options: object) -> object:
        nonlocal left
        left -= 1
        if left == 0:
            root.rename(away)
            if is_bare:
                root.mkdir()
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(SYSTEM), "below", below)
    for step in range(1, 9):
        left = step
        try:
            ask[what]()
            assert left > 0 or what == "keep_room"  # which is best effort
        except StoreUnreachable:
            assert left <= 0
        if left > 0:  # this request opens fewer folders
            break
        with pytest.raises(StoreUnreachable):
            store.create("packs/0a/next", [b"x"])
        assert not root.exists() or not any(root.iterdir())
        if is_bare:
            root.rmdir()
        away.rename(root)
    assert step > 1


def test_a_disk_that_is_mounted_again_as_another_device(tmp_path: Path) -> None:
    """A vault is known by its vault.json: a folder of the store's own may lie anywhere."""
    root, away = tmp_path / "disk", tmp_path / "away"
    store = LocalStore(root)
    store.create("vault.json", [b"{}"])
    root.rename(away)
    (root / ".rpdrive").mkdir(parents=True)
    with pytest.raises(StoreUnreachable):
        store.create("packs/0a/pack", [b"x"])
    shutil.copytree(away, root, dirs_exist_ok=True)
    store.create("packs/0a/pack", [b"x"])
    assert (root / "packs/0a/pack").exists() and not (away / "packs").exists()


def test_a_listing_during_which_the_disk_vanishes_does_not_end_early(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "disk")
    for number in range(4):
        store.create(f"index/{number}/a", [b"x"])
    listing = store.list("index/")
    assert next(listing).name == "index/0/a"
    store.root.rename(tmp_path / "away")
    with pytest.raises(StoreUnreachable):
        list(listing)


@pytest.mark.needs_root
def test_a_full_disk_is_store_full_and_keeps_what_it_has(tmp_path: Path) -> None:
    # A real file system of 1 MiB, in a mount namespace of the child's own.
    code = (
        "import sys; from catalog.store.local import LocalStore; from catalog.errors import StoreFull\n"
        "store = LocalStore(sys.argv[1]); store.create('packs/a', [b'x' * 500_000])\n"
        "try: store.create('packs/b', [b'y' * 700_000])\n"
        "except StoreFull: pass\n"
        "else: sys.exit('no StoreFull')\n"
        "assert [i.name for i in store.list('')] == ['packs/a']\n"
        "store.create('packs/c', [b'z' * 300_000])\n"
    )
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3" "$1"',
            "sh",
            str(tmp_path),
            sys.executable,
            code,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_folder_that_may_not_be_written_is_denied(tmp_path: Path) -> None:
    """Runs as a user other than root, who may write anywhere."""
    vault = tmp_path / "vault"
    LocalStore(vault).create("a", [b"x"])
    (vault / "s").write_bytes(b"x")
    (vault / "s").chmod(0)
    for folder in (vault, vault / ".rpdrive"):
        folder.chmod(0o555)
    code = (
        "import os, sys\n"
        "from catalog.store.local import LocalStore; from catalog.errors import AccessDenied\n"
        "vault = os.open(sys.argv[1], os.O_RDONLY); os.geteuid() or os.setuid(65534)\n"
        "store = LocalStore(f'/proc/self/fd/{vault}'); assert store.get('a', 9) == b'x'\n"
        "for call in (lambda: store.create('b', [b'y']), lambda: store.delete('a'), lambda: store.get('s', 9)):\n"
        "    try: call()\n"
        "    except AccessDenied: continue\n"
        "    sys.exit('not denied')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(vault)], capture_output=True, text=True, check=False)
    for folder in (vault, vault / ".rpdrive"):
        folder.chmod(0o755)
    assert done.returncode == 0, done.stderr


def test_what_is_not_an_object_is_not_listed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.create("vault.json", [b"data"])
    (tmp_path / "a name with spaces").write_bytes(b"x")
    (tmp_path / "points").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    store.replace("vault.json", b"more", store.get_tagged("vault.json", MOST)[1])  # creates the lock file
    assert [info.name for info in store.list("")] == ["vault.json"]
    (info,) = store.list("vault")
    status = (tmp_path / "vault.json").stat()
    assert info == ObjectInfo("vault.json", 4, max(status.st_mtime_ns, status.st_ctime_ns))


def test_descriptors_are_few_and_right_under_many_threads(tmp_path: Path) -> None:
    paths = []
    for number in range(40):
        path = tmp_path / str(number)
        path.write_bytes(b"%04d" % number * 256)
        paths.append(str(path))
    descriptors = Descriptors(limit=4)
    before = len(os.listdir("/proc/self/fd"))
    peak = 0
    lock = threading.Lock()

    def read(turn: int) -> bool:
        nonlocal peak
        number = turn * 7 % 40
        with descriptors.borrow(paths[number]) as descriptor:
            data = os.pread(descriptor, 1024, 0)
            with lock:
                peak = max(peak, len(os.listdir("/proc/self/fd")))
        return data == b"%04d" % number * 256

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(2000)))
    assert peak <= before + 4 + 8 + 8 + 1  # idle, in use, being opened, and the listing's own
    assert len(os.listdir("/proc/self/fd")) <= before + 4
    descriptors.close()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_an_address_opens_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a b#c?d"
    LocalStore(folder).create("vault.json", [b"data"])
    for url in (folder.as_uri(), str(folder), f"file://localhost{folder.as_uri()[7:]}"):
        store = open_store(url)
        assert store.url == url
        assert store.get("vault.json", MOST) == b"data"


def test_no_object_is_born_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer may sleep for a week between the last byte and the name."""
    from catalog.store import local

    def place_later(own: Folder, temporary: str, folder: Folder, name: str) -> None:
        os.utime(own.path(temporary), (1000, 1000), dir_fd=own.descriptor)
        place_new(own, temporary, folder, name)

    monkeypatch.setattr(local, "place_new", place_later)
    store = LocalStore(tmp_path)
    before = store.now()
    modified = store.create("packs/00/a", [b"data"])
    assert modified >= before
    assert [info.modified for info in store.list("packs/")] == [modified]
    assert (tmp_path / "packs/00/a").stat().st_mtime == 1000


def test_a_huge_object_costs_no_memory(tmp_path: Path) -> None:
    (tmp_path / "points").mkdir()
    with (tmp_path / "points" / "p").open("wb") as file:
        file.truncate(2**43)
    store = LocalStore(tmp_path)
    with pytest.raises(ObjectTooLarge):
        store.get("points/p", 32 << 20)
    assert store.read("points/p", 2**43 - 5, 2**50, up_to=True) == bytes(5)


def test_symlinks_in_a_vault_are_no_part_of_it(tmp_path: Path) -> None:
    """A loop of them made a listing walk 2^40 paths, and one to elsewhere is somebody else's file."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "pack").write_bytes(b"secret")
    (tmp_path / "vault").mkdir()
    (tmp_path / "link").symlink_to("vault")
    store = LocalStore(tmp_path / "link")
    store.create("points/m/i/p", [b"data"])
    points = tmp_path / "vault" / "points"
    for name in ("a", "b"):
        (points / name).symlink_to(".")
    (points / "pack").symlink_to(outside / "pack")
    (tmp_path / "vault" / "packs").symlink_to(outside)
    assert [info.name for info in store.list("")] == ["points/m/i/p"]
    assert list(store.folders("")) == ["points"]
    assert list(store.folders("points/")) == ["m"]
    assert list(store.list("packs/")) == []
    for name in ("points/a/m/i/p", "points/pack", "packs/pack"):
        with pytest.raises(ObjectNotFound):
            store.get(name, MOST)
        with pytest.raises(ObjectNotFound):
            store.read(name, 0, 1)
        with pytest.raises(ObjectNotFound):
            store.size(name)
    with pytest.raises(StoreError, match="a part of this path is not a folder"):
        store.create("packs/00/new", [b"data"])
    with pytest.raises(ObjectExists):
        store.create("points/pack", [b"data"])
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"pack": b"secret"}


def test_a_fifo_under_the_name_of_an_object_is_none(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    os.mkfifo(tmp_path / "vault.json")
    with pytest.raises(ObjectNotFound):
        store.get("vault.json", 9)
    with pytest.raises(ObjectNotFound):
        store.read("vault.json", 0, 1)


def test_a_deep_tree_of_folders_ends_no_listing(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    store = LocalStore(tmp_path)
    store.create("points/p", [b""])
    try:
        assert [info.name for info in store.list("")] == ["points/p"]
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # shutil.rmtree recurses


def test_a_new_vault_is_private(tmp_path: Path) -> None:
    """vault.json alone is enough to guess the passphrase, for as long as one likes."""
    before = os.umask(0)
    try:
        LocalStore(tmp_path / "new" / "vault").create("vault.json", [b"data"])
        (tmp_path / "made").mkdir(mode=0o755)
        LocalStore(tmp_path / "made").create("vault.json", [b"data"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "vault").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o755
