"""Tasks of the Windows Task Scheduler that open a drive at log-on.

Not at the start of the machine: drive letters and the saved key belong to the user who logs on. schtasks gets a
task as XML (schema 1.2 of the Task Scheduler), because its options can't express half of what is needed: no end
after three days, running on batteries, a restart after a failure.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from catalog.errors import MountFailed
from catalog.program import HOME, main_command, named_variables
from catalog.units.tasks import (
    CHECK,
    FOLDER,
    SCHEMA,
    Run,
    add,
    create,
    delete,
    element,
    last_line,
    quiet_python,
    run_schtasks,
)
from catalog.windows.machine import user_sid
from mount.login.base import Entry
from mount.place.spelling import Place

_KEPT = (HOME,)  # where rpdrive keeps its files: a task doesn't see the shell's environment


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
    task = element("Task", version="1.2")
    about = add(task, "RegistrationInfo")
    add(about, "Description", f"Recovery points at {place}")
    add(about, "URI", task_for(place).name)
    trigger = add(add(task, "Triggers"), "LogonTrigger")
    add(trigger, "Enabled", "true")
    add(trigger, "UserId", sid)
    principal = add(add(task, "Principals"), "Principal", id="Author")
    add(principal, "UserId", sid)
    add(principal, "LogonType", "InteractiveToken")
    add(principal, "RunLevel", "LeastPrivilege")
    settings = add(task, "Settings")
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
        add(settings, name, text)
    again = add(settings, "RestartOnFailure")
    add(again, "Interval", "PT1M")
    add(again, "Count", "255")
    action = add(add(task, "Actions", Context="Author"), "Exec")
    add(action, "Command", quiet_python())
    add(action, "Arguments", subprocess.list2cmdline(_words(place, arguments, environ)))
    return bytes(ElementTree.tostring(task, encoding="utf-16", xml_declaration=True))


def _words(place: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    _program, *start = main_command("rpdrive", variables=named_variables(_KEPT, environ))
    return [*start, "mount", str(place), "--foreground", *arguments]


class ScheduledTasks:
    """Implements Login by the Task Scheduler. `sid` returns this user's SID, `run` runs schtasks."""

    def __init__(self, sid: Callable[[], str] = user_sid, run: Run | None = None) -> None:
        self._sid = sid
        self._run = run or run_schtasks

    def add(self, entry: Entry, *, now: bool) -> Iterator[str]:
        task = task_for(entry.place)
        enable(task, task_xml(entry.place, entry.arguments, sid=self._sid()), now=now, run=self._run)
        yield f"Created the task {task.name}: the drive will be open at every log-on"

    def remove(self, place: Path, *, system: bool) -> str:
        task = task_for(place)
        if not delete(task.name, self._run):
            raise MountFailed(
                f"there is no task {task.name}", "leave out --at-login or --service to close the drive"
            )
        return f"Removed the task {task.name}"

    def readdress(self, old: str, new: str) -> list[str]:
        """See Login. Tasks hold no text that is ours alone: the drive is to be added again."""
        return [f"Drives that open at login from {old}: add them again with `rpdrive mount --at-login`"]

    def report_ready(self) -> None:
        """Do nothing: the Task Scheduler doesn't wait for the drive."""


def enable(task: Task, xml: bytes, *, now: bool, run: Run) -> None:
    """Hand a task to the Task Scheduler, and start it `now`. Raises LocalError or MountFailed."""
    create(task.name, xml, run)
    if now:
        done = run(["/Run", "/TN", task.name])
        if done.returncode:
            raise MountFailed(f"the task {task.name} can't be started: {last_line(done)}", CHECK)
