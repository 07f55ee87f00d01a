"""A restore test as a job: chooses files, reads them back, compares them, and keeps a record of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import msgspec

from cache.reader import Reader
from catalog.access.session import Session
from catalog.errors import Damaged, LocalError, NewerFormat, NotFound, RpdriveError, ShortRead, UsageError
from catalog.format.records import Outcome, Point
from catalog.interruption import check, was_stopped
from catalog.jobs.local import LocalJob, LocalJobs, new_job_id
from catalog.machines.registry import id_here
from catalog.points.opening import listed_points, open_point
from catalog.schedule.history import RESTORE_TEST, Ran
from catalog.schedule.noted import begin, end
from catalog.screen.progress import JobProgress, Observer, Reporting
from catalog.vault import Vault
from mount.restoretest.compare import compare
from mount.restoretest.drive import open_drive, open_file, run_command
from mount.restoretest.live import Live, compare_live, is_here
from mount.restoretest.sample import Lost, Sampled, sample, wanted

FILES = 20  # that are read unless told otherwise
MIB = 1 << 20
_LISTED = 100  # failures kept in the record
_BAD = (Damaged, NewerFormat, NotFound, ShortRead)


class Request(NamedTuple):
    """The options of a restore test. `command` is run in the drive's folder, which opens the drive."""

    point: str
    machine: str | None
    item: str | None
    files: int | None
    percent: float | None
    mount: bool
    command: str | None
    driver: str

    def check(self) -> None:
        """Raise UsageError if options are out of range or don't fit together."""
        if self.files is not None and self.percent is not None:
            raise UsageError("--files and --percent exclude each other", "use one of them")
        if self.percent is not None and not 0 < self.percent <= 100:
            raise UsageError("--percent is not between 0 and 100", "e.g. --percent 1")

    @property
    def opens_drive(self) -> bool:
        return self.mount or self.command is not None


class Failure(NamedTuple):
    """A file that can't be given back, or comes back with other bytes. Its path may be unknown."""

    path: bytes
    reason: str


class Part(msgspec.Struct, array_like=True):
    """What reading some files has come to. The fields are those of a verdict."""

    files: int = 0
    size: int = 0
    failures: list[Failure] = []
    is_here: bool = False
    same: int = 0
    changed: int = 0
    differs: list[bytes] = []

    def add(self, other: Part) -> None:
        """Add what other files have come to."""
        self.files += other.files
        self.size += other.size
        self.failures += other.failures
        self.is_here |= other.is_here
        self.same += other.same
        self.changed += other.changed
        self.differs += other.differs


class Verdict(NamedTuple):
    """The result. `size` bytes were read, once, of `files` of the `there` files of the point.

    `same`, `changed` and `differs` count files by the one of their path on this machine; `is_here` is False if it
    did not save the point. `command_code` is the exit code of the command.
    """

    point: Point
    there: int
    files: int
    size: int
    seconds: float
    failures: list[Failure]
    on_drive: bool
    is_here: bool
    same: int
    changed: int
    differs: list[bytes]
    command: str | None = None
    command_code: int | None = None

    @property
    def is_damaged(self) -> bool:
        return bool(self.failures)

    @property
    def has_problems(self) -> bool:
        """Whether something else is wrong than the vault: the command's verdict, or files here."""
        return bool(self.differs) or bool(self.command_code)


