"""Chooses files of a recovery point at random, by their numbers: no walk, a few pages for each."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cache.reader import Reader
from catalog.errors import Damaged, NewerFormat, NotFound, RpdriveError, ShortRead
from catalog.format.pages import Entry
from catalog.format.records import Point
from catalog.format.values import NodeKind, Paged, Piece
from catalog.tree import ROOT_NUMBER
from mount.view.point import Pages, Tree

_UNREADABLE = (Damaged, NewerFormat, NotFound, ShortRead)
_TRIES = 50  # numbers drawn for each file wanted, at most: most entries may be folders


class Sampled(NamedTuple):
    """A file of the point. `path` has no leading slash."""

    path: bytes
    entry: Entry
    content: list[Piece] | Paged


class Lost(NamedTuple):
    """An entry whose page, or which itself, can't be read."""

    number: int
    path: bytes
    error: RpdriveError


def wanted(point: Point, files: int | None, percent: float | None) -> int:
    """How many files to read: so many, or so many per cent, and at least one of those that there are."""
    there = point.totals.files
    if percent is not None:
        return min(max(math.ceil(there * percent / 100), 1), there)
    return min(files or 0, there)


def sample(reader: Reader, point: Point, count: int, rng: random.Random) -> Iterator[Sampled | Lost]:
    """`count` files at random, each at most once; fewer if hardly any entry is a file.

    What can't be read counts as one of them. Raises StoreError.
    """
    for one in at_numbers(reader, point, numbers_of(point, count, rng)):
        if count <= 0:
            return
        if one is not None:
            count -= 1
            yield one


def numbers_of(point: Point, count: int, rng: random.Random) -> list[int]:
    """Numbers of entries, at random, among which as a rule `count` are files."""
    entries = point.totals.entries
    return rng.sample(range(ROOT_NUMBER + 1, ROOT_NUMBER + 1 + entries), min(entries, count * _TRIES))


def at_numbers(reader: Reader, point: Point, numbers: Iterable[int]) -> Iterator[Sampled | Lost | None]:
    """The entry of each number; None for one that is no file. Raises StoreError."""
    tree = Tree(reader, Pages(reader), point)
    for number in numbers:
        path = b""
        try:
            names, page, n = tree.place(number)
            path, entry = b"/".join(names), page.leaf.entries[n]
            page.leaf.check(entry)
            if entry.kind != NodeKind.FILE:
                yield None
                continue
            content = page.leaf.pieces(entry)
        except _UNREADABLE as e:
            yield Lost(number, path, e)
            continue
        yield Sampled(path, entry, content)
