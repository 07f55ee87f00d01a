"""A target to which names are equal that differ in case: both entries land, and later restores find them again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.format.nodes import Node
from catalog.format.records import Point
from catalog.format.values import NodeKind
from catalog.names import apart
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from mount.restore.conflict import Policy
from mount.restore.disk.limits import HARD_LINKS, MODES, OWNERS, SYMLINKS, XATTRS
from mount.restore.report import Report
from mount.restore.selection import Selection
from tests.kit.drives import Maker
from tests.kit.exfat import PROGRAMS, exfat
from tests.kit.restoring import a_point, restore, temporaries
from tests.kit.vaultmaker import open_empty

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_fuse, pytest.mark.needs_program(*PROGRAMS)]

MTIME = 1_600_000_000_000_000_000  # a whole second, which exFAT can keep
FILES = {b"README": b"upper", b"readme": b"lower", b"ReadMe": b"mixed", b"Makefile": b"1", b"makefile": b"22"}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with exfat(tmp_path_factory.mktemp("exfat")) as mounted:
        yield mounted


@pytest.fixture
def to(disk: Path, request: pytest.FixtureRequest) -> Path:
    return disk / str(request.node.name)


@pytest.fixture(scope="module")
def made() -> tuple[Vault, Point]:
    """A point of FILES in /d; all have one size and time or another, so that these don't tell them apart."""
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    return vault, a_point(maker.root([maker.folder(b"d", files(maker), mtime=MTIME)]))


def files(maker: Maker) -> list[Node]:
    return [maker.file(name, text, mtime=MTIME) for name, text in FILES.items()]


def put_back(made: tuple[Vault, Point], to: Path, *paths: bytes, **options: Any) -> Report:
    report = restore(*made, to, *paths, **({"permissions": False} | options))
    assert report.problem_count == 0, report.problems
    assert temporaries(to) == []
    return report


def contents(folder: Path) -> dict[bytes, bytes]:
    return {os.fsencode(path.name): path.read_bytes() for path in folder.iterdir()}


def changed(name: bytes) -> bytes:
    return apart(name, "Linux")


def test_all_land_and_the_changed_names_are_listed(made: tuple[Vault, Point], to: Path) -> None:
    report = put_back(made, to, b"d", policy=Policy.OVERWRITE)
    assert report.written == len(FILES) and report.renamed_count == 3
    found = contents(to / "d")
    assert sorted(found.values()) == sorted(FILES.values())
    renames = {os.path.basename(r.path): r.name for r in report.renames}
    assert renames == {changed(name): name for name in renames.values()}
    assert {renames.get(name, name): text for name, text in found.items()} == FILES


@pytest.mark.parametrize("policy", list(Policy))
def test_a_later_restore_finds_them(made: tuple[Vault, Point], to: Path, policy: Policy) -> None:
    put_back(made, to, b"d")
    found = contents(to / "d")
    report = put_back(made, to, b"d", policy=policy)
    assert (report.written, report.same, report.renamed_count) == (0, len(FILES), 3)
    for name in FILES:  # each alone
        report = put_back(made, to / "d", b"d/" + name, policy=policy, verify=True)
        assert (report.written, report.same) == (0, 1), name
        report = put_back(made, to, selection=Selection(["/d/" + name.decode()]), policy=policy)
        assert (report.written, report.same) == (0, 1), name
    assert contents(to / "d") == found


def test_one_that_was_chosen_alone_has_its_own_name_and_keeps_it(made: tuple[Vault, Point], to: Path) -> None:
    put_back(made, to, selection=Selection(["/d/readme"]))
    assert contents(to / "d") == {b"readme": b"lower"}
    put_back(made, to, b"d", policy=Policy.OVERWRITE)
    found = contents(to / "d")
    assert found[b"readme"] == b"lower" and found[changed(b"README")] == b"upper"
    assert sorted(found.values()) == sorted(FILES.values())


