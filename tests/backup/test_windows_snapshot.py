"""A Windows machine read from shadow copies: the point has their state in every part, and never the live one."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backup.request import Request, selected
from backup.run import Result
from backup.selection import Selection
from backup.snapshot.marks import JobMark
from backup.snapshot.vss.client import Helper
from backup.snapshot.vss.provider import Vss
from backup.snapshot.vss.volumes import volume_of
from backup.snapshot.vss.wmi import Wmi
from backup.sources.base import Source
from backup.sources.shadows import ShadowFiles, shadow_files
from backup.sources.volume import VolumeFiles
from backup.sources.wish import Wish, wish
from backup.systems.windows import WindowsSystem
from catalog.errors import LocalError, SnapshotFailed, SnapshotLost, UsageError
from catalog.format.nodes import Node
from catalog.format.records import ItemKind
from catalog.format.values import NodeKind
from catalog.format.windows import Windows
from catalog.windows.console import Output
from catalog.windows.times import from_filetime
from tests.kit.marks import end_of
from tests.kit.powershell_double import PowerShellDouble
from tests.kit.vss_double import Script, called, held, helper_command
from tests.kit.windows_double import (
    ARCHIVE,
    DIRECTORY,
    ENCRYPTED,
    RECALL,
    REPARSE,
    SPARSE,
    Data,
    Double,
    Item,
)  # fmt: skip
from tests.kit.windows_machine import (
    AUDITED,
    HOME,
    OPEN,
    PLAIN,
    Machine,
    junction,
    link_buffer,
    make_windows,
    tagged,
)

CLOUD = 0x9000301A


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "state")


def change_everything(d: Double) -> None:
    """The live volume, after the shadow copy: every part of every file differs, and names come and go."""
    rng = random.Random(2)
    for _path, entry in list(d.walk()):
        item = entry.item
        for data in item.streams.values():
            data.data[:] = rng.randbytes(len(data.data))
            data.ranges = None
        item.streams["new stream"] = Data(b"from after the shadow copy")
        item.attributes ^= 2
        item.created, item.written, item.changed = item.created + 10, item.written + 10, item.changed + 10
        item.security, item.audited = (PLAIN if item.security == OPEN else OPEN), b""
        item.extended = struct.pack("<IBBH", 0, 0, 3, 1) + b"NEW\0" + b"x"
        item.index += 1000
        entry.short = "NEW~1"
        if item.reparse[3:4] == b"\xa0":
            item.reparse = (
                junction("C:\\new") if item.attributes & DIRECTORY else link_buffer(0xA000000C, "new", "new", 1)
            )
        elif item.reparse:
            item.reparse = tagged(0x0000BEEF, b"new")
    d.roots["C"].security, d.roots["C"].attributes = PLAIN, DIRECTORY | 2
    d.add(f"{HOME}\\made later", b"not in the point", security=PLAIN)
    folder, name = d._parent(f"{HOME}\\setup.exe")
    del folder.children[name.upper()]


def shadowed() -> tuple[Double, dict[str, str], list[tuple[str, Item, str]]]:
    """A machine whose live volume differs from its shadow copy; and what that has: path, file, 8.3 name."""
    d = make_windows()
    d.item(f"{HOME}\\setup.exe").audited = AUDITED
    d.roots["C"].streams["on the root"] = Data(b"a stream of the root folder")
    d.roots["C"].extended = struct.pack("<IBBH", 0, 0, 4, 2) + b"ROOT\0" + b"ea"
    shadows = {"C": d.take_shadow()}
    held = [(path, entry.item, entry.short) for path, entry in d.walk(d.shadows["HarddiskVolumeShadowCopy1"])]
    change_everything(d)
    d.opened.clear()
    return d, shadows, held


def assert_is(machine: Machine, node: Node, item: Item, short: str) -> None:
    """The entry has everything of the file."""
    w = node.windows
    assert isinstance(w, Windows)
    assert (node.inode, node.mtime, node.ctime) == (
        item.index,
        from_filetime(item.written),
        from_filetime(item.changed),
    )
    assert (w.attributes, w.created, w.short_name) == (item.attributes, from_filetime(item.created), short)
    assert machine.value(w.security) == (item.audited or item.security)
    assert machine.value(w.extended) == item.extended
    through = item.reparse[:4] == struct.pack("<I", 0x80000013)
    assert machine.value(w.reparse) == (b"" if through else item.reparse)
    assert {s.name: machine.bytes_of(s.content) for s in w.streams} == {
        name: bytes(data.data) for name, data in item.streams.items() if name
    }
    if node.kind == NodeKind.FILE:
        assert machine.bytes_of(node.content) == item.data.data
        assert (node.size, node.nlink) == (len(item.data.data), item.names)


def test_every_part_is_that_of_the_shadow_copy(machine: Machine) -> None:
    d, shadows, held = shadowed()
    saved = machine.checked(d, shadows=shadows)
    wanted = [row for row in held if row[0] == "C\\Users" or row[0].startswith(HOME)]
    assert saved.keys() == {path for path, _item, _short in wanted} | {"C"}, "names are those of the machine"
    for path, item, short in wanted:
        assert_is(machine, saved[path], item, short if path != "C\\Users" else "")
    root = d.shadows["HarddiskVolumeShadowCopy1"]
    assert_is(machine, saved["C"], root, "")
    assert saved[f"{HOME}\\My Documents"].content == b"Documents", "a link leads where it led on the machine"
    # Not one handle was opened on the live volume, for whatever part.
    assert {path.split("\\")[0] for path in d.opened} == {"HarddiskVolumeShadowCopy1"}


def test_a_second_run_from_another_shadow_copy_reads_nothing(machine: Machine) -> None:
    """Ids and times are the volume's own, so what did not change is known, though its path is another."""
    d = make_windows()
    machine.checked(d, shadows={"C": d.take_shadow()})
    d.read_bytes = 0
    outcome = machine.back_up(d, shadows={"C": d.take_shadow()})
    assert (outcome.problems, d.read_bytes) == ([], 0)
    live = machine.back_up(d)  # nor after a run from the live files, or before one
    assert (live.problems, d.read_bytes) == ([], 0)


