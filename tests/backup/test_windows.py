"""Backups of a Windows machine: its double in memory, a real vault, and the entries read back."""

from __future__ import annotations

import ctypes
import random
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backup.request import Request, selected
from backup.run import Result
from backup.systems.windows import WindowsSystem
from backup.why import answer
from catalog.errors import LocalError
from catalog.format.values import Hole, NodeKind, Owner
from catalog.format.windows import Windows
from catalog.windows import api, files
from catalog.windows.times import from_filetime
from tests.kit.windows_double import (
    ARCHIVE,
    DIRECTORY,
    ENCRYPTED,
    READONLY,
    RECALL,
    REPARSE,
    SIGNATURES,
    SPARSE,
    T0,
    Data,
    Double,
    Entry,
    Item,
    Problem,
)
from tests.kit.windows_machine import ALL, AUDITED, HOME, OPEN, PLAIN, Machine, link_buffer, make_windows, tagged


@pytest.fixture
def windows() -> Double:
    return make_windows()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "state")


def reasons(outcome: Result) -> dict[str, str]:
    return {p.path.decode(errors="surrogatepass").rpartition("/")[2]: p.reason for p in outcome.problems}


# --- the whole ------------------------------------------------------------------------------------------------


def test_everything_is_saved(machine: Machine, windows: Double) -> None:
    windows.item(f"{HOME}\\setup.exe").audited = AUDITED
    assert_saved(machine, windows)


def assert_saved(machine: Machine, windows: Double) -> None:
    """Back up; each entry of the point equals that of the machine."""
    saved = machine.checked(windows)
    held = {path: e for path, e in windows.walk() if path == "C\\Users" or path.startswith(HOME)}
    assert saved.keys() == held.keys() | {"C"}
    for path, entry in held.items():
        item, node = entry.item, saved[path]
        assert isinstance(node.windows, Windows)
        w = node.windows
        assert (node.inode, node.mtime, node.ctime) == (
            item.index,
            from_filetime(item.written),
            from_filetime(item.changed),
        )
        assert (w.attributes, w.created) == (item.attributes, from_filetime(item.created))
        assert machine.value(w.security) == (item.audited or item.security)
        assert w.short_name == (entry.short if path != "C\\Users" else "")
        assert machine.value(w.extended) == item.extended
        through = item.reparse[:4] == struct.pack("<I", 0x80000013)
        assert machine.value(w.reparse) == (b"" if through else item.reparse)
        assert {s.name: machine.bytes_of(s.content) for s in w.streams} == {
            name: bytes(data.data) for name, data in item.streams.items() if name
        }
        is_link = item.reparse[3:4] == b"\xa0"
        kind = NodeKind.SYMLINK if is_link else NodeKind.FOLDER if item.attributes & DIRECTORY else NodeKind.FILE
        assert node.kind == kind
        if kind == NodeKind.FILE:
            assert machine.bytes_of(node.content) == item.data.data
            assert (node.size, node.nlink) == (len(item.data.data), item.names)


def test_owners_modes_and_targets(machine: Machine, windows: Double) -> None:
    saved = machine.checked(windows)
    letter, folder = saved[f"{HOME}\\Documents\\letter.txt"], saved[f"{HOME}\\Documents"]
    assert letter.owner == Owner(-1, -1, "LAPTOP\\anna", "S-1-5-21-1111-2222-3333-513")
    assert folder.owner == Owner(-1, -1, "BUILTIN\\Administrators", "BUILTIN\\Administrators")
    assert (letter.mode, folder.mode, saved[f"{HOME}\\Documents\\read-only"].mode) == (0o600, 0o755, 0o444)
    assert saved[f"{HOME}\\link"].content == b"Documents/letter.txt"
    assert saved[f"{HOME}\\My Documents"].content == b"Documents"


