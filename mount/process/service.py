"""The process behind a drive: joins vault, cache, view and driver, and reports their status."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cache.reader import Reader
from catalog.access.session import Session
from catalog.errors import MountFailed, RpdriveError, StoreError
from catalog.format.keys import Keys
from catalog.format.records import PointName
from catalog.format.vaultfile import VaultFile
from catalog.ledger.listed import list_points
from catalog.points.elsewhere import behind
from catalog.points.lacking import lacking
from catalog.points.opening import open_point, scope
from catalog.screen.text import iso_time
from catalog.throttle.limiting import limit_traffic
from catalog.vault import Vault
from mount.drivers import choice
from mount.place.base import Held
from mount.process.control.base import Control
from mount.process.control.this import CONTROL
from mount.process.fate import Fate
from mount.process.files import DriveFiles
from mount.process.lifetime import Lifetime
from mount.process.lock import PlaceLock
from mount.process.order import Order
from mount.process.registry import Registry
from mount.process.rows import DriveInfo, DriveStatus
from mount.process.this import PROCESSES
from mount.process.watcher import Watcher
from mount.view.nodes import View
from mount.view.point import PointView

if TYPE_CHECKING:
    from cache.disk import DiskCache

_log = logging.getLogger("rpdrive.drive")
Ready = Callable[[list[str]], None]  # gets what the person should know of the point


def serve(order: Order, session: Session, ready: Ready, control: Control | None = None) -> None:
    """Mount, call `ready` once the kernel has answered, and serve until the drive is unmounted.

    Raises NotFound, AmbiguousName, Damaged, StoreError, MountFailed or LocalError.
    """
    RunningDrive(order, session, ready, control or CONTROL).run()


class RunningDrive:
    """The drive of this process: a vault, its reader, a view, a driver, and how long the drive lives."""

    def __init__(self, order: Order, session: Session, ready: Ready, control: Control) -> None:
        """Open the vault. Raises NotFound, AmbiguousName, Damaged, StoreError, MountFailed or LocalError."""
        self._began = time.time_ns()
        self._order, self._session, self._ready = order, session, ready
        session.address = order.address
        self._place = Path(os.fsdecode(order.mount_point))
        self._disk = _disk_cache(order, session)
        self._notices: list[str] = []
        vault = _vault(order, session, self._disk, self._say)
        vault.tell = self._notices.append
        self._reader = Reader(vault, disk=self._disk, timeout=order.read_timeout)
        self._view, info, self._fate = _view(order, session, vault, self._reader, self._began)
        self._driver = choice.make_driver(
            order.driver, self._view, self._reader, ready=self._mounted, read_timeout=order.read_timeout,
            disk=order.disk,
        )  # fmt: skip
        self._info = replace(info, fold=self._view.folds) if self._driver.windows_names else info
        self._registry = Registry(session.settings, PROCESSES)
        self._held: Held | None = None
        self._lock: PlaceLock | None = None
        self._misplaced: MountFailed | None = None
        self._own = control.own(self._place, self._driver)
        self._watcher = Watcher(str(self._place))
        self._lifetime = Lifetime(
            self._own, self._uses, idle=order.idle, total=order.total,
            detached=lambda: self._registry.remove(self._place),
        )  # fmt: skip

    def _say(self, text: str) -> None:
        """Tell the person of the vault's other places: by the command, until the drive is open, and by the log."""
        _log.warning("%s", text)
        self._notices.append(text)

    def _uses(self) -> int:
        """The number of requests that count as use of the drive."""
        return self._driver.calls - self._driver.statfs_calls

    def _mounted(self) -> None:
        assert self._held is not None
        try:
            self._held.check()
        except MountFailed as e:
            self._misplaced = e
            self._held.undo()
            raise
        if self._lock is not None:
            self._lock.release()
        self._watcher.start()
        self._lifetime.start()
        self._ready(self._notices)

    def status(self) -> DriveStatus:
        meter = self._session.meter
        assert meter is not None
        traffic, driver, also = meter.snapshot(), self._driver, self._session.also
        if also is not None:
            traffic += also.traffic()
        return DriveStatus(
            **vars(self._info),
            **self._lifetime.status()._asdict(),
            uptime=(time.time_ns() - self._began) // 10**9,
            store_requests=traffic.requests + self._order.requests,
            bytes_fetched=traffic.received + self._order.received,
            bytes_served=driver.served,
            calls=driver.calls,
            errors=driver.errors.count,
            overdue=driver.errors.overdue,
            recent_errors=driver.errors.recent,
            driver={"name": driver.name, **driver.status()},
            cache=msgspec.to_builtins(self._reader.status()),
            forgotten_until=self._forgotten_until(),
            reading_from=also.reading_from or None if also is not None else None,
        )

    def _forgotten_until(self) -> str | None:
        until = None if self._fate is None else self._fate.until()
        return None if until is None else iso_time(until) if until else "now"

    def run(self) -> None:
        """Mount, and serve until the drive is unmounted. Raises MountFailed or LocalError. Called once."""
        if isinstance(self._view, PointView):
            # The root is sure to be listed, and mounting takes a while.
            threading.Thread(target=_warm, args=(self._view,), name="warm", daemon=True).start()
        try:
            self._lock = PlaceLock(DriveFiles(self._session.settings).lock(self._place))
            # The place is looked at again: another drive may have been mounted there meanwhile.
            with closing(self._own.hold(self._order.folder)) as self._held, self._registered():
                self._driver.run(str(self._place), allow_other=self._order.allow_other, at=self._held.path)
        finally:
            if self._lock is not None:
                self._lock.release()
            self._watcher.close()
            self._lifetime.close()
            self._view.close()
            self._reader.close()
            if self._disk is not None:
                self._disk.close()
        if self._misplaced is not None:
            raise self._misplaced

    @contextmanager
    def _registered(self) -> Iterator[None]:
        """While entered, the drive has a row in the registry, and answers status requests."""
        server = self._own.serve(DriveFiles(self._session.settings).socket(self._place), self.status)
        try:
            self._registry.add(self._place, self._info, server.endpoint)
            yield
        finally:
            server.close()
            self._registry.remove(self._place)


