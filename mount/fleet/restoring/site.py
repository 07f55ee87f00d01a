"""The folder in a target where all who restore into it meet: token, order, who is at work, linked files, results.

It is in the target, since that is what all of them share, and it is private (0700). Its name can't be foreseen.
Whoever finds the token there sees the target that the command means, and may write to it: once the token is another
one or gone, the restore has ended, or was begun again, and one who is late writes nothing more.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, cast

from catalog.errors import LocalError
from mount.fleet.restoring.spans import Span
from mount.restore.disk.base import Disk
from mount.restore.disk.flags import CLOEXEC, NOFOLLOW
from mount.restore.disk.whole_file import NEW, write_all
from mount.restore.target import FOLDER, Target, open_folder, reason

_STOPPED = b"0"  # in place of the token, in the name of an attempt
_TOKEN, _ORDER, _LOCK = b"token", b"order", b"lock"
ATTEMPTS, RESULTS = b"attempts", b"results"
LINKED = tuple(b"linked-%02x" % n for n in range(256))  # folders of linked files, by the last byte of their number
_MOST = 64 << 20  # bytes of a file here
_READ = os.O_RDONLY | NOFOLLOW | CLOEXEC
_LOOK_EVERY = 0.5  # seconds between two looks at the token
LATE = 2 * _LOOK_EVERY  # seconds after which nobody writes any more who has lost the token
_ADVICE = "mount the same folder at this path there, writable for the same user, or restore without that worker"
_AGAIN = "run the command again: it continues"


class Attempt(NamedTuple):
    """Somebody's work on a part of a source, in the run with this token.

    The names of its temporary files come from its `id` (16 bytes).
    """

    source: int
    span: Span
    token: bytes
    id: bytes

    @property
    def name(self) -> bytes:
        return b"%d-%d-%d-%s-%s" % (self.source, *self.span, self.token, self.id.hex().encode())

    @classmethod
    def of(cls, name: bytes) -> Attempt | None:
        try:
            source, first, end, token, text = name.split(b"-")
            return cls(int(source), Span(int(first), int(end)), token, bytes.fromhex(text.decode()))
        except ValueError:
            return None


class Site:
    """An open site. `close` it. Methods raise LocalError if it is gone or can't be used."""

    def __init__(self, disk: Disk, fd: int, token: bytes) -> None:
        self._disk, self._fd, self.token = disk, fd, token
        self._looked = float("-inf")
        self._lock = threading.Lock()
        self._held: int | None = None

    # --- for the one that begins and ends ---------------------------------------------------------------------

    @classmethod
    def begin(cls, target: Target, name: bytes, disk: Disk) -> Site:
        """Make the site, or take over what an earlier run left. Raises LocalError, also if that still runs."""
        try:
            with target.handle(target.root) as top:
                with suppress(FileExistsError):
                    disk.mkdir(name, 0o700, dir_fd=top)
                site = cls(disk, _open_private(target, name, top), os.urandom(16).hex().encode())
        except OSError as e:
            raise LocalError(f"cannot restore into {os.fsdecode(target.top)}: {reason(e)}", _ADVICE) from e
        try:
            site._begin()
        except BaseException:
            site.close()
            raise
        return site

    def _begin(self) -> None:
        disk = self._disk
        try:
            self._held = disk.open(_LOCK, os.O_RDWR | os.O_CREAT | NOFOLLOW | CLOEXEC, 0o600, dir_fd=self._fd)
            disk.lock(self._held)
        except OSError as e:
            raise LocalError("the same restore runs already", "wait for it, or stop it") from e
        with _told("the folder for the restore's own files could not be made"):
            for folder in (ATTEMPTS, RESULTS):
                with suppress(FileExistsError):
                    disk.mkdir(folder, 0o700, dir_fd=self._fd)
            for name in self._names(RESULTS):
                self._unlink(RESULTS, name)
            self._put(_TOKEN, self.token)
        if self.attempts():
            time.sleep(LATE)  # who worked for an earlier run, and still does, has seen the new token

    def has_links(self) -> bool:
        """Whether the file system has hard links."""
        disk = self._disk
        with _told("the folder for the restore's own files could not be made"):
            try:
                disk.link(_TOKEN, b"link", src_dir_fd=self._fd, dst_dir_fd=self._fd)
                disk.unlink(b"link", dir_fd=self._fd)
            except FileExistsError:
                pass
            except OSError:
                return False
        return True

    def give_order(self, order: bytes) -> None:
        """Say what is restored, before anybody is asked to do a part."""
        with _told("the folder for the restore's own files could not be made"):
            self._put(_ORDER, order)

    def end(self) -> None:
        """Let nobody write any more; returns once that is so."""
        with suppress(OSError):
            self._disk.unlink(_TOKEN, dir_fd=self._fd)
        if self.attempts():
            time.sleep(LATE)

    def remove(self, target: Target, name: bytes) -> None:
        """Remove the site, and what is in it."""
        for folder in (ATTEMPTS, RESULTS, *LINKED):
            for one in self._names(folder):
                self._unlink(folder, one)
            with suppress(OSError):
                self._disk.rmdir(folder, dir_fd=self._fd)
        for one in self._names(b"."):
            with suppress(OSError):
                self._disk.unlink(one, dir_fd=self._fd)
        with suppress(OSError), target.handle(target.root) as top:
            self._disk.rmdir(name, dir_fd=top)

    # --- for all ------------------------------------------------------------------------------------------------

    @classmethod
    def find(cls, target: Target, name: bytes, token: bytes, disk: Disk) -> Site:
        """The site of a restore that runs. Raises LocalError if this machine does not see it."""
        where = os.fsdecode(target.top)
        try:
            if not target.root.exists:
                raise FileNotFoundError(2, "there is no such folder")
            with target.handle(target.root) as top:
                site = cls(disk, _open_private(target, name, top), token)
        except OSError as e:
            raise LocalError(
                f"the folder {where} is not the one to restore into: {e.strerror or e}", _ADVICE
            ) from e
        try:
            site.check()
        except LocalError:
            site.close()
            raise
        return site

    def check(self) -> None:
        """Raise LocalError once the token is not the one that this work is for. Cheap: it looks twice a second."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        if self._get(_TOKEN) != self.token:
            raise LocalError("the restore has ended, or was begun again, without this worker", _AGAIN)
        self._looked = now

    def try_writing(self) -> None:
        """Raise LocalError if nothing can be written here."""
        name = ATTEMPTS + b"/." + os.urandom(8).hex().encode()
        with _told("nothing can be written there"):
            fd = self._disk.open(name, NEW, 0o600, dir_fd=self._fd)
            try:
                write_all(self._disk, fd, bytes(4096), 0)
            finally:
                self._disk.close(fd)
                self._disk.unlink(name, dir_fd=self._fd)

    def has_unnamed(self) -> bool:
        """Whether a file can get its name once it is complete, on this machine and file system."""
        disk, name = self._disk, ATTEMPTS + b"/." + os.urandom(8).hex().encode()
        try:
            fd = disk.open_unnamed(self._fd, 0o600)
            try:
                disk.give_name(fd, self._fd, name)
            finally:
                disk.close(fd)
            disk.unlink(name, dir_fd=self._fd)
        except OSError:
            return False
        return True

    def order(self) -> bytes:
        data = self._get(_ORDER)
        if data is None:
            raise LocalError("the restore has ended, or was begun again, without this worker", _AGAIN)
        return data

    def attempts(self) -> list[Attempt]:
        """Who is at work, or was and has not finished."""
        found = map(Attempt.of, self._names(ATTEMPTS))
        return [attempt for attempt in found if attempt is not None]

    def enter(self, attempt: Attempt) -> None:
        """Note an attempt, before it writes anything."""
        with _told("nothing can be written there"):
            self._disk.close(self._disk.open(ATTEMPTS + b"/" + attempt.name, NEW, 0o600, dir_fd=self._fd))

    def leave(self, attempt: Attempt) -> None:
        """Note that an attempt has left nothing behind."""
        self._unlink(ATTEMPTS, attempt.name)

    def stop(self, attempt: Attempt) -> None:
        """Note that an attempt has ended early, and writes no more: others may go on with what it has left."""
        stopped = attempt._replace(token=_STOPPED)
        with suppress(OSError):
            self._disk.rename(
                ATTEMPTS + b"/" + attempt.name,
                ATTEMPTS + b"/" + stopped.name,
                src_dir_fd=self._fd,
                dst_dir_fd=self._fd,
            )

    def add_result(self, number: bytes, data: bytes) -> None:
        """Keep what a part came to, unless another attempt was faster."""
        with _told("its result could not be written"):
            own = RESULTS + b"/." + os.urandom(8).hex().encode()
            self._put(own, data, move=False)
            folder = open_folder(self._disk, RESULTS, self._fd)
            try:
                self._disk.rename_new(folder, own[len(RESULTS) + 1 :], number)
            except FileExistsError:
                self._disk.unlink(own, dir_fd=self._fd)
            finally:
                self._disk.close(folder)

    def result(self, number: bytes) -> bytes:
        """What a part came to."""
        data = self._get(RESULTS + b"/" + number)
        if data is None:
            raise LocalError("the result of a part is not there", "does every worker see the same folder?")
        return data

    def drop_result(self, number: bytes) -> None:
        self._unlink(RESULTS, number)

    def close(self) -> None:
        with self._lock:
            for fd in (self._fd, self._held):
                if fd is not None and fd >= 0:
                    self._disk.close(fd)
            self._fd, self._held = -1, None

    # --- files ----------------------------------------------------------------------------------------------------

    def _put(self, name: bytes, data: bytes, *, move: bool = True) -> None:
        """Write a file; with `move` in one step, over one that is there. Raises OSError."""
        disk, at = self._disk, name + b".new" if move else name
        with suppress(FileNotFoundError):
            disk.unlink(at, dir_fd=self._fd)
        fd = disk.open(at, NEW, 0o600, dir_fd=self._fd)
        try:
            write_all(disk, fd, data, 0)
            disk.fsync(fd)
        finally:
            disk.close(fd)
        if move:
            disk.rename(at, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def _get(self, name: bytes) -> bytes | None:
        """A file's contents; None if it is not there. Opening it makes NFS ask the server."""
        with _told("the folder of the restore can't be read"):
            try:
                fd = self._disk.open(name, _READ, dir_fd=self._fd)
            except FileNotFoundError:
                return None
            try:
                return self._disk.pread(fd, min(self._disk.fstat(fd).st_size, _MOST), 0)
            finally:
                self._disk.close(fd)

    def _names(self, folder: bytes) -> list[bytes]:
        with suppress(OSError):
            fd = open_folder(self._disk, folder, self._fd)
            try:
                return self._disk.names(fd)
            finally:
                self._disk.close(fd)
        return []

    def _unlink(self, folder: bytes, name: bytes) -> None:
        with suppress(OSError):
            self._disk.unlink(folder + b"/" + name, dir_fd=self._fd)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Raise a LocalError that says what could not be done, in place of an OSError."""
    try:
        yield
    except OSError as e:
        raise LocalError(f"{what}: {e.strerror or e}", _ADVICE) from e


def _open_private(target: Target, name: bytes, top: int) -> int:
    """The site's folder, which only this user may use. Raises OSError."""
    disk = target.disk
    fd = disk.open(name, FOLDER, dir_fd=top)
    try:
        st = disk.fstat(fd)
        if not target.is_new(st, not stat.S_IMODE(st.st_mode) & 0o077, fd):
            raise PermissionError(1, "the restore's own folder there belongs to somebody else")
        return fd
    except BaseException:
        disk.close(fd)
        raise