def test_hard_links(machine: Machine, windows: Double) -> None:
    """Hard links have one number, are read once, and have a short name each."""
    outcome = machine.back_up(windows)
    saved = machine.entries(outcome)
    first, second = saved[f"{HOME}\\first"], saved[f"{HOME}\\second"]
    assert first.link == second.link == 1
    assert first.content == second.content
    assert first.windows and second.windows
    assert (first.windows.short_name, second.windows.short_name) == ("FIRST~1", "SECON~1")
    assert first.windows.streams == second.windows.streams != []
    assert [n.link for n in saved.values()].count(0) == len(saved) - 2


def test_holes_are_holes(machine: Machine, windows: Double) -> None:
    before = windows.read_bytes
    outcome = machine.back_up(windows, "C:\\Users\\anna\\sparse", "C:\\Users\\anna\\all hole")
    saved = machine.entries(outcome)
    ranges = windows.item(f"{HOME}\\sparse").data.ranges or []
    assert windows.read_bytes - before == sum(end - start for start, end in ranges)
    content = saved[f"{HOME}\\sparse"].content
    assert isinstance(content, list)
    position, found = 0, []
    for p in content:
        if isinstance(p, Hole):
            found.append((position, position + p.length))
        position += p.length
    assert found == [(65536, 1 << 20), (1_300_000, 3 << 20), (3_200_000, 9 << 20), (9_600_000, 10_000_000)]
    assert saved[f"{HOME}\\all hole"].content == [Hole(1 << 20)]


def test_unchanged_reads_no_data(machine: Machine, windows: Double) -> None:
    machine.checked(windows)
    opens, read = windows.data_opens, windows.read_bytes
    again = machine.back_up(windows)
    p = again.progress
    assert (p.new, p.changed, p.removed, again.problems) == (0, 0, 0, [])
    assert (windows.data_opens, windows.read_bytes) == (opens, read)
    assert (p.sent.data_bytes, p.sent.tree_bytes) == (0, 0)


def _rewrite_stream(d: Double) -> None:
    d.item(f"{HOME}\\setup.exe").streams["Zone.Identifier"].data[:] = b"other"
    d.touch(f"{HOME}\\setup.exe")


def _set(path: str, **fields: object) -> Callable[[Double], None]:
    def edit(d: Double) -> None:
        for name, value in fields.items():
            setattr(d.item(path), name, value)
        d.touch(path)

    return edit


def _add_a_file(d: Double) -> None:
    d.add(f"{HOME}\\empty\\new", b"n", security=PLAIN)


def _add_a_link(d: Double) -> None:
    d.hard_link(f"{HOME}\\first", f"{HOME}\\third")
    d.touch(f"{HOME}\\first")


EDITS: dict[str, Callable[[Double], None]] = {
    "contents": lambda d: d.touch(f"{HOME}\\Documents\\letter.txt", b"Dear Mr. Miller"),
    "contents through the other link": lambda d: d.touch(f"{HOME}\\second", b"changed"),
    "a stream": _rewrite_stream,
    "attributes": _set(f"{HOME}\\setup.exe", attributes=ARCHIVE | 2),
    "security": _set(f"{HOME}\\setup.exe", security=OPEN),
    "security of a folder": _set(f"{HOME}\\empty", security=PLAIN),
    "extended attributes": _set(f"{HOME}\\with EAs", extended=b""),
    "a link's target": _set(f"{HOME}\\link", reparse=link_buffer(0xA000000C, "..", "..", 1)),
    "time of creation": _set(f"{HOME}\\first", created=T0 - 10**7),
    "a new file": _add_a_file,
    "a third link": _add_a_link,
}


@pytest.mark.parametrize("edit", EDITS)
def test_change_is_noticed(machine: Machine, windows: Double, edit: str) -> None:
    """A change is noticed, and nothing else is read again."""
    machine.checked(windows)
    read = windows.read_bytes
    EDITS[edit](windows)
    assert_saved(machine, windows)
    most = {"a stream": 410_000, "attributes": 410_000, "security": 410_000}
    assert windows.read_bytes - read <= most.get(edit, 200)


