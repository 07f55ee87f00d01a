"""Many points of one item, whose files exist in the trees only: nothing of what is tested here reads them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.records import Point
from catalog.format.values import NodeKind, Owner
from catalog.store.base import Store
from catalog.store.wrapper import Request, StoreWrapper, T
from catalog.vault import Vault
from tests.kit.drives import ITEM, MACHINE, add_item, add_machine, add_point
from tests.kit.vaultmaker import Trees

SECOND = 10**9
START = 1_790_000_000 * SECOND
HOUR = 3600 * SECOND
OWNER = Owner(1000, 1000, "someone", "people")


class ManyPoints:
    """Folders of files, of which a run of neighbouring folders is written anew before each further point."""

    def __init__(self, vault: Vault, folders: int, each: int, *, item: bytes = ITEM, name: str = "home") -> None:
        self.vault = vault
        self.folders, self.each = folders, each
        self.points: list[Point] = []
        self._item, self._name = item, name
        self._rng = random.Random(1)
        self._trees = Trees(vault)
        self._rows: list[Node] = []
        self.since = [0] * folders  # for each folder the number of the point since which its files are as they are
        if item == ITEM:
            add_machine(vault)
        add_item(vault, item, name)

    def commit(self, changed: int = 0) -> Point:
        """Another point, with `changed` neighbouring folders written anew."""
        n = len(self.points)
        if not n:
            self._rows = [self._folder(folder, 0) for folder in range(self.folders)]
        start = self._rng.randrange(self.folders)
        for place in range(start, start + changed):
            folder = place % self.folders
            self.since[folder] = n
            self._rows[folder] = self._folder(folder, n)
        root = self._trees.root(self._trees.folder(self._rows))
        at = START + n * HOUR
        self.points.append(add_point(self.vault, root, n + 1, at, item=self._item, item_name=self._name))
        return self.points[-1]

    def path(self, folder: int, file: int) -> bytes:
        return b"/folder-%05d/file-%03d.txt" % (folder, file)

    def _folder(self, folder: int, since: int) -> Node:
        nodes = [self._file(folder, since, n) for n in range(self.each)]
        time = START + since * HOUR
        return Node(b"folder-%05d" % folder, NodeKind.FOLDER, 0o755, OWNER, 0, time, time, folder + 1,
                    content=self._trees.folder(nodes))  # fmt: skip

    def _file(self, folder: int, since: int, n: int) -> Node:
        key = b"%d %d %d" % (folder, since, n)
        extent = Extent(key.rjust(16)[:16], 40, 1000, 0, 900 + n, self.vault.keys.chunk_id(key))
        time = START + since * HOUR
        return Node(b"file-%03d.txt" % n, NodeKind.FILE, 0o644, OWNER, 900 + n, time, time,
                    folder * 1000 + n + 10_000, content=[extent])  # fmt: skip


class GateStore(StoreWrapper):
    """While `open` is not set, reads of trees wait; `fault`, if it is set, is what they then end with."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.open = threading.Event()
        self.open.set()
        self.fault: Exception | None = None
        self.waiting = 0
        self.free = 1 << 30  # reads that pass before any waits or fails

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if request.name.startswith("meta/"):
            self.free -= 1
            if self.free < 0:
                self.waiting += 1
                self.open.wait(60)
                if self.fault is not None:
                    raise self.fault
        return call()


__all__ = ["ITEM", "MACHINE", "GateStore", "ManyPoints"]
