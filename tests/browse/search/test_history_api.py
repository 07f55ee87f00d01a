"""Versions of a path and differences of texts, over HTTP, on points whose files are real."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from catalog.direct import DirectSource
from catalog.format.packs import Extent
from catalog.format.records import Point
from catalog.format.values import NodeKind
from catalog.history.overlay import follow, root_strands
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from mount.browse.resources.versions import versions
from mount.browse.resources.wire import path64
from tests.browse.search.many import HOUR, START, ManyPoints
from tests.kit.browsing import Page, opened_as, page_of
from tests.kit.drives import ITEM, MACHINE, Maker, add_item, add_machine, add_point
from tests.kit.vaults import Remote, new_vault

NOWHERE = "0" * 32
ONE, TWO = b"first\nsecond\n", b"first\nanother\n"
LARGE = b"x" * (1 << 20)


class Six:
    """Six points of one item; `a.txt` is one, nothing, two, one, two, two."""

    def __init__(self, vault: Vault) -> None:
        add_machine(vault)
        add_item(vault)
        self.maker = Maker(vault)
        self.old = self.maker.folder(b"folder", [kept := self.maker.file(b"kept", b"kept")])
        self.new = self.maker.folder(b"folder", [kept, self.maker.file(b"new", b"new")])
        self.points = [self._point(n, text) for n, text in enumerate((ONE, None, TWO, ONE, TWO, TWO))]
        self.ids = [point.id.hex() for point in self.points]

    def _point(self, n: int, text: bytes | None) -> Point:
        make = self.maker
        nodes = [
            self.new if n > 2 else self.old,
            make.file(b"binary", b"\0\1\2" + bytes([n])),
            make.file(b"large", LARGE, b"%d" % n),
            make.file(b"latin", b"caf\xe9 %d\n" % n),
            make.file(b"\xff", b"raw %d\n" % n),
            make.node(b"link", NodeKind.SYMLINK, content=b"target %d" % n),
            make.file(b"pieces", *((b"same ", b"text\n") if n % 2 else (b"same text\n",))),
        ]
        if text is not None:
            nodes.append(make.file(b"a.txt", text, mtime=START + n))
        return add_point(self.maker.vault, make.root(nodes), n + 1, START + n * HOUR)


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Six, Page]]:
    found = Six(new_vault(MemoryStore()))
    with page_of(opened_as(tmp_path_factory.mktemp("history"), found.maker.vault)) as page:
        page.enter()
        yield found, page


def of(page: Page, path: bytes) -> Any:
    return page.get("/versions", machine=MACHINE.hex(), item=ITEM.hex(), at=path64(path))


def test_versions_of_a_file(six: tuple[Six, Page]) -> None:
    found, page = six
    answer = of(page, b"/a.txt")
    assert answer["path"] == "/a.txt" and answer["points_total"] == 6 and answer["missing"] == 1
    one, two = answer["rows"]
    ids = found.ids
    assert (one["point"], one["last_point"], one["points"], one["gap_before"]) == (ids[0], ids[3], 2, False)
    assert (two["point"], two["last_point"], two["points"], two["gap_before"]) == (ids[2], ids[5], 3, True)
    assert one["kind"] == "file" and one["size"] == len(ONE) and one["from"] < two["from"] < one["to"] < two["to"]
    assert answer["problems"] == [] and answer["left_out"] == 0


def test_versions_of_folders_links_and_names_that_are_no_text(six: tuple[Six, Page]) -> None:
    found, page = six
    rows = of(page, b"/folder")["rows"]
    assert [(row["kind"], row["points"], row["size"]) for row in rows] == [("folder", 3, 4), ("folder", 3, 7)]
    assert [row["point"] for row in of(page, b"/folder/new")["rows"]] == [found.ids[3]]
    root = of(page, b"/")
    assert len(root["rows"]) == 6 and root["path"] == "/" and root["missing"] == 0
    assert [row["kind"] for row in of(page, b"/link")["rows"]] == ["symlink"] * 6
    raw = of(page, b"/\xff")
    assert raw["path"] == "/\ufffd" and raw["name_bytes"] == "L/8=" and len(raw["rows"]) == 6
    assert len(of(page, b"/pieces")["rows"]) == 2  # cut otherwise: no content is read to see that it is the same
    nowhere = of(page, b"/nowhere")
    assert nowhere["rows"] == [] and nowhere["missing"] == 6


def test_differences_of_texts(six: tuple[Six, Page]) -> None:
    found, page = six

    def diff(before: int, after: int, path: bytes) -> Any:
        return page.get("/diff", before=found.ids[before], after=found.ids[after], at=path64(path))

    changed = diff(0, 2, b"/a.txt")
    assert [(line["op"], line.get("a"), line.get("b"), line["text"]) for line in changed["lines"]] == [
        (" ", 1, 1, "first"), ("-", 2, None, "second"), ("+", None, 2, "another"),
    ]  # fmt: skip
    assert not (changed["same"] or changed["binary"] or changed["too_large"])
    assert diff(0, 3, b"/a.txt")["same"] and diff(2, 2, b"/a.txt")["same"]
    assert diff(0, 1, b"/pieces")["same"]
    assert diff(0, 1, b"/binary") == diff(0, 1, b"/binary") | {"binary": True, "same": False, "lines": []}
    assert diff(0, 1, b"/large") == diff(0, 1, b"/large") | {"too_large": True, "lines": []}
    latin = diff(0, 1, b"/latin")
    assert latin["encodings"] == ["latin-1", "latin-1"] and latin["lines"][0]["text"] == "café 0"
    assert diff(0, 1, b"/\xff")["lines"][1]["text"] == "raw 1"


def test_same_contents_are_not_read_and_a_difference_reads_only_its_two_files(tmp_path_factory: Any) -> None:
    remote = Remote()
    found = Six(remote.vault)
    with page_of(opened_as(tmp_path_factory.mktemp("spent"), remote.vault)) as page:
        for before, after, path, requests in ((0, 3, b"/a.txt", 0), (0, 2, b"/a.txt", 2), (0, 1, b"/large", 0)):
            known = {"before": found.ids[before], "after": found.ids[after]}
            for point in known.values():
                page.get(f"/points/{point}/entry", at=path64(path))  # the way is read
            start = remote.meter.snapshot()
            page.get("/diff", **known, at=path64(path))
            assert remote.spent(start).requests == requests


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/versions", {}, 400),
        ("/versions", {"machine": MACHINE.hex()}, 400),
        ("/versions", {"item": ITEM.hex()}, 400),
        ("/versions", {"machine": "x", "item": ITEM.hex()}, 404),
        ("/versions", {"machine": MACHINE.hex(), "item": "../"}, 404),
        ("/versions", {"machine": MACHINE.hex(), "item": ITEM.hex(), "at": "!"}, 400),
        ("/versions", {"machine": MACHINE.hex(), "item": ITEM.hex(), "at": path64(b"/a/../b")}, 400),
        ("/versions", {"machine": MACHINE.hex(), "item": ITEM.hex(), "at": path64(b"/a//b")}, 400),
        ("/versions", {"machine": MACHINE.hex(), "item": ITEM.hex(), "n": "3"}, 400),
        ("/diff", {}, 404), ("/diff", {"before": NOWHERE, "after": NOWHERE}, 404),
        ("/diff", {"before": "?", "after": "?", "at": "L2E"}, 404), ("/diff", {"before": NOWHERE, "at": "%"}, 400),
        ("/compare", {}, 404), ("/compare", {"before": NOWHERE, "after": NOWHERE}, 404),
        ("/compare", {"before": "0", "after": "1", "at": "="}, 400),
        ("/compare", {"before": "0", "after": "1", "cursor": "-1"}, 400),
        ("/compare", {"before": "0", "after": "1", "cursor": "x"}, 400),
        ("/compare", {"before": "0", "after": "1", "count": "501"}, 400),
    ],
)  # fmt: skip
def test_what_is_refused(six: tuple[Six, Page], path: str, query: dict[str, str], status: int) -> None:
    answer = six[1].api("GET", path, **query)
    assert answer.status == status and set(answer.json) == {"kind", "message", "advice"}, answer


def test_a_path_that_is_no_file_has_no_lines(six: tuple[Six, Page]) -> None:
    found, page = six
    for path in (b"/", b"/folder", b"/link", b"/nowhere", b"/a.txt/b"):
        answer = page.api("GET", "/diff", before=found.ids[0], after=found.ids[2], at=path64(path))
        assert answer.status == 404 and answer.json["kind"] == "NotFound", path


# --- what it costs ------------------------------------------------------------------------------------------


def way(vault: Vault, points: list[Point], path: bytes) -> set[tuple[bytes, int]]:
    """The blocks on the way to a path in all points."""

    class Noting(DirectSource):
        def chunk(self, at: Extent) -> Any:
            blocks.add((at.pack, at.offset))
            return super().chunk(at)

    blocks: set[tuple[bytes, int]] = set()
    for point in points:
        follow(Noting(vault), root_strands([point]), path)
    return blocks


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.soak)])
def test_versions_read_each_page_of_the_way_once(tmp_path_factory: Any, count: int) -> None:
    remote = Remote()
    many = ManyPoints(remote.vault, folders=20, each=20)
    for n in range(count):
        many.commit(2 if n else 0)
    expected = way(remote.vault, many.points, many.path(3, 7))
    opened = opened_as(tmp_path_factory.mktemp("versions"), remote.opened())
    try:
        start = remote.meter.snapshot()
        found = versions(opened, MACHINE.hex(), ITEM.hex(), many.path(3, 7))
        spent = remote.spent(start)
        # The lists of machines, points and ledgers; the machine's record, those of the points; the way's blocks.
        assert spent.list.requests <= 4
        assert spent.requests - spent.list.requests == 1 + count + len(expected)
        assert sum(row.points for row in found.rows) == count and found.missing == 0
        start = remote.meter.snapshot()
        versions(opened, MACHINE.hex(), ITEM.hex(), many.path(3, 8))
        assert remote.spent(start).requests <= 10  # the records are known, and all blocks are kept
    finally:
        opened.close()
