"""The files of this user's restores: a status for each, and the log of its process.

They are in rpdrive's state folder, so that whoever serves the page next finds them, whatever became of the process
that served it before.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from catalog.access.settings import Settings, private_folder, remove_unfinished, write_private
from catalog.errors import LocalError, NotFound
from catalog.systems.this import SYSTEM
from mount.browse.running.status import ACTIVE, Failure, Status, decoded, encoded
from mount.process.lock import PlaceLock
from mount.process.this import PROCESSES

KEPT, DAYS = 50, 30  # restores that have ended are kept: so many, and so long
_FOLDER = "browse-restores"
_MOST = 16 << 20  # bytes of a status
_SPARE = 256 << 10  # bytes set aside for the last words of a process whose disk is full
_ID = re.compile("[0-9a-f]{32}")
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class RestoreFiles:
    """Files `<id>.json` and `<id>.log` in the folder `browse-restores` of the state folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def folder(self) -> Path:
        """The folder, made if it is missing. Raises LocalError."""
        return private_folder(self._settings.state / _FOLDER)

    @property
    def _known(self) -> Path | None:
        """The folder if it is there: nothing is made only to be read. Raises LocalError if it can't be used."""
        return self.folder if (self._settings.where("state") / _FOLDER).exists() else None

    def log(self, one: str) -> Path:
        return self.folder / f"{one}.log"

    # --- one restore ----------------------------------------------------------------------------------------

    def read(self, one: str) -> Status:
        """A restore as it is now: one whose process is gone without a word is stopped. Raises NotFound."""
        status = self._read(one) if _ID.fullmatch(one) else None
        if status is not None and status.state in ACTIVE and not is_alive(status):
            # It may have ended properly since: a process writes its last words before it ends.
            status = self._read(one)
            if status is not None and status.state in ACTIVE and not is_alive(status):
                _stopped(status)
                with suppress(OSError):
                    (self.folder / f"{one}.spare").unlink(missing_ok=True)
        if status is None:
            raise NotFound(f"there is no restore {one[:8]}", "see the list of restores")
        return status

    def _read(self, one: str) -> Status | None:
        folder = self._known
        if folder is None:
            return None
        with suppress(OSError), os.fdopen(os.open(folder / f"{one}.json", _READ), "rb") as file:
            found = decoded(file.read(_MOST))
            return found if found is not None and found.id == one else None
        return None

    def write(self, status: Status) -> None:
        """Write a status durably, whole or not at all. Raises LocalError."""
        write_private(self.folder / f"{status.id}.json", encoded(status))

    def note(self, status: Status) -> None:
        """The same for progress: not durably, and a failure costs only this note."""
        path = self.folder / f"{status.id}.json"
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(encoded(status))
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()

    def remove(self, one: str) -> None:
        """Remove what is kept of a restore."""
        for name in ("json", "log", "spare"):
            with suppress(OSError):
                (self.folder / f"{one}.{name}").unlink()

    @contextmanager
    def locked(self, one: str) -> Iterator[None]:
        """While entered, nobody else starts or drops this restore. Raises LocalError."""
        lock = PlaceLock(self.folder / f"{one}.lock")
        try:
            yield
        finally:
            lock.release()

    def set_aside(self, one: str) -> None:
        """Set space aside, so that a full disk doesn't keep a process from saying so."""
        with suppress(OSError):
            path = self.folder / f"{one}.spare"
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(os.urandom(_SPARE))
                file.flush()
                os.fsync(file.fileno())

    def write_last(self, status: Status) -> None:
        """Write the status that a process ends with, in the space that was set aside. Raises LocalError."""
        with suppress(OSError):
            (self.folder / f"{status.id}.spare").unlink()
        for attempt in range(5):
            try:
                return self.write(status)
            except LocalError as e:
                full = isinstance(e.__cause__, OSError) and e.__cause__.errno in (errno.ENOSPC, errno.EDQUOT)
                if not full or attempt == 4:
                    raise
                time.sleep(0.5)

    # --- all of them ------------------------------------------------------------------------------------------

    def all(self, vault: str) -> list[Status]:
        """The restores of a vault (its id in hex), newest first. Removes those that are too old, or too many."""
        found, folder = list[Status](), self._known
        if folder is not None:
            remove_unfinished(folder)
        for path in folder.glob("*.json") if folder is not None else ():
            with suppress(NotFound):
                found.append(self.read(path.stem))
        found.sort(key=lambda status: (status.made, status.id), reverse=True)
        now, kept = time.time_ns(), 0
        left = []
        for status in found:
            ended = status.state not in ACTIVE
            kept += ended
            old = now - max(status.finished, status.started, status.made) > DAYS * 86_400 * 10**9
            if ended and (kept > KEPT or old):
                self.remove(status.id)
            elif status.vault == vault:
                left.append(status)
        return left

    def versions(self) -> dict[str, tuple[int, int]]:
        """What changes with each write of a restore's status, by id."""
        found, folder = dict[str, tuple[int, int]](), self._known
        if folder is None:
            return found
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".json"):
                    with suppress(OSError):
                        st = entry.stat(follow_symlinks=False)
                        found[entry.name[:-5]] = st.st_ino, st.st_mtime_ns
        return found


def is_alive(status: Status) -> bool:
    """Whether the process of a restore still runs: same boot, same process."""
    if not status.pid or (status.boot and status.boot != SYSTEM.boot_id()):
        return False
    return PROCESSES.is_running(status.pid, status.process or None)


def _stopped(status: Status) -> None:
    status.state = "stopped"
    status.failure = Failure(
        "Killed", "the process of the restore ended without a word: it was killed, or the machine was",
        "restore the same again: what is there already is not fetched again",
    )  # fmt: skip
