"""The interface between a restore and the operating system: file system calls, and setting metadata.

posix.py implements it for POSIX, windows.py for Windows; this.py chooses one, once. Methods that share a name with
a function of `os` do what that function does, relative to a descriptor of a folder. Names are bytes (on Windows
WTF-8); errors are OSError, with a `strerror` that can be shown to the user.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple, Protocol, TypeAlias

from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import Extent
from catalog.format.values import Owner, Paged, Piece
from catalog.format.windows import Windows
from mount.restore.disk.attributes import Attributes

PathOf: TypeAlias = Callable[[], bytes]  # the path to report, from the target's top; built only if it is needed
ReportProblem: TypeAlias = Callable[[bytes, str], None]  # path, reason
ConvertWindows: TypeAlias = Callable[[Attributes, Windows, PathOf], Attributes]


class Status(Protocol):
    """The fields of os.stat_result that a restore reads."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_dev(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_uid(self) -> int: ...
    @property
    def st_gid(self) -> int: ...
    @property
    def st_rdev(self) -> int: ...


class Content(Protocol):
    """The contents of a stream."""

    def read(self, offset: int, length: int) -> Buffer: ...


class Values(Protocol):
    """Reads metadata that is stored outside its entry. Raises Damaged, ObjectNotFound or another StoreError."""

    def chunk(self, kind: PackKind, at: Extent, /) -> memoryview: ...

    def open(self, content: list[Piece] | Paged, size: int, /) -> Content: ...


class Wrong(IntEnum):
    """How the metadata of an existing file differs from what it should be."""

    NOTHING = 0
    LESS = 1  # putting it back gives nobody more rights
    GIVES = 2  # putting it back gives it to another owner, or gives somebody more rights
    PRIVILEGES = 3  # putting it back gives a program rights that its user does not have


class Metadata(Protocol):
    """Sets the metadata of restored files. What can't be set is reported as a problem, not raised.

    `plain` is the flag of the file's Folder (mount/restore/target.py).
    """

    def first_mode(self, a: Attributes, /, *, plain: bool) -> int:
        """The mode to create a file with: the final one if no other user could misuse it until complete."""

    def link_target(self, a: Attributes, target: bytes, /) -> bytes:
        """The target that `Disk.readlink` returns for this symlink once it is restored."""

    def set_on_file(self, fd: int, a: Attributes, path: PathOf, /, *, plain: bool) -> None:
        """Set all metadata on an open file that was created with `first_mode`."""

    def set_on_folder(self, fd: int, a: Attributes, path: PathOf, /, *, plain: bool) -> None:
        """Set all metadata on a folder whose contents are complete."""

    def drop_surplus(self, fd: int, a: Attributes, path: PathOf, /) -> None:
        """Remove what an existing folder has beyond this metadata, before it is set."""

    def set_on_name(self, folder: int, name: bytes, a: Attributes, path: PathOf, /, *, plain: bool) -> None:
        """Set all metadata on an entry that must not be opened: a symlink, FIFO, device or socket."""

    def compare(self, fd: int, a: Attributes, /) -> Wrong:
        """Compare the metadata of an open file, except on Windows. Raises OSError."""

    def put_back(self, fd: int, a: Attributes, path: PathOf, /) -> bool:
        """Set all metadata on an open file that existed, and remove what it has beyond. Whether that changed it."""

    def correct_name(
        self, folder: int, name: bytes, identity: tuple[int, int], a: Attributes, path: PathOf, /, *, dry: bool
    ) -> bool:
        """Compare and put back the metadata of an existing entry that must not be opened; whether it was wrong.

        `identity`: its device and inode. With `dry`, it is only compared. Raises OSError.
        """

    def owner_ids(self, owner: Owner, path: PathOf | None = None, /) -> tuple[int, int]:
        """User and group id to set. With `path`, a name that is unknown here is reported, once."""


class Ground(NamedTuple):
    """A file system that a restore would write to. Sizes in bytes; None and empty: unknown.

    `mounted_at` is its mount point, above or at the path; `device` the st_dev of the path. `free` is what this user
    may take of it, in blocks of `block`; `free_files` the number of further files. `name_max`: bytes of the longest
    name. `runs_system`: this system, or rpdrive itself, runs from it.
    """

    exists: bool
    mounted_at: bytes = b""
    device: int = 0
    file_system: str = ""
    uuid: str = ""
    read_only: bool = False
    free: int | None = None
    free_files: int | None = None
    block: int = 1
    name_max: int | None = None
    runs_system: bool = False


