"""One set of shadow copies: the calls of a requester, in the order that Microsoft documents.

All volumes are in one set, so that their shadow copies are of one instant. A set that could not be made is
aborted: it would stand in the way of every later one, of other programs, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event

from backup.snapshot.vss.com import (
    ASYNC_CANCELLED,
    ASYNC_FINISHED,
    ASYNC_PENDING,
    BACKUP_COPY,
    CONTEXT_BACKUP,
    WRITER_FAILED,
    Components,
    Failed,
    Guid,
    Library,
)
from backup.snapshot.vss.meanings import IN_PROGRESS, NOT_SUPPORTED, STOPPED, TIMED_OUT
from backup.snapshot.vss.messages import Shadow, Writer

_STEP = 500  # ms of one wait, so that the end of the backup is noticed soon
_STATUS = 15.0  # s at most for the writers' states


class Requester:
    """Makes a set, and deletes it. `stopped` ends what waits. Not for several threads."""

    def __init__(self, library: Library, stopped: Event, clock: Callable[[], float] = time.monotonic) -> None:
        self._library, self._stopped, self._clock = library, stopped, clock
        self._components: Components | None = None
        self._set: Guid | None = None
        self._ids: list[tuple[Guid, str]] = []
        self.writers: list[Writer] = []  # those that failed

    def make(self, volumes: Sequence[str], timeout: float, retry: float) -> list[Shadow]:
        """A shadow copy of each volume, at one instant. Times in seconds. Raises Failed; then there is none."""
        end = self._clock() + timeout
        components = self._components = self._library.components()
        started = False
        try:
            components.do("InitializeForBackup", None)
            components.do("SetContext", CONTEXT_BACKUP)
            components.do("SetBackupState", False, False, BACKUP_COPY, False)
            self._wait("GatherWriterMetadata", end)
            for volume in volumes:
                if not components.supports(volume):
                    raise Failed(f"IsVolumeSupported of {volume}", NOT_SUPPORTED)
            self._set = self._start(end, retry)
            started = True
            self._ids = [(components.add(volume), volume) for volume in volumes]
            self._wait("PrepareForBackup", end)
            self._wait("DoSnapshotSet", end)
            self._look_at_writers()
            return [self._shadow(snapshot, volume) for snapshot, volume in self._ids]
        except Failed:
            if started:
                self._look_at_writers()
                components.code("AbortBackup")
            if self._set is not None:
                with suppress(Failed):  # there is none, unless the last steps failed
                    components.delete(self._set)
            self._release()
            raise

    def check(self) -> None:
        """Raises Failed if a shadow copy is gone."""
        for snapshot, volume in self._ids:
            self._shadow(snapshot, volume)

    def finish(self) -> None:
        """Tell the writers that the backup is complete, and delete the set. Raises Failed if that fails."""
        if self._components is None or self._set is None:
            return
        try:
            with suppress(Failed):  # no writer depends on it: their logs stay as they are in a copy backup
                self._wait("BackupComplete", self._clock() + _STATUS)
            self._components.delete(self._set)
        finally:
            self._release()

    def _release(self) -> None:
        if self._components is not None:
            self._components.release()
        self._components = self._set = None
        self._ids = []

    def _start(self, end: float, retry: float) -> Guid:
        """The id of a new set; waits while another program makes one."""
        assert self._components is not None
        while True:
            try:
                return self._components.start_set()
            except Failed as e:
                if e.code != IN_PROGRESS or self._clock() + retry > end:
                    raise
            if self._stopped.wait(retry):
                raise Failed("StartSnapshotSet", STOPPED)

    def _wait(self, name: str, end: float) -> None:
        """Call a method that goes on meanwhile, and wait for its end."""
        assert self._components is not None
        work = self._components.begin(name)
        try:
            while True:
                state = work.status(_STEP)
                if state == ASYNC_FINISHED:
                    return
                if state not in (ASYNC_PENDING, ASYNC_CANCELLED):
                    raise Failed(name, state)
                stopped = self._stopped.is_set()
                if stopped or state == ASYNC_CANCELLED or self._clock() > end:
                    work.code("Cancel")
                    raise Failed(name, STOPPED if stopped else TIMED_OUT)
        finally:
            work.release()

    def _look_at_writers(self) -> None:
        """Note the writers that failed, also for a set that could not be made: its code names none of them."""
        assert self._components is not None
        with suppress(Failed):
            self._wait("GatherWriterStatus", self._clock() + _STATUS)
            self.writers = [
                Writer(w.name, w.state, w.failure)
                for w in self._components.writers()
                if w.state in WRITER_FAILED or w.failure
            ]

    def _shadow(self, snapshot: Guid, volume: str) -> Shadow:
        assert self._components is not None
        found = self._components.properties(snapshot)
        return Shadow(str(snapshot), volume, found.device, found.created)
