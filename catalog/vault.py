"""An open vault: its keys and its store, and the records and packs read through both.

`open_vault` opens one with a passphrase or a master key, in one request (vault.json).
Machines, items and points are immutable: their sealed records are cached in `records`, if a mapping is given.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, TypeVar

from catalog.errors import (
    AccessDenied,
    Damaged,
    MissingData,
    NewerFormat,
    ObjectExists,
    ObjectNotFound,
    RpdriveError,
    ShortRead,
    Unwritable,
    refused_object,
    without_errors,
)
from catalog.format.admins import Admin, open_admin
from catalog.format.blocks import Buffer, PackKind, open_block
from catalog.format.keys import Keys
from catalog.format.packs import Extent, missing_pack, pack_name
from catalog.format.records import (
    Item,
    ItemName,
    Job,
    JobName,
    Machine,
    MachineName,
    Point,
    PointName,
    RecordName,
    VersionName,
    decode_record,
    encode_record,
)
from catalog.format.sealed import Kind, max_sealed, open_object, seal_object
from catalog.format.slots import KdfParameters, check_passphrase, make_slot
from catalog.format.vaultfile import MAX_VAULT_FILE, VaultFile
from catalog.kept import Kept
from catalog.passed_over import PassedOver
from catalog.places import Places, Run, run_at
from catalog.promoted import Jumps
from catalog.signed import SignedRecords
from catalog.store.base import Store, cut
from catalog.store.deadline import Deadline
from catalog.vault_json import NAME, read_vault_file

VAULT_FILE = NAME
_PARALLEL = 8  # requests at once for records
_RECORDS = 32 << 20  # bytes of records that are cached in memory, if there is no other cache
T = TypeVar("T")


class Stored(NamedTuple):
    """An object that was stored: its size (bytes), and when, by the store's clock (ns since the epoch, UTC)."""

    size: int
    modified: int


