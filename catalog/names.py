"""How a name made on one system is spelled on another, and when two names are one to Windows. Nothing here reads.

Names are bytes, as their own system gave them. What Windows can't hold is spelled there with one character for
each byte: U+F000 and the byte's value. `a:b` shows as `a` U+F03A `b`, the last letter of `aux` as U+F078, a byte
0xFF that is no UTF-8 as U+F0FF, and so are the bytes of a U+F0xx that stands in the name itself. So the spelling
of a name says what the name is, and no two names are spelled alike.

Why so: Cygwin, MSYS2, Git for Windows, WSL and WinFsp's own FUSE layer (SSHFS-Win, rclone) spell the same
characters the same way, as Services for Unix did; Linux's cifs does with `mapchars`. What is copied off a drive
has its true name there. (The other habit, Apple's and Samba's U+F020..U+F029, has no room for bytes that are no
UTF-8, and gives the same characters other meanings.)

Names that can't be spelled so, being too long or holding what no system allows, are cut and marked: U+F000, which
nothing else makes, and 32 digits of a hash. Which name that was only its folder can tell.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import blake2b

LIMIT = 255  # UTF-16 units on Windows, bytes elsewhere
WINDOWS = "Windows"  # in the `system` of machines and points
IGNORE_CASE = frozenset({WINDOWS, "Darwin"})  # systems to which names that differ in case are most often one
MARK = "\uf000"  # stands in the names that were cut, before the digest
_EXTENSION = 20  # characters; what is longer after a dot is part of the name

_FORBIDDEN = "".join(map(chr, range(1, 32))) + '"*/:<>?\\|'
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    port + digit for port in ("COM", "LPT") for digit in "0123456789\xb9\xb2\xb3"
}


def _spelled(character: str) -> str:
    """The characters that stand for one that can't."""
    return "".join(chr(0xF000 + byte) for byte in character.encode())


# Bytes that are no UTF-8 decode to U+DC80..U+DCFF.
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
    """The spelling of a name on Windows: no longer than LIMIT, without lone surrogates, another for each name.

    `native`: a name of a Windows point. It is as it was there, device names, trailing dots and characters from
    U+F001 on included: only what no NTFS holds is marked.
    """
    text = name.decode(errors="surrogateescape")
    if native:
        return text if _is_ntfs(text) else _cut(name, _spell(text))
    if not text or "\0" in text or "/" in text:
        return _cut(name, _spell(text))
    text = _spell(text)
    return text if _units(text) <= LIMIT else _cut(name, text)


def marked(name: bytes) -> str:
    """A spelling that tells a name from others, which differ from it in case only."""
    return _cut(name, _spell(name.decode(errors="surrogateescape")))


def true_name(spelling: str, *, native: bool = False) -> bytes | None:
    """The name that is spelled so. None if none is, or if only its folder can tell: if MARK stands in it."""
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
    """Length in UTF-16."""
    return len(text) if text.isascii() else len(text) + sum(c > "\uffff" for c in text)


def _cut(name: bytes, text: str) -> str:
    """As much of a spelling as there is room for, the mark, a digest of the whole name, and its extension."""
    stem, dot, extension = text.rpartition(".")
    tail = MARK + blake2b(name, digest_size=16).hexdigest()
    if stem and len(extension) <= _EXTENSION and MARK not in extension:
        text, tail = stem, tail + dot + extension
    room = LIMIT - _units(tail)
    head = text.replace(MARK, "")[:room]
    while _units(head) > room:
        head = head[:-1]
    return head + tail


# --- names that are one to Windows ------------------------------------------------------------------------------


def folded(spelling: str) -> str:
    """Equal for names that differ in case or in Unicode's form (NFC, NFD) only.

    Case is what NTFS takes for it: character by character, up to U+FFFF. So `ß` is not `ss`.
    """
    if spelling.isascii():
        return spelling.lower()
    text = unicodedata.normalize("NFC", spelling).translate(_cases())
    return unicodedata.normalize("NFC", text)


@cache
def _cases() -> dict[int, str]:
    """What stands for both cases of a letter. Newer than NTFS's own table: it joins all that are one there."""
    table = {}
    for n in range(0x10000):
        upper = chr(n).upper()
        lower = (upper if len(upper) == 1 else chr(n)).lower()
        if len(lower) == 1 and ord(lower) != n:
            table[n] = lower
    return table


def are_distinct(names: Sequence[bytes]) -> bool:
    """Whether no two names of a folder differ in case or in Unicode's form only."""
    joined = b"/".join(names)
    if joined.isascii():
        return len(set(joined.lower().split(b"/"))) == len(names) or not names
    return len({folded(shown(name)) for name in names}) == len(names)


# --- on any system ----------------------------------------------------------------------------------------------


def spelling(here: str, made_on: str) -> Callable[[bytes], bytes]:
    """How a system (`here`) that is to hold names of a point `made_on` another one spells them. In UTF-8."""
    if here != WINDOWS:
        return _short
    if made_on == WINDOWS:
        return _as_it_was
    return lambda name: shown(name).encode()


def _as_it_was(name: bytes) -> bytes:
    """The name of a file of Windows on Windows: as it is, lone surrogates included, if NTFS can have it."""
    try:
        text = name.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return shown(name, native=True).encode()
    whole = _NOT_NTFS.search(text) is None and text not in ("", ".", "..") and _units(text) <= LIMIT
    return name if whole else shown(name, native=True).encode()


def apart(name: bytes, here: str) -> bytes:
    """A name that can stand beside one that differs from it in case only, where such names are one."""
    return marked(name).encode() if here == WINDOWS else _digested(name)


def _short(name: bytes) -> bytes:
    """A name for any other system: Windows and macOS have names of 255 characters, which may be more bytes."""
    return name if len(name) <= LIMIT else _digested(name)


def _digested(name: bytes) -> bytes:
    stem, dot, extension = name.rpartition(b".")
    tail = b"~" + blake2b(name, digest_size=16).hexdigest().encode()
    if stem and len(extension) <= _EXTENSION:
        name, tail = stem, tail + dot + extension
    head = name[: LIMIT - len(tail)]
    return head.decode(errors="ignore").encode() + tail if is_text(name) else head + tail


def is_text(name: bytes) -> bool:
    """Whether a name is UTF-8."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def meant(name: bytes) -> bytes | None:
    """The other name that a user may mean, who writes one as a Windows drive shows it."""
    if _SPELLED.search(name) is None:
        return None
    return true_name(name.decode(errors="surrogateescape"))


def in_pattern(pattern: bytes, quote: Callable[[bytes], bytes]) -> bytes | None:
    """A pattern in which bytes stand, quoted, for the characters that a Windows drive shows for them.

    None if there are no such characters in it.
    """
    other = _SPELLED.sub(lambda found: quote(bytes([ord(found[0].decode()) & 0xFF])), pattern)
    return None if other == pattern else other


def is_marked(name: bytes) -> bool:
    """Whether a name is written as a Windows drive shows one that was cut."""
    return MARK.encode() in name


def shows_as(name: bytes, text: bytes) -> bool:
    """Whether a Windows drive may show a name as this."""
    return text in {spell.encode() for spell in (shown(name), shown(name, native=True), marked(name))}
