"""Restoring on Windows: the calls of `os` that a restore makes, and what a file of Windows has beside its contents.

Paths are `\\\\?\\C:\\…`, whole ones, as Windows has no way from an open folder to what is in it. So a folder that
somebody swaps for a link meanwhile is noticed when it is opened, and not after.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from catalog.errors import Damaged, ObjectNotFound
from catalog.format.blocks import Buffer
from catalog.format.packs import Extent
from catalog.format.values import NodeKind, OutOfLine, Owner
from catalog.format.windows import Stream, Windows, name_text
from catalog.windows import api as w
from catalog.windows import files
from catalog.windows.descriptor import DACL_PRESENT, DACL_PROTECTED, SACL_PRESENT, SACL_PROTECTED
from catalog.windows.links import symlink, windows_target
from catalog.windows.reparse import MOUNT_POINT, is_link, tag_of
from catalog.windows.times import from_filetime, to_filetime
from mount.restore.disk.attributes import Attributes, Wearer
from mount.restore.disk.calls import DIRECTORY, NOFOLLOW

_UNFINISHED = files.READONLY | files.NOT_INDEXED  # of a folder: what no folder has of its own accord
_SETTABLE = 0x1 | 0x2 | 0x4 | 0x20 | 0x100 | 0x1000 | 0x2000  # READONLY … NOT_CONTENT_INDEXED: the others are made
_NEW = w.READ_DATA | w.WRITE_DATA | w.READ_ATTRIBUTES | w.WRITE_ATTRIBUTES
_REQUESTS = ((0x400, 0x100), (0x800, 0x200))  # SE_DACL_AUTO_INHERITED is kept only with SE_DACL_AUTO_INHERIT_REQ
_PART = 1 << 20  # bytes of a stream written at once
_LOST = "it has attributes of another system, which can't be kept here"


class Status(NamedTuple):
    """What os.stat_result has of a file."""

    st_mode: int
    st_size: int
    st_mtime_ns: int
    st_ino: int
    st_dev: int
    st_nlink: int
    st_uid: int = 0
    st_gid: int = 0
    st_rdev: int = 0


class _Open(NamedTuple):
    """Behind a descriptor: of a folder only its path."""

    path: str
    handle: int | None


class _Listed(NamedTuple):
    name: str


class WindowsDisk:
    """The calls of `os` that mount/restore/disk/calls.py is there for. Thread-safe. Errors are OSError."""

    SEEK_DATA = 3

    def __init__(self, api: w.Api | None = None) -> None:
        self._given = api
        self._lock = threading.Lock()
        self._open: dict[int, _Open] = {}
        self._count = 1 << 20  # no number that os gives
        self._rights: set[str] | None = None
        self._landing: dict[str, Callable[[str], str]] = {}

    @property
    def api(self) -> w.Api:
        """Windows, with all rights that this user may switch on."""
        with self._lock:
            if self._given is None:
                self._given = w.Api()
            if self._rights is None:
                self._rights = set()
                with suppress(OSError):
                    wanted = (w.BACKUP_PRIVILEGE, w.RESTORE_PRIVILEGE, w.SECURITY_PRIVILEGE, w.SYMLINK_PRIVILEGE)
                    self._rights = self._given.take_privileges(wanted)
            return self._given

    @property
    def audits(self) -> bool:
        """Whether lists of who is audited may be set."""
        return bool(self.api) and w.SECURITY_PRIVILEGE in (self._rights or ())

    @property
    def path(self) -> WindowsDisk:
        """Where os has `os.path`."""
        return self

    def wearer(self, *arguments: Any, **options: Any) -> WindowsWearer:
        return WindowsWearer(self, *arguments, **options)

    # --- descriptors ------------------------------------------------------------------------------------------

    def _add(self, path: str, handle: int | None) -> int:
        with self._lock:
            self._count += 1
            self._open[self._count] = _Open(path, handle)
            return self._count

    def _at(self, name: bytes | str, dir_fd: int | None) -> str:
        text = name if isinstance(name, str) else name_text(name)
        if dir_fd is None:
            return absolute(text)
        above = self._open[dir_fd].path
        if text == ".":
            return above
        return f"{above}\\{text}" if above else f"\\\\?\\{text}:"

    def path_of(self, fd: int) -> str:
        return self._open[fd].path

    def inside(self, fd: int, name: bytes) -> str:
        return self._at(name, fd)

    def handle_of(self, fd: int) -> int:
        handle = self._open[fd].handle
        assert handle is not None
        return handle

    def open(self, name: bytes | str, flags: int, mode: int = 0, *, dir_fd: int | None = None) -> int:
        path = self._at(name, dir_fd)
        if flags & os.O_CREAT:
            return self._add(path, self.api.open(path, _NEW, w.OPEN_REPARSE_POINT, new=True))
        st = self._look(path)
        if flags & DIRECTORY:
            if not stat.S_ISDIR(st.st_mode) and (flags & NOFOLLOW or not stat.S_ISLNK(st.st_mode)):
                raise OSError(errno.ENOTDIR, "it is not a folder")
            return self._add(path, None)
        if not stat.S_ISREG(st.st_mode):
            raise OSError(errno.ELOOP, "it is not a file")
        access = _NEW if flags & (os.O_RDWR | os.O_WRONLY) else w.READ_DATA | w.READ_ATTRIBUTES
        return self._add(path, self.api.open(path, access, w.OPEN_REPARSE_POINT))

    def close(self, fd: int) -> None:
        with self._lock:
            handle = self._open.pop(fd).handle
        if handle is not None:
            self.api.close(handle)

    # --- what is there ----------------------------------------------------------------------------------------

    def _look(self, path: str) -> Status:
        if not path:  # above all drives
            return Status(stat.S_IFDIR | 0o755, 0, 0, 0, 0, 1)
        with self.api.opened(_rooted(path), w.READ_ATTRIBUTES) as handle:
            return self._status(handle)

    def _status(self, handle: int) -> Status:
        s = files.look(self.api, handle)
        if s.tag and is_link(s.tag):
            mode = stat.S_IFLNK | 0o777
        elif s.attributes & files.DIRECTORY:
            unfinished = s.attributes & _UNFINISHED == _UNFINISHED
            mode = stat.S_IFDIR | (0o1700 if unfinished else 0o755)
        else:
            mode = stat.S_IFREG | 0o644
        return Status(mode, s.size, from_filetime(s.written), s.file_id, s.serial, s.links)

    def fstat(self, fd: int) -> Status:
        path, handle = self._open[fd]
        return self._look(path) if handle is None else self._status(handle)

    def stat(self, name: bytes, *, dir_fd: int, follow_symlinks: bool = False) -> Status:
        return self._look(self._at(name, dir_fd))

    def lexists(self, path: bytes) -> bool:
        try:
            self._look(self._at(path, None))
        except OSError:
            return False
        return True

    def readlink(self, name: bytes, *, dir_fd: int) -> bytes:
        """The whole reparse point: two links that lead to one place need not be the same."""
        with self.api.opened(self._at(name, dir_fd), w.READ_ATTRIBUTES) as handle:
            return self.api.control(handle, w.GET_REPARSE_POINT, b"", 16 << 10)[0]

    @contextmanager
    def scandir(self, fd: int) -> Iterator[Iterator[_Listed]]:
        with self.api.opened(_rooted(self.path_of(fd)), w.READ_DATA | w.READ_ATTRIBUTES) as handle:
            yield (_Listed(found.name) for found in files.listed(self.api, handle))

    def geteuid(self) -> int:
        return 0  # as all of Status have

    getegid = geteuid

    def makedev(self, major: int, minor: int) -> int:
        return major << 32 | minor

    # --- contents ---------------------------------------------------------------------------------------------

    def pread(self, fd: int, length: int, position: int) -> bytes:
        buffer = bytearray(length)
        view, got, handle = memoryview(buffer), 0, self.handle_of(fd)
        while got < length:
            count = self.api.read(handle, view[got:], position + got)
            if not count:
                break
            got += count
        return bytes(view[:got])

    def pwrite(self, fd: int, data: Buffer, position: int) -> int:
        self.api.write(self.handle_of(fd), memoryview(data), position)
        return len(data)

    def ftruncate(self, fd: int, size: int) -> None:
        """Give a new file its size. What isn't written of it stays a hole, where the file system has them."""
        handle = self.handle_of(fd)
        with suppress(OSError):
            self.api.control(handle, w.SET_SPARSE, b"", 0)
        self.api.set_information(handle, w.END_OF_FILE_INFO, size.to_bytes(8, "little"))

    def lseek(self, fd: int, position: int, how: int) -> int:
        """Only SEEK_DATA, and with no knowledge of holes: all is data."""
        if position >= self.fstat(fd).st_size:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        return position

    def fsync(self, fd: int) -> None:
        self.api.flush(self.handle_of(fd))

    def sync(self) -> None:
        pass

    def lock(self, fd: int) -> None:
        self.api.lock(self.handle_of(fd))

    # --- names ------------------------------------------------------------------------------------------------

    def mkdir(self, name: bytes, mode: int = 0, *, dir_fd: int) -> None:
        path = self._at(name, dir_fd)
        self.api.make_folder(path)
        if mode & stat.S_ISVTX:  # mount/restore/disk/target.py: UNFINISHED
            with suppress(OSError):
                self.set_basic(path, files.DIRECTORY | _UNFINISHED)

    def makedirs(self, path: bytes, exist_ok: bool = False) -> None:
        whole = self._at(path, None)
        try:
            if not stat.S_ISDIR(self._look(whole).st_mode):
                raise FileExistsError(errno.EEXIST, "it is not a folder")
        except FileNotFoundError:
            above = whole.rpartition("\\")[0]
            if len(above) > len("\\\\?\\"):
                self.makedirs(above.encode("utf-8", "surrogatepass"), exist_ok=True)
            self.api.make_folder(whole)

    def set_basic(self, path: str, attributes: int) -> None:
        with self.api.opened(path, w.WRITE_ATTRIBUTES) as handle:
            self.api.set_information(handle, w.BASIC_INFO, files.basic_bytes(files.Basic(0, 0, 0, 0, attributes)))

    def _writable(self, path: str, work: Callable[[], None]) -> None:
        """Do something that a read-only file at a path refuses."""
        try:
            work()
        except PermissionError:
            self.set_basic(path, files.NORMAL)
            work()

    def unlink(self, name: bytes, *, dir_fd: int) -> None:
        path = self._at(name, dir_fd)
        self._landing.pop(path, None)
        self._writable(path, lambda: self.api.remove(path))

    def rename(self, name: bytes, new: bytes, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        path, to = self._landed(self._at(name, src_dir_fd)), self._at(new, dst_dir_fd)
        self._writable(to, lambda: self.api.move(path, to, replace=True))

    def rename_new(self, folder: int, old: bytes, new: bytes) -> None:
        to = self._at(new, folder)
        if self.lexists_at(to):  # before the work of `_landed`
            raise FileExistsError(errno.EEXIST, "there is a file of that name")
        self.api.move(self._landed(self._at(old, folder)), to)

    def lexists_at(self, path: str) -> bool:
        try:
            self._look(path)
        except FileNotFoundError:
            return False
        return True

    def at_landing(self, path: str, work: Callable[[str], str]) -> None:
        """Have a file exchanged for another when it is complete: `work` gives the path of that."""
        self._landing[path] = work

    def _landed(self, path: str) -> str:
        work = self._landing.pop(path, None)
        return path if work is None else work(path)

    def link(
        self, name: bytes, new: bytes, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool = False
    ) -> None:
        self.api.link(self._at(name, src_dir_fd), self._at(new, dst_dir_fd))

    def symlink(self, target: bytes, name: bytes, *, dir_fd: int) -> None:
        """A link; `target` is its reparse point, as `readlink` has it. WindowsWearer makes it one to a folder."""
        self.make_link(self._at(name, dir_fd), target, folder=tag_of(target) == MOUNT_POINT)

    def make_link(self, path: str, buffer: bytes, *, folder: bool) -> None:
        if folder:
            self.api.make_folder(path)
        else:
            self.api.close(self.api.open(path, _NEW, new=True))
        try:
            with self.api.opened(path, w.WRITE_ATTRIBUTES) as handle:
                self.api.control(handle, w.SET_REPARSE_POINT, buffer, 0)
        except OSError:
            with suppress(OSError):
                (self.api.remove_folder if folder else self.api.remove)(path)
            raise

    def mknod(self, name: bytes, mode: int, device: int, *, dir_fd: int) -> None:
        raise OSError(errno.EINVAL, "Windows has no files of its kind")


class WindowsWearer(Wearer):
    """Puts on files of Windows what they had. `data` opens the contents of a stream.

    Without `permissions` a file gets the security descriptor that new ones get here.
    """

    def __init__(
        self,
        disk: WindowsDisk,
        value: Callable[[Extent], memoryview],
        data: Callable[[Any, int], Any],
        problem: Callable[[bytes, str], None],
        *,
        permissions: bool,
    ) -> None:
        self._disk, self._value, self._data, self._problem = disk, value, data, problem
        self._permissions = permissions

    def carry(self, a: Attributes, known: Windows, path: Callable[[], bytes]) -> Attributes:
        """What an entry of Windows gets: all of it."""
        return a._replace(windows=known, foreign=False)

    def link(self, a: Attributes, target: bytes) -> bytes:
        known = a.windows
        return self._bytes(known.reparse) if known is not None and known.reparse is not None else _link_of(target)

    def first_mode(self, a: Attributes, *, plain: bool) -> int:
        return 0

    def owner_ids(self, owner: Owner, path: Callable[[], bytes] | None = None) -> tuple[int, int]:
        return -1, -1

    def put_on_file(self, fd: int, a: Attributes, path: Callable[[], bytes], *, plain: bool) -> None:
        where = self._disk.path_of(fd)
        if a.windows is not None and a.windows.efs is not None:
            self._disk.at_landing(where, lambda temporary: self._encrypted(temporary, a, path))
        else:
            self._put(where, a, path)

    def put_on_folder(self, fd: int, a: Attributes, path: Callable[[], bytes], *, plain: bool) -> None:
        self._put(_rooted(self._disk.path_of(fd)), a, path)

    def put_on_name(
        self, folder: int, name: bytes, a: Attributes, path: Callable[[], bytes], *, plain: bool
    ) -> None:
        where, known = self._disk.inside(folder, name), a.windows
        if known is not None and known.reparse is not None and known.attributes & files.DIRECTORY:
            buffer = self._bytes(known.reparse)
            if tag_of(buffer) != MOUNT_POINT:
                self._disk.api.remove(where)
                self._disk.make_link(where, buffer, folder=True)
        self._put(where, a, path)

    def _bytes(self, value: bytes | OutOfLine) -> bytes:
        return bytes(self._value(value.at)) if isinstance(value, OutOfLine) else value

    # --- one file ---------------------------------------------------------------------------------------------

    def _put(self, where: str, a: Attributes, path: Callable[[], bytes], *, readable: bool = True) -> None:
        """All that a file has. What can't be put is a problem. `readable`: its data can be opened."""
        api, known = self._disk.api, a.windows
        is_folder = a.kind == NodeKind.FOLDER
        if known is None:
            if self._permissions and a.kind != NodeKind.SYMLINK:
                self._problem(path(), _LOST)
            made = 0 if is_folder else files.ARCHIVE if a.mode & 0o200 else files.ARCHIVE | files.READONLY
            known = Windows(made)
        access = w.READ_ATTRIBUTES | w.WRITE_ATTRIBUTES | w.WRITE_EA
        shaped = readable and (known.attributes & files.COMPRESSED or a.kind == NodeKind.FILE)
        try:
            handle = api.open(where, access | (w.READ_DATA | w.WRITE_DATA if shaped else 0), w.OPEN_REPARSE_POINT)
        except OSError as e:
            self._problem(path(), f"its attributes could not be set: {e.strerror}")
            return
        try:
            if shaped:
                self._attempt(lambda: self._shape(handle, a, known), path, "its way of storage could not be set")
            for stream in known.streams:
                self._stream(f"{where}:{stream.name}", stream, path)
            if known.extended is not None:
                value = known.extended
                self._try(lambda: api.set_extended(handle, self._bytes(value)), path, "extended attributes")
            if known.reparse is not None and a.kind != NodeKind.SYMLINK:
                point = known.reparse
                self._try(
                    lambda: api.control(handle, w.SET_REPARSE_POINT, self._bytes(point), 0), path, "reparse point"
                )
            if known.security is not None and self._permissions:
                descriptor = known.security
                self._try(lambda: self._secure(where, self._bytes(descriptor)), path, "permissions")
            if is_folder and known.attributes & files.ENCRYPTED:
                self._try(lambda: api.encrypt(where), path, "encryption")
            self._finish(handle, a, known, path)
        finally:
            api.close(handle)

    def _try(self, work: Callable[[], object], path: Callable[[], bytes], what: str) -> None:
        try:
            work()
        except (Damaged, ObjectNotFound) as e:
            self._problem(path(), f"its {what} could not be read from the vault: {e}")
        except OSError as e:
            self._problem(path(), f"its {what} could not be set: {e.strerror}")

    def _shape(self, handle: int, a: Attributes, known: Windows) -> None:
        """Sparse, compressed: what attributes only show."""
        api = self._disk.api
        if a.kind == NodeKind.FILE:
            seen = files.look(api, handle)
            is_sparse, wanted = bool(seen.attributes & files.SPARSE), bool(known.attributes & files.SPARSE)
            if is_sparse and a.windows is None:  # it was made so, should it have holes
                found, more = api.control(handle, w.QUERY_ALLOCATED_RANGES, files.range_bytes(0, seen.size), 16)
                wanted = more or files.ranges(found) != [(0, seen.size)]
            if is_sparse != wanted:
                api.control(handle, w.SET_SPARSE, b"" if wanted else b"\0", 0)
        if known.attributes & files.COMPRESSED:
            api.control(handle, w.SET_COMPRESSION, b"\1\0", 0)

    def _stream(self, where: str, s: Stream, path: Callable[[], bytes]) -> None:
        api, text = self._disk.api, s.name.encode(errors="replace").decode()
        try:
            content = self._data(s.content, s.size)
            try:
                handle = api.open(where, w.WRITE_DATA, w.OPEN_REPARSE_POINT, new=True)
            except FileExistsError:  # of a folder that was there before
                handle = api.open(where, w.WRITE_DATA, w.OPEN_REPARSE_POINT)
                api.set_information(handle, w.END_OF_FILE_INFO, bytes(8))
            try:
                for position in range(0, s.size, _PART):
                    part = content.read(position, min(_PART, s.size - position))
                    api.write(handle, memoryview(part), position)
            finally:
                api.close(handle)
        except (Damaged, ObjectNotFound) as e:
            self._problem(path(), f"its stream {text} could not be read from the vault: {e}")
        except OSError as e:
            self._problem(path(), f"its stream {text} could not be written: {e.strerror}")

    def _secure(self, where: str, descriptor: bytes) -> None:
        """Owner, group, lists, to the bit where it may be. The owner only an administrator may give away."""
        api, control = self._disk.api, int.from_bytes(descriptor[2:4], "little")
        for inherited, request in _REQUESTS:
            if control & inherited:
                control |= request
        data = descriptor[:2] + control.to_bytes(2, "little") + descriptor[4:]
        parts, access = 0, w.READ_CONTROL | w.WRITE_OWNER
        if control & DACL_PRESENT:
            parts |= w.DACL | (w.PROTECTED_DACL if control & DACL_PROTECTED else w.UNPROTECTED_DACL)
            access |= w.WRITE_DAC
        if control & SACL_PRESENT:
            parts |= w.LABEL
            if self._disk.audits:
                parts |= w.SACL | (w.PROTECTED_SACL if control & SACL_PROTECTED else w.UNPROTECTED_SACL)
                access |= w.ACCESS_SYSTEM_SECURITY
        with api.opened(where, access) as handle:
            try:
                api.set_security(handle, parts | w.OWNER | w.GROUP, data)
            except OSError:
                api.set_security(handle, parts, data)
                raise

    def _finish(self, handle: int, a: Attributes, known: Windows, path: Callable[[], bytes]) -> None:
        created = 0 if known.created is None else to_filetime(known.created)
        attributes = known.attributes & (_SETTABLE | files.DIRECTORY)
        if a.kind == NodeKind.FOLDER:
            attributes |= files.DIRECTORY
        basic = files.Basic(created, 0, to_filetime(a.mtime), 0, attributes or files.NORMAL)
        self._attempt(
            lambda: self._disk.api.set_information(handle, w.BASIC_INFO, files.basic_bytes(basic)),
            path, "its attributes and times could not be set",
        )  # fmt: skip

    def _encrypted(self, temporary: str, a: Attributes, path: Callable[[], bytes]) -> str:
        """A file of EFS made of its raw export, which stands at `temporary`. Its path. OSError."""
        api, made, position = self._disk.api, f"{temporary}.efs", 0

        def read(length: int) -> bytes:
            nonlocal position
            buffer = bytearray(length)
            got = api.read(source, memoryview(buffer), position) if length else 0
            position += got
            return bytes(buffer[:got])

        with api.opened(temporary, w.READ_DATA) as source:
            api.import_encrypted(made, read, folder=False)
        assert a.windows is not None
        known = Windows(a.windows.attributes, a.windows.created, a.windows.security)  # its streams came with it
        self._put(made, a._replace(windows=known), path, readable=False)
        api.remove(temporary)
        return made


def absolute(path: str) -> str:
    """A whole path in the form that knows no limits, `\\\\?\\C:\\a` or `\\\\?\\UNC\\server\\share\\a`.

    Nothing for `/`, which is above all drives.
    """
    path = path.replace("/", "\\").rstrip("\\")
    if not path or path.startswith("\\\\?\\"):
        return path
    return f"\\\\?\\UNC{path[1:]}" if path.startswith("\\\\") else f"\\\\?\\{path}"


def _link_of(target: bytes) -> bytes:
    """The reparse point of another system's symlink."""
    return symlink(windows_target(target))


def _rooted(path: str) -> str:
    """A drive's own folder has a backslash at its end."""
    return path + "\\" if path.endswith(":") and path.count("\\") == 3 else path
