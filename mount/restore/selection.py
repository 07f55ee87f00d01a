"""Which paths of a point are restored: patterns as in .gitignore, matched against full paths in the point."""

from __future__ import annotations

import os
from collections.abc import Sequence

from catalog.errors import UsageError


class Selection:
    """`include`: only what one of these matches, or lies in such a folder. `exclude`: never what these match."""

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include = _spec(include, "--include")
        self._exclude = _spec(exclude, "--exclude")

    @property
    def everything(self) -> bool:
        return self._include is None and self._exclude is None

    @property
    def chooses(self) -> bool:
        """Whether a folder is wanted only for what is chosen in it."""
        return self._include is not None

    def excludes(self, path: bytes, is_folder: bool) -> bool:
        """Of a path from the point's root, without a leading slash."""
        return self._exclude is not None and self._exclude.match_file(_text(path, is_folder))

    def includes(self, path: bytes, is_folder: bool) -> bool:
        return self._include is None or self._include.match_file(_text(path, is_folder))


def _text(path: bytes, is_folder: bool) -> str:
    return os.fsdecode(path) + ("/" if is_folder else "")


def _spec(patterns: Sequence[str], option: str):  # type: ignore[no-untyped-def] # pathspec is imported late
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as e:
        raise UsageError(f"an {option} pattern can't be understood: {e}") from e
