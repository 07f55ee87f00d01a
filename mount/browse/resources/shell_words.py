"""A command as a line for the system's shell, exact for any bytes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterable

_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]*")


def line(words: Iterable[str | bytes]) -> str:
    """The words as one line to paste into a terminal: nothing in it acts before Enter, or shows as what it isn't.

    Bytes that are not text, and characters that a terminal doesn't show, are written as `$'\\ooo'`, which bash, zsh
    and ksh know.
    """
    if os.name == "nt":
        return subprocess.list2cmdline([os.fsdecode(word) for word in words])
    return " ".join(map(_word, words))


def _word(word: str | bytes) -> str:
    raw = os.fsencode(word)
    text = raw.decode(errors="surrogateescape")
    if _PLAIN.fullmatch(text):
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, text)) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return "\\" + character
    if _PLAIN.fullmatch(character):
        return character
    # Octal, of always three digits: after \x a letter of the name would count as a further digit.
    return "".join(f"\\{byte:03o}" for byte in character.encode(errors="surrogateescape"))
