"""The selection of files that a backup walks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

Wanted: TypeAlias = "dict[bytes, Wanted | None]"


@dataclass
class Selection:
    """The paths to walk, which are absolute. `skip` are folders to leave out, as (st_dev, st_ino).

    `fetch`: download files whose contents are only in a cloud.
    """

    paths: list[bytes]
    excludes: list[str] = field(default_factory=list)
    one_file_system: bool = False
    skip: set[tuple[int, int]] = field(default_factory=set)
    fetch: bool = False

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
