"""`rpdrive fleet test-restore`: files of a point, or of the newest point of each item, read back by many workers.

A piece is some numbers of entries of a point, and how many of them are to be files. Each test has the record that
`rpdrive test-restore` keeps: in the jobs of the machine that runs the command.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from typing import Annotated, Any

import msgspec

from catalog.access.session import Session
from catalog.errors import WITH_PROBLEMS, Damaged, NewerFormat, NotFound, RpdriveError
from catalog.format.records import Outcome, PointName
from catalog.jobs.local import LocalJob
from catalog.points.choice import no_points
from catalog.points.opening import listed_points
from catalog.screen.output import print_json, say
from catalog.screen.phases import NoFollower, Phase, PhaseScreen
from catalog.screen.stderr import warn
from catalog.vault import Vault
from mount.fleet.engine import Fleet
from mount.fleet.here import Here
from mount.fleet.listing import counts_json, tell_counts
from mount.fleet.pieces import Piece, decode_result, encode_result
from mount.restoretest.job import Part, Request, RestoreTest, Verdict, read_each, reading, verdict_of
from mount.restoretest.sample import Lost, Sampled, at_numbers, numbers_of
from mount.restoretest.show import verdict_json, verdict_lines

_FILES = 20  # of a piece
_MORE = 1.25  # as many numbers as may be needed for the files of a piece, and some


class _Body(msgspec.Struct, frozen=True, array_like=True):
    """Numbers of entries of a point, of which `files` files are to be read."""

    point: Annotated[str, msgspec.Meta(max_length=300)]
    files: int
    numbers: list[int]


class _Result(msgspec.Struct, frozen=True, array_like=True):
    """What reading has come to; the first `used` numbers were looked at."""

    part: Part
    used: int


# --- on a worker --------------------------------------------------------------------------------------------


def read_piece(here: Here, data: bytes) -> bytes:
    """Read files back."""
    body = msgspec.msgpack.decode(data, type=_Body)
    name = PointName.parse(body.point)
    if name is None:
        raise ValueError(f"{body.point} is no name of a point")
    point = here.vault.point(name)
    used, total = 0, Part()

    def found() -> Iterator[Sampled | Lost]:
        nonlocal used
        files = 0
        for one in at_numbers(reader, point, body.numbers):
            here.follow.check()
            used += 1
            if one is not None:
                files += 1
                yield one
            if files >= body.files:
                return

    with reading(here.vault) as reader:
        files = read_each(here.session, here.vault, reader, point, found(), count=lambda _n: here.follow.check())
        for part in files:
            total.add(part)
    return encode_result(_Result(total, used))


# --- in the command -----------------------------------------------------------------------------------------


class _Test:
    """The test of a point, of which pieces are out."""

    def __init__(self, number: int, session: Session, vault: Vault, request: Request, rng: random.Random) -> None:
        self._test = RestoreTest(session, request)
        self._stack = ExitStack()
        self._end: Callable[[Verdict], None] = self._stack.enter_context(self._test.noted(vault))
        try:
            self.point, self._wanted = self._test.chosen(vault)
        except BaseException as e:
            self._stack.__exit__(type(e), e, e.__traceback__)
            raise
        self._name = str(PointName.of(self.point))
        self._numbers = deque(numbers_of(self.point, self._wanted, rng))
        self._number, self._pieces = number, 0
        self._out = 0  # files that pieces are to read which are out
        self._part = Part()
        self._began = time.monotonic()
        self.error: RpdriveError | None = None  # of a piece that failed everywhere
        self.verdict: Verdict | None = None

    @property
    def record(self) -> LocalJob:
        return self._test.record

    @property
    def name(self) -> str:
        return f"{self.point.machine_name}, {self.point.item_name}"

    def pieces(self) -> Iterator[Piece]:
        """Pieces that are to be handed out, until those that are out should do."""
        totals = self.point.totals
        while self._numbers and self._part.files + self._out < self._wanted:
            files = min(_FILES, self._wanted - self._part.files - self._out)
            need = math.ceil(files * _MORE * totals.entries / max(totals.files, 1)) + 2
            numbers = [self._numbers.popleft() for _ in range(min(need, len(self._numbers)))]
            self._out += files
            self._pieces += 1
            body = encode_result(_Body(self._name, files, numbers))
            yield Piece("test", f"test {self._number} {self._pieces}", body, f"testing {self.name}")

    def take(self, piece: Piece, result: bytes | None, error: RpdriveError | None) -> None:
        """Keep what became of a piece. What it has not looked at is for others."""
        body = msgspec.msgpack.decode(piece.body, type=_Body)
        self._out -= body.files
        if result is None:
            self.error = self.error or error
            self._wanted -= body.files
            return
        row = decode_result(result, _Result)
        self._part.add(row.part)
        self._numbers.extend(body.numbers[max(row.used, 0) :])

    def ended(self) -> bool:
        """Whether nothing is out or left. Then the verdict is kept."""
        if self.verdict is not None:
            return True
        if self._out or (self._numbers and self._part.files < self._wanted):
            return False
        verdict = self.verdict = verdict_of(self.point, self._part, time.monotonic() - self._began)
        self._end(verdict)
        if self.error is not None:
            self.record.outcome, self.record.error = Outcome.FAILED, str(self.error)
        self._stack.close()
        return True

    def stopped(self, error: BaseException) -> None:
        """Note that the test came to no end."""
        if self.verdict is None:
            self._stack.__exit__(type(error), error, error.__traceback__)


class _Tests:
    """The tests of a command. `show` is told of each that has ended."""

    def __init__(
        self,
        session: Session,
        vault: Vault,
        fleet: Fleet,
        requests: Sequence[Request],
        show: Callable[[_Test], None],
        *,
        is_quiet: bool,
    ) -> None:
        self._is_quiet = is_quiet
        self._session, self._vault, self._fleet, self._requests = session, vault, fleet, requests
        self._show, self._rng = show, random.SystemRandom()
        self._open: dict[str, _Test] = {}
        self._given: set[str] = set()  # tests of which all pieces were handed out once
        self.errors: list[RpdriveError] = []  # of points that can't be opened
        self.done = 0

    def run(self) -> None:
        try:
            with nullcontext() if self._is_quiet else PhaseScreen() as screen:
                follow = screen or NoFollower()
                for outcome in self._fleet.run(self._pieces()):
                    key = outcome.piece.id.split()[1]
                    test = self._open[key]
                    test.take(outcome.piece, outcome.result, outcome.error)
                    follow.phase(Phase("testing", self.done, len(self._requests), unit="points"))
                    if key in self._given:
                        for piece in test.pieces():
                            self._fleet.add(piece)
                        self._ended(key)
        except BaseException as e:
            for test in self._open.values():
                test.stopped(e)
            raise

    def _pieces(self) -> Iterator[Piece]:
        for number, request in enumerate(self._requests):
            try:
                test = _Test(number, self._session, self._vault, request, self._rng)
            except (Damaged, NewerFormat, NotFound) as e:
                if len(self._requests) == 1:
                    raise
                self.errors.append(e)
                continue
            key = str(number)
            self._open[key] = test
            yield from test.pieces()
            self._given.add(key)
            self._ended(key)

    def _ended(self, key: str) -> None:
        test = self._open[key]
        if test.ended():
            del self._open[key]
            self.done += 1
            self._show(test)


def _requests(vault: Vault, request: Request) -> list[Request]:
    """A request for the newest point of each item. Raises NotFound if there are none: nothing would be tested."""
    listed = listed_points(vault, request.machine, request.item)
    items = sorted({(name.machine, name.item) for name in listed.stored})
    if not items:
        raise no_points()
    return [request._replace(point="latest", machine=m.hex(), item=item.hex()) for m, item in items]


def run_tests(session: Session, vault: Vault, fleet: Fleet, request: Request, every: bool, *, as_json: bool) -> int:
    """Test a point, or the newest one of `every` item, and print the verdicts. Returns the exit code."""
    codes, rows = [0], list[dict[str, Any]]()

    def show(test: _Test) -> None:
        verdict = test.verdict
        assert verdict is not None
        if as_json:
            error = None if test.error is None else {"kind": test.error.kind, "message": str(test.error)}
            rows.append(verdict_json(verdict, test.record) | {"error": error})
        elif verdict.files or test.error is None:
            for line in verdict_lines(verdict):
                say(line)
        if test.error is not None:
            codes.append(WITH_PROBLEMS)
            warn(f"not all chosen files were read: {test.error}")
        codes.append(Damaged.exit_code if verdict.is_damaged else WITH_PROBLEMS if verdict.has_problems else 0)

    requests = _requests(vault, request) if every else [request]
    tests = _Tests(session, vault, fleet, requests, show, is_quiet=as_json)
    tests.run()
    for error in tests.errors:
        warn(f"{error}; {error.advice}" if error.advice else str(error))
        codes.append(Damaged.exit_code if isinstance(error, Damaged) else WITH_PROBLEMS)
    if as_json and every:
        errors = [{"kind": e.kind, "message": str(e)} for e in tests.errors]
        print_json({"tests": rows, "errors": errors, "fleet": counts_json(fleet.counts)})
    elif as_json:
        print_json(rows[0] | {"fleet": counts_json(fleet.counts)})
    tell_counts(fleet, vault, as_json=as_json)
    return max(codes)
