"""Many points of one item, whose files exist in the trees only: nothing of what is tested here reads them."""

from __future__ import annotations

import random

from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.records import Point
from catalog.format.values import NodeKind, Owner
from catalog.vault import Vault
from tests.kit.drives import add_item, add_machine, add_point
from tests.kit.vaultmaker import Trees

SECOND = 10**9
START = 1_790_000_000 * SECOND
HOUR = 3600 * SECOND
OWNER = Owner(1000, 1000, "someone", "people")


class ManyPoints:
    """Folders of files, of which a run of neighbouring folders is written anew before each further point."""

    def __init__(self, vault: Vault, folders: int, each: int, seed: int = 1) -> None:
        self.vault = vault
        self.folders, self.each = folders, each
        self.points: list[Point] = []
        self._rng = random.Random(seed)
        self._trees = Trees(vault)
        self._content = [0] * folders  # the point since which a folder's files are as they are
        add_machine(vault)
        add_item(vault)

    def commit(self, changed: int = 0) -> Point:
        """Another point, with `changed` neighbouring folders written anew."""
        n = len(self.points)
        start = self._rng.randrange(self.folders)
        for folder in range(start, start + changed):
            self._content[folder % self.folders] = n
        rows = [self._folder(folder, since) for folder, since in enumerate(self._content)]
        root = self._trees.root(self._trees.folder(rows))
        self.points.append(add_point(self.vault, root, n + 1, START + n * HOUR))
        return self.points[-1]

    def path(self, folder: int, file: int) -> bytes:
        return b"/folder-%05d/file-%03d.txt" % (folder, file)

    def contents(self) -> list[int]:
        """For each folder, the number of the point since which its files are as they are."""
        return list(self._content)

    def _folder(self, folder: int, since: int) -> Node:
        nodes = [self._file(folder, since, n) for n in range(self.each)]
        time = START + since * HOUR
        return Node(b"folder-%05d" % folder, NodeKind.FOLDER, 0o755, OWNER, 0, time, time, folder + 1,
                    content=self._trees.folder(nodes))  # fmt: skip

    def _file(self, folder: int, since: int, n: int) -> Node:
        name = b"file-%03d.txt" % n
        key = b"%d %d %d" % (folder, since, n)
        extent = Extent(key.rjust(16)[:16], 40, 1000, 0, 900 + n, self.vault.keys.chunk_id(key))
        time = START + since * HOUR
        return Node(name, NodeKind.FILE, 0o644, OWNER, 900 + n, time, time, folder * 1000 + n + 10_000,
                    content=[extent])  # fmt: skip
