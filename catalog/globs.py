"""The globs of git's wildmatch: a pattern as tokens, and a name's tokens as a regular expression over bytes."""

from __future__ import annotations

import re
from typing import NamedTuple


class Token(NamedTuple):
    """What one or more bytes of a path must be.

    `kind` "byte": the byte `text`, of which `/` separates names; "set": one byte, by the regular expression `text`;
    "star": any bytes of a name; "folders": `text` says how many (`**` at the end: one name or more; `**/`: any
    number of folders; `**\\/`: one or more).
    """

    kind: str
    text: bytes


STAR = Token("star", b"*")
_ANY_BYTE = Token("set", b".")


def tokens(pattern: bytes, *, is_path: bool, ignore_case: bool) -> list[Token] | None:
    """The tokens of a pattern; None if nothing can match it. Only one that `is_path` has tokens about folders.

    With `ignore_case`, names are matched in lower case. As in git, an escaped capital letter then matches nothing.
    """
    found: list[Token] = []
    at, end = 0, len(pattern)
    while at < end:
        byte = pattern[at : at + 1]
        if byte == b"*":
            after = at + 1
            while pattern[after : after + 1] == b"*":
                after += 1
            folders = _folders(pattern, at, after) if is_path and after - at > 1 else b""
            found.append(Token("folders", folders) if folders else STAR)
            at = after + len(folders[2:])
        elif byte == b"?":
            found.append(_ANY_BYTE)
            at += 1
        elif byte == b"[":
            parsed = _Class(pattern, at, ignore_case)
            if parsed.end is None:
                return None
            found.append(parsed.token())
            at = parsed.end
        elif byte == b"\\":
            if at + 1 == end:
                return None
            found.append(Token("byte", pattern[at + 1 : at + 2]))
            at += 2
        else:
            found.append(Token("byte", byte.lower() if ignore_case else byte))
            at += 1
    return found


def _folders(pattern: bytes, start: int, end: int) -> bytes:
    """The stars from `start` to `end` and what belongs to them if they mean folders, else nothing."""
    if start and pattern[start - 1 : start] != b"/":
        return b""
    for after in (b"/", b"\\/"):
        if pattern.startswith(after, end):
            return b"**" + after
    return b"**" if end == len(pattern) else b""


def name_pattern(found: list[Token]) -> bytes:
    """A regular expression (for fullmatch, with DOTALL) for the tokens of one name."""
    parts: list[list[bytes]] = [[]]
    for token in found:
        if token.kind == "star":
            parts.append([])
        else:
            parts[-1].append(re.escape(token.text) if token.kind == "byte" else token.text)
    first, *rest = (b"".join(part) for part in parts)
    if not rest:
        return first
    # The first place of what follows a star will do: what comes after it has the more room. So no star is tried
    # again (an atomic group), but for the last, whose part has to be at the end.
    middle = b"".join(b"(?>.*?%b)" % part for part in rest[:-1] if part)
    return b"%b%b.*%b" % (first, middle, rest[-1])


# --- classes ----------------------------------------------------------------------------------------------------

_BYTES = range(1, 256)


def _bytes_of(text: bytes) -> frozenset[int]:
    return frozenset(text)


_LOWER, _UPPER = _bytes_of(b"abcdefghijklmnopqrstuvwxyz"), _bytes_of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGIT = _bytes_of(b"0123456789")
_PRINT = frozenset(range(0x20, 0x7F))
_CLASSES = {
    b"alnum": _LOWER | _UPPER | _DIGIT,
    b"alpha": _LOWER | _UPPER,
    b"blank": _bytes_of(b" \t"),
    b"cntrl": frozenset(range(0x20)) | {0x7F},
    b"digit": _DIGIT,
    b"graph": _PRINT - {0x20},
    b"lower": _LOWER,
    b"print": _PRINT,
    b"punct": _PRINT - _LOWER - _UPPER - _DIGIT - {0x20},
    b"space": _bytes_of(b" \t\n\r"),
    b"upper": _UPPER,
    b"xdigit": _DIGIT | _bytes_of(b"abcdefABCDEF"),
}


class _Class:
    """A class, e.g. `[!a-z[:digit:]]`, read as wildmatch does. `end` is the place after it, or None without one."""

    def __init__(self, pattern: bytes, at: int, ignore_case: bool) -> None:
        self._pattern, self._fold = pattern, ignore_case
        self._members: set[int] = set()
        at += 1
        self._negated = pattern[at : at + 1] in (b"!", b"^")
        if self._negated:
            at += 1
        self.end = self._read(at)

    def _read(self, at: int) -> int | None:
        pattern, end = self._pattern, len(self._pattern)
        before = 0  # the byte that a range could begin with
        first = True
        while at < end and (first or pattern[at] != ord("]")):
            first = False
            byte = pattern[at]
            if byte == ord("\\"):
                at += 1
                if at == end:
                    return None
                before = pattern[at]
                self._members.add(before)
            elif byte == ord("-") and before and at + 1 < end and pattern[at + 1] != ord("]"):
                at += 2 if pattern[at + 1] == ord("\\") else 1
                if at == end:
                    return None
                self._add_range(before, pattern[at])
                before = 0
            elif pattern.startswith(b"[:", at) and (named := self._named(at)) != at:
                if named is None:
                    return None
                at, before = named, 0
            else:
                before = byte
                self._members.add(byte)
            at += 1
        return at + 1 if at < end else None

    def _named(self, at: int) -> int | None:
        """Add a named class, e.g. `[:alpha:]`. Returns its last place; `at` if it is none, None if unknown."""
        close = self._pattern.find(b"]", at + 2)
        if close < 0:
            return None
        if close < at + 3 or self._pattern[close - 1] != ord(":"):
            return at
        members = _CLASSES.get(self._pattern[at + 2 : close - 1])
        if members is None:
            return None
        self._members |= members
        if self._fold and members is _UPPER:
            self._members |= _LOWER
        return close

    def _add_range(self, first: int, last: int) -> None:
        members = range(first, last + 1)
        self._members.update(members)
        if self._fold:
            self._members.update(lower for lower in _LOWER if lower - 32 in members)

    def token(self) -> Token:
        chosen = [b for b in _BYTES if (b in self._members) != self._negated and b != ord("/")]
        if not chosen:
            return Token("set", b"(?!)")
        return Token("set", b"[" + b"".join(b"\\x%02x" % b for b in chosen) + b"]")
