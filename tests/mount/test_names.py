"""Names of one system on another: spelled apart, read back, found in folders of any size, and restored."""

from __future__ import annotations

import json
import ntpath
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cache.reader import Reader
from catalog.direct import DirectSource
from catalog.errors import NotFound
from catalog.format.packs import Extent
from catalog.format.pages import Leaf
from catalog.format.records import Machine, Point, Root
from catalog.format.values import Subtree
from catalog.history.search import pattern
from catalog.history.versions import versions
from catalog.names import (
    LIMIT,
    MARK,
    WINDOWS,
    apart,
    are_distinct,
    folded,
    marked,
    meant,
    shown,
    shows_as,
    spelling,
    true_name,
)
from catalog.points.choice import find as find_place
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from mount.restore.conflict import Policy
from mount.view.all_points import AllPointsView
from mount.view.names import Names, find
from mount.view.nodes import Attributes, EntryPage, Folder, Node
from mount.view.point import PointView
from tests.kit.backing import back_up
from tests.kit.drives import ITEM, MACHINE, Home, Maker, add_machine, add_point
from tests.kit.restoring import a_point, restore
from tests.kit.vaults import make_vault, new_vault

# What a name may hold: any bytes but these; most of what is drawn is what Windows has trouble with.
TROUBLE = [
    b"a", b"A", b".", b" ", b":", b"*", b"\\", b"|", b"\x01", b"\x7f", b"\xff", b"\xc3", b"\xed\xa0\x80",
    b"CON", b"nul", b"com1", "lpt¹".encode(), b"CONIN$", b"aux.txt", "é".encode(), "e\u0301".encode(), "ß".encode(),
    "\uf000".encode(), "\uf03a".encode(), "\uf02e".encode(), "\uf0ff".encode(), "\uf06e".encode(),
    "\U0001f600".encode(), "İ".encode(), "ſ".encode(), "Ω".encode(), "\u212b".encode(), "日本".encode() * 40,
    b"x" * 120,
]  # fmt: skip
names = st.one_of(
    st.lists(st.sampled_from(TROUBLE), min_size=1, max_size=6).map(b"".join),
    st.text(max_size=40).map(lambda text: text.encode(errors="ignore")),
    st.binary(max_size=300),
).filter(lambda name: name not in (b"", b".", b"..") and not {0, 47} & set(name))
few = settings(max_examples=60, deadline=None)


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def is_allowed(text: str) -> bool:
    """Whether Windows takes a name, by what its documents say of names, beside what `shown` is made of."""
    stem = re.split(r"\.", text)[0].rstrip(" ").upper()
    return (
        0 < units(text) <= 255
        and re.search(r'[\x00-\x1f"*/:<>?\\|]', text) is None
        and text[-1] not in ". "
        and re.fullmatch(r"CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9\xb9\xb2\xb3]", stem) is None
        and not any("\ud800" <= c <= "\udfff" for c in text)
    )


# --- spelling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"report.txt", "report.txt"),
        ("Übung é 日本 😀".encode(), "Übung é 日本 😀"),
        (b"a:b", "a\uf03ab"),
        (b'"*:<>?\\|', "\uf022\uf02a\uf03a\uf03c\uf03e\uf03f\uf05c\uf07c"),
        (b"tab\tnewline\n", "tab\uf009newline\uf00a"),
        (b"delete\x7f", "delete\x7f"),
        (b"end.", "end\uf02e"),
        (b"end. .", "end\uf02e\uf020\uf02e"),
        (b" .begin", " .begin"),
        (b"\xff\xfe", "\uf0ff\uf0fe"),
        (b"\xed\xa0\x80", "\uf0ed\uf0a0\uf080"),  # a lone surrogate, as CESU has it
        (b"CON", "CO\uf04e"),
        (b"con.tar.gz", "co\uf06e.tar.gz"),
        (b"Nul .txt", "Nu\uf06c .txt"),
        (b"COM1", "COM\uf031"),
        ("com¹.x".encode(), "com\uf0c2\uf0b9.x"),
        (b"conout$", "conout\uf024"),
        (b"CON1", "CON1"),
        (b"xCON", "xCON"),
        (b"COM10", "COM10"),
        ("\uf03a".encode(), "\uf0ef\uf080\uf0ba"),  # a character that is there already is spelled by its bytes
        ("\uf100".encode(), "\uf100"),
    ],
)
def test_what_becomes_what(name: bytes, text: str) -> None:
    assert shown(name) == text
    assert true_name(text) == name


