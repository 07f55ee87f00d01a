"""The operations that WinFsp calls: the view, in the form that winfspy expects.

Some of winfspy's operations are correct for small folders only, or never. They are replaced here by operations that
begin with `ll_` and take WinFsp's own arguments. docs/windows.md lists what has been tested on Windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from cache.openfile import OpenFile
from cache.reader import Reader, WouldWait
from catalog.errors import NotFound
from catalog.format.blocks import Buffer
from catalog.windows.files import DIRECTORY
from mount.drivers.errors import Errors
from mount.drivers.winfsp import library, ntstatus
from mount.drivers.winfsp.library import NTStatusError, ffi, lib
from mount.drivers.winfsp.ntstatus import NtRefusal, status_of
from mount.drivers.winfsp.security import Descriptors
from mount.drivers.winfsp.tree import UNIT, Info, Located, WindowsTree
from mount.drivers.winfsp.volume import DISPATCHERS, MOST_SECONDS, label
from mount.drivers.winfsp.waiting import Waiting
from mount.view.nodes import View

T = TypeVar("T")


class Suspended(NamedTuple):
    """The place where a listing stopped: the last name sent, the entry without room, and the entries after it."""

    after: str
    next: tuple[str, Info]
    rest: Iterator[tuple[str, Info]]


class Opened(library.BaseFileContext):  # type: ignore[misc]
    """An open handle."""

    def __init__(self, found: Located, info: Info, file: OpenFile | int) -> None:
        self.found = found
        self.info = info
        self.file = file
        self.is_held = True  # false once its handles are closed: the cache of Windows may keep it open for longer
        self.listing: Suspended | None = None  # taken by the request that goes on with it

    @property
    def file_name(self) -> str:
        path = "\\" + "\\".join(self.found.path)
        return f"{path}:{self.found.stream}" if self.found.stream else path


class Operations(library.BaseFileSystemOperations):  # type: ignore[misc]
    """Answers WinFsp. All operations that write are refused."""

    def __init__(self, view: View, reader: Reader, descriptors: Descriptors, *, seconds: float = 60.0) -> None:
        """`seconds` is the time limit of a request."""
        super().__init__()
        self.tree = WindowsTree(view, reader)
        self.waiting = Waiting(reader, min(seconds, MOST_SECONDS), crowd=DISPATCHERS * 3 // 4)
        self.errors = Errors()
        self.served = 0  # bytes
        self.calls = 0
        self.statfs_calls = 0  # those for the volume's size
        self.file_system: Any = ffi.NULL  # FSP_FILE_SYSTEM *, for answers that come later
        self._view = view
        self._descriptors = descriptors

    @property
    def handles(self) -> int:
        """Open handles of files and folders."""
        return sum(opened.is_held for opened in self.opened)

    @property
    def opened(self) -> list[Opened]:
        """All that WinFsp has open: open handles, and files that Windows keeps open for its cache."""
        return list(self._opened_objs.values())

    # --- how requests are answered ------------------------------------------------------------------------

    def _asked(self, path: str, work: Callable[[], T]) -> T:
        """The answer, from memory or from a thread that waits for it. Raises NTStatusError."""
        self.calls += 1
        try:
            self.waiting.begin()
            try:
                return self.waiting.patiently(work)
            finally:
                self.waiting.end()
        except BaseException as e:
            raise NTStatusError(self._failed(path, e)) from e

    def _failed(self, path: str, error: BaseException) -> int:
        if not isinstance(error, (NtRefusal, NotFound)):
            try:
                self.errors.note(path.encode(errors="surrogatepass"), error)
            except Exception:  # noqa: BLE001 - a full log disk must not fail a read
                pass
        return status_of(error)

    def _answered(
        self, path: str, kind: int, work: Callable[[bool], T], put: Callable[[T], int], count: Any
    ) -> int:
        """Answer now, with the bytes that `put` writes, or later: then the NTSTATUS returned is PENDING.

        `work` gets whether it is repeated, after an attempt to do it without waiting.
        """
        self.calls += 1
        try:
            self.waiting.begin()
        except NtRefusal as e:
            return e.number
        pending = False
        try:
            try:
                found = self.waiting.at_once(lambda: work(False))
            except WouldWait:
                hint = library.hint()
                if hint is None:  # not called by a thread of the dispatcher
                    found = self.waiting.patiently(lambda: work(True))
                else:
                    pending = True
                    self.waiting.later(lambda: work(True), partial(self._send, path, kind, hint, put))
                    return ntstatus.PENDING
            count[0] = put(found)
            return ntstatus.SUCCESS
        except BaseException as e:  # noqa: BLE001 - nothing may pass into WinFsp
            return self._failed(path, e)
        finally:
            if not pending:
                self.waiting.end()

    def _send(self, path: str, kind: int, hint: int, put: Callable[[T], int], found: T | BaseException) -> None:
        """Answer a pending request."""
        status, length = ntstatus.SUCCESS, 0
        try:
            if isinstance(found, BaseException):
                raise found
            length = put(found)
        except BaseException as e:  # noqa: BLE001 - every request needs an answer
            status = self._failed(path, e)
        try:
            library.respond(self.file_system, kind, hint, status, length)
        finally:
            self.waiting.end()

    # --- the volume ---------------------------------------------------------------------------------------

    def get_volume_info(self) -> dict[str, Any]:
        self.statfs_calls += 1
        return self._asked("\\", self._volume_info)

    def _volume_info(self) -> dict[str, Any]:
        return {"total_size": self._view.totals().bytes, "free_size": 0, "volume_label": label(self._view)}

    # --- names, attributes, security ----------------------------------------------------------------------

    def get_security_by_name(self, file_name: str) -> tuple[int, bytes, int]:
        attributes, descriptor = self._asked(file_name, lambda: self._security_by_name(file_name))
        return attributes, descriptor, len(descriptor)

    def _security_by_name(self, file_name: str) -> tuple[int, bytes]:
        found = self.tree.find(file_name)
        return self.tree.info(found)["file_attributes"], self._descriptor(found)

    def _descriptor(self, found: Located) -> bytes:
        return self.tree.security(found) or self._descriptors.made_for(found.node)

    def open(self, file_name: str, create_options: int, granted_access: int) -> Opened:
        return self._asked(file_name, lambda: self._open(file_name))

    def _open(self, file_name: str) -> Opened:
        found = self.tree.find(file_name)
        return Opened(found, self.tree.info(found), self.tree.open(found))

    def ll_open(
        self, file_name: Any, create_options: int, granted_access: int, context: Any, file_info: Any
    ) -> int:
        status: int = super().ll_open(file_name, create_options, granted_access, context, file_info)
        if status == ntstatus.SUCCESS and self._view.folds:
            name, asked = self._opened_objs[context[0]].file_name, ffi.string(file_name)
            # For a name in another form of Unicode, Windows would take it for an error and refuse the file.
            if name.upper() == asked.upper():
                library.set_name(file_info, name)
        return status

    def get_file_info(self, file_context: Opened) -> Info:
        self.calls += 1
        return file_context.info

    def get_security(self, file_context: Opened) -> tuple[bytes, int]:
        descriptor = self._asked(file_context.file_name, lambda: self._descriptor(file_context.found))
        return descriptor, len(descriptor)

    def cleanup(self, file_context: Opened, file_name: str | None, flags: int) -> None:
        self.calls += 1
        file_context.is_held = False

    def close(self, file_context: Opened) -> None:
        self.calls += 1
        file_context.listing = None

    def flush(self, file_context: Opened) -> None:
        self.calls += 1  # there is never anything to write

    # --- contents -----------------------------------------------------------------------------------------

    def read(self, file_context: Opened, offset: int, length: int) -> Buffer:
        """Bytes of a file, at most `length`."""
        path = file_context.file_name
        return self._asked(path, lambda: b"".join(self._parts(file_context, offset, length, False)))

    def _parts(self, opened: Opened, offset: int, length: int, repeated: bool) -> list[Buffer]:
        file = opened.file
        if isinstance(file, int):
            raise NtRefusal(file)
        if offset >= file.size:
            raise NtRefusal(ntstatus.END_OF_FILE)
        return file.parts(offset, length, repeated=repeated)

    def ll_read(self, file_context: Any, buffer: Any, offset: int, length: int, count: Any) -> int:
        """Replaces winfspy's method, which copies more than the buffer holds, and blocks its thread."""
        opened: Opened = ffi.from_handle(file_context)

        def put(parts: list[Buffer]) -> int:
            at = 0
            for part in parts:
                size = min(len(part), length - at)
                ffi.memmove(buffer + at, part, size)
                at += size
            self.served += at
            return at

        buffer = ffi.cast("char *", buffer)
        work = partial(self._parts, opened, offset, length)
        return self._answered(opened.file_name, library.READ, work, put, count)

    # --- listings -----------------------------------------------------------------------------------------

    def read_directory(self, file_context: Opened, marker: str | None) -> list[dict[str, Any]]:
        """All entries of a folder after a name. WinFsp itself calls ll_read_directory."""
        work = partial(self.tree.entries, file_context.found, marker)
        rows = self._asked(file_context.file_name, lambda: list(work()))
        return [{"file_name": name, **info} for name, info in rows]

    def ll_read_directory(
        self, file_context: Any, pattern: Any, marker: Any, buffer: Any, length: int, count: Any
    ) -> int:
        """Replaces winfspy's method, which lists all entries after the marker for each buffer that WinFsp fills."""
        opened: Opened = ffi.from_handle(file_context)
        after = ffi.string(marker) if marker else None

        def put(found: tuple[list[bytes], bool]) -> int:
            rows, whole = found
            filled = ffi.new("ULONG *")
            for row in rows:
                kept = ffi.from_buffer(row)
                lib.FspFileSystemAddDirInfo(ffi.cast("FSP_FSCTL_DIR_INFO *", kept), buffer, length, filled)
            if whole:
                lib.FspFileSystemAddDirInfo(ffi.NULL, buffer, length, filled)
            return int(filled[0])

        def work(_repeated: bool) -> tuple[list[bytes], bool]:
            return self.rows_after(opened, after, length)

        return self._answered(opened.file_name, library.QUERY_DIRECTORY, work, put, count)

    def rows_after(self, opened: Opened, marker: str | None, length: int) -> tuple[list[bytes], bool]:
        """FSP_FSCTL_DIR_INFOs of the entries after a name, up to `length` bytes, and whether these are all."""
        kept, opened.listing = opened.listing, None
        first: list[tuple[str, Info]] = []
        if kept is not None and kept.after == marker:
            first, entries = [kept.next], kept.rest
        else:
            entries = self.tree.entries(opened.found, marker)
        rows: list[bytes] = []
        room, last = length, marker
        try:
            for name, info in chain(first, entries):
                row = library.dir_info(name, info)
                room -= -(-len(row) // 8) * 8
                if room < 0:
                    if not rows:
                        raise NtRefusal(ntstatus.BUFFER_TOO_SMALL)
                    if last is not None:
                        opened.listing = Suspended(last, (name, info), entries)
                    return rows, False
                rows.append(row)
                last = name
        except Exception:
            if rows:  # the next request gets the error: an incomplete listing must not pass for the end
                return rows, False
            raise
        return rows, True

    def ll_get_dir_info_by_name(self, file_context: Any, file_name: Any, dir_info: Any) -> int:
        """Replaces winfspy's method, which returns the name as asked for; the true name has the true case."""
        opened: Opened = ffi.from_handle(file_context)
        try:
            found, info = self._dir_info_by_name(opened, ffi.string(file_name))
        except NTStatusError as e:
            return int(e.value)
        name = found.path[-1].encode("utf-16-le")
        ffi.memmove(dir_info.FileNameBuf, name, len(name))
        library.configure_file_info(dir_info.FileInfo, **info)
        dir_info.Size = library.DIR_INFO.size + len(name)
        return ntstatus.SUCCESS

    def get_dir_info_by_name(self, file_context: Opened, file_name: str) -> dict[str, Any]:
        found, info = self._dir_info_by_name(file_context, file_name)
        return {"file_name": found.path[-1], **info}

    def _dir_info_by_name(self, opened: Opened, name: str) -> tuple[Located, Info]:
        def work() -> tuple[Located, Info]:
            found = self.tree.child(opened.found, name)
            return found, self.tree.info(found)

        return self._asked(f"{opened.file_name.rstrip(chr(92))}\\{name}", work)

    # --- links --------------------------------------------------------------------------------------------

    def resolve_reparse_points(
        self, file_name: str, index: int, resolve_last: bool, io_status: Any, buffer: Any, size: Any
    ) -> None:
        tag, data = self._asked(file_name, lambda: self.tree.resolve(file_name, bool(resolve_last)))
        library.fill(data, buffer, size)
        library.set_reparse(io_status, tag)

    def get_reparse_point(self, file_context: Opened, file_name: str, buffer: Any, size: Any) -> None:
        data = self._asked(file_name, lambda: self.tree.reparse(file_context.found))
        if data is None or file_context.found.stream:
            raise NTStatusError(ntstatus.NOT_A_REPARSE_POINT)
        library.fill(data, buffer, size)

    # --- streams ------------------------------------------------------------------------------------------

    def ll_get_stream_info(self, file_context: Any, buffer: Any, length: int, count: Any) -> int:
        """Replaces winfspy's method, which calls from_handle with four arguments and can't work."""
        opened: Opened = ffi.from_handle(file_context)
        try:
            self.get_stream_info(opened, buffer, length, count)
        except NTStatusError as e:
            return int(e.value)
        except BaseException as e:  # noqa: BLE001 - nothing may pass into WinFsp
            return self._failed(opened.file_name, e)
        return ntstatus.SUCCESS

    def get_stream_info(self, file_context: Opened, buffer: Any, length: int, count: Any) -> None:
        found = file_context.found
        sizes = self._asked(file_context.file_name, lambda: self.tree.stream_sizes(found.node))
        main = self.tree.info(found._replace(stream=""))
        rows = [(name, size) for name, size in sizes]
        if not main["file_attributes"] & DIRECTORY:
            rows.insert(0, ("", main["file_size"]))
        for name, size in rows:
            row = library.stream_info(name, size, -(-size // UNIT) * UNIT)
            kept = ffi.from_buffer(row)
            if not lib.FspFileSystemAddStreamInfo(ffi.cast("FSP_FSCTL_STREAM_INFO *", kept), buffer, length, count):
                return
        lib.FspFileSystemAddStreamInfo(ffi.NULL, buffer, length, count)

    # --- operations that write ----------------------------------------------------------------------------

    def _refuse(self, *_arguments: Any) -> int:
        # Windows itself refuses these on a read-only volume. winfspy's own ll_create is not used even for that: it
        # frees a copy of the security descriptor with the function of another heap.
        self.calls += 1
        return ntstatus.MEDIA_WRITE_PROTECTED

    ll_create = ll_overwrite = ll_write = ll_set_volume_label = ll_set_basic_info = ll_set_file_size = _refuse
    ll_can_delete = ll_set_delete = ll_rename = ll_set_security = _refuse
    ll_set_reparse_point = ll_delete_reparse_point = _refuse

    def ll_control(self, *_arguments: Any) -> int:
        self.calls += 1
        return ntstatus.INVALID_DEVICE_REQUEST
