"""What stands between a program on Windows and a WinFsp file system: the kernel driver, and the DLL that calls it.

A `Caller` asks a volume for things as the kernel driver does for a process with a given token, and hands back what
the process would get, or raises NtError. After WinFsp's src/sys (create.c, read.c, dirctl.c, fsctl.c …) and src/dll
(fsop.c, security.c), whose checks, lengths and order of calls are kept:

- Open: GetSecurityByName for every folder on the way (only for tokens that may not just pass) and for the file, the
  check of access, Open. STATUS_REPARSE is resolved and tried again, within the volume.
- Read: exactly what was asked, or, where the kernel caches (`Parameters.cached`), whole pages, up to the one that
  holds the end of the file, and what was asked is cut at the file's size.
- Listing: a request of the length that the kernel computes, its entries copied to a buffer of the program's
  length, the next request from the marker, which is the last name that fitted. Where the volume ignores case, a
  name without wildcards comes in upper case.
- Close: Cleanup, unless the volume wants that only after changes, then Close.

Names are Windows' own: absolute, `\\` between, as UTF-16 can hold them. Win32's rules (no trailing dots, no CON)
are apart, in `win32_path`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from tests.winfsp import security
from tests.winfsp.layout import types
from tests.winfsp.security import (
    DELETE,
    FILE_ALL_ACCESS,
    FILE_APPEND_DATA,
    FILE_DELETE_CHILD,
    FILE_EXECUTE,
    FILE_GENERIC_READ,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
    MAXIMUM_ALLOWED,
    Token,
)
from tests.winfsp.standin import RELATIVE, RESPONSE_ROOM, TAG_SYMLINK, fault, lent
from tests.winfsp.status import NtError, Status, succeeded
from tests.winfsp.volume import Guard, Volume

SUPERSEDE, OPEN, CREATE, OPEN_IF, OVERWRITE, OVERWRITE_IF = range(6)  # dispositions

DIRECTORY_FILE, NON_DIRECTORY_FILE = 0x1, 0x40  # options
NO_INTERMEDIATE_BUFFERING = 0x8
DELETE_ON_CLOSE = 0x1000
OPEN_REPARSE_POINT = 0x200000

READONLY, DIRECTORY, REPARSE_POINT = 0x1, 0x10, 0x400  # attributes
PAGE = 4096
PAGING_READ = 64 * 1024  # bytes at most in one read of the cache
NULL = types.NULL

_LISTING_MOST = 16384 - 16  # bytes of a listing in one request
_LINKS_MOST = 63
_ENTRY = types.sizeof("FSP_FSCTL_DIR_INFO")
_OFFSET_OF_NAME = {  # in what programs get from a listing, by information class
    "directory": 64,
    "full": 68,
    "id_full": 80,
    "names": 12,
    "both": 94,
    "id_both": 104,
}


class FileInfo(NamedTuple):
    """Times are FILETIME (100 ns since 1601)."""

    attributes: int
    reparse_tag: int
    allocation_size: int
    size: int
    created: int
    accessed: int
    written: int
    changed: int
    index: int

    @property
    def is_directory(self) -> bool:
        return bool(self.attributes & DIRECTORY)


class Entry(NamedTuple):
    name: str
    info: FileInfo


class VolumeInfo(NamedTuple):
    total: int
    free: int
    label: str


class Stream(NamedTuple):
    name: str
    size: int
    allocation_size: int


class Reparsed(NtError):
    """The path leads through a reparse point, and the rest of the way is Windows' business: `tag`, `data`."""

    def __init__(self, what: str, tag: int, data: bytes) -> None:
        super().__init__(Status.REPARSE, what)
        self.tag = tag
        self.data = data


def _info(raw: Any) -> FileInfo:
    return FileInfo(
        raw.FileAttributes,
        raw.ReparseTag,
        raw.AllocationSize,
        raw.FileSize,
        raw.CreationTime,
        raw.LastAccessTime,
        raw.LastWriteTime,
        raw.ChangeTime,
        raw.IndexNumber,
    )