@settings(max_examples=600, deadline=None)
@given(names)
@example(b"\xef\x80\x80")
@example(b"x" * 255)
@example(b"\xff" * 256)
def test_a_spelling_is_allowed_and_read_back(name: bytes) -> None:
    for native in (False, True):
        text = shown(name, native=native)
        assert 0 < units(text) <= LIMIT and not any("\ud800" <= c <= "\udfff" for c in text)
        assert true_name(text, native=native) == (None if MARK in text else name)
        assert native or is_allowed(text)
    assert is_allowed(marked(name)) and MARK in marked(name)
    if len(name) <= 255:
        assert MARK not in shown(name)  # whatever Linux can hold is read back from its spelling alone


@settings(max_examples=300, deadline=None)
@given(st.text(min_size=1, max_size=40))
def test_a_text_that_is_no_spelling_means_nothing(text: str) -> None:
    for native in (False, True):
        name = true_name(text, native=native)
        assert name is None or shown(name, native=native) == text


@few
@given(st.sets(names, max_size=40))
def test_no_two_names_are_spelled_alike(chosen: set[bytes]) -> None:
    spelled = {n.replace(b"\xff", t.encode()) for n in chosen for t in ("\uf0ff", "\uf03a")} | chosen
    spelled |= {shown(n).encode() for n in spelled}  # names that look like spellings of others
    for native in (False, True):
        assert len({shown(n, native=native) for n in spelled}) == len(spelled)
    assert len({marked(n) for n in spelled}) == len(spelled)


@pytest.mark.parametrize(
    "name",
    ["x" * 400 + ".txt", "日" * 256, "😀" * 128 + ".jpeg", "a." + "x" * 300, ":" * 300],
)
def test_long_names_are_cut_to_size(name: str) -> None:
    text = shown(name.encode())
    assert units(text) <= 255 and MARK in text and text.startswith(name[0].replace(":", "\uf03a"))
    assert is_allowed(text)
    if name.endswith((".txt", ".jpeg")):
        assert text.endswith(name[name.rindex(".") :])
    assert shows_as(name.encode(), text.encode()) and not shows_as(name.encode() + b"x", text.encode())


def test_names_of_windows_show_there_as_they_were() -> None:
    for text in ("aux", "trailing. ", "\uf03a from Cygwin", "\uf022\uf028", "日" * 255, "é", "e\u0301"):
        assert shown(text.encode(), native=True) == text
    for odd in (b"a:b", b"\xff", b"x" * 256, b"\xed\xa0\x80", "\uf000".encode()):
        assert MARK in shown(odd, native=True)


def test_what_ntpath_calls_reserved_is_never_shown() -> None:
    is_reserved = getattr(ntpath, "isreserved", None)  # Python 3.13
    stems = ["con", "PRN", "aux", "nul", "com1", "LPT9", "com²", "conin$", "CONOUT$", "a.", "a ", "a:b", "a*"]
    for stem in stems:
        for tail in ("", ".txt", " .txt", ".", " ", "..x"):
            text = shown((stem + tail).encode())
            assert is_allowed(text)
            assert is_reserved is None or not is_reserved(text)


# --- case -----------------------------------------------------------------------------------------------------


def test_every_pair_of_cases_folds_to_one() -> None:
    for n in range(0x10000):
        c = chr(n)
        if "\ud800" <= c <= "\udfff":
            continue
        for other in {c.upper(), c.lower(), c.title()}:
            if len(other) == 1:
                assert folded(other) == folded(c), hex(n)
        assert folded(folded(c)) == folded(c)
    assert folded("straße") != folded("STRASSE")  # NTFS keeps them apart
    assert folded("J\u030c") == folded("\u01f0")  # ǰ is one character only when it is small
    assert folded("ΑΣ") == folded("ας") == folded("ασ")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30))
