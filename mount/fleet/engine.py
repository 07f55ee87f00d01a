"""Runs pieces on a pool of workers: hands out, tries again elsewhere, gives up. Knows no Dask, and no vault.

A pool is a set of workers that comes and goes. Each is asked first whether it can do pieces of this run: one
without the vault's key, or of another version, is told of once, and gets none. Each worker works on one piece, and
may have others that wait: a scheduler that starts workers as they are needed has to see that there is work.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from catalog.errors import FleetFailed, RpdriveError
from catalog.interruption import check
from mount.fleet.pieces import Failure, Note, Piece, Reply, decode_reply

TRIES = 3  # of a piece, each by another worker if there is one
PATIENCE = 60.0  # seconds without any worker that can do pieces
_LOOK_EVERY, _WAIT = 1.0, 0.5  # seconds
_NOTES = 1000  # of what was passed over
_RENEW = "see docs/fleet.md"


class Ended(NamedTuple):
    """What was started and has ended: what the worker answered (None: nothing), or why there is no answer."""

    ticket: str
    data: object = None
    reason: str = ""


class Pool(Protocol):
    """Workers, and what they were asked. `depth` pieces are to be at a worker, of which it works on the first."""

    depth: int

    def members(self) -> Mapping[str, str]:
        """The workers that are there: id -> name for people. An id is never that of another worker later.

        Raises FleetFailed if it can't be known any more.
        """
        ...

    def start(self, ticket: str, order: bytes, worker: str) -> None:
        """Ask a worker. If it is lost, nothing comes back. Raises FleetFailed."""
        ...

    def ended(self, seconds: float) -> list[Ended]:
        """What has ended since the last call; waits so long for the first one."""
        ...

    def cancel(self, tickets: Iterable[str]) -> None:
        """Forget what was started; a worker that has begun stops as soon as it looks."""
        ...

    def close(self) -> None: ...


class Counts:
    """What a run came to. Seconds: `busy` is what workers spent on pieces, `present` how long they were there."""

    def __init__(self) -> None:
        self.pieces = self.tasks = self.failed = self.again = self.lost = 0
        self.workers = self.refused = self.gone = 0
        self.busy = self.present = self.seconds = 0.0
        self.requests = self.received = self.sent = 0

    @property
    def idle(self) -> float:
        return max(self.present - self.busy, 0.0)

    @property
    def speed_up(self) -> float:
        """How much longer one worker would have taken."""
        return self.busy / self.seconds if self.seconds else 0.0


class Outcome(NamedTuple):
    """What became of a piece: its result, or the error of its last try, which names the worker's host."""

    piece: Piece
    result: bytes | None
    error: RpdriveError | None
    host: str = ""


class _Try:
    """A piece that is out, or waits to be handed out again."""

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.tries = self.lost = 0  # answers without a result; workers that were lost with it
        self.worker = ""
        self.failed_at: set[str] = set()  # workers


