"""Windows calls about this machine, for drives: the current user, drive letters.

They work on Windows only.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, byref, c_int32, c_uint32, c_void_p, c_wchar_p
from functools import cache
from typing import Any

from catalog.errors import LocalError

IS_WINDOWS = sys.platform == "win32"
_TOKEN_QUERY = 0x8
_TOKEN_USER = 1
_PREFERRED = "RSTUVWXYZQPONMLKJIHGFED"  # never A, B or C


@cache
def _library(name: str) -> Any:
    """A system DLL, with the argument types of the functions used here."""
    windll: Any = getattr(ctypes, "WinDLL", None)
    if windll is None:
        raise LocalError("this is not Windows")
    library = windll(name, use_last_error=True)
    for function, (result, *arguments) in _FUNCTIONS[name].items():
        getattr(library, function).restype = result
        getattr(library, function).argtypes = arguments
    return library


_FUNCTIONS: dict[str, dict[str, list[Any]]] = {
    "kernel32": {
        "GetLogicalDrives": [c_uint32],
        "GetCurrentProcess": [c_void_p],
        "CloseHandle": [c_int32, c_void_p],
        "LocalFree": [c_void_p, c_void_p],
    },
    "advapi32": {
        "OpenProcessToken": [c_int32, c_void_p, c_uint32, POINTER(c_void_p)],
        "GetTokenInformation": [c_int32, c_void_p, c_uint32, c_void_p, c_uint32, POINTER(c_uint32)],
        "ConvertSidToStringSidW": [c_int32, c_void_p, POINTER(c_void_p)],
    },
}


def user_sid() -> str:
    """The security identifier of the user who runs this process. Raises LocalError."""
    kernel, advapi = _library("kernel32"), _library("advapi32")
    token, size, text = c_void_p(), c_uint32(), c_void_p()
    if not advapi.OpenProcessToken(kernel.GetCurrentProcess(), _TOKEN_QUERY, byref(token)):
        raise _failed("cannot determine the current user")
    try:
        advapi.GetTokenInformation(token, _TOKEN_USER, None, 0, byref(size))
        user = ctypes.create_string_buffer(size.value)
        if not advapi.GetTokenInformation(token, _TOKEN_USER, user, size, byref(size)):
            raise _failed("cannot determine the current user")
        sid = c_void_p.from_buffer(user)  # TOKEN_USER begins with a pointer to it
        if not advapi.ConvertSidToStringSidW(sid, byref(text)):
            raise _failed("cannot determine the current user")
        try:
            return str(ctypes.cast(text, c_wchar_p).value)
        finally:
            kernel.LocalFree(text)
    finally:
        kernel.CloseHandle(token)


def _failed(what: str) -> LocalError:
    get_last_error: Any = getattr(ctypes, "get_last_error", int)
    return LocalError(f"{what}: error {get_last_error()} of Windows")


def taken_letters() -> int:
    """A bit for each drive letter in use, the lowest for A."""
    return int(_library("kernel32").GetLogicalDrives())


def is_taken(letter: str, taken: int) -> bool:
    """Whether a letter is in use; `taken` as from taken_letters."""
    return bool(taken >> (ord(letter.upper()) - ord("A")) & 1)


def free_letter(taken: int) -> str | None:
    """The first free drive letter, from R on; None if all are in use."""
    return next((letter for letter in _PREFERRED if not is_taken(letter, taken)), None)
