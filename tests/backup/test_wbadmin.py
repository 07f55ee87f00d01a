"""System state of Windows servers, on doubles: the checks, what is saved, and what is removed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backup.request import Request
from backup.run import Result
from backup.selection import Selection
from backup.snapshot.marks import JobMark, clean
from backup.snapshot.vss.provider import Vss
from backup.snapshot.vss.staging import Staging
from backup.sources.base import Source
from backup.sources.server_state import prepared_server, server_selection
from backup.sources.wbadmin import ROOM, Wbadmin, staged, staging_letter
from backup.systems.this import this_system
from backup.systems.windows import WindowsSystem
from catalog.errors import LocalError, SnapshotFailed, UsageError
from catalog.format.records import ItemKind
from catalog.windows.console import Output
from catalog.windows.image_backup import FACTS, read_facts
from tests.kit.marks import TAG, FakeMark, end_of
from tests.kit.wbadmin_double import BACKUP, CBS, CONTROL, ENVIRONMENT, IMAGE, SERVER, ServerPrograms, server_double
from tests.kit.windows_double import REPARSE
from tests.kit.windows_machine import HOME, OPEN, PLAIN, Machine, junction

START = "wbadmin.exe start systemstatebackup -backupTarget:E: -quiet"
STOP = "wbadmin.exe stop job -quiet"
DELETE = "wbadmin.exe delete systemstatebackup -backupTarget:E: -keepVersions:0 -quiet"
TOP = "E\\WindowsImageBackup"


@pytest.fixture
def server() -> ServerPrograms:
    return ServerPrograms(server_double())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "state")


def made(server: ServerPrograms, mark: Any = None, **what: Any) -> Wbadmin:
    return Wbadmin(
        server.double.api(), "E", mark or FakeMark(), server.registry, server.run, environment=ENVIRONMENT, **what
    )


def backed_up(machine: Machine, server: ServerPrograms, mark: Any = None, **what: Any) -> Result:
    """A backup of the system state."""

    def source(_system: WindowsSystem, selection: Selection) -> Source:
        found = made(server, mark, **what)
        assert selection.paths == staged("E")
        return found

    return machine.back_up(server.double, "E:\\WindowsImageBackup", "E:\\WindowsImageBackup.json", source=source)


def refusal(server: ServerPrograms) -> str:
    source = made(server)
    with pytest.raises(LocalError) as refused:
        source.begin()
    source.close()
    assert not any("start systemstatebackup" in command for command in server.commands)
    assert server.double.handles == {}
    return f"{refused.value}; {refused.value.advice}"


# --- what is saved ------------------------------------------------------------------------------------------------


def test_the_folder_is_saved_and_removed(machine: Machine, server: ServerPrograms) -> None:
    mark = FakeMark()
    outcome = backed_up(machine, server, mark)
    assert outcome.problems == [] and outcome.point is not None
    saved = machine.entries(outcome)
    here = f"{TOP}\\SRV01"
    assert {path for path in saved if path.startswith(here)} == {
        here, f"{here}\\MediaId", f"{here}\\Catalog", f"{here}\\Catalog\\GlobalCatalog",
        f"{here}\\Catalog\\BackupGlobalCatalog", f"{here}\\{BACKUP}", f"{here}\\{BACKUP}\\{IMAGE}",
        f"{here}\\{BACKUP}\\BackupSpecs.xml",
    }  # fmt: skip
    assert machine.bytes_of(saved[f"{here}\\{BACKUP}\\{IMAGE}"].content) == server.content
    facts = read_facts(machine.bytes_of(saved[f"E\\{FACTS}"].content))
    assert (facts.computer, facts.product, facts.build) == ("SRV01", "Windows Server 2022 Standard", "20348")
    assert (facts.domain_controller, facts.tombstone) == (False, 0)
    assert outcome.point.kind == ItemKind.SYSTEM
    assert server.commands == [START, DELETE]
    assert server.names() == set(), "nothing is left on the volume"
    assert (mark.names, mark.noted[0][0]) == ([], "wbadmin")


def test_a_domain_controller_is_noted(machine: Machine, server: ServerPrograms) -> None:
    server.registry.tree[CONTROL + "ProductOptions"] = {"ProductType": "LanmanNT"}
    server.asked["tombstone"] = 180
    saved = machine.entries(backed_up(machine, server))
    facts = read_facts(machine.bytes_of(saved[f"E\\{FACTS}"].content))
    assert (facts.domain_controller, facts.tombstone) == (True, 180)


def test_the_next_backup_stores_only_what_is_new(machine: Machine, server: ServerPrograms) -> None:
    """wbadmin makes the folder anew, under the name of another time; equal contents are stored once."""
    backed_up(machine, server)
    server.folder = "Backup 2026-11-28 160003"
    outcome = backed_up(machine, server)
    assert outcome.progress.sent.data_bytes < len(server.content) / 10
    assert f"{TOP}\\SRV01\\Backup 2026-11-28 160003\\{IMAGE}" in machine.entries(outcome)


def test_windows_checks_its_files_if_asked_to(machine: Machine, server: ServerPrograms) -> None:
    assert backed_up(machine, server, sfc=True).problems == []
    assert server.commands[0] == "sfc.exe /verifyonly"
    server.sfc = Output(1, "Windows Resource Protection found integrity violations.\r\n")
    (problem,) = backed_up(machine, server, sfc=True).problems
    assert "found integrity violations" in problem.reason and "sfc /scannow" in problem.reason


# --- before -------------------------------------------------------------------------------------------------------


def test_a_client_is_refused(server: ServerPrograms) -> None:
    server.registry.tree[CONTROL + "ProductOptions"] = {"ProductType": "WinNT"}
    assert "is no server: Windows makes system state backups of servers only" in refusal(server)
    server.registry.tree.clear()
    assert "is no server" in refusal(server)


def breaks(what: str) -> Callable[[ServerPrograms], None]:
    """A server in a state that stands in the way."""

    def do(s: ServerPrograms) -> None:
        d, tree = s.double, s.registry.tree
        if what == "rights":
            d.allowed = set()
        elif what == "feature":
            s.asked["feature"] = "Available"
        elif what == "service":
            s.asked["services"][0]["start"] = "Disabled"
        elif what == "restart":
            tree[CBS + "\\RebootPending"] = {}
        elif what == "letter":
            del d.roots["E"]
        elif what == "network":
            d.drive_types["E"] = 4
        elif what == "FAT":
            d.file_systems["E"] = "FAT32"
        elif what == "room":
            d.free = ROOM - 1
        elif what == "theirs":
            s.make("E", "OTHER")
        elif what == "their file":
            d.add(f"E\\{FACTS}", b"somebody's", security=PLAIN)
        elif what == "critical":
            tree[SERVER + "NTDS\\Parameters"] = {"DSA Database file": "E:\\NTDS\\ntds.dit"}
        else:
            raise AssertionError(what)

    return do


REFUSED = {
    "rights": "Run as administrator",
    "feature": "Install-WindowsFeature Windows-Server-Backup",
    "service": "the service VSS is disabled (`sc config VSS start= demand`)",
    "restart": "a restart of Windows is due",
    "letter": "E: is no local disk",
    "network": "E: is no local disk",
    "FAT": "E: has FAT32, and wbadmin needs NTFS",
    "room": "of room, and 10.0 GiB are needed",
    "theirs": "E:\\WindowsImageBackup is there already",
    "their file": "E:\\WindowsImageBackup.json is there already",
    "critical": "E: is a volume that Windows needs to start",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_stands_in_the_way(what: str, server: ServerPrograms) -> None:
    breaks(what)(server)
    before = server.names() if "E" in server.double.roots else set()
    assert REFUSED[what] in refusal(server)
    if "E" in server.double.roots:
        assert server.names() == before, "what is somebody else's stays"


def test_all_refusals_are_told_at_once(server: ServerPrograms) -> None:
    several = ["rights", "feature", "service", "restart", "FAT", "room", "theirs", "critical"]
    for what in several:
        breaks(what)(server)
    said = refusal(server)
    for what in several:
        if what != "room":  # a critical volume needs twice as much
            assert REFUSED[what] in said, what


def test_a_critical_volume_if_windows_was_told_so(server: ServerPrograms) -> None:
    breaks("critical")(server)
    server.registry.tree[SERVER + "wbengine\\SystemStateBackup"] = {"AllowSSBToAnyVolume": 1}
    server.double.free = 2 * ROOM - 1
    assert "20.0 GiB are needed" in refusal(server)
    server.double.free = 2 * ROOM
    source = made(server)
    source.begin()
    source.close()
    assert server.names() == set()


@pytest.mark.parametrize("said", [Output(1, "x"), Output(0, ""), Output(0, "[]"), Output(0, "", in_time=False)])
def test_without_an_answer_of_powershell_wbadmin_decides(said: Output, server: ServerPrograms) -> None:
    run = server.run

    def other(command: Any, timeout: float, environment: Any) -> Output:
        return said if command[0].endswith("powershell.exe") else run(command, timeout, environment)

    server.run = other  # type: ignore[method-assign]
    source = made(server)
    source.begin()
    source.close()


@pytest.mark.parametrize(("text", "letter"), [("E:", "E"), ("e", "E"), ("e:\\", "E")])
def test_letters(text: str, letter: str) -> None:
    assert staging_letter(text) == letter


@pytest.mark.parametrize("text", ["", "E:\\folder", "\\\\server\\share", "EE:", "1:", "E:\n"])
def test_what_is_no_letter(text: str) -> None:
    with pytest.raises(UsageError, match="--staging"):
        staging_letter(text)


# --- ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("makes", [False, True])
def test_a_failure_of_wbadmin_is_told(makes: bool, machine: Machine, server: ServerPrograms) -> None:
    server.makes = makes
    said = "Creating a shadow copy…  \r 10 %\r\nA Volume Shadow Copy Service operation failed: 0x8004231F\r\n\r\n"
    server.result = Output(-3, said)
    with pytest.raises(
        LocalError, match=r"wbadmin ended with code -3: .*0x8004231F.* \(there is no room"
    ) as failed:
        backed_up(machine, server)
    assert "vssadmin" in failed.value.advice
    assert server.names() == set()


def test_wbadmin_that_does_not_end_is_stopped(machine: Machine, server: ServerPrograms) -> None:
    server.result = Output(1, "", in_time=False)
    with pytest.raises(LocalError, match="was stopped after 12 hours"):
        backed_up(machine, server)
    assert server.commands == [START, STOP, DELETE]
    assert server.names() == set()


def test_wbadmin_that_leaves_no_backup(machine: Machine, server: ServerPrograms) -> None:
    server.makes = False
    with pytest.raises(LocalError, match="WindowsImageBackup is empty"):
        backed_up(machine, server)
    server.folder = "Backup of yesterday"
    server.makes = True
    with pytest.raises(LocalError, match="SRV01 holds no disk image"):
        backed_up(machine, server)
    assert server.names() == set()


def test_a_folder_that_was_replaced_makes_no_point(machine: Machine, server: ServerPrograms) -> None:
    """Somebody else's backup onto the volume, meanwhile."""

    def replace() -> None:
        server.double.item(f"E\\{FACTS}").data.data[:] = b"{}"

    server.meanwhile = replace
    with pytest.raises(LocalError, match="was replaced while it was saved"):
        backed_up(machine, server)


