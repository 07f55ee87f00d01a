"""`ffi` and `lib` as winfspy's compiled bindings offer them.

Every function goes through a C function pointer of the declared type, so that arguments are converted, and refused,
as cffi does with the real library; so do the file system's operations, which are called by the pointers in its
FSP_FILE_SYSTEM_INTERFACE.
"""

from __future__ import annotations

import sys
import traceback
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cffi

from tests.kit.winfsp.layout import types
from tests.kit.winfsp.memory import address, check_copy, fault, where

NULL = types.NULL


class Ffi:
    """winfspy's `ffi`."""

    NULL = types.NULL
    error = cffi.FFIError

    def __init__(self) -> None:
        self._handles: dict[int, weakref.ref[Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(types, name)

    def def_extern(self, name: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Fill one of the functions that WinFsp calls. What it raises is printed, and 0 (success!) returned."""

        def fill(function: Callable[..., Any]) -> Callable[..., Any]:
            target = name or function.__name__
            lib.__dict__[target] = _callback(_EXTERNS[target], function)
            return function

        return fill

    def new_handle(self, value: Any) -> Any:
        handle = types.new_handle(value)
        self._handles[address(handle)] = weakref.ref(handle)
        return handle

    def from_handle(self, handle: Any) -> Any:
        known = self._handles.get(address(handle))
        if known is None or known() is None:
            fault(f"a handle used that is not alive, at {where()}")
            raise SystemError("ffi.from_handle(): dead or bogus handle")
        return types.from_handle(handle)

    def memmove(self, dest: Any, src: Any, size: int) -> None:
        if isinstance(dest, types.CData):
            check_copy(dest, size)
        types.memmove(dest, src, size)


def _callback(type_: Any, function: Callable[..., Any]) -> Any:
    def failed(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        fault(f"{function.__name__} raised {error!r}")
        traceback.print_exception(kind, error, trace, file=sys.stderr)

    return types.callback(type_, function, onerror=failed)


class Lib:
    """winfspy's `lib`: functions are added by the modules beside this, operations by winfspy."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE = -10, -11, -12
    FSP_FILE_SYSTEM_OPERATION_GUARD_STRATEGY_FINE = 0
    FSP_FILE_SYSTEM_OPERATION_GUARD_STRATEGY_COARSE = 1
    FspCleanupDelete = 0x01
    FspCleanupSetAllocationSize = 0x02
    FspCleanupSetArchiveBit = 0x10
    FspCleanupSetLastAccessTime = 0x20
    FspCleanupSetLastWriteTime = 0x40
    FspCleanupSetChangeTime = 0x80
    WFSPY_SECURITY_DESCRIPTOR_REVISION = 1
    WFSPY_STRING_SECURITY_DESCRIPTOR_REVISION = 1
    WFSPY_OWNER_SECURITY_INFORMATION = 1
    WFSPY_GROUP_SECURITY_INFORMATION = 2
    WFSPY_DACL_SECURITY_INFORMATION = 4
    WFSPY_SACL_SECURITY_INFORMATION = 8
    WFSPY_FILE_ATTRIBUTE_INVALID_FILE_ATTRIBUTES = 0xFFFFFFFF
    WFSPY_FSP_FSCTL_DRIVER_NAME = types.new("WCHAR[]", "WinFsp")
    WFSPY_FSP_FSCTL_DISK_DEVICE_NAME = types.new("WCHAR[]", "WinFsp.Disk")
    WFSPY_FSP_FSCTL_NET_DEVICE_NAME = types.new("WCHAR[]", "WinFsp.Net")
    WFSPY_FSP_FSCTL_MUP_DEVICE_NAME = types.new("WCHAR[]", "WinFsp.Mup")
    WFSPY_FILE_DIRECTORY_FILE = 0x1
    WFSPY_FILE_WRITE_THROUGH = 0x2
    WFSPY_FILE_SEQUENTIAL_ONLY = 0x4
    WFSPY_FILE_NO_INTERMEDIATE_BUFFERING = 0x8
    WFSPY_FILE_SYNCHRONOUS_IO_ALERT = 0x10
    WFSPY_FILE_SYNCHRONOUS_IO_NONALERT = 0x20
    WFSPY_FILE_NON_DIRECTORY_FILE = 0x40
    WFSPY_FILE_CREATE_TREE_CONNECTION = 0x80
    WFSPY_FILE_COMPLETE_IF_OPLOCKED = 0x100
    WFSPY_FILE_NO_EA_KNOWLEDGE = 0x200
    WFSPY_FILE_RANDOM_ACCESS = 0x800
    WFSPY_FILE_DELETE_ON_CLOSE = 0x1000
    WFSPY_FILE_OPEN_BY_FILE_ID = 0x2000
    WFSPY_FILE_OPEN_FOR_BACKUP_INTENT = 0x4000
    WFSPY_FILE_OPEN_REQUIRING_OPLOCK = 0x10000
    WFSPY_FILE_RESERVE_OPFILTER = 0x100000
    WFSPY_FILE_OPEN_REPARSE_POINT = 0x200000


ffi = Ffi()
lib = Lib()

_INTERFACE = types.typeof("FSP_FILE_SYSTEM_INTERFACE").fields
_EXTERNS = {
    f"_trampolin_fs_{name}": field.type for name, field in _INTERFACE if not name.startswith("_")
} | {  # two that the wheel defines, though its FSP_FILE_SYSTEM_INTERFACE has no place for them
    "_trampolin_fs_Control": types.typeof(
        "NTSTATUS(*)(FSP_FILE_SYSTEM *, PVOID, UINT32, PVOID, ULONG, PVOID, ULONG, PULONG)"
    ),
    "_trampolin_fs_SetDelete": types.typeof("NTSTATUS(*)(FSP_FILE_SYSTEM *, PVOID, PWSTR, BOOLEAN)"),
}


def function(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """One of the library's functions; `signature` as in its header, with `(*)` in place of its name."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        setattr(lib, function.__name__, _callback(types.typeof(signature), function))
        return function

    return add
