"""The system state of a Windows server restored: where its folder goes, and what is said about it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from backup.selection import Selection
from backup.sources.base import Source as BackupSource
from backup.sources.wbadmin import Wbadmin
from backup.systems.windows import WindowsSystem
from cache.reader import Reader
from catalog.errors import UsageError
from catalog.format.records import Point
from catalog.vault import Vault
from mount.restore.conflict import Policy
from mount.restore.disk.windows import WindowsDisk
from mount.restore.options import Options
from mount.restore.report import Report
from mount.restore.source import place_in
from mount.restore.windows_state import WindowsState
from tests.kit.cli import Cli
from tests.kit.marks import FakeMark
from tests.kit.restoring import restore
from tests.kit.wbadmin_double import BACKUP, CONTROL, ENVIRONMENT, IMAGE, ServerPrograms, server_double
from tests.kit.windows_double import DIRECTORY, Double, Item
from tests.kit.windows_machine import Machine

WINDOWS = {"SystemDrive": "C:"}
NOW = 1_796_000_000 * 10**9  # 2026-11-30
RECOVER = "wbadmin start systemstaterecovery -version:11/27/2026-16:00 -backupTarget:{}: -machine:SRV01 -quiet"


@pytest.fixture
def server() -> ServerPrograms:
    return ServerPrograms(server_double())


def backed_up(folder: Path, server: ServerPrograms, vault: Vault | None = None) -> tuple[Machine, Point]:
    machine = Machine(folder / "state of the machine", vault)

    def source(_system: WindowsSystem, _selection: Selection) -> BackupSource:
        api, mark = server.double.api(), FakeMark()
        return Wbadmin(api, "E", mark, server.registry, server.run, environment=ENVIRONMENT)

    paths = "E:\\WindowsImageBackup", "E:\\WindowsImageBackup.json"
    outcome = machine.back_up(server.double, *paths, source=source)
    assert outcome.point is not None and not outcome.problems
    return machine, outcome.point


def state(
    machine: Machine, point: Point, target: str, path: bytes = b"", *, controller: bool = False,
    in_place: bool = False, policy: Policy = Policy.COPY,
) -> WindowsState:  # fmt: skip
    reader = Reader(machine.vault, memory=16 << 20, parallel=2)
    try:
        options = Options(os.fsencode(target), in_place=in_place, policy=policy)
        sources = [place_in(reader, "latest", point, path)]
        return WindowsState(reader, sources, options, controller=controller, environment=WINDOWS)
    finally:
        reader.close()


def said(found: WindowsState) -> tuple[str, Report]:
    report = Report()
    found.finish(report, NOW)
    return "\n".join(report.next_steps), report


@pytest.mark.parametrize("path", [b"", b"/E/WindowsImageBackup"])
def test_the_folder_goes_to_the_root(path: bytes, tmp_path: Path, server: ServerPrograms) -> None:
    machine, point = backed_up(tmp_path, server)
    found = state(machine, point, "D:\\", path)
    assert [source.name for source in found.sources] == [b"WindowsImageBackup"]
    text, report = said(found)
    assert RECOVER.format("D") in text
    assert "wbadmin get versions -backupTarget:D: -machine:SRV01" in text
    assert "Move" not in text and "dsrepair" not in text
    assert report.problem_count == 0


def test_a_part_of_it_is_only_files(tmp_path: Path, server: ServerPrograms) -> None:
    machine, point = backed_up(tmp_path, server)
    found = state(machine, point, "C:\\", b"/E/WindowsImageBackup/SRV01/MediaId")
    assert [source.name for source in found.sources] == [b"MediaId"]
    assert said(found)[0] == ""


def test_a_domain_controller(tmp_path: Path, server: ServerPrograms) -> None:
    server.registry.tree[CONTROL + "ProductOptions"] = {"ProductType": "LanmanNT"}
    server.asked["tombstone"] = 2
    machine, point = backed_up(tmp_path, server)
    text, _ = said(state(machine, point, "D:\\"))
    assert "safeboot dsrepair" in text and "the tombstone lifetime is 2 days:" in text


def test_a_domain_controller_on_request(tmp_path: Path, server: ServerPrograms) -> None:
    machine, point = backed_up(tmp_path, server)
    text, _ = said(state(machine, point, "D:\\", controller=True))
    assert "safeboot dsrepair" in text and "60 days (not known" in text


def test_on_windows_with_what_windows_knows_of_it(tmp_path: Path, server: ServerPrograms) -> None:
    """On the double of another machine: at the root of its drive, with descriptors and attributes."""
    machine, point = backed_up(tmp_path, server)
    other = Double(set(server.double.allowed))
    other.roots["D"] = Item(DIRECTORY, index=5)
    (source,) = state(machine, point, "D:\\").sources
    report = restore(
        machine.vault, point, Path("D:\\"), source.place.path, disk=WindowsDisk(other.api()), system="Windows"
    )
    assert report.problem_count == 0
    server.make("E")
    made = {path: entry.item for path, entry in server.double.walk(server.double.roots["E"], "D")}
    found = {path: entry.item for path, entry in other.walk(other.roots["D"], "D")}
    assert found.keys() == made.keys()
    for path, item in made.items():
        got = found[path]
        assert (bytes(got.data.data), got.attributes, got.security) == (
            bytes(item.data.data), item.attributes, item.security,
        )  # fmt: skip


def test_what_is_refused(tmp_path: Path, server: ServerPrograms) -> None:
    machine, point = backed_up(tmp_path, server)
    with pytest.raises(UsageError, match="put back by Windows itself"):
        state(machine, point, "/", in_place=True)
    with pytest.raises(UsageError, match="C: is the volume of Windows"):
        state(machine, point, "c:\\")
    (tmp_path / "WindowsImageBackup").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        state(machine, point, str(tmp_path))
    state(machine, point, str(tmp_path), policy=Policy.OVERWRITE)


def test_long_paths_and_faults_are_told(tmp_path: Path, server: ServerPrograms) -> None:
    machine, point = backed_up(tmp_path, server)
    found = state(machine, point, "D:\\")
    row = found.states[0].backups[0]
    row.images = [f"SRV01\\{BACKUP}\\{'x' * 60}.vhdx"]
    assert [p.reason for p in said(found)[1].problems] == [
        "its path is longer than 110 characters: recovery from Windows's medium fails"
    ]
    row.versions.clear()
    text, report = said(found)
    assert (text, [p.reason for p in report.problems]) == ("", ["SRV01 holds no disk image of a backup"])


def test_the_command(rpdrive: Cli, vault: Vault, server: ServerPrograms, tmp_path: Path) -> None:
    """Here, where there is no Windows: the folder, byte for byte, and the way to go on."""
    backed_up(tmp_path, server, vault)
    out = tmp_path / "out"
    done = rpdrive.run("restore", "latest", "--to", out, "--no-permissions")
    assert done.returncode == 0, done
    here = out / "WindowsImageBackup" / "SRV01"
    assert (here / BACKUP / IMAGE).read_bytes() == server.content
    assert (here / "Catalog" / "GlobalCatalog").read_bytes() == b"a catalog"
    text = done.stdout.decode()
    assert f"Move {out}/WindowsImageBackup to the root of a volume that" in text
    assert RECOVER.format("D") in text
    again = rpdrive.run("restore", "latest", "--to", out)
    assert again.returncode == 2 and b"is there already" in again.stderr
    options = "--to", out, "--no-permissions", "--on-conflict", "overwrite"
    row = json.loads(rpdrive.ok("restore", "latest", *options, "--domain-controller", "--json"))
    assert any("dsrepair" in line for line in row["next_steps"])
