"""Estimates the size of a source, so that a first backup can show how long it will take."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator

from backup.exclusions import Layer
from backup.selection import Selection
from backup.snapshot.base import is_own_subvolume

_DEPTH = 100  # folders in each other below a given path; each takes an open file


class Census:
    """Adds up the bytes of all files in a thread of its own. `total` is None until it is done.

    It is an estimate: unreadable and very deep folders are not counted, and other file systems are counted even if
    the walk leaves them out.
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
        total = 0
        for path in self._selection.paths:
            layer = self._selection.exclusions.top
            *above, last = [b"", *filter(None, path.split(b"/"))]
            for name in above[1:]:
                layer = layer.below(name) if layer is not None else None
            try:
                if not os.path.isdir(path):
                    total += os.lstat(path).st_size  # a file given as a path
                    continue
            except OSError:
                continue
            if last:
                layer = layer.below(last) if layer is not None else None
            # Folders that are being listed, not lists of them: one may have a million.
            stack = [self._entries(path, layer)]
            while stack:
                if self._stop.is_set():
                    for entries in stack:
                        entries.close()
                    return
                found = next(stack[-1], None)
                if found is None:
                    stack.pop()
                elif isinstance(found, int):
                    total += found
                elif len(stack) < _DEPTH:
                    stack.append(self._entries(*found))
        self.total = total

    def _entries(self, path: bytes, layer: Layer | None) -> Generator[int | tuple[bytes, Layer | None], None, None]:
        """The sizes of the files of a folder, and its folders with their layers."""
        try:
            st = os.lstat(path)
            if (st.st_dev, st.st_ino) in self._selection.skip or is_own_subvolume(
                os.path.basename(path), st.st_ino
            ):
                return
            if layer is not None:

                def read(name: bytes, most: int) -> bytes | None:
                    return _contents(os.path.join(path, name), most)

                layer = layer.within(read, lambda: path, lambda reason: None)
                if layer.is_cache(read):
                    return
            with os.scandir(path) as entries:
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if layer is not None:
                        rule = layer.deciding(entry.name, is_folder=is_folder)
                        if rule is not None and not rule.negated:
                            continue
                    if is_folder:
                        yield entry.path, layer.below(entry.name) if layer is not None else None
                    elif entry.is_file(follow_symlinks=False):
                        yield entry.stat(follow_symlinks=False).st_size
        except OSError:
            return


def _contents(path: bytes, most: int) -> bytes | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(file, most)
    except OSError:
        return None
    finally:
        os.close(file)