def test_partial_points_are_whole(machine: Machine, windows: Double) -> None:
    """A partial point is made while the streams of a folder or a file are pending."""
    folder, large = windows.item(f"{HOME}\\Documents"), windows.item(f"{HOME}\\Documents\\large")
    folder.streams["large"] = large.streams["large"] = Data(random.Random(5).randbytes(600_000))
    machine.back_up(windows, partial_seconds=0.0)
    found = [n for n in machine.vault.point_names(partial=True) if n.partial]
    inside = 0
    for name in found:
        for path, node in machine.entries_of(machine.vault.point(name)).items():
            item = windows.item(path)
            if node.kind == NodeKind.FILE:
                assert machine.bytes_of(node.content) == item.data.data
            if path == "C":
                continue
            assert node.windows is not None
            kept = {s.name: machine.bytes_of(s.content) for s in node.windows.streams}
            assert kept == {n: bytes(d.data) for n, d in item.streams.items() if n}
            inside += path == f"{HOME}\\Documents"
    assert len(found) > 5 and inside > 2


def test_dry_run_opens_nothing_for_its_data(machine: Machine, windows: Double) -> None:
    outcome = machine.back_up(windows, dry=True)
    assert outcome.point is None and outcome.progress.new > 20
    assert (windows.data_opens, windows.read_bytes) == (0, 0)


# --- random edits ---------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "dir", "dir", "\ud800"])
WAYS = st.lists(NAMES, min_size=1, max_size=3)
THERE = ("a", "b", "dir", "dir\\a", "dir\\b", "dir\\dir", "dir\\dir\\a")
WHAT = [
    "write", "large", "folder", "remove", "rename", "link", "stream", "no stream", "attributes", "security",
    "holes", "symlink",
]  # fmt: skip
EDIT = st.tuples(st.sampled_from(WHAT), WAYS, WAYS, st.integers(0, 5))


def apply(d: Double, edit: tuple[str, list[str], list[str], int]) -> None:
    """Do an edit as a program would, if it is possible."""
    what, at, to, number = edit
    path, other = "\\".join((HOME, *at)), "\\".join((HOME, *to))
    try:
        above, name = d._parent(path)
        here = above.children.get(name.upper())
        item: Any = here.item if here is not None else None
        is_folder = item is not None and item.attributes & DIRECTORY
        match what:
            case "write" | "large" | "symlink" | "folder" if item is None:
                if what == "folder":
                    d.folder(path, security=OPEN)
                elif what == "symlink":
                    d.add(path, security=PLAIN, attributes=REPARSE, reparse=link_buffer(0xA000000C, "..", "..", 1))
                else:
                    d.add(path, bytes([number]) * (300_000 if what == "large" else number), security=PLAIN)
            case "write" | "large" if not is_folder and not item.attributes & REPARSE:
                item.data.ranges = None
                item.attributes &= ~SPARSE
                d.touch(path, bytes([number]) * (300_000 + number if what == "large" else number + 1))
            case "remove":
                d.touch(path)  # the names that stay share the time of the change
                del above.children[name.upper()]
                item.names -= 1
            case "rename" if not other.startswith(path):
                below, new = d._parent(other)
                if new.upper() not in below.children:
                    del above.children[name.upper()]
                    below.children[new.upper()] = Entry(new, "", item)
                    d.touch(other)
            case "link" if not is_folder:
                if d._parent(other)[1].upper() not in d._parent(other)[0].children:
                    d.hard_link(path, other)
                    d.touch(path)
            case "stream" if not item.attributes & REPARSE:
                item.streams[f"s{number % 2}"] = Data(b"stream %d" % number * 10**number)
                d.touch(path)
            case "no stream":
                del item.streams[f"s{number % 2}"]
                d.touch(path)
            case "attributes":
                item.attributes ^= (READONLY, 2, 4, ARCHIVE, 0x100, 0x2000)[number]
                d.touch(path)
            case "security":
                item.security = (OPEN, PLAIN, AUDITED)[number % 3]
                d.touch(path)
            case "holes" if not is_folder and not item.attributes & REPARSE:
                item.attributes |= SPARSE
                d.touch(path, bytes(1 << 20))
                item.data.ranges = [(n << 16, (n << 16) + 4096) for n in range(number)]
                for start, end in item.data.ranges:
                    item.data.data[start:end] = bytes([number]) * (end - start)
    except (Problem, KeyError, AttributeError):
        pass  # its file does not exist


