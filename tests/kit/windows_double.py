"""A small Windows in memory, behind the functions of its libraries, for tests where there is no Windows.

Each function is called through ctypes with the types that Microsoft documents, and gives structures in the
documented layouts, so that catalog/windows/api.py and the parsers run for real. It checks what the real ones
check: rights of handles, privileges, sharing, flags for links and folders. That Windows does the same, it can't
show.
"""

from __future__ import annotations

import copy
import ctypes
import struct
import threading
import traceback
from collections.abc import Callable, Iterator
from ctypes import c_uint8, c_uint32, c_void_p
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from catalog.windows.api import Api

# Result and arguments of each function: p a pointer, handle or void, d 32 bits, b 8 bits.
SIGNATURES = {
    "kernel32": {
        "CreateFileW": "p:pddpddp", "CloseHandle": "d:p", "GetFileInformationByHandle": "d:pp",
        "GetFileInformationByHandleEx": "d:pdpd", "SetFileInformationByHandle": "d:pdpd",
        "DeviceIoControl": "d:pdpdpdpp", "ReadFile": "d:ppdpp", "WriteFile": "d:ppdpp", "FlushFileBuffers": "d:p",
        "LockFile": "d:pdddd",
        "CreateDirectoryW": "d:pp", "CreateHardLinkW": "d:ppp", "MoveFileExW": "d:ppd", "DeleteFileW": "d:p",
        "RemoveDirectoryW": "d:p", "GetLogicalDrives": "d:", "GetDriveTypeW": "d:p",
        "GetVolumeInformationW": "d:ppdppppd", "GetVolumeNameForVolumeMountPointW": "d:ppd",
        "GetDiskFreeSpaceExW": "d:pppp", "GetCurrentProcess": "p:",
    },
    "advapi32": {
        "OpenProcessToken": "d:pdp", "LookupPrivilegeValueW": "d:ppp", "AdjustTokenPrivileges": "d:pdpdpp",
        "GetKernelObjectSecurity": "d:pdpdp", "SetKernelObjectSecurity": "d:pdp",
        "LookupAccountSidW": "d:ppppppp", "OpenEncryptedFileRawW": "d:pdp", "ReadEncryptedFileRaw": "d:ppp",
        "WriteEncryptedFileRaw": "d:ppp", "CloseEncryptedFileRaw": "v:p",
        "EncryptFileW": "d:p",
    },
    "ntdll": {"NtQueryEaFile": "d:pppdbpdpb", "NtSetEaFile": "d:pppd"},
}  # fmt: skip
_TYPES: dict[str, Any] = {"p": c_void_p, "d": c_uint32, "b": c_uint8, "v": None}
_INVALID = 2**64 - 1
_DEVICE = "GLOBALROOT\\Device\\"
READONLY, DIRECTORY, ARCHIVE, SPARSE, REPARSE, RECALL, ENCRYPTED = 1, 0x10, 0x20, 0x200, 0x400, 0x400000, 0x4000
T0 = 133_000_000_000_000_000  # FILETIME, in 2022


class Data:
    """The bytes of a stream; `ranges` are those that are not holes."""

    def __init__(self, data: bytes = b"", ranges: list[tuple[int, int]] | None = None) -> None:
        self.data = bytearray(data)
        self.ranges = ranges


@dataclass
class Item:
    """A file or folder."""

    attributes: int = ARCHIVE
    created: int = T0
    accessed: int = T0
    written: int = T0 + 10
    changed: int = T0 + 20
    index: int = 0
    names: int = 1
    security: bytes = b""
    audited: bytes = b""  # the same with its SACL
    reparse: bytes = b""
    extended: bytes = b""
    streams: dict[str, Data] = field(default_factory=dict)
    children: dict[str, Entry] = field(default_factory=dict)
    exclusive: bool = False  # another program has it open
    denied: bool = False  # but for those who may back up
    raw: bytes = b""  # its raw export, if it is encrypted

    @property
    def data(self) -> Data:
        return self.streams.setdefault("", Data())


@dataclass
class Entry:
    name: str
    short: str
    item: Item


@dataclass
class Handle:
    item: Item
    access: int
    stream: str
    path: str
    flags: int
    place: int = 0  # in a listing


class Problem(Exception):
    """What a function fails with."""

    def __init__(self, code: int) -> None:
        self.code = code


