"""Tasks of the Windows Task Scheduler that open a drive at log-on.

Not at the start of the machine: drive letters and the saved key belong to the user who logs on. schtasks gets a
task as XML (schema 1.2 of the Task Scheduler), because its options can't express half of what is needed: no end
after three days, running on batteries, a restart after a failure.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from catalog.errors import LocalError, MountFailed
from catalog.program import HOME, main_command, named_variables
from catalog.windows.machine import user_sid
from mount.login.base import Entry
from mount.place.spelling import Place

SCHEMA = "http://schemas.microsoft.com/windows/2004/02/mit/task"
FOLDER = "\\rpdrive\\"  # in the Task Scheduler's library
_CHECK = "check the task in the Task Scheduler, and that its service runs"
_KEPT = (HOME,)  # where rpdrive keeps its files: a task doesn't see the shell's environment
Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class Task(NamedTuple):
    """A task of this user, by its name in the Task Scheduler's library."""

    name: str


def task_for(place: Path) -> Task:
    """The task of a place, which is written as by WindowsPlaces.absolute."""
    found = Place.of(str(place))
    if found.is_folder:
        return Task(FOLDER + hashlib.sha256(found.shown.lower().encode()).hexdigest()[:16])
    return Task(FOLDER + found.shown.strip("\\:").replace("\\", "-"))


def task_xml(place: Path, arguments: Sequence[str], *, sid: str, environ: Mapping[str, str] = os.environ) -> bytes:
    """A task that opens a drive with these arguments of `rpdrive mount` when the user `sid` logs on. UTF-16."""
    ElementTree.register_namespace("", SCHEMA)
    task = _element("Task", version="1.2")
    about = _add(task, "RegistrationInfo")
    _add(about, "Description", f"Recovery points at {place}")
    _add(about, "URI", task_for(place).name)
    trigger = _add(_add(task, "Triggers"), "LogonTrigger")
    _add(trigger, "Enabled", "true")
    _add(trigger, "UserId", sid)
    principal = _add(_add(task, "Principals"), "Principal", id="Author")
    _add(principal, "UserId", sid)
    _add(principal, "LogonType", "InteractiveToken")
    _add(principal, "RunLevel", "LeastPrivilege")
    settings = _add(task, "Settings")
    for name, text in (
        ("MultipleInstancesPolicy", "IgnoreNew"),
        ("DisallowStartIfOnBatteries", "false"),
        ("StopIfGoingOnBatteries", "false"),
        ("AllowHardTerminate", "true"),
        ("StartWhenAvailable", "true"),
        ("RunOnlyIfNetworkAvailable", "false"),  # the network may be late, and come and go
        ("ExecutionTimeLimit", "PT0S"),  # no limit; the default is three days
        ("Priority", "5"),  # as for programs that a user starts; the default is lower
    ):
        _add(settings, name, text)
    again = _add(settings, "RestartOnFailure")
    _add(again, "Interval", "PT1M")
    _add(again, "Count", "255")
    action = _add(_add(task, "Actions", Context="Author"), "Exec")
    _add(action, "Command", _program())
    _add(action, "Arguments", subprocess.list2cmdline(_words(place, arguments, environ)))
    return bytes(ElementTree.tostring(task, encoding="utf-16", xml_declaration=True))


def _element(name: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.Element(f"{{{SCHEMA}}}{name}", attributes)


def _add(parent: ElementTree.Element, name: str, text: str | None = None, **attributes: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, f"{{{SCHEMA}}}{name}", attributes)
    child.text = None if text is None else "".join(c if c.isprintable() else "?" for c in text)
    return child


def _program() -> str:
    """The Python that opens no console window: that would stay on the screen while the drive is open."""
    quiet = Path(sys.executable).with_name("pythonw.exe")
    return str(quiet) if quiet.exists() else sys.executable


def _words(place: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    _program, *start = main_command("rpdrive", variables=named_variables(_KEPT, environ))
    return [*start, "mount", str(place), "--foreground", *arguments]


class ScheduledTasks:
    """Implements Login by the Task Scheduler. `sid` returns this user's SID, `run` runs schtasks."""

    def __init__(self, sid: Callable[[], str] = user_sid, run: Run | None = None) -> None:
        self._sid = sid
        self._run = run or _run

    def add(self, entry: Entry, *, now: bool) -> Iterator[str]:
        task = task_for(entry.place)
        enable(task, task_xml(entry.place, entry.arguments, sid=self._sid()), now=now, run=self._run)
        yield f"Created the task {task.name}: the drive will be open at every log-on"

    def remove(self, place: Path, *, system: bool) -> str:
        task = task_for(place)
        if not remove(task, run=self._run):
            raise MountFailed(
                f"there is no task {task.name}", "leave out --at-login or --service to close the drive"
            )
        return f"Removed the task {task.name}"

    def report_ready(self) -> None:
        """Do nothing: the Task Scheduler doesn't wait for the drive."""


def enable(task: Task, xml: bytes, *, now: bool, run: Run) -> None:
    """Hand a task to the Task Scheduler, and start it `now`. Raises LocalError or MountFailed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.xml"
        path.write_bytes(xml)
        done = run(["/Create", "/TN", task.name, "/XML", str(path), "/F"])
    if done.returncode:
        raise LocalError(f"the task {task.name} can't be created: {_last_line(done)}", _CHECK)
    if now:
        done = run(["/Run", "/TN", task.name])
        if done.returncode:
            raise MountFailed(f"the task {task.name} can't be started: {_last_line(done)}", _CHECK)


def remove(task: Task, *, run: Run) -> bool:
    """Delete a task; the drive that it opened stays open. False if the task does not exist. Raises LocalError."""
    if run(["/Query", "/TN", task.name]).returncode:
        return False
    done = run(["/Delete", "/TN", task.name, "/F"])
    if done.returncode:
        raise LocalError(f"the task {task.name} can't be deleted: {_last_line(done)}", _CHECK)
    return True


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr or done.stdout or "").strip().splitlines()
    return lines[-1] if lines else f"schtasks ended with {done.returncode}"


def _run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    program = shutil.which("schtasks")
    if program is None:
        raise LocalError("schtasks is not on this machine", "leave out --at-login and --service")
    try:
        return subprocess.run(
            [program, *arguments], capture_output=True, text=True, errors="replace", check=False, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as e:
        raise LocalError(f"schtasks doesn't answer: {e}", _CHECK) from e
