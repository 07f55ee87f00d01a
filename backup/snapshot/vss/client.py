"""The rpdrive side of the helper process for VSS."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import IO

from backup.snapshot.vss.meanings import meaning
from backup.snapshot.vss.messages import (
    CHECK,
    FINISH,
    LINE,
    MAKE,
    Answer,
    Lines,
    Malformed,
    Order,
    Shadow,
    Writer,
    line,
    parsed,
)
from catalog.errors import LocalError, SnapshotFailed, SnapshotLost
from catalog.program import child_environment, main_command

RETRY = 5.0  # s
_ANSWER = 60.0  # s for an answer, beyond what an order may take
_STEP = 0.5  # s, after which Ctrl-C is noticed
_HIDDEN = 0x08000000  # CREATE_NO_WINDOW: no console, and so no Ctrl-C of one
COMMAND = ("backup.snapshot.vss.helper",)


class Helper:
    """A running helper process. `command` is its command line."""

    def __init__(self, command: Sequence[str] | None = None, *, answer: float = _ANSWER) -> None:
        """Start it. Raises SnapshotFailed."""
        self._answer = answer
        self.writers: list[Writer] = []
        try:
            self._process = subprocess.Popen(
                list(command or main_command(*COMMAND)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, env=child_environment(),
                creationflags=_HIDDEN if hasattr(subprocess, "STARTUPINFO") else 0,
            )  # fmt: skip
        except OSError as e:
            raise SnapshotFailed(f"the helper process for shadow copies can't be started: {e.strerror}") from e
        self._answers: SimpleQueue[Answer | None] = SimpleQueue()
        assert self._process.stdout is not None
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self, pipe: IO[bytes]) -> None:
        lines = Lines()
        with suppress(OSError, ValueError, Malformed), pipe:
            while data := pipe.read1(LINE):  # type: ignore[attr-defined]
                for each in lines.add(data):
                    self._answers.put(parsed(each, Answer))
        self._answers.put(None)

    def make(self, volumes: list[str], timeout: float, retry: float = RETRY) -> list[Shadow]:
        """Shadow copies of the volumes, in this order. Raises SnapshotFailed; then the process has ended."""
        try:
            answer = self._ask(Order(MAKE, volumes, timeout, retry), timeout)
            self.writers = answer.writers
            _raise(answer, "no shadow copy was made", SnapshotFailed)
            if [shadow.volume for shadow in answer.shadows] != volumes:
                raise SnapshotFailed("the helper process for shadow copies named other volumes", "please report it")
        except BaseException:
            self.kill()
            raise
        return answer.shadows

    def check(self) -> None:
        """Raises SnapshotLost if a shadow copy is gone."""
        try:
            answer = self._ask(Order(CHECK))
        except SnapshotFailed as e:
            raise SnapshotLost(f"the shadow copy can't be relied on any more: {e}", e.advice) from e
        _raise(answer, "the shadow copy was lost while it was read", SnapshotLost)

    def finish(self) -> None:
        """Delete the shadow copies and end the process. Raises SnapshotFailed if that failed; it ended anyway."""
        if self._process.poll() is not None:
            return
        try:
            answer = self._ask(Order(FINISH))
        finally:
            self.kill(wait=5.0)
        _raise(answer, "the shadow copy could not be deleted; it goes with its process", SnapshotFailed)

    def kill(self, wait: float = 0.0) -> None:
        """End the process, by force if it does not end in `wait` seconds. Its shadow copies go with it."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(wait)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, order: Order, seconds: float = 0.0) -> Answer:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line(order))
            self._process.stdin.flush()
            answer = self._wait(seconds + self._answer)
        except (OSError, ValueError, Malformed):
            answer = None
        except Empty:
            self.kill()
            raise SnapshotFailed(
                "the helper process for shadow copies did not answer in time, and was ended", meaning(0).advice
            ) from None
        if answer is None:
            self.kill(wait=1.0)
            raise SnapshotFailed(
                f"the helper process for shadow copies has ended with code {self._process.returncode}",
                meaning(0).advice,
            )
        return answer

    def _wait(self, seconds: float) -> Answer | None:
        """The next answer. In short steps, as Windows lets nothing interrupt a longer one. Raises Empty."""
        end = time.monotonic() + seconds
        while True:
            try:
                return self._answers.get(timeout=max(min(end - time.monotonic(), _STEP), 0.001))
            except Empty:
                if time.monotonic() >= end:
                    raise


def _raise(answer: Answer, what: str, kind: type[LocalError]) -> None:
    if not answer.step:
        return
    found = meaning(answer.code)
    who = "".join(f"; {writer_words(w)}" for w in answer.writers[:3])
    raise kind(f"{what}: {found.text}, at {answer.step}{who}", found.advice)


def writer_words(writer: Writer) -> str:
    """What a writer that failed means, in words."""
    reason = meaning(writer.code).text if writer.code else f"state {writer.state}"
    return f"the writer {writer.name!r} failed: {reason}"
