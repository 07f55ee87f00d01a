"""The entries of one folder in compact arrays, some 30 bytes each and their names: in any order, filtered, by rank.

One thread adds entries; others may read those that are `count`ed already. Orders are made once it is whole.
"""

from __future__ import annotations

import fnmatch
import re
import threading
import unicodedata
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from catalog.errors import Damaged
from catalog.format.pages import Leaf
from catalog.format.values import TYPE_BITS, NodeKind
from catalog.format.windows import MARK
from catalog.tree import check_number

NAME, SIZE, TIME, KIND = "name", "size", "time", "kind"
ORDERS = (NAME, SIZE, TIME, KIND)
NATURAL = 5_000  # names, up to which a folder is in natural order, folders first
MALFORMED = len(NodeKind)  # the kind of an entry that can't be read, or of a kind unknown to this version
_KINDS = (*(kind.name.lower() for kind in NodeKind), "malformed")
_FILE, _FOLDER, _SYMLINK = int(NodeKind.FILE), int(NodeKind.FOLDER), int(NodeKind.SYMLINK)
_RANK = {
    kind: n for n, kind in enumerate((_FOLDER, _FILE, _SYMLINK))
}  # of kinds in the order by kind; others follow
_HIDDEN = 0x80  # bit of a kind: the attribute of Windows
_FILE_ATTRIBUTE_HIDDEN = 0x2
_TARGET = 4096  # bytes kept of a symlink's target
_VIEWS = 4  # orders kept of each folder
_STEP = 2_048  # names decoded at once
_DIGITS = re.compile("([0-9]+)")
_LEAST, _MOST = -(2**63), 2**63 - 1

Order: TypeAlias = Sequence[int]  # indexes of entries
_Key: TypeAlias = "list[str | tuple[int, str]]"


class Row(NamedTuple):
    """One entry. `number`: of a walk, counted from the folder's own. A folder has the bytes and files below it."""

    number: int
    name: bytes
    kind: str
    size: int
    time: int
    files: int
    target: bytes | None
    hidden: bool


