"""Helper processes that write blocks of small files: one process can't keep two processors busy with them.

A helper gets a sealed block and, for each file in it, what it is to become; it opens the block, verifies each
chunk, makes the files, and says which of them it didn't make. Those are tried again by whoever asked, who has all
the means to deal with what stood in the way. So a helper is never needed: one that dies costs time only.

The keys reach a helper through its socket, folders as descriptors: it opens no path of its own.
"""

from __future__ import annotations

import array
import os
import queue
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import msgspec

from catalog.errors import Damaged
from catalog.format.blocks import Buffer, PackKind, open_block
from catalog.format.keys import Keys
from catalog.format.packs import Extent
from catalog.format.values import NodeKind, OutOfLine, Owner
from catalog.processors import usable_processors
from catalog.program import child_environment, main_command
from mount.restore.disk.attributes import Attributes, Wearer
from mount.restore.disk.target import Handle, Target, rename_new, temporary_name
from mount.restore.disk.whole import make_whole
from mount.restore.plan import FilePlan, Row
from mount.restore.report import Report

MANY = 2_000  # files; helpers take some 0.2 s to start, in which so many are written without them
MOST = 4  # helpers: beyond, they wait for the file system
FEW = 4  # files of a block that are not worth a message
_FOLDERS = 200  # descriptors of one message; the system takes 253
_FRAME = struct.Struct("=II")  # bytes of a message, and of a sealed block after it
_REPLY = struct.Struct("=I")
_QUIETLY = getattr(socket, "MSG_NOSIGNAL", 0)  # a helper that has died is an error, and not the end of this process


class _Hello(msgspec.Struct, array_like=True):
    """What a helper has to know from the start. `token`: 4 bytes of its own, for temporary names."""

    master: bytes
    vault_id: bytes
    token: bytes
    permissions: bool


# Of a file: place in the block and chunk id; folder (of those that came along), number, name; its attributes.
_File: TypeAlias = tuple[
    int, int, bytes, int, int, bytes, int, tuple[int, int, str, str], int, dict[bytes, bytes] | None, bool, bool
]


class _Task(msgspec.Struct, array_like=True, gc=False):
    """A block, and the files to make of it."""

    pack: bytes
    offset: int
    stored: int
    files: list[_File]


class _Done(msgspec.Struct, array_like=True, gc=False):
    """Files that were not made, and what to say of others: by their place in the task."""

    left: list[int]
    problems: list[tuple[int, str]]


_encode = msgspec.msgpack.Encoder().encode
_done = msgspec.msgpack.Decoder(_Done)


