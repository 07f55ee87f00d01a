"""A drive on Windows: mounts a volume of WinFsp, serves the view on it, and closes it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cache.reader import Reader
from catalog.errors import MountFailed
from mount.drivers.base import Closable
from mount.drivers.signals import on_signals
from mount.drivers.winfsp import library, ntstatus
from mount.drivers.winfsp.library import lib
from mount.drivers.winfsp.operations import Operations
from mount.drivers.winfsp.security import Descriptors
from mount.drivers.winfsp.volume import DISPATCHERS, MOST_SECONDS, volume_parameters
from mount.place.spelling import Place
from mount.view.nodes import View

DRAIN_SECONDS = 5.0  # for requests under way when the drive closes


class _Volume(library.FileSystem):  # type: ignore[misc]
    """winfspy's FileSystem with more threads, without need of a mount point, and deleted if its start fails."""

    def __init__(self, place: Place, operations: Operations, parameters: dict[str, Any]) -> None:
        super().__init__(place.mount_point, operations, **parameters)
        operations.file_system = self._file_system_ptr[0]

    def start(self) -> None:
        """Start the volume. Raises MountFailed."""
        volume = self._file_system_ptr[0]
        status = lib.FspFileSystemSetMountPoint(volume, self.mountpoint) if self.mountpoint else ntstatus.SUCCESS
        what = f"WinFsp cannot mount at {self.mountpoint}"
        if status == ntstatus.SUCCESS:
            status = lib.FspFileSystemStartDispatcher(volume, DISPATCHERS)
            what = "WinFsp cannot serve the drive"
        if status != ntstatus.SUCCESS:
            lib.FspFileSystemDelete(volume)
            raise MountFailed(f"{what}: {library.why(status)}", "see `rpdrive mounts`, or use another place")
        self.started = True


class Drive:
    """A `Driver` on Windows: `run` returns after `stop`, or when the process is asked to end."""

    name = "winfsp"
    windows_names = True

    def __init__(
        self,
        view: View,
        reader: Reader,
        *,
        ready: Callable[[], None] = lambda: None,
        read_timeout: float = 60.0,
        disk: bool = False,
        user_sid: str | None = None,
    ) -> None:
        """`ready` is called once the drive is mounted. `read_timeout` (seconds) limits each wait for the store.

        `disk`: mount a letter as a local disk, not as a network drive. `user_sid`: the owner; by default this user.
        """
        self.view = view
        self.mount_point = ""  # set once it is mounted
        self._ready = ready
        self._disk = disk
        self._descriptors = Descriptors(user_sid)
        # Longer than the wait for the store, whose own error says more.
        self._seconds = min(read_timeout + 5.0, MOST_SECONDS)
        self.operations = Operations(view, reader, self._descriptors, seconds=self._seconds)
        self.errors = self.operations.errors
        self._stop = threading.Event()

    @property
    def served(self) -> int:
        return self.operations.served

    @property
    def calls(self) -> int:
        return self.operations.calls

    @property
    def statfs_calls(self) -> int:
        return self.operations.statfs_calls

    @property
    def closable(self) -> Closable:
        return self

    @property
    def handles(self) -> int:
        """Open handles of files and folders."""
        return self.operations.handles

    def status(self) -> dict[str, Any]:
        """Counters other than `served` and `calls`, for `rpdrive mounts --json`."""
        return {
            "handed_over": self.operations.waiting.handed_over,
            "handles": self.handles,
            "under_way": self.operations.waiting.under_way,
        }

    def stop(self) -> None:
        """Make `run` return."""
        self._stop.set()

    def run(self, mount_point: str, *, allow_other: bool = False, at: str | None = None) -> None:
        library.check_version()
        place = Place.of(mount_point, disk=self._disk)
        self._descriptors.for_all = allow_other
        if place.is_folder:
            _remove_folder(place)
        try:
            self._serve(place)
        finally:
            if place.is_folder:
                Path(place.mount_point).mkdir(exist_ok=True)

    def _serve(self, place: Place) -> None:
        volume = self._volume(place)
        try:
            with on_signals(lambda _number, _frame: self._stop.set()):
                volume.start()
                self.mount_point = place.shown
                self._ready()
                while not self._stop.wait(0.5):  # on Windows no signal interrupts a wait without timeout
                    pass
        finally:
            if volume.started:
                self.operations.waiting.drain(DRAIN_SECONDS)
                volume.stop()

    def _volume(self, place: Place) -> _Volume:
        try:
            return _Volume(place, self.operations, volume_parameters(self.view, place))
        except library.WinFSPyError as e:
            raise MountFailed(
                f"WinFsp cannot create a volume: {e}",
                f"check its service, or reinstall it: {library.LINK}",
            ) from e


def _remove_folder(place: Place) -> None:
    """Remove the folder: WinFsp creates it itself. Raises MountFailed if it is not empty."""
    try:
        Path(place.mount_point).rmdir()
    except FileNotFoundError:
        pass
    except OSError as e:
        raise MountFailed(f"the mount point {place.shown} is not an empty folder", "use an empty one") from e
