"""A folder's table: its orders, filter and ranks are those of plain sorting, whatever the names are."""

from __future__ import annotations

import unicodedata

import pytest

from catalog.format.nodes import Node
from catalog.format.values import NodeKind
from catalog.format.windows import Windows
from catalog.tree import leaves
from mount.browse.resources import table as table_module
from mount.browse.resources.table import KIND, NAME, ORDERS, SIZE, TIME, Table, folded, natural_key
from tests.browse.find.pages import Pages, folder_of, many, node


def table_of(nodes: list[Node]) -> Table:
    pages, table = Pages(), Table()
    for page in leaves(pages, pages.folder(nodes), 0):
        table.add(page.leaf, page.first_number)
    assert table.count == len(nodes)
    return table


def names(table: Table, by: str = NAME, *, descending: bool = False, only: str = "") -> list[bytes]:
    return [table.name(n) for n in table.order(by, descending=descending, only=only)]


def test_few_names_are_in_natural_order_folders_first() -> None:
    given = [b"b10", b"B9", b"b1", b"a", b"\xffz", b"B09", "É".encode(), b".hidden", b"1" * 5000, b"2"]
    table = table_of([node(name) for name in given] + [folder_of(b"zz"), folder_of(b"Z 2"), folder_of(b"z 10")])
    assert table.natural
    expected = [b"Z 2", b"z 10", b"zz", b"2", b"1" * 5000, b".hidden", b"a", b"b1", b"B09", b"B9", b"b10"]
    assert names(table)[:-2] == expected
    assert set(names(table)[-2:]) == {"É".encode(), b"\xffz"}
    down = names(table, descending=True)
    assert down[:3] == [b"zz", b"z 10", b"Z 2"]
    assert down[3:] == names(table)[3:][::-1]


def test_many_names_are_in_the_order_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "NATURAL", 500)
    nodes = many(600)
    table = table_of(nodes)
    assert not table.natural
    assert names(table) == sorted(n.name for n in nodes)
    assert names(table, descending=True) == sorted((n.name for n in nodes), reverse=True)


@pytest.mark.parametrize("natural", [True, False])
def test_every_order_is_that_of_plain_sorting(natural: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "NATURAL", 1000 if natural else 10)
    nodes = many(700, seed=3)
    table = table_of(nodes)
    sizes = {n.name: table.row(i).size for i, n in enumerate(nodes)}
    start = sorted(nodes, key=lambda n: (natural_key(n.name), n.name) if natural else n.name)
    for down in (False, True):
        by_size = sorted(start, key=lambda n: sizes[n.name], reverse=down)
        assert names(table, SIZE, descending=down) == [n.name for n in by_size]
        by_time = sorted(start, key=lambda n: n.mtime, reverse=down)
        assert names(table, TIME, descending=down) == [n.name for n in by_time]
        kinds = [table.row(n).kind for n in table.order(KIND, descending=down)]
        assert kinds == sorted(kinds, key=["folder", "file"].index, reverse=down)


def test_rows_have_what_was_saved() -> None:
    hidden = Windows(attributes=2)
    table = table_of([
        folder_of(b"docs", 7, 5, 12_345),
        folder_of(b"empty"),
        node(b"link", NodeKind.SYMLINK, size=5, content=b"/x/\xff"),
        node(b"other", NodeKind.SYMLINK, size=1, content=b"y"),
        node(b"pipe", NodeKind.FIFO),
        node(b"seen", windows=hidden),
        node(b"strange", mtime=2**63, size=2**63 - 1),
        node(b"tty", NodeKind.CHAR_DEVICE, content=(4, 1)),
        node(b"unknown", 9),
        node(b".x", mtime=-(2**63)),
    ])  # fmt: skip
    rows = {row.name: row for row in (table.row(n) for n in range(table.count))}
    assert rows[b"docs"][2:6] == ("folder", 12_345, 1, 5)
    assert rows[b"empty"].kind == "folder"
    assert rows[b"link"].target == b"/x/\xff"
    assert rows[b"other"].target == b"y"
    assert [rows[name].kind for name in (b"pipe", b"tty", b"unknown")] == ["fifo", "char_device", "malformed"]
    assert [name for name, row in rows.items() if row.hidden] == [b".x", b"seen"]
    assert (rows[b"strange"].size, rows[b"strange"].time) == (2**63 - 1, 2**63 - 1)
    assert rows[b"empty"].number == rows[b"docs"].number + 8  # 7 entries are below it
    assert table.index(b"pipe") == 5
    assert table.index(b"none") is None


def test_the_filter_is_a_part_of_the_name_or_a_glob_whatever_the_case() -> None:
    decomposed = unicodedata.normalize("NFD", "Café.TXT").encode()
    given = [b"Report [1].PDF", b"report 2.pdf", decomposed, b"\xffreport", b"STRASSE", "größe".encode()]
    table = table_of([node(name) for name in given])
    assert set(names(table, only="REPORT")) == {given[0], given[1], given[3]}
    assert names(table, only="[1]") == [given[0]]
    assert names(table, only="café") == [decomposed]
    assert names(table, only="straße") == [b"STRASSE"]
    assert set(names(table, only="*.pdf")) == {given[0], given[1]}
    assert names(table, only="report ?.pdf") == [given[1]]
    assert names(table, only="GRÖ*") == ["größe".encode()]
    assert names(table, only="/") == []
    assert names(table, only="*[z-a]*") == []
    assert names(table, only="\udcff") == [given[3]]


@pytest.mark.parametrize("natural", [True, False])
@pytest.mark.parametrize("down", [False, True])
def test_a_rank_is_the_first_row_that_begins_so(natural: bool, down: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "NATURAL", 1000 if natural else 10)
    table = table_of(many(700, seed=5))
    for by in ORDERS:
        for only in ("", "7"):
            order = table.order(by, descending=down, only=only)
            listed = [folded(table.name(n).decode(errors="surrogateescape")) for n in order]
            for prefix in ("f", "FILE-0", "é", "r"):
                place, found = table.rank(order, prefix, by, descending=down)
                assert found
                assert listed[place].startswith(folded(prefix))
                if natural:
                    assert not any(name.startswith(folded(prefix)) for name in listed[:place])
            place, found = table.rank(order, "g", by, descending=down)
            assert not found
            assert 0 <= place < len(order)


def test_a_rank_without_a_name_is_where_it_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in (1000, 1):
        monkeypatch.setattr(table_module, "NATURAL", limit)
        table = table_of([node(name) for name in (b"a", b"c", b"e")])
        order = table.order()
        assert [table.rank(order, x) for x in "bdz"] == [(1, False), (2, False), (2, False)]
        order = table.order(descending=True)
        assert [table.rank(order, x, descending=True) for x in "bdz"] == [(2, False), (1, False), (0, False)]
    assert Table().rank(Table().order(), "x") == (0, False)


def test_where_bytes_rule_the_same_case_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "NATURAL", 1)
    table = table_of([node(name) for name in (b"README", b"Zoo", b"readme")])
    assert table.rank(table.order(), "r") == (2, True)
    assert table.rank(table.order(), "R") == (0, True)
    assert table.rank(table.order(), "z") == (1, True)


def test_an_entry_takes_few_bytes() -> None:
    nodes = [node(b"a name of twenty-six%06d" % n) for n in range(5000)]
    table = table_of(nodes)
    assert table.memory < 5000 * 65
    for by in ORDERS:
        for down in (False, True):
            table.order(by, descending=down)
    assert table.memory < 5000 * (65 + 4 * 4)  # four orders are kept