class Disk(Protocol):
    """File system calls of a restore. Thread-safe."""

    # --- descriptors

    def open(self, name: bytes, flags: int, mode: int = ..., /, *, dir_fd: int | None = ...) -> int: ...
    def close(self, fd: int, /) -> None: ...

    def lock(self, fd: int, /) -> None:
        """Lock a file for this process without waiting. Raises OSError if another process holds the lock."""

    # --- what exists

    def fstat(self, fd: int, /) -> Status: ...
    def lstat(self, name: bytes, /, *, dir_fd: int | None = ...) -> Status: ...

    def readlink(self, name: bytes, /, *, dir_fd: int | None = ...) -> bytes:
        """A link's target; on Windows its whole reparse point, since links to one place may differ in it."""

    def let_owner_in(self, fd: int, /) -> None:
        """Let the owner of an open folder read, change and pass it; nothing where modes do not keep owners out."""

    def set_time(self, fd: int, mtime: int, /) -> None:
        """Set the mtime (ns) of an open folder."""

    def is_read_only(self, fd: int, /) -> bool:
        """Whether the file system of an open file takes no changes."""

    def mount_points(self) -> set[bytes]:
        """Where file systems are mounted; none where the system shows that otherwise."""

    def ground(self, path: bytes, /) -> Ground:
        """What is known of the file system that a path is on, or will be on once it is made. Raises OSError."""

    def renumbers(self, device: int, /) -> bool:
        """Whether the file system with this st_dev may give a file another st_ino once no one has it open."""

    def names(self, fd: int, /) -> list[bytes]:
        """The names in an open folder, in any order."""

    def has_default_acl(self, fd: int, /) -> bool:
        """Whether new files in an open folder inherit an ACL from it."""

    def geteuid(self) -> int: ...
    def getegid(self) -> int: ...
    def makedev(self, major: int, minor: int, /) -> int: ...

    # --- contents

    def pread(self, fd: int, length: int, position: int, /) -> bytes: ...
    def pwrite(self, fd: int, data: Buffer, position: int, /) -> int: ...

    def ftruncate(self, fd: int, size: int, /) -> None:
        """Set the size of a new file; what is not written later stays a hole."""

    def next_data(self, fd: int, position: int, /) -> int:
        """The first position (bytes), from this one on, that is not in a hole. Raises OSError(ENXIO) if none is."""

    def fsync(self, fd: int, /) -> None: ...
    def sync(self) -> None: ...

    def drop_cache(self, fd: int, /) -> None:
        """Make later reads of a file come from the disk, as far as the system allows."""

    # --- names

    def mkdir(self, name: bytes, mode: int, /, *, dir_fd: int | None = ...) -> None: ...

    def makedirs(self, path: bytes, /) -> None:
        """Make a folder and those above it. Raises FileExistsError if the path is not a folder."""

    def rmdir(self, name: bytes, /, *, dir_fd: int | None = ...) -> None:
        """Remove an empty folder."""

    def unlink(self, name: bytes, /, *, dir_fd: int | None = ...) -> None: ...

    def rename(
        self, name: bytes, new: bytes, /, *, src_dir_fd: int | None = ..., dst_dir_fd: int | None = ...
    ) -> None: ...

    def rename_new(self, folder: int, name: bytes, new: bytes, /) -> None:
        """Rename within a folder. Raises FileExistsError if the new name is taken, and leaves that file alone."""

    def open_unnamed(self, folder: int, mode: int, /) -> int:
        """A new file without a name, in the file system of an open folder. Raises OSError; also if it has none."""

    def give_name(self, fd: int, folder: int, name: bytes, /) -> None:
        """Name a file of `open_unnamed` in that folder. Raises FileExistsError if the name is taken, or OSError."""

    def link(self, name: bytes, new: bytes, /, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        """Make a hard link; a symlink is not followed."""

    def symlink(self, target: bytes, name: bytes, /, *, dir_fd: int | None = ...) -> None: ...
    def mknod(self, name: bytes, mode: int, device: int, /, *, dir_fd: int | None = ...) -> None: ...

    # --- metadata

    def metadata(
        self, values: Values, problem: ReportProblem, *, permissions: bool, owners_by_name: bool
    ) -> Metadata:
        """Make the setter of metadata. Without `permissions`, files get the owner and mode of new files here.

        `owners_by_name`: choose owners by name, where the name is known here.
        """

    def windows_converter(
        self, values: Values, problem: ReportProblem, *, permissions: bool, fetch: bool
    ) -> ConvertWindows:
        """Make the function that converts Windows metadata for this system. Without `fetch`, no stream is read."""