@pytest.mark.slow
@example([[("remove", ["dir"], ["b"], 1), ("link", ["a"], ["dir"], 1)], [("remove", ["a"], ["dir"], 1)]])
@given(st.lists(st.lists(EDIT, max_size=12), min_size=2, max_size=4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_edits(edits: list[list[tuple[str, list[str], list[str], int]]]) -> None:
    """After each batch of edits, the next point equals the machine; without edits, nothing is read."""
    with TemporaryDirectory() as folder:
        machine, d = Machine(Path(folder) / "state"), Double(set(ALL))
        for path in ("C\\Users", HOME):
            d.folder(path, security=OPEN)
        for path in THERE:
            apply(d, ("folder" if path.endswith("dir") else "write", path.split("\\"), ["b"], 3))
        for batch in edits:
            for edit in batch:
                apply(d, edit)
            assert_saved(machine, d)
            opens, read = d.data_opens, d.read_bytes
            assert machine.back_up(d).progress.sent.tree_bytes == 0
            assert (d.data_opens, d.read_bytes) == (opens, read)


# --- files that can't or should not be read -------------------------------------------------------------------


def test_file_in_use(machine: Machine, windows: Double) -> None:
    windows.item(f"{HOME}\\Documents\\letter.txt").exclusive = True
    outcome = machine.back_up(windows)
    assert reasons(outcome) == {"letter.txt": "it can't be read: another program has it open and does not share it"}
    assert f"{HOME}\\Documents\\large" in machine.entries(outcome)


def test_file_in_the_cloud_is_not_fetched(machine: Machine, windows: Double) -> None:
    item = windows.item(f"{HOME}\\Documents\\letter.txt")
    item.attributes |= RECALL | REPARSE
    item.reparse = tagged(0x9000601A)
    outcome = machine.back_up(windows)
    assert reasons(outcome) == {
        "letter.txt": "it can't be read: its contents are only in a cloud (--cloud-files downloads them)"
    }
    assert windows.recalled == 0


def test_file_that_went_to_the_cloud_stays_as_it_was(machine: Machine, windows: Double) -> None:
    """Contents in the vault stay in the next points after `free up space` removed them from the machine."""
    path = f"{HOME}\\Documents\\letter.txt"
    before = machine.checked(windows)[path]
    windows.item(path).attributes |= RECALL
    windows.touch(path)
    for _ in range(2):
        after = machine.checked(windows)[path]
        assert after == before
    assert windows.recalled == 0
    windows.touch(path, b"changed in the cloud")
    outcome = machine.back_up(windows)
    assert list(reasons(outcome)) == ["letter.txt"] and path not in machine.entries(outcome)


def test_file_in_the_cloud_is_fetched_if_asked(machine: Machine, windows: Double) -> None:
    path = f"{HOME}\\Documents\\letter.txt"
    windows.item(path).attributes |= RECALL
    saved = machine.checked(windows, fetch=True)[path]
    assert machine.bytes_of(saved.content) == b"Dear Ms. Miller" and windows.recalled > 0


def test_encrypted_file(machine: Machine, windows: Double) -> None:
    """The raw export, which contains the streams, is saved; a file that can't be exported is reported."""
    secret = windows.add(f"{HOME}\\secret", b"plain text", attributes=ARCHIVE | ENCRYPTED, security=PLAIN)
    secret.raw, secret.streams["s"] = random.Random(2).randbytes(300_500), Data(b"in the export")
    windows.add(f"{HOME}\\of another", b"x", attributes=ENCRYPTED, security=PLAIN)
    outcome = machine.back_up(windows)
    assert reasons(outcome) == {"of another": "it can't be read: it is encrypted, and this user lacks its key"}
    saved = machine.entries(outcome)[f"{HOME}\\secret"]
    assert saved.windows and (saved.windows.efs, saved.windows.streams) == (10, [])
    assert machine.bytes_of(saved.content) == secret.raw and saved.size == 300_500
    read = windows.read_bytes
    assert machine.back_up(windows).progress.changed == 0
    assert windows.read_bytes == read


def test_without_privileges(machine: Machine, windows: Double) -> None:
    """Files that the user may not read are reported; audit entries are left out."""
    windows.allowed = set()
    windows.item(f"{HOME}\\setup.exe").audited = AUDITED
    windows.item(f"{HOME}\\Documents\\large").denied = True
    windows.item(f"{HOME}\\empty").denied = True
    outcome = machine.back_up(windows)
    assert reasons(outcome) == {
        "large": "it can't be read: access is denied",
        "empty": "the folder can't be opened: access is denied",
    }
    saved = machine.entries(outcome)[f"{HOME}\\setup.exe"]
    assert saved.windows and saved.windows.security == PLAIN


def test_passage_through_a_folder_that_may_not_be_read(machine: Machine, windows: Double) -> None:
    windows.allowed = set()
    windows.item("C\\Users").denied = True
    assert f"{HOME}\\first" in machine.checked(windows)


def test_stream_in_use(machine: Machine, windows: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream in use is reported; the rest of the file is saved."""
    opened = Double.CreateFileW

    def refuse(d: Double, path: int, *rest: int) -> int:
        if d._text(path).endswith(":Zone.Identifier"):
            raise Problem(32)
        return opened(d, path, *rest)

    monkeypatch.setattr(Double, "CreateFileW", refuse)
    outcome = machine.back_up(windows)
    assert reasons(outcome) == {
        "setup.exe": "its stream Zone.Identifier can't be read: another program has it open and does not share it"
    }
    saved = machine.entries(outcome)[f"{HOME}\\setup.exe"]
    assert saved.windows and [s.name for s in saved.windows.streams] == ["big"]


def test_more_streams_than_an_entry_holds(machine: Machine, windows: Double) -> None:
    item = windows.item(f"{HOME}\\setup.exe")
    for n in range(7_000):
        item.streams[f"stream {n:04}"] = Data(b"x")
    outcome = machine.back_up(windows)
    saved = machine.entries(outcome)[f"{HOME}\\setup.exe"]
    assert saved.windows
    left_out = 7_002 - len(saved.windows.streams)
    assert reasons(outcome) == {"setup.exe": f"it has too many streams: {left_out:,} of them are not saved"}
    assert 0 < left_out < 3_000


def test_folder_swapped_for_a_link(windows: Double) -> None:
    """A folder is replaced between the reading of its status and its opening."""
    source = WindowsSystem(windows.api())
    c = source.open_folder(b"C", source.open_top())
    users = source.open_folder(b"Users", c)
    source.status(b"anna", users)
    home = windows.item(HOME)
    home.attributes |= REPARSE
    home.reparse = link_buffer(0xA0000003, "\\??\\C:\\", "C:\\", None)
    with pytest.raises(OSError, match="replaced"):
        source.open_folder(b"anna", users)


# --- other file systems ---------------------------------------------------------------------------------------


def test_fat(machine: Machine, windows: Double) -> None:
    """FAT has no descriptors, streams or change times: attributes and write times show changes."""
    windows.file_system = "FAT32"
    path = f"{HOME}\\Documents\\letter.txt"
    saved = machine.checked(windows)[path]
    assert saved.windows and (saved.windows.security, saved.windows.streams) == (None, [])
    assert saved.owner == Owner(-1, -1)
    assert machine.back_up(windows).progress.changed == 0
    windows.item(path).attributes |= 4
    assert machine.back_up(windows).progress.changed == 1
    windows.touch(path, b"Dear Mr. Miller")
    assert machine.bytes_of(machine.checked(windows)[path].content) == b"Dear Mr. Miller"


def test_links_without_an_id(machine: Machine, windows: Double) -> None:
    """On ReFS, two files with several links each must not be taken for one file."""
    other = windows.add(f"{HOME}\\third", b"another file", security=PLAIN)
    windows.hard_link(f"{HOME}\\third", f"{HOME}\\fourth")
    other.index = windows.item(f"{HOME}\\first").index = 2**64 - 1
    saved = machine.checked(windows)
    for name, wanted in (("first", b"one file, two names"), ("second", b"one file, two names")):
        assert machine.bytes_of(saved[f"{HOME}\\{name}"].content) == wanted
    for name in ("third", "fourth"):
        node = saved[f"{HOME}\\{name}"]
        assert (machine.bytes_of(node.content), node.link, node.inode) == (b"another file", 0, 2**64 - 1)
    assert machine.back_up(windows).progress.changed == 0


def test_drives(windows: Double) -> None:
    windows.roots["E"] = Item(DIRECTORY)
    source = WindowsSystem(windows.api())
    assert source.names(source.open_top()) == [b"C", b"E"]
    assert source.unwanted_mounts() == set()
    windows.file_system = "rpdrive"
    assert source.unwanted_mounts() == {b"/C", b"/E"}


def test_excludes(machine: Machine, windows: Double) -> None:
    outcome = machine.back_up(windows, excludes=("/C/Users/anna/Documents/", "*.exe"))
    saved = machine.entries(outcome)
    assert f"{HOME}\\setup.exe" not in saved and f"{HOME}\\Documents" not in saved


def test_times_beyond_64_bits(machine: Machine, windows: Double) -> None:
    """FILETIME goes to the year 30828."""
    item = windows.item(f"{HOME}\\setup.exe")
    item.written = item.created = 2**63 - 1
    for _ in range(2):
        outcome = machine.back_up(windows)
        assert [p.reason for p in outcome.problems] == [
            "its time is beyond the years 1677 to 2554: saved with the nearest one"
        ]
        node = machine.entries(outcome)[f"{HOME}\\setup.exe"]
        assert node.windows is not None
        assert (node.mtime, node.windows.created) == (2**64 - 1, 2**64 - 1)


def test_case_is_ignored_in_rules_on_windows(windows: Double) -> None:
    system = WindowsSystem(windows.api())
    selection = selected(Request([Path("/")], excludes=["/c/users/*/DOCUMENTS/"]), _at_home(system))
    assert not answer(selection, system, b"/C/Users/anna/Documents").saved
    assert answer(selection, system, b"/C/Users/anna/setup.exe").saved
    selection = selected(Request([Path("/")], excludes=["/c/*"], ignore_case=False), _at_home(system))
    assert answer(selection, system, b"/C/Users/anna/Documents").saved


def _at_home(system: WindowsSystem) -> WindowsSystem:
    """The system, with the path of this machine that exists as the home folder of the double."""
    system.point_path = lambda path: b"/C/Users/anna"  # type: ignore[method-assign]
    return system


@pytest.mark.parametrize("name", ["", "a/b", "x" * 256, "a\0b"])
def test_streams_of_names_that_no_reader_takes(machine: Machine, windows: Double, name: str) -> None:
    item = windows.item(f"{HOME}\\setup.exe")
    source = WindowsSystem(windows.api())
    with pytest.MonkeyPatch.context() as patch:
        listed = files.streams
        patch.setattr(files, "streams", lambda data: [(name, 1), *listed(data), *listed(data)])
        outcome = machine.back_up(windows)
    assert any("has a name that can't be saved" in p.reason for p in outcome.problems)
    node = machine.entries(outcome)[f"{HOME}\\setup.exe"]
    assert node.windows is not None
    assert [s.name for s in node.windows.streams] == [n for n in item.streams if n]
    assert source.ignores_case


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("C:\\Users\\anna", b"/C/Users/anna"),
        ("c:\\", b"/C"),
        ("\\\\?\\D:\\a b", b"/D/a b"),
        ("D:\\\ud800", b"/D/\xed\xa0\x80"),
    ],
)
def test_paths(windows: Double, path: str, wanted: bytes) -> None:
    assert WindowsSystem(windows.api()).point_path(Path(path)).rstrip(b"/") == wanted


@pytest.mark.parametrize("path", ["\\\\server\\share\\a", "Users\\anna", "C:Users"])
def test_path_that_no_drive_has(windows: Double, path: str) -> None:
    with pytest.raises(LocalError, match="drive"):
        WindowsSystem(windows.api()).point_path(Path(path))


def test_own_folders_are_known(windows: Double) -> None:
    source = WindowsSystem(windows.api())
    assert source.identity(Path("C:\\Users\\anna")) == (windows.serial, windows.item(HOME).index)
    assert source.identity(Path("C:\\nothing")) is None


# --- layouts --------------------------------------------------------------------------------------------------


def test_functions_have_the_documented_types() -> None:
    sizes = {"p": 8, "d": 4, "b": 1}
    for library, functions in SIGNATURES.items():
        assert functions.keys() == api.PROTOTYPES[library].keys()
        for name, signature in functions.items():
            result, *arguments = api.PROTOTYPES[library][name]
            said = [ctypes.sizeof(a) for a in arguments]
            assert said == [sizes[a] for a in signature.partition(":")[2]], name
            assert (0 if result is None else ctypes.sizeof(result)) == sizes.get(signature[0], 0), name
    assert ctypes.sizeof(api._Overlapped) == 32
    assert ctypes.sizeof(api._LuidAndAttributes) == 16


# Written field by field from the documentation of each structure.
IDENTITY = bytes.fromhex(
    "20000000 00401e39c3e2d801 8056d8ee1b01d901 009bc6a3b7fbd801"
    "3412efbe 01000000 00100000 02000000 00000300 2a000000"
)
BASIC = bytes.fromhex(
    "00401e39c3e2d801 8056d8ee1b01d901 009bc6a3b7fbd801 019bc6a3b7fbd801 22000000 00000000"
)  # fmt: skip
STREAMS = bytes.fromhex(
    "28000000 0e000000 0500000000000000 0800000000000000 3a003a0024004400410054004100 3f3f"
    "00000000 16000000 0200000001000000 0010000001000000 3a00730020003dd800de3a0024004400410054004100"
)


def test_structures() -> None:
    found = files.identity(IDENTITY)
    assert found[:4] == (0x20, 0x1D8E2C3391E4000, 0x1D9011BEED85680, 0x1D8FBB7A3C69B00)
    assert found[4:] == (0xBEEF1234, (1 << 32) + 4096, 2, (3 << 48) + 42)
    basic = files.basic(BASIC)
    assert basic == (0x1D8E2C3391E4000, 0x1D9011BEED85680, 0x1D8FBB7A3C69B00, 0x1D8FBB7A3C69B01, 0x22)
    assert files.basic_bytes(basic) == BASIC
    assert files.tag(bytes.fromhex("20040000 0c0000a0")) == 0xA000000C
    assert files.range_bytes(4096, 12288) == bytes.fromhex("0010000000000000 0020000000000000")
    assert files.ranges(bytes.fromhex("0010000000000000 0020000000000000") * 2) == [(4096, 12288)] * 2


def test_list_of_streams() -> None:
    assert files.streams(STREAMS) == [("s \U0001f600", (1 << 32) + 2)]
    assert files.streams(b"") == []


def test_list_of_names() -> None:
    def row(step: int, name: str, short: str) -> bytes:
        one, two = name.encode("utf-16-le", "surrogatepass"), short.encode("utf-16-le")
        head = struct.pack("<II", step, 0) + bytes(48) + struct.pack("<III", 0x20, len(one), 0)
        return (head + bytes((len(two), 0)) + two.ljust(24, b"\0") + b"\0\0" + bytes(8) + one).ljust(
            step or 0, b"\0"
        )

    data = row(112, ".", "") + row(112, "..", "") + row(136, "Program Files", "PROGRA~1") + row(112, "\ud800", "")
    data += row(0, "A", "A") + b"left over"
    assert files.names(data) == [("Program Files", "PROGRA~1"), ("\ud800", ""), ("A", "")]


@pytest.mark.parametrize("code", [2, 5, 32, 112, 183, 1314, 4390, 0xC0000022])
def test_errors(code: int) -> None:
    error = api.failure(code)
    assert isinstance(error, OSError) and error.code == code and error.strerror
    assert isinstance(error, FileNotFoundError) == (code == 2)
    assert isinstance(error, PermissionError) == (code in (5, 1314))
    assert isinstance(error, FileExistsError) == (code == 183)
