"""The difference of the contents of one path between two points, line by line where they are texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from catalog.errors import Damaged, MissingData, NotFound
from catalog.history.overlay import content_id
from mount.browse.resources.lines import changes
from mount.browse.resources.opened import At, Opened
from mount.browse.resources.preview import HEAD, encoding_of
from mount.browse.resources.wire import name_of
from mount.view.nodes import File

LARGEST = 1 << 20  # bytes of a side
AROUND = 3  # lines shown before and after a change
MOST = 5000  # lines shown
LONGEST = 2000  # characters shown of a line


class DiffLine(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A line: ` ` in both, `-` in the older, `+` in the newer text; `…` stands for lines that are left out.

    `a` and `b` are its numbers in the two texts, from 1.
    """

    op: str
    a: int | None = None
    b: int | None = None
    text: str = ""


class Diff(msgspec.Struct, kw_only=True):
    """How two contents differ. If none of `same`, `binary` and `too_large` is true, `lines` says it.

    `left_out` lines more would be shown. The encodings are those of the two texts.
    """

    same: bool = False
    binary: bool = False
    too_large: bool = False
    lines: list[DiffLine] = []
    left_out: int = 0
    encodings: list[str] = []


def diff(opened: Opened, before: str, after: str, at: bytes) -> Diff:
    """The difference of the file at a path. Contents that are known to be the same are not read.

    Raises NotFound, also if the path is no file in one of the points, Damaged and StoreError.
    """
    places = [opened.find(point, at) for point in (before, after)]
    nodes = [_file(place) for place in places]
    ids = [content_id(p.page.leaf, p.page.leaf.entries[p.index]) for p in places if p.page is not None]
    if ids[0] == ids[1]:
        return Diff(same=True)
    if any(node.attributes.size > LARGEST for node in nodes):
        return Diff(too_large=True)
    contents = [_read(node, at) for node in nodes]
    if contents[0] == contents[1]:
        return Diff(same=True)
    texts = [text_of(data) for data in contents]
    if texts[0] is None or texts[1] is None:
        return Diff(binary=True)
    (a_encoding, a), (b_encoding, b) = texts[0], texts[1]
    lines, left_out = compared(a, b)
    return Diff(lines=lines, left_out=left_out, encodings=[a_encoding, b_encoding])


def _file(place: At) -> File:
    node = None if place.page is None else place.page.node(place.index)
    if not isinstance(node, File):
        raise NotFound(f"{name_of(place.path)[0]} is not a file in both points", "compare the folders above it")
    return node


def _read(node: File, path: bytes) -> bytes:
    file = node.open()
    try:
        return bytes(file.read(0, file.size))
    except Damaged as e:
        kind = MissingData if isinstance(e, MissingData) else Damaged
        raise kind(f"{name_of(path)[0]} can't be read: {e}", e.advice) from e


def text_of(data: bytes) -> tuple[str, str] | None:
    """The encoding and the text of a file; None if it is no text."""
    if not data:
        return "utf-8", ""
    encoding = encoding_of(data[:HEAD], whole=len(data) <= HEAD)
    if encoding is None:
        return None
    text = data.decode(encoding, "replace").removeprefix("\ufeff")
    return encoding, text.encode("utf-8", "replace").decode()


def compared(before: str, after: str) -> tuple[list[DiffLine], int]:
    """The lines to show of two texts, and the number of those that are left out at the end."""
    a, b = _lines(before), _lines(after)
    shown: list[DiffLine] = []
    left_out = 0
    mixed = ("\r\n" in before) != ("\r\n" in after)
    for op, x, y in _hunks(a, b):
        if len(shown) >= MOST:
            left_out += op != "…"
            continue
        if op == "…":
            shown.append(DiffLine(op=op))
            continue
        line = a[x] if op != "+" else b[y]
        shown.append(
            DiffLine(op=op, a=x + 1 if op != "+" else None, b=y + 1 if op != "-" else None, text=_text(line, mixed))
        )
    if left_out:
        shown.append(DiffLine(op="…"))
    return shown, left_out


def _lines(text: str) -> list[str]:
    """The lines of a text, each with the newline that ends it."""
    lines = text.split("\n")
    last = lines.pop()
    return [line + "\n" for line in lines] + ([last] if last else [])


def _text(line: str, mixed: bool) -> str:
    """A line as it is shown; what tells two lines apart that look the same is put into words."""
    end = "" if line.endswith("\n") else " (no newline at the end)"
    line = line.removesuffix("\n")
    if line.endswith("\r"):
        line, end = line[:-1], (" (CR LF)" if mixed else "") + end
    return (line if len(line) <= LONGEST else line[:LONGEST] + "…") + end


def _hunks(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """What to show: the sign of a line and its places in the two texts."""
    done = 0  # lines of `a` that were shown or passed
    shift = 0  # places in `b` are those in `a` and this, after the last change
    end = 0  # the end of the last change, in `a`
    any_yet = False
    for x, x_end, y, y_end in changes(a, b):
        start = max(x - AROUND, done)
        if any_yet:
            until = min(end + AROUND, x)
            yield from ((" ", n, n + shift) for n in range(done, until))
            start = max(start, until)
            done = until
        if start > done:
            yield "…", 0, 0
        shift = y - x
        yield from ((" ", n, n + shift) for n in range(start, x))
        yield from (("-", n, 0) for n in range(x, x_end))
        yield from (("+", 0, n) for n in range(y, y_end))
        done = end = x_end
        shift = y_end - x_end
        any_yet = True
    if any_yet:
        until = min(end + AROUND, len(a))
        yield from ((" ", n, n + shift) for n in range(done, until))
        if until < len(a):
            yield "…", 0, 0
