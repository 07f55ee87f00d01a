"""Which paths a backup leaves out: patterns as in .gitignore, matched against full paths."""

from __future__ import annotations

import os
from collections.abc import Sequence

from catalog.errors import UsageError


class Excludes:
    """Patterns as in .gitignore: `*.tmp` anywhere, `/var/tmp/` one folder, `cache/**/x`, `!keep.tmp` after it."""

    def __init__(self, patterns: Sequence[str]) -> None:
        from pathspec import GitIgnoreSpec

        for pattern in patterns:
            try:
                pattern.encode()
            except UnicodeEncodeError as e:
                raise UsageError(
                    f"the --exclude pattern {pattern!r} is not UTF-8", "use ? or * for such bytes"
                ) from e
        try:
            self._spec = GitIgnoreSpec.from_lines(patterns)
        except ValueError as e:
            raise UsageError(f"an --exclude pattern can't be understood: {e}") from e

    def match(self, path: bytes, is_folder: bool) -> bool:
        """Whether to leave out the path (from the root, without a leading slash)."""
        return self._spec.match_file(os.fsdecode(path) + ("/" if is_folder else ""))
