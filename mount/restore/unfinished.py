"""This machine's records of restores that run, or have ended early and left temporary files behind.

A restore keeps its record locked while it runs, and removes it when it has done its work. So a record that isn't
locked belongs to a restore that ended early; the same command continues its files, or removes them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from catalog.access.settings import private_folder
from catalog.errors import LocalError
from mount.restore.disk.base import Disk
from mount.restore.disk.flags import CLOEXEC, NOFOLLOW
from mount.restore.disk.whole_file import NEW, write_all

_KEPT = 100  # records of restores that ended early
_MOST = 1 << 20  # bytes of a record


class _Record(msgspec.Struct):
    """What a restore does: two with equal fields write the same files. `target` is resolved; all are text."""

    vault: str
    target: str
    what: list[str]


class UnfinishedJob:
    """The record of one restore that runs. `id`: 16 bytes. `earlier`: ids of the same restore that ended early.

    A state folder that can't be written costs only this: what a restore leaves behind is not continued.
    """

    def __init__(self, disk: Disk, state: Path | None, vault: bytes, target: bytes, what: list[str]) -> None:
        self.id = os.urandom(16)
        self.earlier: list[bytes] = []
        self._disk = disk
        self._folder: Path | None = None
        self._fd: int | None = None
        where = _text(os.path.realpath(target))
        record = _Record(vault.hex(), where, [_text(os.fsencode(text)) for text in what])
        if state is None:
            return
        with suppress(LocalError, OSError):
            self._folder = private_folder(state / "restores")
            self.earlier = self._find(record)
            self._fd = disk.open(self._path(self.id), NEW, 0o600)
            disk.lock(self._fd)
            write_all(disk, self._fd, msgspec.json.encode(record), 0)

    def close(self, *, complete: bool) -> None:
        """End the job. `complete`: it left nothing behind, and so did the earlier ones."""
        if self._fd is not None:
            self._disk.close(self._fd)
            self._fd = None
        if complete:
            for job in (self.id, *self.earlier):
                self._remove(job)

    def _path(self, job: bytes) -> bytes:
        assert self._folder is not None
        return os.fsencode(self._folder / job.hex())

    def _remove(self, job: bytes) -> None:
        if self._folder is not None:
            with suppress(OSError):
                self._disk.unlink(self._path(job))

    def _find(self, wanted: _Record) -> list[bytes]:
        """The jobs of equal records that are not locked. Old records that nobody continued are removed."""
        assert self._folder is not None
        ended: list[tuple[float, bytes, _Record | None]] = []
        for path in self._folder.iterdir():
            try:
                job = bytes.fromhex(path.name)
                ended.append((path.stat().st_mtime, job, self._read(job)))
            except (OSError, ValueError):
                continue  # it runs, or is no record
        ended.sort(key=lambda row: row[0], reverse=True)
        for n, (_time, job, record) in enumerate(ended):
            if n >= _KEPT or record is None:
                self._remove(job)
        return [job for _time, job, record in ended[:_KEPT] if record == wanted]

    def _read(self, job: bytes) -> _Record | None:
        """The record of a job; None if it is garbled. Raises OSError if the job still runs."""
        fd = self._disk.open(self._path(job), os.O_RDWR | NOFOLLOW | CLOEXEC)
        try:
            self._disk.lock(fd)
            return msgspec.json.decode(self._disk.pread(fd, _MOST, 0), type=_Record)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return None
        finally:
            self._disk.close(fd)


def _text(path: bytes) -> str:
    return path.decode(errors="backslashreplace")
