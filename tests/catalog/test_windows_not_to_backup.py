"""The registry's lists of files that backups are to leave out, as Windows has them, and malformed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.patterns import Rules, rules_of
from catalog.windows.not_to_backup import rules
from tests.kit.windows_registry import FakeRegistry

CONTROL = "SYSTEM\\CurrentControlSet\\Control\\BackupRestore\\"
PROFILES = "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\ProfileList"
ENVIRONMENT = {"SystemRoot": "C:\\Windows", "TEMP": "C:\\Users\\anna\\AppData\\Local\\Temp", "SystemDrive": "C:"}
# What a Windows Server 2022 has.
NOT_TO_BACKUP: dict[str, object] = {
    "ETW": ["%SystemRoot%\\system32\\LogFiles\\WMI\\RtBackup\\*.*"],
    "FVE_Control": ["\\System Volume Information\\FVE.{e40ad34d-dae9-4bc7-95bd-b16218c10f72}.*"],
    "Internet Explorer": ["%UserProfile%\\index.dat /s"],
    "Kernel Dumps": ["%systemroot%\\Minidump\\* /s", "%systemroot%\\memory.dmp"],
    "Memory Page File": ["\\Pagefile.sys"],
    "Power Management": ["\\hiberfil.sys"],
    "Temporary Files": ["%TEMP%\\* /s"],
    "VSS Service Alternate DB": ["\\System Volume Information\\*.{7cc467ef-6865-4831-853f-2a4817fd1bca}ALT"],
    "Default": "",
}
NOT_TO_SNAPSHOT: dict[str, object] = {
    "OutlookOST": ["$UserProfile$\\AppData\\Local\\Microsoft\\Outlook\\*.ost"],
    "WUA": ["%windir%\\softwaredistribution\\*.* /s", "$AllVolumes$\\Scratch\\*.* /s"],
}
REGISTRY = FakeRegistry(
    {
        CONTROL + "FilesNotToBackup": NOT_TO_BACKUP,
        CONTROL + "FilesNotToSnapshot": NOT_TO_SNAPSHOT,
        PROFILES: {},
        PROFILES + "\\S-1-5-18": {"ProfileImagePath": "%SystemRoot%\\system32\\config\\systemprofile"},
        PROFILES + "\\S-1-5-21-1": {"ProfileImagePath": "C:\\Users\\anna"},
        PROFILES + "\\S-1-5-21-2": {"ProfileImagePath": 7},
    }
)


def left_out(path: str, *, snapshot: bool = True) -> bool:
    """Whether the rules leave out a file, or a folder above it."""
    level = Rules(
        rules_of(rules(REGISTRY, ENVIRONMENT, snapshot=snapshot), "x", ignore_case=True), ignore_case=True
    ).top
    *folders, name = path.strip("/").encode().split(b"/")
    for folder in folders:
        rule = level.match(folder, is_folder=True)
        if rule is not None and not rule.negated:
            return True
        level = level.below(folder)
    rule = level.match(name, is_folder=False)
    return rule is not None and not rule.negated


@pytest.mark.parametrize(
    "path",
    [
        "/C/pagefile.sys", "/D/PAGEFILE.SYS", "/C/hiberfil.sys", "/C/Windows/MEMORY.DMP",
        "/C/Windows/Minidump/a/b.dmp",
        "/C/Users/anna/AppData/Local/Temp/x", "/C/Users/Anna/AppData/Local/temp/x/y/z",
        "/C/Windows/System32/LogFiles/WMI/RtBackup/file",
        "/E/System Volume Information/FVE.{e40ad34d-dae9-4bc7-95bd-b16218c10f72}.1",
        "/C/Users/anna/AppData/Local/Microsoft/Outlook/anna@example.org.ost", "/E/Scratch/a/b",
    ],
)  # fmt: skip
def test_left_out(path: str) -> None:
    assert left_out(path)


@pytest.mark.parametrize(
    "path",
    [
        "/C/Users/anna/pagefile.sys", "/C/Windows/notepad.exe", "/C/Users/anna/AppData/Local/Temporary/x",
        "/C/Windows/System32/LogFiles/WMI/RtBackup/folder/file",  # without /s, the files of the folder itself
        "/C/Users/anna/AppData/Local/Microsoft/Outlook/sub/x.ost",
        "/C/Users/bert/AppData/Local/Microsoft/Outlook/x.ost",
        "/C/System Volume Information/tracking.log",
        "/C/Windows/softwaredistribution/x",  # %windir% is not set here
    ],
)  # fmt: skip
def test_saved(path: str) -> None:
    assert not left_out(path)


def test_without_a_shadow_copy_the_second_list_does_not_count() -> None:
    assert not left_out("/C/Users/anna/AppData/Local/Microsoft/Outlook/x.ost", snapshot=False)
    assert left_out("/C/pagefile.sys", snapshot=False)


@settings(max_examples=60)
@given(st.lists(st.text(st.sampled_from("\\%$*?[]/{}.:abAB !#\x00 s"), max_size=30), max_size=5))
def test_whatever_stands_there(entries: list[str]) -> None:
    """Every entry becomes rules that are fit for use and begin at a drive, or none."""
    registry = FakeRegistry({CONTROL + "FilesNotToBackup": {"x": list(entries)}})
    for rule in rules(registry, {}, snapshot=True):
        assert rule.startswith(("/", "!/"))
        assert rule.strip("!/").split("/")[0] in ("*", "A", "B", "S")
        assert rule.count("/") >= 2, "no whole drive"
        rules_of([rule], "x", ignore_case=True)


@pytest.mark.parametrize(
    "entry", ["\\* /s", "C:\\*.* /s", "\\*", "$AllVolumes$\\* /s", "C:\\", "\\", "*", " /s", "x"]
)
def test_no_whole_drive_is_left_out(entry: str) -> None:
    assert rules(FakeRegistry({CONTROL + "FilesNotToBackup": {"x": [entry]}}), {}, snapshot=True) == []


def test_nothing_is_there() -> None:
    assert rules(FakeRegistry({}), {}, snapshot=True) == []
