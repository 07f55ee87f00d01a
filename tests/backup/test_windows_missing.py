"""An unchanged file is kept only if all that it refers to still exists, its streams' data included."""

from __future__ import annotations

from typing import Any

import pytest

from backup.previous import OldEntry, PreviousPoint
from catalog.format.packs import Extent
from catalog.format.values import NodeKind, OutOfLine, Paged
from catalog.format.windows import Stream, Windows
from catalog.format.writing import write_folder
from catalog.tree import walk
from tests.kit.format_values import Pages, plain

GONE = b"g" * 16
HERE, THERE = (Extent(pack, 8, 99, 0, 5, b"c" * 16) for pack in (b"h" * 16, GONE))


@pytest.mark.parametrize(
    ("windows", "kind"),
    [
        (Windows(streams=[Stream("a", 5, [HERE]), Stream("b", 5, [THERE])]), NodeKind.FILE),
        (Windows(streams=[Stream("a", 5, [THERE])]), NodeKind.FOLDER),
        (Windows(streams=[Stream("a", 5, Paged(0, THERE, 5, b"d" * 16))]), NodeKind.FILE),
        (Windows(security=OutOfLine(THERE)), NodeKind.FILE),
        (Windows(reparse=OutOfLine(THERE)), NodeKind.SYMLINK),
        (Windows(extended=OutOfLine(THERE)), NodeKind.FOLDER),
    ],
)
def test_what_windows_knew_is_looked_for(windows: Windows, kind: NodeKind) -> None:
    content: dict[NodeKind, Any] = {NodeKind.FILE: [HERE], NodeKind.FOLDER: None, NodeKind.SYMLINK: b"target"}
    there = Windows(streams=[Stream("a", 5, [HERE])], security=OutOfLine(HERE))
    pages = Pages()
    nodes = [plain(name, content=content[kind], windows=w) for name, w in ((b"a", there), (b"b", windows))]
    for node in nodes:
        node.kind = kind
    found = [OldEntry(w.found.entry, w.found.leaf) for w in walk(pages, write_folder(nodes, pages.write))]
    previous = PreviousPoint(lossy=GONE.__eq__, gone=lambda at: at.pack == GONE)
    assert [previous.has_all(old) for old in found] == [True, False]