def test_forms_of_unicode_fold_to_one(text: str) -> None:
    forms = {unicodedata.normalize(form, text) for form in ("NFC", "NFD")}
    assert len({folded(form) for form in forms}) == 1


@few
@given(st.lists(names, unique=True, max_size=8))
def test_distinct_names_are_told(chosen: list[bytes]) -> None:
    keys = [folded(shown(name)) for name in chosen]
    if are_distinct(chosen):
        assert len(set(keys)) == len(keys)
    elif len(set(keys)) == len(keys):  # too careful with device names only: CON and con are spelled apart
        plain = [name.lower() for name in chosen]
        assert len(set(plain)) < len(plain)


# --- folders --------------------------------------------------------------------------------------------------


class Listed(Folder):
    """A folder of these names, that counts what is asked of it."""

    def __init__(self, every: list[bytes], *, made_on: str = "", distinct: bool = True, page: int = 100) -> None:
        super().__init__(Attributes(1, 0o40755, 0, 0, 0, 0))
        self._every = sorted(every)
        self._system, self._distinct, self._page = made_on, distinct, page
        self._nodes = {name: Node(Attributes(n + 2, 0o100644, 0, 0, 0, 0)) for n, name in enumerate(self._every)}
        self.pages_read = self.lookups = 0

    made_on = property(lambda self: self._system)
    distinct = property(lambda self: self._distinct)

    def lookup(self, name: bytes) -> Node:
        self.lookups += 1
        if name not in self._nodes:
            raise NotFound("not here")
        return self._nodes[name]

    def pages(self) -> Iterator[EntryPage]:
        for start in range(0, len(self._every), self._page):
            self.pages_read += 1
            yield _Listed(self, self._every[start : start + self._page])


class _Listed(EntryPage):
    def __init__(self, folder: Listed, some: list[bytes]) -> None:
        self._folder, self.names = folder, some

    def kind(self, n: int) -> tuple[int, int]:
        return self.node(n).attributes.inode, 0o100000

    def node(self, n: int) -> Node:
        return self._folder._nodes[self.names[n]]


@few
@given(st.sets(names, max_size=30), st.sampled_from(["", WINDOWS, "Linux"]), st.booleans(), st.booleans())
def test_every_name_of_a_listing_can_be_opened(chosen: set[bytes], made_on: str, fold: bool, known: bool) -> None:
    # Names one to Windows, in a folder said to have none, are what a damaged record may bring.
    folder = Listed(list(chosen), made_on=made_on, distinct=known and are_distinct(sorted(chosen)), page=7)
    drive = Names(fold=fold)
    show = drive.speller(folder)
    listing = {name: show(name) for page in folder.pages() for name in page.names}
    assert len(set(listing.values())) == len(chosen)
    for name, text in listing.items():
        assert drive.find(folder, text) == (name, folder._nodes[name])
        if not fold:
            assert find(folder, text, fold=False) == (name, folder._nodes[name])
    if fold:  # to WinFsp, which has one table of open files, no two may be one
        assert len({folded(text) for text in listing.values()}) == len(chosen)


@few
@given(st.sets(names, min_size=1, max_size=20))
def test_another_case_finds_the_only_one_or_nothing(chosen: set[bytes]) -> None:
    folder = Listed(list(chosen), distinct=are_distinct(sorted(chosen)))
    drive, strict = Names(fold=True), Names(fold=False)
    keys: dict[str, list[bytes]] = {}
    for name in chosen:
        keys.setdefault(folded(shown(name)), []).append(name)
    for name in chosen:
        for other in {shown(name).swapcase(), unicodedata.normalize("NFD", shown(name)), folded(shown(name))}:
            true = true_name(other)
            if MARK in other or true in chosen or folded(other) != folded(shown(name)):
                continue
            same = keys[folded(other)]
            found = drive.find(folder, other)
            assert found == ((same[0], folder._nodes[same[0]]) if len(same) == 1 else None)
            assert strict.find(folder, other) is None