class Killed(BaseException):
    """kill -9: nothing runs after it."""


def test_after_a_kill_the_next_start_removes_it(server: ServerPrograms, tmp_path: Path) -> None:
    """The mark on the volume and the file that names it: both are needed."""
    d = server.double

    def kill() -> None:
        raise Killed

    server.meanwhile = kill
    mark = JobMark(tmp_path)
    with pytest.raises(Killed):
        made(server, mark).begin()
    staging = Staging(d.api(), server.run)
    (found,) = staging.found()
    assert (found.tag, found.source) == (mark.tag, "E:\\WindowsImageBackup")
    assert clean(tmp_path, [staging]) == []
    assert TOP in server.names(), "the job's process is still there"
    end_of(mark)
    server.commands.clear()
    assert clean(tmp_path, [staging]) == []
    assert server.names() == set()
    assert server.commands == [STOP, DELETE]
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_what_carries_another_mark_stays(server: ServerPrograms, tmp_path: Path) -> None:
    """The file of a killed job names the volume, but the folder on it is not the job's."""
    mark = JobMark(tmp_path)
    mark.note("wbadmin", server.double.api().volume_name("E:\\"))
    end_of(mark)
    server.make("E")
    server.double.add(f"E\\{FACTS}", b'{"tag": "%s"}' % TAG.encode(), security=PLAIN)
    staging = Staging(server.double.api(), server.run)
    assert clean(tmp_path, [staging]) == []
    assert f"{TOP}\\SRV01\\{BACKUP}\\{IMAGE}" in server.names()
    assert server.commands == []