class RestoreTest:
    """One restore test."""

    def __init__(self, session: Session, request: Request, rng: random.Random | None = None) -> None:
        request.check()
        self._session, self._request = session, request
        self._rng = rng or random.SystemRandom()
        self._part, self._bytes, self._total = Part(), 0, 0
        self._path = b""
        self._noted: Ran | None = None
        self.record = LocalJob(
            id=new_job_id(), kind="restore test", point="", machine="", item="", target="", started=time.time_ns(),
            finished=0, bytes=0, files=0, warnings=[], warning_count=0, outcome=Outcome.FAILED,
        )  # fmt: skip

    def run(self, vault: Vault, observer: Observer | None = None) -> Verdict:
        """Test, followed by `observer`. Raises NotFound, StoreError, MountFailed and LocalError.

        Files are read from the store and not from the cache of this machine, and then once more through the drive.
        """
        with self.noted(vault) as end:
            verdict = self._run(vault, observer)
            end(verdict)
        return verdict

    @contextmanager
    def noted(self, vault: Vault) -> Iterator[Callable[[Verdict], None]]:
        """Keep a record of a test that is done while this is entered: it hands its verdict to what this gives."""
        r = self.record
        r.vault = vault.id.hex()
        ran = Ran(id=r.id, vault=r.vault, kind=RESTORE_TEST, started=r.started)
        self._noted = begin(self._session.settings.where("state"), ran)
        try:
            yield self._fill
        except (KeyboardInterrupt, RpdriveError) as e:
            if was_stopped(e):
                self.record.outcome = Outcome.INTERRUPTED
            else:
                self.record.error = _plain(str(e))
            self._keep()
            raise
        self._keep()

    def chosen(self, vault: Vault) -> tuple[Point, int]:
        """The point to test, and how many of its files. Raises NotFound, AmbiguousName, StoreError or Damaged."""
        request = self._request
        points = listed_points(vault, request.machine, request.item)
        point = open_point(vault, points, request.point)
        self.record.point, self.record.machine = point.id.hex(), point.machine_name
        self.record.item = point.item_name
        return point, wanted(point, FILES if request.files is None else request.files, request.percent)

    def _run(self, vault: Vault, observer: Observer | None) -> Verdict:
        request = self._request
        point, self._total = self.chosen(vault)
        code = None
        began = time.monotonic()
        with reading(vault) as reader, Reporting(self._progress, observer):
            drive = open_drive(self._session, point, request.driver) if request.opens_drive else nullcontext()
            with drive as place:
                found = sample(reader, point, self._total, self._rng)
                files = self._followed(found)
                for part in read_each(self._session, vault, reader, point, files, place, self._count):
                    self._part.add(part)
                if request.command is not None and place is not None:
                    code = run_command(request.command, place)
        seconds = time.monotonic() - began
        return verdict_of(point, self._part, seconds, request.opens_drive, request.command, code)

    def _followed(self, found: Iterable[Sampled | Lost]) -> Iterator[Sampled | Lost]:
        for one in found:
            check()
            self._path = one.path
            yield one

    def _count(self, done: int) -> None:
        self._bytes += done

    def _progress(self, seconds: float) -> JobProgress:
        return JobProgress(seconds, self._part.files, self._total, self._bytes, None, path=self._path)

    # --- the record -------------------------------------------------------------------------------------------

    def _fill(self, verdict: Verdict) -> None:
        r = self.record
        rows = [f"{_text(f.path) or 'a file'}: {f.reason}" for f in verdict.failures]
        rows += [f"{_text(path)}: the file on this machine has other bytes" for path in verdict.differs]
        if verdict.command_code:
            rows.append(f"the command ended with exit code {verdict.command_code}")
        r.bytes, r.files = verdict.size, verdict.files
        r.warnings, r.warning_count = [_plain(row) for row in rows[:_LISTED]], len(rows)
        if verdict.is_damaged:
            r.outcome = Outcome.FAILED
            r.error = f"{len(verdict.failures)} of {verdict.files} files can't be given back"
        else:
            r.outcome = Outcome.WITH_WARNINGS if verdict.has_problems else Outcome.COMPLETED

    def _keep(self) -> None:
        r = self.record
        r.finished = time.time_ns()
        if self._noted is not None:
            end(
                self._session.settings.where("state"), self._noted, (row.encode() for row in r.warnings),
                item_name=r.item, finished=r.finished, outcome=str(r.outcome), error=r.error, point=r.point,
                bytes=r.bytes, files=r.files, problem_count=r.warning_count,
            )  # fmt: skip
        try:
            LocalJobs(self._session.settings.state).add(self.record)
        except LocalError:
            pass  # the verdict is printed all the same


@contextmanager
def reading(vault: Vault) -> Iterator[Reader]:
    """A reader that keeps nothing on a disk: what is tested is the store."""
    reader = Reader(vault, memory=48 * MIB, page_memory=8 * MIB)
    try:
        yield reader
    finally:
        reader.close()


def read_each(
    session: Session,
    vault: Vault,
    reader: Reader,
    point: Point,
    found: Iterable[Sampled | Lost],
    place: Path | None = None,
    count: Callable[[int], object] = lambda done: None,
) -> Iterator[Part]:
    """Read files of a point back, from the store and through the drive at `place`: a part for each.

    `count` gets the number of bytes as they are read.
    """
    here = is_here(point, id_here(session.settings, vault))
    for one in found:
        part = Part(files=1, is_here=here)

        def read(done: int, part: Part = part) -> None:
            part.size += done
            count(done)

        failure = _read(vault, reader, one, place, read)
        if failure is not None:
            part.failures.append(failure)
        elif here and isinstance(one, Sampled):
            live = compare_live(vault.keys, reader, one)
            part.same, part.changed = int(live is Live.SAME), int(live is Live.CHANGED)
            part.differs += [one.path] if live is Live.DIFFERS else []
        yield part


def _read(
    vault: Vault, reader: Reader, one: Sampled | Lost, place: Path | None, count: Callable[[int], None]
) -> Failure | None:
    """Read a file back. What is wrong with it, if anything."""
    if isinstance(one, Lost):
        return Failure(one.path, str(one.error))
    size = one.entry.size
    try:
        opened = reader.open(one.content, size)
        compare(vault.keys, reader, one.content, size, opened.read, count)
        if place is not None:
            with open_file(place, one.path) as read:
                compare(vault.keys, reader, one.content, size, read)
    except _BAD as e:
        return Failure(one.path, str(e))
    return None


def verdict_of(
    point: Point,
    part: Part,
    seconds: float,
    on_drive: bool = False,
    command: str | None = None,
    code: int | None = None,
) -> Verdict:
    """The verdict of a test that has read these files."""
    return Verdict(
        point, point.totals.files, part.files, part.size, seconds, part.failures, on_drive, part.is_here,
        part.same, part.changed, part.differs, command, code,
    )  # fmt: skip


def _text(path: bytes) -> str:
    return "/" + path.decode(errors="backslashreplace") if path else ""


def _plain(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
