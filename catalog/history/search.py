"""Finds files by name in one recovery point or many."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from catalog.errors import UsageError
from catalog.format.pages import Entry, Leaf
from catalog.format.records import Point
from catalog.history.overlay import BatchSource, distinct, held, last, root_strands, walk
from catalog.history.variants import Variant
from catalog.names import in_pattern, is_marked, shows_as


class Hit(NamedTuple):
    """A path that matches, and the points that have it. `leaf` and `entry` are those in the last of these points.

    `versions` is the number of its different contents (for a folder: states) in these points.
    """

    path: bytes
    points: int
    leaf: Leaf
    entry: Entry
    versions: int


def pattern(text: str, *, regex: bool = False, ignore_case: bool = False) -> Callable[[bytes], bool]:
    """A function that tests paths (absolute, without a slash at the end). Raises UsageError.

    A glob (`*`, `?`, `[abc]`; a plain name is one) without a slash is matched against the last name of a path. With
    a slash it is matched against the end of the path, or the whole path if it begins with one; `*` also matches
    slashes. A regular expression is searched for anywhere in the path. Names may be spelled as on a Windows drive.
    """
    raw = os.fsencode(text)
    quoted = in_pattern(raw, re.escape if regex else _literal)
    tests = [_pattern(p, regex=regex, ignore_case=ignore_case) for p in (raw, quoted) if p is not None]
    if is_marked(raw):
        tests.append(lambda path: shows_as(path.rpartition(b"/")[2], raw.rpartition(b"/")[2]))
    return tests[0] if len(tests) == 1 else lambda path: any(fits(path) for fits in tests)


def _literal(byte: bytes) -> bytes:
    return b"[" + byte + b"]" if byte in (b"*", b"?", b"[") else byte


def _pattern(raw: bytes, *, regex: bool, ignore_case: bool) -> Callable[[bytes], bool]:
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    if not raw:
        raise UsageError("an empty pattern matches nothing", "give a name, a glob or a regular expression")
    if regex:
        try:
            search = re.compile(raw, flags).search
        except re.error as e:
            raise UsageError(
                f"{os.fsdecode(raw)!r} is not a regular expression: {e}", "correct it, or leave --regex out"
            ) from e
        return lambda path: search(path) is not None
    raw = raw.rstrip(b"/") or b"/"
    match = re.compile(_translate(raw), flags).match
    if b"/" not in raw:
        return lambda path: match(path, path.rfind(b"/") + 1) is not None
    if raw.startswith(b"/"):
        return lambda path: match(path) is not None
    ends = re.compile(b".*/" + _translate(raw), flags).match
    return lambda path: ends(path) is not None


def _translate(raw: bytes) -> bytes:
    # Through latin-1: a name may contain any byte.
    return fnmatch.translate(raw.decode("latin-1")).encode("latin-1")


def search(source: BatchSource, points: Sequence[Point], fits: Callable[[bytes], bool]) -> Iterator[Hit]:
    """All paths that match, in walk order. Reads each page once, however many points share it.

    Raises Damaged and StoreError.
    """
    for path, variants in walk(source, root_strands(points)):
        if fits(path):
            yield _hit(path, variants)


def _hit(path: bytes, variants: list[Variant]) -> Hit:
    points = held(variants)
    newest = next(v for v in variants if v.points >> last(points) & 1)
    return Hit(path, points, newest.leaf, newest.entry, len(distinct(variants)))