class Fleet:
    """Runs pieces on a pool. `order_of` makes what a worker gets; None: the question whether it can.

    `say` gets lines for the person.
    """

    def __init__(
        self,
        pool: Pool,
        order_of: Callable[[Piece | None], bytes],
        say: Callable[[str], None],
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts = Counts()
        self.notes: dict[str, Note] = {}  # what workers have passed over, by object
        self.question: Piece | None = None  # a worker is asked it first; its id is ""
        self._pool, self._order_of, self._say = pool, order_of, say
        self._patience, self._clock = patience, clock
        self._added: deque[_Try] = deque()
        self._given_up: deque[Outcome] = deque()
        self._out: dict[str, _Try] = {}
        self._asked: dict[str, str] = {}  # ticket -> worker
        self._known: dict[str, str] = {}  # all that were asked
        self._able: dict[str, float] = {}  # those that can, and since when they are there
        self._load: dict[str, list[str]] = {}  # the tickets that each of these has, in order
        self._refusals: dict[str, str] = {}
        self._looked = float("-inf")
        self._without = self._began = clock()
        self._tickets = 0

    def add(self, piece: Piece) -> None:
        """Add a piece while others are run: it comes before those that have not begun."""
        self.counts.pieces += 1
        self._added.append(_Try(piece))

    def run(self, pieces: Iterable[Piece]) -> Generator[Outcome]:
        """Run pieces, and those that are added meanwhile: their outcomes, in any order.

        Pieces are taken as they can be handed out. Raises FleetFailed if no worker is left that can do them.
        """
        source = iter(pieces)
        self._without = self._began = self._clock()
        try:
            while self._fill(source) or self._out or self._added or self._given_up:
                while self._given_up:
                    yield self._given_up.popleft()
                for ended in self._pool.ended(_WAIT if self._out or not self._able else 0.0):
                    outcome = self._take(ended)
                    if outcome is not None:
                        yield outcome
        finally:
            self._end()

    def _end(self) -> None:
        self._pool.cancel([*self._out, *self._asked])
        self._out.clear()
        self._asked.clear()
        self._load = {one: [] for one in self._able}
        now = self._clock()
        self.counts.present += sum(now - max(since, self._began) for since in self._able.values())
        self.counts.seconds += now - self._began

    def close(self) -> None:
        self._pool.close()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # --- workers ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """See who is there, and ask those that are new."""
        now = self._clock()
        if now - self._looked < _LOOK_EVERY:
            return
        check()
        self._looked = now
        there = self._pool.members()
        for one in [one for one in self._able if one not in there]:
            self._lose(one)
        for one, name in there.items():
            if one not in self._known:
                self._known[one] = name
                ticket = self._ticket()
                self._asked[ticket] = one
                self._pool.start(ticket, self._order_of(self.question), one)
        for ticket, one in list(self._asked.items()):
            if one not in there:
                self._asked.pop(ticket)
                self._pool.cancel([ticket])
        if self._able:
            self._without = now
        elif now - self._without > self._patience:
            why = next(reversed(self._refusals.values()), "")
            raise FleetFailed(
                f"no worker can do anything since {int(self._patience)} s{f': {why}' if why else ''}",
                FleetFailed.advice,
            )

    def _lose(self, one: str) -> None:
        """A worker is gone. It was at work on the first of the pieces that it had; the others had only waited."""
        counts = self.counts
        counts.gone += 1
        counts.present += self._clock() - max(self._able.pop(one), self._began)
        tickets = self._load.pop(one)
        self._pool.cancel(tickets)
        for n, ticket in enumerate(tickets):
            given = self._out.pop(ticket)
            counts.lost += 1
            given.lost += n == 0
            if given.lost < TRIES:
                self._added.append(given)
                continue
            counts.failed += 1
            label = given.piece.label
            error = FleetFailed(
                f"{label}: {TRIES} workers ended while they were at it", "see their logs, and memory"
            )
            self._given_up.append(Outcome(given.piece, None, error))

    def _answered(self, one: str, ended: Ended) -> None:
        """Take a worker's answer to the question whether it can do pieces."""
        name = self._known[one]
        try:
            reply = decode_reply(ended.data, "")
            failure = reply.failure
            name = reply.host
        except ValueError:
            reason = ended.reason or "its answer is malformed"
            failure = Failure(
                "FleetFailed", reason, "install the same rpdrive[fleet] there, and where the scheduler runs"
            )
        if failure is None:
            if not self.counts.workers:
                self._began = self._clock()  # before, there was nobody
            self._able[one] = self._clock()
            self._load[one] = []
            self.counts.workers += 1
            return
        self.counts.refused += 1
        line = f"the worker on {name} gets nothing to do: {failure.message}"
        line += f"; {failure.advice}" if failure.advice else ""
        self._refusals[one] = line
        if list(self._refusals.values()).count(line) == 1:
            self._say(line)

    # --- pieces -------------------------------------------------------------------------------------------

    def _ticket(self) -> str:
        self._tickets += 1
        return str(self._tickets)

    def _fill(self, source: Iterator[Piece]) -> bool:
        """Hand out pieces. False if there is nothing left to hand out."""
        self._look()
        while self._load:
            one = min(self._load, key=lambda one: len(self._load[one]))
            if len(self._load[one]) >= self._pool.depth:
                return True
            given = self._added.popleft() if self._added else None
            if given is None:
                piece = next(source, None)
                if piece is None:
                    self._share()
                    return False
                self.counts.pieces += 1
                given = _Try(piece)
            if one in given.failed_at:
                one = min(self._load, key=lambda one: (one in given.failed_at, len(self._load[one])))
            self._start(given, one)
        return True

    def _share(self) -> None:
        """If there is a worker that has nothing to do, give it what waits at another."""
        idle = [one for one, tickets in self._load.items() if not tickets]
        waiting = [tickets[-1] for tickets in self._load.values() if len(tickets) > 1]
        for one, ticket in zip(idle, waiting, strict=False):
            given = self._withdrawn(ticket)
            self._pool.cancel([ticket])
            self._start(given, one)

    def _withdrawn(self, ticket: str) -> _Try:
        """What was out, and is no more."""
        given = self._out.pop(ticket)
        self._load[given.worker].remove(ticket)
        return given

    def _start(self, given: _Try, one: str) -> None:
        try:
            order = self._order_of(given.piece)
        except FleetFailed as e:  # it is too long
            self.counts.failed += 1
            self._given_up.append(Outcome(given.piece, None, e))
            return
        given.worker = one
        self.counts.tasks += 1
        ticket = self._ticket()
        self._out[ticket] = given
        self._load[one].append(ticket)
        self._pool.start(ticket, order, one)

    def _take(self, ended: Ended) -> Outcome | None:
        """What something that has ended comes to: an outcome, or another try."""
        asked = self._asked.pop(ended.ticket, None)
        if asked is not None:
            self._answered(asked, ended)
            return None
        if ended.ticket not in self._out:
            return None
        given = self._withdrawn(ended.ticket)
        given.tries += 1
        piece = given.piece
        try:
            reply = decode_reply(ended.data, piece.id)
        except ValueError as e:
            return self._failed(given, FleetFailed(f"{piece.label}: {ended.reason or e}", _RENEW), None)
        self._count(reply)
        if reply.failure is None:
            return Outcome(piece, reply.result, None, reply.host)
        error = reply.failure.error(f"{piece.label}, on {reply.host}: ")
        return self._failed(given, error, reply)

    def _failed(self, given: _Try, error: RpdriveError, reply: Reply | None) -> Outcome | None:
        """Try a piece again, if another try may succeed."""
        if (reply is None or reply.again) and given.tries < TRIES:
            given.failed_at.add(given.worker)
            self.counts.again += 1
            self._added.append(given)
            return None
        self.counts.failed += 1
        return Outcome(given.piece, None, error, reply.host if reply is not None else "")

    def _count(self, reply: Reply) -> None:
        counts = self.counts
        counts.busy += reply.seconds
        counts.requests += reply.requests
        counts.received += reply.received
        counts.sent += reply.sent
        self.notes.update((note.object, note) for note in reply.notes[: _NOTES - len(self.notes)])
