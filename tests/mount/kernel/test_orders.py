"""Every order in which requests are read, served, answered, interrupted, given up and forgotten, on a small drive.

A model of the kernel: it takes an answer only once, counts what it knows, and lets contents that are pushed to a
file wait for a read of that file. Threads are steps here, so each run is one order, and all of them are run.
"""

from __future__ import annotations

import errno
import logging
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from cache.reader import Reader, WouldWait
from catalog.format.blocks import Buffer
from catalog.format.nodes import Node
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from mount.drivers.kernel.protocol import IN_HEADER, NOTIFY_STORE_OUT, OUT_HEADER, READ_IN, ROOT_ID, Op
from mount.drivers.kernel.session import Session
from mount.drivers.kernel.waiting import Request, Waiting
from mount.view.all_points import AllPointsView
from mount.view.nodes import View
from mount.view.point import PointView
from tests.kit.drives import Maker, add_item, add_machine, add_point
from tests.kit.kernel import entries
from tests.kit.vaults import new_vault

MOST_ORDERS = 60_000

pytestmark = pytest.mark.usefixtures("quiet")


class Choices:
    """Picks numbers: those given first, then 0; and remembers how many there were to pick from."""

    def __init__(self, given: Sequence[int]) -> None:
        self._given = given
        self.picked: list[tuple[int, int]] = []

    def pick(self, number: int) -> int:
        n = self._given[len(self.picked)] if len(self.picked) < len(self._given) else 0
        self.picked.append((n, number))
        return n


def every_order(run: Callable[[Choices], None]) -> int:
    """Run with every possible sequence of choices. Returns their number."""
    given: list[int] = []
    for count in range(1, MOST_ORDERS + 1):
        choices = Choices(given)
        try:
            run(choices)
        except BaseException:
            print("the choices were", [n for n, _number in choices.picked])
            raise
        picked = choices.picked
        while picked and picked[-1][0] + 1 == picked[-1][1]:
            picked.pop()
        if not picked:
            return count
        given = [*(n for n, _number in picked[:-1]), picked[-1][0] + 1]
    raise AssertionError(f"more than {MOST_ORDERS} orders")


class Steps(Waiting):
    """Requests that are served when the test says so."""

    def add(self, request: Request) -> bool:
        assert request.unique not in self._requests
        self._requests[request.unique] = request
        return True

    def waiting(self) -> list[Request]:
        return list(self._requests.values())


class Ask(NamedTuple):
    """One request of a caller. Nodes are found by the names that lookups and listings brought; b"" is the root."""

    op: Op
    at: bytes
    name: bytes = b""


