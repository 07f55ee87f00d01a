"""Names of downloads in headers: hostile names of files must neither leave their header nor surprise a disk."""

from __future__ import annotations

import re
from urllib.parse import quote

from catalog.names import LIMIT, shown

_UNSAFE = re.compile(  # controls, what some system takes for a path, and marks that turn the direction of text
    '[\x00-\x1f\x7f-\x9f/\\\\:*?"<>|\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]'
)
_DEVICE = re.compile(r"(?i)(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\xb9\xb2\xb3])\s*(?:\..*)?")
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 !#$&'()+,-.=@^_`{}~[]")


def file_name(name: bytes) -> str:
    """A name that every system takes, as near to this one as can be. At most 255 bytes of UTF-8."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = shown(name)
    text = _UNSAFE.sub("_", text)
    kept = text.rstrip(". ")
    text = kept + "_" * (len(text) - len(kept)) or "download"
    if _DEVICE.fullmatch(text):
        text = "_" + text
    raw = text.encode()
    if len(raw) <= LIMIT:
        return text
    stem, dot, extension = text.rpartition(".")
    if not stem or len(extension.encode()) > 20:
        stem, dot, extension = text, "", ""
    room = LIMIT - len((dot + extension).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + extension


def disposition(kind: str, name: bytes) -> str:
    """The value of Content-Disposition (RFC 6266): `inline` or `attachment`, and the name in both its forms."""
    text = file_name(name)
    plain = "".join(c if c in _PLAIN else "_" for c in text)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(text, safe='')}"
