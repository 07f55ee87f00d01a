"""Snapshots of btrfs subvolumes, by ioctls: read-only, made in milliseconds, and without btrfs-progs.

A snapshot needs a name in the file system. It gets one in the top-level subvolume, which is opened by a mount of
our own (mounting.py): where only other subvolumes are mounted, as `/` and `/home` mostly are, no path leads to it.
A snapshot leaves out the subvolumes within: each gets its own. Structures and numbers: linux/btrfs.h, btrfs_tree.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from backup.snapshot.base import OTHER, Found, Mark, Snapshot, Volume, is_subvolume_name, tag_in
from backup.snapshot.mounting import failed, folder_below, mounted, why
from catalog.errors import SnapshotFailed, SnapshotLost
from catalog.mountinfo import Mount, mounts

_ROOT = 256  # inode of the root folder of each subvolume
_TOP = 5  # id of the top-level subvolume
_READ_ONLY = 1 << 1  # BTRFS_SUBVOL_RDONLY
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # a folder was removed or renamed since it was listed
_MANY = 255  # subvolumes in one answer


def _ioctl(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | 0x94 << 8 | number


_WRITE, _READ = 1, 2
_SNAP_DESTROY = _ioctl(_WRITE, 15, 4096)
_SNAP_CREATE = _ioctl(_WRITE, 23, 4096)
_GET_FLAGS = _ioctl(_READ, 25, 8)
_FS_INFO = _ioctl(_READ, 31, 1024)
_GET_INFO = _ioctl(_READ, 60, 504)
_GET_CHILDREN = _ioctl(_READ | _WRITE, 61, 4096)
_NAME_OF_CHILD = _ioctl(_READ | _WRITE, 62, 4096)


class Btrfs:
    """The Provider of btrfs."""

    name = "btrfs"

    def __init__(self) -> None:
        self._numbers = count(1)  # of the snapshots of one job

    def takes(self, volume: Volume) -> str:
        if volume.file_system != "btrfs":
            return OTHER
        try:
            with _top_of(volume.source):
                return ""
        except OSError as e:
            return f"{os.fsdecode(volume.source)} can't be opened: {why(e)}"

    def within(self, volume: Volume) -> list[Volume]:
        if volume.file_system != "btrfs":
            return []
        try:
            try:
                with _top_of(volume.source) as top:
                    subvolume, path = _subvolume_of(top, volume.root)
                    return _below(volume, _children(top, subvolume), subvolume, path)
            except PermissionError:  # not root: those that can be reached from the place
                place = os.open(volume.place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    if os.fstat(place).st_ino != _ROOT:
                        raise
                    return _below(volume, _children(place, b""), b"", b"")
                finally:
                    os.close(place)
        except OSError as e:
            raise failed(f"the subvolumes below {os.fsdecode(volume.place)} can't be listed", e) from e

    def make(self, volumes: list[Volume], mark: Mark) -> list[Snapshot]:
        tops: dict[bytes, _Top] = {}
        planned: list[_Made] = []
        made: list[Snapshot] = []
        place = b""
        try:
            for volume in volumes:
                place = volume.place
                if volume.source not in tops:
                    tops[volume.source] = _Top(volume.source)
                name = f".{mark.tag}-{next(self._numbers)}"
                planned.append(_Made(tops[volume.source], volume, name, mark))
            mark.note(self.name, *(snapshot.name for snapshot in planned))
            for snapshot in planned:  # with as little as possible between them
                place = snapshot.volume.place
                made.append(snapshot)
                snapshot.make()
        except BaseException as e:
            _drop(made)
            for snapshot in planned:
                if snapshot.is_gone:
                    mark.forget(self.name, snapshot.name)
            if isinstance(e, OSError):
                busy = " (it has a swap file in use)" if e.errno == errno.ETXTBSY else ""
                raise failed(f"no snapshot of {os.fsdecode(place)} could be made{busy}", e) from e
            raise
        finally:
            for top in tops.values():
                top.release()
        return made

    def found(self) -> list[Found]:
        found = []
        for source in _sources():
            with suppress(OSError), _top_of(source) as top:
                identity = _identity(top)
                for name in _ours(top):
                    at = folder_below(top, name)
                    try:
                        text, when = name.decode(), _made_at(at)
                    finally:
                        os.close(at)
                    found.append(Found(self.name, f"{identity}/{text}", tag_in(text), os.fsdecode(source), when))
        return found

    def reaches(self, name: str) -> bool:
        return any(identity == name.partition("/")[0] for identity, _source in _file_systems())

    def remove(self, found: Found) -> None:
        wanted, _, name = found.name.partition("/")
        if not is_subvolume_name(name.encode()):
            raise SnapshotFailed(f"{found.name} is no snapshot of rpdrive")
        for identity, source in _file_systems():
            if identity == wanted:
                try:
                    with _top_of(source) as top:
                        _destroy(top, name.encode())
                except OSError as e:
                    raise failed(f"the snapshot {name} on {os.fsdecode(source)} can't be removed", e) from e


class _Top:
    """The top-level subvolume of a file system, open as long as it is in use."""

    def __init__(self, source: bytes) -> None:
        self.descriptor = _open_top(source)
        self.identity = _identity(self.descriptor)
        self._uses = 1

    def hold(self) -> None:
        self._uses += 1

    def release(self) -> None:
        self._uses -= 1
        if not self._uses:
            os.close(self.descriptor)


class _Made:
    """A Snapshot of a subvolume."""

    def __init__(self, top: _Top, volume: Volume, name: str, mark: Mark) -> None:
        self.volume, self.time = volume, 0
        self.name = f"{top.identity}/{name}"
        self._top, self._file, self._mark = top, name.encode(), mark
        self._subvolume, self._path = _subvolume_of(top.descriptor, volume.root)
        self._device = 0
        self._gone = True

    def make(self) -> None:
        """Make it. Raises OSError."""
        source = folder_below(self._top.descriptor, self._subvolume)
        try:
            if self.volume.device not in (0, os.fstat(source).st_dev):
                raise OSError(errno.ESTALE, f"{os.fsdecode(self.volume.source)} is another file system by now")
            self.time = time.time_ns()
            self._top.hold()
            self._gone = False  # before it is there: a signal may come before the next line does
            try:
                _create(self._top.descriptor, source, self._file)
            except OSError:
                self._gone = True
                self._top.release()
                raise
        finally:
            os.close(source)
        self._device = os.stat(self._file, dir_fd=self._top.descriptor).st_dev

    @property
    def is_gone(self) -> bool:
        """Whether there is nothing to remove: it was not made yet, or is removed."""
        return self._gone

    @property
    def device(self) -> int:
        return self._device

    def open(self) -> int:
        try:
            return folder_below(self._top.descriptor, self._file + b"/" + self._path)
        except OSError as e:
            raise failed(f"the snapshot of {os.fsdecode(self.volume.place)} can't be opened", e) from e

    def block_device(self) -> Path | None:
        return None

    def check(self) -> None:
        where = os.fsdecode(self.volume.place)
        try:
            at = folder_below(self._top.descriptor, self._file)
        except OSError as e:
            raise SnapshotLost(f"the snapshot of {where} is gone: {why(e)}") from e
        try:
            if os.fstat(at).st_dev != self._device or not _flags(at) & _READ_ONLY:
                raise SnapshotLost(f"the snapshot of {where} was changed or replaced while it was read")
        except OSError as e:
            raise SnapshotLost(f"the snapshot of {where} can't be read any more: {why(e)}") from e
        finally:
            os.close(at)

    def remove(self) -> None:
        if self._gone:
            return
        try:
            _destroy(self._top.descriptor, self._file)
        except OSError as e:
            raise failed(f"the snapshot {self.name} can't be removed", e) from e
        self._gone = True
        self._mark.forget(Btrfs.name, self.name)
        self._top.release()


def _drop(made: list[Snapshot]) -> None:
    """Remove what was made before something failed. What can't be is left to the next start."""
    for snapshot in made:
        with suppress(SnapshotFailed):
            snapshot.remove()


