"""A registry in memory."""

from __future__ import annotations


class FakeRegistry:
    """Implements Registry; `tree` has the values of keys by their paths."""

    def __init__(self, tree: dict[str, dict[str, object]]) -> None:
        self.tree = tree

    def values(self, key: str) -> dict[str, object]:
        return self.tree.get(key, {})

    def keys(self, key: str) -> list[str]:
        return [
            path[len(key) + 1 :]
            for path in self.tree
            if path.startswith(key + "\\") and "\\" not in path[len(key) + 1 :]
        ]
