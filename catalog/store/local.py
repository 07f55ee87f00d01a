"""A store in a folder, on a disk of this machine or a mounted one."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from catalog.errors import (
    AccessDenied,
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    ShortRead,
    StoreError,
    StoreFull,
    StoreUnreachable,
)
from catalog.store.base import REPLACEABLE, Buffer, ObjectInfo, Part, Range, Store
from catalog.store.bounded import check_size
from catalog.store.deadline import Deadline, check
from catalog.store.descriptors import Descriptors
from catalog.store.durable import Copy, make_folders, place_new, sweep, write_temporary
from catalog.store.name import RESERVED, checked_name, is_name
from catalog.systems.this import SYSTEM

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_LARGE = 2**20  # bytes
# The disk was removed or the file server is down: the data may be intact.
_AWAY = {
    errno.EIO,
    errno.ENODEV,
    errno.ENXIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENOTCONN,
    errno.ECONNABORTED,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    getattr(errno, "EREMOTEIO", errno.EIO),  # Linux only
    errno.EAGAIN,
}
# Not objects. lost+found is at the root of a disk; it belongs to root, and others can't list it.
_NOT_OURS = {RESERVED, "lost+found"}


class LocalStore(Store):
    """One file per object, below the folder `root`.

    A folder that is missing from the start is an empty store, and the first create makes it. If it disappears
    later, e.g. because its disk was removed, every request raises StoreUnreachable: it is neither mistaken for
    an empty vault nor created again on the disk below.
    """

    def __init__(self, root: str | os.PathLike[str], url: str = "") -> None:
        self.root = Path(os.path.abspath(root))
        self.url = url or self.root.as_uri()
        self._top = str(self.root)
        self._own = self.root / RESERVED
        self._descriptors = Descriptors()
        self._lock = threading.Lock()
        self._identity = self._root_identity()
        self._swept = False

    def create(self, name: str, parts: Sequence[Buffer], *, until: Deadline | None = None) -> int:
        return self._create(name, parts, until)

    def compose(self, name: str, parts: Sequence[Part]) -> int:
        def copied(part: Range) -> Callable[[int], int]:
            return lambda target: self._copy(part, target)

        return self._create(name, [copied(part) if isinstance(part, Range) else part for part in parts], None)

    def _create(self, name: str, parts: Sequence[Buffer | Copy], until: Deadline | None) -> int:
        target = Path(self._path(name))
        with self._translated(name):
            self._require_root()
            if os.path.lexists(target):
                raise ObjectExists(f"{name} exists already")
            make_folders(target.parent)
            temporary = self._temporary(parts)
            try:
                check(until, name)
                place_new(temporary, target)
            except FileExistsError as error:
                raise ObjectExists(f"{name} exists already") from error
            except FileNotFoundError as error:
                raise StoreUnreachable(f"{self.root}: {error.strerror} while {name} was written") from error
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
            modified = SYSTEM.named_at(target, os.stat(target))
        with self._lock:
            self._identity = self._identity or self._root_identity()
        return modified

    def _copy(self, part: Range, target: int) -> int:
        path = self._path(part.name)
        with self._translated(part.name), self._descriptors.borrow(path) as source:
            copied = SYSTEM.copy_range(source, part.offset, part.length, target)
        if copied < part.length:
            raise ShortRead(f"{part.name}: {copied} of {part.length} bytes arrived from offset {part.offset}")
        return copied

    def now(self) -> int:
        self._require_root()
        with self._translated(RESERVED):
            temporary = self._temporary([])
            try:
                return SYSTEM.named_at(temporary, os.stat(temporary))
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def replace(self, name: str, data: Buffer, tag: str) -> None:
        target = Path(self._path(name))
        with self._translated(name), self._alone():
            if self.get_tagged(name, REPLACEABLE)[1] != tag:
                raise ObjectChanged(f"{name} was changed meanwhile")
            temporary = self._temporary([data])
            try:
                temporary.replace(target)
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
            SYSTEM.sync_folder(target.parent)

    def get(self, name: str, most: int) -> bytes:
        path = self._path(name)
        with self._translated(name):
            descriptor = os.open(path, SYSTEM.read_flags)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise FileNotFoundError(errno.ENOENT, "not a file", path)
                check_size(name, status.st_size, most)
                data = _read(descriptor, 0, status.st_size)
            finally:
                os.close(descriptor)
        if len(data) < status.st_size:
            raise ShortRead(f"{name}: {len(data)} of {status.st_size} bytes arrived")
        return data

    def get_tagged(self, name: str, most: int) -> tuple[bytes, str]:
        data = self.get(name, most)
        return data, hashlib.sha256(data).hexdigest()

    def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        path = self._path(name)
        with self._translated(name), self._descriptors.borrow(path) as descriptor:
            wanted = length
            if length > _LARGE:  # memory is taken before the system reads: no more than the file can fill
                wanted = max(0, min(length, os.fstat(descriptor).st_size - offset))
            data = _read(descriptor, offset, wanted)
            if len(data) < length:
                size = os.fstat(descriptor).st_size
                if offset + len(data) < size or not up_to:
                    raise ShortRead(
                        f"{name}: {len(data)} of {length} bytes arrived from offset {offset}; the object has {size}"
                    )
        return data

    def size(self, name: str) -> int:
        path = self._path(name)
        with self._translated(name):
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError(errno.ENOENT, "not a file", path)
            return status.st_size

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder, slash, start = prefix.rpartition("/")
        if folder:
            checked_name(folder)
        self._require_root()
        yield from self._listed(folder + slash, start)

    def folders(self, prefix: str) -> Iterator[str]:
        if prefix:
            checked_name(prefix.removesuffix("/"))
        self._require_root()
        found: list[str] = []
        with suppress(ObjectNotFound), self._translated(prefix), self._scan(prefix) as entries:
            found = [entry.name for entry in entries if entry.is_dir() and is_name(prefix + entry.name)]
        yield from sorted(set(found) - ({*_NOT_OURS} if not prefix else set()), key=lambda name: name + "/")

    def delete(self, name: str) -> None:
        path = self._path(name)
        try:
            with self._translated(name):
                os.unlink(path)
        except ObjectNotFound:
            return
        self._descriptors.drop(path)
        with self._translated(name), suppress(FileNotFoundError):
            SYSTEM.sync_folder(Path(path).parent)

    def close(self) -> None:
        self._descriptors.close()

    def _path(self, name: str) -> str:
        return f"{self._top}/{checked_name(name)}"

    def _listed(self, folder: str, start: str) -> Iterator[ObjectInfo]:
        """All objects in and below `folder` ("" or ending with a slash) whose path in it begins with `start`."""
        found: list[os.DirEntry[str]] = []
        # What disappears meanwhile is left out, unless the whole vault has: _translated raises StoreUnreachable.
        with suppress(ObjectNotFound), self._translated(folder), self._scan(folder) as entries:
            found = [entry for entry in entries if entry.name.startswith(start)]
        # With the slash, `a-b` sorts before `a/b`, as in the order of full names.
        rows = [(entry.name + "/" * entry.is_dir(), entry) for entry in found]
        for name, entry in sorted(rows, key=lambda row: row[0]):
            if not folder and entry.name in _NOT_OURS:
                continue
            if name.endswith("/"):
                yield from self._listed(folder + name, "")
            elif is_name(folder + name):
                try:
                    with self._translated(folder + name):
                        status = entry.stat()
                except ObjectNotFound:
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield ObjectInfo(folder + name, status.st_size, SYSTEM.named_at(entry.path, status))

    def _scan(self, folder: str) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        return os.scandir(f"{self._top}/{folder}")

    def _temporary(self, parts: Sequence[Buffer | Copy]) -> Path:
        make_folders(self._own)
        if not self._swept:
            self._swept = True
            sweep(self._own)
        return write_temporary(self._own, parts)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Exclude other calls of replace, in this process and others."""
        self._require_root()
        make_folders(self._own)
        descriptor = os.open(self._own / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            SYSTEM.lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            self._require_root()
            raise ObjectNotFound(f"no object {name} in {self.root}") from error
        except OSError as error:
            what = f"{self.root}/{name}: {error.strerror or error}"
            if error.errno in _FULL:
                raise StoreFull(what) from error
            if error.errno in _DENIED:
                raise AccessDenied(what, "check the permissions of the vault's folder") from error
            if error.errno in _AWAY:
                raise StoreUnreachable(
                    what, "check that the disk or file server of the vault is available"
                ) from error
            raise StoreError(what) from error

    def _require_root(self) -> None:
        """Raise StoreUnreachable if the folder has disappeared, or is now the bare folder below a mount."""
        with self._lock:  # around stat, too: a folder that another thread makes must not seem to have changed
            identity = self._root_identity()
            if identity == self._identity or self._identity is None:
                self._identity = identity
                return
            if identity is not None and self._own.is_dir():
                self._identity = identity  # the vault was mounted again, as another device
                return
        raise StoreUnreachable(
            f"the vault's folder {self.root} has disappeared",
            "check that the disk that holds the vault is connected and mounted",
        )

    def _root_identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.root)
        except OSError:
            return None
        return status.st_dev, status.st_ino


_pread = SYSTEM.pread


def _read(descriptor: int, offset: int, length: int) -> bytes:
    """Read `length` bytes from `offset`, fewer only at the end of the file."""
    data = _pread(descriptor, length, offset)
    if not data or len(data) == length:
        return data
    parts = [data]
    got = len(data)
    while got < length and (data := _pread(descriptor, length - got, offset + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)
