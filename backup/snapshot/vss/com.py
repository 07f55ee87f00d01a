"""IVssBackupComponents and IVssAsync, called by the numbers of their methods.

There is no type library for them, so the vtables are declared here, from vsbackup.h and vss.h of the Windows SDK:
slots count from 0 with IUnknown's three, and GUIDs are passed by value. Every method returns an HRESULT. The
function that loads the libraries is an argument, so that tests can replace Windows.
"""

from __future__ import annotations

import ctypes
import uuid
from collections.abc import Callable
from ctypes import POINTER, byref, c_bool, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_void_p
from typing import Any, NamedTuple

from catalog.windows.api import wide

# --- <vss.h> ------------------------------------------------------------------------------------------------------
CONTEXT_BACKUP = 0  # VSS_CTX_BACKUP: with writers; released when its requester is
BACKUP_COPY = 5  # VSS_BT_COPY: the logs and increments of other backup programs stay as they are
OBJECT_SNAPSHOT_SET = 2  # VSS_OBJECT_SNAPSHOT_SET
ASYNC_PENDING, ASYNC_FINISHED, ASYNC_CANCELLED = 0x00042309, 0x0004230A, 0x0004230B
WRITER_FAILED = range(6, 16)  # VSS_WRITER_STATE: VSS_WS_FAILED_AT_IDENTIFY and the others after it
# --- <objbase.h>, <rpcdce.h> --------------------------------------------------------------------------------------
COINIT_MULTITHREADED = 0
AUTHN_LEVEL_PKT_PRIVACY, IMP_LEVEL_IMPERSONATE, EOAC_STATIC_CLOAKING = 6, 3, 0x20

_TEXT_MAX = 1 << 15  # UTF-16 units of a text that Windows returns
_OK_MAX = 0x7FFFFFFF  # above it an HRESULT is a failure


class Guid(ctypes.Structure):
    """GUID."""

    _fields_ = (("one", c_uint32), ("two", c_uint16), ("three", c_uint16), ("four", c_uint8 * 8))

    @classmethod
    def of(cls, text: str) -> Guid:
        """The GUID of a text with or without braces. Raises ValueError."""
        return cls.from_buffer_copy(uuid.UUID(text).bytes_le)

    def __str__(self) -> str:
        return "{" + str(uuid.UUID(bytes_le=bytes(self))) + "}"


class SnapshotProperties(ctypes.Structure):
    """VSS_SNAPSHOT_PROP. `created` is a FILETIME."""

    _fields_ = (
        ("id", Guid),
        ("set", Guid),
        ("count", c_int32),
        ("device", c_void_p),
        ("volume", c_void_p),
        ("machine", c_void_p),
        ("service_machine", c_void_p),
        ("exposed_name", c_void_p),
        ("exposed_path", c_void_p),
        ("provider", Guid),
        ("attributes", c_int32),
        ("created", c_int64),
        ("status", c_int32),
    )


class Properties(NamedTuple):
    """What the service says of one shadow copy. `created` is a FILETIME."""

    device: str
    volume: str
    created: int


class WriterStatus(NamedTuple):
    """A writer: a program that gets its files ready for a shadow copy. `failure` is an HRESULT."""

    name: str
    state: int
    failure: int


