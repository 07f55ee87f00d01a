"""Listing a folder as the kernel's driver does, piece by piece into the program's buffer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.kit.winfsp.access import Invoke
from tests.kit.winfsp.bindings import NULL
from tests.kit.winfsp.layout import types
from tests.kit.winfsp.memory import lent
from tests.kit.winfsp.names import is_wild, matches, wide
from tests.kit.winfsp.status import NtError, Status, succeeded
from tests.kit.winfsp.values import Entry, file_info
from tests.kit.winfsp.volume import Kind, Volume

MOST = 16384 - 16  # bytes of entries in one request
ENTRY = types.sizeof("FSP_FSCTL_DIR_INFO")
OFFSET_OF_NAME = {  # in what programs get from a listing, by information class
    "directory": 64,
    "full": 68,
    "id_full": 80,
    "names": 12,
    "both": 94,
    "id_both": 104,
}


class Listing:
    """How far a handle's listing has come: its pattern, the last name, what the kernel keeps."""

    def __init__(self, volume: Volume, invoke: Invoke, context: Any, what: str) -> None:
        self._volume = volume
        self._invoke = invoke
        self._context = context
        self._what = what
        self._pattern = ""
        self._marker: str | None = None
        self._found = False
        self._kept: bytes | None = None  # the first answer, where the kernel keeps it

    def next(self, pattern: str | None, length: int, kind: str, *, restart: bool, single: bool) -> list[Entry]:
        """The entries that come next and fit into `length` bytes. NtError at the end."""
        parameters = self._volume.parameters
        base = OFFSET_OF_NAME[kind]
        if base >= length:
            raise NtError(Status.BUFFER_TOO_SMALL, self._what)
        if not self._pattern or (restart and pattern):
            self._pattern = pattern or "*"
            if not parameters.case_sensitive_search:
                self._pattern = self._pattern.upper()
        if restart:
            self._marker, self._found = None, False
        wild = is_wild(self._pattern)
        if not wild and self._found:
            raise NtError(Status.NO_MORE_FILES, self._what)
        by_name = parameters.pass_query_directory_file_name and not wild
        if self._kept is not None:
            copied = self._copy(self._kept, base, length, single, skip=True)
            if copied:
                return copied
        while True:
            first = self._marker is None
            raw = self._ask(by_name, self._length(by_name, first, base, length))
            if not raw:
                raise self._end()
            if first and not by_name and parameters.dir_info_timeout:
                self._kept = raw
            copied = self._copy(raw, base, length, single)
            if copied:
                return copied

    def _end(self) -> NtError:
        return NtError(Status.NO_MORE_FILES if self._found else Status.NO_SUCH_FILE, self._what)

    def _length(self, by_name: bool, first: bool, base: int, length: int) -> int:
        """How many bytes of entries the kernel asks for, when the program has room for `length`."""
        parameters = self._volume.parameters
        least: int = -(-(ENTRY + parameters.max_component_length * 2) // 8) * 8
        if by_name:
            return least
        if (parameters.dir_info_timeout and first) or self._pattern != "*":
            return MOST
        ratio: int = -(-(length * (ENTRY + 48) // (base + 48)) // 8) * 8
        return min(max(ratio, least), MOST)

    def _ask(self, by_name: bool, size: int) -> bytes:
        buffer, transferred = types.new("char[]", size), types.new("ULONG *")
        marker = NULL if self._marker is None else wide(self._marker)

        def run() -> tuple[int, int]:
            if by_name:
                status = self._by_name(buffer, size, transferred)
            else:
                status = self._invoke("ReadDirectory", self._context, NULL, marker, buffer, size, transferred)
            return status, transferred[0]

        got = self._volume.ask(self._what, Kind.QUERY_DIRECTORY, run, "shared", (buffer, size))
        if got > size:
            raise NtError(Status.INTERNAL_ERROR, self._what)
        return bytes(types.buffer(buffer, got))

    def _by_name(self, buffer: Any, size: int, transferred: Any) -> int:
        room = ENTRY + 255 * 2
        raw = types.new("char[]", room)
        info = types.cast("FSP_FSCTL_DIR_INFO *", raw)
        with lent(raw, room):
            status = self._invoke("GetDirInfoByName", self._context, wide(self._pattern), info)
        if succeeded(status):
            used = -(-info.Size // 8) * 8
            if used <= size:
                types.memmove(buffer, raw, info.Size)
                transferred[0] = used
        elif status != Status.OBJECT_NAME_NOT_FOUND:
            return status
        if transferred[0] + 2 <= size:
            types.memmove(buffer + transferred[0], b"\0\0", 2)
            transferred[0] += 2
        return Status.SUCCESS

    def _copy(self, raw: bytes, base: int, length: int, single: bool, *, skip: bool = False) -> list[Entry]:
        """FspFsvolQueryDirectoryCopy: what of `raw` matches and fits; with `skip`, only what is after the marker.

        An empty list: ask the file system for more. NtError at the folder's end.
        """
        copied: list[Entry] = []
        used = 0
        skipping = skip and self._marker is not None
        folded = not self._volume.parameters.case_sensitive_search
        for entry in entries(raw, ENTRY):
            if not entry:
                if not copied:
                    raise self._end()
                return copied
            name = entry[ENTRY:].decode("utf-16-le", "surrogatepass")
            if skipping:
                assert self._marker is not None
                skipping = (name.upper() != self._marker.upper()) if folded else name != self._marker
                continue
            if self._pattern == "*" or matches(self._pattern, name, folded):
                needed = base + len(entry) - ENTRY
                if used + needed > length:
                    if copied:
                        return copied
                    raise NtError(Status.BUFFER_OVERFLOW, self._what)
                used += -(-needed // 8) * 8
                info = types.cast("FSP_FSCTL_DIR_INFO *", types.from_buffer(entry)).FileInfo
                copied.append(Entry(name, file_info(info)))
                self._found = True
            self._marker = name
            if copied and single:
                return copied
        return copied


def entries(raw: bytes, least: int) -> Iterator[bytes]:
    """Each entry, its size in its first two bytes; b"" at anything smaller than `least`, such as the end mark."""
    at = 0
    while at + 2 <= len(raw):
        size = int.from_bytes(raw[at : at + 2], "little")
        if size < least:
            yield b""
            return
        yield raw[at : at + size]
        at += -(-size // 8) * 8
