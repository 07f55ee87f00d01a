"""The selection of files that a backup walks."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from backup.exclusions import Exclusions

Wanted: TypeAlias = "dict[bytes, Wanted | None]"


class Selection(msgspec.Struct):
    """The paths to walk, which are absolute. `skip` are folders to leave out, as (st_dev, st_ino).

    `excludes` are patterns as of `--exclude`, unless there are `exclusions`; then what a point lists of these.
    `fetch`: download files whose contents are only in a cloud.
    """

    paths: list[bytes]
    excludes: list[str] = []
    one_file_system: bool = False
    skip: set[tuple[int, int]] = set()
    fetch: bool = False
    exclusions: Exclusions = msgspec.field(default_factory=Exclusions)

    def __post_init__(self) -> None:
        if self.excludes and not self.exclusions.recorded:
            self.exclusions = Exclusions(self.excludes)
        self.excludes = self.exclusions.recorded

    def wanted(self) -> Wanted | None:
        """The paths as a tree of names; None means everything below, and the result is None if "/" is a path."""
        tree: Wanted = {}
        for path in sorted(self.paths):  # a folder comes before what is in it
            parts = [p for p in path.split(b"/") if p]
            if not parts:
                return None
            at = tree
            for n, part in enumerate(parts):
                below = at.setdefault(part, None if n + 1 == len(parts) else {})
                if below is None:
                    break
                at = below
        return tree
