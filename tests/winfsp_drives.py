"""Drives on the stand-in for WinFsp: a view, mounted by the driver, and a caller in place of Windows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cache.reader import Reader
from catalog.errors import MountFailed
from mount.view import View
from tests.winfsp import standin
from tests.winfsp.wheel import load

load()

from mount.winfsp import Drive  # noqa: E402
from tests.winfsp.caller import Caller  # noqa: E402
from tests.winfsp.security import Token  # noqa: E402

USER = Token().user


class Served:
    """A drive that runs in a thread."""

    def __init__(self, drive: Drive, place: str, *, allow_other: bool = False) -> None:
        self.drive = drive
        self._failure: BaseException | None = None
        self.ready = threading.Event()
        drive._ready = self.ready.set
        self._thread = threading.Thread(target=self._run, args=(place, allow_other), daemon=True)
        self._thread.start()
        while not self.ready.wait(0.01):
            if not self._thread.is_alive():
                raise self._failure or MountFailed("the drive ended")
        volume = standin.volume_at(drive.mount_point)
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
    served = Served(
        Drive(view, reader, read_timeout=read_timeout, disk=disk, user_sid=USER), place, allow_other=allow_other
    )
    try:
        yield served
    finally:
        served.close()
    assert standin.faults == []