NO_ID = Guid()  # GUID_NULL: the service chooses the provider
_OUT = POINTER(c_void_p)
# Method: its slot, and the types of its arguments.
COMPONENTS: dict[str, tuple[int, tuple[Any, ...]]] = {
    "Release": (2, ()),
    "InitializeForBackup": (5, (c_void_p,)),
    "SetBackupState": (6, (c_bool, c_bool, c_int32, c_bool)),
    "GatherWriterMetadata": (9, (_OUT,)),
    "PrepareForBackup": (14, (_OUT,)),
    "AbortBackup": (15, ()),
    "GatherWriterStatus": (16, (_OUT,)),
    "GetWriterStatusCount": (17, (POINTER(c_uint32),)),
    "FreeWriterStatus": (18, ()),
    "GetWriterStatus": (
        19,
        (c_uint32, POINTER(Guid), POINTER(Guid), _OUT, POINTER(c_int32), POINTER(c_uint32)),
    ),
    "BackupComplete": (27, (_OUT,)),
    "SetContext": (35, (c_int32,)),
    "StartSnapshotSet": (36, (POINTER(Guid),)),
    "AddToSnapshotSet": (37, (c_void_p, Guid, POINTER(Guid))),
    "DoSnapshotSet": (38, (_OUT,)),
    "DeleteSnapshots": (39, (Guid, c_int32, c_int32, POINTER(c_int32), POINTER(Guid))),
    "GetSnapshotProperties": (42, (Guid, POINTER(SnapshotProperties))),
    "IsVolumeSupported": (44, (Guid, c_void_p, POINTER(c_int32))),
}
ASYNC: dict[str, tuple[int, tuple[Any, ...]]] = {
    "Release": (2, ()),
    "Cancel": (3, ()),
    "Wait": (4, (c_uint32,)),
    "QueryStatus": (5, (POINTER(c_uint32), c_void_p)),
}
FUNCTIONS: dict[str, dict[str, tuple[Any, ...]]] = {  # result first
    "ole32": {
        "CoInitializeEx": (c_uint32, c_void_p, c_uint32),
        "CoInitializeSecurity": (
            c_uint32, c_void_p, c_int32, c_void_p, c_void_p, c_uint32, c_uint32, c_void_p, c_uint32, c_void_p,
        ),
        "CoUninitialize": (None,),
    },
    "oleaut32": {"SysStringLen": (c_uint32, c_void_p), "SysFreeString": (None, c_void_p)},
    "vssapi": {
        "CreateVssBackupComponentsInternal": (c_uint32, _OUT),
        "VssFreeSnapshotPropertiesInternal": (None, POINTER(SnapshotProperties)),
    },
}  # fmt: skip


class Failed(Exception):
    """A call that failed: the name of the step, and its HRESULT."""

    def __init__(self, step: str, code: int) -> None:
        super().__init__(f"{step}: 0x{code:08X}")
        self.step, self.code = step, code


def _load(name: str) -> Any:
    return vars(ctypes)["WinDLL"](name)


class Library:
    """The functions of Windows that VSS needs, with COM ready in this thread. `load` returns a DLL by its name.

    Raises Failed.
    """

    def __init__(self, load: Callable[[str], Any] = _load) -> None:
        self.calls: dict[str, Any] = {}
        for library, functions in FUNCTIONS.items():
            loaded = load(library)
            for name, (result, *arguments) in functions.items():
                function = getattr(loaded, name)
                function.restype, function.argtypes = result, arguments
                self.calls[name] = function
        self._check("CoInitializeEx", self.calls["CoInitializeEx"](None, COINIT_MULTITHREADED))
        # Once a process, and before anything else uses COM: without it writers can't call back, and Windows fills
        # its event log with number 8194.
        self._check(
            "CoInitializeSecurity",
            self.calls["CoInitializeSecurity"](
                None, -1, None, None, AUTHN_LEVEL_PKT_PRIVACY, IMP_LEVEL_IMPERSONATE, None, EOAC_STATIC_CLOAKING,
                None,
            ),
        )  # fmt: skip

    @staticmethod
    def _check(step: str, code: int) -> None:
        if code > _OK_MAX:
            raise Failed(step, code)

    def components(self) -> Components:
        """A new IVssBackupComponents. Raises Failed."""
        found = c_void_p()
        self._check("CreateVssBackupComponents", self.calls["CreateVssBackupComponentsInternal"](byref(found)))
        if not found.value:
            raise Failed("CreateVssBackupComponents", 0x80004003)  # E_POINTER
        return Components(self, found.value)

    def close(self) -> None:
        self.calls["CoUninitialize"]()

    def take_text(self, address: int | None) -> str:
        """The text of a BSTR, which is freed."""
        if not address:
            return ""
        length = min(self.calls["SysStringLen"](address), _TEXT_MAX)
        text = ctypes.string_at(address, 2 * length).decode("utf-16-le", "replace")
        self.calls["SysFreeString"](address)
        return text