class Model:
    """The kernel and the threads of one drive, a step at a time."""

    def __init__(
        self, view: View, reader: Reader, callers: Sequence[Sequence[Ask]], events: int, choices: Choices
    ) -> None:
        self.session = Session(view, reader, self.write)
        self.session.waiting = self.waiting = Steps(
            self.session._serve, self.session._give_up_overdue, seconds=60.0
        )
        self._reader = reader
        self._choices = choices
        self._rest = [list(asks) for asks in callers]
        self._turn: dict[int, int] = {}  # by unique: the caller that waits for it
        self._outstanding: dict[int, Ask] = {}  # by unique
        self._nodes = {b"": ROOT_ID}
        self._parents: dict[int, int] = {}  # which the kernel keeps as long as it knows the node
        self.known: Counter[int] = Counter()  # lookups of each node
        self._served: list[int] = []  # by unique: requests that a thread is serving, the innermost last
        self._unique = 0
        self._events = events  # forgets, interrupts and time limits that may still happen
        self.errors: list[int] = []
        self.deadlocks: list[int] = []
        nodes: Any = self.session.nodes
        self._count, nodes.looked_up = nodes.looked_up, self._looked_up
        self.session._handlers = {op: self._handing_over(op, h) for op, h in self.session._handlers.items()}

    def _handing_over(self, op: int, handler: Callable[[int, int, memoryview], None]) -> Callable[..., None]:
        def handle(unique: int, node_id: int, body: memoryview) -> None:
            if (
                op in (Op.LOOKUP, Op.READ, Op.READDIRPLUS)
                and self._reader.must_not_wait()
                and self._choices.pick(2)
            ):
                raise WouldWait
            handler(unique, node_id, body)

        return handle

    # --- steps --------------------------------------------------------------------------------------------

    def steps(self) -> list[Callable[[], None]]:
        """What may happen next."""
        found: list[Callable[[], None]] = []
        reading = not any(unique < 0 for unique in self._served)  # the thread that reads is free
        if reading:
            for n, asks in enumerate(self._rest):
                if asks and n not in self._turn.values() and asks[0].at in self._nodes:
                    found.append(lambda n=n: self._ask(n))  # type: ignore[misc]
        for request in self.waiting.waiting():
            if request.unique not in self._served:
                found.append(lambda r=request: self._serve(r))  # type: ignore[misc]
            if self._events and reading:
                found.append(lambda r=request: self._event(lambda: self.session._give_up(r.unique)))  # type: ignore[misc]
                found.append(lambda r=request: self._event(lambda: self.waiting._end(r)))  # type: ignore[misc]
        if self._events and reading:
            used = {self._nodes[ask.at] for ask in self._outstanding.values()}
            used |= {self._parents[n] for n, times in self.known.items() if times}
            for node_id in [n for n, times in self.known.items() if times and n not in used]:
                found.append(lambda n=node_id: self._event(lambda: self._forget(n)))  # type: ignore[misc]
        return found

    def run(self) -> None:
        while steps := self.steps():
            steps[self._choices.pick(len(steps))]()
        self._check()

    def _event(self, happen: Callable[[], None]) -> None:
        self._events -= 1
        happen()

    def _ask(self, caller: int) -> None:
        ask = self._rest[caller].pop(0)
        body = {
            Op.LOOKUP: ask.name + b"\0", Op.READ: READ_IN.pack(0, 0, 4096, 0, 0, 0, 0),
            Op.READDIRPLUS: READ_IN.pack(0, 0, 4096, 0, 0, 0, 0), Op.GETATTR: bytes(16),
        }[ask.op]  # fmt: skip
        self._unique += 2
        self._outstanding[self._unique] = ask
        self._turn[self._unique] = caller
        self._tell(ask.op, self._unique, self._nodes[ask.at], body)

    def _forget(self, node_id: int) -> None:
        times = self.known.pop(node_id)
        for name in [name for name, known in self._nodes.items() if known == node_id]:
            del self._nodes[name]
        self._tell(Op.BATCH_FORGET, 0, 0, struct.pack("=IIQQ", 1, 0, node_id, times))

    def _tell(self, op: int, unique: int, node_id: int, body: bytes) -> None:
        head = IN_HEADER.pack(IN_HEADER.size + len(body), op, unique, node_id, 0, 0, 1, 0, 0)
        self._served.append(-1)
        try:
            with self._reader.without_waiting():
                self.session.answer(memoryview(bytearray(head + body)))
        finally:
            self._served.pop()

    def _serve(self, request: Request) -> None:
        self._served.append(request.unique)
        depth, self._reader._without_waiting.depth = self._reader._without_waiting.depth, 0  # another thread
        try:
            self.session._serve(request)
        finally:
            self._reader._without_waiting.depth = depth
            self._served.pop()
            self.waiting.take(request.unique)

    def _others_go_on(self) -> None:
        """While a thread is about to count its answer, or to send it."""
        if self._served and self._served[-1] > 0:
            steps = [lambda: None, *self.steps()]
            steps[self._choices.pick(len(steps))]()

    def _looked_up(self, *args: Any, **named: Any) -> None:
        self._others_go_on()
        self._count(*args, **named)

    # --- what the session writes --------------------------------------------------------------------------

    def write(self, parts: Sequence[Buffer]) -> None:
        message = b"".join(parts)
        _length, code, unique = OUT_HEADER.unpack_from(message)
        if not unique:
            return self._push(NOTIFY_STORE_OUT.unpack_from(message, OUT_HEADER.size)[0])
        self._others_go_on()
        ask = self._outstanding.pop(unique, None)
        if ask is None:
            raise OSError(errno.ENOENT, "it was answered before")
        del self._turn[unique]
        if code:
            self.errors.append(-code)
            return
        body = message[OUT_HEADER.size :]
        if ask.op == Op.LOOKUP:
            self._learn(ask, ask.name, struct.unpack_from("=Q", body)[0])
        elif ask.op == Op.READDIRPLUS:
            for row in entries(body, True):
                self._learn(ask, row.name, struct.unpack_from("=Q", row.entry)[0])

    def _learn(self, ask: Ask, name: bytes, node_id: int) -> None:
        if node_id:
            self.known[node_id] += 1
            self._parents[node_id] = self._nodes[ask.at]
            self._nodes[name] = node_id

    def _push(self, node_id: int) -> None:
        if not self.known[node_id]:
            raise OSError(errno.ENOENT, "no such node")
        while locked := [
            u for u, a in self._outstanding.items() if a.op == Op.READ and self._nodes.get(a.at) == node_id
        ]:
            for unique in locked:
                if unique in self._served:
                    self.deadlocks.append(unique)  # of the push, and the read whose answer comes after the push
                    return
                request = next(r for r in self.waiting.waiting() if r.unique == unique)
                self._serve(request)

    def _check(self) -> None:
        """Each request has one answer, and the drive knows exactly what the kernel knows."""
        assert not self._outstanding and not self.waiting.waiting() and not self.deadlocks
        nodes = self.session.nodes
        for node_id, times in self.known.items():
            row = nodes.counts._rows.get(node_id >> 8)
            assert times == (row[node_id & 255] if row is not None else 0)
        assert len(nodes.counts) == sum(times > 0 for times in self.known.values())
        assert all(self.known[n] for n in (*nodes._named, *nodes._links))
        assert set(self.errors) <= {errno.EINTR, errno.EIO}
        self._events = 0
        for name, node_id in self._nodes.items():
            before = len(self.errors)
            self._rest = [[Ask(Op.GETATTR, name)]]
            while steps := self.steps():
                steps[0]()
            assert len(self.errors) == before, (name, node_id)


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """No lines about the requests that are given up on purpose."""
    caplog.set_level(logging.CRITICAL, "rpdrive.drive")


