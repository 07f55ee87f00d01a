"""Which files are there, and under which names: a bit for each file, and the few names that were not planned."""

from __future__ import annotations

import threading

from mount.restore.file_plan import FilePlan
from mount.restore.spool import Bits


class FinalNames:
    """The names of files with several links, and of files that were not given the name that was planned.

    Thread-safe for writing; read once all files are written.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._there = Bits()
        self._others: dict[int, bytes] = {}  # by FilePlan.number

    def put(self, file: FilePlan, name: bytes) -> None:
        """Note that a file is there, under this name."""
        if file.link or name != file.final:
            with self._lock:
                self._there.add(file.number)
                if name != file.final:
                    self._others[file.number] = name

    def of(self, file: FilePlan) -> bytes:
        """The name of a file that was written."""
        return self._others.get(file.number, file.final)

    def of_linked(self, file: FilePlan) -> bytes | None:
        """The name of a file with several links; None if it is not there."""
        return self.of(file) if file.number in self._there else None
