"""The memory of a restore is bounded: it does not grow with files, folders, links or what a dry run lists."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.errors import LocalError
from catalog.format.packs import Extent
from catalog.format.values import NodeKind, OutOfLine, Owner
from catalog.store.memory import MemoryStore
from mount.restore import contents, folder_table, plan, spool, writer
from mount.restore.disk.attributes import Attributes
from mount.restore.file_plan import FilePlan
from mount.restore.folder import Folder, Identity
from mount.restore.folder_table import FolderTable
from mount.restore.link_table import LinkTable
from mount.restore.plan import Plan
from mount.restore.report import OTHER, REASONS, Report
from mount.restore.spool import Bits, Numbers, Spool
from tests.kit.drives import Maker, noise
from tests.kit.restore_memory import peak
from tests.kit.restoring import a_point, restore
from tests.kit.vaultmaker import open_empty

NOWHERE = open_empty(MemoryStore()).places  # no block was ever moved
OWNER = Owner(1000, 1000, "someone", "people")


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["dry"], ["linked"], ["flat"], ["wide"]], ids=str)
def test_memory_does_not_grow(options: list[str]) -> None:
    """From 10,000 to 100,000 files, with little of anything in memory: before, by 800 bytes a file (dry: 196)."""
    less, more = (peak(files, "small", *options) for files in (10_000, 100_000))
    assert (more - less) * 1024 / 90_000 < 200


@pytest.mark.soak
@pytest.mark.parametrize("options", [[], ["wide"], ["linked"], ["dry"], ["led"], ["led", "wide"]], ids=str)
def test_the_curve(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for files in (10_000, 100_000, 1_000_000, 10_000_000):
        found = peak(files, *options) / 1000
        with capsys.disabled():
            print(f"\nrestore of {files:>10,} files {options}: peak {found:.0f} MB", end="", flush=True)
        assert found < 200


# --- spools -------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300)), st.integers(1, 400))
def test_records_come_back(records: list[bytes], at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(spool, "_BUFFER", 256)  # some are in the file, some in memory, some in both
        made = Spool()
        places = [made.append(record) for record in records]
        for place, record in zip(places, records, strict=True):
            assert made.read(place) == record
        assert list(made.records(at_once=at_once)) == records
        ends = [*places, made.end][1:]
        for n, (start, end) in enumerate(zip(places, ends, strict=True)):
            assert list(made.records(start, end)) == [records[n]]
        made.close()


def test_appending_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_BUFFER", 100)
    made = Spool()
    for n in range(50):
        made.append(b"%d" % n)
    found = []
    for record in made.records(at_once=10):
        found.append(int(record))
        made.append(b"later")
    assert found == list(range(50))
    made.close()


def test_a_full_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_BUFFER", 1)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(LocalError, match=r"cannot write to the temporary folder .*missing") as caught:
        Spool().append(b"x")
    assert "TMPDIR" in caught.value.advice


@settings(deadline=None)
@given(st.lists(st.integers(0, 100_000)))
def test_bits(numbers: list[int]) -> None:
    bits, known = Bits(), set[int]()
    for number in numbers:
        assert (number in bits) == (number in known)
        assert bits.add(number) == (number not in known)
        known.add(number)
    assert all(n in bits for n in known) and 10**9 not in bits


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 2**31), st.integers(0, 2**60)))
def test_numbers(wanted: dict[int, int]) -> None:
    numbers = Numbers()
    for key, value in wanted.items():
        assert numbers.get(key) is None
        numbers[key] = value
    assert {key: numbers.get(key) for key in wanted} == wanted


# --- tables -------------------------------------------------------------------------------------------------------


def attributes(**fields: Any) -> Attributes:
    return Attributes(int(NodeKind.FILE), 0o640, OWNER, 5, None)._replace(**fields)


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hardly anything stays in memory."""
    monkeypatch.setattr(spool, "_BUFFER", 64)
    monkeypatch.setattr(folder_table, "_RECENT", 2)
    yield


