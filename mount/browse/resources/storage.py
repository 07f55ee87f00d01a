"""What backups added to the vault, by day, item or machine: from the records of jobs, read in the background.

Points that retention took away have left their jobs behind, so that jobs say what was stored, and points don't. To
read all of them is linear in their number: only those of a window are read, the newest first, each once; what is
known meanwhile is shown, and said to be partial.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import msgspec

from catalog.alerts.rules import DAY
from catalog.alerts.watching import room_of
from catalog.errors import LocalError, RpdriveError
from catalog.format.records import Job, JobName
from catalog.format.sealed import Kind
from catalog.jobs.recent import newest_names
from catalog.vault import Vault
from mount.browse.resources.health import DiskRoom, Trouble
from mount.browse.resources.opened import Opened
from mount.browse.resources.wire import counted_safely

By: TypeAlias = str  # day, item or machine
LONGEST = 366  # days of a window
MOST = 20_000  # jobs whose numbers are kept and counted; about 8 MiB
ROWS = 200  # items or machines that are named; the others are one row
AT_ONCE = 64  # records
FRESH = 30.0  # seconds for which the names of jobs serve
AFTER_FAILURE = 15.0  # seconds
AHEAD = DAY  # ns by which the time of a job may be ahead
PRUNE = "prune"
_log = logging.getLogger(__name__)


class Added(NamedTuple):
    """What one job did (bytes): stored, new (uncompressed), freed. `held` is what a prune found in the vault."""

    machine: bytes
    item: bytes
    kind: str
    when: int
    stored: int
    new: int
    files: int
    freed: int
    held: int
    point: bool
    machine_name: str
    item_name: str


class StorageRow(msgspec.Struct, frozen=True, kw_only=True):
    """What was added on a day (`date`), to an item or by a machine, in bytes. `freed` is what prunes deleted."""

    label: str
    date: str | None
    machine: str
    item: str
    stored: int
    new: int
    freed: int
    points: int
    files: int


class CacheRow(msgspec.Struct, frozen=True, kw_only=True):
    """The cache on this machine's disk (bytes)."""

    used: int
    limit: int
    folder: str


class VaultRow(msgspec.Struct, frozen=True, kw_only=True):
    """The vault: its address, the room on its disk if it is in a folder, and its bytes by the last prunes."""

    address: str
    room: DiskRoom | None
    held: int | None
    held_since: str | None


