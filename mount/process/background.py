"""A drive in a process of its own, which is re-executed: nothing of the command's memory is left in it.

The order, which holds the master key, goes through a pipe: not an argument, the environment or a file. The answer
returns through a second pipe. The process starts before the passphrase is prompted for, because it has as much to
load as the command has to compute; it ends if its pipe is closed without an order.
"""

from __future__ import annotations

import gc
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog import errors
from catalog.access.memory import protect_memory
from catalog.access.settings import Settings
from catalog.errors import LocalError, MountFailed, RpdriveError
from mount.place.base import Places
from mount.process.base import Pipes, Processes
from mount.process.files import DriveFiles
from mount.process.started import start
from mount.process.this import PROCESSES

if TYPE_CHECKING:
    from mount.process.order import Order

_ANSWER_SECONDS = 10.0  # between the mount and the drive's first answer


class BackgroundDrive:
    """The process that becomes the drive, as the command sees it, from its start to its answer."""

    def __init__(self, settings: Settings, place: Path, places: Places, processes: Processes) -> None:
        """Start the process. Raises LocalError."""
        self._place = place
        self._places = places
        self._log = DriveFiles(settings).log(place)
        try:
            started = start(processes, __name__, ("rpdrive", "mount", str(place)), self._log)
        except OSError as e:
            raise LocalError(f"the drive's process can't be started: {e}", "try again, or use --foreground") from e
        self._process = started.process
        self._order: int | None = started.order
        self._answer = os.fdopen(started.answer, "rb")
        self.notices: list[str] = []  # what the person should know, once it is mounted

    def mount(self, order: Order) -> int:
        """Send the order; return the process id once the drive answers.

        Raises the error that the process reports, or MountFailed if it ends or doesn't answer.
        """
        import msgspec

        assert self._order is not None
        with os.fdopen(self._order, "wb") as pipe:
            self._order = None
            try:
                pipe.write(msgspec.msgpack.encode(order))
                pipe.flush()
            except BrokenPipeError:
                pass  # it has ended: its answer or its log says why
        with self._answer:
            text = self._answer.readline()
        if not text:
            raise MountFailed(f"the drive's process ended: {self._last_words()}", f"see {self._log}")
        answer = json.loads(text)
        if "error" in answer:
            self._process.wait()
            raise _as_raised(answer["error"])
        self.notices = [str(line) for line in answer.get("notices", ())]
        self._await_answer()
        return self._process.pid

    def _await_answer(self) -> None:
        """Wait until the drive answers at its place. Raises MountFailed if it doesn't, or its process ends."""
        end = time.monotonic() + _ANSWER_SECONDS
        while time.monotonic() < end:
            try:
                if self._places.answers(self._place):
                    return
            except OSError as e:
                raise MountFailed(f"the drive does not answer: {e.strerror}", f"see {self._log}") from e
            if self._process.poll() is not None:
                raise MountFailed(f"the drive's process ended: {self._last_words()}", f"see {self._log}")
            time.sleep(0.005)
        raise MountFailed(f"the drive did not appear at {self._place}", f"see {self._log}")

    def _last_words(self) -> str:
        self._process.wait()
        try:
            lines = self._log.read_text(errors="replace").split("\n")
        except OSError:
            lines = []
        return next((line for line in reversed(lines) if line.strip()), f"exit code {self._process.returncode}")

    def wait(self) -> None:
        """Wait until the drive's process has ended, for a caller that goes on as long."""
        self._process.wait()

    def cancel(self) -> None:
        """End the process, unless the order was sent."""
        if self._order is not None:
            os.close(self._order)
            self._order = None
            self._answer.close()
            self._process.wait()


def _as_raised(row: dict[str, Any]) -> RpdriveError:
    """The error that the process reported."""
    kind = getattr(errors, str(row["kind"]), None)
    if not (isinstance(kind, type) and issubclass(kind, RpdriveError)):
        kind = MountFailed
    return kind(str(row["message"]), str(row["advice"]))


# --- the other side -----------------------------------------------------------------------------------------


def main(order_pipe: int, answer_pipe: int) -> None:
    """Run the process. The arguments represent the pipes, see Processes.inherited."""
    # What a drive decodes has no cycles, and Python's defaults look for some after each page: 7% of a walk's CPU.
    # Errors have some, and are cleared: see mount.drivers.errors.
    gc.set_threshold(50_000, 20, 50)
    # Modules are loaded while the command still prompts for the passphrase and computes the key.
    import logging

    from catalog.screen.redacted import log_to_stderr, protect_stderr

    protect_memory()
    protect_stderr()
    log_to_stderr("%(asctime)s %(levelname)s %(message)s", logging.WARNING)
    logging.raiseExceptions = False
    pipes = PROCESSES.inherited(Pipes(order_pipe, answer_pipe))
    failure: RpdriveError | None = None
    try:
        import msgspec

        from catalog.access.session import Session
        from mount.process import service
        from mount.process.order import Order

        service.preload()
    except RpdriveError as e:  # no libfuse
        failure = e
    with os.fdopen(pipes.order, "rb") as pipe:
        data = pipe.read()
    if not data:
        return
    answer = os.fdopen(pipes.answer, "wb", buffering=0)

    def report(row: dict[str, Any]) -> None:
        try:
            answer.write(json.dumps(row).encode() + b"\n")
            answer.close()
        except OSError:
            pass  # the command was stopped; the drive goes on

    try:
        if failure is not None:
            raise failure
        order = msgspec.msgpack.decode(data, type=Order)
        os.environ.update(order.secrets)
        service.serve(order, Session(), lambda notices: report({"ready": True, "notices": notices}))
    except RpdriveError as e:
        if not answer.closed:
            report({"error": {"kind": e.kind, "message": str(e), "advice": e.advice}})
        logging.getLogger("rpdrive.drive").error("%s", e)
        os._exit(e.exit_code)
    logging.shutdown()
