"""Contents of machine, item, point, job and index objects: MessagePack maps, sealed. docs/format.md, "Records".

Unknown fields are ignored, so that later versions can add fields. Times are ns since the epoch (UTC), ids are
16 bytes, lengths are bytes.
"""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from catalog.errors import Damaged, Unwritable, UsageError
from catalog.format.message import U31, Id, Length, Level, Offset, Stored, Whole, decode
from catalog.format.numbers import NUMBER as _NUMBER
from catalog.format.numbers import parsed_number
from catalog.format.packs import BlockRow, Extent, check_rows
from catalog.format.values import NOTHING, Subtree, Totals


class Machine(msgspec.Struct, kw_only=True, omit_defaults=True):
    """machines/<id>/<version>: a registered server. The highest version counts.

    A `forgotten` machine is shown only when asked for by name; its points stay. Its trees refer only to its own
    packs and to those of the machines (ids) in `shares`.
    """

    id: Id
    name: str
    hostname: str
    system: str
    created: int
    forgotten: bool = False
    shares: list[Id] = []


class ItemKind(StrEnum):
    """What an item is, in the word of its record. A later version may write others."""

    FILES = ""  # files and folders
    VOLUME = "volume"  # a file system, whole
    SYSTEM = "system state"
    IMAGE = "image"  # of a disk, byte for byte


class Item(msgspec.Struct, kw_only=True, omit_defaults=True):
    """items/<machine>/<id>/<version>: what a machine protects under one policy. `kind` is an ItemKind."""

    id: Id
    machine: Id
    name: str
    paths: list[bytes]
    created: int
    kind: str = ""


