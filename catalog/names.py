"""Maps names between systems, and finds names that Windows treats as equal. No I/O.

Names are bytes, as their own system has them. On Windows, each byte that a name can't have there becomes the
character U+F000 plus the byte's value: `a:b` is spelled `a` U+F03A `b`, the last letter of `aux` is U+F078, and a
byte 0xFF that is not UTF-8 is U+F0FF. If a name itself contains a U+F0xx, its UTF-8 bytes are spelled in the same
way. The mapping can be reversed: no two names have the same spelling.

Reason: Cygwin, MSYS2, Git for Windows, WSL and WinFsp's own FUSE layer (SSHFS-Win, rclone) use the same mapping, as
Services for Unix did and Linux's cifs does with `mapchars`, so files copied off a drive have their true names
there. (The other convention, U+F020..U+F029 of Apple and Samba, has no room for bytes that are not UTF-8, and gives
the same characters other meanings.)

Names that can't be mapped, because they are too long or contain what no system allows, are cut and marked: U+F000,
which the mapping never produces, and 32 digits of a hash. Only a listing of the folder shows which name that was.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from hashlib import blake2b

LIMIT = 255  # UTF-16 units on Windows, bytes elsewhere
WINDOWS = "Windows"  # in the `system` of machines and points
IGNORE_CASE = frozenset({WINDOWS, "Darwin"})  # systems that usually treat names differing in case as equal
MARK = "\uf000"  # precedes the digest in names that were cut
_EXTENSION = 20  # characters; a longer part after a dot is no extension

_FORBIDDEN = "".join(map(chr, range(1, 32))) + '"*/:<>?\\|'
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    port + digit for port in ("COM", "LPT") for digit in "0123456789\xb9\xb2\xb3"
}


def _spelled(character: str) -> str:
    """The replacement for a character that Windows does not allow."""
    return "".join(chr(0xF000 + byte) for byte in character.encode())


# Bytes that are not UTF-8 decode to U+DC80..U+DCFF.
_SPELL = {
    **{ord(c): _spelled(c) for c in _FORBIDDEN},
    **{0xDC00 + byte: chr(0xF000 + byte) for byte in range(0x80, 0x100)},
    **{0xF000 + n: _spelled(chr(0xF000 + n)) for n in range(0x100)},
}
_READ = {0xF000 + byte: chr(byte if byte < 0x80 else 0xDC00 + byte) for byte in range(1, 0x100)}
_SPELLED = re.compile(b"\xef(?:\x80[\x81-\xbf]|[\x81-\x83][\x80-\xbf])")  # U+F001..U+F0FF in UTF-8
_NOT_NTFS = re.compile('[\x00-\x1f"*/:<>?\\\\|]')
_NOT_PLAIN = re.compile('[\x00-\x1f"*/:<>?\\\\|\uf000\udc80-\udcff]')


# --- on Windows -----------------------------------------------------------------------------------------------


def shown(name: bytes, *, native: bool = False) -> str:
    """The spelling of a name on Windows: at most LIMIT long, without lone surrogates, unique to the name.

    A `native` name comes from a Windows point and stays unchanged, including device names, trailing dots and
    characters from U+F001 on; only names that NTFS does not allow are marked.
    """
    text = name.decode(errors="surrogateescape")
    if native:
        return text if _is_ntfs(text) else _cut(name, _spell(text))
    if not text or "\0" in text or "/" in text:
        return _cut(name, _spell(text))
    text = _spell(text)
    return text if _units(text) <= LIMIT else _cut(name, text)


def marked(name: bytes) -> str:
    """A spelling that distinguishes a name from others that differ only in case."""
    return _cut(name, _spell(name.decode(errors="surrogateescape")))


def true_name(spelling: str, *, native: bool = False) -> bytes | None:
    """The name with this spelling. None if there is none, or if the spelling contains MARK."""
    if MARK in spelling:
        return None
    try:
        name = (spelling if native else spelling.translate(_READ)).encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return None  # a lone surrogate
    return name if shown(name, native=native) == spelling else None


def _is_ntfs(text: str) -> bool:
    return _NOT_PLAIN.search(text) is None and text not in ("", ".", "..") and _units(text) <= LIMIT


def _spell(text: str) -> str:
    text = text.translate(_SPELL)
    kept = text.rstrip(". ")
    text = kept + "".join(map(_spelled, text[len(kept) :]))
    stem = text.partition(".")[0].rstrip(" ")
    if stem.upper() in _DEVICES:
        text = stem[:-1] + _spelled(stem[-1]) + text[len(stem) :]
    return text


def _units(text: str) -> int:
    """The length of a name in UTF-16 code units."""
    return len(text) if text.isascii() else len(text) + sum(c > "\uffff" for c in text)


def _cut(name: bytes, text: str) -> str:
    """As much of a spelling as fits, MARK, a digest of the whole name, and the extension."""
    stem, dot, extension = text.rpartition(".")
    tail = MARK + blake2b(name, digest_size=16).hexdigest()
    if stem and len(extension) <= _EXTENSION and MARK not in extension:
        text, tail = stem, tail + dot + extension
    room = LIMIT - _units(tail)
    head = text.replace(MARK, "")[:room]
    while _units(head) > room:
        head = head[:-1]
    return head + tail


# --- names that Windows treats as equal -----------------------------------------------------------------------


def folded(spelling: str) -> str:
    """A key that is equal for names that differ only in case or in Unicode form (NFC, NFD).

    Case is folded as NTFS does: character by character, up to U+FFFF. So `ß` is not `ss`.
    """
    if spelling.isascii():
        return spelling.lower()
    text = unicodedata.normalize("NFC", spelling).translate(_cases())
    return unicodedata.normalize("NFC", text)


@cache
def _cases() -> dict[int, str]:
    """The letter that represents both cases. Newer than NTFS's table: folds all that NTFS does."""
    table = {}
    for n in range(0x10000):
        upper = chr(n).upper()
        lower = (upper if len(upper) == 1 else chr(n)).lower()
        if len(lower) == 1 and ord(lower) != n:
            table[n] = lower
    return table


