"""Reading a Windows source: names, metadata, side data, and the contents of files.

Everything is opened by its whole path in the form `\\\\?\\C:\\…`, which has no limit of 260 characters and no
reserved names; a link is opened itself, not its target. A drive of which there is a shadow copy is read from that,
at `\\\\?\\GLOBALROOT\\Device\\…\\…`, under the names that it has. Names are WTF-8: the UTF-8 of the UTF-16 that
NTFS has, with three bytes for a lone surrogate, so that every name comes back as it was.
"""

from __future__ import annotations

import errno
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NamedTuple

from backup.systems.base import OnlineOnly, System, kept_time
from backup.systems.names import Names, sorted_names
from backup.systems.side_data import UNKNOWN_OWNER, SideData
from backup.systems.windows_paths import is_shadow, native, point_path, rooted
from backup.systems.windows_volume import drives_of_rpdrive, volume_at
from catalog.errors import Damaged, LocalError
from catalog.format.nodes import Node
from catalog.format.records import Volume
from catalog.format.values import Owner, kind_of
from catalog.format.windows import Windows, name_bytes, name_text
from catalog.windows import api as w
from catalog.windows import descriptor, files, sid
from catalog.windows.reparse import is_link, link_target
from catalog.windows.times import EPOCH, UNIT

_RANGES = 4096  # bytes of a sparse file's ranges in one call
_SPOOL = 8 << 20  # bytes of an encrypted file's export that are kept in memory
_COARSE = 2 * 10**9  # ns; the clock of file times on FAT
_NO_ID = (0, 2**64 - 1)
_AWAY = files.OFFLINE | files.RECALL_ON_OPEN | files.RECALL_ON_DATA_ACCESS
_PUBLIC = w.OWNER | w.GROUP | w.DACL | w.LABEL
_WHOLE = _PUBLIC | w.SACL | w.ATTRIBUTE | w.SCOPE | w.BACKUP
# Filters produce a file's contents from these: deduplication, compression of system files, tiers, clouds. Their
# data means nothing on another disk. Bits 12 to 15 number the folders of a cloud service.
_SEEN_THROUGH = frozenset((
    0x80000013, 0x80000017, 0x80000008, 0x80000006, 0xC0000004, 0x80000007, 0x8000001E, 0x80000021, 0x9000001A,
))  # fmt: skip
_CLOUD = 0x9000001A
_BASE = w.READ_ATTRIBUTES | w.READ_EA | w.READ_CONTROL


class WindowsStatus(NamedTuple):
    """A Status, with more about the file. `tag` is that of a reparse point, or 0."""

    st_mode: int
    st_ino: int
    st_dev: int
    st_nlink: int
    st_size: int
    st_blocks: int
    st_mtime_ns: int
    st_ctime_ns: int
    attributes: int
    created: int
    tag: int
    path: str
    st_rdev: int = 0


class WindowsFolder:
    """An open folder. `handle` is None for the folder that contains the drives.

    That one knows the roots of drives that are read from elsewhere, by their letters (see `WindowsSystem.shadows`).
    `place` is the folder's path on the machine, whichever path it is read by.
    """

    def __init__(
        self, path: str, handle: int | None, place: str = "", roots: Mapping[str, str] | None = None
    ) -> None:
        self.path, self.handle, self.place, self.roots = path, handle, place, roots or {}
        self.shorts: dict[bytes, str] = {}  # 8.3 names, once the folder is listed
        self.seen: tuple[bytes, WindowsStatus] | None = None  # the name whose status was read last

    def inside(self, name: bytes) -> str:
        """The path by which a name is read."""
        text = name_text(name)
        if self.path:
            return f"{self.path}\\{text}"
        return self.roots.get(text.upper()) or self.placed(name)

    def placed(self, name: bytes) -> str:
        """The path of a name on the machine."""
        text = name_text(name)
        return f"{self.place}\\{text}" if self.place else f"\\\\?\\{text}:"


class WindowsFile:
    """An open file or stream, and the status `seen` before. An encrypted file is read through its raw `export`."""

    def __init__(self, name: bytes, handle: int, seen: WindowsStatus, export: IO[bytes] | None = None) -> None:
        self.name, self.handle, self.seen, self.export = name, handle, seen, export


