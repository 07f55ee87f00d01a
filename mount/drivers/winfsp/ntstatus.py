"""Our errors as NTSTATUS, the error codes of Windows.

The comments give the Win32 error that programs see, and its message.
"""

from __future__ import annotations

from catalog.errors import Damaged, NotFound, RpdriveError, StoreUnreachable, UsageError

SUCCESS = 0
PENDING = 0x00000103
BUFFER_OVERFLOW = 0x80000005
REPARSE = 0x00000104
INVALID_PARAMETER = 0xC000000D  # 87
INVALID_DEVICE_REQUEST = 0xC0000010  # 1: incorrect function
END_OF_FILE = 0xC0000011  # 38
ACCESS_DENIED = 0xC0000022  # 5
BUFFER_TOO_SMALL = 0xC0000023  # 122
OBJECT_NAME_INVALID = 0xC0000033  # 123
OBJECT_NAME_NOT_FOUND = 0xC0000034  # 2: the system cannot find the file specified
OBJECT_PATH_NOT_FOUND = 0xC000003A  # 3: the system cannot find the path specified
DATA_ERROR = 0xC000003E  # 23: data error (cyclic redundancy check)
INSUFFICIENT_RESOURCES = 0xC000009A  # 1450
DEVICE_NOT_READY = 0xC00000A3  # 21: the device is not ready
MEDIA_WRITE_PROTECTED = 0xC00000A2  # 19: the media is write protected
IO_TIMEOUT = 0xC00000B5  # 121: the semaphore timeout period has expired
FILE_IS_A_DIRECTORY = 0xC00000BA  # 5
UNEXPECTED_IO_ERROR = 0xC00000E9  # 1117
NOT_A_DIRECTORY = 0xC0000103  # 267
IO_DEVICE_ERROR = 0xC0000185  # 1117: the request could not be performed because of an I/O device error
NETWORK_UNREACHABLE = 0xC000023C  # 1231: the network location cannot be reached
NOT_A_REPARSE_POINT = 0xC0000275  # 4390
REPARSE_POINT_NOT_RESOLVED = 0xC0000280  # 1921: the name of the file cannot be resolved by the system

# The first match counts. Damaged is not FILE_CORRUPT_ERROR: Windows would offer to check the disk.
_TABLE: tuple[tuple[type[BaseException], int], ...] = (
    (NotFound, OBJECT_NAME_NOT_FOUND),
    (Damaged, DATA_ERROR),
    (StoreUnreachable, NETWORK_UNREACHABLE),
    (UsageError, INVALID_PARAMETER),
    (RpdriveError, IO_DEVICE_ERROR),
    (MemoryError, INSUFFICIENT_RESOURCES),
    (TimeoutError, IO_TIMEOUT),
)


class NtRefusal(Exception):
    """An NTSTATUS that callers of a file system expect; it is not logged."""

    def __init__(self, number: int) -> None:
        super().__init__(f"NTSTATUS 0x{number:08X}")
        self.number = number


def status_of(error: BaseException) -> int:
    """The NTSTATUS of an error. Any error not in the table is an I/O error: never an empty file, never zeros."""
    if isinstance(error, NtRefusal):
        return error.number
    return next((number for kind, number in _TABLE if isinstance(error, kind)), UNEXPECTED_IO_ERROR)