def preload() -> None:
    """Load what most drives need, while the command still waits for a passphrase."""
    import catalog.access.credentials
    import catalog.store.local
    import catalog.store.stack  # noqa: F401

    choice.preload()


def _vault(order: Order, session: Session, disk: DiskCache | None, say: Callable[[str], None]) -> Vault:
    if order.also and session.also is None:
        session.also_given, session.lacking = order.also, lacking
        also = session.read_elsewhere(say)
        if also is not None:
            also.why_away = order.away
    if session.gate is None:
        limit_traffic(session, order.limits, patient=False)
    store = session.open_store(patience=order.read_timeout)  # a folder's, too: it may be on a network
    file = VaultFile.decode(order.vault_file.encode())
    keys = file.verify(Keys(order.master, file.vault_id))
    return session.opened(store, keys, file, disk.records(file.vault_id) if disk is not None else None)


def _disk_cache(order: Order, session: Session) -> DiskCache | None:
    """The disk cache; None for a local vault unless a size is given: a second copy on one machine gains little."""
    if session.is_local and order.cache_size is None:
        return None
    from cache.disk import LIMIT, DiskCache

    try:
        return DiskCache(session.settings.cache, limit=LIMIT if order.cache_size is None else order.cache_size)
    except RpdriveError as e:
        _log.warning("the drive runs without a disk cache: %s", e)
        return None


def _view(
    order: Order, session: Session, vault: Vault, reader: Reader, began: int
) -> tuple[View, DriveInfo, Fate | None]:
    """The view that the order asks for, what it shows, and what becomes of its point. `began` in ns since 1970."""
    info = DriveInfo(
        mount_point=os.fsdecode(order.mount_point).encode(errors="backslashreplace").decode(),
        pid=os.getpid(),
        vault=order.address,
        vault_id=vault.id.hex(),
        machine=order.machine,
        item=order.item,
        since=iso_time(began),
    )
    machine, item = scope(vault, order.machine, order.item)

    if order.point is None:
        from mount.view.all_points import AllPointsView

        _tell_behind(session, vault, None)

        return AllPointsView(vault, reader, machine, item, forgotten=machine is not None), info, None
    listed = list_points(vault, machine, item)
    point = open_point(vault, listed, order.point)
    _tell_behind(session, vault, listed.stored)
    fate = Fate(vault, PointName.of(point), listed.ledger(point.machine, point.item))
    for row in vault.passed_over.report():
        _log.warning("%s", row)
    return PointView(reader, point), replace(
        info, point=point.id.hex(), point_time=iso_time(point.time), machine=point.machine_name,
        item=point.item_name,
    ), fate  # fmt: skip


def _tell_behind(session: Session, vault: Vault, names: Iterable[PointName] | None) -> None:
    """Tell if another place of the vault has more points. Lists those of this one, if need be."""
    found = behind(session, vault, vault.each_point_name() if names is None else names)
    if found is not None:
        vault.tell(str(found))


def _warm(view: View) -> None:
    """Read the beginning of the root ahead of its first listing."""
    try:
        next(view.root.pages(), None)
    except (RpdriveError, StoreError):
        pass  # listing the root will report it