def test_other_drives_are_live(machine: Machine) -> None:
    d = make_windows()
    d.roots["D"] = Item(DIRECTORY, index=5 | 5 << 48, security=OPEN)
    d.add("D\\file", b"of D", security=PLAIN)
    shadows = {"C": d.take_shadow()}
    d.touch(f"{HOME}\\first", b"changed later")
    outcome = machine.back_up(d, "C:\\Users\\anna\\first", "D:\\", shadows=shadows)
    saved = machine.entries(outcome)
    assert machine.bytes_of(saved[f"{HOME}\\first"].content) == b"one file, two names"
    assert machine.bytes_of(saved["D\\file"].content) == b"of D"


def test_a_whole_drive(machine: Machine) -> None:
    """The root needs its backslash: without it the volume itself is opened, which has no files."""
    d, shadows, held = shadowed()
    saved = machine.entries(machine.back_up(d, "C:\\", shadows=shadows))
    assert saved.keys() == {path for path, _item, _short in held} | {"C"}
    assert {path.split("\\")[0] for path in d.opened} == {"HarddiskVolumeShadowCopy1"}


def test_rpdrives_own_folders_keep_their_numbers() -> None:
    """A vault on the volume is left out of its shadow copy, too: it has the same serial and ids there."""
    d = make_windows()
    system = WindowsSystem(d.api())
    before = system.identity(Path("C:\\Users\\anna\\empty"))
    system.shadows = {"C": d.take_shadow()}
    assert before is not None
    assert system.identity(Path("C:\\Users\\anna\\empty")) == before
    folder = system.open_top()
    for name in (b"C", b"Users", b"anna"):
        folder = system.open_folder(name, folder)
    st = system.status(b"empty", folder)
    assert (st.st_dev, st.st_ino) == before
    assert st.path.startswith("\\\\?\\GLOBALROOT\\Device\\HarddiskVolumeShadowCopy1\\Users")


def reasons(outcome: Result) -> dict[str, str]:
    return {p.path.decode().rpartition("/")[2]: p.reason for p in outcome.problems}


