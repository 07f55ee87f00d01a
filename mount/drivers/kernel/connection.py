"""Messages to the kernel: answers to its requests, and contents for its cache."""

from __future__ import annotations

import errno
import logging
import struct
from collections.abc import Callable, Sequence

from catalog.format.blocks import Buffer
from mount.drivers.kernel.protocol import NOTIFY_PRUNE_OUT, NOTIFY_STORE_OUT, OUT_HEADER, Notify

_OVER = (errno.ENODEV, errno.ECONNABORTED, errno.EBADF)
_log = logging.getLogger("rpdrive.drive")


class Ended(Exception):
    """The session is over: unmounted, or aborted."""


class Connection:
    """Frames messages. `write` sends the parts of one message; it raises OSError if the kernel refuses it."""

    def __init__(self, write: Callable[[Sequence[Buffer]], object]) -> None:
        self._write = write

    def send(self, unique: int, parts: Sequence[Buffer] = (), error: int = 0) -> bool:
        """Answer a request, in one write. False if its caller no longer waits. Raises Ended."""
        length = OUT_HEADER.size + sum(map(len, parts))
        try:
            self._write((OUT_HEADER.pack(length, -error, unique), *parts))
        except OSError as e:
            if e.errno in _OVER:
                raise Ended from e
            if e.errno != errno.ENOENT:  # that one was interrupted
                _log.error("the kernel refuses an answer of %d bytes: %s", length, e)
            return False
        return True

    def store(self, node_id: int, data: Buffer) -> bool:
        """Put a file's contents into the kernel's cache. False if the kernel no longer knows it. Raises Ended."""
        head = NOTIFY_STORE_OUT.pack(node_id, 0, len(data), 0)
        length = OUT_HEADER.size + len(head) + len(data)
        try:
            self._write((OUT_HEADER.pack(length, Notify.STORE, 0), head, data))
        except OSError as e:
            if e.errno in _OVER:
                raise Ended from e
            if e.errno != errno.ENOENT:  # it has just forgotten the file
                _log.warning("the kernel refuses a file's contents: %s", e)
            return False
        return True

    def prune(self, node_ids: Sequence[int]) -> bool:
        """Have the kernel forget those of the nodes that nobody uses. False if it can't: before Linux 6.18.

        Waits for no request: the kernel takes no lock of a folder for it. Raises Ended.
        """
        ids = struct.pack(f"={len(node_ids)}Q", *node_ids)
        head = NOTIFY_PRUNE_OUT.pack(len(node_ids), 0, 0)
        try:
            self._write((OUT_HEADER.pack(OUT_HEADER.size + len(head) + len(ids), Notify.PRUNE, 0), head, ids))
        except OSError as e:
            if e.errno in _OVER:
                raise Ended from e
            return False
        return True
