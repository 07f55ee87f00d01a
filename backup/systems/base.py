"""The interface to the operating system. The walk reads files and folders only through it.

PosixSystem (posix.py) and WindowsSystem (windows.py) implement it; this.py chooses one when a run begins. Names
and paths are bytes: on Windows WTF-8 (UTF-8, and lone surrogates as three bytes each), with the drive letter as
the first part of a path, e.g. `/C/Users/anna`. Errors are OSError, with a `strerror` that can be shown to the user.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from backup.systems.names import Names
from backup.systems.side_data import SideData
from catalog.format.nodes import Node
from catalog.format.records import Volume
from catalog.format.values import Owner

TIME_MIN, TIME_MAX = -(2**63), 2**64 - 1  # ns since the epoch, as MessagePack has them: years 1677 to 2554


def kept_time(time: int) -> int:
    """The time (ns) that an entry holds for one of a file: the nearest that a page can hold."""
    if TIME_MIN <= time <= TIME_MAX:  # quicker than min and max, which show: four calls for each new file
        return time
    return TIME_MIN if time < 0 else TIME_MAX


class OnlineOnly(OSError):
    """The contents of a file or folder are only in a cloud, and reading them would download them."""


class Status(Protocol):
    """The status of a file, with fields as in os.stat_result.

    Any change of what is saved changes `st_ctime_ns`. A file has holes if its `st_blocks` (of 512 bytes) are fewer
    than its size takes.
    """

    @property
    def st_mode(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_dev(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_blocks(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...
    @property
    def st_rdev(self) -> int: ...


Folder = TypeVar("Folder")  # an open folder: a descriptor, or what else the system has for it
File = TypeVar("File")  # an open file or stream
File_contra = TypeVar("File_contra", contravariant=True)
Stat = TypeVar("Stat", bound=Status)
Folder_contra = TypeVar("Folder_contra", contravariant=True)


class SideDataReader(Protocol[Folder_contra, File]):
    """Reads metadata that a system has beyond POSIX."""

    def side_data(self, target: File | bytes, folder: Folder_contra) -> SideData[File]:
        """The side data of an open file, or of a name in a folder."""

    def short_name(self, name: bytes, folder: Folder_contra) -> str:
        """The 8.3 name that belongs to a name in a folder; empty if there is none."""


class ImageReader(Protocol[File_contra]):
    """Reads disk images: files that are cut into pieces of one size, `piece` bytes, whatever their contents."""

    @property
    def piece(self) -> int: ...

    def is_image(self, file: File_contra) -> bool:
        """Whether an open file is an image."""

    def part(self, file: File_contra, start: int, length: int) -> bytes:
        """The bytes from `start`; fewer only at the end. What can't be read is noted, and zeros here."""

    def data(self, file: File_contra, size: int) -> Iterator[tuple[int, int]] | None:
        """The ranges (start, end) that may not be zeros, in order; None: all of it."""

    def changed(self, file: File_contra, since: int) -> Iterator[tuple[int, int]] | None:
        """The ranges (start, end) that may differ from the earlier point, in order; None if that isn't known.

        `since` is the ctime (ns) that the image has in that point.
        """

    def problems(self) -> list[str]:
        """What to tell of an image that was read."""


class System(Protocol[Folder, File, Stat]):
    """The calls of one operating system."""

    name: str  # as platform.system() returns it
    ignores_case: bool  # whether names that differ only in case are usually taken for equal
    paths_are_native: bool  # whether os.lstat takes the paths of a point
    status_has_mode: (
        bool  # whether a status has the permission bits; else st_ctime_ns alone shows that they changed
    )

    opens_ahead: bool  # whether files may be opened before their turn: all metadata comes from the open file

    @property
    def side_data_reader(self) -> SideDataReader[Folder, File] | None:
        """The reader of side data; None if the system has no metadata beyond POSIX."""

    @property
    def image_reader(self) -> ImageReader[File] | None:
        """The reader of disk images; None where all files are files."""
        return None

    def raise_limits(self) -> int:
        """Raise the limit of open files as far as this process may. Returns how many of them a walk may use."""

    def lock(self, file: int) -> None:
        """Lock a file until this process ends. Raises OSError if another process holds the lock."""

    def point_path(self, path: Path) -> bytes:
        """An absolute path in the form that points use. Raises LocalError if it can't be saved."""

    def identity(self, path: Path) -> tuple[int, int] | None:
        """st_dev and st_ino of a path of this system; None if there is nothing."""

    def volume(self, path: Path) -> Volume:
        """The file system whose root is at a path (absolute, no links), and its identity.

        Raises LocalError if there is none, or one whose files are not saved.
        """

    def unwanted_mounts(self) -> set[bytes]:
        """Mount points of file systems that hold no files of their own, and of rpdrive's drives."""

    # --- folders and names ------------------------------------------------------------------------------------

    def open_top(self) -> Folder:
        """The folder in which all paths begin."""

    def open_folder(self, name: bytes, parent: Folder) -> Folder:
        """A folder in a folder; links are not followed. Raises OnlineOnly."""

    def open_passage(self, name: bytes, parent: Folder) -> Folder:
        """A folder in which only known names will be looked up: it need not be readable."""

    def close(self, handle: Folder | File) -> None:
        """Close a file or folder."""

    def names(self, folder: Folder) -> Names:
        """Names in a folder, sorted as bytes."""

    def status(self, name: bytes, folder: Folder) -> Stat:
        """The status of a name in a folder; links are not followed. Raises FileNotFoundError."""

    def owner(self, st: Stat) -> Owner:
        """Owner and group with their names, each looked up once."""

    def node(self, name: bytes, st: Stat) -> Node:
        """An entry of this status, without content, extended attributes and side data."""

    def readlink(self, name: bytes, folder: Folder) -> bytes:
        """The target of a symlink."""

    def xattrs(self, target: File | bytes, folder: Folder) -> dict[bytes, bytes]:
        """Extended attributes (ACLs among them) of an open file, or of a name in a folder."""

    # --- contents ---------------------------------------------------------------------------------------------

    def open_file(self, name: bytes, parent: Folder) -> File:
        """A file in a folder; links are not followed. Waits for a program with a lease on it. Raises OnlineOnly."""

    def file_status(self, handle: File | Folder) -> Stat:
        """The status of an open file or folder."""

    def read_small(self, file: File, size: int, most: int) -> bytes:
        """A whole file of `size` bytes. If it has grown, reads on to its end, or to a little more than `most`."""

    def fill(self, file: File, buffer: memoryview, position: int) -> int:
        """Read until the buffer is full or the file ends. Returns the number of bytes read."""

    def expect(self, file: File, position: int, length: int) -> bool:
        """Have the system read a range of a file soon, without waiting. It may do nothing, and raises nothing.

        Returns whether it should `release` the range afterwards: it was not in memory before.
        """

    def release(self, file: File, position: int, length: int) -> None:
        """Let the system drop a range of a file from memory. It may do nothing, and raises nothing."""

    def data_ranges(self, file: File, st: Stat) -> Iterator[tuple[int, int]]:
        """The ranges of a file of `st_size` bytes (start, end) that are not holes, in order."""
