"""A system whose files are made up as a backup asks for them: backup/systems/base.py is the interface.

A folder is the numbers on the way to it, a file that and its own number.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Protocol

from backup.systems.names import Names
from backup.systems.posix import PosixSystem
from catalog.format.nodes import Node
from catalog.format.records import Volume
from catalog.format.values import NodeKind, Owner
from tests.kit.made.contents import FILE_BYTES, FILES, FOLDERS, OWNER, Contents

DEVICE = 1 << 40  # no real one
IN_FOLDER, IN_AREA = 100, 1000  # files in a folder, folders in an area
TIME = 1_700_000_000 * 10**9  # ns


class Place(NamedTuple):
    """A folder or a file: its numbers from the top."""

    numbers: tuple[int, ...] = ()

    def below(self, number: int) -> Place:
        return Place((*self.numbers, number))


class Status(NamedTuple):
    st_mode: int
    st_ino: int
    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int
    st_dev: int = DEVICE
    st_nlink: int = 1
    st_blocks: int = 1
    st_rdev: int = 0


class Files(Protocol):
    """Files that are made up."""

    def names(self, folder: Place) -> list[bytes]:
        """The names in a folder, sorted."""

    def number(self, name: bytes, folder: Place) -> int:
        """The number of a name. Raises FileNotFoundError."""

    def status(self, place: Place) -> Status: ...

    def data(self, place: Place) -> bytes: ...


class OfPoint:
    """The files of a made-up machine as they were at one of its points (or will be), as contents.py has them."""

    def __init__(self, contents: Contents, machine: int, point: int) -> None:
        self._contents, self._machine, self._point = contents, machine, point
        shape = contents.shape
        self._names = FOLDERS[: shape.folders], FILES[: shape.files]

    def names(self, folder: Place) -> list[bytes]:
        return self._names[len(folder.numbers)]

    def number(self, name: bytes, folder: Place) -> int:
        return _number(name, self.names(folder))

    def _node(self, place: Place) -> Node:
        folder, *file = place.numbers
        if not file:
            return self._contents.folder_node(self._machine, folder)
        return self._contents.node(self._machine, folder, file[0], self._point)

    def status(self, place: Place) -> Status:
        if not place.numbers:
            return _folder_status(2)
        node = self._node(place)
        kind = stat.S_IFREG if node.kind == NodeKind.FILE else stat.S_IFDIR
        return Status(kind | node.mode, node.inode, node.size, node.mtime, node.ctime)

    def data(self, place: Place) -> bytes:
        folder, file = place.numbers
        version = self._contents.version(folder, file, self._point)
        return self._contents.data(self._machine, folder, file, version)


class ManyFiles:
    """`count` files of 64 bytes in folders of 100, of which 1,000 lie in an area. `count` is a multiple of 100.

    Of `changed` folders, evenly spread, each file is as the `run`th backup finds it; all others never changed.
    """

    def __init__(self, count: int, run: int = 0, changed: int = 0) -> None:
        self._folders, self._run = count // IN_FOLDER, run
        self._step = self._folders // changed if changed else 0
        self._areas = -(-self._folders // IN_AREA)
        self._names = [b"area-%03d" % n for n in range(self._areas)], [b"folder-%03d" % n for n in range(IN_AREA)]
        self._files = [b"file-%02d.txt" % n for n in range(IN_FOLDER)]

    def names(self, folder: Place) -> list[bytes]:
        match folder.numbers:
            case ():
                return self._names[0]
            case (area,):
                return self._names[1][: self._folders - area * IN_AREA]
        return self._files

    def number(self, name: bytes, folder: Place) -> int:
        if len(folder.numbers) == 2:
            return int(name[5:7])
        return int(name.rpartition(b"-")[2])

    def status(self, place: Place) -> Status:
        match place.numbers:
            case (area, folder, file):
                number = area * IN_AREA + folder
                time = TIME + self._version(number)
                return Status(stat.S_IFREG | 0o644, (number * IN_FOLDER + file) + 10**7, FILE_BYTES, time, time)
            case (area, folder):
                return _folder_status(area * IN_AREA + folder + 10**6)
            case (area,):
                return _folder_status(area + 10**5)
        return _folder_status(2)

    def _version(self, folder: int) -> int:
        return self._run if self._run and self._step and folder % self._step == 0 else 0

    def data(self, place: Place) -> bytes:
        area, folder, file = place.numbers
        number = area * IN_AREA + folder
        return blake2b(b"%d/%d/%d" % (number, file, self._version(number)), digest_size=FILE_BYTES).digest()


def _number(name: bytes, names: list[bytes]) -> int:
    try:
        return names.index(name)
    except ValueError:
        raise FileNotFoundError(2, "no such file") from None


def _folder_status(inode: int) -> Status:
    return Status(stat.S_IFDIR | 0o755, inode, 0, TIME, TIME)


class MadeSystem:
    """The calls that a backup reads made-up files by."""

    name = "Linux"
    ignores_case = False
    paths_are_native = True
    status_has_mode = True
    opens_ahead = False
    side_data_reader = None
    image_reader = None
    lock = staticmethod(PosixSystem.lock)
    point_path = staticmethod(PosixSystem.point_path)
    identity = staticmethod(PosixSystem.identity)

    def __init__(self, files: Files) -> None:
        self._files = files

    def raise_limits(self) -> int:
        return 1000

    def volume(self, path: Path) -> Volume:
        return Volume(place=b"/")

    def unwanted_mounts(self) -> set[bytes]:
        return set()

    def open_top(self) -> Place:
        return Place()

    def open_folder(self, name: bytes, parent: Place) -> Place:
        return parent if name == b"." else parent.below(self._files.number(name, parent))

    open_passage = open_file = open_folder

    def close(self, handle: Place) -> None:
        pass

    def names(self, folder: Place) -> Names:
        return self._files.names(folder)

    def status(self, name: bytes, folder: Place) -> Status:
        return self._files.status(folder.below(self._files.number(name, folder)))

    def file_status(self, handle: Place) -> Status:
        return self._files.status(handle)

    def owner(self, st: Status) -> Owner:
        return OWNER

    def node(self, name: bytes, st: Status) -> Node:
        kind = NodeKind.FOLDER if stat.S_ISDIR(st.st_mode) else NodeKind.FILE
        return Node(
            name, int(kind), st.st_mode & 0o7777, OWNER, st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino
        )

    def readlink(self, name: bytes, folder: Place) -> bytes:
        raise OSError(22, "not a symlink")

    def xattrs(self, target: Place | bytes, folder: Place) -> dict[bytes, bytes]:
        return {}

    def read_small(self, file: Place, size: int, most: int) -> bytes:
        return self._files.data(file)

    def fill(self, file: Place, buffer: memoryview, position: int) -> int:
        data = self._files.data(file)[position : position + len(buffer)]
        buffer[: len(data)] = data
        return len(data)

    def expect(self, file: Place, position: int, length: int) -> bool:
        return False

    def release(self, file: Place, position: int, length: int) -> None:
        pass

    def data_ranges(self, file: Place, st: Status) -> Iterator[tuple[int, int]]:
        yield 0, st.st_size