def test_an_exact_match_wins_and_an_ambiguous_name_is_nothing() -> None:
    folder = Listed([b"README", b"readme", b"Other", "é".encode(), "e\u0301".encode()], distinct=True)
    drive = Names(fold=True)
    for text, name in (("README", b"README"), ("readme", b"readme"), ("other", b"Other"), ("é", "é".encode())):
        assert drive.find(folder, text) == (name, folder._nodes[name])
    assert drive.find(folder, "ReadMe") is None
    assert drive.find(folder, "É") is None
    assert drive.find(folder, "missing") is None
    assert drive.find(folder, "") is None
    # A folder whose names were not compared: the second of two is shown with a mark.
    doubtful = Listed([b"README", b"readme"], distinct=False)
    show = drive.speller(doubtful)
    assert show(b"README") == "README" and show(b"readme") == marked(b"readme")


def test_a_look_into_100_000_names_reads_the_folder_once_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MeteredStore(MemoryStore())
    vault = new_vault(store)
    maker = Maker(vault)
    every = [b"File %05d.txt" % n for n in range(99_998)] + [b"a:b", b"x" * 255]
    root = maker.root([maker.folder(b"many", [maker.file(name) for name in every])])
    point = a_point(root)
    point.distinct_names = True
    view = PointView(Reader(vault), point)
    assert view.folds
    folder = view.root.lookup(b"many")
    assert isinstance(folder, Folder)
    total = sum(1 for _ in folder.pages())

    reader = Reader(vault)
    view = PointView(reader, point)
    folder = view.root.lookup(b"many")
    assert isinstance(folder, Folder)
    read: list[Extent] = []  # pages
    leaf = reader.leaf

    def counted(at: Extent) -> Leaf:
        read.append(at)
        return leaf(at)

    monkeypatch.setattr(reader, "leaf", counted)
    drive = Names(fold=view.folds)
    before = store.snapshot()
    for text in ("File 00000.txt", "a\uf03ab", "File 54321.txt"):
        assert drive.find(folder, text) is not None
    assert (store.snapshot() - before).requests <= 9
    assert len(read) <= 3  # of an exact name the page that it is in;
    found = drive.find(folder, "FILE 77777.TXT")
    assert found is not None and found[0] == b"File 77777.txt"
    assert total <= len(read) <= total + 5  # of another case each page once,
    at = len(read)
    for n in range(0, 99_998, 1000):  # and from then on the page that it is in;
        found = drive.find(folder, f"fiLE {n:05}.Txt")
        assert found is not None and found[0] == b"File %05d.txt" % n
    assert len(read) - at <= 200
    at = len(read)
    spent = store.snapshot()
    for n in range(200):  # of a name that isn't there the page where it would be
        assert drive.find(folder, f"desktop {n}.ini") is None
    assert len(read) - at <= 200 and (store.snapshot() - spent).requests == 0


def test_folders_whose_names_change_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Listed([b"One"], distinct=True)
    folder.changes = True
    clock = [0.0]
    monkeypatch.setattr("mount.view.names.time.monotonic", lambda: clock[0])
    drive = Names(fold=True)
    assert drive.find(folder, "two") is None and folder.pages_read == 1
    folder._nodes[b"Two"] = folder._nodes[b"One"]
    folder._every.append(b"Two")
    assert drive.find(folder, "two") is None and folder.pages_read == 1
    clock[0] = 10.0
    assert drive.find(folder, "two") == (b"Two", folder._nodes[b"Two"])


# --- what a drive folds -----------------------------------------------------------------------------------------


def test_the_backup_notes_whether_names_are_distinct(tmp_path: Path) -> None:
    vault = new_vault(MemoryStore())
    data, state = tmp_path / "data", tmp_path / "state"
    (data / "deep" / "er").mkdir(parents=True)
    (data / "README").write_text("x")
    first = back_up(vault, state, data).point
    (data / "deep" / "er" / "é").write_text("x")
    (data / "deep" / "er" / "e\u0301").write_text("x")
    second = back_up(vault, state, data).point
    unchanged = back_up(vault, state, data).point
    (data / "deep" / "er" / "é").unlink()
    (data / "Readme").write_text("x")
    third = back_up(vault, state, data).point
    (data / "Readme").unlink()
    fourth = back_up(vault, state, data).point
    points = [first, second, unchanged, third, fourth]
    assert [p is not None and p.distinct_names for p in points] == [True, False, False, False, True]
    reader = Reader(vault)
    assert [PointView(reader, p).folds for p in points if p is not None] == [True, False, False, False, True]