class Volume(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """A file system that files of a point were read from.

    `place` is where it was mounted, as in the point's `paths`; `source` is what was mounted there, as the system
    calls it. `size` and `used` are bytes. `subvolumes` are the file systems within it that belong to it, as paths
    from `place`. `snapshot` is the kind of snapshot that the files were read from, `time` its instant (ns, UTC);
    empty and 0 if the files were read while they were in use.
    """

    place: bytes
    file_system: str = ""
    uuid: str = ""
    label: str = ""
    source: str = ""
    options: str = ""
    size: Whole = 0
    used: Whole = 0
    subvolumes: list[bytes] = []
    snapshot: str = ""
    time: Whole = 0


class Problem(msgspec.Struct, array_like=True, gc=False):
    """A file that could not be saved, or changed while it was saved, and why."""

    path: bytes
    reason: str


class Root(msgspec.Struct, array_like=True, gc=False):
    """A Subtree on the wire."""

    level: Level
    pack: Id
    offset: Offset
    stored: Stored
    inner: Offset
    length: Length
    id: Id
    totals: Totals

    @classmethod
    def of(cls, s: Subtree) -> Root:
        return cls(s.level, *s.at, totals=s.totals)

    def subtree(self) -> Subtree:
        at = Extent(self.pack, self.offset, self.stored, self.inner, self.length, self.id)
        return Subtree(self.level, at, self.totals)


class Point(msgspec.Struct, kw_only=True, omit_defaults=True):
    """points/<machine>/<item>/<name>: an item as it was at one instant.

    `time` is when the backup began to read, or the instant of its first snapshot. `previous` is the id of the point
    with the preceding sequence number. `links` is the highest number given to a file with several hard links.
    `tree_blocks` counts the tree blocks that the tree occupies, `fresh_blocks` those of a newly written one.
    An entry whose ctime is not before `trusted` may have changed later without a change of its times. `partial`
    points are hidden: they belong to a backup that is running or was interrupted, and their trees mix new entries
    with those of `previous`. `checked` is when, by the store's clock, all that the tree refers to was last found in
    the vault (0: never). `distinct_names`: no two names of a folder differ only in case or in Unicode form
    (`catalog.names`). `kind` is that of the item; `volumes` are the file systems that the files lay on, as far as
    they are known.
    """

    id: Id
    machine: Id
    item: Id
    machine_name: str
    item_name: str
    hostname: str
    system: str
    sequence: Whole
    previous: Id | None = None
    time: Whole
    finished: Whole
    paths: list[bytes]
    excludes: list[str] = []
    root: Root | None = None
    partial: bool = False
    trusted: int = 0
    links: U31 = 0
    tree_blocks: int = 0
    fresh_blocks: int = 0
    new_bytes: int = 0  # raw bytes of chunks new to the vault
    stored_bytes: int = 0  # bytes of the packs that this run added
    problems: list[Problem] = []
    problem_count: int = 0  # `problems` has the first 1,000 at most
    distinct_names: bool = False
    checked: Whole = 0
    kind: str = ""
    volumes: list[Volume] = []

    @property
    def totals(self) -> Totals:
        return self.root.totals if self.root else NOTHING


class Outcome(StrEnum):
    """How a job ended, in the words of its record."""

    COMPLETED = "completed"
    WITH_WARNINGS = "completed with warnings"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"  # it was due and not begun; the reason is with it
    KILLED = "killed"  # it began, and its end was never recorded
    MISSED = "missed"  # nothing ran, as the machine was off or asleep


class Job(msgspec.Struct, kw_only=True, omit_defaults=True):
    """jobs/<machine>/<name>: one run, recorded for people to read. Nothing else depends on it.

    `kind` is what ran (`backup`), `outcome` an Outcome, or a word that a later version wrote.
    `time` and `finished` are the machine's clock. `files` and `bytes` count what it covered, of which
    `read_bytes` were read. `error_kind` and `error` say why it failed. A job of pruning says what of the machine's
    objects is live, hidden and not yet deleted, and what it deleted. `boot` tells one start of the machine from
    others. The record of a job's start says what is known by then: its `outcome` is `running`, `finished` is 0.
    """

    id: Id
    machine: Id
    item: Id | None = None
    kind: str
    outcome: str
    machine_name: str
    item_name: str = ""
    hostname: str
    time: Whole
    finished: Whole
    point: Id | None = None
    entries: int = 0
    files: int = 0
    bytes: int = 0
    new: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    read_bytes: int = 0
    new_bytes: int = 0
    stored_bytes: int = 0
    error_kind: str = ""
    error: str = ""
    problems: list[Problem] = []
    problem_count: int = 0  # `problems` has the first 100 at most
    live_bytes: int = 0
    hidden_bytes: int = 0
    freed_bytes: int = 0
    boot: str = ""
    level: int = 0  # of a check


class IndexedPack(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A pack's table of contents in an index object."""

    pack: Id
    blocks: list[BlockRow]


class IndexObject(msgspec.Struct, kw_only=True):
    """index/<machine>/<id>: data packs that this machine added."""

    packs: list[IndexedPack]


_encoder = msgspec.msgpack.Encoder()
R = TypeVar("R")
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}
# A thread that decodes a class crashes while msgspec analyses that class in another: make decoders one at a time.
_learning = threading.Lock()


def encode_record(record: Machine | Item | Point | Job | IndexObject) -> bytes:
    """The record's bytes.

    Raises UsageError if one of its texts is not UTF-8, Unwritable if no reader would accept one of its numbers.
    """
    try:
        data = _encoder.encode(record)
    except UnicodeEncodeError as e:
        raise UsageError("a name or pattern can't be recorded: it is not UTF-8") from e
    except OverflowError as e:
        raise _unwritable(record, str(e)) from e
    if not isinstance(record, IndexObject):  # large, and its numbers come from a PackBuilder
        try:
            _decoder(type(record)).decode(data)
        except msgspec.ValidationError as e:
            raise _unwritable(record, str(e)) from e
    return data


def _unwritable(record: object, reason: str) -> Unwritable:
    return Unwritable(f"the record of a {type(record).__name__.lower()} could not be read again: {reason}")


def _decoder(cls: type[R]) -> msgspec.msgpack.Decoder[R]:
    decoder = _decoders.get(cls)
    if decoder is None:
        with _learning:
            decoder = _decoders.get(cls) or _decoders.setdefault(cls, msgspec.msgpack.Decoder(cls))
    return decoder


def decode_record(cls: type[R], data: bytes | bytearray | memoryview, name: str) -> R:
    """The record in `data`. Raises Damaged if it is malformed."""
    record: R = decode(_decoder(cls), data, name)
    if isinstance(record, IndexObject):
        for pack in record.packs:
            check_rows(pack.blocks, name)
    return record


# --- names ------------------------------------------------------------------------------------------------

_ID = "([0-9a-f]{32})"
_DATE = "([0-9]{8}T[0-9]{6}Z)"
_POINT = re.compile(f"points/{_ID}/{_ID}/{_DATE}-{_NUMBER}-{_ID}(\\.partial)?")
_JOB = re.compile(f"jobs/{_ID}/{_DATE}-{_ID}")
_STARTED = ".started"
_MACHINE = re.compile(f"machines/{_ID}/{_NUMBER}")
_ITEM = re.compile(f"items/{_ID}/{_ID}/{_NUMBER}")
_TIME = "%Y%m%dT%H%M%SZ"


def _time_text(time: int) -> str:
    return datetime.fromtimestamp(time // 10**9, UTC).strftime(_TIME)


def _parsed_time(text: str) -> int | None:
    """The time (ns) that the digits of _DATE mean; None if there is none."""
    try:
        # strptime takes three times as long, and loads two modules.
        day, clock = (
            (int(text[:4]), int(text[4:6]), int(text[6:8])),
            (int(text[9:11]), int(text[11:13]), int(text[13:15])),
        )
        return int(datetime(*day, *clock, tzinfo=UTC).timestamp()) * 10**9
    except ValueError:
        return None


class RecordName(Protocol):
    """The name of a record."""

    def check(self, record: Any, /) -> None:
        """Raise Damaged if the record under this name belongs to another one."""


class VersionName(RecordName, Protocol):
    """The name of a version of a machine or item."""

    @property
    def version(self) -> int: ...


@lru_cache(8192)
def _owner(text: str) -> bytes:
    """The id of a machine or an item, once in memory for the names of all its points."""
    return bytes.fromhex(text)


class PointName(NamedTuple):
    """The fields of a point's name. `time` is cut to whole seconds, in ns since the epoch (UTC)."""

    machine: bytes
    item: bytes
    time: int
    sequence: int
    id: bytes
    partial: bool

    def __str__(self) -> str:
        tail = ".partial" if self.partial else ""
        folder = f"points/{self.machine.hex()}/{self.item.hex()}"
        return f"{folder}/{_time_text(self.time)}-{self.sequence:08d}-{self.id.hex()}{tail}"

    @classmethod
    def parse(cls, name: str) -> PointName | None:
        """The parsed name; None if it is not the name of a point."""
        m = _POINT.fullmatch(name)
        if m is None:
            return None
        when, number = _parsed_time(m[3]), parsed_number(m[4])
        if when is None or number is None:
            return None
        found = cls(_owner(m[1]), _owner(m[2]), when, number, bytes.fromhex(m[5]), bool(m[6]))
        return found if str(found) == name else None  # reject other spellings of a time

    @classmethod
    def of(cls, point: Point) -> PointName:
        seconds = point.time // 10**9 * 10**9
        return cls(point.machine, point.item, seconds, point.sequence, point.id, point.partial)

    def check(self, point: Point) -> None:
        """Raise Damaged if the record under this name belongs to another one."""
        if PointName.of(point) != self:
            raise Damaged(f"{self} holds a different point than its name says")


class JobName(NamedTuple):
    """The fields of a job's name. `time` is cut to whole seconds, in ns since the epoch (UTC)."""

    machine: bytes
    time: int
    id: bytes

    def __str__(self) -> str:
        return f"jobs/{self.machine.hex()}/{_time_text(self.time)}-{self.id.hex()}"

    @classmethod
    def parse(cls, name: str) -> JobName | None:
        """The parsed name; None if it is not the name of a job."""
        m = _JOB.fullmatch(name)
        when = _parsed_time(m[2]) if m else None
        if m is None or when is None:
            return None
        found = cls(bytes.fromhex(m[1]), when, bytes.fromhex(m[3]))
        return found if str(found) == name else None

    @classmethod
    def of(cls, job: Job) -> JobName:
        return cls(job.machine, job.time // 10**9 * 10**9, job.id)

    def check(self, job: Job) -> None:
        """Raise Damaged if the record under this name belongs to another one."""
        if JobName.of(job) != self:
            raise Damaged(f"{self} holds a different job than its name says")


class StartName(NamedTuple):
    """The name of the record of a job's start: that of the job, and `.started`."""

    job: JobName

    def __str__(self) -> str:
        return f"{self.job}{_STARTED}"

    @classmethod
    def parse(cls, name: str) -> StartName | None:
        """The parsed name; None if it is not the name of a job's start."""
        job = JobName.parse(name.removesuffix(_STARTED)) if name.endswith(_STARTED) else None
        return None if job is None else cls(job)

    def check(self, job: Job) -> None:
        """Raise Damaged if the record under this name belongs to another job."""
        if JobName.of(job) != self.job:
            raise Damaged(f"{self} holds a different job than its name says")


class MachineName(NamedTuple):
    """The fields of the name of a machine's record."""

    id: bytes
    version: int

    def __str__(self) -> str:
        return f"machines/{self.id.hex()}/{self.version:08d}"

    @classmethod
    def parse(cls, name: str) -> MachineName | None:
        """The parsed name; None if it is not the name of a machine's record."""
        m = _MACHINE.fullmatch(name)
        version = parsed_number(m[2]) if m else None
        return cls(bytes.fromhex(m[1]), version) if m and version is not None else None

    def check(self, machine: Machine) -> None:
        """Raise Damaged if the record under this name belongs to another one."""
        if machine.id != self.id:
            raise Damaged(f"{self} holds a different machine than its name says")


class ItemName(NamedTuple):
    """The fields of the name of an item's record."""

    machine: bytes
    id: bytes
    version: int

    def __str__(self) -> str:
        return f"items/{self.machine.hex()}/{self.id.hex()}/{self.version:08d}"

    @classmethod
    def parse(cls, name: str) -> ItemName | None:
        """The parsed name; None if it is not the name of an item's record."""
        m = _ITEM.fullmatch(name)
        version = parsed_number(m[3]) if m else None
        return cls(bytes.fromhex(m[1]), bytes.fromhex(m[2]), version) if m and version is not None else None

    def check(self, item: Item) -> None:
        """Raise Damaged if the record under this name belongs to another one."""
        if (item.machine, item.id) != (self.machine, self.id):
            raise Damaged(f"{self} holds a different item than its name says")
