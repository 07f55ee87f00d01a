"""The pieces of a restore, at a worker: `look` sees whether the target is there, `restore` does a part."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

import msgspec

from cache.reader import Reader
from catalog.errors import Damaged, LocalError
from catalog.format.records import PointName
from catalog.vault import Vault
from mount.fleet.restoring.orders import Order, Task, decoded_order
from mount.fleet.restoring.part import PartRestore
from mount.fleet.restoring.site import Site
from mount.restore.disk.this import THIS_DISK
from mount.restore.job import PAGES, TREES, without_collection
from mount.restore.source import Source, place_in
from mount.restore.target import Target


class Follow(Protocol):
    """Follows a part; `check` stops it once nobody waits for it any more."""

    def check(self) -> None: ...


class Here(Protocol):
    """What a worker has (mount/fleet/here.py)."""

    @property
    def vault(self) -> Vault: ...

    @property
    def follow(self) -> Follow: ...


class Done(msgspec.Struct, array_like=True, frozen=True):
    """What is said of a part to the command, for its progress: the rest is in the site."""

    files: int
    size: int
    written_bytes: int


class _Known:
    """What a process keeps from one part to the next: the order, tree pages, and the sources that were found."""

    def __init__(self, vault: Vault, token: bytes, order: Order) -> None:
        self.vault, self.token, self.order = vault, token, order
        self.reader = Reader(vault, memory=TREES, page_memory=PAGES, disk=None, disk_data=False)
        self._sources: dict[int, Source] = {}

    def source(self, number: int) -> Source:
        found = self._sources.get(number)
        if found is None:
            row = self.order.sources[number]
            name = PointName.parse(row.point)
            if name is None:
                raise Damaged("the order of the restore names no recovery point")
            found = self._sources[number] = place_in(self.reader, "", self.vault.point(name), row.path)
        return found


_KNOWN: list[_Known] = []  # of the restore that this process works for


def _known_of(vault: Vault, task: Task, site: Site) -> _Known:
    if not _KNOWN or _KNOWN[0].token != task.token or _KNOWN[0].vault is not vault:
        while _KNOWN:
            _KNOWN.pop().reader.close()
        _KNOWN.append(_Known(vault, task.token, decoded_order(site.order())))
    return _KNOWN[0]


def look(here: Here, body: bytes) -> bytes:
    """See whether this machine has the target, and may write there. Raises LocalError."""
    target, site = _opened(_task(body))
    site.try_writing()
    site.close()
    target.close()
    return b""


def restore(here: Here, body: bytes) -> bytes:
    """Restore one part. Raises StoreError and LocalError."""
    return restore_part(here.vault, body, here.follow.check)


def restore_part(vault: Vault, body: bytes, follow: Callable[[], None]) -> bytes:
    task = _task(body)
    target, site = _opened(task)
    try:
        known = _known_of(vault, task, site)
        part = PartRestore(vault, known.reader, known.order, task, follow)
        with without_collection():
            result = part.run_part(site, target, known.source(task.source))
    finally:
        target.close()
        site.close()
    counts = result.counts
    return msgspec.msgpack.encode(Done(counts["files"], counts["size"], counts["written_bytes"]))


def _opened(task: Task) -> tuple[Target, Site]:
    target = Target(THIS_DISK, task.target, make=False, shared=True)
    try:
        return target, Site.find(target, task.site, task.token, THIS_DISK)
    except LocalError:
        target.close()
        raise


def _task(body: bytes) -> Task:
    try:
        task = msgspec.msgpack.decode(body, type=Task)
    except (msgspec.DecodeError, ValueError) as e:
        raise LocalError("the task is malformed", "is rpdrive the same version there?") from e
    if not os.path.isabs(task.target):
        raise LocalError("the task is malformed", "is rpdrive the same version there?")
    return task
