"""The NTSTATUS codes that WinFsp itself and its kernel driver give, and the error that the caller raises."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    SUCCESS = 0
    PENDING = 0x00000103
    REPARSE = 0x00000104
    BUFFER_OVERFLOW = 0x80000005
    NO_MORE_FILES = 0x80000006
    NOT_IMPLEMENTED = 0xC0000002
    INVALID_INFO_CLASS = 0xC0000003
    INVALID_PARAMETER = 0xC000000D
    NO_SUCH_DEVICE = 0xC000000E
    NO_SUCH_FILE = 0xC000000F
    INVALID_DEVICE_REQUEST = 0xC0000010
    END_OF_FILE = 0xC0000011
    ACCESS_DENIED = 0xC0000022
    BUFFER_TOO_SMALL = 0xC0000023
    OBJECT_NAME_INVALID = 0xC0000033
    OBJECT_NAME_NOT_FOUND = 0xC0000034
    OBJECT_NAME_COLLISION = 0xC0000035
    OBJECT_PATH_NOT_FOUND = 0xC000003A
    EAS_NOT_SUPPORTED = 0xC000004F
    INVALID_SECURITY_DESCR = 0xC0000079
    INSUFFICIENT_RESOURCES = 0xC000009A
    MEDIA_WRITE_PROTECTED = 0xC00000A2
    IO_TIMEOUT = 0xC00000B5
    FILE_IS_A_DIRECTORY = 0xC00000BA
    NETWORK_ACCESS_DENIED = 0xC00000CA
    NO_SECURITY_ON_OBJECT = 0xC00000D7
    UNEXPECTED_IO_ERROR = 0xC00000E9
    INTERNAL_ERROR = 0xC00000E5
    DIRECTORY_NOT_EMPTY = 0xC0000101
    NOT_A_DIRECTORY = 0xC0000103
    CANCELLED = 0xC0000120
    CANNOT_DELETE = 0xC0000121
    IO_DEVICE_ERROR = 0xC0000185
    NOT_A_REPARSE_POINT = 0xC0000275
    IO_REPARSE_TAG_MISMATCH = 0xC0000277
    IO_REPARSE_DATA_INVALID = 0xC0000278
    REPARSE_POINT_NOT_RESOLVED = 0xC0000280


def succeeded(status: int) -> bool:
    """A success or an informational code, as NT_SUCCESS has it."""
    return status < 0x80000000


class NtError(Exception):
    """A request that the file system, or WinFsp before it, refused: `status` says why, `what` which request."""

    def __init__(self, status: int, what: str) -> None:
        try:
            name = Status(status).name
        except ValueError:
            name = f"0x{status:08X}"
        super().__init__(f"{what}: STATUS_{name}")
        self.status = status
