"""A vault: keys and objects joined. Everything that knows both the format and the store is here.

A `Vault` is open: it has its keys. `create` makes one; `open_vault` reads vault.json (one request) and takes a
passphrase or a master key. Immutable records (machines, items, points) are kept in `records`, if one is given.
"""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from catalog.errors import (
    MissingData,
    NoVault,
    ObjectExists,
    ObjectNotFound,
    RpdriveError,
    VaultExists,
)
from catalog.format.blocks import Buffer, PackKind, open_block
from catalog.format.keys import KdfParameters, Keys, VaultFile, check_passphrase, make_slot
from catalog.format.packs import Extent, pack_name
from catalog.format.records import (
    Item,
    Job,
    JobName,
    Machine,
    Point,
    PointName,
    decode_record,
    encode_record,
)
from catalog.format.sealed import Kind, open_object, seal_object
from catalog.store.base import Store

VAULT_FILE = "vault.json"
_RECORD = re.compile("(?:machines|items)/[0-9a-f]{32}/[0-9]{8}")  # other names there are nobody's
_PARALLEL = 8  # requests at once for records
T = TypeVar("T")


def now_iso() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def missing_pack(kind: PackKind, pack: bytes) -> MissingData:
    """The error for a pack that the vault no longer has."""
    return MissingData(f"the pack {pack_name(kind, pack)} is missing from the vault")


