"""Starts the process of a restore, and stops it: as the page's server sees it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from catalog.access.session import Session
from catalog.errors import LocalError, NotFound
from catalog.program import secret_environment
from catalog.systems.this import SYSTEM
from catalog.vault import Vault
from mount.browse.running import child
from mount.browse.running.files import RestoreFiles, is_alive
from mount.browse.running.order import Order
from mount.browse.running.status import ACTIVE, Failure, Status
from mount.process import started
from mount.process.this import PROCESSES


def start(session: Session, vault: Vault, status: Status, *, plan: bool, told: Callable[[], object]) -> None:
    """Start a process that plans or restores what `status` says, and write the status. Raises LocalError.

    `told` is called from another thread when the process has ended.
    """
    files = RestoreFiles(session.settings)
    try:
        process, order_pipe, answer_pipe = started.start(
            PROCESSES, child.__name__, ("rpdrive", "restore", status.id), files.log(status.id)
        )
    except OSError as e:
        raise LocalError(f"the restore's process can't be started: {e}", "try again") from e
    status.pid, status.process, status.boot = process.pid, PROCESSES.started(process.pid) or "", SYSTEM.boot_id()
    order = Order(
        id=status.id,
        address=session.address,
        master=vault.keys.master,
        plan=plan,
        secrets=secret_environment(),
        also=session.also.urls if session.also is not None else (),
    )
    # Without an order the process ends by itself: so the status is true, whenever this process is killed.
    with os.fdopen(order_pipe, "wb") as pipe:
        try:
            files.write(status)
            pipe.write(msgspec.msgpack.encode(order))
            pipe.flush()
        except BrokenPipeError:
            pass  # it has ended: its log says why
        except BaseException:
            os.close(answer_pipe)
            raise

    def follow() -> None:
        with os.fdopen(answer_pipe, "rb") as answer:
            taken = answer.readline() == child.TAKEN
        code = process.wait()
        if not taken:
            with suppress(LocalError, NotFound):
                _note_failure(files, status.id, code)
        told()

    threading.Thread(target=follow, name="restore", daemon=True).start()


def _note_failure(files: RestoreFiles, one: str, code: int) -> None:
    """Note that a process ended before it began."""
    words = _last_words(files.log(one)) or f"exit code {code}"
    with files.locked(one):
        status = files.read(one)  # unless it was dropped
        status.state = "failed"
        status.failure = Failure("LocalError", f"the restore's process ended: {words}", f"see {files.log(one)}")
        files.write(status)


def _last_words(log: Path) -> str:
    with suppress(OSError):
        lines = log.read_bytes()[-4096:].decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""


def stop(status: Status) -> bool:
    """Ask the process of a restore to end in order. False if it runs no more."""
    if status.state not in ACTIVE or not is_alive(status):
        return False
    with suppress(ProcessLookupError, PermissionError):
        os.kill(status.pid, signal.SIGTERM)
    return True