def are_distinct(names: Sequence[bytes]) -> bool:
    """Whether no two names of a folder differ only in case or Unicode form."""
    joined = b"/".join(names)
    if joined.isascii():
        return len(set(joined.lower().split(b"/"))) == len(names) or not names
    return len({folded(shown(name)) for name in names}) == len(names)


# --- on any system ----------------------------------------------------------------------------------------------


def spelling(here: str, made_on: str) -> Callable[[bytes], bytes]:
    """The function that spells names of a point `made_on` a system for the system `here`, in UTF-8."""
    if here != WINDOWS:
        return _short
    if made_on == WINDOWS:
        return _as_it_was
    return lambda name: shown(name).encode()


def _as_it_was(name: bytes) -> bytes:
    """A Windows name on Windows: unchanged, including lone surrogates, if NTFS allows it."""
    try:
        text = name.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return shown(name, native=True).encode()
    whole = _NOT_NTFS.search(text) is None and text not in ("", ".", "..") and _units(text) <= LIMIT
    return name if whole else shown(name, native=True).encode()


def apart(name: bytes, here: str) -> bytes:
    """A name for a file whose own name differs only in case from another's, where such names are equal."""
    return marked(name).encode() if here == WINDOWS else _digested(name)


def _short(name: bytes) -> bytes:
    """A name on other systems than Windows. A Windows or macOS name of 255 characters can be longer in bytes."""
    return name if len(name) <= LIMIT else _digested(name)


def _digested(name: bytes) -> bytes:
    stem, dot, extension = name.rpartition(b".")
    tail = b"~" + blake2b(name, digest_size=16).hexdigest().encode()
    if stem and len(extension) <= _EXTENSION:
        name, tail = stem, tail + dot + extension
    head = name[: LIMIT - len(tail)]
    return head.decode(errors="ignore").encode() + tail if is_text(name) else head + tail


def time_in_name(ns: int, *, seconds: bool = False) -> str:
    """A time (ns, UTC) as local time for a name, to the minute or the second: no colons, which Windows refuses.

    A time that no clock here shows, such as a forged one at the end of the year 9999, is its seconds after 1970.
    """
    try:
        when = datetime.fromtimestamp(ns // 10**9)
    except (ValueError, OverflowError, OSError):
        return f"@{ns // 10**9}"
    return when.strftime("%Y-%m-%d %H.%M.%S" if seconds else "%Y-%m-%d %H.%M")


def is_text(name: bytes) -> bool:
    """Whether a name is UTF-8."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def meant(name: bytes) -> bytes | None:
    """The true name, if `name` is spelled as on a Windows drive; else None."""
    if _SPELLED.search(name) is None:
        return None
    return true_name(name.decode(errors="surrogateescape"))


def in_pattern(pattern: bytes, quote: Callable[[bytes], bytes]) -> bytes | None:
    """A pattern with the characters of a Windows drive's spelling replaced by the quoted bytes they represent.

    None if it contains no such characters.
    """
    other = _SPELLED.sub(lambda found: quote(bytes([ord(found[0].decode()) & 0xFF])), pattern)
    return None if other == pattern else other


def is_marked(name: bytes) -> bool:
    """Whether a name is spelled like one that was cut on a Windows drive."""
    return MARK.encode() in name


def shows_as(name: bytes, text: bytes) -> bool:
    """Whether a Windows drive may spell `name` as `text`."""
    return text in {spell.encode() for spell in (shown(name), shown(name, native=True), marked(name))}
