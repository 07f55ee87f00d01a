"""Names as Windows' kernel, its drivers and Win32 take them."""

from __future__ import annotations

from functools import cache
from typing import Any

from tests.kit.winfsp.layout import types
from tests.kit.winfsp.status import NtError, Status


def wide(value: str) -> Any:
    """A NUL-terminated string of UTF-16 units, lone surrogates included."""
    raw = value.encode("utf-16-le", "surrogatepass")
    buffer = types.new("WCHAR[]", len(raw) // 2 + 1)
    types.memmove(buffer, raw, len(raw))
    return buffer


def units(value: str) -> int:
    """Its length in UTF-16 units."""
    return len(value.encode("utf-16-le", "surrogatepass")) // 2


def folder_of(name: str) -> str:
    return name.rpartition("\\")[0] or "\\"


def last_component(name: str) -> int:
    """Where it begins, in UTF-16 units."""
    return units(name) - units(name.rpartition("\\")[2])


def checked(path: str, what: str, most: int, streams: bool) -> tuple[str, str, bool]:
    """As FspFileNameIsValid: the file's name, the stream's ("" for none), and whether a backslash ended it.

    `most` is a component's length in UTF-16 units. NtError.
    """
    if not path.startswith("\\"):
        raise NtError(Status.OBJECT_NAME_INVALID, what)
    if path.startswith("\\\\"):
        path = path[1:]
    trailing = len(path) > 1 and path.endswith("\\")
    if trailing:
        path = path[:-1]
    head, colon, stream = path.partition(":")
    components = head[1:].split("\\") if head != "\\" else []
    if components and any(
        units(part) > most or not part for part in (*components[:-1], components[-1] + colon + stream)
    ):
        raise NtError(Status.OBJECT_NAME_INVALID, what)
    if any(character in '"*/<>?|' or character < " " for character in head):
        raise NtError(Status.OBJECT_NAME_INVALID, what)
    if colon:
        stream, second, kind = stream.partition(":")
        if not streams or (second and kind.upper() != "$DATA"):
            raise NtError(Status.OBJECT_NAME_INVALID, what)
        if (not stream and not second) or any(character in "\\/" for character in stream):
            raise NtError(Status.OBJECT_NAME_INVALID, what)
    return head, stream, trailing


def is_wild(pattern: str) -> bool:
    return any(character in '*?<>"' for character in pattern)


def matches(pattern: str, name: str, folded: bool) -> bool:
    """FsRtlIsNameInExpression: `*`, `?`, and DOS's: `<` is * up to the last dot, `>` is ? or the end, `"` a dot."""
    if folded:
        pattern, name = pattern.upper(), name.upper()

    @cache
    def match(i: int, j: int) -> bool:
        if i == len(pattern):
            return j == len(name)
        sign, more = pattern[i], j < len(name)
        if sign == "*":
            return match(i + 1, j) or (more and match(i, j + 1))
        if sign == "<":
            return match(i + 1, j) or (more and (name[j] != "." or "." in name[j + 1 :]) and match(i, j + 1))
        if sign == ">":
            at_end = not more or name[j] == "."
            return match(i + 1, j) if at_end else match(i + 1, j + 1)
        if sign == '"':
            return match(i + 1, j + 1) if more and name[j] == "." else not more and match(i + 1, j)
        return more and sign in ("?", name[j]) and match(i + 1, j + 1)

    return match(0, 0)


_RESERVED = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{port}{digit}" for port in ("COM", "LPT") for digit in "123456789¹²³"
}


def win32_path(path: str) -> str | None:
    """What Win32 makes of a path before the kernel sees it; None where it opens a device instead.

    Dots and blanks at the end of a component go; `.` and `..` are walked.
    """
    parts: list[str] = []
    for component in path.replace("/", "\\").split("\\"):
        if component in ("", "."):
            continue
        if component == "..":
            parts = parts[:-1]
            continue
        if component.partition(".")[0].partition(":")[0].rstrip(" ").upper() in _RESERVED:
            return None
        parts.append(component.rstrip(" ."))
    return "\\" + "\\".join(parts)