@pytest.mark.parametrize("fetch", [False, True])
def test_what_is_in_a_cloud_is_not_downloaded(machine: Machine, fetch: bool) -> None:
    """Nor read as zeros: the cloud service's filter does not look at shadow copies."""
    d = make_windows()
    known: dict[str, Any] = {"security": PLAIN, "reparse": tagged(CLOUD)}
    d.add(f"{HOME}\\away", bytes(9000), attributes=ARCHIVE | REPARSE | RECALL | SPARSE, **known).data.ranges = []
    d.add(f"{HOME}\\half", bytes(9000), attributes=ARCHIVE | REPARSE | SPARSE, **known).data.ranges = [(0, 4096)]
    d.add(f"{HOME}\\gap", bytes(9000), attributes=ARCHIVE | REPARSE, **known).data.ranges = [(0, 10), (8192, 9000)]
    here = d.add(f"{HOME}\\here", b"downloaded before", attributes=ARCHIVE | REPARSE, **known)
    here.streams["s"] = Data(b"a stream of it")
    d.add(f"{HOME}\\empty file", b"", attributes=ARCHIVE | REPARSE, **known)
    d.folder(f"{HOME}\\folder away", attributes=REPARSE | RECALL, **known)
    outcome = machine.back_up(d, fetch=fetch, shadows={"C": d.take_shadow()})
    why = reasons(outcome)
    assert why.keys() == {"away", "half", "gap", "folder away"}
    assert all("--snapshot never --cloud-files" in reason for reason in why.values())
    assert d.recalled == 0
    saved = machine.entries(outcome)
    assert machine.bytes_of(saved[f"{HOME}\\here"].content) == b"downloaded before"
    assert saved[f"{HOME}\\empty file"].size == 0
    assert not {f"{HOME}\\away", f"{HOME}\\half", f"{HOME}\\gap"} & saved.keys()
    w = saved[f"{HOME}\\here"].windows
    assert isinstance(w, Windows)
    assert [machine.bytes_of(s.content) for s in w.streams] == [b"a stream of it"]


def test_encrypted_files_and_what_is_in_use(machine: Machine) -> None:
    """An open file is closed to others on the live volume; in the shadow copy nobody has it open."""
    d = make_windows()
    d.add(f"{HOME}\\secret", attributes=ARCHIVE | ENCRYPTED, security=PLAIN, raw=b"a raw export" * 300)
    shadows = {"C": d.take_shadow()}
    d.item(f"{HOME}\\first").exclusive = True
    d.item(f"{HOME}\\secret").raw = b"changed later"
    saved = machine.checked(d, shadows=shadows)
    assert machine.bytes_of(saved[f"{HOME}\\secret"].content) == b"a raw export" * 300
    assert machine.bytes_of(saved[f"{HOME}\\first"].content) == b"one file, two names"


# --- the source ---------------------------------------------------------------------------------------------------


class Changing(PowerShellDouble):
    """WMI on the double of a machine, whose live volumes change in the moment after a shadow copy was made."""

    def __init__(self, d: Double, notes: Path) -> None:
        super().__init__()
        self.double, self.state = d, notes
        self.volumes: list[str] = []

    def _make(self, volume: str, noted: str, note: Path) -> Output:
        if not self.code:
            self.volumes.append(volume)
            self.double.take_shadow(volume[0])
        made = super()._make(volume, noted, note)
        if volume == "C:\\":
            self.double.touch(f"{HOME}\\first", b"changed since")
        return made

    def source(self, mode: str = "auto", **what: Any) -> Callable[[WindowsSystem, Selection], Source]:
        def make(system: WindowsSystem, selection: Selection) -> Source:
            provider = Wmi(system.api, self.state / "snapshots", runner=self.run)
            wish = Wish(mode, what.pop("asked", True), **what)
            return ShadowFiles(system, selection, [provider], self.state, wish)

        return make

    @property
    def left(self) -> list[str]:
        """What is left of the backups: shadow copies, marks and notes."""
        files = (self.state / "snapshots").glob("*")
        return [*self.shadows, *(path.name for path in files)]


@pytest.fixture
def wmi(tmp_path: Path) -> Changing:
    d = make_windows()
    for letter in "DE":
        d.roots[letter] = Item(DIRECTORY, index=5 | 5 << 48, security=OPEN)
        d.add(f"{letter}\\file", b"of it", security=PLAIN)
    d.file_systems = {"E": "FAT32"}
    return Changing(d, tmp_path / "of wmi")


def test_drives_are_read_from_shadow_copies(machine: Machine, wmi: Changing) -> None:
    outcome = machine.back_up(wmi.double, "C:\\Users\\anna", "D:\\", source=wmi.source("always"))
    assert outcome.problems == []
    saved = machine.entries(outcome)
    assert machine.bytes_of(saved[f"{HOME}\\first"].content) == b"one file, two names"
    assert machine.bytes_of(saved["D\\file"].content) == b"of it"
    assert wmi.volumes == ["C:\\", "D:\\"]
    assert wmi.left == []
    point = outcome.point
    assert point is not None
    assert [(v.place, v.snapshot, v.uuid, v.label) for v in point.volumes] == [
        (b"/C", "wmi", "BEEF-1234", "Label of C"), (b"/D", "wmi", "BEEF-1234", "Label of D"),
    ]  # fmt: skip
    assert point.time == min(v.time for v in point.volumes) > 0
    assert set(point.paths) == {b"/C/Users/anna", b"/D"}


