"""Estimates the size of a source, so that a first backup can show how long it will take."""

from __future__ import annotations

import os
import stat
import threading

from backup.selection import Selection
from catalog.patterns import Patterns


class Census:
    """Adds up the bytes of all files in a thread of its own. `total` is None until it is done.

    It is an estimate: unreadable folders are not counted, and other file systems are counted even if the walk
    leaves them out.
    """

    def __init__(self, selection: Selection) -> None:
        self.total: int | None = None
        self._selection = selection
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._count, name="census", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, complete or not."""
        self._stop.set()
        self._thread.join()

    def _count(self) -> None:
        selection = self._selection
        excludes = Patterns(selection.excludes, "--exclude") if selection.excludes else None
        total, folders = 0, list(selection.paths)
        while folders:
            if self._stop.is_set():
                return
            path = folders.pop()
            try:
                st = os.lstat(path)
                if stat.S_ISREG(st.st_mode):  # a file given as a path
                    total += st.st_size
                    continue
                if (st.st_dev, st.st_ino) in selection.skip:
                    continue
                with os.scandir(path) as entries:
                    for entry in entries:
                        is_folder = entry.is_dir(follow_symlinks=False)
                        if excludes is not None and excludes.match(entry.path.lstrip(b"/"), is_folder):
                            continue
                        if is_folder:
                            folders.append(entry.path)
                        elif entry.is_file(follow_symlinks=False):
                            total += entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue
        self.total = total
