"""The drive of a restore test: one recovery point in a temporary folder, read through the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from catalog.access.session import Session
from catalog.errors import Damaged, LocalError, MountFailed
from catalog.format.records import Point
from catalog.program import child_environment
from mount.closing import close
from mount.opening import Request, open_in_background
from mount.restoretest.compare import Read

POINT_FOLDER = "RPDRIVE_POINT"  # the variable with the drive's path that a command gets
_IDLE = "1h"  # a drive that is left behind by a killed test closes itself after that


@contextmanager
def open_drive(session: Session, point: Point, driver: str) -> Iterator[Path]:
    """A point's drive, while entered. Raises MountFailed, LocalError and StoreError."""
    folder = _folder()
    try:
        request = Request(
            folder, point.id.hex(), point.machine.hex(), point.item.hex(), False, driver, None, 60.0, _IDLE, None,
            False, limit="off",  # a drive that has to wait for the end of a pause would fail, and so would the test
        )  # fmt: skip
        opened = open_in_background(session, request)
        try:
            yield opened.place
        finally:
            try:
                close(session, opened.place, lazy=False)
            except MountFailed:
                close(session, opened.place, lazy=True)  # a command has left something running in it
    finally:
        with suppress(OSError):
            folder.rmdir()


def _folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="rpdrive-test-"))
    except OSError as e:
        raise LocalError(f"no folder can be made for the drive: {e.strerror}", "set TMPDIR to another one") from e


@contextmanager
def open_file(place: Path, path: bytes) -> Iterator[Read]:
    """A file on the drive. What the kernel says is an error of the drive: Damaged."""
    try:
        file = (place / os.fsdecode(path)).open("rb", buffering=0)
    except OSError as e:
        raise Damaged(f"the drive can't open it: {e.strerror}") from e

    def read(offset: int, length: int) -> bytes:
        parts = list[bytes]()
        try:
            file.seek(offset)
            while length and (data := file.read(length)):
                parts.append(data)
                length -= len(data)
        except OSError as e:
            raise Damaged(f"the drive can't read it from byte {offset:,}: {e.strerror}") from e
        return b"".join(parts)

    with file:
        yield read


def run_command(command: str, place: Path) -> int:
    """Run a shell command in the drive's folder, and return its exit code. Its output goes to stderr.

    It gets no secret of rpdrive's environment. Raises LocalError if there is no shell.
    """
    environment = child_environment() | {POINT_FOLDER: str(place)}
    try:
        done = subprocess.run(command, shell=True, cwd=place, env=environment, stdout=sys.stderr, check=False)
    except OSError as e:
        raise LocalError(f"the command can't be run: {e.strerror}") from e
    return done.returncode
