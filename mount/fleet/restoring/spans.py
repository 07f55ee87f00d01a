"""Parts of a tree by the numbers of its entries, in the order of a walk: where they end, and what is in one.

Totals give every entry its number without a walk (catalog/tree.py), so a part is two numbers, and whoever restores
it reads only the pages that lead to it. Packs hold files in the order of the walk that saved them: a part has few.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from catalog.errors import Damaged
from catalog.format.packs import Extent
from catalog.format.pages import Entry, Leaf
from catalog.format.values import NOTHING, NodeKind, Subtree, Totals
from catalog.interruption import check
from catalog.tree import Lost, PageSource, check_level, check_number

TOP = 0  # the number of the folder that is cut; what is in it begins with 1
END = 1 << 40  # more than any number: the end of the last part
MIB = 1 << 20
_FILE, _FOLDER = int(NodeKind.FILE), int(NodeKind.FOLDER)


class Span(NamedTuple):
    """The entries with numbers from `first` to before `end`."""

    first: int
    end: int

    def holds(self, number: int) -> bool:
        return self.first <= number < self.end

    def meets(self, first: int, end: int) -> bool:
        """Whether it has a number from `first` to before `end`."""
        return first < self.end and end > self.first


EVERYTHING = Span(TOP, END)


class Part(NamedTuple):
    """A span, and the files and bytes in it as the totals have them (of a sparse file, its size)."""

    span: Span
    files: int
    size: int


class Limits(NamedTuple):
    """The most entries and bytes of one part; a single file may be larger."""

    entries: int
    size: int

    @classmethod
    def of(cls, totals: Totals) -> Limits:
        """A hundred parts, unless they would be too small for what each costs, or too large to do again."""
        entries = min(max(totals.entries // 100, 1_000), 20_000)
        return cls(entries, min(max(totals.bytes // 100, 64 * MIB), 4096 * MIB))


class Numbered(NamedTuple):
    """An entry and its page; its number, and that of the entry after all that is below it."""

    leaf: Leaf
    entry: Entry
    number: int
    after: int


# --- cutting ----------------------------------------------------------------------------------------------------


class _Node(NamedTuple):
    """Pages with these totals: small enough for a part, or else to be looked into. Without `at`, one entry."""

    totals: Totals
    level: int = 0
    at: Extent | None = None


def cut(pages: PageSource, top: Subtree | None, limits: Limits) -> Iterator[Part]:
    """The parts of a folder, in order. They cover all numbers, each once. Reads no page that fits into a part.

    Raises StoreError. A page that is damaged goes into a part as it is: who restores that will report it.
    """
    first, number, files, size = TOP, TOP + 1, 0, 0
    for after, more, more_size in _steps(pages, top, limits):
        full = after - first > limits.entries or size + more_size > limits.size
        if full and number > first and (files or number - first > 1):
            yield Part(Span(first, number), files, size)
            first, files, size = number, 0, 0
        number, files, size = max(number, after), files + more, size + more_size
    yield Part(Span(first, END), files, size)


def _steps(pages: PageSource, top: Subtree | None, limits: Limits) -> Iterator[tuple[int, int, int]]:
    """Steps that fit into a part, or can't be divided: the number after each, its files, their bytes."""
    if top is None:
        return
    check_level(top.level)
    number = TOP + 1
    whole = _Node(top.totals, top.level, top.at)
    stack: list[tuple[int, Iterator[_Node]]] = [(number + top.totals.entries, iter((whole,)))]
    while stack:
        check()
        end, rest = stack[-1]
        node = next(rest, None)
        if node is None:
            stack.pop()
            number = max(number, end)
            continue
        t, inner = node.totals, None
        if node.at is not None and (t.entries > limits.entries or t.bytes > limits.size):
            inner = _inside(pages, node.level, node.at, limits)
        if inner is not None:
            stack.append((number + t.entries, inner))
            continue
        number += t.entries
        yield number, t.files, t.bytes


def _inside(pages: PageSource, level: int, at: Extent, limits: Limits) -> Iterator[_Node] | None:
    """What a page leads to. None if it is damaged."""
    try:
        if level == 0:
            return _entries(pages.leaf(at), limits)
        index = pages.folder_index(at)
        return iter([_Node(child.totals, level - 1, index.at(child)) for child in index.children])
    except Damaged:
        return None


def _entries(leaf: Leaf, limits: Limits) -> Iterator[_Node]:
    """The entries of a page. A folder that fits into a part is not parted from what is in it.

    Who has made a folder knows that it is empty; another one would look for each name in it, and for its spellings.
    """
    for entry in leaf.entries:
        if entry.kind != _FOLDER:
            yield _Node(Totals(1, int(entry.kind == _FILE), entry.size if entry.kind == _FILE else 0, 0))
            continue
        try:
            below = leaf.subtree(entry)
            if below is not None:
                check_level(below.level)
        except Damaged:
            below = None
        t = NOTHING if below is None else below.totals
        if t.entries < limits.entries and t.bytes <= limits.size:
            yield _Node(t._replace(entries=t.entries + 1))
            continue
        yield _Node(Totals(1, 0, 0, 0))
        if below is not None:
            yield _Node(t, below.level, below.at)


# --- what is in a span ------------------------------------------------------------------------------------------


def entries_in(
    pages: PageSource, folder: Subtree | None, number: int, span: Span, lost: Lost, *, folders_only: bool = False
) -> Iterator[Numbered]:
    """The entries of a folder with this number that are in a span, or have something below them that is.

    `lost` hears of pages that can't be read. `folders_only`: leave out pages that hold nothing but files. Raises
    StoreError; Damaged, too, if a page does not hold as many entries as the one above says: numbers would then pass
    some by.
    """
    if folder is None:
        return
    check_level(folder.level)
    first = number + 1
    yield from _in_page(pages, folder.level, folder.at, first, folder.totals, span, lost, folders_only)


def _in_page(
    pages: PageSource, level: int, at: Extent, number: int, totals: Totals, span: Span, lost: Lost,
    folders_only: bool,
) -> Iterator[Numbered]:  # fmt: skip
    end = number + totals.entries
    if not span.meets(number, end) or (folders_only and totals.entries == totals.files):
        return
    check_number(number)
    try:
        page = pages.folder_index(at) if level else pages.leaf(at)
    except Damaged as e:
        lost(e)
        return
    if isinstance(page, Leaf):
        for entry in page.entries:
            after = number + (1 if entry.kind == _FILE else page.entries_in(entry))
            if span.meets(number, after):
                yield Numbered(page, entry, number, after)
            number = after
    else:
        for child in page.children:
            yield from _in_page(pages, level - 1, page.at(child), number, child.totals, span, lost, folders_only)
            number += child.totals.entries
    if number != end:
        raise Damaged("a page of a folder has more or fewer entries than the page above it says")
