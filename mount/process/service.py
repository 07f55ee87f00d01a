"""The process behind a drive: vault, cache, view and driver put together, and what it tells of itself."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cache.reader import Reader
from catalog.access.session import Session
from catalog.errors import RpdriveError, StoreError
from catalog.format.keys import Keys, VaultFile
from catalog.format.records import PointName
from catalog.points.choice import choose_point, scope
from catalog.screen.text import iso_time
from catalog.vault import Vault
from mount.drivers import choice
from mount.process.files import DriveFiles
from mount.process.lifetime import Lifetime, Mounted
from mount.process.order import Order
from mount.process.registry import Registry
from mount.process.rows import DriveInfo, DriveStatus
from mount.process.status_socket import StatusServer
from mount.process.watcher import Watcher
from mount.process.windows_drive import OpenDrive
from mount.view.nodes import View
from mount.view.point import PointView

if TYPE_CHECKING:
    from cache.disk import DiskCache
    from mount.process.status_pipe import PipeServer

_log = logging.getLogger("rpdrive.drive")


def serve(order: Order, session: Session, ready: Callable[[], None]) -> None:
    """Mount, call `ready` when the kernel has said hello, and serve until the drive is unmounted.

    NotFound, AmbiguousName, Damaged, StoreError, MountFailed, LocalError.
    """
    began = time.time_ns()
    session.address = order.address
    mount_point = Path(os.fsdecode(order.mount_point))
    disk = _disk_cache(order, session)
    store = session.open_store(patience=order.read_timeout)  # a folder's, too: it may be on a network
    file = VaultFile.decode(order.vault_file.encode())
    keys = file.verify(Keys(order.master, file.vault_id))
    vault = Vault(store, keys, file, disk.records(file.vault_id) if disk is not None else None)
    reader = Reader(vault, disk=disk, timeout=order.read_timeout)
    view, info = _view(order, vault, reader, began)
    registry, files = Registry(session.settings), DriveFiles(session.settings)

    watcher = Watcher(str(mount_point))

    def mounted() -> None:
        watcher.start()
        lifetime.start()
        ready()

    drive = choice.make_driver(
        order.driver, view, reader, ready=mounted, read_timeout=order.read_timeout, disk=order.disk
    )
    mount = OpenDrive(mount_point, drive.closable) if drive.closable is not None else Mounted(mount_point)
    lifetime = Lifetime(
        mount, lambda: drive.calls - drive.statfs_calls, idle=order.idle, total=order.total,
        detached=lambda: registry.remove(mount_point),
    )  # fmt: skip

    if drive.windows_names:
        info = replace(info, fold=view.folds)

    def status() -> DriveStatus:
        meter = session.meter
        assert meter is not None
        traffic = meter.snapshot()
        return DriveStatus(
            **vars(info),
            **lifetime.status()._asdict(),
            uptime=(time.time_ns() - began) // 10**9,
            store_requests=traffic.requests + order.requests,
            bytes_fetched=traffic.received + order.received,
            bytes_served=drive.served,
            calls=drive.calls,
            errors=drive.errors.count,
            recent_errors=drive.errors.recent,
            driver={"name": drive.name, **drive.status()},
            cache=reader.status(),
        )

    server: StatusServer | PipeServer
    if isinstance(mount, OpenDrive):
        from mount.process.status_pipe import PipeServer

        server = PipeServer(status, mount.close, folder=files.socket(mount_point).parent)
    else:
        server = StatusServer(files.socket(mount_point), status)
    with _registered(registry, mount_point, info, server):
        if isinstance(view, PointView):
            # The first listing is sure to come, and the kernel takes its time to say hello.
            threading.Thread(target=_warm, args=(view,), name="warm", daemon=True).start()
        try:
            drive.run(str(mount_point), allow_other=order.allow_other)
        finally:
            watcher.close()
            lifetime.close()
            view.close()
            reader.close()
            if disk is not None:
                disk.close()


def preload() -> None:
    """Load what most drives need, while nobody waits for it yet."""
    import catalog.access.credentials
    import catalog.store.local
    import catalog.store.stack  # noqa: F401

    choice.preload()


@contextmanager
def _registered(
    registry: Registry, mount_point: Path, info: DriveInfo, server: StatusServer | PipeServer
) -> Iterator[None]:
    try:
        registry.add(mount_point, info, server.endpoint)
        yield
    finally:
        server.close()
        registry.remove(mount_point)


def _disk_cache(order: Order, session: Session) -> DiskCache | None:
    """For a vault on a local disk only if it was asked for: a second copy on the same disk gains little."""
    if session.is_local and order.cache_size is None:
        return None
    from cache.disk import LIMIT, DiskCache

    try:
        return DiskCache(session.settings.cache, limit=LIMIT if order.cache_size is None else order.cache_size)
    except RpdriveError as e:
        _log.warning("the drive goes without a cache on disk: %s", e)
        return None


def _view(order: Order, vault: Vault, reader: Reader, began: int) -> tuple[View, DriveInfo]:
    """The view that the order asks for, and what it shows. `began` in ns since 1970."""
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

    def names() -> list[PointName]:
        return vault.point_names(machine, item)

    if order.point is None:
        from mount.view.all_points import AllPointsView

        return AllPointsView(vault, reader, names, forgotten=machine is not None), info
    point = vault.point(choose_point(names(), order.point))
    return PointView(reader, point), replace(
        info, point=point.id.hex(), point_time=iso_time(point.time), machine=point.machine_name,
        item=point.item_name,
    )  # fmt: skip


def _warm(view: View) -> None:
    try:
        next(view.root.pages(), None)
    except (RpdriveError, StoreError):
        pass  # whoever lists the root will meet it again