def test_a_volume_is_read_from_its_shadow_copy(machine: Machine, wmi: Changing) -> None:
    """`--volume C:`: its identity, and the instant of its shadow copy."""
    files = wmi.source("always")

    def source(system: WindowsSystem, selection: Selection) -> Source:
        return VolumeFiles(system.volume(Path("C:\\")), files(system, selection))

    outcome = machine.back_up(wmi.double, "C:\\", source=source)
    assert outcome.problems == []
    assert machine.bytes_of(machine.entries(outcome)[f"{HOME}\\first"].content) == b"one file, two names"
    point = outcome.point
    assert point is not None
    (volume,) = point.volumes
    assert (point.kind, volume.place, volume.snapshot) == (ItemKind.VOLUME, b"/C", "wmi")
    assert (volume.file_system, volume.label, volume.time) == ("NTFS", "Label of C", point.time)
    assert wmi.left == []


def test_what_can_have_none_is_live_and_told(machine: Machine, wmi: Changing) -> None:
    outcome = machine.back_up(wmi.double, "C:\\Users\\anna\\first", "E:\\", source=wmi.source())
    (problem,) = outcome.problems
    assert "no shadow copy of the drive E: FAT32 has no shadow copies" in problem.reason
    assert outcome.point is not None
    assert [(v.place, v.snapshot) for v in outcome.point.volumes] == [(b"/C", "wmi"), (b"/E", "")]
    with pytest.raises(SnapshotFailed, match="no shadow copy of the drive E: FAT32"):
        machine.back_up(wmi.double, "C:\\Users\\anna\\first", "E:\\", source=wmi.source("always"))


def test_by_default_what_can_have_none_is_no_problem(machine: Machine, wmi: Changing) -> None:
    """Nobody asked for them: that E: can have none is a note; that one failed is a problem all the same."""
    paths = "C:\\Users\\anna\\first", "E:\\"
    assert machine.back_up(wmi.double, *paths, source=wmi.source(asked=False)).problems == []
    wmi.code = 6
    (problem,) = machine.back_up(wmi.double, *paths, source=wmi.source(asked=False)).problems
    assert "its files were read while they are in use" in problem.reason


def test_a_dry_run_makes_none(machine: Machine, wmi: Changing) -> None:
    def source(system: WindowsSystem, selection: Selection) -> Source:
        provider = Wmi(system.api, wmi.state, runner=wmi.run)
        return ShadowFiles(system, selection, [provider], wmi.state, Wish("always", True), dry=True)

    machine.back_up(wmi.double, source=source, dry=True)
    assert (wmi.volumes, wmi.left) == ([], [])


def test_what_a_killed_backup_left_goes(machine: Machine, wmi: Changing) -> None:
    """By its mark and its note, at the start of the next."""
    theirs = wmi.somebody()
    dead = JobMark(wmi.state)
    provider = Wmi(wmi.double.api(), wmi.state / "snapshots", runner=wmi.run)
    provider.make([volume_of(wmi.double.api(), "C")], dead)
    end_of(dead)
    assert len(wmi.left) == 4
    machine.back_up(wmi.double, source=wmi.source())
    assert wmi.left == [theirs]


def test_a_failure_is_told_or_ends_it(machine: Machine, wmi: Changing) -> None:
    wmi.code = 6
    outcome = machine.back_up(wmi.double, source=wmi.source())
    (problem,) = outcome.problems
    assert "no room for the shadow copy" in problem.reason and "vssadmin" in problem.reason
    with pytest.raises(SnapshotFailed, match="no room"):
        machine.back_up(wmi.double, source=wmi.source("always"))
    assert wmi.left == []


@pytest.mark.parametrize("what", [{"mode": "never"}, {"live": frozenset([b"C:\\"])}])
def test_drives_that_are_to_be_live(what: dict[str, Any], machine: Machine, wmi: Changing) -> None:
    outcome = machine.back_up(wmi.double, source=wmi.source(**what))
    assert (outcome.problems, wmi.volumes) == ([], [])
    assert outcome.point is not None
    assert [(v.place, v.snapshot) for v in outcome.point.volumes] == [(b"/C", "")]


