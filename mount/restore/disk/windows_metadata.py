"""Sets Windows metadata: attributes, times, security descriptors, streams, extended attributes, reparse points."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from catalog.errors import Damaged, ObjectNotFound
from catalog.format.blocks import PackKind
from catalog.format.values import NodeKind, OutOfLine, Owner
from catalog.format.windows import Stream, Windows
from catalog.windows import api as w
from catalog.windows import files
from catalog.windows.descriptor import DACL_PRESENT, DACL_PROTECTED, SACL_PRESENT, SACL_PROTECTED
from catalog.windows.links import symlink, windows_target
from catalog.windows.reparse import MOUNT_POINT, tag_of
from catalog.windows.times import to_filetime
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.base import PathOf, ReportProblem, Values, Wrong
from mount.restore.disk.windows_handles import WindowsHandles, rooted

# READONLY … NOT_CONTENT_INDEXED. Windows sets other attributes by itself, e.g. when a file is compressed.
_SETTABLE = 0x1 | 0x2 | 0x4 | 0x20 | 0x100 | 0x1000 | 0x2000
_REQUESTS = ((0x400, 0x100), (0x800, 0x200))  # SE_DACL_AUTO_INHERITED is kept only with SE_DACL_AUTO_INHERIT_REQ
NEW_FILE = w.READ_DATA | w.WRITE_DATA | w.READ_ATTRIBUTES | w.WRITE_ATTRIBUTES  # access to a new file
_PART = 1 << 20  # bytes of a stream written at once
_LOST = "it has metadata of another system that can't be stored here"


class WindowsMetadata:
    """Sets Windows metadata (implements Metadata).

    Without `permissions` a file gets the security descriptor that new files get here.
    """

    def __init__(
        self, handles: WindowsHandles, values: Values, problem: ReportProblem, *, permissions: bool
    ) -> None:
        self._handles, self._values, self._problem = handles, values, problem
        self._permissions = permissions

    def link_target(self, a: Attributes, target: bytes) -> bytes:
        known = a.windows
        return self._bytes(known.reparse) if known is not None and known.reparse is not None else _link_of(target)

    def first_mode(self, a: Attributes, *, plain: bool) -> int:
        return 0

    def owner_ids(self, owner: Owner, path: PathOf | None = None) -> tuple[int, int]:
        return -1, -1

    def set_on_file(self, fd: int, a: Attributes, path: PathOf, *, plain: bool) -> None:
        where = self._handles.path_of(fd)
        if a.windows is not None and a.windows.efs is not None:
            self._handles.exchange_before_rename(where, lambda temporary: self._encrypted(temporary, a, path))
        else:
            self._put(where, a, path)

    def set_on_folder(self, fd: int, a: Attributes, path: PathOf, *, plain: bool) -> None:
        self._put(rooted(self._handles.path_of(fd)), a, path)

    def set_on_name(self, folder: int, name: bytes, a: Attributes, path: PathOf, *, plain: bool) -> None:
        where, known = self._handles.path(name, folder), a.windows
        if known is not None and known.reparse is not None and known.attributes & files.DIRECTORY:
            buffer = self._bytes(known.reparse)
            if tag_of(buffer) != MOUNT_POINT:
                self._handles.api.remove(where)
                make_link(self._handles.api, where, buffer, folder=True)
        self._put(where, a, path)

    def compare(self, fd: int, a: Attributes) -> Wrong:
        return Wrong.NOTHING  # what Windows itself changes can't be told from what somebody else did

    def drop_surplus(self, fd: int, a: Attributes, path: PathOf) -> None:
        """Do nothing: a security descriptor is set as a whole."""

    def put_back(self, fd: int, a: Attributes, path: PathOf) -> bool:
        return False

    def correct_name(
        self, folder: int, name: bytes, identity: tuple[int, int], a: Attributes, path: PathOf, *, dry: bool
    ) -> bool:
        return False

    def _bytes(self, value: bytes | OutOfLine) -> bytes:
        return bytes(self._values.chunk(PackKind.TREE, value.at)) if isinstance(value, OutOfLine) else value

    # --- one file ---------------------------------------------------------------------------------------------

    def _put(self, where: str, a: Attributes, path: PathOf, *, readable: bool = True) -> None:
        """Set all metadata on a file, and report what fails. `readable`: its data can be opened."""
        api, known = self._handles.api, a.windows
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
                self._attempt(
                    lambda: self._shape(handle, a, known), path, "its compression or sparseness could not be set"
                )
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

    def _try(self, work: Callable[[], object], path: PathOf, what: str) -> None:
        try:
            work()
        except (Damaged, ObjectNotFound) as e:
            self._problem(path(), f"its {what} could not be read from the vault: {e}")
        except OSError as e:
            self._problem(path(), f"its {what} could not be set: {e.strerror}")

    def _attempt(self, work: Callable[[], object], path: PathOf, reason: str) -> None:
        try:
            work()
        except OSError as e:
            self._problem(path(), f"{reason}: {e.strerror}")

    def _shape(self, handle: int, a: Attributes, known: Windows) -> None:
        """Make a file sparse or compressed, which setting attributes does not do."""
        api = self._handles.api
        if a.kind == NodeKind.FILE:
            seen = files.look(api, handle)
            is_sparse, wanted = bool(seen.attributes & files.SPARSE), bool(known.attributes & files.SPARSE)
            if is_sparse and a.windows is None:  # created sparse in case it has holes
                found, more = api.control(handle, w.QUERY_ALLOCATED_RANGES, files.range_bytes(0, seen.size), 16)
                wanted = more or files.ranges(found) != [(0, seen.size)]
            if is_sparse != wanted:
                api.control(handle, w.SET_SPARSE, b"" if wanted else b"\0", 0)
        if known.attributes & files.COMPRESSED:
            api.control(handle, w.SET_COMPRESSION, b"\1\0", 0)

    def _stream(self, where: str, s: Stream, path: PathOf) -> None:
        api, text = self._handles.api, s.name.encode(errors="replace").decode()
        try:
            content = self._values.open(s.content, s.size)
            try:
                handle = api.open(where, w.WRITE_DATA, w.OPEN_REPARSE_POINT, new=True)
            except FileExistsError:  # a stream of a folder that existed before
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
        """Set owner, group and ACLs. Raises OSError if the owner is refused, after setting the rest.

        Setting another user's ownership needs an administrator's rights.
        """
        api, control = self._handles.api, int.from_bytes(descriptor[2:4], "little")
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
            if self._handles.may_set_audit_lists:
                parts |= w.SACL | (w.PROTECTED_SACL if control & SACL_PROTECTED else w.UNPROTECTED_SACL)
                access |= w.ACCESS_SYSTEM_SECURITY
        with api.opened(where, access) as handle:
            try:
                api.set_security(handle, parts | w.OWNER | w.GROUP, data)
            except OSError:
                api.set_security(handle, parts, data)
                raise

    def _finish(self, handle: int, a: Attributes, known: Windows, path: PathOf) -> None:
        created = 0 if known.created is None else to_filetime(known.created)
        attributes = known.attributes & (_SETTABLE | files.DIRECTORY)
        if a.kind == NodeKind.FOLDER:
            attributes |= files.DIRECTORY
        basic = files.Basic(created, 0, to_filetime(a.mtime), 0, attributes or files.NORMAL)
        self._attempt(
            lambda: self._handles.api.set_information(handle, w.BASIC_INFO, files.basic_bytes(basic)),
            path, "its attributes and times could not be set",
        )  # fmt: skip

    def _encrypted(self, temporary: str, a: Attributes, path: PathOf) -> str:
        """Import an EFS file from its raw export at `temporary`. Returns the new file's path. Raises OSError."""
        api, made, position = self._handles.api, f"{temporary}.efs", 0

        def read(length: int) -> bytes:
            nonlocal position
            buffer = bytearray(length)
            got = api.read(source, memoryview(buffer), position) if length else 0
            position += got
            return bytes(buffer[:got])

        with api.opened(temporary, w.READ_DATA) as source:
            api.import_encrypted(made, read, folder=False)
        assert a.windows is not None
        # Without the streams, which the export includes.
        known = Windows(a.windows.attributes, a.windows.created, a.windows.security)
        self._put(made, a._replace(windows=known), path, readable=False)
        api.remove(temporary)
        return made


def make_link(api: w.Api, path: str, buffer: bytes, *, folder: bool) -> None:
    """Make a link to a folder or a file; `buffer` is its reparse point. Raises OSError; then nothing is left."""
    if folder:
        api.make_folder(path)
    else:
        api.close(api.open(path, NEW_FILE, new=True))
    try:
        with api.opened(path, w.WRITE_ATTRIBUTES) as handle:
            api.control(handle, w.SET_REPARSE_POINT, buffer, 0)
    except OSError:
        with suppress(OSError):
            (api.remove_folder if folder else api.remove)(path)
        raise


def _link_of(target: bytes) -> bytes:
    """The reparse point for a symlink of another system."""
    return symlink(windows_target(target))
