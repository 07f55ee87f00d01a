"""Points of Windows restored: on Linux, for real, and to the double of a Windows machine."""

from __future__ import annotations

import json
import os
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from catalog.format.packs import Extent
from catalog.format.records import Point
from catalog.format.values import Hole, OutOfLine, Paged, Piece
from catalog.format.windows import Stream, Windows
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from catalog.windows.times import to_filetime
from mount.restore.conflict import Policy
from mount.restore.disk.windows import WindowsDisk
from mount.restore.disk.windows_handles import absolute
from mount.restore.report import Report
from mount.restore.spill import pack_windows, unpack_windows
from tests.kit.cli import ROOT, Cli
from tests.kit.protected import Protected
from tests.kit.restoring import restore
from tests.kit.windows_double import ARCHIVE, DIRECTORY, ENCRYPTED, READONLY, REPARSE, SPARSE, Data, Double, Problem
from tests.kit.windows_machine import AUDITED, HOME, PLAIN, Machine, junction, make_windows

LOST = "it has metadata of another system that can't be stored here"


@pytest.fixture
def windows() -> Double:
    return make_windows()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "state")


# --- on Linux -------------------------------------------------------------------------------------------------


def test_contents_names_and_links(machine: Machine, windows: Double, tmp_path: Path) -> None:
    outcome = machine.back_up(windows)
    assert outcome.point is not None
    report = restore(machine.vault, outcome.point, tmp_path / "out")
    home = tmp_path / "out" / "C" / "Users" / "anna"
    for path, entry in windows.walk():
        here = os.fsencode(tmp_path / "out") + b"/" + path.replace("\\", "/").encode("utf-8", "surrogatepass")
        if entry.item.reparse[3:4] == b"\xa0" or not path.startswith(HOME):
            continue
        st = os.stat(here)
        assert stat.S_ISDIR(st.st_mode) == bool(entry.item.attributes & 0x10)
        assert (st.st_uid, st.st_gid) == (os.geteuid(), os.getegid())
        if stat.S_ISREG(st.st_mode):
            assert Path(os.fsdecode(here)).read_bytes() == entry.item.data.data
            assert st.st_mtime_ns == (entry.item.written - 116_444_736_000_000_000) * 100
    assert (home / "link").read_bytes() == b"Dear Ms. Miller"
    assert (home / "My Documents" / "letter.txt").read_bytes() == b"Dear Ms. Miller"
    assert (home / "first").samefile(home / "second")
    assert (home / "sparse").stat().st_blocks * 512 < 2_000_000 < (home / "sparse").stat().st_size
    assert stat.S_IMODE((home / "Documents" / "letter.txt").stat().st_mode) == 0o600
    assert report.lost == 0


def test_attributes_and_streams_are_xattrs(machine: Machine, windows: Double, tmp_path: Path) -> None:
    """As on a drive; what can't be stored is reported once for each file."""
    windows.item(f"{HOME}\\setup.exe").streams["half \ud800"] = Data(b"odd")
    windows.item(f"{HOME}\\setup.exe").attributes |= 2
    outcome = machine.back_up(
        windows, f"C:{HOME[1:]}\\setup.exe", f"C:{HOME[1:]}\\Documents", f"C:{HOME[1:]}\\link"
    )
    assert outcome.point is not None
    report = restore(machine.vault, outcome.point, tmp_path / "out", b"C/Users/anna")
    home = tmp_path / "out" / "anna"
    found = {os.fsencode(n): os.getxattr(home / "setup.exe", n) for n in os.listxattr(home / "setup.exe")}
    attributes = found.pop(b"user.DOSATTRIB")
    assert struct.unpack_from("<I", attributes, 12) == (ARCHIVE | 2,)
    assert found == {
        b"user.ads.Zone.Identifier": b"[ZoneTransfer]\r\nZoneId=3\r\n",
        b"user.ads.half \xed\xa0\x80": b"odd",
    }
    assert os.getxattr(home / "Documents", "user.ads.on a folder") == b"notes"
    assert os.listxattr(home / "link", follow_symlinks=False) == []
    said = [(p.path.decode(), p.reason) for p in report.problems]
    large = "its stream big can't be stored here: too large for an extended attribute"
    assert sorted(said) == sorted(
        [("anna/setup.exe", large), *((path, LOST) for path in (
            "anna", "anna/setup.exe", "anna/Documents", "anna/Documents/large", "anna/Documents/letter.txt",
            "anna/Documents/read-only",
        ))]
    )  # fmt: skip