class Table:
    """The entries of a folder, by name as bytes."""

    def __init__(self) -> None:
        self.count = 0
        self._numbers = array("I")
        self._folders, self._files = array("I"), array("I")  # indexes of folders, and the files below each
        self._sizes, self._times = array("Q"), array("q")
        self._kinds = bytearray()
        self._names, self._starts = bytearray(), array("I", [0])  # each name is followed by a slash
        self._targets, self._ends, self._links = bytearray(), array("I"), array("I")  # of symlinks: their indexes
        self._orders: OrderedDict[tuple[str, bool, str], Order] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def memory(self) -> int:
        """The bytes that it takes, about."""
        counts = (self._numbers, self._folders, self._files, self._starts, self._ends, self._links)
        orders = sum(4 * len(order) for order in list(self._orders.values()) if isinstance(order, array))
        texts = len(self._kinds) + len(self._names) + len(self._targets)
        values = 8 * (len(self._sizes) + len(self._times))
        return sum(4 * len(a) for a in counts) + values + texts + orders

    @property
    def natural(self) -> bool:
        """Whether the order by name is the one people expect: numbers by value, without case, folders first."""
        return self.count <= NATURAL

    # --- filling it ---------------------------------------------------------------------------------------

    def add(self, leaf: Leaf, number: int) -> int:
        """Add a page whose first entry has this number. Returns the number after its last. Raises Damaged."""
        for entry in leaf.entries:
            check_number(number)
            size, below, kind = entry.size, 1, entry.kind
            if kind == _FOLDER:
                size = 0
                below = leaf.entries_in(entry)
                try:
                    subtree = leaf.subtree(entry)
                except Damaged:
                    kind = MALFORMED
                else:
                    if subtree is not None:
                        size = subtree.totals.bytes
                        self._folders.append(len(self._kinds))
                        self._files.append(subtree.totals.files)
            elif kind not in TYPE_BITS:
                kind, size, below = MALFORMED, 0, leaf.entries_in(entry)
            elif kind == _SYMLINK:
                self._links.append(len(self._kinds))
                self._targets += entry.content[:_TARGET]
                self._ends.append(len(self._targets))
            if entry.more and _is_hidden(entry.more):
                kind |= _HIDDEN
            self._numbers.append(number)
            self._sizes.append(size)
            self._times.append(min(max(entry.mtime, _LEAST), _MOST))
            self._kinds.append(kind)
            self._names += entry.name
            self._names.append(0x2F)
            self._starts.append(len(self._names))
            number += below
        self.count = len(self._kinds)
        return number

    # --- reading it ---------------------------------------------------------------------------------------

    def row(self, n: int) -> Row:
        kind = self._kinds[n]
        plain, name = kind & ~_HIDDEN, self.name(n)
        return Row(
            self._numbers[n], name, _KINDS[plain], self._sizes[n], self._times[n], self._below(n),
            self._target(n) if plain == _SYMLINK else None, bool(kind & _HIDDEN) or name.startswith(b"."),
        )  # fmt: skip

    def name(self, n: int) -> bytes:
        return bytes(self._names[self._starts[n] : self._starts[n + 1] - 1])

    def index(self, name: bytes) -> int | None:
        """The index of a name; None if it is not there."""
        n = bisect_left(range(self.count), name, key=self.name)
        return n if n < self.count and self.name(n) == name else None

    def _below(self, n: int) -> int:
        at = bisect_left(self._folders, n)
        return self._files[at] if at < len(self._folders) and self._folders[at] == n else 0

    def _target(self, n: int) -> bytes:
        link = bisect_left(self._links, n)
        return bytes(self._targets[self._ends[link - 1] if link else 0 : self._ends[link]])

    # --- orders -------------------------------------------------------------------------------------------

    def order(self, by: str = NAME, *, descending: bool = False, only: str = "") -> Order:
        """The entries in an order, without those that do not match `only`: a part of the name, or a glob."""
        key = by, descending, only
        with self._lock:
            found = self._orders.pop(key, None)
            if found is None:
                found = self._ordered(by, descending, self._matching(only))
            self._orders[key] = found
            while len(self._orders) > _VIEWS:
                self._orders.popitem(last=False)
        return found

    def _ordered(self, by: str, descending: bool, found: Order) -> Order:
        if self.natural:
            keys = self._natural_keys(found)
            found = sorted(found, key=keys.__getitem__, reverse=descending and by == NAME)
            if by == NAME:
                found.sort(key=self._is_no_folder)
        elif by == NAME and descending:
            found = found[::-1]
        if by != NAME:
            found = sorted(found, key=self._key(by), reverse=descending)
        return found if isinstance(found, range) else array("I", found)

    def _key(self, by: str) -> Callable[[int], Any]:
        if by == SIZE:
            return self._sizes.__getitem__
        return self._times.__getitem__ if by == TIME else self._kind_key

    def _kind_key(self, n: int) -> tuple[int, bytes]:
        kind = self._kinds[n] & ~_HIDDEN
        if kind != _FILE:
            return _RANK.get(kind, len(_RANK) + kind), b""
        stem, _dot, extension = self.name(n).rpartition(b".")
        return _RANK[kind], extension.lower() if stem else b""

    def _is_no_folder(self, n: int) -> bool:
        return self._kinds[n] & ~_HIDDEN != _FOLDER

    def _natural_keys(self, some: Iterable[int]) -> dict[int, tuple[_Key, bytes]]:
        return {n: (natural_key(self.name(n)), self.name(n)) for n in some}

    # --- names --------------------------------------------------------------------------------------------

    def _folded(self) -> Iterator[tuple[int, list[str]]]:
        """All names as `folded`, some at a time, with the index of the first."""
        for first in range(0, self.count, _STEP):
            last = min(first + _STEP, self.count)
            text = bytes(self._names[self._starts[first] : self._starts[last] - 1])
            yield first, folded(text.decode(errors="surrogateescape")).split("/")

    def _matching(self, only: str) -> Order:
        if not only:
            return range(self.count)
        wanted, found = folded(only), array("I")
        glob = re.compile(fnmatch.translate(wanted)).match if "*" in only or "?" in only else None
        for first, names in self._folded():
            if glob is not None:
                found.extend(n for n, name in enumerate(names, first) if glob(name))
            else:
                found.extend(n for n, name in enumerate(names, first) if wanted in name)
        return found

    def rank(self, order: Order, prefix: str, by: str = NAME, *, descending: bool = False) -> tuple[int, bool]:
        """The place in an order of the first name that begins with `prefix`, and True.

        If none does: the place where it would be by name (0 in other orders), and False. Where names are ordered as
        bytes, one of the same case comes before others.
        """
        raw, wanted = prefix.encode(errors="surrogateescape"), folded(prefix)
        loose, exact = bytearray(self.count), bytearray(self.count)
        for first, names in self._folded():
            for n, name in enumerate(names, first):
                if name.startswith(wanted):
                    loose[n] = 1
                    exact[n] = not self.natural and self.name(n).startswith(raw)
        for some in (exact, loose):
            place = next((place for place, n in enumerate(order) if some[n]), None) if any(some) else None
            if place is not None:
                return place, True
        last = max(len(order) - 1, 0)
        if by != NAME:
            return 0, False
        if self.natural:
            key = natural_key(raw)
            after = [p for p, n in enumerate(order) if (natural_key(self.name(n)) > key) is not descending]
            return (min(after) if after else last), False
        ascending = order[::-1] if descending else order
        place = bisect_left(ascending, raw, key=self.name)
        return min(max(len(order) - place if descending else place, 0), last), False


def folded(text: str) -> str:
    """A text without differences of case and of Unicode's forms."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).casefold()


def natural_key(name: bytes) -> _Key:
    """What a name is ordered by: `file 9` before `File 10`."""
    parts: _Key = list(_DIGITS.split(folded(name.decode(errors="surrogateescape"))))
    for n in range(1, len(parts), 2):
        digits = str(parts[n]).lstrip("0")
        parts[n] = (len(digits), digits)  # compared as numbers are, of any length
    return parts


def _is_hidden(more: dict[str, Any]) -> bool:
    attributes = more.get(MARK)
    return isinstance(attributes, int) and bool(attributes & _FILE_ATTRIBUTE_HIDDEN)
