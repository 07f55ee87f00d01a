"""The functions of Windows itself that winfspy's bindings offer: memory, errors, security descriptors."""

from __future__ import annotations

import itertools
import threading
from typing import Any

from tests.kit.winfsp import memory, security
from tests.kit.winfsp.bindings import NULL, function
from tests.kit.winfsp.layout import types
from tests.kit.winfsp.status import Status

_last_error = threading.local()


@function("void *(*)(SIZE_T)")
def malloc(size: int) -> Any:
    return memory.allocate(size)


@function("HANDLE(*)(HANDLE)")
def LocalFree(block: Any) -> Any:
    if block != NULL:
        memory.free(block)
    return NULL


@function("DWORD(*)(void)")
def GetLastError() -> int:
    return getattr(_last_error, "code", 0)


@function("HANDLE(*)(DWORD)")
def GetStdHandle(_number: int) -> Any:
    return NULL


@function("SIZE_T(*)(const WCHAR *)")
def wcslen(text: Any) -> int:
    return next(length for length in itertools.count() if text[length] == "\0")


def descriptor_bytes(pointer: Any) -> bytes:
    """The self-relative descriptor at `pointer`. Raises ValueError if there is none."""
    header = bytes(types.buffer(pointer, 20))
    end = 20
    for offset in (int.from_bytes(header[at : at + 4], "little") for at in (4, 8)):
        if offset:
            sid = bytes(types.buffer(pointer, offset + 8))[offset:]
            end = max(end, offset + 8 + 4 * sid[1])
    for offset in (int.from_bytes(header[at : at + 4], "little") for at in (12, 16)):
        if offset:
            acl = bytes(types.buffer(pointer, offset + 8))[offset:]
            end = max(end, offset + int.from_bytes(acl[2:4], "little"))
    return bytes(types.buffer(pointer, end))


@function("BOOL(*)(LPCWSTR, DWORD, PSECURITY_DESCRIPTOR *, PULONG)")
def ConvertStringSecurityDescriptorToSecurityDescriptorW(text: Any, revision: int, result: Any, size: Any) -> int:
    try:
        raw = security.from_sddl(types.string(text))
    except (ValueError, KeyError):
        _last_error.code = 1336  # ERROR_INVALID_ACL
        return 0
    if revision != 1:
        _last_error.code = 1305  # ERROR_UNKNOWN_REVISION
        return 0
    result[0] = types.cast("SECURITY_DESCRIPTOR *", memory.copied(raw))
    if size != NULL:
        size[0] = len(raw)
    return 1


@function("BOOL(*)(PSECURITY_DESCRIPTOR, DWORD, UINT32, PWSTR *, PULONG)")
def ConvertSecurityDescriptorToStringSecurityDescriptorW(
    descriptor: Any, _revision: int, which: int, result: Any, length: Any
) -> int:
    try:
        text = security.to_sddl(descriptor_bytes(descriptor), which)
    except ValueError:
        _last_error.code = 1338  # ERROR_INVALID_SECURITY_DESCR
        return 0
    result[0] = types.cast("PWSTR", memory.copied((text + "\0").encode("utf-16-le")))
    if length != NULL:
        length[0] = len(text) + 1
    return 1


@function("DWORD(*)(PSECURITY_DESCRIPTOR)")
def GetSecurityDescriptorLength(descriptor: Any) -> int:
    return len(descriptor_bytes(descriptor))


@function("BOOL(*)(PSECURITY_DESCRIPTOR)")
def IsValidSecurityDescriptor(descriptor: Any) -> int:
    try:
        security.parse(descriptor_bytes(descriptor))
    except ValueError:
        return 0
    return 1


@function("NTSTATUS(*)(PSECURITY_DESCRIPTOR, SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSECURITY_DESCRIPTOR *)")
def FspSetSecurityDescriptor(old: Any, which: int, modification: Any, result: Any) -> int:
    result[0] = NULL
    if old == NULL:
        return Status.NO_SECURITY_ON_OBJECT
    raw = security.changed(descriptor_bytes(old), which, descriptor_bytes(modification))
    result[0] = types.cast("SECURITY_DESCRIPTOR *", memory.copied(raw))
    return Status.SUCCESS
