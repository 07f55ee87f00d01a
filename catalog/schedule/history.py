"""The runs of this machine: what began, how it ended, what was skipped and why. The calendar uses nothing else.

One file of lines, each a run as JSON; a later line about the same run replaces the earlier one. A process appends
under a lock, and one that is killed in the middle costs its own line. It is written anew, by another name that is
then renamed, once half of it is of no use. Imports little: every tick reads it.
"""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from catalog.access.settings import private_folder, write_private
from catalog.errors import LocalError
from catalog.systems.this import SYSTEM

DAY = 86_400 * 10**9  # ns
DAYS, ROWS = 400, 10_000  # what is kept: so many days, and so many runs
LISTED = 100  # problems of a run
_LISTING = 3  # the newest runs of an item keep their lists of problems
_TEXT = 1_000  # characters or bytes of a text, or of the path of a problem
_SLACK = 256 << 10  # bytes by which the file grows before it is looked at whether to write it anew
_RESERVE = 64 << 10  # bytes set aside on the disk for the ends of runs
_FULL = (errno.ENOSPC, errno.EDQUOT)
_log = logging.getLogger("rpdrive.schedule")


RawPath: TypeAlias = bytes
HexId: TypeAlias = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})*$")]


class Ran(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """A run, or a slot that was skipped. Times in ns since the epoch (UTC), ids in hex, sizes in bytes.

    `kind` is backup, prune, check, restore-test, restore, repair or refresh; `level` that of a check. `slot` is the
    newest slot that the run serves, 0 for one by hand, and `missed` the number of older ones that it serves, too.
    `finished` is 0 while it runs, or if it was killed. `boot`, `pid` and `process` (its start time) identify its
    process. `outcome` is an Outcome, "running", or a word that a later version wrote; `reason` says why it was
    skipped, `cause` is the kind of the error. `tries` counts the attempts that one row stands for. `ahead`: it was
    noted by a clock that was ahead.
    """

    id: str
    vault: str = ""
    machine: HexId = ""
    kind: str
    level: int = 0
    item: HexId = ""
    item_name: str = ""
    slot: int = 0
    missed: int = 0
    started: int
    finished: int = 0
    boot: str = ""
    pid: int = 0
    process: str = ""
    outcome: str = "running"
    reason: str = ""
    cause: str = ""
    error: str = ""
    point: str = ""
    bytes: int = 0
    new_bytes: int = 0
    files: int = 0
    changed: int = 0
    problem_count: int = 0
    problems: list[RawPath] = []
    tries: int = 1
    ahead: bool = False


RUNNING = "running"  # no outcome yet
# As in catalog.format.records.Outcome, which would load what encrypts and compresses.
KILLED, SKIPPED, MISSED = "killed", "skipped", "missed"
RESTORE_TEST = "restore-test"  # the kind of a restore test


# The file as it was read last in this process, by what changes with each write: a tick asks for it twice.
_last: tuple[object, dict[str, Ran]] | None = None


def _remember(version: object, found: dict[str, Ran]) -> None:
    global _last  # noqa: PLW0603
    _last = (version, found)


def new_id() -> str:
    """The id of a run."""
    return os.urandom(16).hex()


def is_alive(ran: Ran) -> bool:
    """Whether the process of a run that has not ended still exists: same boot, same process."""
    if ran.boot and ran.boot != SYSTEM.boot_id():
        return False
    if ran.process:
        return SYSTEM.process_start(ran.pid) == ran.process
    return not (ran.pid and SYSTEM.has_ended(ran.pid))


class History:
    """The runs noted in a state folder. With `each`, so many of each machine are kept, in place of ROWS in all."""

    def __init__(self, state: Path, each: int = 0) -> None:
        self._state, self.each = state, each
        self._path = state / "runs.jsonl"
        self._reserve = state / "runs.reserve"

    def all(self) -> list[Ran]:
        """Every run, oldest first. Lines that can't be read are skipped; so is a file that can't be."""
        return sorted(self._read().values(), key=lambda ran: (ran.started, ran.id))

    def add(self, ran: Ran) -> bool:
        """Note a run, in place of what is noted of it. False if this disk doesn't take it: that stops no job."""
        return self.note([ran])

    def note(self, rows: Iterable[Ran]) -> bool:
        """As `add`, for several."""
        data = b"".join(_encoder.encode(_bounded(ran)) + b"\n" for ran in rows)
        if not data:
            return True
        try:
            with self._locked():
                self._append(data)
                with suppress(OSError, LocalError):  # the next one tries again
                    self._tidy(len(data))
        except (OSError, LocalError) as e:
            _log.warning("the history of jobs can't be written: %s", e)
            return False
        return True

    def started(self, ran: Ran) -> Ran:
        """Note that a run of this process begins. Returns it with the process's marks."""
        pid = os.getpid()
        ran = msgspec.structs.replace(
            ran, outcome=RUNNING, boot=SYSTEM.boot_id(), pid=pid, process=SYSTEM.process_start(pid)
        )
        self.add(ran)
        return ran

    def settle(self, now: int, alive: Callable[[Ran], bool] = is_alive) -> list[Ran]:
        """All runs, after noting those that were killed, and those that a clock ahead of time noted."""
        news = []
        rows = self.all()
        for n, ran in enumerate(rows):
            found = ran
            if ran.outcome == RUNNING and not (alive(ran) and now - ran.started < DAY * LONGEST_DAYS):
                found = msgspec.structs.replace(found, outcome=KILLED)
            if ran.started > now + AHEAD and not ran.ahead:
                found = msgspec.structs.replace(found, ahead=True)
            if found is not ran:
                rows[n] = found
                news.append(found)
        self.note(news)
        return rows

    # --- the file -----------------------------------------------------------------------------------------

    def _read(self) -> dict[str, Ran]:
        found: dict[str, Ran] = {}
        with suppress(OSError), self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            version = (str(self._path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if _last is not None and _last[0] == version:
                return dict(_last[1])
            for line in file:
                try:
                    ran = _decoder.decode(line)
                except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
                    continue
                found[ran.id] = ran
            _remember(version, found)
        return dict(found)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        private_folder(self._state)
        descriptor = os.open(self._state / "runs.lock", os.O_RDWR | os.O_CREAT | _CLOSED, 0o600)
        try:
            SYSTEM.lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _append(self, data: bytes) -> None:
        try:
            self._write(data)
        except OSError as e:
            if e.errno not in _FULL:
                raise
            self._reserve.unlink(missing_ok=True)  # what was set aside for this
            self._write(data)

    def _write(self, data: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _CLOSED, 0o600)
        with os.fdopen(descriptor, "ab", buffering=0) as file:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and not self._ends_a_line()
            try:
                view = memoryview(b"\n" + data if torn else data)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    os.truncate(self._path, size)
                raise

    def _ends_a_line(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _tidy(self, added: int) -> None:
        """Set bytes aside again, and write the file anew if half of it is of no use. `added` bytes are new in it.

        Whether it is takes reading all of it: looked at each time that it has grown by _SLACK.
        """
        if not self._reserve.exists() and _free(self._state) > 4 * _RESERVE:
            write_private(self._reserve, os.urandom(_RESERVE))
        size = self._path.stat().st_size
        if size // _SLACK == max(size - added, 0) // _SLACK:
            return
        rows = self._read()
        kept = kept_of(rows.values(), self.each)
        data = b"".join(_encoder.encode(ran) + b"\n" for ran in kept)
        if len(data) < size // 2 or len(kept) < len(rows):
            write_private(self._path, data)


AHEAD = 300 * 10**9  # ns that clocks may differ by, before a run counts as noted by a wrong one
LONGEST_DAYS = 30  # after which a run that didn't end counts as killed, whatever its process does


def kept_of(rows: Iterable[Ran], each: int = 0) -> list[Ran]:
    """The runs to keep, oldest first: those of so many days before the newest, and no more than ROWS.

    With `each`, as many of each machine. The newest success of each item and kind is kept at any age: the calendar
    goes by it. All but the newest runs of each lose their lists of problems.
    """
    ordered = sorted(rows, key=lambda ran: (ran.started, ran.id), reverse=True)
    trusted = [ran.started for ran in ordered if not ran.ahead]
    since = (trusted[0] if trusted else 0) - DAYS * DAY
    seen: dict[tuple[str, str, str, str, int], int] = {}
    good: set[tuple[str, str, str, str, int]] = set()
    of_machines = Counter[str]()
    found: list[Ran] = []
    for ran in ordered:
        series = (ran.vault, ran.machine, ran.item, ran.kind, ran.level)
        number = seen[series] = seen.get(series, 0) + 1
        is_newest = ran.outcome.startswith("completed") and not ran.ahead and series not in good
        if is_newest:
            good.add(series)
        of_machines[ran.machine] += 1
        is_full = of_machines[ran.machine] > each if each else len(found) >= ROWS
        if not is_newest and (ran.started < since or is_full):
            continue
        found.append(ran if number <= _LISTING or not ran.problems else msgspec.structs.replace(ran, problems=[]))
    return found[::-1]


def _bounded(ran: Ran) -> Ran:
    """A run with texts of bounded length."""
    if len(ran.error) <= _TEXT and len(ran.problems) <= LISTED and all(len(p) <= _TEXT for p in ran.problems):
        return ran
    problems = [path[:_TEXT] for path in ran.problems[:LISTED]]
    return msgspec.structs.replace(ran, error=ran.error[:_TEXT], problems=problems)


def _free(folder: Path) -> int:
    """Bytes free on the folder's disk; without end where that is not known."""
    call = getattr(os, "statvfs", None)
    if call is None:
        return 1 << 62
    found = call(folder)
    return int(found.f_bavail * found.f_frsize)


_CLOSED = getattr(os, "O_CLOEXEC", 0)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Ran)