# --- file systems -----------------------------------------------------------------------------------------------


def _open_top(source: bytes) -> int:
    return mounted(source, "btrfs", {"subvolid": str(_TOP)}, read_only=False)


@contextmanager
def _top_of(source: bytes) -> Iterator[int]:
    """The top-level subvolume of a mounted file system. Raises OSError."""
    top = _open_top(source)
    try:
        yield top
    finally:
        os.close(top)


def _writable(mount: Mount) -> bool:
    """Whether the file system itself can be written. One that can't must not become so by a mount of ours."""
    return "ro" not in mount.super_options.split(",")


def _sources() -> list[bytes]:
    """A device of each btrfs that is mounted."""
    return sorted({m.source for m in mounts() if m.file_system == "btrfs" and _writable(m)})


def _file_systems() -> Iterator[tuple[str, bytes]]:
    """The UUID and a device of each btrfs that is mounted."""
    for source in _sources():
        with suppress(OSError), _top_of(source) as top:
            yield _identity(top), source


def _identity(folder: int) -> str:
    """The UUID of a file system."""
    info = bytearray(1024)
    fcntl.ioctl(folder, _FS_INFO, info)
    return str(uuid.UUID(bytes=bytes(info[16:32])))


def _ours(top: int) -> list[bytes]:
    """The names of subvolumes in a top-level subvolume that have the form of ours."""
    found = []
    for entry in os.listdir(top):
        name = os.fsencode(entry)
        if is_subvolume_name(name):
            st = os.stat(name, dir_fd=top, follow_symlinks=False)
            if stat.S_ISDIR(st.st_mode) and st.st_ino == _ROOT:
                found.append(name)
    return found