@pytest.fixture(scope="module")
def vault() -> Vault:
    vault = new_vault(MemoryStore())
    add_machine(vault)
    add_item(vault)
    m = Maker(vault)
    places = m.data.block([b"one", b"two", b"pair", b"last"])
    m.data.finish()

    def file(name: bytes, n: int, **fields: Any) -> Node:
        return m.node(name, content=[places[n]], size=places[n].length, **fields)

    nodes = [file(b"a", 0), file(b"b", 1), file(b"c", 2, link=1, nlink=2), file(b"d", 2, link=1, nlink=2)]
    add_point(vault, m.root([*nodes, file(b"e", 3)]), 1)
    return vault


@pytest.fixture(scope="module")
def reader(vault: Vault) -> Iterator[Reader]:
    reader = Reader(vault)
    yield reader
    reader.close()


LOOK_C, LOOK_D = Ask(Op.LOOKUP, b"", b"c"), Ask(Op.LOOKUP, b"", b"d")  # one file
LIST, READ_C, ATTRIBUTES = Ask(Op.READDIRPLUS, b""), Ask(Op.READ, b"c"), Ask(Op.GETATTR, b"c")
BOX, HOME = Ask(Op.LOOKUP, b"", b"box"), Ask(Op.LOOKUP, b"box", b"home")


@pytest.mark.parametrize(
    ("callers", "events"),
    [
        ([[LOOK_C], [LOOK_D]], 2),
        ([[LOOK_C, READ_C], [LOOK_D]], 1),
        ([[LOOK_C, ATTRIBUTES], [LOOK_D]], 1),
        ([[LIST], [LOOK_C, READ_C]], 1),
    ],
)
def test_every_order_on_a_point(vault: Vault, reader: Reader, callers: list[list[Ask]], events: int) -> None:
    (name,) = vault.point_names()
    view = PointView(reader, vault.point(name))

    def run(choices: Choices) -> None:
        model = Model(view, reader, callers, events, choices)
        model.session._small._in_order, model.session._small._last = 2, 1  # as after reading others in order
        model.run()

    assert every_order(run) > 1000


@pytest.mark.parametrize(
    ("callers", "events"),
    [([[BOX], [BOX, Ask(Op.GETATTR, b"box")]], 1), ([[BOX, HOME], [BOX]], 1)],
)
def test_every_order_above_the_points(vault: Vault, reader: Reader, callers: list[list[Ask]], events: int) -> None:
    view = AllPointsView(vault, reader, fresh=1e9)
    assert every_order(lambda choices: Model(view, reader, callers, events, choices).run()) > 1000
