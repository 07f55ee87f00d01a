"""The task that opens a drive at log-on: its XML, checked against the schema, and the calls of schtasks."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from catalog.errors import LocalError, MountFailed
from catalog.units import tasks
from mount.login import schtasks
from mount.login.base import Entry

USER = "S-1-5-21-1111111111-2222222222-3333333333-1001"

# What the Task Scheduler's schema (version 1.2) allows in each element that is used here.
ALLOWED = {
    "Task": {"RegistrationInfo", "Triggers", "Principals", "Settings", "Actions"},
    "RegistrationInfo": {"Description", "URI"},
    "Triggers": {"LogonTrigger"},
    "LogonTrigger": {"Enabled", "UserId"},
    "Principals": {"Principal"},
    "Principal": {"UserId", "LogonType", "RunLevel"},
    "Settings": {
        "MultipleInstancesPolicy", "DisallowStartIfOnBatteries", "StopIfGoingOnBatteries", "AllowHardTerminate",
        "StartWhenAvailable", "RunOnlyIfNetworkAvailable", "ExecutionTimeLimit", "Priority", "RestartOnFailure",
    },
    "RestartOnFailure": {"Interval", "Count"},
    "Actions": {"Exec"},
    "Exec": {"Command", "Arguments"},
}  # fmt: skip
ORDERED = {"LogonTrigger": ["Enabled", "UserId"]}  # a sequence in the schema; the others are in any order
CHOICES = {
    "LogonType": {"InteractiveToken"},
    "RunLevel": {"LeastPrivilege", "HighestAvailable"},
    "MultipleInstancesPolicy": {"Parallel", "Queue", "IgnoreNew", "StopExisting"},
    "ExecutionTimeLimit": {"PT0S"},
}


def local(element: ElementTree.Element) -> str:
    space, _, name = element.tag[1:].partition("}")
    assert space == tasks.SCHEMA
    return name


def check(element: ElementTree.Element) -> None:
    name = local(element)
    inner = [local(child) for child in element]
    assert set(inner) <= ALLOWED.get(name, set()) and len(inner) == len(set(inner))
    assert inner == ORDERED.get(name, inner)
    if name in CHOICES:
        assert element.text in CHOICES[name]
    for child in element:
        check(child)


def words(line: str) -> list[str]:
    """What a program's C library makes of a command line (CommandLineToArgvW's rules)."""
    found, word, quoted, slashes, any_ = [], "", False, 0, False
    for char in line:
        if char == "\\":
            slashes += 1
            continue
        if char == '"':
            word += "\\" * (slashes // 2)
            if slashes % 2:
                word += '"'
            else:
                quoted, any_ = not quoted, True
        elif char in " \t" and not quoted:
            word += "\\" * slashes
            if word or any_:
                found.append(word)
            word, any_ = "", False
        else:
            word += "\\" * slashes + char
        slashes = 0
    word += "\\" * slashes
    return [*found, word] if word or any_ else found


def test_the_task_is_as_the_scheduler_wants_it() -> None:
    home = r"C:\Users\Anna Müller\rpdrive"
    arguments = ["--vault=azure://account/container", "--point=latest", '--item=a "quoted" & <odd> name\\']
    xml = schtasks.task_xml(Path("R:"), arguments, sid=USER, environ={"RPDRIVE_HOME": home})
    assert xml.startswith((b"\xff\xfe", b"\xfe\xff"))  # UTF-16 with a mark, as schtasks reads it
    task = ElementTree.fromstring(xml)
    check(task)
    assert local(task) == "Task" and task.get("version") == "1.2"

    def text(path: str) -> str:
        found = task.find("/".join(f"{{{tasks.SCHEMA}}}{step}" for step in path.split("/")))
        assert found is not None and found.text
        return found.text

    assert text("Triggers/LogonTrigger/UserId") == text("Principals/Principal/UserId") == USER
    assert text("Settings/ExecutionTimeLimit") == "PT0S"
    assert text("Settings/DisallowStartIfOnBatteries") == text("Settings/StopIfGoingOnBatteries") == "false"
    assert 1 <= int(text("Settings/RestartOnFailure/Count")) <= 255
    assert text("Settings/RestartOnFailure/Interval") == "PT1M"  # the least there is
    assert 0 <= int(text("Settings/Priority")) <= 10
    given = words(text("Actions/Exec/Arguments"))
    assert given[:2] == ["-P", "-c"] and given[3:] == ["mount", "R:", "--foreground", *arguments]
    compile(given[2], "task", "exec")
    assert repr({"RPDRIVE_HOME": str(Path(home).absolute())}) in given[2]
    assert "passphrase" not in xml.decode("utf-16").lower()
    actions = task.find(f"{{{tasks.SCHEMA}}}Actions")
    principal = task.find(f"{{{tasks.SCHEMA}}}Principals/{{{tasks.SCHEMA}}}Principal")
    assert actions is not None and principal is not None and actions.get("Context") == principal.get("id")


def test_each_place_has_its_task() -> None:
    names = [schtasks.task_for(Path(place)).name for place in ("R:", r"\\rpdrive\docs", r"C:\drive", r"C:\drive2")]
    assert names[:2] == ["\\rpdrive\\R", "\\rpdrive\\rpdrive-docs"] and len(set(names)) == 4
    for name in names:
        assert not set(name.removeprefix("\\rpdrive\\")) & set('\\/:*?"<>|')


class Scheduler:
    """A double of schtasks, for the calls that are made."""

    def __init__(self) -> None:
        self.tasks: dict[str, bytes] = {}
        self.running: list[str] = []

    def __call__(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        verb, _tn, name, *rest = arguments
        if verb == "/Create":
            assert rest[0] == "/XML" and rest[2] == "/F"
            self.tasks[name] = Path(rest[1]).read_bytes()
        elif name not in self.tasks:
            return subprocess.CompletedProcess([], 1, "", "ERROR: The system cannot find the file specified.\n")
        elif verb == "/Run":
            self.running.append(name)
        elif verb == "/Delete":
            del self.tasks[name]
        else:
            assert verb == "/Query"
        return subprocess.CompletedProcess([], 0, "SUCCESS", "")


def test_tasks_are_made_and_deleted() -> None:
    scheduler = Scheduler()
    task = schtasks.task_for(Path("R:"))
    xml = schtasks.task_xml(Path("R:"), [], sid=USER, environ={})
    schtasks.enable(task, xml, now=True, run=scheduler)
    assert scheduler.tasks == {task.name: xml} and scheduler.running == [task.name]
    schtasks.enable(task, xml, now=False, run=scheduler)
    assert tasks.delete(task.name, scheduler) and not tasks.delete(task.name, scheduler)
    with pytest.raises(LocalError, match="can't be created: no"):
        schtasks.enable(task, xml, now=True, run=lambda _: subprocess.CompletedProcess([], 1, "", "no\n"))


def test_a_drive_is_opened_at_log_on_until_its_task_is_removed() -> None:
    scheduler = Scheduler()
    login = schtasks.ScheduledTasks(sid=lambda: USER, run=scheduler)
    entry = Entry(Path("R:"), ["--vault=azure://account/container", "--idle=6h"], system=False)
    assert list(login.add(entry, now=True)) == [
        "Created the task \\rpdrive\\R: the drive will be open at every log-on"
    ]
    ((name, xml),) = scheduler.tasks.items()
    assert scheduler.running == [name] and USER in xml.decode("utf-16") and "--idle=6h" in xml.decode("utf-16")
    assert login.remove(Path("R:"), system=False) == "Removed the task \\rpdrive\\R"
    assert scheduler.tasks == {}
    with pytest.raises(MountFailed, match="there is no task"):
        login.remove(Path("R:"), system=False)
