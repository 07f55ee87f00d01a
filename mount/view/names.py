"""Entries of folders by the names that Windows shows. catalog.names defines the spelling, and the reasons for it.

An exact match wins. On a drive that ignores case, the next match is the only entry that differs just in case or in
its form of Unicode (NFC, NFD); if there are two, neither matches. WinFsp keeps one table of open files by name,
without case on such a drive: two entries must not become one there. So a drive ignores case only if its view allows
it (`View.folds`). If a later point has names that differ only in case all the same, each but the first shows with a
mark.
"""

from __future__ import annotations

import os
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator

from cache.memory import Lru
from catalog.errors import NotFound
from catalog.names import MARK, WINDOWS, folded, marked, shown, true_name
from mount.view.nodes import SHORT, Folder, Link, Node

__all__ = ["Names", "find", "folded", "shown", "true_name"]

_KEPT = 64 << 20  # bytes of indexes: some two million names


def find(folder: Folder, spelling: str, *, fold: bool) -> tuple[bytes, Node] | None:
    """The entry with that spelling, and its true name. None if there is none, or more than one.

    For a single lookup; `Names` serves many. Raises Damaged and StoreError.
    """
    return Names(fold=fold).find(folder, spelling)


def true_path(root: Folder, path: bytes, *, fold: bool) -> bytes:
    """The names as nodes have them, for a path from the root in the spelling of a Windows drive.

    Raises NotFound, Damaged and StoreError.
    """
    names, found = Names(fold=fold), list[bytes]()
    node: Node = root
    for part in filter(None, path.split(b"/")):
        entry = names.find(node, os.fsdecode(part)) if isinstance(node, Folder) else None
        if entry is None:
            raise NotFound(f"the drive has no {os.fsdecode(path)}", "see `dir` of the folder")
        folder, (name, node) = node, entry
        found.append(name)
        if isinstance(node, Link) and node.changes and isinstance(folder, Folder):
            node = folder.lookup(node.target)  # `latest`: a link next to its target
    return b"/".join(found)


class Names:
    """The names of one drive. Thread-safe.

    A lookup in the true case reads a page or two. For any other, the folder is listed once, whatever its size, and
    an index of its names without case is kept: about 36 bytes a name.
    """

    def __init__(self, *, fold: bool) -> None:
        self._fold = fold
        self._indexes: Lru[int, _Index] = Lru(_KEPT, lambda index: index.cost)
        self._making: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def indexed(self) -> int:
        """Folders whose index is kept."""
        return len(self._indexes)

    def speller(self, folder: Folder) -> Callable[[bytes], str]:
        """A function that spells the names of a folder, for a listing of it."""
        native = folder.made_on == WINDOWS
        if not self._is_doubtful(folder):
            return lambda name: shown(name, native=native)
        index = self._index(folder)
        return lambda name: index.spelling(name) or shown(name, native=native)

    def find(self, folder: Folder, spelling: str) -> tuple[bytes, Node] | None:
        """The entry with that spelling, and its true name. None if there is none, or more than one."""
        native = folder.made_on == WINDOWS
        name = true_name(spelling, native=native)
        if name is not None and not (self._is_doubtful(folder) and self._index(folder).spelling(name) is not None):
            found = _entry(folder, name)
            if found is not None:
                return found
        if MARK in spelling or self._fold:
            name = self._index(folder).find(spelling, fold=self._fold)
            return None if name is None else _entry(folder, name)
        return None

    def _is_doubtful(self, folder: Folder) -> bool:
        """Whether a folder may have names that this drive would take for one."""
        return self._fold and not folder.distinct

    def _index(self, folder: Folder) -> _Index:
        key = folder.attributes.inode
        index = self._indexes.get(key)
        if index is not None and index.is_fresh():
            return index
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:  # one thread lists it, the others wait
            index = self._indexes.get(key)
            if index is None or not index.is_fresh():
                index = _Index(folder)
                self._indexes.put(key, index)
        with self._lock:
            self._making.pop(key, None)
        return index


def _entry(folder: Folder, name: bytes) -> tuple[bytes, Node] | None:
    try:
        return name, folder.lookup(name)
    except NotFound:
        return None


class _Index:
    """The names of a folder, found by hashes of their folded spelling, or by their spelling with a mark."""

    def __init__(self, folder: Folder) -> None:
        self._native = folder.made_on == WINDOWS
        self._until = time.monotonic() + SHORT if folder.changes else float("inf")
        names, ends, hashes, cut = bytearray(), array("Q", [0]), array("q"), list[int]()
        for page in folder.pages():
            for name in page.names:
                spelling = shown(name, native=self._native)
                if MARK in spelling:
                    cut.append(len(hashes))
                names += name
                ends.append(len(names))
                hashes.append(hash(folded(spelling)))
        order = sorted(range(len(hashes)), key=hashes.__getitem__)
        self._names, self._ends = bytes(names), ends
        self._hashes = array("q", (hashes[n] for n in order))
        self._order = array("Q", order)
        self._twins = dict(self._marked_twins())
        self._by_mark = {spelling: name for name, spelling in self._twins.items()}
        self._by_mark |= {shown(self._name(n), native=self._native): self._name(n) for n in cut}

    @property
    def cost(self) -> int:
        """Approximate size in bytes."""
        return len(self._names) + 24 * len(self._order) + 500 * len(self._by_mark) + 1000

    def is_fresh(self) -> bool:
        return time.monotonic() < self._until

    def spelling(self, name: bytes) -> str | None:
        """The marked spelling of a name that would equal another one's; None for all other names."""
        return self._twins.get(name)

    def find(self, spelling: str, *, fold: bool) -> bytes | None:
        """The name with that spelling, or (with `fold`) the only one that differs in case or form of Unicode."""
        name = self._by_mark.get(spelling)
        if name is not None or not fold:
            return name
        wanted = folded(spelling)
        found = [n for n in self._of_hash(hash(wanted)) if self._folded(n) == wanted]
        return self._name(found[0]) if len(found) == 1 else None

    def _marked_twins(self) -> Iterator[tuple[bytes, str]]:
        """Names whose folded spelling is that of an earlier one, and their marked spelling."""
        start, hashes = 0, self._hashes
        while start < len(hashes):
            end = start + 1
            while end < len(hashes) and hashes[end] == hashes[start]:
                end += 1
            if end - start > 1:
                seen: set[str] = set()
                for n in self._order[start:end]:  # sorted is stable: in the folder's order
                    text = self._folded(n)
                    if text in seen:
                        yield self._name(n), marked(self._name(n))
                    seen.add(text)
            start = end

    def _of_hash(self, wanted: int) -> Iterator[int]:
        at = bisect_left(self._hashes, wanted)
        while at < len(self._hashes) and self._hashes[at] == wanted:
            yield self._order[at]
            at += 1

    def _name(self, n: int) -> bytes:
        return self._names[self._ends[n] : self._ends[n + 1]]

    def _folded(self, n: int) -> str:
        return folded(shown(self._name(n), native=self._native))
