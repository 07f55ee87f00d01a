"""How names, paths and times are written in JSON."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import TypeVar

import msgspec

from catalog.errors import NotFound, UsageError

LONGEST_PATH = 64 << 10  # bytes


class Named(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The name of an entry. `name_bytes` (base64) is there if the name is not UTF-8."""

    name: str
    name_bytes: str | None = None


def name_of(raw: bytes) -> tuple[str, str | None]:
    """A name as text, and its bytes as base64 if it is not UTF-8."""
    try:
        return raw.decode(), None
    except UnicodeDecodeError:
        return raw.decode(errors="replace"), base64.b64encode(raw).decode()


def path64(path: bytes) -> str:
    """An absolute path as base64url, without padding."""
    return base64.urlsafe_b64encode(path).decode().rstrip("=")


def path_of(text: str) -> bytes:
    """The absolute path that `path64` wrote. Raises UsageError if it is malformed, or could be another's.

    Its names are checked: none is empty, `.` or `..`, and none has a NUL. It is looked up in trees only, and
    never becomes a path of this machine.
    """
    if len(text) > LONGEST_PATH * 4 // 3 + 4:
        raise UsageError("the path is too long", "open the folder again, from the top")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (ValueError, binascii.Error) as e:
        raise UsageError("the path is malformed", "open the folder again, from the top") from e
    if path64(raw) != text or not raw.startswith(b"/"):
        raise UsageError("the path is malformed", "open the folder again, from the top")
    names = raw[1:].split(b"/") if raw != b"/" else []
    if any(name in (b"", b".", b"..") or b"\0" in name for name in names):
        raise UsageError("the path is malformed", "open the folder again, from the top")
    return raw


SAFE = (1 << 53) - 1  # the largest number that JavaScript has exactly
_SHORT = 500  # characters
T = TypeVar("T", bound=msgspec.Struct)


def counted_safely(number: int) -> int:
    """A number that a vault claims, within what JSON and JavaScript take."""
    return min(max(number, 0), SAFE)


def short(text: str, most: int = _SHORT) -> str:
    """A name or text from a vault, cut: there it may have any length."""
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"


def bounded(struct: T) -> T:
    """The same with each number within SAFE, and each text short: a vault claims what it likes."""
    changes: dict[str, object] = {}
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if isinstance(value, str):
            changes[name] = short(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            changes[name] = counted_safely(value)
    return msgspec.structs.replace(struct, **changes)


def id_of(text: str, what: str = "recovery point") -> bytes:
    """The 16 bytes of an id of 32 hexadecimal digits. Raises NotFound: such an id exists nowhere."""
    if len(text) != 32 or not all(c in "0123456789abcdef" for c in text):
        raise NotFound(f"there is no such {what}", "go back to the list, and choose again")
    return bytes.fromhex(text)


def when(ns: int | None) -> str | None:
    """A time (ns, UTC) as ISO 8601 with this machine's offset, to the second; None for none or an absurd one."""
    if not ns:
        return None
    try:
        return datetime.fromtimestamp(ns // 10**9).astimezone().isoformat()
    except (ValueError, OverflowError, OSError):
        return None
