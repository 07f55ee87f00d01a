"""Windows metadata in `diff` and `versions`: compared by value, however pages refer to it."""

from __future__ import annotations

import json
import random
from typing import Any

from catalog.direct import DirectSource
from catalog.format.nodes import Node
from catalog.format.records import Point
from catalog.format.values import Hole
from catalog.format.windows import Stream, Windows
from catalog.history.difference import difference, root_of
from catalog.history.overlay import numbers
from catalog.history.versions import versions
from catalog.points.listing import entry_json
from catalog.store.memory import MemoryStore
from catalog.tree import walk
from catalog.windows.descriptor import from_sddl
from tests.kit.drives import Maker, add_point
from tests.kit.vaults import new_vault

SECOND = 10**9


class Machine:
    """Points of a Windows machine, in a vault in memory."""

    def __init__(self) -> None:
        self.vault = new_vault(MemoryStore())
        self.maker = Maker(self.vault)
        self.points: list[Point] = []
        self._extents: dict[bytes, Any] = {}

    def stream(self, name: str, *parts: bytes | int) -> Stream:
        content: Any = [Hole(p) if isinstance(p, int) else self._extent(p) for p in parts]
        return Stream(name, sum(p.length for p in content), content)

    def _extent(self, data: bytes) -> Any:
        if data not in self._extents:
            self._extents[data] = self.maker.data.block([data])[0]
        return self._extents[data]

    def file(self, name: bytes, data: bytes = b"data", **known: Any) -> Node:
        usual: dict[str, Any] = {"attributes": 0x20, "created": SECOND, "security": b"a descriptor"}
        windows = Windows(**(usual | known))
        node = self.maker.node(name, size=len(data), content=[self._extent(data)], windows=windows)
        node.inode = 1
        return node

    def point(self, *nodes: Node) -> Point:
        self.maker.data.finish()
        number = len(self.points) + 1
        self.maker.trees.forget()  # so that equal entries are not found by equal pages
        self.points.append(add_point(self.vault, self.maker.root(list(nodes)), number, number * SECOND))
        return self.points[-1]

    def changes(self, before: Point, after: Point) -> dict[bytes, tuple[str, str]]:
        source = DirectSource(self.vault)
        found = difference(source, root_of(before), root_of(after))
        return {c.path.rpartition(b"/")[2]: (c.mark, " ".join(c.what)) for c in found}


def test_what_stays_the_same_is_no_difference_though_tables_are_others() -> None:
    m = Machine()
    far = m.maker.out_of_line(random.Random(1).randbytes(5000))
    known: dict[str, Any] = {"security": far, "reparse": b"reparse", "streams": [m.stream("s", b"stream", 7)]}
    same = m.file(b"same", **known)
    # With another entry before it, `same` refers to other rows in the tables of its page.
    first = m.point(same)
    second = m.point(m.file(b"another", security=b"x", streams=[m.stream("t", b"other")]), same)
    assert m.changes(first, second) == {b"another": ("+", "added")}
    again = m.file(b"same", **(known | {"security": m.maker.out_of_line(random.Random(1).randbytes(5000))}))
    assert m.changes(first, m.point(again)) == {}


def test_differences_have_their_words() -> None:
    m = Machine()
    streams = [m.stream("Zone.Identifier", b"[ZoneTransfer]")]
    changes: dict[bytes, tuple[dict[str, Any], str, str]] = {
        b"attributes": ({"attributes": 0x21}, "U", "attributes"),
        b"created": ({"created": 2 * SECOND}, "U", "attributes"),
        b"extended": ({"extended": b"ea"}, "U", "attributes"),
        b"reparse": ({"reparse": b"other"}, "U", "attributes"),
        b"security": ({"security": b"another descriptor"}, "U", "security"),
        b"security gone": ({"security": None}, "U", "security"),
        b"short": ({"short_name": "A~1"}, "U", "attributes"),
        b"stream data": ({"streams": [m.stream("Zone.Identifier", b"[other]")]}, "M", "streams"),
        b"stream gone": ({"streams": []}, "M", "streams"),
        b"stream more": ({"streams": [*streams, m.stream("more", 10)]}, "M", "streams"),
        b"stream name": ({"streams": [m.stream("zone.identifier", b"[ZoneTransfer]")]}, "M", "streams"),
        b"stream shorter": ({"streams": [m.stream("Zone.Identifier", b"[ZoneTransfer")]}, "M", "streams"),
    }
    before = m.point(m.file(b"data", streams=streams), *(m.file(name, streams=streams) for name in changes))
    after = m.point(
        m.file(b"data", b"other", streams=streams),
        *(m.file(name, **({"streams": streams} | now)) for name, (now, _mark, _what) in changes.items()),
    )
    assert m.changes(before, after) == {
        b"data": ("M", "content"),
        **{name: (mark, what) for name, (_now, mark, what) in changes.items()},
    }


def test_an_entry_of_another_system_beside_one_of_windows() -> None:
    m = Machine()
    plain = m.file(b"file")
    plain.windows = None
    plain.more = {"future": 1}
    other = m.file(b"file")
    other.more = {"future": 2}
    assert m.changes(m.point(plain), m.point(other)) == {b"file": ("U", "attributes more security")}


def test_a_folder_of_which_a_stream_changed() -> None:
    m = Machine()

    def folder(stream: bytes) -> Node:
        node = m.maker.folder(b"folder", [m.file(b"file")])
        node.inode, node.windows = 1, Windows(0x10, streams=[m.stream("s", stream)])
        return node

    assert m.changes(m.point(folder(b"one")), m.point(folder(b"two"))) == {b"folder": ("M", "streams")}


def test_a_file_of_which_only_a_stream_changed_is_another_version() -> None:
    m = Machine()
    one, two = [m.stream("s", b"one")], [m.stream("s", b"two")]
    for streams in (one, one, two, [], one):
        m.point(m.file(b"file", streams=streams))
    found = versions(DirectSource(m.vault), m.points, b"/file").found
    assert [sorted(numbers(v.points)) for v in found] == [[0, 1, 4], [2], [3]]


def test_listings_tell_what_windows_knew() -> None:
    m = Machine()
    security = from_sddl("O:BAG:SYD:PAI(A;OICI;FA;;;BA)")
    known: dict[str, Any] = {
        "security": security,
        "streams": [m.stream("\ud800", b"12345")],
        "short_name": "A~1",
        "efs": 7,
    }
    far = m.maker.out_of_line(bytes(5000))
    root = m.point(
        m.file(b"a", **known), m.file(b"b", security=far), m.file(b"c", security=b"garbage", created=None)
    ).root
    assert root is not None
    rows = [entry_json(f.leaf, f.entry)["windows"] for _path, f in walk(DirectSource(m.vault), root.subtree())]
    assert json.loads(json.dumps(rows)) == [
        {
            "attributes": 0x20, "created": "1970-01-01T00:00:01Z", "created_ns": SECOND,
            "security": "O:BAG:SYD:PAI(A;OICI;FA;;;BA)", "short_name": "A~1", "encrypted_size": 7,
            "streams": [{"name": "\ufffd\ufffd\ufffd", "name_bytes": "7aCA", "size": 5}],
        },
        {
            "attributes": 0x20, "created": "1970-01-01T00:00:01Z", "created_ns": SECOND, "security": None,
            "short_name": "", "encrypted_size": None, "streams": [],
        },
        {
            "attributes": 0x20, "created": None, "created_ns": None, "security": None, "short_name": "",
            "encrypted_size": None, "streams": [],
        },
    ]  # fmt: skip
