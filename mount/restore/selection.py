"""Selects the paths of a point to restore, by --include and --exclude."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.patterns import Patterns


class Selection:
    """`include`: only paths that match one of these patterns, or are below a match. `exclude`: leave out.

    Raises UsageError for a malformed pattern.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include = _patterns(include, "--include")
        self._exclude = _patterns(exclude, "--exclude")
        self.texts = [f"+{p}" for p in include] + [f"-{p}" for p in exclude]
        self.found = False  # whether a path matched `include`

    @property
    def everything(self) -> bool:
        return self._include is None and self._exclude is None

    @property
    def chooses(self) -> bool:
        """Whether --include was given: folders are then made only for the chosen entries in them."""
        return self._include is not None

    def excludes(self, path: bytes, is_folder: bool) -> bool:
        """Whether to leave out a path (from the point's root, without a leading slash)."""
        return self._exclude is not None and self._exclude.match(path, is_folder)

    def includes(self, path: bytes, is_folder: bool) -> bool:
        """Whether the path itself matches `include`; every path does without `include`."""
        included = self._include is None or self._include.match(path, is_folder)
        self.found = self.found or included
        return included

    def includes_source(self, path: bytes, is_folder: bool) -> bool:
        """As `includes`, for a path that the user named: a folder above it may match, too."""
        above = path.split(b"/")[:-1]
        folders = (b"/".join(above[: n + 1]) for n in range(len(above)))
        return self.includes(path, is_folder) or any(self.includes(folder, True) for folder in folders)


def _patterns(patterns: Sequence[str], option: str) -> Patterns | None:
    return Patterns(patterns, option) if patterns else None