def now_iso() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Vault:
    """An open vault. Thread-safe."""

    looks: Sequence[bool] = (False, True)  # for a pack that is not found: at once, and after a wait

    def __init__(
        self, store: Store, keys: Keys, file: VaultFile, records: MutableMapping[str, bytes] | None = None
    ) -> None:
        self.store = store
        self.keys = keys
        self.file = file
        self.passed_over = PassedOver()
        self.jumps = Jumps(file)
        self.state_id = keys.vault_id.hex()  # in names of files about this place (catalog/access/place.py)
        self._records: MutableMapping[str, bytes] = Kept(_RECORDS) if records is None else records
        self._follow_admins()
        # Called with what a person should know of what was chosen.
        self.tell: Callable[[str], None] = lambda text: None
        # Called with a pack of which a second read, too, brought other bytes than were written there.
        self.on_damage: Callable[[PackKind, bytes], None] = lambda kind, pack: None
        # Called with an admin whose private key is needed, and returns that: raises Locked without its passphrase.
        self.unlock_admin: Callable[[Admin], bytes] = partial(open_admin, keys)

    def _follow_admins(self) -> None:
        """Take records of upkeep that the admins of vault.json have signed, and no others."""
        again = partial(read_vault_file, self.store)
        self.signed = SignedRecords(self.store, self.fetch_sealed, self.keys, self.file, again)
        self.places = Places(self.store, self.signed)

    @property
    def id(self) -> bytes:
        return self.keys.vault_id

    # --- records ------------------------------------------------------------------------------------------

    def keep_records(self, records: MutableMapping[str, bytes]) -> None:
        """Cache records in this mapping from now on; what was cached before is dropped."""
        self._records = records

    def read_record(self, kind: Kind, cls: type[T], name: str, *, fresh: bool = False) -> T:
        """A sealed record by its full name; `fresh`: as the store has it, and no cached copy.

        Raises ObjectNotFound, another StoreError, Damaged or NewerFormat.
        """
        if fresh:
            self._records.pop(name, None)
        data = self._records.get(name)
        if data is not None:
            try:
                return decode_record(cls, open_object(self.keys, kind, name, data), name)
            except Exception:  # noqa: BLE001 - the cached copy is bad: fetch the record again
                self._records.pop(name, None)
        data = self.fetch_sealed(kind, name)
        record = decode_record(cls, open_object(self.keys, kind, name, data), name)
        self._records[name] = data
        return record

    def fetch_sealed(self, kind: Kind, name: str) -> bytes:
        """The sealed bytes of an object, in one request.

        Raises ObjectNotFound, MissingData if the store refuses this object alone, ObjectTooLarge, or StoreError.
        """
        return self._alone(name, lambda: self.store.get(name, max_sealed(kind)))

    def _alone(self, name: str, ask: Callable[[], T]) -> T:
        """Ask the store for one object. If that alone is refused, it is missing: raises MissingData."""
        try:
            return ask()
        except AccessDenied as e:
            try:
                self.store.size(VAULT_FILE)
            except RpdriveError:
                raise e from None  # the store refuses all of the vault
            raise refused_object(name) from e

    def read_checked(self, kind: Kind, cls: type[T], name: RecordName, *, fresh: bool = False) -> T:
        """A record by its name, with which it must agree. Raises as `read_record`."""
        record = self.read_record(kind, cls, str(name), fresh=fresh)
        name.check(record)
        return record

    def read_each(
        self,
        kind: Kind,
        cls: type[T],
        names: Sequence[RecordName],
        keep: Callable[[T], T] | None = None,
        *,
        fresh: bool = False,
    ) -> list[T | RpdriveError]:
        """Many records in the order of `names`, eight requests at a time; the error of each that does not open.

        `keep`, if given, returns what is kept of each record. `fresh`: as the store has them, and no cached copies.
        Raises StoreError if the store itself fails.
        """

        def read(name: RecordName) -> T | RpdriveError:
            try:
                record = self.read_checked(kind, cls, name, fresh=fresh)
                return record if keep is None else keep(record)
            except ObjectNotFound as e:
                error = MissingData(f"{name} is missing from the vault")
                error.__cause__ = e
                return error
            except (Damaged, NewerFormat) as e:
                return e

        if len(names) < 2:
            return [read(n) for n in names]
        with ThreadPoolExecutor(_PARALLEL, "records") as pool:
            return list(pool.map(read, names))

    def write_record(self, kind: Kind, record: Machine | Item | Point | Job, name: str) -> int:
        """Seal and store a record. Returns its size in bytes. Raises ObjectExists or another StoreError."""
        return self._write(kind, record, name).size

    def _write(
        self, kind: Kind, record: Machine | Item | Point | Job, name: str, until: Deadline | None = None
    ) -> Stored:
        data = seal_object(self.keys, kind, name, encode_record(record))
        return Stored(len(data), self.store.create(name, [data], until=until))

    # --- machines, items ----------------------------------------------------------------------------------

    def machines(self, among: Container[str] | None = None) -> dict[bytes, Machine]:
        """Machines by id, each in its newest version that opens; only those `among` some ids (hex), if given.

        One listing, and one request for each record not cached. One that does not open is noted in `passed_over`.
        """
        found = self._newest(Kind.MACHINE, Machine, "machines/", among=among)
        return {machine.id: machine for _version, machine in found}

    def items(self, machine: bytes) -> dict[bytes, Item]:
        """Items of one machine, by id. Otherwise as `machines`."""
        return {item.id: item for _version, item in self._newest(Kind.ITEM, Item, f"items/{machine.hex()}/")}

    def all_items(self) -> list[Item]:
        """Items of all machines; two machines may use the same id. Otherwise as `machines`."""
        return [item for _version, item in self._newest(Kind.ITEM, Item, "items/")]

    def machine(self, machine_id: bytes, *, fresh: bool = False) -> tuple[int, Machine] | None:
        """The number and content of a machine's newest version that opens; None if there is none.

        2 requests, and one for each newer record that does not open: it is noted in `passed_over`. `fresh`: as the
        store has it, and no cached copy.
        """
        found = self._newest(Kind.MACHINE, Machine, f"machines/{machine_id.hex()}/", fresh=fresh)
        return next(iter(found), None)

    def _newest(
        self, kind: Kind, cls: type[T], prefix: str, *, fresh: bool = False, among: Container[str] | None = None
    ) -> list[tuple[int, T]]:
        """The newest version of each record below a prefix that opens, and its number; `among` these folders."""
        parse: Callable[[str], VersionName | None] = MachineName.parse if kind is Kind.MACHINE else ItemName.parse
        left: dict[str, list[VersionName]] = {}
        for info in self.store.list(prefix):
            name = parse(info.name)
            if name is not None and (among is None or info.name.split("/")[1] in among):
                left.setdefault(info.name.rpartition("/")[0], []).append(name)
        for versions in left.values():
            versions.sort(key=lambda name: name.version)
        found: dict[str, tuple[int, T]] = {}
        bad: list[tuple[str, RpdriveError]] = []
        some = 1
        while left:
            newest = [name for versions in left.values() for name in reversed(versions[-some:])]
            for name, record in zip(newest, self.read_each(kind, cls, newest, fresh=fresh), strict=True):
                folder = str(name).rpartition("/")[0]
                if folder in found:
                    continue
                if isinstance(record, RpdriveError):
                    bad.append((str(name), record))
                else:
                    found[folder] = name.version, record
            left = {one: rest for one, versions in left.items() if one not in found and (rest := versions[:-some])}
            some = min(some * 4, 64)  # many that don't open are no accident: look for one that does in large steps
        for object_name, error in bad:
            self.passed_over.note(object_name, error, lost=object_name.rpartition("/")[0] not in found)
        return list(found.values())

    def add_machine(self, machine: Machine, version: int = 1) -> int:
        """Register a machine, or a new version of one. Raises ObjectExists if that version exists already."""
        return self.write_record(Kind.MACHINE, machine, str(MachineName(machine.id, version)))

    def add_item(self, item: Item, version: int = 1) -> int:
        """Store an item, or a new version of one. Raises ObjectExists if that version exists already."""
        return self.write_record(Kind.ITEM, item, str(ItemName(item.machine, item.id, version)))

    # --- points -------------------------------------------------------------------------------------------

    def point_names(
        self, machine: bytes | None = None, item: bytes | None = None, *, partial: bool = False
    ) -> list[PointName]:
        """Names of recovery points, oldest first by sequence within each item. One listing.

        `item` is ignored without `machine`. With `partial`, includes points of running or interrupted backups.
        """
        names = [p for p in self.each_point_name(machine, item) if partial or not p.partial]
        return sorted(names, key=lambda p: (p.machine, p.item, p.sequence, p.time, p.id))

    def each_point_name(self, machine: bytes | None = None, item: bytes | None = None) -> Iterator[PointName]:
        """The names that `point_names` has, also of partial points, in the order of the listing: none is kept."""
        return (name for name, _modified in self.stored_points(machine, item))

    def stored_points(
        self, machine: bytes | None = None, item: bytes | None = None, begin: str = ""
    ) -> Iterator[tuple[PointName, int]]:
        """The same, each with its time in the store (ns, UTC); of an item only those that begin with `begin`."""
        prefix = "points/"
        if machine is not None:
            prefix += machine.hex() + "/"
            if item is not None:
                prefix += f"{item.hex()}/{begin}"
        for info in self.store.list(prefix):
            name = PointName.parse(info.name)
            if name is not None:
                self.jumps.stored(name, info.modified)
                yield name, info.modified

    def point(self, name: PointName) -> Point:
        """The record of a point. Raises ObjectNotFound, another StoreError or Damaged."""
        return self.read_checked(Kind.POINT, Point, name)

    def points(self, names: list[PointName]) -> list[Point]:
        """Records of many points, in the order of `names`. Raises Damaged, NewerFormat or StoreError."""
        return without_errors(self.read_each(Kind.POINT, Point, names))

    def add_point(self, point: Point, *, until: Deadline | None = None) -> Stored:
        """Store a point, which commits a backup. Raises Unwritable, StoreError, and TooLate if `until` passed."""
        name = PointName.of(point)
        if PointName.parse(str(name)) is None:
            raise Unwritable(f"no reader would take {name} for a point")
        return self._write(Kind.POINT, point, str(name), until)

    # --- jobs ---------------------------------------------------------------------------------------------

    def job_names(self, machine: bytes | None = None) -> list[JobName]:
        """Names of jobs of one machine, or of all machines, oldest first. One listing."""
        prefix = "jobs/" if machine is None else f"jobs/{machine.hex()}/"
        names = [j for i in self.store.list(prefix) if (j := JobName.parse(i.name)) is not None]
        return sorted(names, key=lambda j: (j.time, j.id))

    def job(self, name: JobName) -> Job:
        """The record of a job. Raises ObjectNotFound, another StoreError or Damaged."""
        return self.read_checked(Kind.JOB, Job, name)

    def add_job(self, job: Job) -> int:
        """Store the record of a job. Returns its size in bytes."""
        return self.write_record(Kind.JOB, job, str(JobName.of(job)))

    # --- packs and blocks ---------------------------------------------------------------------------------

    def read_pack(self, kind: PackKind, pack: bytes, offset: int, length: int, *, up_to: bool = False) -> bytes:
        """`length` bytes of a pack from `offset`, in one request. Every read of a pack's bytes goes through here.

        A pack that is not found is looked for in the records of places, and then read where its blocks are now, in
        one request for each run of them; from then on it is read there at once. `pack` may be a carrier, too.

        With `up_to`, returns fewer bytes if the pack ends earlier, or if blocks are gone; otherwise that raises
        ShortRead. Raises MissingData if the vault does not have the bytes, Damaged, or another StoreError.
        """
        return self._found(kind, pack, lambda runs: self._read(kind, pack, runs, offset, length, up_to))

    def read_parts(self, kind: PackKind, pack: bytes, offset: int, lengths: Sequence[int]) -> list[bytes]:
        """As `read_pack` with `up_to`, cut into parts of `lengths`; each is memory of its own."""

        def read(runs: tuple[Run, ...]) -> list[bytes]:
            if runs:
                return cut(self._read(kind, pack, runs, offset, sum(lengths), True), lengths)
            return self._alone(name := pack_name(kind, pack), lambda: self.store.read_parts(name, offset, lengths))

        return self._found(kind, pack, read)

    def _found(self, kind: PackKind, pack: bytes, read: Callable[[tuple[Run, ...]], T]) -> T:
        """What `read` gets by the runs of a pack that are known now, or after a look at the records of places."""
        runs = self.places.runs(kind, pack)
        try:
            return read(runs)
        except ObjectNotFound as e:
            gone = e
        is_carrier = self.places.is_carrier(pack)
        for wait in self.looks:
            self.places.look(pack, wait=wait)
            if is_carrier and not self.places.is_carrier(pack):
                break  # its blocks have moved again: the caller can locate them now
            before, runs = runs, self.places.runs(kind, pack)
            if runs != before:
                try:
                    return read(runs)
                except ObjectNotFound as e:
                    gone = e
        raise missing_pack(kind, pack) from gone

    def object_size(self, kind: PackKind, one: bytes) -> int:
        """Bytes of the object of a pack or carrier, in one request.

        Raises ObjectNotFound, another StoreError, or MissingData if only this object is refused.
        """
        name = pack_name(kind, one)
        return self._alone(name, lambda: self.store.size(name))

    def _read(
        self, kind: PackKind, pack: bytes, runs: tuple[Run, ...], offset: int, length: int, up_to: bool
    ) -> bytes:
        """Bytes of a pack from the pack itself or, if there are `runs`, from the objects that hold its blocks."""
        if not runs:
            return self._read_object(kind, pack, offset, length, up_to)
        parts, position, end = list[bytes](), offset, offset + length
        while position < end and (run := run_at(runs, position)) is not None:
            there, wanted = run.at + position - run.start, min(run.end, end) - position
            parts.append(self._read_object(kind, run.holder, there, wanted, False))
            position += wanted
        if not parts or (position < end and not up_to):
            raise ObjectNotFound(f"no object holds byte {position} of {pack_name(kind, pack)}")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_object(self, kind: PackKind, pack: bytes, offset: int, length: int, up_to: bool) -> bytes:
        name = pack_name(kind, pack)
        return self._alone(name, lambda: self.store.read(name, offset, length, up_to=up_to))

    def with_other_copies(self, kind: PackKind, at: Extent, read: Callable[[PackKind, Extent], T]) -> T:
        """`read` a chunk; if its block is lost, where the records of places say that another copy of it is.

        A pack that was cut raises ShortRead, as a transfer does that keeps breaking off.
        """
        other = self.places.instead(kind, at)
        if other is not None:
            try:
                return read(kind, other)
            except (Damaged, ShortRead):
                return read(kind, at)
        try:
            return read(kind, at)
        except (Damaged, ShortRead):
            other = self.other_copy(kind, at)
            if other is None:
                raise
            return read(kind, other)

    def second_read(
        self, kind: PackKind, at: Extent, read: Callable[[], T], taken: Callable[[bytes], T] | None = None
    ) -> T:
        """`read` a block of which a first read brought other bytes than were written; note it if this does.

        `taken` makes the same of sealed bytes, see `lost_block`.
        """
        try:
            return read()
        except (Damaged, ShortRead) as e:  # a pack that was cut, too
            if not isinstance(e, MissingData):  # a listing shows that
                self.on_damage(kind, at.pack)
            if taken is None:
                raise
            return self.lost_block(kind, at, e, taken)

    def lost_block(self, kind: PackKind, at: Extent, error: RpdriveError, taken: Callable[[bytes], T]) -> T:
        """What `taken` makes of a lost block's bytes elsewhere (elsewhere.py). Raises `error` if there is none."""
        raise error

    def other_copy(self, kind: PackKind, at: Extent) -> Extent | None:
        """Another copy of a chunk whose block is lost, by the newest record of places; None if there is none."""
        try:
            self.places.look(at.pack)
        except RpdriveError:
            return None  # the caller has the error that matters
        return self.places.instead(kind, at)

    def open_block(self, kind: PackKind, at: Extent, sealed: Buffer) -> Buffer:
        """The raw bytes of the block that holds `at`, from its sealed bytes. Raises Damaged."""
        return open_block(self.keys, kind, at.pack, at.offset, sealed)

    def fetch_block(self, kind: PackKind, at: Extent) -> bytes:
        """The sealed bytes of the block that holds `at`, in one request. Raises as `read_pack`.

        The ShortRead of a pack that was cut comes at once: a store would repeat a read that is to bring all of it.
        """
        sealed = self.read_pack(kind, at.pack, at.offset, at.stored, up_to=True)
        if len(sealed) < at.stored:
            raise ShortRead(f"{pack_name(kind, at.pack)} ends before byte {at.offset + at.stored}")
        return sealed

    # --- vault.json ------------------------------------------------------------------------------------------

    def change_passphrase(self, new: str, kdf: KdfParameters = KdfParameters()) -> None:
        """Replace all key slots with one for the new passphrase. The keys of the data stay the same.

        Raises WeakPassphrase, ObjectChanged if vault.json was changed meanwhile, or another StoreError.
        """
        check_passphrase(new)
        slot = make_slot(self.keys.master, self.id, new, now_iso(), kdf=kdf)
        self.change_file(lambda file: file.changed(slots=(slot,)))

    def change_file(self, change: Callable[[VaultFile], VaultFile]) -> None:
        """Replace vault.json. Raises NewerFormat, ObjectChanged if it was changed meanwhile, or StoreError."""
        data, tag = self.store.get_tagged(VAULT_FILE, MAX_VAULT_FILE)
        current = VaultFile.decode(data)
        current.verify(self.keys)
        number = current.number + 1
        while True:  # skip numbers used by changes that were interrupted before they replaced vault.json
            body = change(current).changed(number=number).encode(self.keys)
            try:
                self.store.create(f"vault/{number}.json", [body])
                break
            except ObjectExists:
                number += 1
        self.store.replace(VAULT_FILE, body, tag)
        self.file = VaultFile.decode(body)
        self._follow_admins()


def open_vault(
    store: Store,
    *,
    passphrase: str | None = None,
    master: bytes | None = None,
    records: MutableMapping[str, bytes] | None = None,
) -> Vault:
    """Open a vault with a passphrase, or with a master key saved earlier. One request.

    Raises NoVault, WrongPassphrase, NewerFormat, StoreError, or Damaged (also for a master key of another vault).
    """
    file = read_vault_file(store)
    if master is not None:
        return Vault(store, file.verify(Keys(master, file.vault_id)), file, records)
    assert passphrase is not None
    return Vault(store, file.unlock(passphrase), file, records)
