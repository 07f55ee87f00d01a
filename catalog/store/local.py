"""A store in a folder, on a disk of this machine or a mounted one."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias, TypeVar

from catalog.errors import (
    AccessDenied,
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    ShortRead,
    StoreError,
    StoreFull,
    StoreUnreachable,
    Unreadable,
)
from catalog.store.base import REPLACEABLE, Buffer, ObjectInfo, Part, Range, Store
from catalog.store.bounded import check_size
from catalog.store.deadline import Deadline, check
from catalog.store.descriptors import Descriptors
from catalog.store.durable import PRIVATE, Copy, make_folders, place_new, remove, sweep, write_temporary
from catalog.store.flow import Flow, flow_here, received_in
from catalog.store.name import RESERVED, checked_name, is_name
from catalog.store.pouring import poured
from catalog.systems.base import Folder
from catalog.systems.this import SYSTEM

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_LARGE = 2**20  # bytes
_ATTEMPTS = 3
_BALLAST, _ROOM = "ballast", 16 << 20  # a file of so many bytes in the folder of the store's own
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
# A bad sector, or what the file system notes doesn't fit its checksum. A disk that was removed says so, too.
_BAD = {errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO)}
_WITNESS = "vault.json"  # each vault has it, and can't be used without it; other folders name another object
# Not objects. lost+found is at the root of a disk; it belongs to root, and others can't list it.
_NOT_OURS = {RESERVED, "lost+found"}

T = TypeVar("T")
Rows: TypeAlias = list[tuple[str, ObjectInfo | None]]


class LocalStore(Store):
    """One file per object, below the folder `root`.

    A folder that is missing from the start is an empty store, and the first create makes it. If it disappears
    later, e.g. because its disk was removed, every request raises StoreUnreachable: it is neither mistaken for
    an empty vault nor created again on the disk below, whenever that happens: each folder that is opened for a list
    or a write is compared with the one that was there before. `witness` is an object that is always there: a folder
    that has it is the vault, mounted again, and while the disk reads it, an object that it can't read is a bad one.
    """

    is_near = True

    def __init__(self, root: str | os.PathLike[str], url: str = "", *, witness: str = _WITNESS) -> None:
        self.root = Path(os.path.abspath(root))
        self.url = url or self.root.as_uri()
        self._top = str(self.root)
        self._descriptors = Descriptors(opener=self._opened)
        self._witness = witness
        self._lock = threading.Lock()
        self._identity = self._root_identity()
        self._swept, self._mark = False, ""

    def create(self, name: str, parts: Sequence[Buffer], *, until: Deadline | None = None) -> int:
        return self._create(name, parts, until)

    def compose(self, name: str, parts: Sequence[Part]) -> int:
        def copied(part: Range) -> Copy:
            return lambda target: self._copy(part, target)

        return self._create(name, [copied(part) if isinstance(part, Range) else part for part in parts], None)

    def take(self, name: str, source: Store, size: int, *, digest: bytes | None = None) -> int:
        """The bytes go from file to file, with the system's own call, if the source is a folder, too."""
        return self._create(name, [lambda file: poured(source, name, size, file, digest)], None)

    def pour(self, name: str, offset: int, length: int, file: int, at: int) -> int:
        checked_name(name)
        with ExitStack() as stack:
            with self._translated(name):
                descriptor = stack.enter_context(self._descriptors.borrow(name))
                length = max(0, min(length, os.fstat(descriptor).st_size - offset))
            os.lseek(file, at, os.SEEK_SET)
            done = 0
            for piece in received_in(length):
                try:
                    copied = SYSTEM.copy_range(descriptor, offset + done, piece, file)
                except OSError as error:
                    if error.errno not in _FULL:  # of the source, or of the file?
                        self._prove(name, offset + done, piece)
                    raise
                done += copied
                if copied < piece:
                    break
            return done

    def _create(self, name: str, parts: Sequence[Buffer | Copy], until: Deadline | None) -> int:
        folder, file = _split(name)
        with self._translated(name):
            self._require_root(make=True)
            try:
                with self._below(folder, make=True) as place:
                    modified = self._placed(place, file, parts, until)
            except FileExistsError as error:
                raise ObjectExists(f"{name} exists already") from error
            except NotADirectoryError as error:
                raise StoreError(f"{self.root}/{name}: a part of this path is not a folder") from error
            except FileNotFoundError as error:
                raise StoreUnreachable(f"{self.root}: {error.strerror} while {name} was written") from error
        return modified

    def _placed(self, place: Folder, file: str, parts: Sequence[Buffer | Copy], until: Deadline | None) -> int:
        if _is_there(place, file):
            raise FileExistsError
        for attempt in range(_ATTEMPTS):
            try:
                with self._temporary(parts) as (own, temporary):
                    check(until, file)
                    place_new(own, temporary, place, file)
                break
            except FileNotFoundError:  # a clone of this machine, of the same host name, has swept it away
                if attempt == _ATTEMPTS - 1:
                    raise
                self._require_root()
        return SYSTEM.named_at(place.path(file), _status(place, file))

    def _copy(self, part: Range, target: int) -> int:
        checked_name(part.name)
        with self._translated(part.name):
            try:
                with self._descriptors.borrow(part.name) as source:
                    copied = SYSTEM.copy_range(source, part.offset, part.length, target)
            except OSError as error:
                if error.errno in _BAD:  # of the source, or of what is written?
                    self._prove(part.name, part.offset, part.length)
                raise
        if copied < part.length:
            raise ShortRead(f"{part.name}: {copied} of {part.length} bytes arrived from offset {part.offset}")
        return copied

    def _prove(self, name: str, offset: int, length: int) -> None:
        """Read a range, for the error that this raises, if it does."""
        end = offset + length
        for start in range(offset, end, _LARGE):
            self.read(name, start, min(_LARGE, end - start), up_to=True)

    def now(self) -> int:
        with self._translated(RESERVED):
            self._require_root(make=True)
            with self._temporary([], durable=False) as (own, temporary):  # its time is wanted, and nothing kept
                return SYSTEM.named_at(own.path(temporary), _status(own, temporary))

    def replace(self, name: str, data: Buffer, tag: str) -> None:
        folder, file = _split(name)
        with self._translated(name), self._alone():
            if self.get_tagged(name, REPLACEABLE)[1] != tag:
                raise ObjectChanged(f"{name} was changed meanwhile")
            with self._below(folder) as place, self._temporary([data]) as (own, temporary):
                os.replace(
                    own.path(temporary), place.path(file), src_dir_fd=own.descriptor, dst_dir_fd=place.descriptor
                )
                SYSTEM.sync_folder(place)

    def get(self, name: str, most: int) -> bytes:
        def fetched() -> tuple[bytes, int]:
            descriptor = self._opened(name)
            try:
                size = os.fstat(descriptor).st_size
                check_size(name, size, most)
                return _read(descriptor, 0, size), size
            finally:
                os.close(descriptor)

        data, size = self._had(name, fetched)
        if len(data) < size:
            raise ShortRead(f"{name}: {len(data)} of {size} bytes arrived")
        return data

    def get_tagged(self, name: str, most: int) -> tuple[bytes, str]:
        data = self.get(name, most)
        return data, hashlib.sha256(data).hexdigest()

    def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        def fetched() -> bytes:
            with self._descriptors.borrow(name) as descriptor:
                SYSTEM.read_soon(descriptor, offset, length)
                return _range(name, descriptor, offset, length, up_to=up_to)

        return self._had(name, fetched)

    def read_parts(self, name: str, offset: int, lengths: Sequence[int]) -> list[bytes]:
        def fetched() -> list[bytes]:
            parts, position = list[bytes](), offset
            with self._descriptors.borrow(name) as descriptor:
                for length in lengths:
                    parts.append(_range(name, descriptor, position, length, up_to=True))
                    position += len(parts[-1])
                    if len(parts[-1]) < length:
                        break
            return [part for part in parts if part]

        return self._had(name, fetched)

    def size(self, name: str) -> int:
        def measured() -> int:
            descriptor = self._opened(name)
            try:
                return os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)

        return self._had(name, measured)

    def _had(self, name: str, ask: Callable[[], T]) -> T:
        """What is asked of one object. Raises Unreadable if the disk can't read it, and reads its witness.

        It is asked twice: the disk may have been away for a moment.
        """
        checked_name(name)
        with self._translated(name):
            try:
                return ask()
            except OSError as error:
                if error.errno not in _BAD or not self._reads():
                    raise
            try:
                return ask()
            except OSError as error:
                if error.errno not in _BAD or not self._reads():
                    raise
                what = f"the disk of {self.root} can't read {name}: {error.strerror or error}"
                raise Unreadable(what, name) from error

    def _reads(self) -> bool:
        """Whether the disk reads its witness, which is not taken from the memory of the system."""
        try:
            descriptor = self._opened(self._witness)
            try:
                SYSTEM.forget_pages(descriptor)
                return bool(_pread(descriptor, 1, 0))
            finally:
                os.close(descriptor)
        except OSError:
            return False

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder, _slash, start = prefix.rpartition("/")
        if folder:
            checked_name(folder)
        self._require_root()
        yield from self._listed(folder, start)

    def folders(self, prefix: str) -> Iterator[str]:
        folder = checked_name(prefix.removesuffix("/")) if prefix else ""
        self._require_root()
        names = [name.removesuffix("/") for name, entry in self._entries(folder, "") if entry is None]
        yield from (name for name in names if is_name(prefix + name))

    def delete(self, name: str) -> None:
        folder, file = _split(name)
        self._descriptors.drop(name)
        with suppress(ObjectNotFound), self._translated(name), self._below(folder) as place:
            os.unlink(place.path(file), dir_fd=place.descriptor)
            SYSTEM.sync_folder(place)

    def close(self) -> None:
        self._descriptors.close()

    def _opened(self, name: str) -> int:
        """A new descriptor of an object's file. Nothing below the vault's folder is reached through a symlink."""
        return SYSTEM.open_below(self._top, name)

    def _listed(self, folder: str, start: str) -> Iterator[ObjectInfo]:
        """All objects in and below `folder` ("" or a path) whose path in it begins with `start`."""
        prefix = f"{folder}/" if folder else ""
        for name, info in self._entries(folder, start):
            if not is_name((prefix + name).removesuffix("/")):
                continue
            if info is None:
                yield from self._listed(prefix + name.removesuffix("/"), "")
            else:
                yield info._replace(name=prefix + name)

    def _entries(self, folder: str, start: str) -> Rows:
        """The folders (None; their names end with a slash) and files directly in `folder`, in order.

        Symlinks are neither: a loop of them would have no end, and others may point anywhere.
        """
        found: Rows = []
        # What disappears meanwhile is left out, unless the whole vault has: _translated raises StoreUnreachable.
        with (
            suppress(ObjectNotFound),
            self._translated(folder),
            self._below(folder, listed=True) as place,
            place.scan() as entries,
        ):
            for entry in entries:
                if not entry.name.startswith(start) or (not folder and entry.name in _NOT_OURS):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    # With the slash, `a-b` sorts before `a/b`, as in the order of full names.
                    found.append((entry.name + "/", None))
                    continue
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        modified = SYSTEM.named_at(place.path(entry.name), status)
                        found.append((entry.name, ObjectInfo(entry.name, status.st_size, modified)))
        return sorted(found, key=lambda row: row[0])

    def sweep(self, mark: str) -> None:
        self._swept, self._mark = False, mark  # the next write removes them: it makes sure that the vault is there

    def keep_room(self) -> None:
        with suppress(StoreError), self._translated(RESERVED):
            self._require_root()
            with self._own_folder() as own:
                if _is_there(own, _BALLAST):
                    return
            # Random: a file system might not store zeros, nor the same bytes twice.
            with self._temporary([os.urandom(_LARGE) for _ in range(_ROOM // _LARGE)]) as (own, name):
                os.replace(own.path(name), own.path(_BALLAST), src_dir_fd=own.descriptor, dst_dir_fd=own.descriptor)

    def make_room(self) -> bool:
        with suppress(StoreError), self._translated(RESERVED), self._own_folder() as own:
            os.unlink(own.path(_BALLAST), dir_fd=own.descriptor)
            SYSTEM.sync_folder(own)
            return True
        return False

    @contextmanager
    def _temporary(self, parts: Sequence[Buffer | Copy], *, durable: bool = True) -> Iterator[tuple[Folder, str]]:
        """A new file with these bytes, in a folder of the vault's own; afterwards it is gone from there."""
        with self._own_folder() as own:
            if not self._swept:
                self._swept = True
                sweep(own, self._mark)
            name = write_temporary(own, parts, self._mark, durable=durable)
            try:
                yield own, name
            finally:
                remove(own, name)

    def _own_folder(self) -> AbstractContextManager[Folder]:
        return self._below(RESERVED, make=True, listed=True)

    def _below(self, folder: str, *, make: bool = False, listed: bool = False) -> AbstractContextManager[Folder]:
        return SYSTEM.below(self._top, folder, make=make, listed=listed, known=self._identity)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Exclude other calls of replace, in this process and others."""
        self._require_root()
        with self._own_folder() as own:
            flags = os.O_RDWR | os.O_CREAT | SYSTEM.no_follow
            descriptor = os.open(own.path("lock"), flags, 0o666, dir_fd=own.descriptor)
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
                raise StoreUnreachable(what, "check that the vault's disk or file server is available") from error
            raise StoreError(what) from error

    def _require_root(self, *, make: bool = False) -> None:
        """Raise StoreUnreachable if the folder has disappeared, or is now the bare folder below a mount.

        With `make`, one that never was there is made. Raises StoreError if it is a file.
        """
        if os.path.isfile(self._top):
            raise StoreError(f"{self.root} is a file, not the folder of a vault", "choose another address")
        with self._lock:  # around stat, too: a folder that another thread makes must not seem to have changed
            identity = self._root_identity()
            if make and identity is None and self._identity is None:
                make_folders(self.root, PRIVATE)
                identity = self._root_identity()
            if identity == self._identity or self._identity is None:
                self._identity = identity
                return
            if identity is not None and os.path.isfile(f"{self._top}/{self._witness}"):
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


def _split(name: str) -> tuple[str, str]:
    """The folder ("" or a path) and the file of an object. Raises StoreError if its name is not valid."""
    folder, _slash, file = checked_name(name).rpartition("/")
    return folder, file


def _status(folder: Folder, name: str) -> os.stat_result:
    return os.stat(folder.path(name), dir_fd=folder.descriptor, follow_symlinks=False)


def _is_there(folder: Folder, name: str) -> bool:
    try:
        _status(folder, name)
    except FileNotFoundError:
        return False
    return True


_pread = SYSTEM.pread


def _range(name: str, descriptor: int, offset: int, length: int, *, up_to: bool) -> bytes:
    wanted = length
    # Memory is taken before the system reads, and a limit counts what is asked for: no more than the file can fill.
    if length > _LARGE or flow_here() is not None:
        wanted = max(0, min(length, os.fstat(descriptor).st_size - offset))
    data = _read(descriptor, offset, wanted)
    if len(data) < length:
        size = os.fstat(descriptor).st_size
        if offset + len(data) < size or not up_to:
            arrived = f"{len(data)} of {length} bytes arrived from offset {offset}"
            raise ShortRead(f"{name}: {arrived}; the object has {size}")
    return data


def _read(descriptor: int, offset: int, length: int) -> bytes:
    """Read `length` bytes from `offset`, fewer only at the end of the file."""
    flow = flow_here()
    if flow is not None:
        pieces = list(_paced(descriptor, offset, length, flow))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    data = _pread(descriptor, length, offset)
    if not data or len(data) == length:
        return data
    parts = [data]
    got = len(data)
    while got < length and (data := _pread(descriptor, length - got, offset + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)


def _paced(descriptor: int, offset: int, length: int, flow: Flow) -> Iterator[bytes]:
    """The same bytes, in pieces, each when the flow lets it come."""
    end = offset + length
    while offset < end:
        wanted = min(flow.piece, end - offset)
        flow.receiving(wanted)
        data = _pread(descriptor, wanted, offset)
        if not data:
            return
        yield data
        offset += len(data)