class Double:
    """One machine with the drive `C`. `privileges` are those that its user may switch on."""

    def __init__(self, privileges: set[str] | None = None, file_system: str = "NTFS") -> None:
        self.roots = {"C": Item(DIRECTORY, index=5 | 5 << 48)}
        self.shadows: dict[str, Item] = {}  # device objects of shadow copies, which can't be changed
        self.drive_types: dict[str, int] = {}  # DRIVE_FIXED if a letter is not here
        self.file_systems: dict[str, str] = {}  # of letters, in place of `file_system`
        self.free = 50 << 30  # bytes
        self.opened: list[str] = []  # paths, without a prefix
        self.serial, self.file_system = 0xBEEF1234, file_system
        self.allowed = privileges if privileges is not None else set()
        self.switched: set[str] = set()
        self.accounts: dict[bytes, tuple[str, str]] = {}
        self.read_bytes = self.recalled = self.data_opens = 0
        self.handles: dict[int, Handle] = {}
        self.broken: list[str] = []  # wrong uses of the API
        self.now = T0 + 1000
        self._next, self._index = 0x100, 40
        self._errors = threading.local()  # GetLastError is per thread
        self._luids: list[str] = []
        self._exports: dict[int, tuple[Item, list[bytes]]] = {}
        self._keep: list[Any] = []

    # --- what tests do ----------------------------------------------------------------------------------------

    def api(self) -> Api:
        return Api(self._library, lambda: self._error)

    @property
    def _error(self) -> int:
        return getattr(self._errors, "code", 0)

    @_error.setter
    def _error(self, code: int) -> None:
        self._errors.code = code

    def _library(self, name: str) -> SimpleNamespace:
        found = SimpleNamespace()
        for function, signature in SIGNATURES[name].items():
            result, arguments = signature.split(":")
            shape = ctypes.CFUNCTYPE(_TYPES[result], *(_TYPES[a] for a in arguments))
            setattr(found, function, shape(self._guarded(function)))
        return found

    def _guarded(self, name: str) -> Callable[..., int | None]:
        work = getattr(self, name)

        def call(*arguments: Any) -> int | None:
            try:
                result = work(*arguments)
            except Problem as e:
                self._error = e.code
            except Exception:  # noqa: BLE001 - ctypes would only print it
                self.broken.append(traceback.format_exc())
                self._error = 31
            else:
                return 1 if result is None else int(result)
            if name == "CreateFileW":
                return _INVALID
            return self._error if name.startswith("Nt") or "EncryptedFile" in name else 0

        return call

    def add(self, path: str, data: bytes = b"", *, short: str = "", **known: Any) -> Item:
        """A file, or (with the attribute) a folder, at `C\\a\\b`."""
        self._index += 1
        item = Item(**known)
        item.index = self._index | 3 << 48
        if not item.attributes & DIRECTORY:
            item.data.data[:] = data
        folder, name = self._parent(path)
        folder.children[name.upper()] = Entry(name, short, item)
        return item

    def folder(self, path: str, **known: Any) -> Item:
        return self.add(path, attributes=known.pop("attributes", 0) | DIRECTORY, **known)

    def hard_link(self, path: str, new: str) -> None:
        item = self.item(path)
        folder, name = self._parent(new)
        folder.children[name.upper()] = Entry(name, "", item)
        item.names += 1

    def item(self, path: str) -> Item:
        return self._find(path).item

    def entry(self, path: str) -> Entry:
        return self._find(path)

    def touch(self, path: str, data: bytes | None = None) -> None:
        """A change of the file, as a program would make it."""
        item = self.item(path)
        self.now += 1000
        item.changed = self.now
        if data is not None:
            item.written = self.now
            item.data.data[:] = data

    def take_shadow(self, letter: str = "C") -> str:
        """A shadow copy of a drive as it is now. Returns its device object."""
        device = f"HarddiskVolumeShadowCopy{len(self.shadows) + 1}"
        self.shadows[device] = copy.deepcopy(self.roots[letter])
        return f"\\\\?\\GLOBALROOT\\Device\\{device}"

    def walk(self, item: Item | None = None, path: str = "C") -> Iterator[tuple[str, Entry]]:
        for entry in (item or self.roots["C"]).children.values():
            here = f"{path}\\{entry.name}"
            yield here, entry
            if entry.item.attributes & DIRECTORY:
                yield from self.walk(entry.item, here)

    def _find(self, path: str) -> Entry:
        parts = [p for p in path.split("\\") if p]
        root = self.roots.get(parts[0].rstrip(":").upper()) or self.shadows.get(parts[0])
        if root is None:
            raise Problem(3)
        entry = Entry(parts[0], "", root)
        for n, part in enumerate(parts[1:], 2):
            if entry.item.attributes & REPARSE and entry.item.reparse[3] & 0x20:
                raise Problem(1920)  # ERROR_CANT_ACCESS_FILE: a link on the path was followed
            found = entry.item.children.get(part.upper())
            if found is None:
                raise Problem(2 if n == len(parts) else 3)
            entry = found
        return entry

    def _parent(self, path: str) -> tuple[Item, str]:
        above, _, name = path.rpartition("\\")
        return self._find(above).item, name

    # --- memory -----------------------------------------------------------------------------------------------

    @staticmethod
    def _text(address: int) -> str:
        data = b""
        while not data.endswith(b"\0\0") or len(data) % 2:
            data += ctypes.string_at(address + len(data), 2)
        return data[:-2].decode("utf-16-le", "surrogatepass")

    @staticmethod
    def _put(address: int | None, data: bytes) -> None:
        if address:
            ctypes.memmove(address, data, len(data))

    def _put_number(self, address: int | None, number: int) -> None:
        self._put(address, struct.pack("<I", number))

    def _path(self, address: int) -> tuple[str, str]:
        """Without the prefix, and the stream."""
        text = self._text(address)
        if not text.startswith("\\\\?\\"):
            raise Problem(87)  # 260 characters would be the limit
        path = text[4:]
        if path.startswith(_DEVICE):
            path = path[len(_DEVICE) :]
            if "\\" not in path:  # the volume itself, as a device: it has no files
                self.broken.append(f"a volume was opened in place of its root folder: {text}")
                raise Problem(1)
            is_root = path.count("\\") == 1
        else:
            is_root = len(path) == 3
        if path.endswith(":") or "\\\\" in path or (path.endswith("\\") and not is_root):
            raise Problem(123)
        head, _, last = path.rpartition("\\")
        name, _, stream = last.partition(":")
        return f"{head}\\{name}", stream

    def _handle(self, handle: int, *rights: int) -> Handle:
        found = self.handles.get(handle)
        if found is None:
            raise Problem(6)
        if not all(found.access & right for right in rights):
            raise Problem(5)
        return found

    # --- kernel32 ---------------------------------------------------------------------------------------------

    def CreateFileW(
        self, path: int, access: int, share: int, security: int, how: int, flags: int, template: int
    ) -> int:
        assert share == 7 and flags & 0x02000000 and access & 0x100000
        where, stream = self._path(path)
        if access & 0x1000000 and "SeSecurityPrivilege" not in self.switched:
            raise Problem(1314)
        self.opened.append(where)
        if where.split("\\", 1)[0] in self.shadows and (how == 1 or access & 0x500D0156):
            raise Problem(19)
        if how == 1:
            item = self._create(where, stream)
        else:
            item = self._find(where).item
            self._may_open(item, access, flags)
            if stream and stream not in item.streams:
                raise Problem(2)
        if access & 1 and not item.attributes & DIRECTORY:
            self.data_opens += 1
        self._next += 4
        self.handles[self._next] = Handle(item, access, stream, where, flags)
        return self._next

    def _may_open(self, item: Item, access: int, flags: int) -> None:
        if item.exclusive and access & (0x1 | 0x2 | 0x10000):
            raise Problem(32)
        if item.denied and access & 0x21 and "SeBackupPrivilege" not in self.switched:
            raise Problem(5)
        if item.attributes & ENCRYPTED and access & 3:
            raise Problem(5)
        if item.attributes & REPARSE and not flags & 0x00200000:
            (tag,) = struct.unpack_from("<I", item.reparse)
            if tag != 0x80000013:
                raise Problem(1920)
        if item.attributes & REPARSE and flags & 0x00200000 and access & 1:
            (tag,) = struct.unpack_from("<I", item.reparse)
            if tag == 0x80000013:
                raise Problem(1920)  # it would read the stub

    def _create(self, where: str, stream: str) -> Item:
        if stream:
            item = self._find(where).item
            if stream in item.streams:
                raise Problem(80)
            item.streams[stream] = Data()
            return item
        folder, name = self._parent(where)
        if name.upper() in folder.children:
            raise Problem(80)
        return self.add(where, created=self.now, written=self.now, changed=self.now)

    def CloseHandle(self, handle: int) -> None:
        if handle != 0x77:
            self._handle(handle)
            del self.handles[handle]

    def GetFileInformationByHandle(self, handle: int, buffer: int) -> None:
        h = self._handle(handle)
        item, size = h.item, self._size(h)
        times = (item.created, item.accessed, item.written)
        tail = (self.serial, size >> 32, size & 0xFFFFFFFF, item.names, item.index >> 32, item.index & 0xFFFFFFFF)
        self._put(buffer, struct.pack("<IQQQIIIIII", item.attributes, *times, *tail))

    @staticmethod
    def _size(h: Handle) -> int:
        data = h.item.streams.get(h.stream)
        return 0 if data is None or (h.item.attributes & DIRECTORY and not h.stream) else len(data.data)

    def GetFileInformationByHandleEx(self, handle: int, kind: int, buffer: int, size: int) -> None:
        item = (h := self._handle(handle)).item
        if kind == 0:
            times = (item.created, item.accessed, item.written, item.changed)
            found = struct.pack("<qqqqI4x", *times, item.attributes)
            if self.file_system == "FAT32":
                found = found[:24] + bytes(8) + found[32:]
        elif kind == 9:
            found = struct.pack("<II", item.attributes, *struct.unpack_from("<I", item.reparse or bytes(4)))
        elif kind == 7:
            if self.file_system == "FAT32":
                raise Problem(87)
            found = self._streams(item)
            if not found:
                raise Problem(38)
        else:
            assert kind in (10, 11)
            self._handle(handle, 1)
            found = self._list(h, kind == 11, size)
        if len(found) > size:
            raise Problem(234)
        self._put(buffer, found)

    def _streams(self, item: Item) -> bytes:
        rows = []
        for name, data in item.streams.items():
            text = f":{name}:$DATA".encode("utf-16-le", "surrogatepass")
            rows.append(struct.pack("<Iqq", len(text), len(data.data), (len(data.data) + 4095) & ~4095) + text)
        return _chain(rows)

    def _list(self, h: Handle, again: bool, size: int) -> bytes:
        rows = [Entry(".", "", h.item), Entry("..", "", h.item), *h.item.children.values()]
        h.place = 0 if again else h.place
        found: list[bytes] = []
        while h.place < len(rows):
            e = rows[h.place]
            i, text = e.item, e.name.encode("utf-16-le", "surrogatepass")
            # As NTFS has it in a folder: old for a file that has other links, or is open.
            stale = (0, 0, 0, 0, 0, 0)
            short = e.short.encode("utf-16-le")
            row = struct.pack("<I6q3IBx24s2xQ", 0, *stale, i.attributes, len(text), 0, len(short), short, i.index)
            if len(_chain([*found, row + text])) > min(size, 700):  # a small list, so that it takes several calls
                break
            found.append(row + text)
            h.place += 1
        if not found:
            raise Problem(18)
        return _chain(found)

    def SetFileInformationByHandle(self, handle: int, kind: int, buffer: int, size: int) -> None:
        data = ctypes.string_at(buffer, size)
        if kind == 0:
            item = self._handle(handle, 0x100).item
            created, accessed, written, changed, attributes = struct.unpack("<qqqqI4x", data)
            item.created, item.accessed = created or item.created, accessed or item.accessed
            item.written, item.changed = written or item.written, changed or item.changed
            if attributes:
                kept = item.attributes & (DIRECTORY | SPARSE | REPARSE | ENCRYPTED | 0x800)
                item.attributes = attributes & 0x3127 | kept
        elif kind == 6:
            h = self._handle(handle, 2)
            (length,) = struct.unpack("<q", data)
            content = h.item.streams.setdefault(h.stream, Data())
            content.data[length:] = bytes(max(length - len(content.data), 0))
        elif kind == 4:
            h = self._handle(handle, 0x10000)
            folder, name = self._parent(h.path)
            del folder.children[name.upper()]
        else:
            raise Problem(87)

    def DeviceIoControl(
        self, handle: int, code: int, given: int, given_size: int, buffer: int, size: int, got: int, _over: int
    ) -> None:
        h = self._handle(handle)
        data = ctypes.string_at(given, given_size) if given else b""
        found = b""
        if code == 0x900A8:
            if not h.item.attributes & REPARSE:
                raise Problem(4390)
            found = h.item.reparse
        elif code == 0x900A4:
            self._handle(handle, 0x100)
            if h.item.children or (h.item.data.data and data[3] & 0x20):
                raise Problem(4392)
            h.item.reparse, h.item.attributes = data, h.item.attributes | REPARSE
        elif code == 0x9C040:
            self._handle(handle, 1, 2)
            assert data == b"\1\0"
            h.item.attributes |= 0x800
        elif code == 0x900C4 and data == b"\0":
            self._handle(handle, 2)
            h.item.attributes &= ~SPARSE
            h.item.streams[h.stream].ranges = None
        elif code == 0x900C4:
            self._handle(handle, 2)
            h.item.attributes |= SPARSE
            content = h.item.streams.setdefault(h.stream, Data())
            content.ranges = content.ranges or ([(0, len(content.data))] if content.data else [])
        elif code == 0x940CF:
            self._handle(handle, 1)
            start, length = struct.unpack("<qq", data)
            content = h.item.streams[h.stream]
            ranges = content.ranges if content.ranges is not None else [(0, len(content.data))]
            rows = [(max(a, start), min(b, start + length)) for a, b in ranges if b > start and a < start + length]
            room = min(size, 48) // 16
            found = b"".join(struct.pack("<qq", a, b - a) for a, b in rows[:room])
            if len(rows) > room:
                self._put(buffer, found)
                self._put_number(got, len(found))
                raise Problem(234)
        else:
            raise Problem(1)
        if len(found) > size:
            raise Problem(122)
        self._put(buffer, found)
        self._put_number(got, len(found))

    def ReadFile(self, handle: int, buffer: int, size: int, got: int, over: int) -> None:
        h = self._handle(handle, 1)
        offset, high = struct.unpack("<II", ctypes.string_at(over + 16, 8))
        position = high << 32 | offset
        data = h.item.streams[h.stream].data
        if h.item.attributes & RECALL:
            self.recalled += 1
        if position >= len(data):
            raise Problem(38)
        found = bytes(data[position : position + size])
        self.read_bytes += len(found)
        self._put(buffer, found)
        self._put_number(got, len(found))

    def WriteFile(self, handle: int, buffer: int, size: int, got: int, over: int) -> None:
        h = self._handle(handle, 2)
        offset, high = struct.unpack("<II", ctypes.string_at(over + 16, 8))
        position = high << 32 | offset
        content = h.item.streams.setdefault(h.stream, Data())
        content.data.extend(bytes(max(position + size - len(content.data), 0)))
        content.data[position : position + size] = ctypes.string_at(buffer, size)
        if content.ranges is not None:
            content.ranges = _joined([*content.ranges, (position, position + size)])
        h.item.written = h.item.changed = self.now
        self._put_number(got, size)

    def FlushFileBuffers(self, handle: int) -> None:
        self._handle(handle, 2)

    def LockFile(self, handle: int, low: int, high: int, length: int, length_high: int) -> None:
        self._handle(handle, 3)

    def CreateDirectoryW(self, path: int, security: int) -> None:
        where, _stream = self._path(path)
        folder, name = self._parent(where)
        if name.upper() in folder.children:
            raise Problem(183)
        self.folder(where)

    def CreateHardLinkW(self, new: int, path: int, security: int) -> None:
        (target, _), (where, _) = self._path(path), self._path(new)
        folder, name = self._parent(where)
        if name.upper() in folder.children:
            raise Problem(183)
        self.hard_link(target, where)

    def MoveFileExW(self, path: int, new: int, flags: int) -> None:
        (old, _), (where, _) = self._path(path), self._path(new)
        folder, name = self._parent(where)
        there = folder.children.get(name.upper())
        if there is not None:
            if not flags & 1:
                raise Problem(183)
            if there.item.attributes & (DIRECTORY | READONLY):
                raise Problem(5)
        before, was = self._parent(old)
        item = before.children.pop(was.upper()).item
        folder.children[name.upper()] = Entry(name, "", item)

    def DeleteFileW(self, path: int) -> None:
        folder, name = self._parent(self._path(path)[0])
        item = self._find(self._path(path)[0]).item
        if item.attributes & (DIRECTORY | READONLY):
            raise Problem(5)
        if item.exclusive:
            raise Problem(32)
        del folder.children[name.upper()]
        item.names -= 1

    def RemoveDirectoryW(self, path: int) -> None:
        folder, name = self._parent(self._path(path)[0])
        if self._find(self._path(path)[0]).item.children:
            raise Problem(145)
        del folder.children[name.upper()]

    def GetLogicalDrives(self) -> int:
        return sum(1 << ord(letter) - 65 for letter in self.roots)

    def GetDriveTypeW(self, root: int) -> int:
        letter = self._text(root)[0]
        return self.drive_types.get(letter, 3 if letter in self.roots else 1)

    def GetVolumeInformationW(
        self, root: int, label: int, label_size: int, serial: int, longest: int, flags: int, name: int, size: int
    ) -> None:
        text = self._text(root)
        assert len(text) == 3
        if text[0] not in self.roots:
            raise Problem(21)  # ERROR_NOT_READY
        self._put_number(flags, 0x3E72EFF)
        self._put_number(serial, self.serial)
        self._put(label, f"Label of {text[0]}".encode("utf-16-le") + b"\0\0")
        self._put(name, self.file_systems.get(text[0], self.file_system).encode("utf-16-le") + b"\0\0")

    def GetVolumeNameForVolumeMountPointW(self, root: int, name: int, size: int) -> None:
        text = self._text(root)
        assert text.endswith("\\") and size >= 50
        if text[0] not in self.roots:
            raise Problem(3)
        self._put(name, volume_name(text[0]).encode("utf-16-le") + b"\0\0")

    def GetDiskFreeSpaceExW(self, root: int, free: int, size: int, total: int) -> None:
        assert self._text(root)[0] in self.roots
        self._put(free, struct.pack("<Q", self.free))
        self._put(size, struct.pack("<Q", 100 << 30))

    def GetCurrentProcess(self) -> int:
        return _INVALID

    # --- advapi32 ---------------------------------------------------------------------------------------------

    def OpenProcessToken(self, process: int, access: int, token: int) -> None:
        assert process == _INVALID and access & 0x20
        self._put(token, struct.pack("<Q", 0x77))

    def LookupPrivilegeValueW(self, system: int, name: int, luid: int) -> None:
        self._luids.append(self._text(name))
        self._put(luid, struct.pack("<Q", len(self._luids)))

    def AdjustTokenPrivileges(self, token: int, none: int, new: int, size: int, old: int, needed: int) -> None:
        assert token == 0x77 and not none
        count, luid, attributes = struct.unpack("<IQI", ctypes.string_at(new, 16))
        assert (count, attributes) == (1, 2)
        name = self._luids[luid - 1]
        self._error = 0 if name in self.allowed else 1300
        self.switched.update({name} & self.allowed)

    def GetKernelObjectSecurity(self, handle: int, parts: int, buffer: int, size: int, needed: int) -> None:
        item = self._handle(handle, 0x20000).item
        if parts & 8:
            self._handle(handle, 0x1000000)
        if self.file_system == "FAT32":
            raise Problem(50)
        found = item.audited if parts & 8 and item.audited else item.security
        self._put_number(needed, len(found))
        if len(found) > size:
            raise Problem(122)
        self._put(buffer, found)

    def SetKernelObjectSecurity(self, handle: int, parts: int, descriptor: int) -> None:
        h = self._handle(handle)
        for part, right in ((3, 0x80000), (4, 0x40000), (8, 0x1000000)):
            if parts & part:
                self._handle(handle, right)
        head = ctypes.string_at(descriptor, 20)
        assert head[3] & 0x80, "not self-relative"
        found = bytearray(ctypes.string_at(descriptor, _descriptor_length(descriptor)))
        if parts & 1 and "SeRestorePrivilege" not in self.switched:
            raise Problem(1307)
        control = int.from_bytes(found[2:4], "little")
        for asked, inherited in ((0x100, 0x400), (0x200, 0x800)):
            if not control & asked:
                control &= ~inherited  # as it is set only for one who asks for it
        found[2:4] = (control & ~0x300).to_bytes(2, "little")
        if parts & 3:
            h.item.security = bytes(found)
        h.item.audited = bytes(found) if parts & 8 else b""

    def LookupAccountSidW(
        self, system: int, sid: int, name: int, name_size: int, domain: int, domain_size: int, use: int
    ) -> None:
        count = ctypes.string_at(sid, 2)[1]
        found = self.accounts.get(ctypes.string_at(sid, 8 + 4 * count))
        if found is None:
            raise Problem(1332)
        self._put(domain, found[0].encode("utf-16-le") + b"\0\0")
        self._put(name, found[1].encode("utf-16-le") + b"\0\0")

    def OpenEncryptedFileRawW(self, path: int, flags: int, context: int) -> int:
        where, _stream = self._path(path)
        if flags & 1:
            folder, name = self._parent(where)
            item = folder.children[name.upper()].item if name.upper() in folder.children else self.add(where)
        else:
            item = self._find(where).item
            if not item.raw:
                raise Problem(6002)
        self._next += 4
        self._exports[self._next] = item, []
        self._put(context, struct.pack("<Q", self._next))
        return 0

    def ReadEncryptedFileRaw(self, function: int, own: int, context: int) -> int:
        item, _ = self._exports[context]
        take = ctypes.CFUNCTYPE(c_uint32, c_void_p, c_void_p, c_uint32)(function)
        for start in range(0, len(item.raw), 1000):
            part = ctypes.create_string_buffer(item.raw[start : start + 1000])
            if code := take(ctypes.addressof(part), own, min(1000, len(item.raw) - start)):
                return int(code)
        return 0

    def WriteEncryptedFileRaw(self, function: int, own: int, context: int) -> int:
        item, parts = self._exports[context]
        give = ctypes.CFUNCTYPE(c_uint32, c_void_p, c_void_p, c_void_p)(function)
        while True:
            buffer, length = ctypes.create_string_buffer(1000), c_uint32(1000)
            if code := give(ctypes.addressof(buffer), own, ctypes.addressof(length)):
                return int(code)
            if not length.value:
                break
            parts.append(buffer.raw[: length.value])
        item.raw, item.attributes = b"".join(parts), item.attributes | ENCRYPTED
        return 0

    def EncryptFileW(self, path: int) -> None:
        item = self._find(self._path(path)[0]).item
        assert item.attributes & DIRECTORY
        item.attributes |= ENCRYPTED

    def CloseEncryptedFileRaw(self, context: int) -> None:
        del self._exports[context]

    # --- ntdll ------------------------------------------------------------------------------------------------

    def NtQueryEaFile(
        self, handle: int, status: int, buffer: int, size: int, single: int, wanted: int, wanted_size: int,
        index: int, again: int,
    ) -> int:  # fmt: skip
        item = self._handle(handle, 8).item
        if not item.extended:
            return 0xC0000052
        if len(item.extended) > size:
            return 0x80000005
        self._put(buffer, item.extended)
        self._put(status, struct.pack("<QQ", 0, len(item.extended)))
        return 0

    def NtSetEaFile(self, handle: int, status: int, buffer: int, size: int) -> int:
        self._handle(handle, 0x10).item.extended = ctypes.string_at(buffer, size)
        return 0


def volume_name(letter: str) -> str:
    """The name of a letter's volume."""
    return f"\\\\?\\Volume{{0b0fc0de-0000-0000-0000-0000000000{ord(letter):02x}}}\\"


def _chain(rows: list[bytes]) -> bytes:
    """Rows end to end, each at a multiple of 8 and with the distance to the next before it."""
    found = b""
    for n, row in enumerate(rows):
        last = n == len(rows) - 1
        step = 0 if last else (len(row) + 4 + 7) & ~7
        found += struct.pack("<I", step) + row + bytes(0 if last else step - len(row) - 4)
    return found


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def _descriptor_length(address: int) -> int:
    """The end of the last part of a self-relative descriptor."""
    owner, group, sacl, dacl = struct.unpack("<4I", ctypes.string_at(address + 4, 16))
    ends = [20]
    for sid in filter(None, (owner, group)):
        ends.append(sid + 8 + 4 * ctypes.string_at(address + sid, 2)[1])
    for acl in filter(None, (sacl, dacl)):
        ends.append(acl + int.from_bytes(ctypes.string_at(address + acl + 2, 2), "little"))
    return max(ends)