def test_a_lost_shadow_copy_makes_no_point(machine: Machine, wmi: Changing) -> None:
    """Windows deletes the oldest when their storage is full: also ours, while it is read."""
    wmi.after_make = wmi.shadows.clear
    with pytest.raises(SnapshotLost, match="deleted while it was read"):
        machine.back_up(wmi.double, source=wmi.source())
    assert wmi.left == []


def test_through_the_helper_process(machine: Machine, tmp_path: Path) -> None:
    """The service's double in a process of its own; its device objects are those of the machine's double."""
    d = make_windows()
    d.take_shadow()
    d.touch(f"{HOME}\\first", b"changed since")
    (tmp_path / "service").mkdir()
    script = Script(str(tmp_path / "service"), writers=[("Dhcp", 9, 0x800423F2)])

    def source(system: WindowsSystem, selection: Selection) -> Source:
        provider = Vss(system.api, start=lambda: Helper(helper_command(script)))
        return ShadowFiles(system, selection, [provider], tmp_path, Wish("always", True))

    outcome = machine.back_up(d, source=source)
    assert [p.reason for p in outcome.problems] == [
        "the writer 'Dhcp' failed: a writer was not ready in time (0x800423F2)"
    ]
    saved = machine.entries(outcome)
    assert machine.bytes_of(saved[f"{HOME}\\first"].content) == b"one file, two names"
    assert held(tmp_path / "service") == 0
    assert called(tmp_path / "service")[-2:] == ["CoUninitialize", "live 0"]


# --- the request
# ----------------------------------------------------------------------------------------------------


def test_a_request_on_windows(tmp_path: Path) -> None:
    system = WindowsSystem(make_windows().api())
    selection = Selection([b"/C/Users"])
    for first in ("", "vss", "wmi"):
        source = shadow_files(system, selection, tmp_path, Wish(provider=first), kind=ItemKind.FILES, dry=False)
        assert isinstance(source, ShadowFiles)
        assert source._provider.name == (first or "vss")
        assert {provider.name for provider in source._providers} == {"vss", "wmi", "wbadmin"}
        source.close()
    with pytest.raises(UsageError, match="--snapshot-provider is vss or wmi"):
        wish(Request([Path("x")], snapshot_provider="zfs"), "")
    assert wish(Request([Path("x")], snapshot_provider="wmi"), "").provider == "wmi"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("\\\\server\\share\\x", "on a network drive"), ("\\\\?\\UNC\\server\\share", "on a drive of this machine"),
        ("\\\\?\\Volume{0b0fc0de-0000-0000-0000-100000000000}\\x", "without a drive letter"),
    ],
)  # fmt: skip
def test_paths_that_have_no_drive(path: str, said: str) -> None:
    """A network drive, and a volume that is mounted in a folder, as Windows resolves paths in them."""
    with pytest.raises(LocalError, match=said):
        WindowsSystem(make_windows().api()).point_path(Path(path))


def test_what_windows_asks_to_leave_out(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weakest rules of all; the point lists them, and an option switches them off."""
    asked: list[bool] = []

    def not_to_back_up(*, snapshot: bool) -> list[str]:
        asked.append(snapshot)
        return ["/C/Users/*/*.exe", "/C/Users/anna/sparse"]

    monkeypatch.setattr("backup.request.not_to_back_up", not_to_back_up)
    monkeypatch.setattr("backup.request.resolved", lambda path: path)
    monkeypatch.setattr("os.path.lexists", lambda _path: True)
    system = WindowsSystem(make_windows().api())
    request = Request([Path("C:\\Users\\anna")], excludes=["!sparse"])
    found = selected(request, system)
    assert found.excludes == [
        "# the registry's lists for backups (--no-system-exclusions)", "/C/Users/*/*.exe", "/C/Users/anna/sparse",
        "!sparse",
    ]  # fmt: skip
    layer = found.exclusions.top
    for name in (b"C", b"Users", b"anna"):
        assert layer is not None
        layer = layer.below(name)
    assert layer is not None
    rule = layer.deciding(b"SETUP.EXE", is_folder=False)
    assert rule is not None and "registry" in str(rule)
    stronger = layer.deciding(b"sparse", is_folder=False)
    assert stronger is not None and stronger.negated
    selected(msgspec.structs.replace(request, snapshot="never"), system)
    assert selected(msgspec.structs.replace(request, system_exclusions=False), system).excludes == ["!sparse"]
    assert asked == [True, False]
