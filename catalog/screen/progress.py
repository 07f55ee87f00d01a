"""The progress of a job as values, and who follows it: a terminal, a log, a page. Nothing here prints."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Protocol


class JobProgress(NamedTuple):
    """The progress of a job. Sizes in bytes.

    `files_total` and `total` are None if unknown; `total` is an estimate unless `files_total` is known.
    `present` are the bytes of `done` that existed already and needed no work. `path` is the file that the
    job handles (without a leading slash), `stored` the bytes that it added to the vault, `seconds` the time since
    it began.
    """

    seconds: float
    files: int
    files_total: int | None
    done: int
    total: int | None
    present: int = 0
    stored: int | None = None
    planning: bool = False
    path: bytes = b""

    @property
    def speed(self) -> int:
        """Bytes per second, on average."""
        return int((self.done - self.present) / max(self.seconds, 0.001))


class Observer(Protocol):
    """Follows a job. `progress` and `problem` are called from two threads of the job.

    `every` is the number of seconds between two calls of `progress`. If `live`, a person is watching, and the
    job takes the time to estimate its total.
    """

    @property
    def every(self) -> float: ...

    @property
    def live(self) -> bool: ...

    def progress(self, progress: JobProgress) -> None: ...

    def problem(self, path: bytes, reason: str) -> None:
        """Called by a backup as it meets a problem. A restore reports all of them at its end."""


class Reporting:
    """Samples a job regularly while entered, in a thread of its own, and hands each sample to the observer.

    `sample` gets the seconds since the beginning. Without an observer, nothing is sampled.
    """

    def __init__(self, sample: Callable[[float], JobProgress], observer: Observer | None) -> None:
        self._sample, self._observer = sample, observer
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = time.monotonic()

    def __enter__(self) -> Reporting:
        if self._observer is not None:
            self._thread = threading.Thread(target=self._run, args=(self._observer,), name="progress", daemon=True)
            self._thread.start()
        return self

    def _run(self, observer: Observer) -> None:
        while not self._stop.wait(observer.every):
            observer.progress(self._sample(time.monotonic() - self._began))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
