"""The session with the kernel: each request from /dev/fuse is answered by one write.

One thread reads requests and answers from memory, in some 20 us each. A request that has to wait for the store, or
to decode a block, is repeated from the start in a pool of threads, so that a slow fetch delays no other request. A
request that gets no answer in time, for whatever reason, is answered with EIO.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from cache.memory import Lru
from cache.openfile import OpenFile
from cache.reader import Reader, WouldWait
from catalog import held
from catalog.errors import NotFound, StoreError, StoreUnreachable
from catalog.format.blocks import Buffer
from mount.drivers.ages import time_limit
from mount.drivers.base import BLOCK, Refusal, errno_of
from mount.drivers.errors import Errors, FailedReads
from mount.drivers.kernel import protocol
from mount.drivers.kernel.connection import Connection, Ended
from mount.drivers.kernel.interrupts import Interrupts
from mount.drivers.kernel.listings import Listings
from mount.drivers.kernel.nodes import Named, Nodes
from mount.drivers.kernel.protocol import NO_REPLY, PAGE, Init, Op
from mount.drivers.kernel.records import ATTRIBUTES, ENTRY, made_at, record, record_in, statx, tree_record
from mount.drivers.kernel.small import SmallFiles, extent_of_small
from mount.drivers.kernel.waiting import Current, Handler, Request, Waiting
from mount.view.nodes import FOREVER, LINK_BIT, NEGATIVE_SHORT, SHORT, File, Folder, Link, View
from mount.view.point import TreeFolder, TreePage

MAX_PAGES = 256  # of 4 KiB, in one read
MAX_BACKGROUND = 64  # reads ahead that the kernel may have pending
_FILES = 256  # files being read
_MOST_PARTS = 1000  # of one write; the system's limit is 1024
_log = logging.getLogger("rpdrive.drive")

_EROFS = (
    Op.SETATTR, Op.SYMLINK, Op.MKNOD, Op.MKDIR, Op.UNLINK, Op.RMDIR, Op.RENAME, Op.LINK, Op.WRITE, Op.SETXATTR,
    Op.REMOVEXATTR, Op.CREATE, Op.FALLOCATE, Op.RENAME2, Op.COPY_FILE_RANGE, Op.TMPFILE,
)  # fmt: skip


class Session:
    """Answers requests. `write` sends the parts of one message; it raises OSError if the kernel refuses it.

    `answer` is called by one thread, inside `reader.without_waiting()`; requests that have to wait are answered by
    the session's own threads.
    """

    def __init__(
        self,
        view: View,
        reader: Reader,
        write: Callable[[Sequence[Buffer]], object],
        *,
        read_timeout: float = 60.0,
        abort: Callable[[], None] = lambda: None,
    ) -> None:
        """`read_timeout` (seconds) limits what a request waits for the store.

        `abort` ends the connection to the kernel. It is called if the thread that reads requests is stuck.
        """
        self.view = view
        self.nodes = Nodes(view, reader)
        self.errors = Errors()
        self.served = 0  # bytes
        self.calls = 0
        self.statfs_calls = 0
        self.counts: dict[int, int] = {}  # requests by kind
        self.handed_over = 0  # requests that had to wait
        self.started = False
        self.for_others = False  # whether users other than the one who opened the drive may enter; set before INIT
        self._reader = reader
        connection = Connection(write)
        self._send = connection.send
        self._listings = Listings(self.nodes, reader, connection, changes=view.changes)
        self.ahead = self._listings.ahead
        self._small = SmallFiles(self.nodes, reader, connection, self._send_data)
        # If nothing in the view has extended attributes, one ENOSYS stops the kernel from asking for them; `ls -l`
        # would cause a request for each name. (Listing them still works: getfattr is silent, as at the source.)
        self._plain = not view.has_xattrs()
        self._files: Lru[int, OpenFile] = Lru(_FILES)
        self._failed = FailedReads()
        self._read_timeout = read_timeout
        self._abort = abort
        self._current: Current | None = None
        self.waiting = Waiting(
            self._serve, self._give_up_overdue, seconds=time_limit(read_timeout),
            current=lambda: self._current, give_up_current=self._give_up_current,
        )  # fmt: skip
        self._interrupts = Interrupts(self.waiting.caller, self._give_up)
        self._handlers: dict[int, Handler] = {
            Op.LOOKUP: self._lookup, Op.FORGET: self._forget, Op.BATCH_FORGET: self._batch_forget,
            Op.GETATTR: self._getattr, Op.READLINK: self._readlink, Op.OPEN: self._open, Op.READ: self._read,
            Op.STATFS: self._statfs, Op.GETXATTR: self._getxattr, Op.LISTXATTR: self._listxattr,
            Op.LSEEK: self._lseek, Op.INIT: self._init, Op.STATX: self._statx, Op.INTERRUPT: self._interrupt,
            Op.NOTIFY_REPLY: self._ignore, Op.RELEASE: self._done, Op.DESTROY: self._done,
            Op.OPENDIR: self._listings.opendir, Op.READDIR: self._listings.readdir,
            Op.READDIRPLUS: self._listings.readdirplus, Op.RELEASEDIR: self._listings.releasedir,
        }  # fmt: skip
        self._handlers |= dict.fromkeys(_EROFS, self._refuse)

    def close(self) -> None:
        """Drop the requests that still wait."""
        self._interrupts.close()
        self.waiting.close()

    def status(self) -> dict[str, Any]:
        """Counters other than `served` and `calls`, for `rpdrive mounts --json`."""
        names = {op.value: op.name.lower() for op in Op}
        return {
            "messages": {names.get(op, str(op)): n for op, n in sorted(self.counts.copy().items())},
            "handed_over": self.handed_over,
            "waiting": len(self.waiting),
            "oldest": [
                {
                    "kind": names.get(r.op, str(r.op)),
                    "node": r.node_id,
                    "seconds": round(seconds, 1),
                    "thread": thread,
                }
                for r, seconds, thread in self.waiting.oldest()
            ],
            "pushed_files": self._small.pushed_files,
            "pushed_bytes": self._small.pushed_bytes,
            "nodes": len(self.nodes.counts),
        }

    # --- requests and answers -----------------------------------------------------------------------------

    def answer(self, request: memoryview) -> None:
        """Answer a request, or hand it over to the pool. Raises Ended only, however malformed the request is."""
        self.calls += 1
        if len(request) < protocol.IN_HEADER.size:
            _log.error("ignored a request of %d bytes", len(request))
            return
        length, op, unique, node_id, _uid, _gid, thread, _extra, _pad = protocol.IN_HEADER.unpack_from(request)
        self.counts[op] = self.counts.get(op, 0) + 1
        handler = self._handlers.get(op, self._unknown)
        body = request[protocol.IN_HEADER.size : length]
        self._current = Current(unique, node_id, op)
        try:
            if length != len(request):
                raise ValueError(f"its header says {length} bytes, it has {len(request)}")
            handler(unique, node_id, body)
        except WouldWait:
            self.handed_over += 1
            row = Request(handler, unique, node_id, bytes(body), op, thread, held.clock())
            if not self.waiting.add(row):
                self._fail(unique, node_id, op, body, ValueError(f"another request has the number {unique}"))
        except Ended:
            raise
        except Exception as e:  # noqa: BLE001 - no request may end the session
            self._fail(unique, node_id, op, body, e)
        finally:
            self._current = None

    def _serve(self, request: Request) -> None:
        """Answer a request in a thread that may wait."""
        handler, unique, node_id, body, op, _caller, began = request
        try:
            with self._reader.giving_up_at(began + self._read_timeout):
                handler(unique, node_id, memoryview(body))
        except Ended:
            pass  # the reading thread gets it, too
        except BaseException as e:  # noqa: BLE001 - every request needs an answer
            if unique in self.waiting:  # else it was given up, and has its answer
                if op == Op.READ:
                    self._failed.note(node_id, *_range(body), e)
                with suppress(Ended):
                    self._fail(unique, node_id, op, body, e)

    def _give_up_overdue(self, request: Request, stuck: bool) -> None:
        """Answer EIO to a request that nothing else answered in time. `stuck`: although a thread was serving it."""
        _handler, unique, node_id, body, op, _caller, began = request
        waited = held.clock() - began
        error = StoreUnreachable(f"no answer within {waited:.0f} s: others wait, too")
        if stuck:
            self._note_overdue(op, node_id, waited)
        else:
            self._note(op, node_id, body, error)
        if op == Op.READ:
            self._failed.note(node_id, *_range(body), error)
        with suppress(Ended):
            self._send(unique, (), errno.EIO)

    def _give_up_current(self, current: Current, times: int) -> None:
        """Answer EIO to the request in which the reading thread is stuck. If that does not help, end the drive."""
        if times > 2:
            return
        self._note_overdue(current.op, current.node_id, times * time_limit(self._read_timeout))
        if times == 2:
            return self._abort()
        if current.op not in NO_REPLY:
            with suppress(Ended):
                self._send(current.unique, (), errno.EIO)

    def _note_overdue(self, op: int, node_id: int, seconds: float) -> None:
        with suppress(Exception):
            name = Op(op).name if op in Op._value2member_map_ else str(op)
            self.errors.note_overdue(self._path_at_once(node_id), name, seconds)

    def _fail(self, unique: int, node_id: int, op: int, body: Buffer, error: BaseException) -> None:
        number = errno_of(error)
        if isinstance(error, (struct.error, ValueError)) and not isinstance(error, NotFound):
            number = errno.EINVAL
            _log.error("malformed request of kind %d for node %d: %s", op, node_id, error)
        elif not isinstance(error, (Refusal, NotFound)):
            self._note(op, node_id, body, error)
        if op not in NO_REPLY:
            self._send(unique, (), number)

    def _note(self, op: int, node_id: int, body: Buffer, error: BaseException) -> None:
        with suppress(Exception):  # a full log disk must not fail a read
            # What is not known of the path may be fetched, but not after waiting for the store in vain.
            path = self._path_at_once(node_id) if isinstance(error, StoreError) else self.nodes.path(node_id)
            if op == Op.LOOKUP:
                path += b"/" + protocol.name_of(memoryview(body))
            self.errors.note(path or b"/", error)

    def _path_at_once(self, node_id: int) -> bytes:
        """The path of a node as far as it is known: an error must not wait for what caused it."""
        with self._reader.without_waiting():
            return self.nodes.path(node_id)

    def _send_entry(
        self,
        unique: int,
        entry: Buffer,
        node_id: int,
        *,
        links: Sequence[tuple[int, int]] = (),
        named: Sequence[Named] = (),
    ) -> None:
        self.nodes.looked_up((node_id,), links=links, named=named)
        if not self._send(unique, (entry,)):
            self.nodes.forget(((node_id, 1),))

    # --- the session itself -------------------------------------------------------------------------------

    def _init(self, unique: int, _node_id: int, body: memoryview) -> None:
        major, minor, max_readahead, offered = protocol.INIT_IN.unpack_from(body)
        if (major, minor) < (protocol.MAJOR, protocol.OLDEST_MINOR):
            _log.error("this kernel speaks FUSE %d.%d; 7.31 is required", major, minor)
            self._send(unique, (), errno.EPROTO)
            return
        wanted = Init.ASYNC_READ | Init.DO_READDIRPLUS | Init.PARALLEL_DIROPS | Init.ABORT_ERROR | Init.MAX_PAGES
        wanted |= Init.NO_OPEN_SUPPORT | Init.NO_OPENDIR_SUPPORT | Init.CACHE_SYMLINKS
        if self.for_others and not self._plain:
            wanted |= Init.POSIX_ACL  # the kernel asks for ACLs, and goes by them
            if not offered & Init.POSIX_ACL:
                self.view.narrow()
        answer = protocol.INIT_OUT.pack(
            protocol.MAJOR, min(minor, protocol.MINOR), max(max_readahead, 1 << 20), offered & wanted,
            MAX_BACKGROUND, MAX_BACKGROUND * 3 // 4, PAGE, 1, MAX_PAGES, 0, 0,
        )  # fmt: skip
        self._send(unique, (answer,))
        self.started = True
        self.waiting.watch()

    def _forget(self, _unique: int, node_id: int, body: memoryview) -> None:
        (times,) = protocol.FORGET_IN.unpack_from(body)
        self.nodes.forget(((node_id, times),))

    def _batch_forget(self, _unique: int, _node_id: int, body: memoryview) -> None:
        count, _pad = protocol.BATCH_FORGET_IN.unpack_from(body)
        rows = body[8 : 8 + 16 * count]
        if len(rows) != 16 * count:
            raise ValueError(f"it forgets {count} nodes in {len(body)} bytes")
        self.nodes.forget(protocol.FORGET_ONE.iter_unpack(rows))

    def _interrupt(self, _unique: int, _node_id: int, body: memoryview) -> None:
        self._interrupts.add(*protocol.INTERRUPT_IN.unpack_from(body))

    def _give_up(self, unique: int) -> None:
        """Answer EINTR so that a dying caller can exit; the fetch goes on and serves the next reader."""
        if self.waiting.take(unique) is not None:
            with suppress(Ended):
                self._send(unique, (), errno.EINTR)

    def _ignore(self, _unique: int, _node_id: int, _body: memoryview) -> None:
        pass

    def _done(self, unique: int, _node_id: int, _body: memoryview) -> None:
        self._send(unique)

    def _refuse(self, unique: int, _node_id: int, _body: memoryview) -> None:
        # The kernel refuses these on a read-only mount; this refuses them after a remount, too.
        self._send(unique, (), errno.EROFS)

    def _unknown(self, unique: int, _node_id: int, _body: memoryview) -> None:
        # For FLUSH, ACCESS, IOCTL and others, too: the kernel then does without, most often for good.
        self._send(unique, (), errno.ENOSYS)

    def _statfs(self, unique: int, _node_id: int, _body: memoryview) -> None:
        self.statfs_calls += 1
        totals = self.view.totals()
        blocks = (totals.bytes + BLOCK - 1) // BLOCK
        self._send(unique, (protocol.STATFS_OUT.pack(blocks, 0, 0, totals.entries, 0, BLOCK, 255, BLOCK),))

    # --- names and attributes -----------------------------------------------------------------------------

    def _lookup(self, unique: int, node_id: int, body: memoryview) -> None:
        name = protocol.name_of(body)
        folder = self.nodes.folder(node_id)
        if not isinstance(folder, TreeFolder):
            return self._lookup_named(unique, node_id, folder, name)
        found = folder.find(name)
        if found is None:
            self._send(unique, (_no_entry(FOREVER),))
            return
        page, n = found
        entry = self._entry(page, n)
        inode, _bits = page.kind(n)
        self._send_entry(unique, entry, inode, links=((inode, page.numbers[n]),) if inode & LINK_BIT else ())

    def _entry(self, page: TreePage, n: int) -> Buffer:
        """The record of an entry. Raises Damaged if it has no attributes."""
        encoded = self._listings.encoded.get((page.tree.base, page.first))
        row: Buffer = encoded.record(n) if encoded is not None else tree_record(page, n)
        if not any(row[:8]):
            page.node(n)  # raises the reason
        return row[ENTRY]

    def _lookup_named(self, unique: int, node_id: int, folder: Folder, name: bytes) -> None:
        try:
            node = folder.lookup(name)
        except NotFound:
            self._send(unique, (_no_entry(NEGATIVE_SHORT if folder.changes else FOREVER),))
            return
        entry = record_in(folder, node, name)[ENTRY]
        self._send_entry(unique, entry, node.attributes.inode, named=(Named(node_id, name, node),))

    def _getattr(self, unique: int, node_id: int, _body: memoryview) -> None:
        place = self.nodes.place(node_id)
        if place is not None:
            head, row = _KEEP, self._entry(*place)
        else:
            node = self.nodes.node(node_id)
            head = _KEEP_SHORT if node.changes else _KEEP
            row = record(node.attributes, b"", 0, 0, 0)
        self._send(unique, (head, row[ATTRIBUTES]))

    def _statx(self, unique: int, node_id: int, body: memoryview) -> None:
        """Attributes and the time of creation. Refused if no entry has one: the kernel asks only for that."""
        protocol.STATX_IN.unpack_from(body)
        if not self.view.has_births:
            raise Refusal(errno.ENOSYS)
        place, made = self.nodes.place(node_id), None
        if place is not None:
            page, n = place
            node, made = page.node(n), made_at(page, n)
        else:
            node = self.nodes.node(node_id)
        self._send(unique, (statx(node.attributes, made, SHORT if node.changes else FOREVER),))

    def _readlink(self, unique: int, node_id: int, _body: memoryview) -> None:
        node = self.nodes.node(node_id)
        if not isinstance(node, Link):
            raise Refusal(errno.EINVAL)
        self._send(unique, (node.target[: PAGE - 1],))

    def _getxattr(self, unique: int, node_id: int, body: memoryview) -> None:
        size, _pad = protocol.GETXATTR_IN.unpack_from(body)
        name = protocol.name_of(body[protocol.GETXATTR_IN.size :])
        if self._plain:
            raise Refusal(errno.ENOSYS)
        value = self.nodes.node(node_id).xattr(name)
        if value is None:
            raise Refusal(errno.ENODATA)
        self._send_value(unique, value, size)

    def _listxattr(self, unique: int, node_id: int, body: memoryview) -> None:
        size, _pad = protocol.GETXATTR_IN.unpack_from(body)
        names = [] if self._plain else self.nodes.node(node_id).xattr_names()
        self._send_value(unique, b"".join(name + b"\0" for name in names), size)

    def _send_value(self, unique: int, value: Buffer, size: int) -> None:
        if size == 0:
            value = protocol.GETXATTR_OUT.pack(len(value), 0)
        elif len(value) > size:
            raise Refusal(errno.ERANGE)
        self._send(unique, (value,))

    # --- contents -----------------------------------------------------------------------------------------

    def _open(self, unique: int, _node_id: int, body: memoryview) -> None:
        flags, _ = protocol.OPEN_IN.unpack_from(body)
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise Refusal(errno.EROFS)
        # Files need no opening: the kernel sends no OPEN again, and keeps their contents.
        raise Refusal(errno.ENOSYS)

    def _read(self, unique: int, node_id: int, body: memoryview) -> None:
        _handle, offset, size, *_ = protocol.READ_IN.unpack_from(body)
        if self._failed.repeats(node_id, offset, size):
            self._send(unique, (), errno.EIO)
            return
        file = self._files.get(node_id)
        if file is None:
            place = self.nodes.place(node_id)
            extent = extent_of_small(*place) if place is not None else None
            if place is not None and extent is not None:
                return self._small.read(unique, node_id, *place, extent, offset, size)
            file = self._file(node_id)
            if offset or size < file.size:  # else this read is the whole file
                self._files.put(node_id, file)
        # The order of reads is that of their arrival, not that in which the pool serves them.
        self._send_data(unique, file.parts(offset, size, repeated=not self._reader.must_not_wait()))

    def _file(self, node_id: int) -> OpenFile:
        file = self._files.get(node_id)
        if file is None:
            node = self.nodes.node(node_id)
            if not isinstance(node, File):
                raise Refusal(errno.EISDIR if isinstance(node, Folder) else errno.EINVAL)
            file = node.open()
        return file

    def _send_data(self, unique: int, parts: Sequence[Buffer]) -> None:
        if len(parts) > _MOST_PARTS:
            parts = (b"".join(parts),)
        if self._send(unique, parts):
            self.served += sum(map(len, parts))

    def _lseek(self, unique: int, node_id: int, body: memoryview) -> None:
        _handle, offset, whence, _pad = protocol.LSEEK_IN.unpack_from(body)
        if whence not in (protocol.SEEK_DATA, protocol.SEEK_HOLE):
            raise Refusal(errno.EINVAL)
        found = self._file(node_id).seek(offset, data=whence == protocol.SEEK_DATA)
        if found is None:
            raise Refusal(errno.ENXIO)
        self._send(unique, (protocol.LSEEK_OUT.pack(found),))


def _range(body: Buffer) -> tuple[int, int]:
    """Offset and size of a READ."""
    _handle, offset, size, *_ = protocol.READ_IN.unpack_from(body)
    return offset, size


_KEEP = protocol.ATTR_OUT_HEAD.pack(FOREVER, 0, 0)
_KEEP_SHORT = protocol.ATTR_OUT_HEAD.pack(SHORT, 0, 0)


def _no_entry(seconds: int) -> bytes:
    """The answer to LOOKUP for a name that does not exist; the kernel keeps it for `seconds`."""
    return struct.pack("=QQQ104x", 0, 0, seconds)
