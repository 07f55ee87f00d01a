"""Patterns as in .gitignore, matched against whole paths."""

from __future__ import annotations

import os
from collections.abc import Sequence

from catalog.errors import UsageError


class Patterns:
    """Patterns as in .gitignore: `*.tmp` anywhere, `/var/tmp/` one folder, `cache/**/x`, `!keep.tmp` after it.

    `option` is the option they were given with, for messages. Raises UsageError for a malformed pattern.
    """

    def __init__(self, patterns: Sequence[str], option: str) -> None:
        from pathspec import GitIgnoreSpec  # 15 ms that most commands need not wait

        for pattern in patterns:
            try:
                pattern.encode()
            except UnicodeEncodeError as e:
                raise UsageError(
                    f"the {option} pattern {pattern!r} is not UTF-8", "use ? or * for such bytes"
                ) from e
        try:
            self._spec = GitIgnoreSpec.from_lines(patterns)
        except ValueError as e:
            raise UsageError(
                f"malformed {option} pattern: {e}", "write it as in .gitignore (docs/backup.md)"
            ) from e

    def match(self, path: bytes, is_folder: bool) -> bool:
        """Whether a path (from the root, without a leading slash) matches, or is below a folder that does."""
        return self._spec.match_file(os.fsdecode(path) + ("/" if is_folder else ""))