def test_without_permissions_nothing_is_reported(machine: Machine, windows: Double, tmp_path: Path) -> None:
    outcome = machine.back_up(windows, f"C:{HOME[1:]}\\Documents")
    assert outcome.point is not None
    report = restore(machine.vault, outcome.point, tmp_path / "out", permissions=False)
    assert report.problems == []
    letter = tmp_path / "out" / "C" / "Users" / "anna" / "Documents" / "letter.txt"
    assert os.listxattr(letter) == ["user.DOSATTRIB"]


def test_encrypted_file_here(machine: Machine, windows: Double, tmp_path: Path) -> None:
    windows.add(f"{HOME}\\secret", b"x", attributes=ENCRYPTED, security=PLAIN).raw = b"raw export"
    outcome = machine.back_up(windows, f"C:{HOME[1:]}\\secret")
    assert outcome.point is not None
    report = restore(machine.vault, outcome.point, tmp_path / "out", b"C/Users/anna/secret", permissions=False)
    assert (tmp_path / "out" / "secret").read_bytes() == b"raw export"
    assert [p.reason for p in report.problems] == [
        "it is encrypted (EFS): only Windows can import the export that was restored"
    ]


def test_dry_run_reads_no_streams(machine: Machine, windows: Double, tmp_path: Path) -> None:
    outcome = machine.back_up(windows)
    assert outcome.point is not None
    report = restore(machine.vault, outcome.point, tmp_path / "out", dry_run=True)
    assert report.problems == [] and not (tmp_path / "out").exists()


def test_command(rpdrive: Cli, vault: Vault, windows: Double, tmp_path: Path) -> None:
    """Exit code 3, and the reason for each file."""
    Machine(tmp_path / "state", vault).back_up(windows)
    done = rpdrive.run("restore", "latest:/C/Users/anna/Documents", "--to", tmp_path / "out", "--json")
    assert done.returncode == 3, done
    found = json.loads(done.stdout)
    assert found["problem_count"] == 4 and {p["reason"] for p in found["problems"]} == {LOST}
    assert (tmp_path / "out" / "Documents" / "letter.txt").read_bytes() == b"Dear Ms. Miller"


# --- on Windows: its double -----------------------------------------------------------------------------------


@pytest.fixture
def other() -> Iterator[Double]:
    """An empty machine to restore to, with an administrator's privileges."""
    double = Double({"SeBackupPrivilege", "SeRestorePrivilege", "SeSecurityPrivilege"})
    yield double
    assert (double.handles, double.broken) == ({}, [])


def restore_to(
    machine: Machine, point: Point | None, double: Double, to: str, *paths: bytes, **options: object
) -> Report:
    """Restore to a machine's disk, in this process."""
    assert point is not None
    disk = WindowsDisk(double.api())
    return restore(machine.vault, point, Path(to), *paths, disk=disk, system="Windows", **options)


def shape(double: Double, top: str) -> dict[str, object]:
    """What is below a folder, except what a restore can't set: ids, change times, short names."""
    found: dict[str, object] = {}
    firsts: dict[int, str] = {}
    for path, entry in double.walk():
        if path.startswith(top):
            i = entry.item
            streams = {n: (bytes(d.data), d.ranges) for n, d in i.streams.items() if n or d.data}
            here = path[len(top) :]
            known = (i.attributes, i.created, i.written, i.audited or i.security, i.reparse, i.extended, i.raw)
            found[here] = (*known, streams, firsts.setdefault(i.index, here))
    return found


def test_everything_comes_back(machine: Machine, windows: Double, other: Double) -> None:
    """The restored machine does not differ from the one that was backed up."""
    windows.item(f"{HOME}\\setup.exe").audited = AUDITED
    windows.item(f"{HOME}\\Documents\\large").attributes |= 0x800
    windows.item(f"{HOME}\\empty").attributes |= ENCRYPTED
    windows.item(f"{HOME}\\setup.exe").streams["half \ud800"] = Data(b"odd")
    dedup = windows.item(f"{HOME}\\deduplicated")
    outcome = machine.back_up(windows)
    report = restore_to(machine, outcome.point, other, "C:\\back")
    assert report.problems == [] and other.handles == {}
    dedup.attributes, dedup.reparse = ARCHIVE | SPARSE, b""  # it comes back as a file of its own
    dedup.data.ranges = [(0, len(dedup.data.data))]
    found, wanted = shape(other, "C\\back\\C\\Users"), shape(windows, "C\\Users")
    assert {p for p in wanted if found.get(p) != wanted[p]} == set()
    assert found.keys() == wanted.keys()