class _Object:
    """A COM object, called by its vtable."""

    _METHODS: dict[str, tuple[int, tuple[Any, ...]]]

    def __init__(self, library: Library, address: int) -> None:
        self._library, self._address = library, address
        kind = vars(ctypes).get("WINFUNCTYPE", ctypes.CFUNCTYPE)
        table = ctypes.cast(address, POINTER(POINTER(c_void_p)))[0]
        self._calls = {
            name: kind(c_uint32, c_void_p, *arguments)(table[slot] or 0)
            for name, (slot, arguments) in self._METHODS.items()
        }

    def code(self, name: str, *arguments: Any) -> int:
        """Call a method. Returns its HRESULT."""
        return int(self._calls[name](self._address, *arguments))

    def do(self, name: str, *arguments: Any) -> None:
        """Call a method. Raises Failed."""
        code = self.code(name, *arguments)
        if code > _OK_MAX:
            raise Failed(name, code)

    def release(self) -> None:
        if self._address:
            self.code("Release")
            self._address = 0


class Async(_Object):
    """IVssAsync: work that the service does meanwhile."""

    _METHODS = ASYNC

    def status(self, milliseconds: int) -> int:
        """Wait for a while. Returns one of ASYNC_PENDING and the others, or the HRESULT that it failed with."""
        self.do("Wait", milliseconds)
        found = c_uint32()
        self.do("QueryStatus", byref(found), None)
        return found.value


class Components(_Object):
    """IVssBackupComponents: one backup, as the service sees it."""

    _METHODS = COMPONENTS

    def begin(self, name: str) -> Async:
        """Call a method that goes on meanwhile. Raises Failed."""
        found = c_void_p()
        self.do(name, byref(found))
        if not found.value:
            raise Failed(name, 0x80004003)  # E_POINTER
        return Async(self._library, found.value)

    def supports(self, volume: str) -> bool:
        """Whether the volume can have shadow copies. Raises Failed."""
        found = c_int32()
        self.do("IsVolumeSupported", NO_ID, wide(volume), byref(found))
        return bool(found.value)

    def start_set(self) -> Guid:
        """The id of a new, empty set of shadow copies. Raises Failed."""
        found = Guid()
        self.do("StartSnapshotSet", byref(found))
        return found

    def add(self, volume: str) -> Guid:
        """Add a volume to the set. Returns the id that its shadow copy will have. Raises Failed."""
        found = Guid()
        self.do("AddToSnapshotSet", wide(volume), NO_ID, byref(found))
        return found

    def properties(self, snapshot: Guid) -> Properties:
        """What the service knows of a shadow copy. Raises Failed, e.g. if it is gone."""
        raw = SnapshotProperties()
        self.do("GetSnapshotProperties", snapshot, byref(raw))
        try:
            return Properties(_text(raw.device), _text(raw.volume), raw.created)
        finally:
            self._library.calls["VssFreeSnapshotPropertiesInternal"](byref(raw))

    def delete(self, snapshot_set: Guid) -> int:
        """Delete the shadow copies of a set. Returns how many. Raises Failed."""
        count, rest = c_int32(), Guid()
        self.do("DeleteSnapshots", snapshot_set, OBJECT_SNAPSHOT_SET, 1, byref(count), byref(rest))
        return count.value

    def writers(self) -> list[WriterStatus]:
        """The writers, after GatherWriterStatus has ended. Raises Failed."""
        count = c_uint32()
        self.do("GetWriterStatusCount", byref(count))
        found = []
        for n in range(min(count.value, 1000)):
            instance, writer, name, state, failure = Guid(), Guid(), c_void_p(), c_int32(), c_uint32()
            code = self.code(
                "GetWriterStatus", n, byref(instance), byref(writer), byref(name), byref(state), byref(failure)
            )
            if code <= _OK_MAX:
                text = self._library.take_text(name.value) or str(writer)
                found.append(WriterStatus(text, state.value, failure.value))
        self.code("FreeWriterStatus")
        return found


def _text(address: int | None) -> str:
    """A text in memory, up to its zero."""
    if not address:
        return ""
    data = b""
    while len(data) < 2 * _TEXT_MAX:
        unit = ctypes.string_at(address + len(data), 2)
        if unit == b"\0\0":
            break
        data += unit
    return data.decode("utf-16-le", "replace")
