"""Copying between real folders: what the system copies, disks that fail, and processes that are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.errors import StoreFull, StoreUnreachable
from catalog.store.local import LocalStore
from catalog.store.metered import MeteredStore
from catalog.store.throttled import ThrottledStore
from catalog.throttle.rates import Limits
from catalog.transfer.engine import transfer
from catalog.transfer.outcome import Outcome, Wanted
from tests.kit.bad_disk import BadDisk
from tests.throttle.world import Recorded


@pytest.fixture
def source(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "source")
    drawn = random.Random(15)
    store.create("vault.json", [b"{}"])
    for number in range(20):
        store.create(f"packs/0a/{number % 3}/{number:04}", [drawn.randbytes(drawn.randrange(200_000))])
    return store


@pytest.fixture
def target(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "target")


def wanted(store: LocalStore) -> list[Wanted]:
    return [Wanted(info.name, info.size) for info in store.list("packs/")]


def contents(store: LocalStore) -> dict[str, bytes]:
    return {info.name: (store.root / info.name).read_bytes() for info in store.list("packs/")}


def test_bytes_do_not_pass_through_this_process(
    source: LocalStore, target: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(LocalStore, "read")
    outcome = transfer(source, target, wanted(source))
    assert outcome.copied == 20
    assert contents(target) == contents(source)
    assert not list((target.root / ".rpdrive").glob("writing-*"))


def test_one_read_and_one_create_of_each_object_are_counted(source: LocalStore, target: LocalStore) -> None:
    read, made = MeteredStore(source), MeteredStore(target)
    outcome = transfer(read, made, wanted(source))
    assert read.snapshot().read == made.snapshot().create == (20, outcome.copied_bytes)
    assert read.snapshot().requests == made.snapshot().requests == 20


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_limit_counts_for_files_too(source: LocalStore, target: LocalStore, side: str) -> None:
    gates = {
        name: Recorded((0.0, Limits(up=500_000, down=500_000) if name == side else Limits()))
        for name in ("source", "target")
    }
    outcome = transfer(
        ThrottledStore(source, gates["source"]), ThrottledStore(target, gates["target"]), wanted(source), parallel=1
    )
    assert contents(target) == contents(source)
    assert gates["source"].passed()[:2] == (0, outcome.copied_bytes)
    assert gates["target"].passed()[:2] == (outcome.copied_bytes, 0)
    gates[side].check_rate(500_000, 64 << 10, "down" if side == "source" else "up")


def test_a_bad_sector_costs_its_object(
    source: LocalStore, target: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = wanted(source)[7]
    BadDisk(source.root, monkeypatch).spoil(bad.name, bad.size // 2, bad.size)
    outcome = transfer(source, target, wanted(source))
    assert [(fault.name, fault.size) for fault in outcome.damaged] == [(bad.name, bad.size)]
    assert f"can't read {bad.name}" in outcome.damaged[0].reason
    assert outcome.copied == 19
    assert bad.name not in contents(target)


def test_a_source_that_is_unplugged_ends_it(
    source: LocalStore, target: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BadDisk(source.root, monkeypatch)
    outcome = Outcome()
    disk.is_away = lambda: outcome.copied >= 5
    with pytest.raises(StoreUnreachable):
        transfer(source, target, wanted(source), into=outcome)
    assert 5 <= outcome.copied == len(contents(target)) < 20
    disk.is_away = lambda: False
    assert transfer(source, target, wanted(source)).is_whole
    assert contents(target) == contents(source)


def test_a_target_that_disappears_ends_it(source: LocalStore, target: LocalStore) -> None:
    def unplug(one: Wanted) -> None:
        if target.root.exists():
            target.root.rename(target.root.with_name("unplugged"))

    with pytest.raises(StoreUnreachable):
        transfer(source, target, wanted(source), parallel=1, on_copied=unplug)
    assert not target.root.exists(), "it is not made again on the disk below"


@pytest.mark.needs_root
def test_a_full_disk_ends_it_and_a_larger_one_goes_on(source: LocalStore, tmp_path: Path) -> None:
    """To another file system: the system's own call does not reach there."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
    try:
        target, outcome = LocalStore(place), Outcome()
        with pytest.raises(StoreFull):
            transfer(source, target, wanted(source), into=outcome)
        assert 0 < outcome.copied == len(contents(target)) < 20
        assert not list((place / ".rpdrive").glob("writing-*"))
        subprocess.run(["mount", "-o", "remount,size=20m", place], check=True)
        assert transfer(source, target, wanted(source)).is_whole
        assert contents(target) == contents(source)
        target.close()
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_process_that_is_killed_leaves_whole_objects(source: LocalStore, target: LocalStore) -> None:
    program = f"""
import os, signal
from catalog.store.local import LocalStore
from catalog.systems.this import SYSTEM
from catalog.transfer.engine import transfer
from catalog.transfer.outcome import Wanted

copy, calls = SYSTEM.copy_range, []
def copied(self, source, offset, length, target):
    calls.append(1)
    if len(calls) == 9:
        copy(source, offset, length // 2, target)
        os.kill(os.getpid(), signal.SIGKILL)
    return copy(source, offset, length, target)
type(SYSTEM).copy_range = copied
source = LocalStore({str(source.root)!r})
transfer(source, LocalStore({str(target.root)!r}), [Wanted(i.name, i.size) for i in source.list("packs/")])
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[3], timeout=120)
    assert done.returncode == -signal.SIGKILL
    left = contents(target)
    assert 0 < len(left) < 20
    assert all(contents(source)[name] == data for name, data in left.items())
    assert transfer(source, target, wanted(source)).is_whole
    assert contents(target) == contents(source)


def test_a_name_appears_after_its_bytes_are_durable(
    source: LocalStore, target: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is flushed before it is linked, and its folder before the transfer tells of it."""
    log: list[tuple[str, str]] = []
    fsync, link = os.fsync, os.link

    def at(descriptor: int, path: str = "") -> str:
        whole = os.path.join(os.readlink(f"/proc/self/fd/{descriptor}"), path)
        return whole.rstrip("/").removeprefix(f"{target.root}/")

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        log.append(("sync", at(descriptor)))

    def linked(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        log.append((at(src_dir_fd, old), at(dst_dir_fd, new)))
        link(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    transfer(source, target, wanted(source), on_copied=lambda one: log.append(("told", one.name)))
    names = [one.name for one in wanted(source)]
    for name in names:
        (temporary,) = [old for old, new in log if new == name and old != "told"]
        named, told = log.index((temporary, name)), log.index(("told", name))
        assert ("sync", temporary) in log[:named]
        assert ("sync", os.path.dirname(name)) in log[named:told]
