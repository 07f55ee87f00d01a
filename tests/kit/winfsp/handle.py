"""An open file, and what may be asked of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from tests.kit.winfsp import security
from tests.kit.winfsp.access import Invoke
from tests.kit.winfsp.bindings import NULL
from tests.kit.winfsp.layout import types
from tests.kit.winfsp.listing import Listing, entries
from tests.kit.winfsp.memory import fault
from tests.kit.winfsp.names import wide
from tests.kit.winfsp.opening import Opening
from tests.kit.winfsp.security import DELETE, FILE_READ_DATA, FILE_WRITE_DATA
from tests.kit.winfsp.status import NtError, Status, succeeded
from tests.kit.winfsp.values import (
    DELETE_ON_CLOSE,
    NO_INTERMEDIATE_BUFFERING,
    READONLY,
    RESPONSE_ROOM,
    Entry,
    FileInfo,
    Stream,
    file_info,
)
from tests.kit.winfsp.volume import Guard, Kind, Volume

PAGE = 4096
PAGING_READ = 64 * 1024  # bytes at most in one read of the cache
_BEHIND = b"\xa5" * PAGE  # guards the memory after a read's buffer
_STREAM = types.sizeof("FSP_FSCTL_STREAM_INFO")


class Handle:
    """An open file. To be closed; in a `with` it closes itself."""

    def __init__(
        self,
        volume: Volume,
        invoke: Invoke,
        name: str,
        opening: Opening,
        context: Any,
        options: int,
        main: Handle | None,
    ) -> None:
        """`main`: of the file that a stream belongs to."""
        assert opening.info is not None
        self.volume = volume
        self.name = name
        self.final_name = opening.final_name
        self.granted = opening.granted
        self.closed = False
        self._invoke = invoke
        self._context = context
        self._info = opening.info
        self._options = options
        self._main = main
        self._changed = False
        self._deleted = bool(options & DELETE_ON_CLOSE)
        self._cleaned = False
        self._listing = Listing(volume, invoke, context, f"list {name}")

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def is_directory(self) -> bool:
        return self._info.is_directory

    def _need(self, access: int, what: str) -> None:
        if access & ~self.granted:
            raise NtError(Status.ACCESS_DENIED, f"{what} {self.name}")

    def _call(self, what: str, kind: Kind, operation: str, *arguments: Any, guard: Guard = "none") -> None:
        self.volume.ask(
            f"{what} {self.name}", kind, lambda: self._invoke(operation, self._context, *arguments), guard
        )

    # --- closing ---

    def cleanup(self) -> None:
        """The last handle of the process is gone; the kernel's cache may still read."""
        if self._cleaned:
            return
        self._cleaned = True
        flags = (0x01 if self._deleted else 0) | (0x10 | 0x40 | 0x80 if self._changed else 0)
        if self._changed and not self.is_directory:
            flags |= 0x02
        if not flags and self.volume.parameters.post_cleanup_when_modified_only:
            return
        name = wide(self.name) if self._deleted else NULL
        try:
            guard: Guard = "exclusive" if self._deleted else "none"
            self._call("cleanup", Kind.CLEANUP, "Cleanup", name, flags | 0x20, guard=guard)
        except NtError as error:
            if error.status != Status.CANCELLED:  # the volume may be gone by now
                raise

    def close(self) -> None:
        if self.closed:
            return
        self.cleanup()
        self.closed = True
        try:
            self._call("close", Kind.CLOSE, "Close")
        except NtError as error:
            if error.status != Status.CANCELLED:
                raise
        if self._main:
            self._main.close()

    # --- content ---

    def read(self, offset: int, length: int) -> bytes:
        """What a program gets that reads there, by way of the kernel's cache if the volume has one."""
        self._need(FILE_READ_DATA, "read")
        if self.is_directory:
            raise NtError(Status.INVALID_PARAMETER, f"read {self.name}")
        if not length:
            return b""
        if not self.volume.parameters.cached or self._options & NO_INTERMEDIATE_BUFFERING:
            return self.read_uncached(offset, length)
        size = self._info.size
        if offset >= size:
            raise NtError(Status.END_OF_FILE, f"read {self.name}")
        length = min(length, size - offset)
        first, last = offset // PAGE * PAGE, -(-(offset + length) // PAGE) * PAGE
        pages = b""
        for start in range(first, last, PAGING_READ):
            wanted = min(PAGING_READ, last - start)
            pages += self.read_uncached(start, wanted).ljust(wanted, b"\0")  # pages are filled up with zeros
        return pages[offset - first : offset - first + length]

    def read_uncached(self, offset: int, length: int) -> bytes:
        """One read as the file system sees it: `length` may reach past the end. STATUS_END_OF_FILE at the end."""
        buffer = types.new("char[]", length + PAGE)
        types.memmove(buffer + length, _BEHIND, PAGE)
        transferred = types.new("ULONG *")

        def run() -> tuple[int, int]:
            status = self._invoke("Read", self._context, buffer, offset, length, transferred)
            return status, transferred[0]

        what = f"read {self.name} at {offset}"
        got = self.volume.ask(what, Kind.READ, run, lend=(buffer, length))
        if bytes(types.buffer(buffer + length, PAGE)) != _BEHIND:
            fault(f"{what} wrote past the {length} bytes that were asked")
        if got > length:
            raise NtError(Status.INTERNAL_ERROR, what)
        return bytes(types.buffer(buffer, got))

    def read_all(self, chunk: int = 1 << 20) -> bytes:
        """To the end of the file, wherever that is."""
        parts = []
        for offset in itertools.count(0, chunk):
            try:
                part = self.read(offset, chunk)
            except NtError as error:
                if error.status != Status.END_OF_FILE:
                    raise
                break
            parts.append(part)
            if len(part) < chunk:
                break
        return b"".join(parts)

    def write(self, offset: int | None, content: bytes, *, constrained: bool = False) -> int:
        """Bytes written; `offset` None: to the end of the file; `constrained`: never beyond its end."""
        self._need(FILE_WRITE_DATA, "write")
        buffer, transferred = types.from_buffer("char[]", content), types.new("ULONG *")
        info = types.new("FSP_FSCTL_FILE_INFO *")
        at = 0xFFFFFFFFFFFFFFFF if offset is None else offset
        arguments = (buffer, at, len(content), offset is None, constrained, transferred, info)

        def run() -> tuple[int, int]:
            return self._invoke("Write", self._context, *arguments), transferred[0]

        written = self.volume.ask(f"write {self.name}", Kind.WRITE, run)
        self._changed = True
        self._info = file_info(info)
        return written

    def flush(self) -> None:
        self._call("flush", Kind.FLUSH, "Flush", types.new("FSP_FSCTL_FILE_INFO *"))

    def set_size(self, size: int, *, allocation: bool = False) -> None:
        self._need(FILE_WRITE_DATA, "set size")
        info = types.new("FSP_FSCTL_FILE_INFO *")
        self._call("set size", Kind.SET_INFORMATION, "SetFileSize", size, allocation, info)
        self._changed = True
        self._info = file_info(info)

    def overwrite(self, attributes: int, allocation_size: int, supersede: bool) -> None:
        """The second part of opening a file to replace what is in it. If it fails, the file is closed."""
        info = types.new("FSP_FSCTL_FILE_INFO *")

        def run() -> int:
            status = self._invoke("Overwrite", self._context, attributes, supersede, allocation_size, info)
            if not succeeded(status):
                self._invoke("Close", self._context)
                self._cleaned = self.closed = True
            return status

        self.volume.ask(f"overwrite {self.name}", Kind.OVERWRITE, run)
        self._changed = True
        self._info = file_info(info)

    # --- metadata ---

    def info(self) -> FileInfo:
        """As the file system says now."""
        raw = types.new("FSP_FSCTL_FILE_INFO *")
        self._call("info", Kind.QUERY_INFORMATION, "GetFileInfo", raw)
        return file_info(raw)

    @property
    def opened_info(self) -> FileInfo:
        """As it was said when the file was opened."""
        return self._info

    def set_times(self, created: int = 0, accessed: int = 0, written: int = 0, changed: int = 0) -> None:
        """Zero leaves a time as it is."""
        self.set_basic(0xFFFFFFFF, created, accessed, written, changed)

    def set_basic(
        self, attributes: int, created: int = 0, accessed: int = 0, written: int = 0, changed: int = 0
    ) -> None:
        self._need(0x100, "set attributes")  # FILE_WRITE_ATTRIBUTES
        raw = types.new("FSP_FSCTL_FILE_INFO *")
        values = (attributes, created, accessed, written, changed)
        self._call("set attributes", Kind.SET_INFORMATION, "SetBasicInfo", *values, raw)

    def security(self) -> bytes:
        """The self-relative descriptor."""
        self._need(security.READ_CONTROL, "security of")

        def run(buffer: Any, size: Any) -> int:
            status = self._invoke("GetSecurity", self._context, types.cast("PSECURITY_DESCRIPTOR", buffer), size)
            return Status.INVALID_SECURITY_DESCR if status == Status.BUFFER_OVERFLOW else status

        return self._filled(f"security of {self.name}", Kind.QUERY_SECURITY, "SIZE_T *", RESPONSE_ROOM, run)

    def _filled(self, what: str, kind: Kind, size_type: str, start: int, run: Callable[[Any, Any], int]) -> bytes:
        """The bytes that `run` writes into a buffer; it stores their size where `start` was."""
        buffer, size = types.new("char[]", RESPONSE_ROOM), types.new(size_type, start)
        self.volume.ask(what, kind, lambda: run(buffer, size), lend=(buffer, RESPONSE_ROOM))
        return bytes(types.buffer(buffer, size[0]))

    def set_security(self, which: int, descriptor: bytes) -> None:
        self._need(security.WRITE_DAC, "set security")
        owned = types.from_buffer("char[]", descriptor)
        pointer = types.cast("PSECURITY_DESCRIPTOR", owned)
        self._call("set security", Kind.SET_SECURITY, "SetSecurity", which, pointer)

    def rename(self, new: str, replace: bool = False) -> None:
        self._need(DELETE, "rename")
        arguments = (wide(self.name), wide(new), replace)
        self._call("rename", Kind.SET_INFORMATION, "Rename", *arguments, guard="exclusive")
        self.name = new

    def delete(self) -> None:
        """Mark it; it goes when it is closed."""
        self._need(DELETE, "delete")
        if self.info().attributes & READONLY:
            raise NtError(Status.CANNOT_DELETE, f"delete {self.name}")
        self._call("delete", Kind.SET_INFORMATION, "CanDelete", wide(self.name), guard="shared")
        self._deleted = True

    # --- reparse points and streams ---

    def reparse_point(self) -> bytes:
        """The whole REPARSE_DATA_BUFFER."""
        what = f"reparse point of {self.name}"
        if not self.volume.parameters.reparse_points:
            raise NtError(Status.INVALID_DEVICE_REQUEST, what)

        def run(buffer: Any, size: Any) -> int:
            return self._invoke("GetReparsePoint", self._context, wide(self.name), buffer, size)

        return self._filled(what, Kind.FILE_SYSTEM_CONTROL, "SIZE_T *", RESPONSE_ROOM, run)

    def set_reparse_point(self, data: bytes) -> None:
        if not self.volume.parameters.reparse_points:
            raise NtError(Status.INVALID_DEVICE_REQUEST, f"reparse point of {self.name}")
        arguments = (wide(self.name), types.from_buffer("char[]", data), len(data))
        self._call("set reparse point", Kind.FILE_SYSTEM_CONTROL, "SetReparsePoint", *arguments)

    def streams(self) -> list[Stream]:
        """All data streams as the file system lists them, the unnamed one first."""
        if not self.volume.parameters.named_streams:
            info = self.opened_info
            return [] if info.is_directory else [Stream("", info.size, info.allocation_size)]

        def run(buffer: Any, size: Any) -> int:
            return self._invoke("GetStreamInfo", self._context, buffer, RESPONSE_ROOM, size)

        raw = self._filled(f"streams of {self.name}", Kind.QUERY_STREAMS, "ULONG *", 0, run)
        return [
            Stream(
                entry[_STREAM:].decode("utf-16-le", "surrogatepass"),
                int.from_bytes(entry[8:16], "little"),
                int.from_bytes(entry[16:24], "little"),
            )
            for entry in entries(raw, _STREAM)
            if entry
        ]

    # --- listings ---

    def entries(self, pattern: str | None = None, length: int = 4096, kind: str = "id_both") -> Iterator[Entry]:
        """All of the folder, read with a buffer of `length` bytes for entries of information class `kind`."""
        restart = True
        while True:
            try:
                part = self.query_directory(pattern, length, kind, restart=restart)
            except NtError as error:
                if error.status in (Status.NO_MORE_FILES, Status.NO_SUCH_FILE):
                    return
                raise
            yield from part
            restart = False

    def query_directory(
        self,
        pattern: str | None = None,
        length: int = 4096,
        kind: str = "id_both",
        *,
        restart: bool = False,
        single: bool = False,
    ) -> list[Entry]:
        """NtQueryDirectoryFile: the next entries; at the end NO_MORE_FILES, or NO_SUCH_FILE if there were none.

        The pattern of the first call stays, unless a later one that restarts brings another.
        """
        self._need(FILE_READ_DATA, "list")
        if not self.is_directory:
            raise NtError(Status.INVALID_PARAMETER, f"list {self.name}")
        return self._listing.next(pattern, length, kind, restart=restart, single=single)
