"""Selects the paths of a point to restore, by --include and --exclude."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.patterns import Patterns


class Selection:
    """`include`: only paths that match one of these patterns, or are below a match. `exclude`: leave out.

    `ignore_case`: of ASCII letters. Raises UsageError for a malformed pattern.
    """

    def __init__(
        self, include: Sequence[str] = (), exclude: Sequence[str] = (), *, ignore_case: bool = False
    ) -> None:
        self._include = _patterns(include, "--include", ignore_case)
        self._exclude = _patterns(exclude, "--exclude", ignore_case)
        self.texts = [f"+{p}" for p in include] + [f"-{p}" for p in exclude] + ["ignore case"] * ignore_case
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


def _patterns(patterns: Sequence[str], option: str, ignore_case: bool) -> Patterns | None:
    return Patterns(patterns, option, ignore_case=ignore_case) if patterns else None