class Crew:
    """Helpers, each with one block at a time. Thread-safe; `close` it."""

    def __init__(self, keys: Keys, target: Target, wearer: Wearer, report: Report, *, permissions: bool) -> None:
        self._target, self._wearer, self._report = target, wearer, report
        self._helpers: list[_Helper] = []
        self._free: queue.SimpleQueue[_Helper | None] = queue.SimpleQueue()
        for _ in range(helpers()):
            hello = _Hello(keys.master, keys.vault_id, os.urandom(4), permissions)
            try:
                helper = _Helper(hello)
            except OSError:
                break  # one fewer
            self._helpers.append(helper)
            self._free.put(helper)
        if not self._helpers:
            self._free.put(None)

    @property
    def pids(self) -> list[int]:
        return [helper.pid for helper in self._helpers]

    def close(self) -> None:
        """End them. Nobody waits for one any more."""
        for helper in self._helpers:
            helper.leave()
        for helper in self._helpers:
            helper.wait()

    def write(self, at: Extent, sealed: Buffer, rows: list[Row]) -> list[Row]:
        """Write the files of a block; returns the rows of those that were not: the caller deals with them."""
        simple = [row for row in rows if _is_simple(row[8])]
        if len(simple) < FEW:
            return rows
        files, folders, given = self._task(simple)
        if not files:
            return rows
        helper = self._free.get()
        if helper is None:
            self._free.put(None)
            return rows
        done = helper.ask(_Task(at.pack, at.offset, at.stored, files), sealed, folders)
        if done is None:
            helper.leave()
            helper.wait()
            self._clean(helper.token, given)
            self._free.put(None)
            return rows
        self._free.put(helper)
        return self._account(rows, given, done)

    def _task(self, rows: list[Row]) -> tuple[list[_File], list[Handle], list[Row]]:
        files: list[_File] = []
        given: list[Row] = []
        folders: dict[int, int] = {}
        handles: list[Handle] = []
        for row in rows:
            file = row[8]
            number = folders.get(file.folder.number)
            if number is None:
                if len(folders) == _FOLDERS:
                    continue
                try:
                    handles.append(self._target.handle(file.folder))
                except OSError:
                    continue
                number = folders[file.folder.number] = len(folders)
            a = file.attributes
            owner = (*self._wearer.owner_ids(a.owner, file.path), a.owner.user, a.owner.group)
            xattrs = {k: v for k, v in a.xattrs.items() if isinstance(v, bytes)} if a.xattrs else None
            files.append((
                row[3], row[4], row[5], number, file.number, file.final, a.mode, owner, a.mtime, xattrs,
                a.foreign, file.folder.plain,
            ))  # fmt: skip
            given.append(row)
        return files, handles, given

    def _account(self, rows: list[Row], given: list[Row], done: _Done) -> list[Row]:
        report = self._report
        for n, reason in done.problems:
            report.problem(given[n][8].path(), reason)
        left = set(done.left)
        made = [row for n, row in enumerate(given) if n not in left]
        with report.lock:
            report.written += len(made)
            report.written_bytes += sum(row[4] for row in made)
            report.copies += sum(row[8].final != row[8].name for row in made)
        finished = {id(row) for row in made}
        return [row for row in rows if id(row) not in finished]

    def _clean(self, token: bytes, rows: list[Row]) -> None:
        """Remove what a helper that died was just making."""
        for row in rows:
            file: FilePlan = row[8]
            with suppress(OSError):
                os.unlink(_temporary(file.number, token), dir_fd=self._target.handle(file.folder).fd)


def helpers() -> int:
    """How many are of use here."""
    if not hasattr(socket, "SCM_RIGHTS") or os.name != "posix":
        return 0
    processors = usable_processors()
    return min(processors, MOST) if processors > 1 else 0


def _is_simple(file: FilePlan) -> bool:
    """Whether a file is made in one go, replaces nothing, and all of it comes with its row."""
    xattrs = file.attributes.xattrs
    inline = not xattrs or not any(isinstance(value, OutOfLine) for value in xattrs.values())
    return file.whole and not file.replace and not file.link and inline and file.attributes.windows is None


def _temporary(number: int, token: bytes) -> bytes:
    return temporary_name(number.to_bytes(8, "big"), token)


class _Helper:
    """One process, seen from here."""

    def __init__(self, hello: _Hello) -> None:
        """OSError."""
        self.token = hello.token
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    main_command(__name__, theirs.fileno()),
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),), cwd="/",
                    env=child_environment(),
                )  # fmt: skip
            except OSError:
                ours.close()
                raise
        self._socket = ours
        with suppress(OSError):
            self._send(_encode(hello), b"", [])

    def _send(self, message: bytes, sealed: Buffer, folders: list[Handle]) -> None:
        frame = _FRAME.pack(len(message), len(sealed))
        if folders:
            given = array.array("i", [folder.fd for folder in folders])
            self._socket.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, given)], _QUIETLY)
        else:
            self._socket.sendall(frame, _QUIETLY)
        self._socket.sendall(message, _QUIETLY)
        if len(sealed):
            self._socket.sendall(sealed, _QUIETLY)

    def ask(self, task: _Task, sealed: Buffer, folders: list[Handle]) -> _Done | None:
        """Have a task done; None if the helper is dead."""
        try:
            self._send(_encode(task), sealed, folders)
            head = _receive(self._socket, _REPLY.size)
            body = _receive(self._socket, _REPLY.unpack(head)[0]) if head else b""
            return _done.decode(body) if body else None
        except (OSError, msgspec.MsgspecError):
            return None

    def leave(self) -> None:
        self._socket.close()

    def wait(self) -> None:
        """Until the process has ended, as it does when it is left."""
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid


def _receive(end: socket.socket, length: int) -> bytearray:
    """So many bytes; fewer (none, even) only if the other side is gone. OSError."""
    data = bytearray(length)
    view, have = memoryview(data), 0
    while have < length:
        n = end.recv_into(view[have:])
        if n == 0:
            return bytearray()
        have += n
    return data


# --- the other side -----------------------------------------------------------------------------------------


def main(number: int) -> None:
    """A helper: `number` is its socket. Ends when the other side does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked decides what an interruption means
    end = socket.socket(fileno=number)
    received = _next(end)
    if received is None:
        return
    hello = msgspec.msgpack.decode(received[0], type=_Hello)
    keys = Keys(hello.master, hello.vault_id)
    decode = msgspec.msgpack.Decoder(_Task).decode
    while (received := _next(end)) is not None:
        message, sealed, folders = received
        try:
            done = _write(keys, hello, decode(message), sealed, folders)
        finally:
            for folder in folders:
                os.close(folder)
        reply = _encode(done)
        end.sendall(_REPLY.pack(len(reply)) + reply)
    os._exit(0)  # there is nothing to put in order, and somebody waits


def _next(end: socket.socket) -> tuple[bytearray, bytearray, array.array[int]] | None:
    folders: array.array[int] = array.array("i")
    head = b""
    while len(head) < _FRAME.size:
        data, ancillary, _flags, _address = end.recvmsg(
            _FRAME.size - len(head), socket.CMSG_LEN(_FOLDERS * folders.itemsize), socket.MSG_CMSG_CLOEXEC
        )
        for _level, _kind, row in ancillary:
            folders.frombytes(row[: len(row) - len(row) % folders.itemsize])
        if not data:
            return None
        head += data
    length, stored = _FRAME.unpack(head)
    message, sealed = _receive(end, length), _receive(end, stored)
    if len(message) < length or len(sealed) < stored:
        return None
    return message, sealed, folders


def _write(keys: Keys, hello: _Hello, task: _Task, sealed: bytearray, folders: array.array[int]) -> _Done:
    problems: list[tuple[int, str]] = []
    wearer = Wearer(
        _no_value, lambda path, reason: problems.append((int(path), reason)),
        permissions=hello.permissions, by_name=False,
    )  # fmt: skip
    try:
        raw = memoryview(open_block(keys, PackKind.DATA, task.pack, task.offset, sealed))
    except Damaged:
        return _Done(list(range(len(task.files))), [])
    left: list[int] = []
    verified: tuple[int, int, bytes] | None = None
    for n, (inner, length, chunk, folder, number, name, mode, owner, mtime, xattrs, foreign, plain) in enumerate(
        task.files
    ):
        data = raw[inner : inner + length]
        if verified != (inner, length, chunk):
            if len(data) != length or keys.chunk_id(data) != chunk:
                left.append(n)
                continue
            verified = (inner, length, chunk)
        attributes = Attributes(int(NodeKind.FILE), mode, Owner(*owner), mtime, dict(xattrs or {}), foreign)
        said, temporary = len(problems), _temporary(number, hello.token)
        try:
            make_whole(folders[folder], temporary, data, length, attributes, wearer, _path(n), plain=plain)
            try:
                rename_new(folders[folder], temporary, name)
            except OSError:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folders[folder])
                raise
        except OSError:
            left.append(n)
            del problems[said:]
    return _Done(left, problems)


def _path(n: int) -> Callable[[], bytes]:
    return lambda: b"%d" % n


def _no_value(_at: Extent) -> memoryview:
    raise Damaged("values out of line don't come along")