def test_in_place_over_what_is_there(machine: Machine, windows: Double) -> None:
    """Read-only files and links are replaced; equal files are left unchanged."""
    outcome = machine.back_up(windows)
    before = shape(windows, HOME)
    windows.touch(f"{HOME}\\Documents\\read-only", b"changed")
    windows.touch(f"{HOME}\\Documents\\letter.txt", b"changed")
    windows.allowed |= {"SeRestorePrivilege"}
    report = restore_to(
        machine, outcome.point, windows, "/", b"C/Users/anna/Documents", in_place=True, policy=Policy.OVERWRITE
    )
    assert (report.problems, report.written, report.replaced) == ([], 2, 2)
    assert shape(windows, f"{HOME}\\Documents") == {
        p.removeprefix("\\Documents"): _renumbered(v, p) for p, v in before.items() if p.startswith("\\Documents")
    }


def _renumbered(row: object, path: str) -> object:
    assert isinstance(row, tuple)
    return (*row[:-1], path.removeprefix("\\Documents"))


def test_stopped_restore_goes_on(machine: Machine, windows: Double, other: Double) -> None:
    """Complete files are not written again; an unfinished folder is finished."""
    outcome = machine.back_up(windows)
    restore_to(machine, outcome.point, other, "C:\\back")
    wanted = shape(other, "C\\back")
    del other.item("C\\back\\C\\Users\\anna").children["SETUP.EXE"]
    home = other.item("C\\back\\C\\Users\\anna")
    home.attributes, home.written = DIRECTORY | READONLY | 0x2000, home.written + 1
    report = restore_to(machine, outcome.point, other, "C:\\back")
    assert (report.written, report.lost) == (1, 0)
    assert shape(other, "C\\back") == wanted


def test_encrypted_file_comes_back(machine: Machine, windows: Double, other: Double) -> None:
    for name, size in (("small", 5_000), ("large", 900_000)):
        item = windows.add(f"{HOME}\\{name}", b"x", attributes=ARCHIVE | ENCRYPTED, security=PLAIN)
        item.raw = os.urandom(size)
    outcome = machine.back_up(windows)
    report = restore_to(machine, outcome.point, other, "C:\\back", b"C/Users/anna")
    assert report.problems == []
    for name in ("small", "large"):
        item = other.item(f"C\\back\\anna\\{name}")
        assert (item.raw, item.attributes, item.security, bytes(item.data.data)) == (
            windows.item(f"{HOME}\\{name}").raw, ARCHIVE | ENCRYPTED, PLAIN, b"",
        )  # fmt: skip
    assert [p for p, _e in other.walk() if "rpdrive" in p] == []


def test_without_rights(machine: Machine, windows: Double, other: Double) -> None:
    """Access lists are set; owners need an administrator, which is reported for each file."""
    other.allowed = set()
    outcome = machine.back_up(windows, "C:\\Users\\anna\\Documents")
    report = restore_to(machine, outcome.point, other, "C:\\back", b"C/Users/anna/Documents")
    reason = "its permissions could not be set: setting this owner needs an administrator's rights"
    assert {p.reason for p in report.problems} == {reason} and report.problem_count == 4
    assert other.item("C\\back\\Documents\\letter.txt").data.data == b"Dear Ms. Miller"
    plain = restore_to(machine, outcome.point, other, "C:\\plain", b"C/Users/anna/Documents", permissions=False)
    assert plain.problems == []
    assert other.item("C\\plain\\Documents\\letter.txt").security == b""