def test_a_volume_that_is_not_there_stays_noted(server: ServerPrograms, tmp_path: Path) -> None:
    mark = JobMark(tmp_path)
    mark.note("wbadmin", server.double.api().volume_name("E:\\"))
    end_of(mark)
    root = server.double.roots.pop("E")
    staging = Staging(server.double.api(), server.run)
    clean(tmp_path, [staging])
    assert len(list((tmp_path / "snapshots").iterdir())) == 1
    server.double.roots["E"] = root
    clean(tmp_path, [staging])
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_what_can_not_be_removed_is_left_to_the_next_start(machine: Machine, server: ServerPrograms) -> None:
    mark = FakeMark()

    def hold() -> None:
        server.double.item(f"{TOP}\\SRV01\\MediaId").exclusive = True

    server.meanwhile = hold
    outcome = backed_up(machine, server, mark)
    assert [p.path for p in outcome.problems] == [b"E/WindowsImageBackup/SRV01/MediaId"]
    assert f"E\\{FACTS}" in server.names()
    assert len(mark.names) == 1
    with pytest.raises(SnapshotFailed, match="can't be removed: another program has it open"):
        Staging(server.double.api(), server.run).clear("E")
    server.double.item(f"{TOP}\\SRV01\\MediaId").exclusive = False
    Staging(server.double.api(), server.run).clear("E")
    assert server.names() == set()


