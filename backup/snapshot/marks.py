"""Which snapshots a job makes, in a file of the state folder: the next start removes what a killed job left behind.

A file has a line for each step, as JSON: who makes snapshots, then the name of each before it is made, and again
when it is gone. Its process holds a lock on it. A snapshot is ours, and may be removed, only if it carries a job's
mark and that job's file names it; a name that looks like ours is not enough.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from backup.snapshot.base import Found, Provider, tag_in
from catalog.access.settings import private_folder
from catalog.errors import LocalError, SnapshotFailed
from catalog.systems.this import SYSTEM

FOLDER = "snapshots"  # in the state folder


class Maker(msgspec.Struct):
    """The job that makes snapshots. `process` is when it started, in the system's own form; `time` in ns, UTC."""

    tag: str
    pid: int
    process: str
    boot: str
    time: int
    job: str = ""


class Noted(msgspec.Struct, frozen=True):
    """The name of a snapshot that was made, or was about to be."""

    provider: str
    name: str


class JobMark:
    """The Mark of a job. Its file is made with the first note, so that a job without snapshots writes none."""

    def __init__(self, state: Path, job: str = "") -> None:
        self._tag = f"rpdrive-{secrets.token_hex(16)}"
        self._state, self._job = state, job
        self._file = -1
        self._noted: set[Noted] = set()

    @property
    def tag(self) -> str:
        return self._tag

    def note(self, provider: str, *names: str) -> None:
        rows = [{"note": [provider, name]} for name in names]
        try:
            if self._file < 0:
                self._create()
            self._write(rows)
            os.fsync(self._file)
        except OSError as e:
            raise LocalError(
                f"the file of the snapshots in {self._state / FOLDER} can't be written: {e.strerror}",
                "check the permissions of the folder and the free space there",
            ) from e
        self._noted |= {Noted(provider, name) for name in names}

    def forget(self, provider: str, name: str) -> None:
        noted = Noted(provider, name)
        if noted in self._noted:
            self._noted.remove(noted)
            with suppress(OSError):  # then the next start finds that it is gone
                self._write([{"forget": [provider, name]}])

    def close(self) -> None:
        """End the job: without snapshots left, the file goes; else the next start removes them, and it."""
        if self._file >= 0:
            with suppress(OSError):
                if not self._noted:
                    self._path.unlink()
            os.close(self._file)
            self._file = -1
            if not self._noted:
                _remove_again(self._path)

    @property
    def _path(self) -> Path:
        return self._state / FOLDER / f"{self._tag}.json"

    def _create(self) -> None:
        folder = private_folder(self._state / FOLDER)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        file = os.open(self._path, flags, 0o600)
        try:
            with suppress(OSError):  # where there are no locks, the process tells
                SYSTEM.lock(file)
            self._file = file
            me = os.getpid()
            maker = Maker(self._tag, me, SYSTEM.process_start(me), SYSTEM.boot_id(), time.time_ns(), self._job)
            self._write([msgspec.to_builtins(maker)])
            os.fsync(file)
            if os.fstat(file).st_nlink == 0:  # another start took it for that of a killed job, before the lock
                raise FileNotFoundError(0, "it was removed", str(self._path))
            with SYSTEM.below(str(folder), "") as below:
                SYSTEM.sync_folder(below)
        except BaseException:
            self._file = -1
            os.close(file)
            raise

    def _write(self, rows: Sequence[object]) -> None:
        data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        while data:  # a disk that is nearly full takes a part, and says that it has no room at the next call
            data = data[os.write(self._file, data) :]


# --- what earlier jobs left -------------------------------------------------------------------------------------


class Marked(msgspec.Struct):
    """The file of a job. `is_running` says whether its process is still there."""

    path: Path
    maker: Maker | None
    noted: list[Noted]
    is_running: bool


def has_left(state: Path) -> bool:
    """Whether there is a file of some job."""
    return bool(_files(state))