def test_point_of_another_system(tmp_path: Path, other: Double) -> None:
    """Contents, links and times; names that Windows can't store are changed. FIFOs are refused."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a:b").write_bytes(b"colon")
    (source / "large").write_bytes(bytes(range(256)) * 4000)
    os.link(source / "large", source / "other name")
    (source / "link").symlink_to("a:b")
    os.mkfifo(source / "fifo")
    os.utime(source / "a:b", ns=(1, 1_600_000_000_123_456_700))
    (source / "hole").touch()
    os.truncate(source / "hole", 1 << 20)
    protected = Protected(MemoryStore(), tmp_path / "state")
    outcome = protected.backup(source)
    assert outcome.point is not None
    report = restore(
        protected.vault, outcome.point, Path("C:\\back"), os.fsencode(source), system="Windows", permissions=False,
        disk=WindowsDisk(other.api()),
    )  # fmt: skip
    assert [(p.path, p.reason) for p in report.problems] == [
        (b"source/fifo", "it could not be written: Windows has no such kind of file")
    ]
    colon = other.item("C\\back\\source\\a\uf03ab")
    assert (bytes(colon.data.data), colon.written) == (b"colon", to_filetime(1_600_000_000_123_456_700))
    assert other.item("C\\back\\source\\large") is other.item("C\\back\\source\\other name")
    assert other.item("C\\back\\source\\large").data.data == bytes(range(256)) * 4000
    assert "a\uf03ab".encode("utf-16-le") in other.item("C\\back\\source\\link").reparse
    assert other.item("C\\back\\source\\large").attributes == ARCHIVE
    hole = other.item("C\\back\\source\\hole")
    assert (hole.data.ranges, len(hole.data.data)) == ([], 1 << 20)


def test_nothing_is_written_through_a_link(machine: Machine, windows: Double, other: Double) -> None:
    outcome = machine.back_up(windows)
    other.folder("C\\back")
    other.folder("C\\elsewhere")
    other.folder("C\\back\\C", attributes=REPARSE, reparse=junction("C:\\elsewhere"))
    report = restore_to(machine, outcome.point, other, "C:\\back", policy=Policy.OVERWRITE)
    assert report.lost and not other.item("C\\elsewhere").children


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("C:\\out", "\\\\?\\C:\\out"),
        ("C:/out/", "\\\\?\\C:\\out"),
        ("C:\\", "\\\\?\\C:"),
        ("\\\\?\\C:\\out", "\\\\?\\C:\\out"),
        ("\\\\server\\share\\out", "\\\\?\\UNC\\server\\share\\out"),
        ("/", ""),
    ],
)
def test_target_paths(path: str, wanted: str) -> None:
    assert absolute(path) == wanted


def test_windows_takes_its_own_disk() -> None:
    """Its disk is chosen on Windows only, and loaded only there."""
    script = """
import ctypes, os, sys
import mount.restore.disk.attributes
os.name = {name!r}
from mount.restore.disk.this import THIS_DISK
os.name = "posix"
import mount.restore.run
same = mount.restore.run.THIS_DISK is THIS_DISK
print(type(THIS_DISK).__name__, "mount.restore.disk.windows" in sys.modules, same)
"""
    for name, said in (("nt", "WindowsDisk True True"), ("posix", "PosixDisk False True")):
        done = subprocess.run(
            [sys.executable, "-c", script.format(name=name)], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert done.stdout.strip() == said


def test_runs_of_a_plan_keep_windows_metadata() -> None:
    at = Extent(bytes(16), 1, 2, 3, 4, b"x" * 16)
    contents: list[list[Piece] | Paged] = [[at, Hole(3)], Paged(1, at, 7, b"d" * 16), []]
    for content in contents:
        stream = Stream("\ud800", 7, content)
        known_ = Windows(0x20, -5, OutOfLine(at), [stream], b"reparse", None, "", 9)
        assert unpack_windows(msgspec.msgpack.decode(msgspec.msgpack.encode(pack_windows(known_)))) == known_
    assert unpack_windows(pack_windows(None)) is None


def test_a_scanner_holds_what_was_just_written(
    machine: Machine, windows: Double, other: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is restored without its attributes, which is reported."""
    opened = Double.CreateFileW

    def refuse(d: Double, path: int, access: int, *rest: int) -> int:
        if access & 0x110 == 0x110 and ".rpdrive-" in d._text(path):
            raise Problem(32)
        return opened(d, path, access, *rest)

    monkeypatch.setattr(Double, "CreateFileW", refuse)
    outcome = machine.back_up(windows, "C:\\Users\\anna\\first")
    report = restore_to(machine, outcome.point, other, "C:\\back", b"C/Users/anna/first")
    assert [(p.path, p.reason) for p in report.problems] == [
        (b"first", "its attributes could not be set: another program has it open and does not share it")
    ]
    assert other.item("C\\back\\first").data.data == b"one file, two names"
