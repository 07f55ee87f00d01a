"""A Volume Shadow Copy Service in this process, behind vtables like those of Windows.

The slots and argument types are written down here a second time, from vsbackup.h, so that a wrong slot or argument
of backup/snapshot/vss/com.py fails. It records every call, checks their order as the service does, and fails where
a test says. A shadow copy is a locked file that only this process holds: its end, by whatever cause, frees it.
That Windows does the same, this can't show.

As a program it is the helper process, with this double in place of Windows: see `helper_command`.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import struct
import sys
import time
import uuid
from collections.abc import Callable
from ctypes import c_int32, c_uint8, c_uint32, c_void_p
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from backup.snapshot.vss.com import Library
from backup.snapshot.vss.helper import serve
from catalog.program import main_command

FINISHED, PENDING, CANCELLED = 0x4230A, 0x42309, 0x4230B
BAD_STATE, NOT_FOUND, UNSUPPORTED, TOO_LATE = 0x80042301, 0x80042308, 0x8004230C, 0x80010119
T0 = 133_000_000_000_000_000  # FILETIME, in 2022
DEVICE = "\\\\?\\GLOBALROOT\\Device\\HarddiskVolumeShadowCopy"


class Value(ctypes.Structure):
    """A GUID, passed by value."""

    _fields_ = (("raw", c_uint32 * 4),)


_TYPES: dict[str, Any] = {"p": c_void_p, "d": c_uint32, "i": c_int32, "b": c_uint8, "g": Value}
# Slot, name, arguments after `this`.
COMPONENTS = (
    (0, "QueryInterface", "pp"), (1, "AddRef", ""), (2, "Release", ""), (5, "InitializeForBackup", "p"),
    (6, "SetBackupState", "bbib"), (9, "GatherWriterMetadata", "p"), (14, "PrepareForBackup", "p"),
    (15, "AbortBackup", ""), (16, "GatherWriterStatus", "p"), (17, "GetWriterStatusCount", "p"),
    (18, "FreeWriterStatus", ""), (19, "GetWriterStatus", "dppppp"), (27, "BackupComplete", "p"),
    (35, "SetContext", "i"), (36, "StartSnapshotSet", "p"), (37, "AddToSnapshotSet", "pgp"),
    (38, "DoSnapshotSet", "p"), (39, "DeleteSnapshots", "giipp"), (42, "GetSnapshotProperties", "gp"),
    (44, "IsVolumeSupported", "gpp"),
)  # fmt: skip
ASYNC = ((2, "Release", ""), (3, "Cancel", ""), (4, "Wait", "d"), (5, "QueryStatus", "pp"))
_SLOTS = 55
WRITERS = (("System Writer", 5, 0), ("WMI Writer", 5, 0))  # name, state, HRESULT


class Script(msgspec.Struct, omit_defaults=True):
    """What goes wrong. Codes are HRESULTs by the names of calls; `times` says how often (for ever, if it is
    missing).

    `ends` are codes with which work ends that goes on meanwhile, `never` such work that has no end, `hangs` is a
    call that does not return. `dies` is a call in which the process ends.
    """

    folder: str = ""
    fails: dict[str, int] = {}
    times: dict[str, int] = {}
    ends: dict[str, int] = {}
    never: list[str] = []
    hangs: str = ""
    dies: str = ""
    unsupported: list[str] = []
    writers: list[tuple[str, int, int]] = msgspec.field(default_factory=lambda: list(WRITERS))
    device: str = DEVICE
    grace: float = 30.0


def helper_command(script: Script) -> list[str]:
    """The command line of a helper process with this double."""
    return [*main_command("tests.kit.vss_double"), msgspec.json.encode(script).decode()]


def main() -> None:
    script = msgspec.json.decode(sys.argv[1], type=Script)
    Path(script.folder, "pid").write_text(str(os.getpid()))
    serve(lambda: Library(VssDouble(script).load), script.grace)


class VssDouble:
    """The service and COM. `calls` are the names of what was called, in order."""

    def __init__(self, script: Script) -> None:
        self.script, self.folder = script, Path(script.folder)
        self.calls: list[str] = []
        self.live = 0  # objects that nobody has released
        self._keep: list[Any] = []
        self._texts: dict[int, Any] = {}
        self._failed: dict[str, int] = {}
        self._security = False
        self.sets: dict[bytes, list[tuple[bytes, str]]] = {}
        self.shadows: dict[bytes, tuple[str, str, int]] = {}  # id -> volume, device, locked file
        self._context: int | None = None
        self._state = "new"
        self._set: bytes | None = None

    # --- the libraries ----------------------------------------------------------------------------------------

    def load(self, name: str) -> SimpleNamespace:
        functions: dict[str, dict[str, tuple[str, str]]] = {
            "ole32": {
                "CoInitializeEx": ("d", "pd"), "CoInitializeSecurity": ("d", "pippddpdp"),
                "CoUninitialize": ("v", ""),
            },
            "oleaut32": {"SysStringLen": ("d", "p"), "SysFreeString": ("v", "p")},
            "vssapi": {
                "CreateVssBackupComponentsInternal": ("d", "p"), "VssFreeSnapshotPropertiesInternal": ("v", "p"),
            },
        }  # fmt: skip
        found = SimpleNamespace()
        for function, (result, arguments) in functions[name].items():
            kind = ctypes.CFUNCTYPE(None if result == "v" else c_uint32, *(_TYPES[a] for a in arguments))
            setattr(found, function, kind(self._recorded(function)))
        return found

    def _recorded(self, name: str) -> Callable[..., int]:
        work = getattr(self, name)

        def call(*arguments: Any) -> int:
            self._note(name)
            script = self.script
            if script.dies == name:
                os._exit(9)
            while script.hangs == name:
                time.sleep(0.05)
            if name in script.fails:
                count = self._failed[name] = self._failed.get(name, 0) + 1
                if count <= script.times.get(name, 1 << 30):
                    return script.fails[name]
            try:
                return int(work(*arguments) or 0)
            except Exception as e:  # noqa: BLE001 - ctypes would only print it
                self._note(f"wrong: {name} {e!r}")
                return 0x80070057

        return call

    def _note(self, name: str) -> None:
        self.calls.append(name)
        if self.script.folder:
            with (self.folder / "calls").open("a") as file:
                file.write(json.dumps(name) + "\n")

    def _object(self, methods: tuple[tuple[int, str, str], ...], names: dict[str, Any]) -> int:
        """The address of an object with a vtable."""
        table = (c_void_p * _SLOTS)()
        for slot in range(_SLOTS):
            function: Any = ctypes.CFUNCTYPE(c_uint32, c_void_p)(self._wrong_slot)
            table[slot] = ctypes.cast(function, c_void_p)
            self._keep.append(function)
        for slot, name, arguments in methods:
            kind = ctypes.CFUNCTYPE(c_uint32, c_void_p, *(_TYPES[a] for a in arguments))
            function = kind(names.get(name) or self._recorded(name))
            table[slot] = ctypes.cast(function, c_void_p)
            self._keep.append(function)
        holder = c_void_p(ctypes.addressof(table))
        self._keep += [table, holder]
        self.live += 1
        return ctypes.addressof(holder)

    def _wrong_slot(self, _this: int) -> int:
        self._note("wrong: a slot that nobody should call")
        return 0x80004001

    @staticmethod
    def _text(address: int) -> str:
        data = b""
        while not data.endswith(b"\0\0") or len(data) % 2:
            data += ctypes.string_at(address + len(data), 2)
        return data[:-2].decode("utf-16-le")

    def _new_text(self, text: str) -> int:
        buffer = ctypes.create_string_buffer(text.encode("utf-16-le") + b"\0\0")
        self._texts[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    @staticmethod
    def _put(address: int, data: bytes) -> None:
        ctypes.memmove(address, data, len(data))

    # --- ole32, oleaut32 --------------------------------------------------------------------------------------

    def CoInitializeEx(self, reserved: int | None, how: int) -> None:
        assert (reserved, how) == (None, 0)

    def CoInitializeSecurity(self, *given: Any) -> int:
        if self._security:
            return TOO_LATE
        assert given == (None, -1, None, None, 6, 3, None, 0x20, None), given
        self._security = True
        return 0

    def CoUninitialize(self) -> None:
        self._note(f"live {self.live}")

    def SysStringLen(self, text: int) -> int:
        return (len(self._texts[text].raw) - 3) // 2

    def SysFreeString(self, text: int) -> None:
        del self._texts[text]

    # --- vssapi -----------------------------------------------------------------------------------------------

    def CreateVssBackupComponentsInternal(self, out: int) -> None:
        assert self._security
        self._put(out, struct.pack("<Q", self._object(COMPONENTS, {})))

    def VssFreeSnapshotPropertiesInternal(self, properties: int) -> None:
        raw = ctypes.string_at(properties, 128)
        for address in struct.unpack_from("<2Q", raw, 40):
            del self._texts[address]

    def QueryInterface(self, _this: int, _iid: int, _out: int) -> int:
        raise AssertionError("nobody needs it")

    def AddRef(self, _this: int) -> int:
        raise AssertionError("nobody needs it")

    def Release(self, _this: int) -> int:
        self.live -= 1
        if self.live == 0:  # the requester's last hold: what is released with it goes
            for found in list(self.shadows):
                self._drop(found)
        return 0

    def _needs(self, *states: str) -> bool:
        return self._state in states

    def InitializeForBackup(self, _this: int, xml: int) -> int:
        assert xml is None
        if not self._needs("new"):
            return BAD_STATE
        self._state = "initialized"
        return 0

    def SetContext(self, _this: int, context: int) -> int:
        assert context == 0, context
        if not self._needs("initialized"):
            return BAD_STATE
        self._context = context
        return 0

    def SetBackupState(self, _this: int, components: int, system: int, kind: int, partial: int) -> int:
        assert (components, system, kind, partial) == (0, 0, 5, 0)
        if not self._needs("initialized") or self._context is None:
            return BAD_STATE
        self._state = "ready"
        return 0

    def _begin(self, name: str, out: int, done: Callable[[], None]) -> int:
        """Give an IVssAsync that ends at once, or as the script says."""
        state = {"code": PENDING}

        def wait(_this: int, milliseconds: int) -> int:
            assert milliseconds <= 1000, "the end of the backup would not be noticed"
            if name in self.script.never:
                time.sleep(min(milliseconds, 20) / 1000)
            elif state["code"] == PENDING:
                state["code"] = self.script.ends.get(name, FINISHED)
                if state["code"] == FINISHED:
                    done()
            return 0

        def cancel(_this: int) -> int:
            self._note(f"Cancel {name}")
            state["code"] = CANCELLED
            return 0

        def query(_this: int, code: int, reserved: int) -> int:
            assert reserved is None
            self._put(code, struct.pack("<I", state["code"]))
            return 0

        def release(_this: int) -> int:
            self.live -= 1
            return 0

        names = {"Wait": wait, "Cancel": cancel, "QueryStatus": query, "Release": release}
        self._put(out, struct.pack("<Q", self._object(ASYNC, names)))
        return 0

    def GatherWriterMetadata(self, _this: int, out: int) -> int:
        if not self._needs("ready"):
            return BAD_STATE

        def done() -> None:
            self._state = "gathered"

        return self._begin("GatherWriterMetadata", out, done)

    def IsVolumeSupported(self, _this: int, provider: Value, volume: int, out: int) -> int:
        assert bytes(provider) == bytes(16)
        self._put(out, struct.pack("<i", self._text(volume) not in self.script.unsupported))
        return 0

    def StartSnapshotSet(self, _this: int, out: int) -> int:
        if not self._needs("gathered"):
            return BAD_STATE
        self._set = uuid.uuid4().bytes_le
        self.sets[self._set], self._state = [], "started"
        self._put(out, self._set)
        return 0

    def AddToSnapshotSet(self, _this: int, volume: int, provider: Value, out: int) -> int:
        assert bytes(provider) == bytes(16) and self._set is not None
        name = self._text(volume)
        assert name.endswith("\\"), name
        if not self._needs("started"):
            return BAD_STATE
        if name in self.script.unsupported:
            return UNSUPPORTED
        found = uuid.uuid4().bytes_le
        self.sets[self._set].append((found, name))
        self._put(out, found)
        return 0

    def PrepareForBackup(self, _this: int, out: int) -> int:
        if not self._needs("started"):
            return BAD_STATE

        def done() -> None:
            self._state = "prepared"

        return self._begin("PrepareForBackup", out, done)

    def DoSnapshotSet(self, _this: int, out: int) -> int:
        if not self._needs("prepared"):
            return BAD_STATE

        def done() -> None:
            assert self._set is not None
            self._state = "done"
            for n, (found, volume) in enumerate(self.sets[self._set], 1):
                file = os.open(self.folder / f"shadow-{n}", os.O_CREAT | os.O_RDWR)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.shadows[found] = volume, f"{self.script.device}{n}", file

        return self._begin("DoSnapshotSet", out, done)

    def GetSnapshotProperties(self, _this: int, wanted: Value, out: int) -> int:
        found = self.shadows.get(bytes(wanted))
        if found is None or (self.folder / "lost").exists():
            return NOT_FOUND
        volume, device, _file = found
        texts = self._new_text(device), self._new_text(volume)
        head = bytes(wanted) + (self._set or b"") + struct.pack("<i4x", len(self.shadows))
        tail = struct.pack("<6Q", *texts, 0, 0, 0, 0) + bytes(16) + struct.pack("<i4xqi4x", 0, T0, 12)
        self._put(out, head + tail)
        return 0

    def GatherWriterStatus(self, _this: int, out: int) -> int:
        return self._begin("GatherWriterStatus", out, lambda: None)

    def GetWriterStatusCount(self, _this: int, out: int) -> None:
        self._put(out, struct.pack("<I", len(self.script.writers)))

    def GetWriterStatus(self, _this: int, n: int, *out: int) -> None:
        instance, writer, name, state, failure = out
        text, code, hresult = self.script.writers[n]
        self._put(instance, uuid.uuid4().bytes)
        self._put(writer, uuid.uuid4().bytes)
        self._put(name, struct.pack("<Q", self._new_text(text)))
        self._put(state, struct.pack("<i", code))
        self._put(failure, struct.pack("<I", hresult))

    def FreeWriterStatus(self, _this: int) -> None:
        pass

    def BackupComplete(self, _this: int, out: int) -> int:
        if not self._needs("done"):
            return BAD_STATE
        return self._begin("BackupComplete", out, lambda: None)

    def AbortBackup(self, _this: int) -> None:
        self._state = "aborted"

    def DeleteSnapshots(self, _this: int, which: Value, kind: int, force: int, count: int, rest: int) -> int:
        assert (kind, force) == (2, 1)
        mine = [found for found, _volume in self.sets.get(bytes(which), []) if found in self.shadows]
        for found in mine:
            self._drop(found)
        self._put(count, struct.pack("<i", len(mine)))
        self._put(rest, bytes(16))
        return 0 if mine else NOT_FOUND

    def _drop(self, found: bytes) -> None:
        os.close(self.shadows.pop(found)[2])


def held(folder: Path) -> int:
    """How many shadow copies the service has."""
    count = 0
    for path in folder.glob("shadow-*"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                count += 1
    return count


def called(folder: Path) -> list[str]:
    """What the helper process called."""
    path = folder / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
