"""What a request to open a file asks, and whether the security of the file and of what is above it allows that."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.kit.winfsp import security
from tests.kit.winfsp.bindings import NULL
from tests.kit.winfsp.layout import types
from tests.kit.winfsp.memory import fault, lent
from tests.kit.winfsp.names import folder_of, last_component, wide
from tests.kit.winfsp.security import (
    DELETE,
    FILE_ALL_ACCESS,
    FILE_APPEND_DATA,
    FILE_DELETE_CHILD,
    FILE_EXECUTE,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
    MAXIMUM_ALLOWED,
    Token,
)
from tests.kit.winfsp.status import Status, succeeded
from tests.kit.winfsp.values import (
    DELETE_ON_CLOSE,
    DIRECTORY,
    DIRECTORY_FILE,
    NON_DIRECTORY_FILE,
    OPEN_REPARSE_POINT,
    READONLY,
    REPARSE_POINT,
    RESPONSE_ROOM,
)

Invoke = Callable[..., int]  # calls an operation by its name


class Request(NamedTuple):
    """The fields of a Create request. `stream_at`: where the colon is in a name with a stream, else 0."""

    name: str
    access: int
    disposition: int
    options: int
    attributes: int
    descriptor: bytes | None
    allocation_size: int
    user_mode: bool
    trailing: bool
    stream_at: int


class AccessCheck:
    """FspAccessCheckEx. For a thread of the dispatcher."""

    def __init__(self, invoke: Invoke, token: Token, request: Request) -> None:
        self._invoke = invoke
        self._token = token
        self._request = request
        self.granted = 0
        self.parent_descriptor = b""
        self.reparse: tuple[int, bytes] | None = None  # with STATUS_REPARSE: tag and data

    def check(self, parent_or_main: bool, traverse: bool, desired: int) -> int:
        """FspAccessCheckEx; with `parent_or_main`, of the folder that the file is in, or the file of the stream."""
        parent = parent_or_main and not self._request.stream_at
        name = self._request.name
        if parent:
            if name == "\\":
                return Status.INVALID_PARAMETER
            name = folder_of(name)
        elif parent_or_main:
            name = name[: self._request.stream_at]
        try:
            status = self._check_name(name, parent, parent_or_main, traverse, desired)
        except ValueError:
            return Status.INVALID_SECURITY_DESCR
        if parent and status == Status.OBJECT_NAME_NOT_FOUND:
            return Status.OBJECT_PATH_NOT_FOUND
        return status

    def _check_name(self, name: str, parent: bool, parent_or_main: bool, traverse: bool, desired: int) -> int:
        token = self._token
        if self._request.user_mode and traverse and not token.traverse and name != "\\":
            status = self._traverse(name)
            if status != Status.SUCCESS:
                return status
        status, attributes, raw = self._security(name)
        if not succeeded(status):
            return status
        if status == Status.REPARSE:
            return self._resolve(attributes)
        is_directory = bool(attributes & DIRECTORY)
        if not parent_or_main and self._request.trailing and not is_directory:
            return Status.OBJECT_NAME_INVALID
        if self._request.user_mode and raw:
            granted = security.granted(raw, token, desired) if desired else 0
            if granted is None:
                granted = self._by_parent(name, raw, desired)
                if granted is None:
                    return Status.ACCESS_DENIED
            self.granted = granted
        if attributes & REPARSE_POINT and (parent or not self._request.options & OPEN_REPARSE_POINT):
            return self._resolve(last_component(name))
        if parent:
            self.parent_descriptor = raw
            if not is_directory:
                return Status.NOT_A_DIRECTORY
        elif not parent_or_main:
            if self._request.options & DIRECTORY_FILE and not is_directory:
                return Status.NOT_A_DIRECTORY
            if self._request.options & NON_DIRECTORY_FILE and is_directory:
                return Status.FILE_IS_A_DIRECTORY
        if not self._request.user_mode:
            self.granted = FILE_ALL_ACCESS if desired & MAXIMUM_ALLOWED else desired
            return Status.SUCCESS
        writing = FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_DELETE_CHILD
        if attributes & READONLY:
            if not is_directory and desired & writing:
                return Status.ACCESS_DENIED
            if self._request.options & DELETE_ON_CLOSE:
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
        status, attributes, parent = self._security(folder_of(name))
        if status != Status.SUCCESS or not attributes & DIRECTORY or not parent:
            return None
        asked = (FILE_DELETE_CHILD if desired & DELETE else 0) | (
            FILE_READ_DATA if desired & FILE_READ_ATTRIBUTES else 0
        )
        if desired & MAXIMUM_ALLOWED:
            asked = FILE_DELETE_CHILD | FILE_READ_DATA
        if security.granted(parent, self._token, asked) is None:
            return None
        given = (DELETE if asked & FILE_DELETE_CHILD else 0) | (
            FILE_READ_ATTRIBUTES if asked & FILE_READ_DATA else 0
        )
        rest = security.granted(raw, self._token, desired & ~given) if desired & ~given else 0
        return None if rest is None else rest | given

    def _traverse(self, name: str) -> int:
        """Every folder on the way has to let the token through."""
        components = name.split("\\")[1:]
        for depth in range(len(components)):
            prefix = "\\" + "\\".join(components[:depth])
            status, attributes, raw = self._security(prefix)
            if status == Status.SUCCESS and attributes & REPARSE_POINT:
                return self._resolve(last_component(prefix))
            if not succeeded(status):
                return Status.OBJECT_PATH_NOT_FOUND if status == Status.OBJECT_NAME_NOT_FOUND else status
            if status == Status.REPARSE:
                return self._resolve(attributes)
            if not attributes & DIRECTORY:
                return Status.OBJECT_PATH_NOT_FOUND
            if raw and security.granted(raw, self._token, FILE_EXECUTE) is None:
                return Status.ACCESS_DENIED
        return Status.SUCCESS

    def attributes(self, name: str) -> int | None:
        place = types.new("UINT32 *")
        status = self._invoke("GetSecurityByName", wide(name), place, NULL, NULL)
        return place[0] if status == Status.SUCCESS else None

    def _security(self, name: str) -> tuple[int, int, bytes]:
        """Status, attributes (or where the reparse point is in the name), descriptor (b"" for none)."""
        room = 1024
        for _ in range(8):
            attributes, size = types.new("UINT32 *"), types.new("SIZE_T *", room)
            buffer = types.new("char[]", room)
            with lent(buffer, room):
                status = self._invoke(
                    "GetSecurityByName", wide(name), attributes, types.cast("PSECURITY_DESCRIPTOR", buffer), size
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
            status = self._invoke(
                "ResolveReparsePoints",
                wide(self._request.name),
                index,
                not self._request.options & OPEN_REPARSE_POINT,
                block,
                buffer,
                size,
            )
        if not succeeded(status):
            return status
        self.reparse = block._content[1] & 0xFFFFFFFF, bytes(types.buffer(buffer, size[0]))
        return Status.REPARSE
