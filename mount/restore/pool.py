"""Helper processes that write blocks of small files: one Python process can't keep two processors busy with them.

Files that a helper did not make are tried again in this process, which can deal with all obstacles. So
no restore depends on a helper: one that dies only costs time.
"""

from __future__ import annotations

import array
import os
import queue
import socket
import subprocess
from contextlib import suppress

import msgspec

from catalog.format.blocks import Buffer
from catalog.format.keys import Keys
from catalog.format.packs import Extent
from catalog.processors import usable_processors
from catalog.program import child_environment, main_command
from mount.restore import worker
from mount.restore.plan import Plan
from mount.restore.report import Report
from mount.restore.spill import brief_of
from mount.restore.target import Handle, Target
from mount.restore.temporary_names import TemporaryNames
from mount.restore.worker import (
    ANSWER,
    FRAME,
    MAX_FOLDERS,
    Done,
    Hello,
    Task,
    encode,
    receive,
)

MANY = 2_000  # files: writing so many takes as long as starting the helpers, 0.2 s
MOST = 4  # helpers; more would wait for the file system
FEW = 4  # files of a block: fewer are not worth a message
_QUIETLY = getattr(socket, "MSG_NOSIGNAL", 0)  # writing to a dead helper fails, without SIGPIPE

_decode = msgspec.msgpack.Decoder(Done).decode


class WriterPool:
    """Helper processes, each with one block at a time. Thread-safe; `close` it."""

    def __init__(
        self, keys: Keys, target: Target, report: Report, names: TemporaryNames, *, permissions: bool
    ) -> None:
        self._target, self._report, self._names = target, report, names
        self._helpers: list[_Helper] = []
        self._free: queue.SimpleQueue[_Helper | None] = queue.SimpleQueue()
        for _ in range(useful_helpers()):
            hello = Hello(keys.master, keys.vault_id, names.key, permissions)
            try:
                helper = _Helper(hello)
            except OSError:
                break  # go on with fewer helpers
            self._helpers.append(helper)
            self._free.put(helper)
        if not self._helpers:
            self._free.put(None)

    @property
    def pids(self) -> list[int]:
        return [helper.pid for helper in self._helpers]

    def close(self) -> None:
        """End the helpers and wait for them. No other thread may use the pool any more."""
        for helper in self._helpers:
            helper.leave()
        for helper in self._helpers:
            helper.wait()

    def write(self, plan: Plan, at: Extent, sealed: Buffer, rows: list[bytes]) -> list[bytes]:
        """Write the files of a block. Returns the rows that were not written: the caller must do that."""
        given, handles, folders = self._given(plan, rows)
        if len(given) < FEW:
            return rows
        helper = self._free.get()
        if helper is None:
            self._free.put(None)
            return rows
        done = helper.ask(Task(at.pack, at.offset, given, folders), sealed, handles)
        if done is None:
            helper.leave()
            helper.wait()
            self._clean(plan, given)
            self._free.put(None)
            return rows
        self._free.put(helper)
        return self._account(plan, rows, given, done)

    def _given(self, plan: Plan, rows: list[bytes]) -> tuple[list[bytes], list[Handle], list[tuple[int, bool]]]:
        """The rows that a helper can write, descriptors of their folders, and what it must know of these."""
        given: list[bytes] = []
        handles: list[Handle] = []
        folders: list[tuple[int, bool]] = []
        known: dict[int, bool] = {}  # by number: whether a descriptor is sent
        for row in rows:
            brief = brief_of(row)
            if not brief.simple:
                continue
            sent = known.get(brief.folder)
            if sent is None:
                sent = len(handles) < MAX_FOLDERS
                if sent:
                    folder = plan.folder(brief.folder)
                    try:
                        handles.append(self._target.handle(folder))
                        folders.append((brief.folder, folder.plain))
                    except OSError:
                        sent = False
                known[brief.folder] = sent
            if sent:
                given.append(row)
        return given, handles, folders

    def _account(self, plan: Plan, rows: list[bytes], given: list[bytes], done: Done) -> list[bytes]:
        report = self._report
        for n, reason in done.problems:
            report.problem(plan.unpack(given[n]).file.path(), reason)
        left = set(done.left)
        made = [row for n, row in enumerate(given) if n not in left]
        briefs = [brief_of(row) for row in made]
        with report.lock:
            report.written += len(made)
            report.written_bytes += sum(brief.length for brief in briefs)
            report.copies += sum(brief.copy for brief in briefs)
        if len(made) == len(rows):
            return []
        finished = set(map(id, made))
        return [row for row in rows if id(row) not in finished]

    def _clean(self, plan: Plan, rows: list[bytes]) -> None:
        """Remove the files that a helper was making when it died."""
        for row in rows:
            file = plan.unpack(row).file
            with suppress(OSError), self._target.handle(file.folder) as folder:
                self._target.disk.unlink(self._names.numbered(file.number, helper=True), dir_fd=folder)


def useful_helpers() -> int:
    """The number of helpers that speed up a restore on this machine."""
    if not hasattr(socket, "SCM_RIGHTS") or os.name != "posix":
        return 0
    processors = usable_processors()
    return min(processors, MOST) if processors > 1 else 0


class _Helper:
    """One process. Raises OSError if it can't be started."""

    def __init__(self, hello: Hello) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    main_command(worker.__name__, theirs.fileno()),
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),), cwd="/",
                    env=child_environment(),
                )  # fmt: skip
            except OSError:
                ours.close()
                raise
        self._socket = ours
        with suppress(OSError):
            self._send(encode(hello), b"", [])

    def _send(self, message: bytes, sealed: Buffer, folders: list[Handle]) -> None:
        frame = FRAME.pack(len(message), len(sealed))
        if folders:
            given = array.array("i", [folder.fd for folder in folders])
            self._socket.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, given)], _QUIETLY)
        else:
            self._socket.sendall(frame, _QUIETLY)
        self._socket.sendall(message, _QUIETLY)
        if len(sealed):
            self._socket.sendall(sealed, _QUIETLY)

    def ask(self, task: Task, sealed: Buffer, folders: list[Handle]) -> Done | None:
        """Have a task done. None if the helper is dead."""
        try:
            self._send(encode(task), sealed, folders)
            head = receive(self._socket, ANSWER.size)
            body = receive(self._socket, ANSWER.unpack(head)[0]) if head else b""
            return _decode(body) if body else None
        except (OSError, OverflowError, ValueError, msgspec.MsgspecError):
            return None

    def leave(self) -> None:
        """Close the connection, which ends the process."""
        self._socket.close()

    def wait(self) -> None:
        """Wait until the process has ended."""
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid
