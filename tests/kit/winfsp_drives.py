"""Drives on the stand-in for WinFsp: a view, mounted by the driver, and a caller in place of Windows.

The conftest of tests/mount/winfsp makes winfspy importable before this is imported.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from cache.reader import Reader
from catalog.errors import MountFailed
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from mount.drivers.winfsp.drive import Drive
from mount.view.nodes import View
from mount.view.point import PointView
from tests.kit.drives import Maker, add_machine, add_point
from tests.kit.vaults import new_vault
from tests.kit.winfsp import standin
from tests.kit.winfsp.caller import Caller
from tests.kit.winfsp.security import Token
from tests.kit.winfsp.status import NtError

USER = Token().user
SECOND = 10**9
AT = 1_790_000_000 * SECOND


class Served:
    """A drive that runs in a thread."""

    def __init__(
        self, view: View, reader: Reader, place: str, *, allow_other: bool = False, **options: Any
    ) -> None:
        self.reader = reader
        self._failure: BaseException | None = None
        self.ready = threading.Event()
        self.drive = Drive(view, reader, ready=self.ready.set, user_sid=USER, **options)
        self._thread = threading.Thread(target=self._run, args=(place, allow_other), daemon=True)
        self._thread.start()
        while not self.ready.wait(0.01):
            if not self._thread.is_alive():
                raise self._failure or MountFailed("the drive ended")
        volume = standin.volume_at(self.drive.mount_point)
        assert volume is not None
        self.volume = volume
        self.caller = Caller(volume)

    def _run(self, place: str, allow_other: bool) -> None:
        try:
            self.drive.run(place, allow_other=allow_other)
        except BaseException as e:  # noqa: BLE001 - for the test's own thread
            self._failure = e

    def close(self) -> None:
        self.drive.stop()
        self._thread.join(60)
        assert not self._thread.is_alive()


@contextmanager
def serving(
    view: View, reader: Reader, place: str = "", *, allow_other: bool = False, read_timeout: float = 60.0,
    disk: bool = False,
) -> Iterator[Served]:  # fmt: skip
    """The view on a drive, of a letter that is free; nothing that would crash on Windows may happen on it."""
    place = place or next(f"{letter}:" for letter in "DEFGHIJKLMNO" if standin.volume_at(f"{letter}:") is None)
    standin.faults.clear()
    served = Served(view, reader, place, allow_other=allow_other, read_timeout=read_timeout, disk=disk)
    try:
        yield served
    finally:
        served.close()
    assert standin.faults == []


# --- points ------------------------------------------------------------------------------------------------------


def a_vault(store: Store) -> Vault:
    vault = new_vault(store)
    add_machine(vault)
    return vault


def a_view(
    vault: Vault, reader: Reader, nodes: list[Any], maker: Maker, *, distinct: bool = True, **fields: Any
) -> PointView:
    """The view of a point with these entries. `distinct`: no two names differ in case only, as the backup notes."""
    point = add_point(vault, maker.root(nodes), 1, AT, **fields)
    return PointView(reader, msgspec.structs.replace(point, distinct_names=distinct))


def refused(status: int, function: Any, *args: Any, **kwargs: Any) -> None:
    with pytest.raises(NtError) as caught:
        function(*args, **kwargs)
    assert caught.value.status == status


@contextmanager
def small_point() -> Iterator[tuple[PointView, Reader]]:
    """A point with two files, `a` and `b`."""
    vault = a_vault(MemoryStore())
    m = Maker(vault)
    reader = Reader(vault)
    yield a_view(vault, reader, [m.file(b"a", b"x"), m.file(b"b", b"y")], m), reader
    reader.close()