def text(value: str) -> Any:
    """A NUL-terminated string of UTF-16 units, lone surrogates included."""
    units = value.encode("utf-16-le", "surrogatepass")
    buffer = types.new("WCHAR[]", len(units) // 2 + 1)
    types.memmove(buffer, units, len(units))
    return buffer


def units(value: str) -> int:
    return len(value.encode("utf-16-le", "surrogatepass")) // 2


class Caller:
    """A process with `token` that uses the volume."""

    def __init__(self, volume: Volume, token: Token | None = None) -> None:
        self.volume = volume
        self.token = token or Token()
        self._interface = volume.interface
        self._nodes: dict[str, Any] = volume.__dict__.setdefault("nodes", {})

    # --- opening ---

    def open(
        self,
        path: str,
        *,
        access: int = FILE_GENERIC_READ,
        disposition: int = OPEN,
        options: int = 0,
        attributes: int = 0,
        descriptor: bytes | None = None,
        allocation_size: int = 0,
        user_mode: bool = True,
    ) -> Handle:
        """As NtCreateFile: `access` and `options` are its bits, `descriptor` that of a new file."""
        what = f"open {path}"
        for _ in range(_LINKS_MOST):
            try:
                return self._open(
                    path,
                    security.mapped(access),
                    disposition,
                    options,
                    attributes,
                    descriptor,
                    allocation_size,
                    user_mode,
                )
            except Reparsed as reparsed:
                target = _within_volume(reparsed)
                if target is None:
                    raise
                path = target
        raise NtError(Status.REPARSE_POINT_NOT_RESOLVED, what)

    def _open(
        self,
        path: str,
        access: int,
        disposition: int,
        options: int,
        attributes: int,
        descriptor: bytes | None,
        allocation_size: int,
        user_mode: bool,
    ) -> Handle:
        what = f"open {path}"
        if options & DIRECTORY_FILE and options & NON_DIRECTORY_FILE:
            raise NtError(Status.INVALID_PARAMETER, what)
        name, stream, trailing = self._checked(path, what)
        if stream and options & DIRECTORY_FILE:
            raise NtError(Status.NOT_A_DIRECTORY, what)
        if name == "\\" and disposition not in (OPEN, OPEN_IF):
            raise NtError(Status.ACCESS_DENIED, what)
        if name == "\\" and options & DELETE_ON_CLOSE:
            raise NtError(Status.CANNOT_DELETE, what)
        attributes &= ~(0x80 | DIRECTORY | REPARSE_POINT)
        if options & DIRECTORY_FILE:
            attributes |= DIRECTORY
        main = None
        if stream:
            main_disposition = OPEN if disposition in (OPEN, OVERWRITE) else OPEN_IF
            main = self._open(
                name, FILE_READ_ATTRIBUTES, main_disposition, 0, attributes, descriptor, 0, user_mode=False
            )
            name, attributes, descriptor = f"{name}:{stream}", 0, None
        request = _Create(
            self, name, access, disposition, options, attributes, descriptor, allocation_size, user_mode, trailing,
            len(name) - len(stream) - 1 if stream else 0,
        )  # fmt: skip
        try:
            self.volume.ask(what, request.run, "shared" if disposition == OPEN else "exclusive")
            if request.reparse is not None:
                raise Reparsed(what, *request.reparse)
        except NtError:
            if main:
                main.close()
            raise
        context = self._opened(name, request.context)
        handle = Handle(self, name, context, request.granted, request.info, options, main)
        if request.replaced:
            try:
                handle._overwrite(attributes, allocation_size, disposition == SUPERSEDE)
            except NtError:
                handle.closed = True
                raise
        return handle

    def _checked(self, path: str, what: str) -> tuple[str, str, bool]:
        """The file's name, the stream's ("" for none), and whether a backslash ended it. As FspFileNameIsValid."""
        if not path.startswith("\\"):
            raise NtError(Status.OBJECT_NAME_INVALID, what)
        if path.startswith("\\\\"):
            path = path[1:]
        trailing = len(path) > 1 and path.endswith("\\")
        if trailing:
            path = path[:-1]
        head, colon, stream = path.partition(":")
        components = head[1:].split("\\") if head != "\\" else []
        most = self.volume.parameters.max_component_length
        last = components[-1] + colon + stream if components else ""
        for component in [*components[:-1], last][: len(components)]:
            if units(component) > most or not component:
                raise NtError(Status.OBJECT_NAME_INVALID, what)
        if any(character in '"*/<>?|' or character < " " for character in head):
            raise NtError(Status.OBJECT_NAME_INVALID, what)
        if colon:
            stream, second, kind = stream.partition(":")
            if not self.volume.parameters.named_streams or (second and kind.upper() != "$DATA"):
                raise NtError(Status.OBJECT_NAME_INVALID, what)
            if (not stream and not second) or any(character in "\\/" for character in stream):
                raise NtError(Status.OBJECT_NAME_INVALID, what)
        return head, stream, trailing

    def _opened(self, name: str, context: Any) -> Any:
        """The context that later requests name: this opening's, or, unless the volume says so, the file's first."""
        if self.volume.parameters.um_file_context_is_user_context2:
            return context
        if self.volume.parameters.um_file_context_is_full_context:
            raise NotImplementedError("volumes with full contexts")
        key = name if self.volume.parameters.case_sensitive_search else name.upper()
        return self._nodes.setdefault(key, context)

    # --- the volume ---

    def volume_info(self) -> VolumeInfo:
        raw = types.new("FSP_FSCTL_VOLUME_INFO *")
        self._call("volume info", "GetVolumeInfo", raw, guard="shared")
        label = bytes(types.buffer(raw.VolumeLabel))[: raw.VolumeLabelLength]
        return VolumeInfo(raw.TotalSize, raw.FreeSize, label.decode("utf-16-le"))

    def set_volume_label(self, label: str) -> None:
        raw = types.new("FSP_FSCTL_VOLUME_INFO *")
        self._call("set volume label", "SetVolumeLabel", text(label), raw, guard="exclusive")

    # --- shorter ---

    def stat(self, path: str, *, follow: bool = False) -> FileInfo:
        with self.open(path, access=FILE_READ_ATTRIBUTES, options=0 if follow else OPEN_REPARSE_POINT) as handle:
            return handle.info()

    def list(self, path: str, pattern: str | None = None, length: int = 4096, kind: str = "id_both") -> list[Entry]:
        """All of a folder that matches, `.` and `..` too where the file system gives them."""
        with self.open(path, options=DIRECTORY_FILE) as handle:
            return list(handle.entries(pattern, length, kind))

    def names(self, path: str, pattern: str | None = None, length: int = 4096) -> list[str]:
        return [entry.name for entry in self.list(path, pattern, length) if entry.name not in (".", "..")]

    def find(self, path: str) -> Entry:
        """As FindFirstFile of a name without wildcards: one entry of the folder it is in."""
        folder, _, name = path.rpartition("\\")
        entries = self.list(folder or "\\", name)
        if not entries:
            raise NtError(Status.NO_SUCH_FILE, f"find {path}")
        return entries[0]

    def read(self, path: str, chunk: int = 1 << 20) -> bytes:
        with self.open(path) as handle:
            return handle.read_all(chunk)

    def write(self, path: str, content: bytes, chunk: int = 1 << 16) -> None:
        access = FILE_GENERIC_READ | security.FILE_GENERIC_WRITE
        with self.open(path, access=access, disposition=OVERWRITE_IF, options=NON_DIRECTORY_FILE) as handle:
            for offset in range(0, len(content), chunk):
                handle.write(offset, content[offset : offset + chunk])

    def make_folder(self, path: str) -> None:
        self.open(path, disposition=CREATE, options=DIRECTORY_FILE).close()

    def rename(self, path: str, new: str, replace: bool = False) -> None:
        with self.open(path, access=DELETE, options=OPEN_REPARSE_POINT) as handle:
            handle.rename(new, replace)

    def delete(self, path: str) -> None:
        with self.open(path, access=DELETE, options=OPEN_REPARSE_POINT) as handle:
            handle.delete()

    def walk(self, path: str = "\\") -> Iterator[tuple[str, FileInfo]]:
        """Everything below, folders before what is in them; reparse points are not followed."""
        for entry in self.list(path):
            if entry.name in (".", ".."):
                continue
            below = path.rstrip("\\") + "\\" + entry.name
            yield below, entry.info
            if entry.info.is_directory and not entry.info.attributes & REPARSE_POINT:
                yield from self.walk(below)

    # --- calls ---

    def _invoke(self, operation: str, *arguments: Any) -> int:
        """Call an operation in this thread, which has to be one of the dispatcher's."""
        pointer = getattr(self._interface, operation)
        if pointer == NULL:
            return Status.INVALID_DEVICE_REQUEST
        return int(pointer(self.volume.raw, *arguments) or 0)

    def _call(self, what: str, operation: str, *arguments: Any, guard: Guard = "none") -> int:
        return self.volume.ask(what, lambda: self._invoke(operation, *arguments), guard)


class _Create:
    """FspFileSystemOpCreate: the check of access, then Open or Create. Runs in a thread of the dispatcher."""

    def __init__(
        self,
        caller: Caller,
        name: str,
        access: int,
        disposition: int,
        options: int,
        attributes: int,
        descriptor: bytes | None,
        allocation_size: int,
        user_mode: bool,
        trailing: bool,
        stream_at: int,
    ) -> None:
        self.caller = caller
        self.name = name
        self.access = access
        self.disposition = disposition
        self.options = options
        self.attributes = attributes
        self.descriptor = descriptor
        self.allocation_size = allocation_size
        self.user_mode = user_mode
        self.trailing = trailing
        self.stream_at = stream_at
        self.context: Any = None
        self.granted = 0
        self.info: FileInfo | None = None
        self.replaced = False
        self.reparse: tuple[int, bytes] | None = None

    def run(self) -> int:
        status = self._by_disposition()
        if status == Status.OBJECT_NAME_COLLISION:
            attributes = self._attributes(self.name)
            if attributes is not None and self.options & NON_DIRECTORY_FILE and attributes & DIRECTORY:
                return Status.FILE_IS_A_DIRECTORY
        return status

    def _by_disposition(self) -> int:
        delete = DELETE if self.options & DELETE_ON_CLOSE else 0
        if self.disposition == CREATE:
            return self._create(traverse=True)
        replaces = self.disposition in (OVERWRITE, OVERWRITE_IF, SUPERSEDE)
        extra = (DELETE if self.disposition == SUPERSEDE else FILE_WRITE_DATA) if replaces else 0
        status = self._check(False, True, self.access | extra | delete)
        if status == Status.SUCCESS:
            if not self.access & MAXIMUM_ALLOWED:
                self.granted &= ~(DELETE | extra) | self.access & (DELETE | extra)
            status = self._do_open()
            self.replaced = replaces and status == Status.SUCCESS
        if status == Status.OBJECT_NAME_NOT_FOUND and self.disposition in (OPEN_IF, OVERWRITE_IF, SUPERSEDE):
            return self._create(traverse=False)
        return status

    def _do_open(self) -> int:
        place, info = types.new("PVOID *"), types.new("FSP_FSCTL_OPEN_FILE_INFO *")
        status = self.caller._invoke(
            "Open", text(self.name), self._options, self.granted, place, types.addressof(info, "FileInfo")
        )
        return self._result(status, place, info)

    def _create(self, traverse: bool) -> int:
        if self.stream_at:
            status = self._check(True, traverse, self.access | FILE_WRITE_DATA)
            if status != Status.SUCCESS:
                return status
        else:
            needed = FILE_APPEND_DATA if self.options & DIRECTORY_FILE else FILE_WRITE_DATA
            status = self._check(True, traverse, needed)
            if status != Status.SUCCESS:
                return status
            self.granted = FILE_ALL_ACCESS if self.access & MAXIMUM_ALLOWED else self.access
        raw = None if self.stream_at else self.descriptor or _inherited(self.parent_descriptor, self.caller.token)
        place, info = types.new("PVOID *"), types.new("FSP_FSCTL_OPEN_FILE_INFO *")
        owned = types.from_buffer("char[]", raw) if raw else NULL
        status = self.caller._invoke(
            "Create", text(self.name), self._options, self.granted, self.attributes,
            types.cast("PSECURITY_DESCRIPTOR", owned), self.allocation_size, place,
            types.addressof(info, "FileInfo"),
        )  # fmt: skip
        return self._result(status, place, info)

    @property
    def _options(self) -> int:
        return self.disposition << 24 | self.options

    def _result(self, status: int, place: Any, info: Any) -> int:
        if succeeded(status):
            self.context, self.info = place[0], _info(info.FileInfo)
        return status

    # --- the check ---

    parent_descriptor = b""

    def _check(self, parent_or_main: bool, traverse: bool, desired: int) -> int:
        """FspAccessCheckEx; with `parent_or_main`, of the folder that the file is in, or the file of the stream."""
        parent = parent_or_main and not self.stream_at
        name = self.name
        if parent:
            if name == "\\":
                return Status.INVALID_PARAMETER
            name = name.rpartition("\\")[0] or "\\"
        elif parent_or_main:
            name = name[: self.stream_at]
        status = self._check_name(name, parent, parent_or_main, traverse, desired)
        if parent and status == Status.OBJECT_NAME_NOT_FOUND:
            return Status.OBJECT_PATH_NOT_FOUND
        return status

    def _check_name(self, name: str, parent: bool, parent_or_main: bool, traverse: bool, desired: int) -> int:
        token = self.caller.token
        if self.user_mode and traverse and not token.traverse and name != "\\":
            status = self._traverse(name)
            if status != Status.SUCCESS:
                return status
        status, attributes, raw = self._security(name)
        if not succeeded(status):
            return status
        if status == Status.REPARSE:
            return self._resolve(attributes)
        is_directory = bool(attributes & DIRECTORY)
        if not parent_or_main and self.trailing and not is_directory:
            return Status.OBJECT_NAME_INVALID
        if self.user_mode and raw:
            granted = security.granted(raw, token, desired) if desired else 0
            if granted is None:
                granted = self._by_parent(name, raw, desired)
                if granted is None:
                    return Status.ACCESS_DENIED
            self.granted = granted
        if attributes & REPARSE_POINT and (parent or not self.options & OPEN_REPARSE_POINT):
            return self._resolve(_last_component(name))
        if parent:
            self.parent_descriptor = raw
            if not is_directory:
                return Status.NOT_A_DIRECTORY
        elif not parent_or_main:
            if self.options & DIRECTORY_FILE and not is_directory:
                return Status.NOT_A_DIRECTORY
            if self.options & NON_DIRECTORY_FILE and is_directory:
                return Status.FILE_IS_A_DIRECTORY
        if not self.user_mode:
            self.granted = FILE_ALL_ACCESS if desired & MAXIMUM_ALLOWED else desired
            return Status.SUCCESS
        writing = FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_DELETE_CHILD
        if attributes & READONLY:
            if not is_directory and desired & writing:
                return Status.ACCESS_DENIED
            if self.options & DELETE_ON_CLOSE:
                return Status.CANNOT_DELETE
        if not raw:
            self.granted = FILE_ALL_ACCESS if desired & MAXIMUM_ALLOWED else desired
        if attributes & READONLY and not is_directory and desired & MAXIMUM_ALLOWED:
            self.granted &= ~writing
        return Status.SUCCESS

    def _by_parent(self, name: str, raw: bytes, desired: int) -> int | None:
        """What a folder grants on what is in it: to delete, and to see attributes."""
        if not desired & (MAXIMUM_ALLOWED | DELETE | FILE_READ_ATTRIBUTES) or name == "\\":
            return None
        status, attributes, parent = self._security(name.rpartition("\\")[0] or "\\")
        if status != Status.SUCCESS or not attributes & DIRECTORY or not parent:
            return None
        asked = (FILE_DELETE_CHILD if desired & DELETE else 0) | (
            FILE_READ_DATA if desired & FILE_READ_ATTRIBUTES else 0
        )
        if desired & MAXIMUM_ALLOWED:
            asked = FILE_DELETE_CHILD | FILE_READ_DATA
        if security.granted(parent, self.caller.token, asked) is None:
            return None
        given = (DELETE if asked & FILE_DELETE_CHILD else 0) | (
            FILE_READ_ATTRIBUTES if asked & FILE_READ_DATA else 0
        )
        rest = security.granted(raw, self.caller.token, desired & ~given) if desired & ~given else 0
        return None if rest is None else rest | given

    def _traverse(self, name: str) -> int:
        """Every folder on the way has to let the token through."""
        components = name.split("\\")[1:]
        for depth in range(len(components)):
            prefix = "\\" + "\\".join(components[:depth])
            status, attributes, raw = self._security(prefix)
            if status == Status.SUCCESS and attributes & REPARSE_POINT:
                return self._resolve(_last_component(prefix))
            if not succeeded(status):
                return Status.OBJECT_PATH_NOT_FOUND if status == Status.OBJECT_NAME_NOT_FOUND else status
            if status == Status.REPARSE:
                return self._resolve(attributes)
            if not attributes & DIRECTORY:
                return Status.OBJECT_PATH_NOT_FOUND
            if raw and security.granted(raw, self.caller.token, FILE_EXECUTE) is None:
                return Status.ACCESS_DENIED
        return Status.SUCCESS

    def _attributes(self, name: str) -> int | None:
        place = types.new("UINT32 *")
        status = self.caller._invoke("GetSecurityByName", text(name), place, NULL, NULL)
        return place[0] if status == Status.SUCCESS else None

    def _security(self, name: str) -> tuple[int, int, bytes]:
        """Status, attributes (or where the reparse point is in the name), descriptor (b"" for none)."""
        room = 1024
        for _ in range(8):
            attributes, size = types.new("UINT32 *"), types.new("SIZE_T *", room)
            buffer = types.new("char[]", room)
            with lent(buffer, room):
                status = self.caller._invoke(
                    "GetSecurityByName", text(name), attributes, types.cast("PSECURITY_DESCRIPTOR", buffer), size
                )
            if status != Status.BUFFER_OVERFLOW:
                return status, attributes[0], bytes(types.buffer(buffer, size[0])) if succeeded(status) else b""
            room = size[0]
        fault(f"GetSecurityByName of {name} asks for more room without end")
        return Status.INTERNAL_ERROR, 0, b""

    def _resolve(self, index: int) -> int:
        """FspFileSystemCallResolveReparsePoints: the way on from the reparse point at `index` of the name."""
        block, size = types.new("IO_STATUS_BLOCK *"), types.new("SIZE_T *", RESPONSE_ROOM)
        buffer = types.new("char[]", RESPONSE_ROOM)
        with lent(buffer, RESPONSE_ROOM):
            status = self.caller._invoke(
                "ResolveReparsePoints",
                text(self.name),
                index,
                not self.options & OPEN_REPARSE_POINT,
                block,
                buffer,
                size,
            )
        if not succeeded(status):
            return status
        self.reparse = block._content[1] & 0xFFFFFFFF, bytes(types.buffer(buffer, size[0]))
        return Status.REPARSE


def _last_component(name: str) -> int:
    """Where it begins, in UTF-16 units."""
    return units(name) - units(name.rpartition("\\")[2])


def _within_volume(reparsed: Reparsed) -> str | None:
    """Where a symbolic link leads, if that is on this volume."""
    if reparsed.tag != TAG_SYMLINK or len(reparsed.data) < 20:
        return None
    offset, length = (int.from_bytes(reparsed.data[at : at + 2], "little") for at in (8, 10))
    if not int.from_bytes(reparsed.data[16:20], "little") & RELATIVE:
        return None
    path = reparsed.data[20 + offset : 20 + offset + length].decode("utf-16-le", "surrogatepass")
    if not path.startswith("\\"):
        raise NtError(Status.REPARSE_POINT_NOT_RESOLVED, f"{reparsed} -> {path}")
    return path


def _inherited(parent: bytes, token: Token) -> bytes:
    """The descriptor of a new file without one of its own: what the folder passes on, else the token's default."""
    aces = [ace for ace in (security.parse(parent).dacl or () if parent else ()) if ace.flags & 0x3]
    if not aces:
        aces = [
            security.Ace(security.ALLOWED, 0, FILE_ALL_ACCESS, sid)
            for sid in (token.user, "S-1-5-18", "S-1-5-32-544")
        ]
    kept = tuple(ace._replace(flags=0) for ace in aces)
    return security.build(security.Descriptor(security.DACL_PRESENT, token.user, token.user, kept, None))


class Handle:
    """An open file. To be closed; in a `with` it closes itself."""

    def __init__(
        self,
        caller: Caller,
        name: str,
        context: Any,
        granted: int,
        info: FileInfo | None,
        options: int,
        main: Handle | None,
    ) -> None:
        self.caller = caller
        self.name = name
        self.granted = granted
        self.closed = False
        self._context = context
        self._opened_info = info
        self._options = options
        self._main = main
        self._changed = False
        self._deleted = bool(options & DELETE_ON_CLOSE)
        self._cleaned = False
        self._pattern: str | None = None
        self._marker: str | None = None
        self._found = False
        self._listing: bytes | None = None  # the first answer, where the kernel keeps it

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def volume(self) -> Volume:
        return self.caller.volume

    @property
    def is_directory(self) -> bool:
        assert self._opened_info is not None
        return self._opened_info.is_directory

    def _need(self, access: int, what: str) -> None:
        if access & ~self.granted:
            raise NtError(Status.ACCESS_DENIED, f"{what} {self.name}")

    def _call(self, what: str, operation: str, *arguments: Any, guard: Guard = "none") -> int:
        return self.caller._call(f"{what} {self.name}", operation, self._context, *arguments, guard=guard)

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
        name = text(self.name) if self._deleted else NULL
        try:
            self._call("cleanup", "Cleanup", name, flags | 0x20, guard="exclusive" if self._deleted else "none")
        except NtError as error:
            if error.status != Status.CANCELLED:  # the volume may be gone by now
                raise

    def close(self) -> None:
        if self.closed:
            return
        self.cleanup()
        self.closed = True
        try:
            self._call("close", "Close")
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
        size = self._opened_info.size if self._opened_info else 0
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
        """One read as the file system sees it: `length` may lie over the end. STATUS_END_OF_FILE at the end."""
        buffer = types.new("char[]", length + PAGE)
        types.memmove(buffer + length, b"\xa5" * PAGE, PAGE)
        transferred = types.new("ULONG *")

        def run() -> int:
            with lent(buffer, length):
                status = self.caller._invoke("Read", self._context, buffer, offset, length, transferred)
            if bytes(types.buffer(buffer + length, PAGE)) != b"\xa5" * PAGE:
                fault(f"Read of {self.name} at {offset} wrote past the {length} bytes that were asked")
            if succeeded(status) and transferred[0] > length:
                return Status.INTERNAL_ERROR
            return status

        self.volume.ask(f"read {self.name} at {offset}", run)
        return bytes(types.buffer(buffer, transferred[0]))

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
        self._call("write", "Write", buffer, at, len(content), offset is None, constrained, transferred, info)
        self._changed = True
        self._opened_info = _info(info)
        return int(transferred[0])

    def flush(self) -> None:
        self._call("flush", "Flush", types.new("FSP_FSCTL_FILE_INFO *"))

    def set_size(self, size: int, *, allocation: bool = False) -> None:
        self._need(FILE_WRITE_DATA, "set size")
        info = types.new("FSP_FSCTL_FILE_INFO *")
        self._call("set size", "SetFileSize", size, allocation, info)
        self._changed = True
        self._opened_info = _info(info)

    def _overwrite(self, attributes: int, allocation_size: int, supersede: bool) -> None:
        info = types.new("FSP_FSCTL_FILE_INFO *")

        def run() -> int:
            status = self.caller._invoke("Overwrite", self._context, attributes, supersede, allocation_size, info)
            if not succeeded(status):
                self.caller._invoke("Close", self._context)
            return status

        self.volume.ask(f"overwrite {self.name}", run)
        self._changed = True
        self._opened_info = _info(info)

    # --- metadata ---

    def info(self) -> FileInfo:
        """As the file system says now."""
        raw = types.new("FSP_FSCTL_FILE_INFO *")
        self._call("info", "GetFileInfo", raw)
        return _info(raw)

    @property
    def opened_info(self) -> FileInfo:
        """As it was said when the file was opened."""
        assert self._opened_info is not None
        return self._opened_info

    def set_times(self, created: int = 0, accessed: int = 0, written: int = 0, changed: int = 0) -> None:
        """Zero leaves a time as it is."""
        self.set_basic(0xFFFFFFFF, created, accessed, written, changed)

    def set_basic(
        self, attributes: int, created: int = 0, accessed: int = 0, written: int = 0, changed: int = 0
    ) -> None:
        self._need(0x100, "set attributes")  # FILE_WRITE_ATTRIBUTES
        raw = types.new("FSP_FSCTL_FILE_INFO *")
        self._call("set attributes", "SetBasicInfo", attributes, created, accessed, written, changed, raw)

    def security(self) -> bytes:
        """The self-relative descriptor."""
        size, buffer = types.new("SIZE_T *", RESPONSE_ROOM), types.new("char[]", RESPONSE_ROOM)

        def run() -> int:
            with lent(buffer, RESPONSE_ROOM):
                status = self.caller._invoke(
                    "GetSecurity", self._context, types.cast("PSECURITY_DESCRIPTOR", buffer), size
                )
            return Status.INVALID_SECURITY_DESCR if status == Status.BUFFER_OVERFLOW else status

        self.volume.ask(f"security of {self.name}", run)
        return bytes(types.buffer(buffer, size[0]))

    def set_security(self, which: int, descriptor: bytes) -> None:
        self._need(security.WRITE_DAC, "set security")
        owned = types.from_buffer("char[]", descriptor)
        value = types.new("SECURITY_INFORMATION *")
        value._value = which
        self._call("set security", "SetSecurity", value[0], types.cast("PSECURITY_DESCRIPTOR", owned))

    def rename(self, new: str, replace: bool = False) -> None:
        self._need(DELETE, "rename")
        self._call("rename", "Rename", text(self.name), text(new), replace, guard="exclusive")
        self.name = new

    def delete(self) -> None:
        """Mark it; it goes when it is closed."""
        self._need(DELETE, "delete")
        if self.info().attributes & READONLY:
            raise NtError(Status.CANNOT_DELETE, f"delete {self.name}")
        self._call("delete", "CanDelete", text(self.name), guard="shared")
        self._deleted = True

    # --- reparse points and streams ---

    def reparse_point(self) -> bytes:
        """The whole REPARSE_DATA_BUFFER."""
        what = f"reparse point of {self.name}"
        if not self.volume.parameters.reparse_points:
            raise NtError(Status.INVALID_DEVICE_REQUEST, what)
        size, buffer = types.new("SIZE_T *", RESPONSE_ROOM), types.new("char[]", RESPONSE_ROOM)

        def run() -> int:
            with lent(buffer, RESPONSE_ROOM):
                return self.caller._invoke("GetReparsePoint", self._context, text(self.name), buffer, size)

        self.volume.ask(what, run)
        return bytes(types.buffer(buffer, size[0]))

    def set_reparse_point(self, data: bytes) -> None:
        if not self.volume.parameters.reparse_points:
            raise NtError(Status.INVALID_DEVICE_REQUEST, f"reparse point of {self.name}")
        buffer = types.from_buffer("char[]", data)
        self._call("set reparse point", "SetReparsePoint", text(self.name), buffer, len(data))

    def streams(self) -> list[Stream]:
        """All data streams, the file's own first, as the file system tells them."""
        if not self.volume.parameters.named_streams:
            info = self.opened_info
            return [] if info.is_directory else [Stream("", info.size, info.allocation_size)]
        transferred, buffer = types.new("ULONG *"), types.new("char[]", RESPONSE_ROOM)

        def run() -> int:
            with lent(buffer, RESPONSE_ROOM):
                return self.caller._invoke("GetStreamInfo", self._context, buffer, RESPONSE_ROOM, transferred)

        self.volume.ask(f"streams of {self.name}", run)
        raw = bytes(types.buffer(buffer, transferred[0]))
        return [
            Stream(
                entry[24:].decode("utf-16-le", "surrogatepass"),
                *(int.from_bytes(entry[at : at + 8], "little") for at in (8, 16)),
            )
            for entry, _next in _entries(raw, 0, 24)
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
        what, parameters = f"list {self.name}", self.volume.parameters
        if not self.is_directory:
            raise NtError(Status.INVALID_PARAMETER, what)
        base = _OFFSET_OF_NAME[kind]
        if base >= length:
            raise NtError(Status.BUFFER_TOO_SMALL, what)
        if self._pattern is None or (restart and pattern):
            self._pattern = pattern or "*"
            if not parameters.case_sensitive_search:
                self._pattern = self._pattern.upper()
        if restart:
            self._marker, self._found = None, False
        wild = any(character in '*?<>"' for character in self._pattern)
        if not wild and self._found:
            raise NtError(Status.NO_MORE_FILES, what)
        by_name = bool(parameters.pass_query_directory_file_name) and not wild
        passed = self._pattern if by_name else None
        if self._listing is not None and not by_name:
            copied = self._copy(self._listing, base, length, single, what)
            if copied:
                return copied
        while True:
            first = self._marker is None
            raw = self._ask_for_entries(passed, by_name, self._length(passed, by_name, first, base, length))
            if not raw:
                raise NtError(Status.NO_MORE_FILES if self._found else Status.NO_SUCH_FILE, what)
            if first and passed is None and parameters.dir_info_timeout:
                self._listing = raw
            copied = self._copy(raw, base, length, single, what, skip=False)
            if copied:
                return copied

    def _length(self, passed: str | None, by_name: bool, first: bool, base: int, length: int) -> int:
        """How many bytes of entries the kernel asks for, when the program has room for `length`."""
        parameters = self.volume.parameters
        least = -(-(_ENTRY + parameters.max_component_length * 2) // 8) * 8
        if by_name:
            return least
        if (parameters.dir_info_timeout and first) or (passed is None and self._pattern != "*"):
            return _LISTING_MOST
        ratio = -(-(length * (_ENTRY + 48) // (base + 48)) // 8) * 8
        return min(max(ratio, least), _LISTING_MOST)

    def _ask_for_entries(self, passed: str | None, by_name: bool, size: int) -> bytes:
        buffer, transferred = types.new("char[]", size), types.new("ULONG *")
        marker = NULL if self._marker is None else text(self._marker)

        def run() -> int:
            with lent(buffer, size):
                if by_name and self.caller._interface.GetDirInfoByName != NULL:
                    assert passed is not None
                    return self._by_name(passed, buffer, size, transferred)
                pattern = NULL if passed is None else text(passed)
                return self.caller._invoke(
                    "ReadDirectory", self._context, pattern, marker, buffer, size, transferred
                )

        self.volume.ask(f"list {self.name}", run, "shared")
        if transferred[0] > size:
            raise NtError(Status.INTERNAL_ERROR, f"list {self.name}")
        return bytes(types.buffer(buffer, transferred[0]))

    def _by_name(self, name: str, buffer: Any, size: int, transferred: Any) -> int:
        room = _ENTRY + 255 * 2
        raw = types.new("char[]", room)
        info = types.cast("FSP_FSCTL_DIR_INFO *", raw)
        with lent(raw, room):
            status = self.caller._invoke("GetDirInfoByName", self._context, text(name), info)
        if succeeded(status):
            used = -(-info.Size // 8) * 8
            if used <= size:
                types.memmove(buffer, raw, info.Size)
                transferred[0] = used
        elif status != Status.OBJECT_NAME_NOT_FOUND:
            return status
        if transferred[0] + 2 <= size:
            types.memmove(buffer + transferred[0], b"\0\0", 2)
            transferred[0] += 2
        return Status.SUCCESS

    def _copy(self, raw: bytes, base: int, length: int, single: bool, what: str, skip: bool = True) -> list[Entry]:
        """FspFsvolQueryDirectoryCopy: what of `raw` matches and fits; with `skip`, only what is after the marker.

        An empty list: ask the file system for more. NtError at the folder's end.
        """
        copied: list[Entry] = []
        used = 0
        skipping = skip and self._marker is not None
        folded = not self.volume.parameters.case_sensitive_search
        assert self._pattern is not None
        for entry, ended in _entries(raw, 0, _ENTRY):
            if ended:
                if not copied:
                    raise NtError(Status.NO_MORE_FILES if self._found else Status.NO_SUCH_FILE, what)
                return copied
            name = entry[_ENTRY:].decode("utf-16-le", "surrogatepass")
            if skipping:
                assert self._marker is not None
                skipping = (name.upper() != self._marker.upper()) if folded else name != self._marker
                continue
            if self._pattern == "*" or matches(self._pattern, name, folded):
                needed = base + len(entry) - _ENTRY
                if used + needed > length:
                    if copied:
                        return copied
                    raise NtError(Status.BUFFER_OVERFLOW, what)
                used += -(-needed // 8) * 8
                info = types.cast("FSP_FSCTL_DIR_INFO *", types.from_buffer(entry)).FileInfo
                copied.append(Entry(name, _info(info)))
                self._found = True
            self._marker = name
            if copied and single:
                return copied
        return copied


def _entries(raw: bytes, at: int, least: int) -> Iterator[tuple[bytes, bool]]:
    """Each entry's bytes, its size in the first two; (b"", True) at anything smaller, such as the end mark."""
    while at + 2 <= len(raw):
        size = int.from_bytes(raw[at : at + 2], "little")
        if size < least:
            yield b"", True
            return
        yield raw[at : at + size], False
        at += -(-size // 8) * 8


def matches(pattern: str, name: str, folded: bool) -> bool:
    """FsRtlIsNameInExpression: `*`, `?`, and DOS's: `<` is * up to the last dot, `>` is ? or the end, `"` a dot."""
    if folded:
        pattern, name = pattern.upper(), name.upper()

    @cache
    def match(i: int, j: int) -> bool:
        if i == len(pattern):
            return j == len(name)
        sign = pattern[i]
        if sign == "*":
            return match(i + 1, j) or (j < len(name) and match(i, j + 1))
        if sign == "<":
            return match(i + 1, j) or (
                j < len(name) and (name[j] != "." or "." in name[j + 1 :]) and match(i, j + 1)
            )
        if sign == ">":
            return (j < len(name) and name[j] != "." and match(i + 1, j + 1)) or (
                (j == len(name) or name[j] == ".") and match(i + 1, j)
            )
        if sign == '"':
            return (j < len(name) and name[j] == "." and match(i + 1, j + 1)) or (
                j == len(name) and match(i + 1, j)
            )
        return j < len(name) and sign in ("?", name[j]) and match(i + 1, j + 1)

    return match(0, 0)


_RESERVED = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{port}{digit}" for port in ("COM", "LPT") for digit in "123456789¹²³"
}


def win32_path(path: str) -> str | None:
    """What Win32 makes of a path before the kernel sees it; None where it opens a device instead.

    Dots and blanks at the end of a component go; `.` and `..` are walked.
    """
    kept: list[str] = []
    for component in path.replace("/", "\\").split("\\"):
        if component in ("", "."):
            continue
        if component == "..":
            kept = kept[:-1]
            continue
        if component.partition(".")[0].partition(":")[0].rstrip(" ").upper() in _RESERVED:
            return None
        kept.append(component.rstrip(" ."))
    return "\\" + "\\".join(kept)