def test_rules_for_conflicts_mean_what_they_did(made: tuple[Vault, Point], to: Path) -> None:
    """A file of the user's own, in a spelling that the point does not have."""
    mine = to / "d/rEADME"
    for policy, left in ((Policy.SKIP, b"mine"), (Policy.COPY, b"mine"), (Policy.OVERWRITE, b"upper")):
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_bytes(b"mine")
        report = put_back(made, to, selection=Selection(["/d/README"]), policy=policy)
        assert (report.kept, report.copies, report.replaced) == tuple(
            int(policy is p) for p in (Policy.SKIP, Policy.COPY, Policy.OVERWRITE)
        )
        assert mine.read_bytes() == left
        assert put_back(made, to, selection=Selection(["/d/README"]), policy=policy).written == 0
    report = put_back(made, to, b"d", policy=Policy.OVERWRITE)
    assert set(FILES.values()) <= set(contents(to / "d").values())


def test_folders_links_and_what_a_target_can_not_keep(to: Path) -> None:
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    xattrs = {b"user.colour": b"red"}
    inner = [maker.file(name, b"in it", mtime=MTIME, xattrs=xattrs) for name in (b"a", b"b")]
    nodes = [
        maker.folder(b"Src", inner), maker.folder(b"src", [maker.file(b"A", b"other", mtime=MTIME)]),
        maker.node(b"to a", NodeKind.SYMLINK, content=b"a", mode=0o777),
        maker.node(b"to b", NodeKind.SYMLINK, content=b"b", mode=0o777),
    ]  # fmt: skip
    point = a_point(maker.root(nodes))
    report = restore(vault, point, to)
    assert contents(to / "Src") == {b"a": b"in it", b"b": b"in it"}
    assert contents(to / os.fsdecode(changed(b"src"))) == {b"A": b"other"}
    assert report.limits == {SYMLINKS: 2, OWNERS: 5, XATTRS: 2, MODES: 5}
    assert not report.reasons and report.problem_count == 4 and report.lost == 2
    assert restore(vault, point, to, policy=Policy.OVERWRITE).renamed_count == 1
    assert len(list(to.iterdir())) == 2


def test_further_names_of_a_file_are_copies_where_there_are_no_links(to: Path) -> None:
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    first = maker.file(b"One", b"begin", 1 << 20, b"end", mtime=MTIME, link=1, nlink=4)
    names = [
        maker.node(name, size=first.size, content=first.content, mtime=MTIME, link=1, nlink=4)
        for name in (b"Two", b"one", b"two")
    ]
    point = a_point(maker.root([first, *names]))
    text = b"begin" + bytes(1 << 20) + b"end"
    for policy, written in ((Policy.COPY, 4), (Policy.OVERWRITE, 0), (Policy.SKIP, 0)):
        report = restore(vault, point, to, permissions=False, policy=policy)
        assert report.written == written and report.renamed_count == 2
        assert report.limits == ({HARD_LINKS: 3} if written else {}) and not report.reasons
        assert contents(to) == {b"One": text, b"Two": text, changed(b"one"): text, changed(b"two"): text}
        assert temporaries(to) == []


@pytest.mark.soak
def test_ten_thousand_names_with_a_hundred_pairs(tmp_path: Path) -> None:
    """Written by helper processes, too; and with the requests that a target with case takes."""
    store = MeteredStore(MemoryStore())
    vault = open_empty(store)
    names = {b"name %05d" % n: b"small %d" % n for n in range(9_900)}
    names |= {b"NAME %05d" % (97 * n): b"capital %d" % n for n in range(100)}
    maker = Maker(vault)
    places = maker.data.blocks([names[name] for name in sorted(names)], 8_000)
    maker.data.finish()
    nodes = [
        maker.node(name, size=at.length, content=[at], mtime=MTIME)
        for name, at in zip(sorted(names), places, strict=True)
    ]
    point = a_point(maker.root(nodes))
    counts = []
    with exfat(tmp_path, 256 << 20) as disk:
        for to in (tmp_path / "other", disk / "to"):
            for written in (10_000, 0):
                before = store.snapshot()
                report = put_back((vault, point), to, policy=Policy.OVERWRITE)
                counts.append((store.snapshot() - before).requests)
                assert (report.written, report.same) == (written, 10_000 - written)
                assert report.renamed_count == (100 if to.parent == disk else 0)
            assert sorted(contents(to).values()) == sorted(names.values())
    assert counts[:2] == counts[2:], counts
