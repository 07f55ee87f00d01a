"""The providers of shadow copies, `vss` and `wmi`: which volumes they take, what they note, and what they leave."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backup.snapshot.base import Found, Options, Provider, Snapshot, Volume
from backup.snapshot.vss.client import Helper
from backup.snapshot.vss.provider import NO_RIGHT, NOT_64, Vss, rights
from backup.snapshot.vss.volumes import is_device, letter_of, recorded, volume_of
from backup.snapshot.vss.wmi import Wmi
from catalog.errors import LocalError, SnapshotFailed, SnapshotLost
from catalog.windows.console import KEPT, Output, decoded, run
from tests.kit.marks import TAG, FakeMark
from tests.kit.powershell_double import PowerShellDouble
from tests.kit.vss_double import DEVICE, Script, held, helper_command
from tests.kit.windows_double import DIRECTORY, Double, Item, volume_name
from tests.kit.windows_machine import ALL, make_windows


@pytest.fixture
def windows() -> Double:
    d = Double(set(ALL))
    for letter in "DENS":
        d.roots[letter] = Item(DIRECTORY, index=5)
    d.file_systems = {"E": "exFAT", "N": "NTFS"}
    d.drive_types = {"D": 2, "N": 4, "S": 5}
    return d


def starter(folder: Path, **what: object) -> Callable[[], Helper]:
    return lambda: Helper(helper_command(Script(str(folder), **what)))  # type: ignore[arg-type]


def test_volumes(windows: Double) -> None:
    found = volume_of(windows.api(), "C")
    assert found == Volume(b"/C", 0xBEEF1234, "NTFS", volume_name("C").encode(), b"/", "fixed")
    row = recorded(windows.api(), found, "vss", 7)
    assert (row.place, row.uuid, row.label, row.snapshot, row.time) == (b"/C", "BEEF-1234", "Label of C", "vss", 7)
    assert (row.size, row.used, row.file_system) == (100 << 30, 50 << 30, "NTFS")
    assert [letter_of(path) for path in (b"/c/Users", b"/C", b"/", b"")] == ["C", "C", "", ""]
    with pytest.raises(OSError):
        volume_of(windows.api(), "X")


def test_devices_are_nothing_else() -> None:
    assert is_device(DEVICE + "12")
    for text in ("", "C:\\", DEVICE + "1\\", DEVICE + "1\\Windows", "\\\\.\\PhysicalDrive0", DEVICE + "\n"):
        assert not is_device(text)


@pytest.mark.parametrize(
    ("letter", "reason"),
    [
        ("C", ""),
        ("D", ""),
        ("E", "exFAT has no shadow copies"),
        ("N", "network drive"),
        ("S", "no local disk (optical)"),
    ],
)
def test_which_volumes_are_taken(letter: str, reason: str, windows: Double, tmp_path: Path) -> None:
    for provider in (Vss(windows.api()), Wmi(windows.api(), tmp_path)):
        why = provider.takes(volume_of(windows.api(), letter))
        assert (why == "") if not reason else (reason in why)


def test_without_rights(windows: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    windows.allowed = set()
    assert Vss(windows.api()).takes(volume_of(windows.api(), "C")) == NO_RIGHT
    windows.allowed = {"SeBackupPrivilege"}
    assert rights(windows.api()) == ""
    monkeypatch.setenv("PROCESSOR_ARCHITEW6432", "AMD64")
    assert rights(windows.api()) == NOT_64
    monkeypatch.delenv("PROCESSOR_ARCHITEW6432")
    monkeypatch.setattr(sys, "maxsize", (1 << 31) - 1)
    assert rights(windows.api()) == NOT_64


def volumes(windows: Double, letters: str) -> list[Volume]:
    return [volume_of(windows.api(), letter) for letter in letters]


def test_vss_makes_one_set_and_leaves_nothing(windows: Double, tmp_path: Path) -> None:
    provider: Provider = Vss(windows.api(), start=starter(tmp_path, writers=[("Dhcp", 9, 0x800423F2)]))
    mark = FakeMark()
    made: list[Snapshot] = list(provider.make(volumes(windows, "CD"), mark))
    assert [s.path for s in made] == [DEVICE + "1", DEVICE + "2"]  # type: ignore[attr-defined]
    assert [s.device for s in made] == [0xBEEF1234, 0xBEEF1234]
    assert len(mark.names) == 2
    assert held(tmp_path) == 2
    assert provider.problems == ["the writer 'Dhcp' failed: a writer was not ready in time (0x800423F2)"]  # type: ignore[attr-defined]
    assert made[0].block_device() is None
    with pytest.raises(SnapshotFailed):
        made[0].open()
    made[0].check()
    made[0].remove()
    made[1].check()
    assert held(tmp_path) == 2, "they are one set, which goes with the last of them"
    made[1].remove()
    made[1].remove()
    assert (held(tmp_path), mark.names, provider.found()) == (0, [], [])
    with pytest.raises(SnapshotLost):
        made[1].check()


@pytest.mark.parametrize("what", [{"fails": {"AddToSnapshotSet": 0x8004230C}}, {"device": "C:\\Windows"}])
def test_vss_makes_all_or_none(what: dict[str, object], windows: Double, tmp_path: Path) -> None:
    mark = FakeMark()
    with pytest.raises(SnapshotFailed):
        Vss(windows.api(), start=starter(tmp_path, **what)).make(volumes(windows, "CD"), mark)
    assert (held(tmp_path), mark.names) == (0, [])


# --- WMI ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shell() -> PowerShellDouble:
    return PowerShellDouble()


def test_wmi_makes_and_removes(windows: Double, shell: PowerShellDouble, tmp_path: Path) -> None:
    theirs = shell.somebody()
    provider: Provider = Wmi(windows.api(), tmp_path / "notes", Options(timeout=7), shell.run)
    mark = FakeMark()
    made = list(provider.make(volumes(windows, "CD"), mark))
    assert shell.timeouts == [7, 7]
    assert len(shell.shadows) == 3
    found = provider.found()
    assert {f.name for f in found} == {s.name for s in made} == {name for _provider, name in mark.names}
    assert {f.tag for f in found} == {TAG}
    for snapshot in made:
        snapshot.check()
        snapshot.remove()
        snapshot.remove()
    assert (list(shell.shadows), mark.names, provider.found()) == ([theirs], [], [])
    assert list((tmp_path / "notes").iterdir()) == []


def test_wmi_after_a_kill(windows: Double, shell: PowerShellDouble, tmp_path: Path) -> None:
    """The id is on disk in the moment in which the shadow copy was made, before rpdrive hears of it."""

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    theirs = shell.somebody()
    shell.after_make = kill
    notes = tmp_path / "notes"

    class Dead(Wmi):
        def delete(self, name: str, note: Path) -> None:
            """Delete nothing, as a killed process."""
            raise SnapshotFailed(name)

    mark = FakeMark()
    with pytest.raises(Killed):
        Dead(windows.api(), notes, runner=shell.run).make(volumes(windows, "C"), mark)
    assert len(shell.shadows) == 2
    later: Provider = Wmi(windows.api(), notes, runner=shell.run)
    (found,) = later.found()
    assert ([("wmi", found.name)], found.tag) == (mark.names, TAG)
    later.remove(Found("wmi", theirs.lower(), TAG))  # not noted: whoever asks, it stays
    assert len(shell.shadows) == 2
    later.remove(found)
    later.remove(found)
    assert list(shell.shadows) == [theirs]
    assert list(notes.iterdir()) == []


def test_wmi_with_nonsense_in_its_notes(windows: Double, shell: PowerShellDouble, tmp_path: Path) -> None:
    theirs = shell.somebody()
    ids = theirs.encode()
    lines = [b"\xff\xfe", b"*", b"{} {}", ids, b"x " + ids, b"rpdrive-" + b"f" * 32 + b"-C " + ids, b"x" * 100_000]
    (tmp_path / f"{TAG}.wmi").write_bytes(b"\n".join(lines))
    assert Wmi(windows.api(), tmp_path, runner=shell.run).found() == []


def test_a_powershell_may_outlive_its_rpdrive(windows: Double, shell: PowerShellDouble, tmp_path: Path) -> None:
    """Killed while PowerShell makes it: what the mark names stays named until nothing can come any more."""
    wmi = Wmi(windows.api(), tmp_path, runner=shell.run)
    name, note = f"{TAG}-C", tmp_path / f"{TAG}.wmi"
    assert wmi.reaches(name), "it was never begun"
    note.touch()
    assert not wmi.reaches(name)
    os.utime(note, (0, 0))
    assert wmi.reaches(name)
    assert not note.exists()


@pytest.mark.parametrize("code", [1, 3, 4, 5, 6, 8, 9, 10, 12, 99])
def test_wmi_fails_in_words(code: int, windows: Double, shell: PowerShellDouble, tmp_path: Path) -> None:
    shell.code = code
    mark = FakeMark()
    with pytest.raises(SnapshotFailed, match=rf"no shadow copy of C: was made: .*\(WMI {code}\)"):
        Wmi(windows.api(), tmp_path, runner=shell.run).make(volumes(windows, "C"), mark)
    assert (mark.names, shell.shadows, list(tmp_path.iterdir())) == ([], {}, [])


@pytest.mark.parametrize(
    "said",
    [
        Output(1, "Invoke-CimMethod : Access denied"), Output(0, ""), Output(0, "nonsense"), Output(0, "[1]"),
        Output(0, '{"code": "x"}'), Output(0, '{"code": 0, "id": "x", "device": "y"}'),
        Output(0, "", in_time=False),
        Output(0, "[" * 100_000),
    ],
)  # fmt: skip
def test_wmi_says_nonsense(said: Output, windows: Double, shell: PowerShellDouble, tmp_path: Path) -> None:
    shell.said = said
    with pytest.raises(SnapshotFailed):
        Wmi(windows.api(), tmp_path, runner=shell.run).make(volumes(windows, "C"), FakeMark())


def test_wmi_takes_back_what_it_made(windows: Double, shell: PowerShellDouble, tmp_path: Path) -> None:
    """The second volume fails: the shadow copy of the first one goes."""

    def fail() -> None:
        shell.code = 6

    shell.after_make = fail
    mark = FakeMark()
    with pytest.raises(SnapshotFailed):
        Wmi(windows.api(), tmp_path, runner=shell.run).make(volumes(windows, "CD"), mark)
    assert (shell.shadows, mark.names, list(tmp_path.iterdir())) == ({}, [], [])


def test_wmi_notices_a_lost_one(windows: Double, shell: PowerShellDouble, tmp_path: Path) -> None:
    (made,) = Wmi(windows.api(), tmp_path, runner=shell.run).make(volumes(windows, "C"), FakeMark())
    shell.shadows.clear()
    with pytest.raises(SnapshotLost):
        made.check()
    made.remove()


# --- programs -----------------------------------------------------------------------------------------------------


def test_programs_are_bounded() -> None:
    python = [sys.executable, "-c"]
    done = run([*python, "print('x' * 3_000_000); print('last \\r  50 %\\r done'); raise SystemExit(5)"], 60, {})
    assert (done.code, done.in_time, len(done.text) <= KEPT) == (5, True, True)
    assert done.last(1) == "done"
    done = run([*python, "import time; print('begun', flush=True); time.sleep(600)"], 0.2, {})
    assert not done.in_time
    with pytest.raises(LocalError, match="can't be started"):
        run(["/nowhere/wbadmin"], 1, {})


def test_what_programs_print_is_decoded() -> None:
    assert decoded("\ufeffgrün".encode("utf-16-le")) == "grün"
    assert decoded("grün, without a mark".encode("utf-16-le")) == "grün, without a mark"
    assert decoded(b"gr\xfcn \xff") == "gr\ufffdn \ufffd"


def test_the_double_is_a_whole_machine() -> None:
    assert make_windows().api().volume_name("C:\\") == volume_name("C")
