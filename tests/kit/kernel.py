"""The kernel's side of the protocol, played by a test: requests into a session of ours, answers out of it."""

from __future__ import annotations

import errno
import itertools
import queue
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cache.reader import Reader
from catalog.format.blocks import Buffer
from mount.drivers.kernel.protocol import (
    DIRENT,
    DIRENTPLUS,
    ENTRY_OUT,
    FORGET_ONE,
    IN_HEADER,
    LSEEK_IN,
    NOTIFY_STORE_OUT,
    OUT_HEADER,
    READ_IN,
    STATX_BASIC_STATS,
    STATX_BTIME,
    STATX_IN,
    Notify,
    Op,
)
from mount.drivers.kernel.session import Session
from mount.view.nodes import View


class Answer(NamedTuple):
    error: int  # an errno, or 0
    body: bytes


class Listed(NamedTuple):
    name: bytes
    inode: int
    kind: int
    cookie: int
    entry: bytes  # entry_out; empty in a plain listing


class Kernel:
    """Asks, and waits for the answer. `stored` is what was pushed: (node id, contents)."""

    def __init__(self, view: View, reader: Reader, read_timeout: float = 60.0) -> None:
        self.session = Session(view, reader, self._take, read_timeout=read_timeout)
        self.stored: list[tuple[int, bytes]] = []
        self.idles = True  # it sends the next request when the session has nothing more to prepare
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._asked: set[int] = set()  # requests without an answer
        self._numbers = itertools.count(2, 2)
        self._reader = reader

    def _take(self, parts: Sequence[Buffer]) -> None:
        message = b"".join(parts)
        length, code, unique = OUT_HEADER.unpack_from(message)
        assert length == len(message)
        if unique:
            assert -512 < code <= 0 and (code == 0 or length == OUT_HEADER.size)
            if unique not in self._asked:
                raise OSError(errno.ENOENT, "it has its answer")
            self._asked.discard(unique)
            self._answers.put(message)
            return
        assert code == Notify.STORE
        node_id, offset, size, _pad = NOTIFY_STORE_OUT.unpack_from(message, OUT_HEADER.size)
        assert offset == 0 and size == len(message) - 40
        self.stored.append((node_id, message[40:]))

    def tell(self, op: int, node_id: int, body: bytes = b"", *, thread: int = 1) -> int:
        unique = next(self._numbers)
        self._asked.add(unique)
        head = IN_HEADER.pack(IN_HEADER.size + len(body), op, unique, node_id, 0, 0, thread, 0, 0)
        with self._reader.without_waiting():
            self.session.answer(memoryview(bytearray(head + body)))
            while self.idles and self.session.ahead.pending:
                self.session.ahead.step()
        return unique

    def ask(self, op: int, node_id: int, body: bytes = b"") -> Answer:
        return self.receive(self.tell(op, node_id, body))

    def receive(self, unique: int) -> Answer:
        message = self._answers.get(timeout=60)
        _length, code, answered = OUT_HEADER.unpack_from(message)
        assert answered == unique
        return Answer(-code, message[OUT_HEADER.size :])

    def receive_all(self, number: int) -> dict[int, Answer]:
        """So many answers, in any order, by the numbers of their requests."""
        found = {}
        for _n in range(number):
            message = self._answers.get(timeout=60)
            _length, code, answered = OUT_HEADER.unpack_from(message)
            found[answered] = Answer(-code, message[OUT_HEADER.size :])
        return found

    def nothing_more(self) -> bool:
        return self._answers.empty()

    def lookup(self, parent: int, name: bytes) -> tuple[int, Answer]:
        """The node id (0: none), and the answer."""
        answer = self.ask(Op.LOOKUP, parent, name + b"\0")
        return (0 if answer.error else struct.unpack_from("=Q", answer.body)[0]), answer

    def statx(self, node_id: int) -> Answer:
        return self.ask(Op.STATX, node_id, STATX_IN.pack(0, 0, 0, 0, STATX_BASIC_STATS | STATX_BTIME))

    def read(self, node_id: int, offset: int, size: int) -> Answer:
        return self.ask(Op.READ, node_id, READ_IN.pack(0, offset, size, 0, 0, 0, 0))

    def seek(self, node_id: int, offset: int, whence: int) -> Answer:
        return self.ask(Op.LSEEK, node_id, LSEEK_IN.pack(0, offset, whence, 0))

    def list(self, node_id: int, cookie: int, size: int, *, plus: bool = True, handle: int = 0) -> list[Listed]:
        """One answer to READDIRPLUS or READDIR."""
        op = Op.READDIRPLUS if plus else Op.READDIR
        answer = self.ask(op, node_id, READ_IN.pack(handle, cookie, size, 0, 0, 0, 0))
        assert answer.error == 0 and len(answer.body) <= size
        return list(entries(answer.body, plus))

    def list_all(self, node_id: int, size: int = 4096, *, plus: bool = True) -> Iterator[Listed]:
        cookie = 0
        while some := self.list(node_id, cookie, size, plus=plus):
            yield from some
            cookie = some[-1].cookie

    def forget(self, told: dict[int, int]) -> None:
        rows = b"".join(FORGET_ONE.pack(node_id, times) for node_id, times in told.items())
        self.tell(Op.BATCH_FORGET, 0, struct.pack("=II", len(told), 0) + rows)


def entries(body: bytes, plus: bool) -> Iterator[Listed]:
    """The entries of an answer to READDIR or READDIRPLUS."""
    at = 0
    head = DIRENTPLUS.size if plus else DIRENT.size
    while at < len(body):
        inode, cookie, length, kind = DIRENT.unpack_from(body, at + head - DIRENT.size)
        name = body[at + head : at + head + length]
        assert len(name) == length
        yield Listed(name, inode, kind, cookie, body[at : at + ENTRY_OUT.size] if plus else b"")
        at += -(-(head + length) // 8) * 8
    assert at == len(body)
