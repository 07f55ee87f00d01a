"""What the caller hands out, and the bits that it takes."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.kit.winfsp.status import NtError, Status

SUPERSEDE, OPEN, CREATE, OPEN_IF, OVERWRITE, OVERWRITE_IF = range(6)  # dispositions

DIRECTORY_FILE, NON_DIRECTORY_FILE = 0x1, 0x40  # options
NO_INTERMEDIATE_BUFFERING = 0x8
DELETE_ON_CLOSE = 0x1000
OPEN_REPARSE_POINT = 0x200000

READONLY, DIRECTORY, REPARSE_POINT = 0x1, 0x10, 0x400  # attributes

RESPONSE_ROOM = 16 * 1024 - 128  # bytes of data in an answer to the kernel
PATH_ROOM = 2048  # bytes of a name in one


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
    index: int  # type: ignore[assignment]  # it hides the method of tuples

    @property
    def is_directory(self) -> bool:
        return bool(self.attributes & DIRECTORY)

    @property
    def is_reparse_point(self) -> bool:
        return bool(self.attributes & REPARSE_POINT)


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


def file_info(raw: Any) -> FileInfo:
    """The fields of an FSP_FSCTL_FILE_INFO."""
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
