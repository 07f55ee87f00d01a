"""Removes and writes what rpdrive itself keeps on a volume of Windows, by the calls of Windows."""

from __future__ import annotations

from contextlib import suppress

from catalog.windows import files
from catalog.windows.api import (
    BASIC_INFO,
    OPEN_REPARSE_POINT,
    READ_ATTRIBUTES,
    READ_DATA,
    WRITE_ATTRIBUTES,
    WRITE_DATA,
    Api,
    NotThere,
)  # fmt: skip

_DEEPEST = 64  # folders in each other: WindowsImageBackup has three


def exists(api: Api, path: str) -> bool:
    """Whether there is something at a path as `\\\\\\\\?\\\\C:\\\\…`. Raises Failed if that is not known."""
    try:
        with api.opened(path, READ_ATTRIBUTES):
            return True
    except NotThere:
        return False


def contents(api: Api, path: str, most: int) -> bytes:
    """The first bytes of a file. Raises Failed."""
    with api.opened(path, READ_DATA) as handle:
        buffer = bytearray(most)
        got = 0
        while got < most and (count := api.read(handle, memoryview(buffer)[got:], got)):
            got += count
        return bytes(buffer[:got])


def write(api: Api, path: str, data: bytes) -> None:
    """Write a small file anew. Raises Failed."""
    with suppress(NotThere):
        api.remove(path)
    handle = api.open(path, WRITE_DATA, new=True)
    try:
        api.write(handle, memoryview(data), 0)
        api.flush(handle)
    finally:
        api.close(handle)


def remove(api: Api, path: str, depth: int = 0) -> None:
    """Remove a file, or a folder with all that is in it. Links are removed, not followed. Raises Failed."""
    with api.opened(path, READ_ATTRIBUTES, OPEN_REPARSE_POINT) as handle:
        found = files.look(api, handle)
    if found.attributes & files.READONLY:
        with api.opened(path, WRITE_ATTRIBUTES, OPEN_REPARSE_POINT) as handle:
            plain = files.Basic(0, 0, 0, 0, found.attributes & ~files.READONLY | files.NORMAL)
            api.set_information(handle, BASIC_INFO, files.basic_bytes(plain))
    if not found.attributes & files.DIRECTORY:
        api.remove(path)
        return
    if not found.attributes & files.REPARSE_POINT and depth < _DEEPEST:
        with api.opened(path, READ_DATA, OPEN_REPARSE_POINT) as handle:
            names = [name for name, _short in files.listed(api, handle)]
        for name in names:
            remove(api, f"{path}\\{name}", depth + 1)
    api.remove_folder(path)
