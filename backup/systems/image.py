"""A disk image as a source: a folder with two files, the image and a JSON file that says what it is.

The image is a device, or a file, read as it stands. A device has no times: it is read whole at each backup, unless
somebody knows what has changed. What it can't read is never passed off as zeros: it ends the backup, or, if that is
asked for, is listed as a problem and in the JSON file.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from backup.systems.base import kept_time
from backup.systems.names import Names
from backup.systems.posix import PosixSystem
from catalog.disks.devices import open_device
from catalog.disks.geometry import BESIDE, MOST, SUFFIX, UNREADABLE, Geometry, encode
from catalog.errors import DeviceUnreadable, LocalError
from catalog.format.nodes import Node
from catalog.format.records import Volume
from catalog.format.values import Owner, kind_of

PIECE = 512 << 10  # bytes; docs/images.md has what was measured
_STEP = 4096  # bytes in which what can't be read is narrowed down
_BAD = {errno.EIO, errno.ENODATA, errno.EREMOTEIO, errno.EILSEQ}  # what a device says of a bad sector
_BEHIND = 64 << 20  # bytes; so far behind the reading, the kernel need not keep what was read
_MOST_BAD = 1 << 30  # bytes that can't be read, after which the device is taken for broken


class ImageStatus(NamedTuple):
    """The status of the folder, or of a file in it."""

    st_mode: int
    st_ino: int
    st_size: int
    st_blocks: int
    st_mtime_ns: int
    st_ctime_ns: int
    st_uid: int = 0
    st_gid: int = 0
    st_dev: int = 0
    st_nlink: int = 1
    st_rdev: int = 0


class Image(msgspec.Struct):
    """What is read: `path` is a device or a file, which `geometry` describes. `time` is that of its state (ns).

    `changed` gives the ranges (start, end) in which it may differ from the one of a time (ns), or None.
    `keeps_unreadable`: go on where the device can't read.
    """

    path: Path
    geometry: Geometry
    time: int
    changed: Callable[[int], Iterator[tuple[int, int]] | None] = lambda since: None
    keeps_unreadable: bool = False


def names_of(stem: str) -> list[bytes]:
    """The names of the two files of an image, sorted."""
    return [os.fsencode(stem) + SUFFIX, os.fsencode(stem) + BESIDE]


class ImageSystem:
    """The System of one image, `stem` + .img. Nothing can be read before `begin` says what the image is."""

    name = PosixSystem.name
    ignores_case = False
    status_has_mode = True
    opens_ahead = False
    paths_are_native = False
    side_data_reader = None
    piece = PIECE
    raise_limits = staticmethod(PosixSystem.raise_limits)
    lock = staticmethod(PosixSystem.lock)
    point_path = staticmethod(PosixSystem.point_path)
    identity = staticmethod(PosixSystem.identity)

    def __init__(self, stem: str) -> None:
        self._names = names_of(stem)
        self.was_read = False
        self.on_read: Callable[[], None] = lambda: None  # called when the image has been read to its end
        self._open: dict[int, ImageStatus] = {}
        self._images: dict[int, int] = {}  # descriptors of the image, and up to where what was read was let go
        self._bad: list[tuple[int, int]] = []
        self._bad_bytes = 0

    def begin(self, image: Image) -> None:
        """Note what is read, before anything is."""
        st = image.path.stat()
        self._image = image
        self._owner = PosixSystem().owner(st)
        size = image.geometry.size
        self._st = ImageStatus(stat.S_IFREG | 0o600, 1, size, -(-size // 512), image.time, image.time)
        if stat.S_ISREG(st.st_mode):  # it has times: an unchanged file is not read
            kept = (st.st_ino, size, st.st_blocks, kept_time(st.st_mtime_ns), st.st_ctime_ns)
            self._st = ImageStatus(stat.S_IFREG | 0o600, *kept, st.st_uid, st.st_gid)

    @property
    def image_reader(self) -> ImageSystem:
        return self

    @property
    def unreadable(self) -> list[tuple[int, int]]:
        """The ranges (start, end) that could not be read, in order; the first 1,000."""
        return self._bad[:UNREADABLE]

    def volume(self, path: Path) -> Volume:
        raise LocalError(f"{path} is no volume of an image", "leave --volume out")

    def unwanted_mounts(self) -> set[bytes]:
        return set()

    # --- folders and names ------------------------------------------------------------------------------------

    def open_top(self) -> int:
        folder = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open[folder] = ImageStatus(stat.S_IFDIR | 0o700, 2, 0, 0, self._image.time, self._image.time)
        return folder

    def open_folder(self, name: bytes, parent: int) -> int:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    open_passage = open_folder

    def close(self, handle: int) -> None:
        self._open.pop(handle, None)
        self._images.pop(handle, None)
        os.close(handle)

    def names(self, folder: int) -> Names:
        return list(self._names)

    def status(self, name: bytes, folder: int) -> ImageStatus:
        if name == self._names[0]:
            return self._st
        if name in self._names:
            return self._beside(len(self._json()))
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _beside(self, size: int) -> ImageStatus:
        """The status of the JSON file: it changes when the image does."""
        return self._st._replace(st_ino=self._st.st_ino ^ 1 << 63, st_size=size, st_blocks=-(-size // 512))

    def owner(self, st: ImageStatus) -> Owner:
        return self._owner

    def node(self, name: bytes, st: ImageStatus) -> Node:
        return Node(
            name, kind_of(st.st_mode), st.st_mode & 0o7777, self.owner(st), st.st_size, kept_time(st.st_mtime_ns),
            kept_time(st.st_ctime_ns), st.st_ino,
        )  # fmt: skip

    def readlink(self, name: bytes, folder: int) -> bytes:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def xattrs(self, target: int | bytes, folder: int) -> dict[bytes, bytes]:
        return {}

    # --- contents ---------------------------------------------------------------------------------------------

    def open_file(self, name: bytes, parent: int) -> int:
        """A descriptor of the image, or of the JSON file, which knows by then what could not be read."""
        if name != self._names[0]:
            data = self._json()
            with tempfile.TemporaryFile() as file:
                file.write(data)
                file.flush()
                fd = os.dup(file.fileno())
            self._open[fd] = self._beside(len(data))
            return fd
        fd = open_device(self._image.path)
        self._bad, self._bad_bytes = [], 0
        self._images[fd] = 0
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            self._open[fd] = self._st
            # A disk and its partitions have caches of their own: what was written to a partition may be older here.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return fd

    def _json(self) -> bytes:
        geometry = msgspec.structs.replace(
            self._image.geometry, unreadable=self.unreadable, unreadable_bytes=self._bad_bytes
        )
        data = encode(geometry)
        if len(data) > MOST:
            data = encode(msgspec.structs.replace(geometry, slots=[]))
        return data

    def file_status(self, handle: int) -> ImageStatus:
        known = self._open.get(handle)
        if known is not None:
            return known
        st = os.fstat(handle)  # of a file, whose times show that it changes while it is read
        return self._st._replace(
            st_size=st.st_size, st_mtime_ns=kept_time(st.st_mtime_ns), st_ctime_ns=st.st_ctime_ns
        )

    def expect(self, file: int, position: int, length: int) -> bool:
        return False  # the kernel knows that it is read in order

    def release(self, file: int, position: int, length: int) -> None:
        pass

    def read_small(self, file: int, size: int, most: int) -> bytes:
        return PosixSystem.read_small(file, size, most)

    def fill(self, file: int, buffer: memoryview, position: int) -> int:
        return PosixSystem.fill(file, buffer, position)

    def data_ranges(self, file: int, st: ImageStatus) -> Iterator[tuple[int, int]]:
        yield 0, st.st_size

    # --- the image --------------------------------------------------------------------------------------------

    def is_image(self, file: int) -> bool:
        return file in self._images

    def changed(self, file: int, since: int) -> Iterator[tuple[int, int]] | None:
        return self._image.changed(since)

    def data(self, file: int, size: int) -> Iterator[tuple[int, int]] | None:
        """The ranges of a file that are not holes; a device does not say."""
        st = os.fstat(file)
        if not stat.S_ISREG(st.st_mode):
            return None
        return PosixSystem.data_ranges(file, st)

    def problems(self) -> list[str]:
        """A line for each range that could not be read. It has been read to its end."""
        self.was_read = True
        self.on_read()
        lines = [f"its bytes {a} to {b - 1} can't be read: they are zeros in the image" for a, b in self.unreadable]
        if len(self._bad) > len(lines):
            lines.append(f"and more: {self._bad_bytes:,} bytes in all")
        return lines

    def part(self, file: int, start: int, length: int) -> bytes:
        """See ImageReader. Raises DeviceUnreadable."""
        try:
            data = os.pread(file, length, start)
            while len(data) < length:
                more = os.pread(file, length - len(data), start + len(data))
                if not more:
                    break
                data += more
        except OSError as e:
            if e.errno not in _BAD:
                raise DeviceUnreadable(
                    f"{self._image.path} can't be read at byte {start}: {e.strerror}",
                    "check that the device is still there",
                ) from e
            data = self._narrowed(file, start, length)
        self._let_go(file, start + length)
        return data

    def _narrowed(self, file: int, start: int, length: int) -> bytes:
        """What can be read of a range, step by step, with zeros for the rest, which is noted."""
        parts: list[bytes] = []
        bad: list[tuple[int, int]] = []
        with _past_the_cache(self._image.path, file) as (fd, buffer):
            for at in range(start, start + length, _STEP):
                most = min(_STEP, start + length - at)
                try:
                    got = os.preadv(fd, [memoryview(buffer)[:most]], at)
                    parts.append(buffer[:got])
                except OSError as e:
                    if e.errno not in _BAD:
                        raise
                    parts.append(bytes(most))
                    _add(bad, at, at + most)
        for begin, end in bad:
            self._note(begin, end)
        return b"".join(parts)

    def _note(self, start: int, end: int) -> None:
        self._bad_bytes += end - start
        where = f"{self._image.path} can't read its bytes {start} to {end - 1}"
        if not self._image.keeps_unreadable:
            raise DeviceUnreadable(
                f"{where}: no recovery point is made of it",
                "look after the disk; --keep-unreadable saves the rest, and lists all that can't be read",
            )
        if self._bad_bytes > _MOST_BAD:
            raise DeviceUnreadable(f"{where}, and more than {_MOST_BAD >> 30} GiB before", "look after the disk")
        if len(self._bad) < UNREADABLE or self._bad[-1][1] == start:
            _add(self._bad, start, end)

    def _let_go(self, file: int, position: int) -> None:
        """Tell the kernel what it need not keep: an image is larger than memory, and read once."""
        done = self._images[file]
        if position - done >= 2 * _BEHIND:
            os.posix_fadvise(file, done, position - _BEHIND - done, os.POSIX_FADV_DONTNEED)
            self._images[file] = position - _BEHIND


@contextmanager
def _past_the_cache(path: Path, file: int) -> Iterator[tuple[int, mmap.mmap]]:
    """A descriptor whose reads fail for no other sector than their own, and a buffer for them.

    The kernel's cache reads more at once, and calls all of it bad.
    """
    direct = file
    with suppress(OSError):  # not every file system has it
        direct = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    try:
        with mmap.mmap(-1, _STEP) as buffer:
            yield direct, buffer
    finally:
        if direct != file:
            os.close(direct)


def _add(ranges: list[tuple[int, int]], start: int, end: int) -> None:
    if ranges and ranges[-1][1] == start:
        ranges[-1] = (ranges[-1][0], end)
    else:
        ranges.append((start, end))
