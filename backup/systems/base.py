"""What a backup asks of the operating system. The walk knows of files and folders only what stands here.

posix.py answers for POSIX, windows.py for Windows; which of them is chosen once, when a run begins. Names and paths
are bytes: on Windows WTF-8 (UTF-8, and lone surrogates as three bytes each), with a drive's letter as the first
part of a path, as in `/C/Users/anna`. Errors are OSError, their `strerror` fit to be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from catalog.format.nodes import Node
from catalog.format.values import Owner
from catalog.format.windows import Stream, Windows
from catalog.format.writing import WritePage

Handle: TypeAlias = Any  # an open file or folder: a descriptor, or what else the system has for it


class Elsewhere(OSError):
    """A file's contents are not on this machine, and reading them here would fetch them."""


class Status(Protocol):
    """What shows of a file without reading it; the fields of os.stat_result.

    A change of anything that is saved shows in `st_ctime_ns`. Fewer `st_blocks` (of 512 bytes) than the size
    takes mean holes.
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


class Owners(Protocol):
    """Names of users and groups."""

    def of(self, st: Any) -> Owner: ...


class Beside(Protocol):
    """What a file has beside its contents, on a system that keeps more than POSIX does."""

    @property
    def streams(self) -> Sequence[tuple[str, Callable[[], Handle]]]:
        """Further streams of data: each name, and what opens the stream as a file."""

    @property
    def problems(self) -> Sequence[str]:
        """What could not be read, and why."""

    def store_large(self, write: WritePage) -> None:
        """Put what is large out of line, into the tree."""

    @property
    def mode(self) -> int:
        """Permission bits for systems that know no others."""

    @property
    def owner(self) -> Owner: ...

    def windows(self, streams: list[Stream]) -> Windows:
        """What stands in the entry, once the contents of the streams have their places."""


class System(Protocol):
    """One operating system. A module or an object."""

    name: str  # as platform.system() has it
    keeps_more: bool  # whether `beside` has anything to say

    def raise_limits(self) -> None:
        """Allow as many open files as this process may have: a walk holds one for each level."""

    def lock(self, file: int) -> None:
        """Lock a file for this process, until it ends. OSError if another has."""

    def point_path(self, path: Path) -> bytes:
        """An absolute path as a point has it. LocalError if it can't be saved."""

    def identity(self, path: Path) -> tuple[int, int] | None:
        """st_dev and st_ino of a path of this system; None if nothing is there."""

    def unwanted_mounts(self) -> set[bytes]:
        """Where file systems without files of their own are mounted, rpdrive's drives included."""

    # --- folders and names ------------------------------------------------------------------------------------

    def open_top(self) -> Handle:
        """The folder that all paths begin at."""

    def open_folder(self, name: bytes, parent: Handle) -> Handle:
        """A folder in a folder, never what a link leads to."""

    def open_passage(self, name: bytes, parent: Handle) -> Handle:
        """A folder of which only named entries are wanted: it need not be readable."""

    def close(self, handle: Handle) -> None:
        """Close a file or folder."""

    def names(self, folder: Handle) -> list[bytes]:
        """Names in a folder, sorted as bytes."""

    def is_empty(self, folder: Handle) -> bool:
        """Whether nothing is in a folder."""

    def status(self, name: bytes, folder: Handle) -> Status:
        """What shows of a name in a folder, of a link itself. FileNotFoundError."""

    def owners(self) -> Owners:
        """Names of users and groups, looked up once each."""

    def node(self, name: bytes, st: Any, owners: Any) -> Node:
        """An entry of this status, still without content and what else it has."""

    def readlink(self, name: bytes, folder: Handle) -> bytes:
        """What a link points to."""

    def xattrs(self, target: Handle | bytes, folder: Handle) -> dict[bytes, bytes]:
        """Extended attributes (ACLs among them) of an open file, or of a name in a folder."""

    def beside(self, target: Handle | bytes, folder: Handle) -> Beside:
        """What else an open file has, or a name in a folder."""

    def of_name(self, name: bytes, folder: Handle) -> Callable[[Windows | None], Windows | None]:
        """Makes what stands in a file's entry that of another link to it, which has this name."""

    # --- contents ---------------------------------------------------------------------------------------------

    def open_file(self, name: bytes, parent: Handle) -> Handle:
        """A file, never what a link points to. Elsewhere."""

    def file_status(self, handle: Handle) -> Status:
        """What shows of an open file or folder."""

    def read_small(self, file: Handle, size: int, most: int) -> bytes:
        """A whole small file; should it have changed its size, as much as there is, up to `most` bytes and some."""

    def fill(self, file: Handle, buffer: memoryview, position: int) -> int:
        """Read until the buffer is full or the file ends. Returns the bytes read."""

    def data_ranges(self, file: Handle, st: Any) -> Iterator[tuple[int, int]]:
        """The ranges of a file (start, end in bytes) that are not holes, in order."""
