"""Tells the pages of the progress of restores, whoever started them: their processes write files."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from catalog.errors import RpdriveError
from mount.browse.running.files import RestoreFiles, is_alive
from mount.browse.running.status import ACTIVE, Status

if TYPE_CHECKING:
    from mount.browse.resources.opened import Opened

EVERY = 0.3  # seconds between two looks; a process writes its progress every 0.5 s


class Watch:
    """Looks at the files of restores from a thread, as long as a process of one is at work."""

    def __init__(self, files: RestoreFiles, tell: Callable[[str], object]) -> None:
        """`tell` gets the id of a restore that changed."""
        self._files, self._tell = files, tell
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._runs = False
        self._seen: dict[str, tuple[int, int]] = {}
        self._active: dict[str, Status] = {}

    def begin(self) -> None:
        """Look, if nobody does yet: there may be a restore at work."""
        with self._lock:
            self._woken.set()
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="restores", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                self._look()
            except RpdriveError:
                pass  # the folder can't be used: the page is told so when it asks
            with self._lock:
                if not self._active and not self._woken.is_set():
                    self._runs = False
                    return
            time.sleep(EVERY)

    def _look(self) -> None:
        now = self._files.versions()
        for one, version in now.items():
            if self._seen.get(one) != version:
                self._note(one)
                self._tell(one)
        for one, status in list(self._active.items()):
            if one not in now or not is_alive(status):
                del self._active[one]
                self._tell(one)
        self._seen = now

    def _note(self, one: str) -> None:
        try:
            status = self._files.read(one)
        except RpdriveError:
            return
        if status.state in ACTIVE:
            self._active[one] = status
        else:
            self._active.pop(one, None)


_watches: weakref.WeakKeyDictionary[Opened, Watch] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def watch_of(opened: Opened, tell: Callable[[str], object]) -> Watch:
    """The watch of what is opened."""
    with _lock:
        found = _watches.get(opened)
        if found is None:
            found = _watches[opened] = Watch(RestoreFiles(opened.session.settings), tell)
        return found