def test_folders_come_back(little: None) -> None:
    root = Folder(0, None, b"")
    table, made = FolderTable(root), [root]
    for n in range(1, 60):
        folder = table.add(made[n // 2], b"%d" % n)
        folder.exists, folder.fresh, folder.plain = bool(n & 1), bool(n & 2), bool(n & 4)
        folder.identity = Identity(n, 2**63 + n) if n % 3 else None
        xattrs = {b"user.x": b"y", b"z": OutOfLine(Extent(bytes(16), n, 2, 3, 4, bytes(16)))}
        folder.attributes = attributes(kind=1, mtime=-n, xattrs=xattrs if n % 5 else None) if n % 7 else None
        made.append(folder)
        table.settle(folder)
    assert len(table) == 60

    def seen(f: Folder) -> list[object]:
        return [f.number, f.path(b"x"), f.exists, f.fresh, f.plain, f.identity, f.attributes]

    for number in [*range(60), 17, 59, 1, 0]:
        assert seen(table.get(number)) == seen(made[number])
    assert [f.number for f in table.backwards()] == list(range(59, -1, -1))
    table.close()


def test_a_deep_folder_comes_back(little: None) -> None:
    table = FolderTable(Folder(0, None, b""))
    deep = table.root
    for _ in range(5_000):
        deep = table.add(deep, b"d")
    for number in range(1, len(table)):
        table.settle(table.get(number))
    assert table.get(5_000).path().count(b"/") == 4_999


def test_links_come_back(little: None) -> None:
    table = FolderTable(Folder(0, None, b""))
    links = LinkTable(table)

    def name(number: int, link: int) -> FilePlan:
        return FilePlan(number, table.root, b"n%d" % number, b"f%d" % number, 7, attributes(), False, link, 3)

    assert links.place(b"item", 5) is None
    for link in (5, 2**31 - 1):
        links.add_first(b"item", name(link, link))
    for further in range(20):
        place = links.place(b"item", 5 if further % 2 else 2**31 - 1)
        assert place is not None
        links.add_further(place, name(further, 5 if further % 2 else 2**31 - 1))
    pairs = list(links.pairs())
    assert [(p.first.number, p.file.number, p.file.name) for p in pairs] == [
        (5 if n % 2 else 2**31 - 1, n, b"n%d" % n) for n in range(20)
    ]
    assert list(links.pairs()) == [] and links.place(b"other", 5) is None
    links.close()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, 5), st.integers(0, 3)), max_size=120),
    st.integers(1, 20_000),
)
def test_a_plan_is_the_same_in_memory_and_not(pieces: list[tuple[int, int, int, int]], limit: int) -> None:
    """Rows and ranges, in order, however many runs there are."""
    table = FolderTable(Folder(0, None, b""))
    plans = [Plan(table, NOWHERE), Plan(table, NOWHERE, limit)]
    for made in plans:
        for number, (pack, block, inner, xattrs) in enumerate(pieces):
            a = attributes(xattrs={b"user.%d" % n: bytes(700) for n in range(xattrs)} or None)
            file = FilePlan(number, table.root, b"n%d" % number, b"n", 9, a, False, 0, 3)
            place = Extent(bytes([pack]) * 16, block * 300_000, 200_000, inner, 9, bytes(16))
            made.add(file, [(0, place), (9, place)])

    def rows(made: Plan) -> list[tuple[object, ...]]:
        return [(*row[:8], row.file.name, row.file.attributes) for row in made.rows()]

    assert rows(plans[0]) == rows(plans[1]) == sorted(rows(plans[0]), key=lambda row: row[:8])
    ranges = [list(made.ranges()) for made in plans]
    assert ranges[0] == ranges[1]
    assert rows(plans[1]) == rows(plans[0]), "the rows can be read again"
    assert all(r.end - r.start <= plan.MOST for r in plans[1].ranges())
    for made in plans:
        made.close()


def test_gaps_and_lengths_of_ranges() -> None:
    table = FolderTable(Folder(0, None, b""))
    made = Plan(table, NOWHERE)
    file = FilePlan(1, table.root, b"n", b"n", 9, attributes(), False, 0, 3)
    mib = 1 << 20
    places = [
        (0, mib),
        (mib, mib),
        (2 * mib + 40_000, mib),
        (9 * mib, mib),
        *((n * mib, mib) for n in range(20, 45)),
    ]
    made.add(file, [(n, Extent(bytes(16), at, length, 0, 9, bytes(16))) for n, (at, length) in enumerate(places)])
    assert [(r.holder, r.start, r.end, len(r.blocks)) for r in made.ranges()] == [
        (bytes(16), 0, 3 * mib + 40_000, 3), (bytes(16), 9 * mib, 10 * mib, 1),
        (bytes(16), 20 * mib, 38 * mib, 18), (bytes(16), 38 * mib, 45 * mib, 7),
    ]  # fmt: skip
    assert list(Plan(table, NOWHERE).ranges()) == []


# --- whole restores with hardly anything in memory ----------------------------------------------------------------


@pytest.mark.parametrize("verify", [False, True])
def test_a_restore_with_little_memory(
    little: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: bool
) -> None:
    monkeypatch.setattr(Plan.__init__, "__defaults__", (500,))
    monkeypatch.setattr(writer, "ROWS", 2)
    monkeypatch.setattr(writer, "_AT_ONCE", 2)
    monkeypatch.setattr(writer, "BUDGET", 1)
    monkeypatch.setattr(contents, "_KEPT", 1)
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    shared = maker.data.block([b"one", b"two", b"three"])
    maker.data.finish()
    names = [maker.node(b"f%02d" % n, size=len(x), content=[x], link=n % 4, nlink=9)
             for n in range(30) for x in [shared[0 if n % 4 else n % 3]]]  # fmt: skip
    parts = [noise(1000, n) for n in range(40)]
    paged = maker.trees.pieces([maker.data.block([part])[0] for part in parts])
    maker.data.finish()
    nodes = [
        maker.folder(b"d%d" % n, [maker.file(b"x", b"%d" % n), maker.folder(b"e", [maker.file(b"y", b"y")])])
        for n in range(12)
    ]
    large = maker.node(b"large", size=40_000, content=paged)
    root = maker.root([*names, *nodes, maker.file(b"empty"), maker.file(b"hole", 5000), large])
    report = restore(vault, a_point(root), tmp_path, permissions=False, verify=verify)
    assert report.problems == []
    for n in range(30):
        assert (tmp_path / f"f{n:02d}").read_bytes() == (b"one" if n % 4 else [b"one", b"two", b"three"][n % 3])
        assert (tmp_path / f"f{n:02d}").samefile(tmp_path / f"f{n % 4:02d}") == (n % 4 > 0 or n == 0)
    assert (tmp_path / "large").read_bytes() == b"".join(parts)
    for n in range(12):
        assert (tmp_path / f"d{n}" / "x").read_bytes() == b"%d" % n and (tmp_path / f"d{n}/e/y").exists()
        assert (tmp_path / f"d{n}").stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert os.listdir(tmp_path).count("hole") == 1
    if verify:
        # All that were written with data: names that are only linked are not read again.
        assert report.verified == 8 + 3 + 24 + 1


def test_different_reasons_are_bounded() -> None:
    report = Report()
    for n in range(REASONS + 50):
        report.problem(b"x", f"reason {n}")
    assert len(report.reasons) == REASONS + 1 and report.reasons[OTHER] == 50
    assert report.problem_count == REASONS + 50