def marked(state: Path) -> list[Marked]:
    """The files of all jobs."""
    found = []
    for path in _files(state):
        with suppress(OSError), _taken(path) as (is_free, data):
            maker, noted = _parsed(data)
            found.append(Marked(path, maker, noted, not is_free or _is_there(maker)))
    return found


def clean(state: Path, providers: Sequence[Provider]) -> list[str]:
    """Remove the snapshots of jobs whose process is gone. Returns what could not be removed, a line each.

    What a file names and can't be looked for, as its disk is not there, stays named for another time.
    """
    said: list[str] = []
    look = _Look(providers)
    for path in _files(state):
        is_done = False
        with suppress(OSError), _taken(path) as (is_free, data):
            maker, noted = _parsed(data)
            if not is_free or _is_there(maker):
                continue
            tag = tag_in(path.name)
            is_done = not [one for one in noted if not _removed(look, one, tag, said)]
            if is_done:
                path.unlink()
        if is_done:
            _remove_again(path)
    return said


def _remove_again(path: Path) -> None:
    """Remove a file of a mark once it is closed: Windows removes no file that is open."""
    with suppress(OSError):
        path.unlink()


class _Look:
    """What providers find, each asked once."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.providers = {provider.name: provider for provider in providers}
        self._found: dict[str, list[Found]] = {}

    def found(self, provider: Provider) -> list[Found]:
        if provider.name not in self._found:
            self._found[provider.name] = provider.found()
        return self._found[provider.name]


def _removed(look: _Look, noted: Noted, tag: str, said: list[str]) -> bool:
    """Remove one snapshot, if it is there. Returns whether it is gone."""
    provider = look.providers.get(noted.provider)
    if provider is None:
        return False
    try:
        found = [f for f in look.found(provider) if f.name == noted.name and f.tag == tag]
        for one in found:
            provider.remove(one)
        return bool(found) or provider.reaches(noted.name)
    except SnapshotFailed as e:
        said.append(str(e))
        return False


def is_ours(found: Found, files: Sequence[Marked]) -> Marked | None:
    """The file that names a snapshot with its mark; None if there is none, and it must be left alone."""
    wanted = Noted(found.provider, found.name)
    return next((m for m in files if tag_in(m.path.name) == found.tag and wanted in m.noted), None)


def _files(state: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(state / FOLDER))
    except OSError:
        return []
    return [state / FOLDER / name for name in names if name == f"{tag_in(name)}.json"]


@contextmanager
def _taken(path: Path) -> Iterator[tuple[bool, bytes]]:
    """A file with its lock, if no process holds it: whether that is so, and the contents. Raises OSError."""
    file = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        try:
            is_free = SYSTEM.try_lock(file)
        except OSError:
            is_free = True  # there are no locks
        parts = []
        while part := os.read(file, 1 << 16):
            parts.append(part)
        yield is_free, b"".join(parts)
    finally:
        os.close(file)


def _is_there(maker: Maker | None) -> bool:
    """Whether the process that made a file still runs."""
    if maker is None or maker.boot != SYSTEM.boot_id():
        return False
    return bool(maker.process) and SYSTEM.process_start(maker.pid) == maker.process


def _parsed(data: bytes) -> tuple[Maker | None, list[Noted]]:
    """The maker, and what is noted and not forgotten. A line that was cut off by a kill was never relied on."""
    maker: Maker | None = None
    noted: dict[Noted, None] = {}
    for n, line in enumerate(data.split(b"\n")):
        try:
            if n == 0:
                maker = msgspec.json.decode(line, type=Maker)
                continue
            for what, (provider, name) in msgspec.json.decode(line, type=dict[str, tuple[str, str]]).items():
                if what == "note":
                    noted[Noted(provider, name)] = None
                elif what == "forget":
                    noted.pop(Noted(provider, name), None)
        except msgspec.MsgspecError:
            continue
    return maker, list(noted)