def test_a_drive_of_all_points_folds_if_all_machines_are_windows() -> None:
    vault = new_vault(MemoryStore())
    reader = Reader(vault)
    maker = Maker(vault)
    root = maker.root([maker.file(b"README", b"1"), maker.file(b"readme", b"22")])
    assert not AllPointsView(vault, reader).folds
    _windows(vault, MACHINE)
    point = _point(vault, root, WINDOWS)
    view = AllPointsView(vault, reader)
    assert view.folds
    # A point that has what it should not have, all the same: each name opens its own file, whatever its case.
    drive = Names(fold=view.folds)
    folder: Folder = view.root
    for step in ("BOX", "Home", None):
        text = step or next(iter(view.listing(point.machine).folders(point.item))).decode()
        found = drive.find(folder, text)
        assert found is not None and isinstance(found[1], Folder)
        folder = found[1]
    show = drive.speller(folder)
    sizes = {
        show(name): page.node(n).attributes.size for page in folder.pages() for n, name in enumerate(page.names)
    }
    assert sizes == {"README": 1, marked(b"readme"): 2}
    for text, size in sizes.items():
        found = drive.find(folder, text)
        assert found is not None and found[1].attributes.size == size
    assert drive.find(folder, "readme") is None
    add_machine(vault, b"l" * 16, "tux")
    add_point(vault, root, 1, machine=b"l" * 16, machine_name="tux")
    assert not AllPointsView(vault, reader).folds


def _windows(vault: Vault, machine: bytes) -> None:
    vault.add_machine(Machine(id=machine, name="box", hostname="box", system=WINDOWS, created=1))


def _point(vault: Vault, root: Subtree, system: str) -> Point:
    point = a_point(root)
    point.machine, point.item, point.system = MACHINE, ITEM, system
    vault.add_point(point)
    return point


# --- paths as a Windows drive shows them ------------------------------------------------------------------------


def test_a_path_as_shown_is_found() -> None:
    vault = new_vault(MemoryStore())
    maker = Maker(vault)
    long = "日".encode() * 300
    inner = [maker.file(b"x\xff", b"1"), maker.file(long + b".txt", b"22"), maker.file(b"CON", b"333")]
    tree = maker.root([maker.folder(b"a:b", inner), maker.file("\uf03a".encode(), b"4444"), maker.file(b":", b"5")])
    source = DirectSource(vault)
    for path, size in (
        ("a\uf03ab/x\uf0ff", 1),
        ("a\uf03ab/" + shown(long + b".txt"), 2),
        ("a:b/CO\uf04e", 3),
        ("\uf03a", 4),  # as it is comes before as it shows
        (":", 1),
    ):
        place = find_place(source, tree, path.encode())
        assert place.found is not None and place.found.entry.size == size
        assert b"\xef\x80" not in place.path or size == 4  # its true path
        history = versions(source, [a_point(tree)], path.encode())
        assert [v.variant.entry.size for v in history.found] == [size]
    with pytest.raises(NotFound):
        find_place(source, tree, "a\uf03ab/x\uf0fe".encode())
    assert versions(source, [a_point(tree)], ("a:b/x" + MARK).encode()).found == []


@pytest.mark.parametrize(
    ("text", "regex", "fits", "fits_not"),
    [
        ("a\uf03ab", False, [b"/x/a:b", "/x/a\uf03ab".encode()], [b"/x/ab"]),
        ("*\uf03f", False, [b"/x/what?"], [b"/x/whats"]),  # a spelled character stands for itself
        ("\uf02a*", False, [b"/x/*.txt"], [b"/x/y.txt"]),
        ("x/\uf0ff", False, [b"/x/\xff"], [b"/x/\xfe"]),
        ("^/x/a\uf05cd$", True, [b"/x/a\\d"], [b"/x/a5"]),
        (shown(b"n" * 300), False, [b"/x/" + b"n" * 300], [b"/x/" + b"n" * 301]),
    ],
)
def test_patterns_as_shown(text: str, regex: bool, fits: list[bytes], fits_not: list[bytes]) -> None:
    test = pattern(text, regex=regex)
    assert [path for path in fits if not test(path)] == []
    assert [path for path in fits_not if test(path)] == []


