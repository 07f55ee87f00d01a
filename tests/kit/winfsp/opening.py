"""Opening and making files: what WinFsp's DLL does of a Create request of the kernel's."""

from __future__ import annotations

from typing import Any

from tests.kit.winfsp import security
from tests.kit.winfsp.access import AccessCheck, Invoke, Request
from tests.kit.winfsp.bindings import NULL
from tests.kit.winfsp.layout import types
from tests.kit.winfsp.memory import lent
from tests.kit.winfsp.names import wide
from tests.kit.winfsp.security import (
    DELETE,
    FILE_ALL_ACCESS,
    FILE_APPEND_DATA,
    FILE_WRITE_DATA,
    MAXIMUM_ALLOWED,
    Token,
)
from tests.kit.winfsp.status import Status, succeeded
from tests.kit.winfsp.values import (
    CREATE,
    DELETE_ON_CLOSE,
    DIRECTORY,
    DIRECTORY_FILE,
    NON_DIRECTORY_FILE,
    OPEN_IF,
    OVERWRITE,
    OVERWRITE_IF,
    PATH_ROOM,
    RESPONSE_ROOM,
    SUPERSEDE,
    FileInfo,
    file_info,
)


class Opening:
    """FspFileSystemOpCreate: the check of access, then Open or Create. Runs in a thread of the dispatcher."""

    def __init__(self, invoke: Invoke, token: Token, request: Request, case_sensitive: bool) -> None:
        self._invoke = invoke
        self._token = token
        self._request = request
        self._case_sensitive = case_sensitive
        self._access = AccessCheck(invoke, token, request)
        self.context: Any = None
        self.granted = 0
        self.info: FileInfo | None = None
        self.final_name = request.name  # as GetFinalPathNameByHandle would have it
        self.replaced = False

    @property
    def reparse(self) -> tuple[int, bytes] | None:
        return self._access.reparse

    def run(self) -> int:
        request = self._request
        status = self._by_disposition()
        if status == Status.OBJECT_NAME_COLLISION and request.options & NON_DIRECTORY_FILE:
            attributes = self._access.attributes(request.name)
            if attributes is not None and attributes & DIRECTORY:
                return Status.FILE_IS_A_DIRECTORY
        return status

    def _by_disposition(self) -> int:
        request = self._request
        delete = DELETE if request.options & DELETE_ON_CLOSE else 0
        if request.disposition == CREATE:
            return self._create(traverse=True)
        replaces = request.disposition in (OVERWRITE, OVERWRITE_IF, SUPERSEDE)
        extra = (DELETE if request.disposition == SUPERSEDE else FILE_WRITE_DATA) if replaces else 0
        status = self._access.check(False, True, request.access | extra | delete)
        if status == Status.SUCCESS:
            self.granted = self._access.granted
            if not request.access & MAXIMUM_ALLOWED:
                self.granted &= ~(DELETE | extra) | request.access & (DELETE | extra)
            status = self._open()
            self.replaced = replaces and status == Status.SUCCESS
        if status == Status.OBJECT_NAME_NOT_FOUND and request.disposition in (OPEN_IF, OVERWRITE_IF, SUPERSEDE):
            return self._create(traverse=False)
        return status

    def _open(self) -> int:
        return self._opened("Open", self._options, self.granted)

    def _create(self, traverse: bool) -> int:
        request = self._request
        folder = FILE_APPEND_DATA if request.options & DIRECTORY_FILE else FILE_WRITE_DATA
        needed = request.access | FILE_WRITE_DATA if request.stream_at else folder
        status = self._access.check(True, traverse, needed)
        if status != Status.SUCCESS:
            return status
        self.granted = FILE_ALL_ACCESS if request.access & MAXIMUM_ALLOWED else request.access
        raw = b""
        if not request.stream_at:
            raw = request.descriptor or _inherited(self._access.parent_descriptor, self._token)
        descriptor = types.cast("PSECURITY_DESCRIPTOR", types.from_buffer("char[]", raw) if raw else NULL)
        return self._opened(
            "Create", self._options, self.granted, request.attributes, descriptor, request.allocation_size
        )

    @property
    def _options(self) -> int:
        return self._request.disposition << 24 | self._request.options

    def _opened(self, operation: str, *arguments: Any) -> int:
        place, info = types.new("PVOID *"), types.new("FSP_FSCTL_OPEN_FILE_INFO *")
        normalized = types.new("char[]", RESPONSE_ROOM)
        info.NormalizedName = types.cast("PWSTR", normalized)
        info.NormalizedNameSize = RESPONSE_ROOM
        with lent(normalized, RESPONSE_ROOM):
            status = self._invoke(
                operation, wide(self._request.name), *arguments, place, types.addressof(info, "FileInfo")
            )
        if not succeeded(status):
            return status
        self.context, self.info = place[0], file_info(info.FileInfo)
        if not self._case_sensitive:
            name = self._request.name
            self.final_name = name.upper()
            if info.NormalizedNameSize <= PATH_ROOM:
                raw = bytes(types.buffer(normalized, info.NormalizedNameSize))
                self.final_name = raw.decode("utf-16-le", "surrogatepass")
            if self.final_name.upper() != name.upper():
                self._invoke("Close", self.context)
                return Status.OBJECT_NAME_INVALID
        return status


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