class Vault:
    """An open vault. Thread-safe."""

    def __init__(
        self, store: Store, keys: Keys, file: VaultFile, records: MutableMapping[str, bytes] | None = None
    ) -> None:
        self.store = store
        self.keys = keys
        self.file = file
        self._records: MutableMapping[str, bytes] = {} if records is None else records

    @property
    def id(self) -> bytes:
        return self.keys.vault_id

    # --- records ------------------------------------------------------------------------------------------

    def read_record(self, kind: Kind, cls: type[T], name: str) -> T:
        """A sealed record by its full name. ObjectNotFound, Damaged, NewerFormat, StoreError."""
        data = self._records.get(name)
        if data is not None:
            try:
                return decode_record(cls, open_object(self.keys, kind, name, data), name)
            except Exception:  # noqa: BLE001 - a bad copy here is not the vault's: fetch the true one
                self._records.pop(name, None)
        data = self.store.get(name)
        record = decode_record(cls, open_object(self.keys, kind, name, data), name)
        self._records[name] = data
        return record

    def read_records(self, kind: Kind, cls: type[T], names: list[str]) -> list[T]:
        """Many records, several requests at a time, in the order of the names."""
        if len(names) < 2:
            return [self.read_record(kind, cls, n) for n in names]
        with ThreadPoolExecutor(_PARALLEL, "records") as pool:
            return list(pool.map(lambda n: self.read_record(kind, cls, n), names))

    def write_record(self, kind: Kind, record: Machine | Item | Point | Job, name: str) -> int:
        """Seal and create. Returns the stored bytes. ObjectExists, StoreError."""
        data = seal_object(self.keys, kind, name, encode_record(record))
        self.store.create(name, [data])
        return len(data)

    # --- machines, items ----------------------------------------------------------------------------------

    def machines(self) -> dict[bytes, Machine]:
        """Machines by id: the newest version of each. 1 listing, and 1 request for each not seen before."""
        return self._latest(Kind.MACHINE, Machine, "machines/")

    def items(self) -> dict[bytes, Item]:
        """Items by id: the newest version of each."""
        return self._latest(Kind.ITEM, Item, "items/")

    def _latest(self, kind: Kind, cls: type[T], prefix: str) -> dict[bytes, T]:
        newest: dict[str, str] = {}
        for info in self.store.list(prefix):
            if _RECORD.fullmatch(info.name):  # in order of name: the last is the newest
                newest[info.name.rsplit("/", 1)[0]] = info.name
        names = list(newest.values())
        return {
            bytes.fromhex(n.split("/")[1]): r
            for n, r in zip(names, self.read_records(kind, cls, names), strict=True)
        }

    def machine(self, machine_id: bytes) -> tuple[int, Machine] | None:
        """The newest version of a machine, and its number; None if there is no such machine. 2 requests at most."""
        prefix = f"machines/{machine_id.hex()}/"
        names = [info.name for info in self.store.list(prefix) if _RECORD.fullmatch(info.name)]
        if not names:
            return None
        return int(names[-1].removeprefix(prefix)), self.read_record(Kind.MACHINE, Machine, names[-1])

    def add_machine(self, machine: Machine, version: int = 1) -> int:
        """Register a machine, or say something new of it. ObjectExists if somebody else made that version."""
        return self.write_record(Kind.MACHINE, machine, f"machines/{machine.id.hex()}/{version:08d}")

    def add_item(self, item: Item) -> int:
        return self.write_record(Kind.ITEM, item, f"items/{item.id.hex()}/{1:08d}")

    # --- points -------------------------------------------------------------------------------------------

    def point_names(
        self, machine: bytes | None = None, item: bytes | None = None, *, partial: bool = False
    ) -> list[PointName]:
        """Names of recovery points, oldest first by sequence within each item. One listing.

        `item` counts only with `machine`. Partial points (of backups under way or broken off) only if asked.
        """
        prefix = "points/"
        if machine is not None:
            prefix += machine.hex() + "/"
            if item is not None:
                prefix += item.hex() + "/"
        names = [p for i in self.store.list(prefix) if (p := PointName.parse(i.name)) is not None]
        if not partial:
            names = [p for p in names if not p.partial]
        return sorted(names, key=lambda p: (p.machine, p.item, p.sequence, p.time, p.id))

    def point(self, name: PointName) -> Point:
        """The record of a point. ObjectNotFound, Damaged, StoreError."""
        point = self.read_record(Kind.POINT, Point, str(name))
        name.check(point)
        return point

    def points(self, names: list[PointName]) -> list[Point]:
        """Records of many points, in the order of the names."""
        points = self.read_records(Kind.POINT, Point, [str(n) for n in names])
        for name, point in zip(names, points, strict=True):
            name.check(point)
        return points

    def add_point(self, point: Point) -> int:
        """The commit. Returns the stored bytes."""
        return self.write_record(Kind.POINT, point, str(PointName.of(point)))

    # --- jobs ---------------------------------------------------------------------------------------------

    def job_names(self, machine: bytes | None = None) -> list[JobName]:
        """Names of the jobs of a machine, or of all, oldest first. One listing."""
        prefix = "jobs/" if machine is None else f"jobs/{machine.hex()}/"
        names = [j for i in self.store.list(prefix) if (j := JobName.parse(i.name)) is not None]
        return sorted(names, key=lambda j: (j.time, j.id))

    def jobs(self, names: list[JobName]) -> list[Job]:
        """Records of jobs, in the order of the names. ObjectNotFound, Damaged, StoreError."""
        jobs = self.read_records(Kind.JOB, Job, [str(n) for n in names])
        for name, job in zip(names, jobs, strict=True):
            name.check(job)
        return jobs

    def add_job(self, job: Job) -> int:
        """Returns the stored bytes."""
        return self.write_record(Kind.JOB, job, str(JobName.of(job)))

    # --- packs and blocks ---------------------------------------------------------------------------------

    def read_pack(self, kind: PackKind, pack: bytes, offset: int, length: int, *, up_to: bool = False) -> bytes:
        """`length` bytes of a pack from `offset`, in one request. Every read of a pack's bytes goes through here.

        With `up_to`, fewer where the pack ends before. Raises MissingData if the vault does not have the pack,
        ShortRead if it ends too early, or another StoreError.
        """
        name = pack_name(kind, pack)
        try:
            return self.store.read(name, offset, length, up_to=up_to)
        except ObjectNotFound as e:
            raise missing_pack(kind, pack) from e

    def open_block(self, kind: PackKind, at: Extent, sealed: Buffer) -> Buffer:
        """The raw bytes of the block that `at` lies in, from its sealed bytes. Damaged."""
        return open_block(self.keys, kind, at.pack, at.offset, sealed)

    def fetch_block(self, kind: PackKind, at: Extent) -> bytes:
        """The sealed bytes of the block that holds `at`, in one request. Raises as `read_pack`."""
        return self.read_pack(kind, at.pack, at.offset, at.stored)

    # --- passphrases --------------------------------------------------------------------------------------

    def change_passphrase(self, new: str, kdf: KdfParameters = KdfParameters()) -> None:
        """Replace every key slot by one under the new passphrase; the data keys stay.

        WeakPassphrase; ObjectChanged if another change came between.
        """
        check_passphrase(new)
        data, tag = self.store.get_tagged(VAULT_FILE)
        current = VaultFile.decode(data)
        current.verify(self.keys)
        number = current.number + 1
        while True:  # a number taken by a change that broke off before vault.json was replaced is passed over
            slot = make_slot(self.keys.master, self.id, new, now_iso(), kdf=kdf)
            file = replace(current, number=number, slots=(slot,), mac=b"")
            body = file.encode(self.keys)
            try:
                self.store.create(f"vault/{number}.json", [body])
                break
            except ObjectExists:
                number += 1
        self.store.replace(VAULT_FILE, body, tag)
        self.file = VaultFile.decode(body)