def test_only_a_spelling_means_another_name() -> None:
    assert meant("a\uf03a".encode()) == b"a:"
    assert meant(b"plain") is None and meant("日本".encode()) is None
    assert meant("\uf041".encode()) is None  # nothing shows an A so


class Backed(Home):
    def __init__(self, folder: Path) -> None:
        make_vault(folder / "vault")
        super().__init__(folder, folder / "vault")
        self.source = folder / "source"
        (self.source / "a:b").mkdir(parents=True)
        for name in ("what?", "CON", "Readme", "plain"):
            (self.source / "a:b" / name).write_text(name)
        self.run("backup", self.source, "--item", "data")

    def pretend(self, fold: bool, **row: object) -> Path:
        """A row in the registry as a drive on Windows would have it: no such drive can be mounted here."""
        top = self.mount_point("R")
        mounted = self.mount("--point", "latest", name="R") if row.get("point") else self.mount(name="R")
        assert mounted == top
        (path,) = (self.folder / "home" / "state" / "drives").glob("*.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | {"fold": fold}))
        return top


@pytest.fixture
def backed(tmp_path: Path) -> Iterator[Backed]:
    backed = Backed(tmp_path)
    yield backed
    backed.close()


def test_the_commands_take_names_as_shown(backed: Backed, tmp_path: Path) -> None:
    path = f"{backed.source}/a\uf03ab/what\uf03f"
    backed.run("restore", f"latest:{path}", "--to", tmp_path / "1")
    assert (tmp_path / "1" / "what?").read_text() == "what?"
    assert backed.run("ls", f"latest:{backed.source}/a\uf03ab").stdout.split()[-1] == "what?"
    assert "file" in backed.run("versions", path).stdout
    assert "/a:b/what?" in backed.run("find", "wha*\uf03f").stdout


@pytest.mark.needs_fuse
@pytest.mark.parametrize("one", [True, False])
def test_a_path_in_a_drive_of_windows_is_restored(backed: Backed, tmp_path: Path, one: bool) -> None:
    top = backed.pretend(True, point=one)
    (machine,) = ("",) if one else (name for name in os.listdir(top) if not name.startswith("."))
    above = top if one else top / machine.upper() / "DATA" / "latest"
    below = f"{backed.source}/a\uf03ab".lstrip("/")
    for text, name in (("what\uf03f", "what?"), ("CO\uf04e", "CON"), ("README", "Readme")):
        backed.run("restore", above / below / text, "--to", tmp_path / "out")
        assert (tmp_path / "out" / name).read_text() == name
    backed.run("restore", above, "--to", tmp_path / "all")
    assert (
        tmp_path / "all" / os.fsdecode(bytes(backed.source)).lstrip("/") / "a:b" / "plain"
    ).read_text() == "plain"
    done = backed.run("restore", above / below / "missing", "--to", tmp_path / "out", exit_code=4)
    assert "the drive has no" in done.stderr


# --- restoring where names can't be had -------------------------------------------------------------------------


def a_tree(vault: Vault, *, system: str) -> Point:
    maker = Maker(vault)
    linked = {"link": 1, "nlink": 2}
    inner = [maker.file(b"what?", b"1", **linked), maker.file(b"plain", b"22"), maker.file(b"end.", b"22")]
    nodes = [
        maker.folder(b"a:b", inner), maker.file(b"\xff", b"333"), maker.file(b"README", b"upper"),
        maker.file(b"readme", b"lower"), maker.file(b"Aux", b"1", **linked),
        maker.folder(b"Sub", [maker.file(b"1", b"1")]), maker.folder(b"SUB", [maker.file(b"2", b"2")]),
        maker.file("日".encode() * 200, b"long"),
    ]  # fmt: skip
    root = maker.root(nodes)
    point = a_point(root)
    point.system, point.root = system, Root.of(root)
    return point


def test_a_linux_point_restored_on_windows_has_names_that_windows_holds(tmp_path: Path) -> None:
    vault = new_vault(MemoryStore())
    point = a_tree(vault, system="Linux")
    for run in range(2):  # again: all of it is the same, and nothing is restored twice
        # This file system holds more than Windows does: what it was given is what Windows would have been.
        report = restore(vault, point, tmp_path / "w", system=WINDOWS, permissions=False)
        found = {p.relative_to(tmp_path / "w").as_posix(): p for p in (tmp_path / "w").rglob("*")}
        readme, sub = marked(b"readme"), marked(b"Sub")
        long = shown("日".encode() * 200)
        assert set(found) == {
            "a\uf03ab", "a\uf03ab/what\uf03f", "a\uf03ab/plain", "a\uf03ab/end\uf02e", "\uf0ff", "README", readme,
            "Au\uf078", "SUB", "SUB/2", sub, f"{sub}/1",
        }  # fmt: skip
        assert report.problem_count == 1 and report.problems[0].path == long.encode()  # 600 bytes, on Linux
        assert (found["README"].read_text(), found[readme].read_text()) == ("upper", "lower")
        assert found["Au\uf078"].samefile(found["a\uf03ab/what\uf03f"])
        names = {os.fsdecode(path): name for path, name in report.renames}
        assert names == {
            "a\uf03ab": b"a:b", "a\uf03ab/what\uf03f": b"what?", "a\uf03ab/end\uf02e": b"end.", "\uf0ff": b"\xff",
            readme: b"readme", "Au\uf078": b"Aux", sub: b"Sub",
        }  # fmt: skip
        assert report.renamed_count == 7
        assert report.same == (9 if run else 0)
        assert not run or found["a\uf03ab"].stat().st_mtime_ns == 10**18  # a folder that was there stays as it is
        os.utime(found["a\uf03ab"], ns=(10**18, 10**18))


@pytest.mark.parametrize("policy", ["overwrite", "copy", "skip"])
def test_twins_never_take_each_others_place(tmp_path: Path, policy: str) -> None:
    vault = new_vault(MemoryStore())
    report = restore(vault, a_tree(vault, system="Linux"), tmp_path, system="Darwin", policy=Policy(policy))
    texts = sorted(p.read_text() for p in tmp_path.iterdir() if p.name.lower().startswith("readme"))
    assert texts == ["lower", "upper"]
    assert {p.name for p in tmp_path.iterdir()} >= {"README", apart(b"readme", "Darwin").decode(), "a:b", "Aux"}
    assert report.renamed_count == 3  # readme, Sub, and 600 bytes


@pytest.mark.needs_root
def test_a_windows_point_restored_here_has_names_of_255_bytes(tmp_path: Path) -> None:
    vault = new_vault(MemoryStore())
    report = restore(vault, a_tree(vault, system=WINDOWS), tmp_path, system="Linux")
    ((path, name),) = report.renames
    assert name == "日".encode() * 200 and len(path) <= 255 and path.startswith("日日".encode())
    assert path.decode() and Path(os.path.join(tmp_path, path.decode())).read_text() == "long"
    assert report.problem_count == 0


@settings(max_examples=300, deadline=None)
@given(names, st.sampled_from(["Windows", "Linux", "Darwin"]), st.sampled_from(["Windows", "Linux"]))
def test_a_name_given_can_be_held(name: bytes, here: str, made_on: str) -> None:
    for held in (spelling(here, made_on)(name), apart(name, here)):
        if here == WINDOWS:
            assert units(held.decode("utf-8", "surrogatepass" if made_on == WINDOWS else "strict")) <= 255
            assert made_on == WINDOWS or is_allowed(held.decode())
        else:
            assert 0 < len(held) <= 255 and not {0, 47} & set(held)
    if here != WINDOWS and len(name) <= 255:
        assert spelling(here, made_on)(name) == name
