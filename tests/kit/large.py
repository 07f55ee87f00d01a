"""Vaults that are large by metadata alone: sealed records of machines, items, points, jobs and index objects.

They are put straight into a store in memory, some 10,000 a second, and commands run on them in this process.
"""

from __future__ import annotations

import contextlib
import io
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.format.packs import BlockRow
from catalog.format.records import (
    IndexedPack,
    IndexObject,
    Item,
    ItemName,
    Job,
    JobName,
    Machine,
    MachineName,
    Point,
    PointName,
    encode_record,
)
from catalog.format.sealed import Kind, seal_object
from catalog.store.base import ObjectInfo
from catalog.store.memory import MemoryStore
from catalog.store.metered import Traffic
from catalog.vault import Vault, open_vault
from tests.kit.vaults import PASSPHRASE, new_vault

ADDRESS = "azure://account/large"
SECOND = 10**9  # ns
HOUR = 3600 * SECOND
DAY = 24 * HOUR
START = 1_700_000_000 * SECOND  # the time of the first point


class LargeStore(MemoryStore):
    """A store in memory that finds the names of a listing by bisection: for vaults of 10^5 objects."""

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []

    def put(self, name: str, data: bytes, modified: int) -> None:
        self.objects[name], self._modified[name] = data, modified

    def _below(self, prefix: str) -> Sequence[str]:
        if len(self._names) != len(self.objects):  # tests add or delete, and never both between two listings
            self._names = sorted(self.objects)
        names = self._names
        return names[bisect_left(names, prefix) : bisect_left(names, prefix + "\x7f")]

    def folders(self, prefix: str) -> Iterator[str]:
        names = (name.removeprefix(prefix) for name in self._below(prefix))
        yield from dict.fromkeys(name.split("/", 1)[0] for name in names if "/" in name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for name in self._below(prefix):
            yield ObjectInfo(name, len(self.objects[name]), self._modified[name])


class Large:
    """A vault in memory, and commands on it that count their requests."""

    def __init__(self, folder: Path) -> None:
        self.store, self._home = LargeStore(), folder
        self.vault: Vault = new_vault(self.store)
        self.records: MutableMapping[str, bytes] | None = None  # the cache of records, if there is one

    # --- contents -----------------------------------------------------------------------------------------

    def add(self, kind: Kind, name: object, record: Machine | Item | Point | Job | IndexObject, when: int) -> None:
        data = seal_object(self.vault.keys, kind, str(name), encode_record(record))
        self.store.put(str(name), data, when)

    def machine(self, number: int) -> bytes:
        """Add a machine, and an item `files` of it with the same id. Returns the id."""
        one = number_id(number)
        name = f"machine-{number:05d}"
        machine = Machine(id=one, name=name, hostname=name, system="Linux", created=START)
        self.add(Kind.MACHINE, MachineName(one, 1), machine, START)
        item = Item(id=one, machine=one, name="files", paths=[b"/srv"], created=START)
        self.add(Kind.ITEM, ItemName(one, one, 1), item, START)
        return one

    def points(self, machine: bytes, times: Iterable[int]) -> list[PointName]:
        """Add whole points without files, numbered from 1, to the item of a machine."""
        names, before = [], None
        for n, when in enumerate(times, 1):
            point = Point(
                id=number_id(n, machine[8:]), machine=machine, item=machine, machine_name="m", item_name="files",
                hostname="m", system="Linux", sequence=n, previous=before, time=when, finished=when + SECOND,
                paths=[b"/srv"], checked=when,
            )  # fmt: skip
            before = point.id
            names.append(PointName.of(point))
            self.add(Kind.POINT, names[-1], point, when + SECOND)
        return names

    def jobs(self, machine: bytes, times: Iterable[int]) -> None:
        """Add backups that a machine has completed."""
        for n, when in enumerate(times, 1):
            job = Job(
                id=number_id(n, machine[8:]), machine=machine, item=machine, kind="backup", outcome="completed",
                machine_name="m", item_name="files", hostname="m", time=when, finished=when + SECOND,
            )  # fmt: skip
            self.add(Kind.JOB, JobName.of(job), job, when + SECOND)

    def index(self, machine: bytes, objects: int) -> None:
        """Add index objects, each of one pack with one chunk."""
        for n in range(1, objects + 1):
            pack = machine[:4] + number_id(n)[4:]
            rows = [BlockRow(8, 100, [200], number_id(n, b"chunk"))]
            record = IndexObject(packs=[IndexedPack(pack, rows)])
            self.add(Kind.INDEX, f"index/{machine.hex()}/{number_id(n).hex()}", record, START)

    # --- commands -----------------------------------------------------------------------------------------

    def session(self) -> Session:
        """A session of a user of this vault, with the cache `records`."""
        settings = Settings({"RPDRIVE_HOME": str(self._home)})
        return Session(
            settings, vault=ADDRESS, opener=lambda url, **options: self.store,
            records_factory=lambda session, vault: self.records,
        )  # fmt: skip

    def run(self, command: Callable[..., object], *args: Any, **options: Any) -> tuple[str, Traffic]:
        """What a command (of a session and an open vault) prints, and its requests: without that of vault.json."""
        session = self.session()
        vault = session.open_vault(master=self.vault.keys.master, reading=True)
        assert session.meter is not None
        before, out = session.meter.snapshot(), io.StringIO()
        with contextlib.redirect_stdout(out):
            command(session, vault, *args, **options)
        return out.getvalue(), session.meter.snapshot() - before

    def opened(self) -> Vault:
        return open_vault(self.store, passphrase=PASSPHRASE)


def number_id(number: int, tail: bytes = b"") -> bytes:
    """An id of 16 bytes that begins with a number."""
    return (number.to_bytes(6, "big") + tail).ljust(16, b"\x01")[:16]


def hourly(count: int, first: int = START) -> Iterator[int]:
    return (first + n * HOUR for n in range(count))
