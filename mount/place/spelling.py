r"""Spellings of the places of drives on Windows: `R:`, `*` for the next free letter, a folder, `\\rpdrive\NAME`."""

from __future__ import annotations

import ntpath
import re
from collections.abc import Callable
from typing import NamedTuple

from catalog.errors import MountFailed

SERVER = "rpdrive"
PREFIX_UNITS = 95  # winfspy truncates a longer one: it takes the space for half as large as it is
_LETTER = re.compile(r"([A-Za-z]):\\?")
_SHARE = re.compile(r"[^\\/:*?\"<>|\x00-\x1f]+")
_ADVICE = r"name a drive letter (`R:`), `*` for the next free one, an empty folder, or \\rpdrive\NAME"


class Place(NamedTuple):
    """A place to mount at, as WinFsp takes it.

    `mount_point` is a letter or a folder, or empty for a network path without a letter. `prefix` is a network path,
    which makes the drive a network drive. `shown` is the one spelling of the place that users see.
    """

    mount_point: str
    prefix: str
    shown: str

    @property
    def is_folder(self) -> bool:
        return bool(self.mount_point) and not _LETTER.fullmatch(self.mount_point)

    @property
    def root(self) -> str:
        """The path by which programs open the drive's root."""
        return self.shown if self.is_folder else self.shown + "\\"

    @classmethod
    def of(cls, text: str, *, disk: bool = False, free_letter: Callable[[], str | None] = lambda: None) -> Place:
        """Parse what a user wrote. Raises MountFailed. `disk`: a letter is a local disk, not a network drive."""
        if text in ("*", "*:"):
            letter = free_letter()
            if letter is None:
                raise MountFailed("no drive letter is free", _ADVICE)
            text = f"{letter}:"
        found = _LETTER.fullmatch(text)
        if found:
            letter = found[1].upper() + ":"
            return cls(letter, "" if disk else f"\\{SERVER}\\{letter[0]}", letter)
        if text.startswith(("\\\\", "//")):
            return cls._shared(text)
        drive, rest = ntpath.splitdrive(text)
        if not drive or not rest.startswith(("\\", "/")) or not rest.strip("\\/"):
            raise MountFailed(f"{text} is not a place for a drive", _ADVICE)
        folder = ntpath.normpath(text)
        return cls(folder, "", folder)

    @classmethod
    def _shared(cls, text: str) -> Place:
        parts = [part for part in text.replace("/", "\\").split("\\") if part]
        if len(parts) != 2 or parts[0].lower() != SERVER or not _SHARE.fullmatch(parts[1]):
            raise MountFailed(f"{text} is not a place for a drive", _ADVICE)
        prefix = f"\\{SERVER}\\{parts[1]}"
        if len(prefix.encode("utf-16-le", "surrogatepass")) // 2 > PREFIX_UNITS:
            most = PREFIX_UNITS - len(SERVER) - 2
            raise MountFailed(f"{text} is too long", f"use a name of {most} characters at most")
        return cls("", prefix, "\\" + prefix)