class WindowsSystem(System[WindowsFolder, WindowsFile, WindowsStatus]):
    """The System of Windows. `fetch`: download files whose contents are only in a cloud.

    `shadows` are the device objects of shadow copies by drive letters, e.g. C ->
    `\\\\?\\GLOBALROOT\\Device\\HarddiskVolumeShadowCopy7`: all that is read of such a drive is read from there.
    What is asked about rpdrive's own folders (`identity`) is about the live ones: a shadow copy has their numbers.
    """

    name = "Windows"
    ignores_case = True
    paths_are_native = False
    opens_ahead = False
    status_has_mode = False  # permissions are in the security descriptor, which takes a call of its own

    def __init__(self, api: w.Api | None = None, *, fetch: bool = False) -> None:
        self._api, self._fetch = api or w.Api(), fetch
        try:
            self._rights = self._api.take_privileges((w.BACKUP_PRIVILEGE, w.SECURITY_PRIVILEGE))
        except OSError:
            self._rights = set()  # then the backup reads only what its user may read
        self._accounts: dict[str, str] = {}
        self.shadows: dict[str, str] = {}

    @property
    def api(self) -> w.Api:
        """The calls of Windows, for what else is to be known of this machine."""
        return self._api

    @property
    def side_data_reader(self) -> WindowsSystem:
        return self

    def raise_limits(self) -> int:
        return 1 << 20  # handles have no limit of their own

    def lock(self, file: int) -> None:
        system: Any = import_module("msvcrt")
        system.locking(file, system.LK_NBLCK, 1)

    def point_path(self, path: Path) -> bytes:
        return point_path(path)

    def identity(self, path: Path) -> tuple[int, int] | None:
        try:
            st = self._look(native(self.point_path(path)), _BASE & ~w.READ_CONTROL)
        except (OSError, LocalError):
            return None
        return st.st_dev, st.st_ino

    def volume(self, path: Path) -> Volume:
        return volume_at(self._api, self.point_path(path), self.unwanted_mounts())

    def unwanted_mounts(self) -> set[bytes]:
        return drives_of_rpdrive(self._api)

    # --- folders and names ------------------------------------------------------------------------------------

    def open_top(self) -> WindowsFolder:
        return WindowsFolder("", None, roots=self.shadows)

    def open_folder(self, name: bytes, parent: WindowsFolder) -> WindowsFolder:
        path = parent.inside(name)
        st = self.status(name, parent)
        if not stat.S_ISDIR(st.st_mode):
            raise OSError(errno.ENOTDIR, "it was replaced by something else while it was read")
        self._check_here(st)
        handle = self._api.open(rooted(path), _BASE | w.READ_DATA, w.OPEN_REPARSE_POINT)
        return WindowsFolder(path, handle, parent.placed(name))

    def open_passage(self, name: bytes, parent: WindowsFolder) -> WindowsFolder:
        try:
            return self.open_folder(name, parent)
        except PermissionError:
            handle = self._api.open(rooted(parent.inside(name)), w.READ_ATTRIBUTES, w.OPEN_REPARSE_POINT)
            return WindowsFolder(parent.inside(name), handle, parent.placed(name))

    def close(self, handle: WindowsFolder | WindowsFile) -> None:
        if handle.handle is not None:
            self._api.close(handle.handle)
        if isinstance(handle, WindowsFile) and handle.export is not None:
            handle.export.close()

    def names(self, folder: WindowsFolder) -> Names:
        if folder.handle is None:
            return [letter.encode() for letter in self._api.drives()]
        return sorted_names(self._listed(folder, folder.handle))

    def _listed(self, folder: WindowsFolder, handle: int) -> Iterator[bytes]:
        for name, short in files.listed(self._api, handle):
            found = name_bytes(name)
            if short:
                folder.shorts[found] = short
            yield found

    def status(self, name: bytes, folder: WindowsFolder) -> WindowsStatus:
        # A handle for each name, as the listing of a folder can be out of date: NTFS updates it when a file is
        # closed, and not for the file's other links.
        st = self._look(folder.inside(name), w.READ_ATTRIBUTES)
        folder.seen = name, st
        return st

    def _look(self, path: str, access: int) -> WindowsStatus:
        with self._api.opened(rooted(path), access) as handle:
            return self._status(handle, path)

    def _status(self, handle: int, path: str, *, open_file: bool = False) -> WindowsStatus:
        found = files.look(self._api, handle)
        attributes, tag = found.attributes, found.tag
        is_folder = attributes & files.DIRECTORY
        kind = stat.S_IFLNK if tag and is_link(tag) else stat.S_IFDIR if is_folder else stat.S_IFREG
        written = _ns(found.written)
        # Without a change time (FAT), derive one from the write time: later by more than a step of that clock, so
        # that a file changed within a step is read again; and different for other attributes.
        when = _ns(found.changed) if found.changed else written + _COARSE + attributes % _COARSE
        return WindowsStatus(
            st_mode=kind | descriptor.mode(None, attributes),
            st_ino=found.file_id,
            st_dev=found.serial,
            # Without a unique id (on ReFS ids have 128 bits), each link is a file of its own.
            st_nlink=1 if is_folder or found.file_id in _NO_ID else found.links,
            st_size=0 if is_folder and not open_file else found.size,  # of the stream, if one is open
            st_blocks=0 if _has_holes(attributes, tag) else (found.size + 511) // 512,
            st_mtime_ns=written,
            st_ctime_ns=when,
            attributes=attributes,
            created=_ns(found.created),
            tag=tag,
            path=path,
        )

    def owner(self, st: WindowsStatus) -> Owner:
        """Unknown: the owner is in the security descriptor, which is read only where it is needed."""
        return UNKNOWN_OWNER

    def node(self, name: bytes, st: WindowsStatus) -> Node:
        mode, owner = st.st_mode & 0o7777, UNKNOWN_OWNER
        if stat.S_ISDIR(st.st_mode):  # folders above a given path are compared by mode and owner
            with suppress(OSError), self._api.opened(rooted(st.path), w.READ_CONTROL) as handle:
                mode, owner = self._permissions(self._api.security(handle, _PUBLIC), st.attributes)
        return Node(
            name, kind_of(st.st_mode), mode, owner, st.st_size, kept_time(st.st_mtime_ns),
            kept_time(st.st_ctime_ns), st.st_ino,
        )  # fmt: skip

    # --- side data --------------------------------------------------------------------------------------------

    def readlink(self, name: bytes, folder: WindowsFolder) -> bytes:
        path = folder.inside(name)
        with self._api.opened(rooted(path), w.READ_ATTRIBUTES) as handle:
            return link_target(self._reparse(handle), folder.placed(name))

    def xattrs(self, target: WindowsFile | bytes, folder: WindowsFolder) -> dict[bytes, bytes]:
        return {}  # the extended attributes of Windows are not of the same kind: see `side_data`

    def short_name(self, name: bytes, folder: WindowsFolder) -> str:
        return folder.shorts.get(name, "")

    def side_data(self, target: WindowsFile | bytes, folder: WindowsFolder) -> SideData[WindowsFile]:
        if isinstance(target, WindowsFile):
            return self._read_side_data(
                target.handle, target.seen, folder.shorts.get(target.name, ""), target.export
            )
        st = self._seen(target, folder)
        handle = self._open(st.path, _BASE)
        try:
            return self._read_side_data(handle, st, folder.shorts.get(target, ""), None)
        finally:
            self._api.close(handle)

    def _read_side_data(
        self, handle: int, st: WindowsStatus, short: str, export: IO[bytes] | None
    ) -> SideData[WindowsFile]:
        windows = Windows(st.attributes, kept_time(st.created), short_name=short)
        data = SideData[WindowsFile](windows, st.st_mode & 0o7777)
        if export is not None:
            windows.efs = st.st_size

        def security() -> None:
            parts = _WHOLE if w.SECURITY_PRIVILEGE in self._rights else _PUBLIC
            windows.security = self._api.security(handle, parts) or None
            if windows.security:
                data.mode, data.owner = self._permissions(windows.security, st.attributes)

        def reparse() -> None:
            windows.reparse = self._reparse(handle) if st.tag and not is_seen_through(st.tag) else None

        def extended() -> None:
            windows.extended = self._api.extended(handle) or None

        def streams() -> None:
            if export is None:  # an export contains the streams
                data.streams = [
                    (name, partial(self._open_stream, st, name))
                    for name, _size in files.streams(self._api.information(handle, w.STREAM_INFO, 4096))
                ]

        for what, read in (
            ("security descriptor", security),
            ("reparse point", reparse),
            ("extended attributes", extended),
            ("streams", streams),
        ):
            try:
                read()
            except w.Failed as e:
                if e.code not in w.UNSUPPORTED:  # else the file system has no such data
                    data.problems.append(f"its {what} can't be read: {e.strerror}")
        return data

    def _permissions(self, security: bytes, attributes: int) -> tuple[int, Owner]:
        """The mode and owner that other systems show."""
        mode = descriptor.mode(security, attributes)
        try:
            found = descriptor.parse(security)
        except Damaged:
            return mode, UNKNOWN_OWNER
        return mode, Owner(-1, -1, self._account(found.owner), self._account(found.group))

    def _account(self, text: str) -> str:
        """`DOMAIN\\name` of a SID, or the SID itself if it has no name here."""
        found = self._accounts.get(text)
        if found is None:
            try:
                found = self._api.account(sid.to_bytes(text)) if text else ""
            except OSError:
                found = text
            self._accounts[text] = found
        return found

    def _reparse(self, handle: int) -> bytes:
        return self._api.control(handle, w.GET_REPARSE_POINT, b"", 16 << 10)[0]

    # --- contents ---------------------------------------------------------------------------------------------

    def _seen(self, name: bytes, folder: WindowsFolder) -> WindowsStatus:
        seen = folder.seen
        return seen[1] if seen is not None and seen[0] == name else self.status(name, folder)

    def _open(self, path: str, access: int, flags: int = w.OPEN_REPARSE_POINT) -> int:
        """A handle, with the right to read audit entries if the process has that privilege."""
        if w.SECURITY_PRIVILEGE in self._rights and access & w.READ_CONTROL:
            access |= w.ACCESS_SYSTEM_SECURITY
        return self._api.open(rooted(path), access, flags)

    def open_file(self, name: bytes, parent: WindowsFolder) -> WindowsFile:
        st = self._seen(name, parent)
        self._check_here(st)
        if st.attributes & files.ENCRYPTED:
            return self._open_encrypted(st, name)
        file = WindowsFile(name, self._open(st.path, _BASE | w.READ_DATA, _through(st)), st)
        if is_shadow(st.path) and _is_cloud(st.tag):
            try:
                self._check_whole(file)
            except BaseException:
                self.close(file)
                raise
        return file

    def _check_here(self, st: WindowsStatus) -> None:
        """Raises OnlineOnly for a file or folder that would have to be downloaded, and may not or can't be."""
        if st.attributes & _AWAY and (is_shadow(st.path) or not self._fetch):
            how = "--snapshot never --cloud-files" if is_shadow(st.path) else "--cloud-files"
            raise OnlineOnly(errno.EIO, f"its contents are only in a cloud ({how} downloads them)")

    def _check_whole(self, file: WindowsFile) -> None:
        """Raises OnlineOnly if a part of a cloud service's file is not on this disk: it would be read as zeros.

        The service's filter does not look at shadow copies, so the bytes on the disk are all that there is.
        """
        end = 0
        for begin, after in self._allocated(file, file.seen.st_size):
            if begin > end:
                break
            end = after
        if end < file.seen.st_size:
            raise OnlineOnly(
                errno.EIO, "a part of it is only in a cloud (--snapshot never --cloud-files downloads it)"
            )

    def _open_stream(self, st: WindowsStatus, name: str) -> WindowsFile:
        flags = _through(st)
        path = f"{rooted(st.path)}:{name}"
        handle = self._api.open(path, w.READ_DATA | w.READ_ATTRIBUTES, flags)
        return WindowsFile(b"", handle, st._replace(path=path))

    def _open_encrypted(self, st: WindowsStatus, name: bytes) -> WindowsFile:
        """Export an encrypted file, which needs no key. Spooled as a whole, as an export is a sequential stream."""
        handle = self._open(st.path, _BASE)
        export = tempfile.SpooledTemporaryFile(_SPOOL)  # noqa: SIM115 - `close` closes it
        try:
            self._api.export_encrypted(st.path, export.write)
        except BaseException:
            export.close()
            self._api.close(handle)
            raise
        return WindowsFile(name, handle, st, export)

    def file_status(self, handle: WindowsFile | WindowsFolder) -> WindowsStatus:
        if isinstance(handle, WindowsFolder):
            assert handle.handle is None  # only the folder above the drives is asked for
            return WindowsStatus(stat.S_IFDIR | 0o755, 0, 0, 1, 0, 0, 0, 0, files.DIRECTORY, 0, 0, "")
        found = self._status(handle.handle, handle.seen.path, open_file=True)
        if handle.export is not None:
            size = handle.export.seek(0, 2)
            return found._replace(st_size=size, st_blocks=(size + 511) // 512)
        return found

    def expect(self, file: WindowsFile, position: int, length: int) -> bool:
        return False  # Windows has no such call

    def release(self, file: WindowsFile, position: int, length: int) -> None:
        pass

    def read_small(self, file: WindowsFile, size: int, most: int) -> bytes:
        buffer = bytearray(size + 1)
        got = self.fill(file, memoryview(buffer), 0)
        if got > size and got < most:  # the file grew
            buffer = bytearray(most)
            got = self.fill(file, memoryview(buffer), 0)
        return bytes(memoryview(buffer)[:got])

    def fill(self, file: WindowsFile, buffer: memoryview, position: int) -> int:
        if file.export is not None:
            file.export.seek(position)
            data = file.export.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)
        got = 0
        while got < len(buffer):
            count = self._api.read(file.handle, buffer[got:], position + got)
            if not count:
                break
            got += count
        return got

    def data_ranges(self, file: WindowsFile, st: WindowsStatus) -> Iterator[tuple[int, int]]:
        size = st.st_size
        if not _has_holes(st.attributes, st.tag) or file.export is not None:
            if size:
                yield 0, size
            return
        yield from self._allocated(file, size)

    def _allocated(self, file: WindowsFile, size: int) -> Iterator[tuple[int, int]]:
        """The ranges of a file that have room on the disk."""
        position, more = 0, True
        while more and position < size:
            asked = files.range_bytes(position, size)
            data, more = self._api.control(file.handle, w.QUERY_ALLOCATED_RANGES, asked, _RANGES)
            before = position
            for begin, end in files.ranges(data):
                start, position = max(begin, position), max(min(end, size), position)
                if start < position:
                    yield start, position
            if position == before:
                return


def _ns(filetime: int) -> int:
    """ns since 1970 (UTC), also beyond what an entry can hold: that is said, and the nearest time is saved."""
    return (filetime - EPOCH) * UNIT


def _is_cloud(tag: int) -> bool:
    """Whether a reparse point is that of a cloud service's file: IO_REPARSE_TAG_CLOUD, or one of those after it."""
    return tag & ~0xF000 == _CLOUD


def _through(st: WindowsStatus) -> int:
    """The flags to open contents with: those that Windows produces from a reparse point are read through it."""
    if is_shadow(st.path) and _is_cloud(st.tag):
        return w.OPEN_REPARSE_POINT  # no filter produces them there: they are on the disk, or nowhere
    return 0 if is_seen_through(st.tag) else w.OPEN_REPARSE_POINT


def _has_holes(attributes: int, tag: int) -> bool:
    """Whether unallocated ranges are holes. They are not if a filter produces the contents."""
    return bool(attributes & files.SPARSE) and not is_seen_through(tag)


def is_seen_through(tag: int) -> bool:
    """Whether contents are read through such a reparse point, and saved in place of it."""
    return tag & ~0xF000 in _SEEN_THROUGH
