"""Entries of folders by the names that Windows sees. What the spelling is, and why, stands in catalog.names.

An exact match wins. On a drive that takes names of different case for one, the only entry that differs in case or
in Unicode's form (NFC, NFD) comes next; where two differ so, neither is meant. WinFsp keeps one table of open files
by name, and without case on such a drive: two entries must not come to be one there. So a drive does it only where
its view says that no names are in the way (`View.folds`); should some turn up all the same, in a point that came
later, each of them but the first shows with a mark.
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
    """The entry that is shown so, and its true name. None if there is none, or if it could be either of two.

    For one look; whoever looks more often has a `Names`. Damaged, StoreError.
    """
    return Names(fold=fold).find(folder, spelling)


def true_path(root: Folder, path: bytes, *, fold: bool) -> bytes:
    """A path from the root as a Windows drive shows it, by the names that nodes have.

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
            node = folder.lookup(node.target)  # `latest`: a link beside what it names
    return b"/".join(found)


class Names:
    """The names of one drive. Thread-safe.

    A name in its own case is looked up for a page or two. For any other a folder is listed once, whatever its
    size, and what its names are when folded is kept: about 36 bytes each.
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
        """What spells the names of a folder, for a listing of it."""
        native = folder.made_on == WINDOWS
        if not self._is_doubtful(folder):
            return lambda name: shown(name, native=native)
        index = self._index(folder)
        return lambda name: index.spelling(name) or shown(name, native=native)

    def find(self, folder: Folder, spelling: str) -> tuple[bytes, Node] | None:
        """The entry that is shown so, and its true name. None if there is none, or if it could be either of two."""
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
        """Whether names may stand in a folder that would be one on this drive."""
        return self._fold and not folder.distinct

    def _index(self, folder: Folder) -> _Index:
        key = folder.attributes.inode
        index = self._indexes.get(key)
        if index is not None and index.is_good():
            return index
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:  # one lists it, the others wait
            index = self._indexes.get(key)
            if index is None or not index.is_good():
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
    """The names of a folder by hashes of what they are when folded, and of what they are when marked."""

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
        """Bytes, about."""
        return len(self._names) + 24 * len(self._order) + 500 * len(self._by_mark) + 1000

    def is_good(self) -> bool:
        return time.monotonic() < self._until

    def spelling(self, name: bytes) -> str | None:
        """How a name shows that another, shown as it is, would be one with. None for all others."""
        return self._twins.get(name)

    def find(self, spelling: str, *, fold: bool) -> bytes | None:
        """The name that is shown so, or (with `fold`) the only one that differs in case or Unicode's form."""
        name = self._by_mark.get(spelling)
        if name is not None or not fold:
            return name
        wanted = folded(spelling)
        found = [n for n in self._of_hash(hash(wanted)) if self._folded(n) == wanted]
        return self._name(found[0]) if len(found) == 1 else None

    def _marked_twins(self) -> Iterator[tuple[bytes, str]]:
        """Of names that are one when folded all but the first, and how they show."""
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
