"""A helper process that writes small files, and the messages between it and the restore that started it.

It gets a sealed block and, for each file in the block, what to write. It opens the block, verifies each chunk,
makes the files, and answers which of them it did not make. The keys reach it through its socket, folders as
descriptors: it opens no path of its own.

A message is a frame (its length, and the length of the sealed block after it), MessagePack, and the block. The
descriptors come with the frame. An answer has no block.
"""

from __future__ import annotations

import array
import gc
import os
import signal
import socket
import struct
from contextlib import suppress

import msgspec

from catalog.access.memory import protect_memory
from catalog.errors import Damaged
from catalog.format.blocks import Buffer, PackKind, open_block
from catalog.format.keys import Keys
from catalog.format.packs import Extent
from catalog.format.values import Paged, Piece
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.base import Content, Disk, PathOf
from mount.restore.disk.this import THIS_DISK
from mount.restore.disk.whole_file import make_unnamed, make_whole
from mount.restore.spill import unpack_new
from mount.restore.temporary_names import TemporaryNames

MAX_FOLDERS = 200  # descriptors in one message; Linux allows 253
FRAME = struct.Struct("=II")  # bytes of a message, and of the sealed block after it
ANSWER = struct.Struct("=I")


class Hello(msgspec.Struct, array_like=True):
    """The first message to a helper. `names`: the key of the restore's temporary names."""

    master: bytes
    vault_id: bytes
    names: bytes
    permissions: bool


class Task(msgspec.Struct, array_like=True, gc=False):
    """A block, and files to make of it, as packed rows. `folders`: number, and Folder.plain, of each descriptor.

    Without `pack`, the files have no data.
    """

    pack: bytes
    offset: int
    rows: list[bytes]
    folders: list[tuple[int, bool]]


class Done(msgspec.Struct, array_like=True, gc=False):
    """The answer to a task: files that were not made, and problems of others, by their place in the task."""

    left: list[int]
    problems: list[tuple[int, str]]


encode = msgspec.msgpack.Encoder().encode


def receive(end: socket.socket, length: int) -> bytearray:
    """`length` bytes; none if the other side is gone. Raises OSError."""
    data = bytearray(length)
    view, have = memoryview(data), 0
    while have < length:
        n = end.recv_into(view[have:])
        if n == 0:
            return bytearray()
        have += n
    return data


# --- the process ----------------------------------------------------------------------------------------------


def main(number: int) -> None:
    """Serve the socket whose descriptor is `number`, until the other side closes it."""
    gc.set_threshold(50_000, 20, 50)  # a task has many tuples and no cycles
    protect_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the restore decides what an interruption means
    end = socket.socket(fileno=number)
    received = _next(end)
    if received is None:
        return
    worker = _Worker(THIS_DISK, msgspec.msgpack.decode(received[0], type=Hello))
    decode = msgspec.msgpack.Decoder(Task).decode
    while (received := _next(end)) is not None:
        message, sealed, folders = received
        try:
            done = worker.write(decode(message), sealed, folders)
        finally:
            for folder in folders:
                os.close(folder)
        answer = encode(done)
        end.sendall(ANSWER.pack(len(answer)) + answer)
    os._exit(0)  # nothing to clean up, and the restore waits for this process to end


def _next(end: socket.socket) -> tuple[bytearray, bytearray, array.array[int]] | None:
    folders: array.array[int] = array.array("i")
    head = b""
    while len(head) < FRAME.size:
        data, ancillary, _flags, _address = end.recvmsg(
            FRAME.size - len(head), socket.CMSG_LEN(MAX_FOLDERS * folders.itemsize), socket.MSG_CMSG_CLOEXEC
        )
        for _level, _kind, row in ancillary:
            folders.frombytes(row[: len(row) - len(row) % folders.itemsize])
        if not data:
            return None
        head += data
    length, stored = FRAME.unpack(head)
    message, sealed = receive(end, length), receive(end, stored)
    if len(message) < length or len(sealed) < stored:
        return None
    return message, sealed, folders


class _Worker:
    """Does the tasks of one helper."""

    def __init__(self, disk: Disk, hello: Hello) -> None:
        self._disk, self._names = disk, TemporaryNames(hello.names)
        self._keys = Keys(hello.master, hello.vault_id)
        self._problems: list[tuple[int, str]] = []  # of the current task
        self._unnamed = True  # files can get their name once they are complete
        self._metadata = disk.metadata(
            _NoValues(), self._problem, permissions=hello.permissions, owners_by_name=False
        )

    def _problem(self, path: bytes, reason: str) -> None:
        self._problems.append((int(path), reason))

    def write(self, task: Task, sealed: bytearray, descriptors: array.array[int]) -> Done:
        self._problems.clear()
        empty = not task.pack  # files without data, which no chunk proves
        try:
            raw = memoryview(self._open(task, sealed))
        except Damaged:
            return Done(list(range(len(task.rows))), [])
        folders = {number: (fd, plain) for (number, plain), fd in zip(task.folders, descriptors, strict=True)}
        left: list[int] = []
        verified: tuple[int, int, bytes] | None = None
        for n, packed in enumerate(task.rows):
            place, number, where, name, size, attributes = unpack_new(packed)
            inner, length, chunk = place
            data = raw[inner : inner + length]
            if verified != place and not (empty and not length):
                if len(data) != length or self._keys.chunk_id(data) != chunk:
                    left.append(n)
                    continue
                verified = place
            reported = len(self._problems)
            folder, plain = folders[where]
            try:
                self._make(folder, number, name, data, size, attributes, _path(n), plain=plain)
            except (OSError, OverflowError, ValueError):
                left.append(n)
                del self._problems[reported:]
        return Done(left, list(self._problems))

    def _open(self, task: Task, sealed: bytearray) -> Buffer:
        if not task.pack:
            return b""
        return open_block(self._keys, PackKind.DATA, task.pack, task.offset, sealed)

    def _make(
        self, folder: int, number: int, name: bytes, data: Buffer, size: int, a: Attributes, path: PathOf, *,
        plain: bool,
    ) -> None:  # fmt: skip
        """Make a file that did not exist. Where the system can do so, it has no name until it is complete."""
        disk, metadata, reported = self._disk, self._metadata, len(self._problems)
        if self._unnamed:
            if make_unnamed(disk, metadata, folder, name, data, size, a, path, plain=plain):
                return
            self._unnamed = False  # a folder of another file system may differ: that costs only time
            del self._problems[reported:]
        temporary = self._names.numbered(number, helper=True)
        make_whole(disk, metadata, folder, temporary, data, size, a, path, plain=plain)
        self._name(folder, temporary, name)

    def _name(self, folder: int, temporary: bytes, name: bytes) -> None:
        try:
            self._disk.rename_new(folder, temporary, name)
        except OSError:
            with suppress(OSError):
                self._disk.unlink(temporary, dir_fd=folder)
            raise


def _path(n: int) -> PathOf:
    """The place of a file in its task, which represents its path in messages."""
    return lambda: b"%d" % n


class _NoValues:
    """Refuses to read values: helpers get no files with metadata that is stored outside their entries."""

    def chunk(self, kind: PackKind, at: Extent) -> memoryview:
        raise Damaged("a helper can't read metadata outside its task")

    def open(self, content: list[Piece] | Paged, size: int) -> Content:
        raise Damaged("a helper can't read streams")