# --- subvolumes -------------------------------------------------------------------------------------------------


class _Child(NamedTuple):
    path: bytes  # from the top-level subvolume
    device: int  # st_dev


def _subvolume_of(top: int, root: bytes) -> tuple[bytes, bytes]:
    """The subvolume in which a folder is, as a path from the top-level one, and the folder's path in it."""
    parts = [part for part in root.split(b"/") if part]
    here, last = os.dup(top), 0
    try:
        for n, part in enumerate(parts, 1):
            below = folder_below(here, part)
            os.close(here)
            here = below
            if os.fstat(here).st_ino == _ROOT:
                last = n
    finally:
        os.close(here)
    return b"/".join(parts[:last]), b"/".join(parts[last:])


def _below(volume: Volume, children: Iterator[_Child], subvolume: bytes, path: bytes) -> list[Volume]:
    """Those of the subvolumes in one that are in a volume, which is the folder `path` of that one."""
    found, below = [], path + b"/" if path else b""
    for child in children:
        inside = child.path[len(subvolume) :].lstrip(b"/")
        if inside.startswith(below):
            relative = b"/" + inside[len(below) :]
            place, root = volume.place.rstrip(b"/") + relative, volume.root.rstrip(b"/") + relative
            found.append(replace(volume, place=place, root=root, device=child.device))
    return found


def _children(top: int, subvolume: bytes) -> Iterator[_Child]:
    """The subvolumes below one, in each other too; without snapshots of our own."""
    waiting = [subvolume]
    while waiting:
        path = waiting.pop()
        try:
            at = folder_below(top, path)
        except OSError as e:
            if path == subvolume or e.errno not in _GONE:
                raise
            continue
        try:
            for name in _names_of_children(at):
                if path == b"" and is_subvolume_name(name):
                    continue
                child = path + b"/" + name if path else name
                try:
                    below = folder_below(at, name)
                except PermissionError:  # its own subvolumes can't be known
                    yield _Child(child, 0)
                    continue
                except OSError as e:
                    if e.errno not in _GONE:
                        raise
                    continue
                try:
                    st = os.fstat(below)
                finally:
                    os.close(below)
                if st.st_ino == _ROOT:  # else another file system hides it
                    yield _Child(child, st.st_dev)
                    waiting.append(child)
        finally:
            os.close(at)


def _names_of_children(subvolume: int) -> list[bytes]:
    """Paths, from an open subvolume, of the subvolumes that lie in it and not in each other."""
    found: list[bytes] = []
    least = 0
    while True:
        answer = bytearray(4096)
        struct.pack_into("=Q", answer, 0, least)
        full = False
        try:
            fcntl.ioctl(subvolume, _GET_CHILDREN, answer)
        except OSError as e:
            if e.errno != errno.EOVERFLOW:
                raise
            full = True  # there are more
        count = answer[8 + 16 * _MANY]
        for n in range(count):
            tree, folder = struct.unpack_from("=QQ", answer, 8 + 16 * n)
            ask = bytearray(4096)
            struct.pack_into("=QQ", ask, 0, folder, tree)
            try:
                fcntl.ioctl(subvolume, _NAME_OF_CHILD, ask)
            except (FileNotFoundError, PermissionError):  # removed since; or in a folder that can't be opened
                continue
            name = bytes(ask[16:272]).split(b"\0", 1)[0]
            found.append(bytes(ask[272:]).split(b"\0", 1)[0] + name)
        (least,) = struct.unpack_from("=Q", answer, 0)
        if not full:
            return found


def _flags(subvolume: int) -> int:
    flags = bytearray(8)
    fcntl.ioctl(subvolume, _GET_FLAGS, flags)
    return int(struct.unpack("=Q", flags)[0])


def _made_at(subvolume: int) -> int:
    """When a subvolume was made (ns, UTC)."""
    info = bytearray(504)
    fcntl.ioctl(subvolume, _GET_INFO, info)
    seconds, ns = struct.unpack_from("=QI", info, 376 + 16)
    return int(seconds * 10**9 + ns)


def _create(folder: int, source: int, name: bytes) -> None:
    """Make a read-only snapshot of the subvolume `source`, as a name in `folder`."""
    fcntl.ioctl(folder, _SNAP_CREATE, bytearray(struct.pack("=qQQ32s4040s", source, 0, _READ_ONLY, b"", name)))


def _destroy(folder: int, name: bytes) -> None:
    """Remove a subvolume. No effect if it is gone."""
    with suppress(FileNotFoundError):
        fcntl.ioctl(folder, _SNAP_DESTROY, bytearray(struct.pack("=q4088s", 0, name)))