def create_vault(store: Store, passphrase: str, kdf: KdfParameters = KdfParameters()) -> Vault:
    """Make a vault. VaultExists, WeakPassphrase, StoreError."""
    check_passphrase(passphrase)
    vault_id, master = os.urandom(16), os.urandom(32)
    keys = Keys(master, vault_id)
    created = now_iso()
    slot = make_slot(master, vault_id, passphrase, created, kdf=kdf)
    body = VaultFile(vault_id, 1, created, (slot,)).encode(keys)
    # vault.json first: it alone decides who made the vault, when two try at once.
    try:
        store.create(VAULT_FILE, [body])
    except ObjectExists as e:
        raise VaultExists(f"there is a vault at {store.url} already") from e
    try:
        store.create("vault/1.json", [body])
    except ObjectExists:
        pass  # what is left of a vault that was here before; only a spare copy
    return Vault(store, keys, VaultFile.decode(body))


_LOST = "copy its vault/<number>.json with the highest number to vault.json (docs/vault.md)"
_ALL_LOST = "bring vault.json back from a copy of the vault, or choose another address"


def check_no_vault(store: Store) -> None:
    """VaultExists if there is a vault, so that nobody is asked for a passphrase in vain.

    Also if one lost its vault.json: with a new one nothing in it could be read again, and a copy may be at hand.
    """
    # Looked for first: another may make a vault meanwhile.
    copies = _copies(store)
    left = copies or any(True for folder in ("points/", "packs/") for _ in store.list(folder))
    try:
        store.size(VAULT_FILE)
    except ObjectNotFound:
        if not left:
            return
        raise VaultExists(
            f"the vault at {store.url} has lost its vault.json", _LOST if copies else _ALL_LOST
        ) from None
    raise VaultExists(f"there is a vault at {store.url} already", "use it, or choose another address")


def read_vault_file(store: Store) -> VaultFile:
    """vault.json, parsed and not yet authenticated. NoVault, NewerFormat, Damaged, StoreError."""
    try:
        return VaultFile.decode(store.get(VAULT_FILE))
    except ObjectNotFound as e:
        try:
            lost = _copies(store)
        except RpdriveError:
            lost = False
        if lost:
            raise NoVault(f"the vault at {store.url} has lost its vault.json", _LOST) from e
        raise NoVault(f"there is no vault at {store.url}") from e


def _copies(store: Store) -> bool:
    """Whether copies of a vault.json are there."""
    return any(True for _ in store.list("vault/"))


def open_vault(
    store: Store,
    *,
    passphrase: str | None = None,
    master: bytes | None = None,
    records: MutableMapping[str, bytes] | None = None,
) -> Vault:
    """Open with a passphrase, or with a master key saved earlier. One request.

    NoVault, WrongPassphrase, Damaged (also for a master key of another vault), NewerFormat, StoreError.
    """
    file = read_vault_file(store)
    if master is not None:
        return Vault(store, file.verify(Keys(master, file.vault_id)), file, records)
    assert passphrase is not None
    return Vault(store, file.unlock(passphrase), file, records)