class StoragePage(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of the last `days` days, in order: by date, or the largest first.

    `read` of `total` jobs are counted; `reading`: more of them soon. `partial` says in words what is missing.
    """

    by: str
    days: int
    rows: list[StorageRow]
    total_stored: int
    total_new: int
    read: int
    total: int
    reading: bool
    partial: str
    error: Trouble | None
    cache: CacheRow | None
    vault: VaultRow


class Numbers:
    """The numbers of the jobs of a vault, read in the background, the newest first. Thread-safe."""

    def __init__(
        self, vault: Vault, *, changed: Callable[[], object] = lambda: None, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._vault, self._changed, self.clock = vault, changed, clock
        self._lock = threading.Condition()
        self._known: OrderedDict[JobName, Added | None] = OrderedDict()  # None: its record does not open
        self._names: list[JobName] = []
        self._since = 0  # ns, from which on the names are listed
        self._more = False  # there are more jobs in the window than are counted
        self._until = 0.0
        self._busy = False
        self.error: RpdriveError | None = None

    def window(self, since: int, wait: float = 0.0) -> tuple[list[Added], int, int, bool, bool]:
        """What is known of the jobs since a time (ns): how many are read, of how many; whether more are being
        read, and whether there are more than are counted. Waits at most `wait` seconds for all of them."""
        with self._lock:
            old = time.monotonic() >= self._until or since < self._since
            if old and not self._busy:
                self._busy = True
                start = min(since, self._since) if self._since else since
                threading.Thread(target=self._read, args=(start,), name="storage", daemon=True).start()
            self._lock.wait_for(lambda: not self._busy, wait)
            names = list(takewhile(lambda name: name.time >= since, self._names))
            found = [self._known[name] for name in names if name in self._known]
            whole = [one for one in found if one is not None]
            return whole, len(found), len(names), self._busy, self._more and len(names) == len(self._names)

    def _read(self, since: int) -> None:
        pause = FRESH
        try:
            self._list(since)
            while some := self._unread():
                self._keep(some, self._vault.read_each(Kind.JOB, Job, some))
                self._changed()
            self.error = None
        except RpdriveError as e:
            self.error, pause = e, AFTER_FAILURE
        except Exception as e:  # noqa: BLE001 - the thread must end in order, whatever it was
            _log.exception("cannot read the numbers of jobs")
            self.error = LocalError(f"the numbers of jobs can't be read: {e}", "see `rpdrive jobs`")
            pause = AFTER_FAILURE
        with self._lock:
            self._busy, self._until = False, time.monotonic() + pause
            self._lock.notify_all()
        self._changed()

    def _list(self, since: int) -> None:
        end = self.clock() + AHEAD
        ended = (n for n in newest_names(self._vault) if isinstance(n, JobName) and n.time <= end)
        names = list(islice(takewhile(lambda name: name.time >= since, ended), MOST + 1))
        with self._lock:
            self._names, self._more, self._since = names[:MOST], len(names) > MOST, since

    def _unread(self) -> list[JobName]:
        with self._lock:
            return list(islice((name for name in self._names if name not in self._known), AT_ONCE))

    def _keep(self, names: Sequence[JobName], jobs: Sequence[Job | RpdriveError]) -> None:
        with self._lock:
            for name, job in zip(names, jobs, strict=True):
                if isinstance(job, Job):
                    self._known[name] = _added(job)
                else:
                    self._vault.passed_over.note(str(name), job)
                    self._known[name] = None
            while len(self._known) > 2 * MOST:
                self._known.popitem(last=False)


def _added(job: Job) -> Added:
    is_prune = job.kind == PRUNE
    return Added(
        job.machine, job.item or b"", job.kind[:40], job.time, 0 if is_prune else counted_safely(job.stored_bytes),
        counted_safely(job.new_bytes), counted_safely(job.files) if job.kind == "backup" else 0,
        counted_safely(job.freed_bytes), counted_safely(job.bytes) if is_prune else 0,
        job.point is not None, job.machine_name[:200], job.item_name[:200],
    )  # fmt: skip


_numbers: WeakKeyDictionary[Opened, Numbers] = WeakKeyDictionary()
_making = threading.Lock()


def numbers_of(opened: Opened, clock: Callable[[], int] = time.time_ns) -> Numbers:
    """The numbers of an opened vault: all pages share them, and the clock of who asks first."""
    with _making:
        found = _numbers.get(opened)
        if found is None:
            bus = opened.bus
            found = _numbers[opened] = Numbers(opened.vault, changed=lambda: bus.publish("store"), clock=clock)
        return found


def storage(opened: Opened, *, by: By = "day", days: int = 90, wait: float = 0.0) -> StoragePage:
    """What was added in the last `days` days of this machine's calendar, today included.

    Never waits for the vault longer than `wait` seconds: what is not read yet is missing, and `partial` says so.
    """
    numbers = numbers_of(opened)
    days = max(1, min(days, LONGEST))
    today = datetime.fromtimestamp(numbers.clock() // 10**9).date()
    dates = [today - timedelta(days=days - 1 - n) for n in range(days)]
    since = int(datetime(dates[0].year, dates[0].month, dates[0].day).timestamp()) * 10**9
    added, read, total, reading, more = numbers.window(since, wait)
    rows = by_day(added, [d.isoformat() for d in dates]) if by == "day" else by_owner(added, by)
    error = numbers.error
    room = room_of(opened.session)
    held, when = held_by(added)
    return StoragePage(
        by=by, days=days, rows=rows, total_stored=_sum(a.stored for a in added),
        total_new=_sum(a.new for a in added),
        read=read, total=total, reading=reading, partial=_partial(read, total, reading, more),
        error=None if error is None else Trouble(kind=error.kind, message=str(error), advice=error.advice),
        cache=_cache(opened),
        vault=VaultRow(
            address=opened.session.address, room=None if room is None else DiskRoom(size=room.size, free=room.free),
            held=held, held_since=when,
        ),
    )  # fmt: skip


def by_day(added: Iterable[Added], dates: Sequence[str]) -> list[StorageRow]:
    """A row for each of these dates, those included on which nothing was added."""
    groups: dict[str, list[Added]] = {date: [] for date in dates}
    for one in added:
        date = datetime.fromtimestamp(one.when // 10**9).date().isoformat()
        if date in groups:
            groups[date].append(one)
    return [_summed(date, some, date=date) for date, some in groups.items()]


def by_owner(added: Iterable[Added], by: str) -> list[StorageRow]:
    """A row for each item or machine, the one with the most stored first; the smallest of many are one row."""
    groups: dict[tuple[bytes, bytes], list[Added]] = {}
    for one in added:
        if by == "machine" or one.item:
            groups.setdefault((one.machine, one.item if by == "item" else b""), []).append(one)
    rows = [_summed(_label(some[0], by), some, key=key) for key, some in groups.items()]
    rows.sort(key=lambda row: (-row.stored, -row.new, row.label, row.machine, row.item))
    rest = [one for row in rows[ROWS:] for one in groups[bytes.fromhex(row.machine), bytes.fromhex(row.item)]]
    return rows[:ROWS] + ([_summed(f"{len(rows) - ROWS} others", rest)] if rest else [])


def _label(one: Added, by: str) -> str:
    machine = one.machine_name or one.machine.hex()[:8]  # as the newest job has it
    return machine if by == "machine" else f"{one.item_name or one.item.hex()[:8]} of {machine}"


def _summed(
    label: str, some: Sequence[Added], *, date: str | None = None, key: tuple[bytes, bytes] = (b"", b"")
) -> StorageRow:
    return StorageRow(
        label=label, date=date, machine=key[0].hex(), item=key[1].hex(), stored=_sum(a.stored for a in some),
        new=_sum(a.new for a in some), freed=_sum(a.freed for a in some), points=sum(a.point for a in some),
        files=_sum(a.files for a in some),
    )  # fmt: skip


def held_by(added: Iterable[Added]) -> tuple[int | None, str | None]:
    """The bytes of the vault by the newest prune of each machine, and the date of the oldest of these."""
    newest: dict[bytes, Added] = {}
    for one in added:
        if one.held and (one.machine not in newest or newest[one.machine].when < one.when):
            newest[one.machine] = one
    if not newest:
        return None, None
    oldest = min(one.when for one in newest.values())
    return _sum(one.held for one in newest.values()), datetime.fromtimestamp(oldest // 10**9).date().isoformat()


def _sum(numbers: Iterable[int]) -> int:
    return counted_safely(sum(numbers))


def _partial(read: int, total: int, reading: bool, more: bool) -> str:
    if read < total:
        return f"{read:,} of {total:,} jobs are counted{' so far' if reading else ''}"
    if reading and not total:
        return "the jobs are being listed"
    return f"only the newest {MOST:,} jobs are counted" if more else ""


def _cache(opened: Opened) -> CacheRow | None:
    """The cache on disk; None for a vault in a folder, which has none, or if it can't be asked."""
    found = opened.reader.status().disk
    return None if found is None else CacheRow(used=found.bytes, limit=found.limit, folder=found.folder)