_CHANGING = (
    "rename", "rename_new", "give_name", "link", "mkdir", "makedirs", "mknod", "symlink", "open_unnamed", "pwrite",
    "ftruncate", "set_time", "let_owner_in",
)  # fmt: skip


class _Fenced:
    """A disk on which nothing gets a name, and nothing is written, once `check` raises an error.

    Removing is let through: what a worker removes are temporary files of its own, if they are still there. None is
    made any more, as that and its removal would change the time of a finished folder.
    """

    def __init__(self, disk: Disk, check: Callable[[], None]) -> None:
        self._disk = disk
        for name in _CHANGING:
            setattr(self, name, _checked(getattr(disk, name), check))
        self._make = _checked(disk.open, check)

    def open(self, name: bytes, flags: int, *args: Any, **options: Any) -> Any:
        open_it = self._make if flags & os.O_CREAT else self._disk.open
        return open_it(name, flags, *args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)


def _checked(call: Callable[..., Any], check: Callable[[], None]) -> Callable[..., Any]:
    def checked(*args: Any, **options: Any) -> Any:
        check()
        return call(*args, **options)

    return checked


def fenced(disk: Disk, check: Callable[[], None]) -> Disk:
    """The disk, which asks `check` before it names or writes anything."""
    return cast(Disk, _Fenced(disk, check))


def meeting(attempts: list[Attempt], source: int, span: Span) -> Iterator[Attempt]:
    """The attempts at parts that have entries in common with a span."""
    return (a for a in attempts if a.source == source and a.span.meets(*span))