def test_links_are_removed_and_not_followed(server: ServerPrograms) -> None:
    server.make("E")
    server.double.folder(f"{TOP}\\link", reparse=junction(f"C:{HOME[1:]}"), attributes=REPARSE, security=OPEN)
    Staging(server.double.api(), server.run).clear("E")
    assert server.names() == set()
    assert server.double.item(f"{HOME}\\first").data.data == b"one file, two names"


def test_marks_where_open_files_can_not_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: the file of a mark goes all the same, at the end of its job and by a later start."""
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if any(os.path.samefile(f"/proc/self/fd/{fd}", path) for fd in os.listdir("/proc/self/fd") if _open(fd)):
            raise PermissionError(13, "another process uses it")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    mark = JobMark(tmp_path)
    mark.note("vss", "1-C")
    mark.forget("vss", "1-C")
    mark.close()
    dead = JobMark(tmp_path)
    dead.note("vss", "2-C")
    end_of(dead)
    vss = Vss(server_double().api())
    assert clean(tmp_path, [vss]) == []
    assert list((tmp_path / "snapshots").iterdir()) == []


def _open(descriptor: str) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").exists()


# --- the request --------------------------------------------------------------------------------------------------


def test_a_request_on_a_server(machine: Machine, server: ServerPrograms, tmp_path: Path) -> None:
    request = Request([], kind=ItemKind.SYSTEM, staging="e:", sfc=True)
    assert server_selection(request).paths == staged("E")
    by_setting = Request([], kind=ItemKind.SYSTEM)
    assert server_selection(by_setting, {"RPDRIVE_STAGING": "F:"}).paths == staged("F")
    system = WindowsSystem(server.double.api())
    dead = JobMark(tmp_path)
    dead.note("wbadmin", server.double.api().volume_name("E:\\"))
    end_of(dead)
    server.make("E")  # of a backup that was killed
    server.double.add(f"E\\{FACTS}", b'{"tag": "%s"}' % dead.tag.encode(), security=PLAIN)
    with prepared_server(request, system, tmp_path, registry=server.registry, runner=server.run) as source:
        source.begin()
        assert len(list((tmp_path / "snapshots").iterdir())) == 1
    assert server.commands == [STOP, DELETE, "sfc.exe /verifyonly", START, DELETE]
    assert server.names() == set()
    assert list((tmp_path / "snapshots").iterdir()) == []


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"paths": [Path("x")], "staging": "E:"}, "chooses what it saves"), ({}, "needs a drive"),
        ({"staging": "E:\\x"}, "the letter of a drive"), ({"staging": "E:", "dry": True}, "can't be known before"),
    ],
)  # fmt: skip
def test_requests_that_are_refused(what: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        server_selection(Request(**({"paths": [], "kind": ItemKind.SYSTEM} | what)))


def test_another_system_has_no_wbadmin(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="has no wbadmin"),
        prepared_server(Request([], staging="E:"), this_system(), tmp_path),
    ):
        pass
