"""A bad sector costs the object that lies on it. Of a disk that is away, nothing is said of its objects."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.errors import Damaged, StoreUnreachable, Unreadable
from catalog.store.base import Range
from catalog.store.local import LocalStore
from catalog.systems.this import SYSTEM
from tests.kit.bad_disk import BadDisk
from tests.kit.stores import MOST

NAME, DATA = "points/m/i/p", bytes(range(256)) * 8192  # 2 MiB


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path)
    store.create("vault.json", [b"{}"])
    store.create(NAME, [DATA])
    return store


@pytest.fixture
def disk(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> BadDisk:
    return BadDisk(store.root, monkeypatch)


def fails(ask: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error, match=NAME) as raised:
        ask()
    assert type(raised.value) is error


def asks(store: LocalStore) -> list[Callable[[], object]]:
    return [
        lambda: store.get(NAME, MOST),
        lambda: store.read(NAME, 0, len(DATA)),
        lambda: store.compose("packs/c", [b"x", Range(NAME, 1, len(DATA) - 1)]),
    ]


def test_an_object_with_a_bad_sector_is_unreadable(store: LocalStore, disk: BadDisk) -> None:
    disk.spoil(NAME, 1_500_000, 1_504_096)
    for ask in asks(store):
        fails(ask, Unreadable)
    assert issubclass(Unreadable, Damaged)
    assert store.read(NAME, 0, 1_500_000) == DATA[:1_500_000], "only what is there fails"
    assert store.size(NAME) == len(DATA)
    assert [info.name for info in store.list("")] == [NAME, "vault.json"], "nothing is half made"
    disk.bad.clear()
    assert store.get(NAME, MOST) == DATA, "nothing is remembered"


def test_a_disk_that_is_away_is_unreachable(store: LocalStore, disk: BadDisk) -> None:
    for name in (NAME, "vault.json"):
        disk.spoil(name)
    for ask in asks(store):
        fails(ask, StoreUnreachable)
    with pytest.raises(StoreUnreachable):
        store.get_tagged("vault.json", MOST)
    disk.bad = {NAME: disk.bad[NAME]}
    (store.root / "vault.json").unlink()
    fails(lambda: store.get(NAME, MOST), StoreUnreachable)


def test_a_disk_that_comes_back_is_asked_again(store: LocalStore, disk: BadDisk) -> None:
    disk.is_away = lambda: disk.failed < 1
    assert store.get(NAME, MOST) == DATA and disk.failed == 1


def test_what_can_not_even_be_opened(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its inode is bad, or the file system finds that what it notes of it does not fit a checksum."""
    opened = type(SYSTEM).open_below

    def refusing(code: int) -> Callable[..., int]:
        def open_below(system: object, top: str, name: str) -> int:
            if name == NAME:
                raise OSError(code, "bad")
            return opened(SYSTEM, top, name)

        return open_below

    for code in (errno.EIO, errno.EBADMSG, errno.EUCLEAN):
        monkeypatch.setattr(type(SYSTEM), "open_below", refusing(code))
        for ask in [*asks(store), lambda: store.size(NAME)]:
            fails(ask, Unreadable)
    monkeypatch.setattr(type(SYSTEM), "open_below", refusing(errno.ETIMEDOUT))
    fails(lambda: store.size(NAME), StoreUnreachable)
