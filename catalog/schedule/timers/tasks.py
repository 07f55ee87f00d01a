"""A task of the Windows Task Scheduler, as XML with every setting in it, read back after it was created."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from xml.etree import ElementTree

from catalog.errors import LocalError
from catalog.program import main_command
from catalog.schedule.timers.base import TimerState, tick_environment
from catalog.units.tasks import CHECK, FOLDER, SCHEMA, Run, add, create, delete, element, quiet_python, run_schtasks
from catalog.windows.machine import user_sid

NAME = FOLDER + "tick"
_SYSTEM = "S-1-5-18"  # LocalSystem
_SETTINGS = (
    ("MultipleInstancesPolicy", "IgnoreNew"),  # a tick waits for its jobs
    ("DisallowStartIfOnBatteries", "false"),  # the plan's conditions decide that
    ("StopIfGoingOnBatteries", "false"),
    ("AllowHardTerminate", "true"),
    ("StartWhenAvailable", "true"),
    ("RunOnlyIfNetworkAvailable", "false"),
    ("AllowStartOnDemand", "true"),
    ("Enabled", "true"),
    ("Hidden", "false"),
    ("RunOnlyIfIdle", "false"),
    ("WakeToRun", "false"),
    ("ExecutionTimeLimit", "PT0S"),  # none; the default is three days
    ("Priority", "7"),
)


def task_xml(sid: str, *, system: bool, environ: Mapping[str, str] = os.environ) -> bytes:
    """The task, for the user `sid`, or for the whole machine (`system`). UTF-16."""
    ElementTree.register_namespace("", SCHEMA)
    task = element("Task", version="1.2")
    about = add(task, "RegistrationInfo")
    add(about, "Description", "rpdrive: look every five minutes what is due")
    add(about, "URI", NAME)
    trigger = add(add(task, "Triggers"), "TimeTrigger")
    add(trigger, "Enabled", "true")
    add(trigger, "StartBoundary", "2020-01-01T00:00:00")
    again = add(trigger, "Repetition")
    add(again, "Interval", "PT5M")
    add(again, "StopAtDurationEnd", "false")
    principal = add(add(task, "Principals"), "Principal", id="Author")
    add(principal, "UserId", _SYSTEM if system else sid)
    if not system:
        add(principal, "LogonType", "InteractiveToken")
    add(principal, "RunLevel", "HighestAvailable" if system else "LeastPrivilege")
    settings = add(task, "Settings")
    for name, text in _SETTINGS:
        add(settings, name, text)
    idle = add(settings, "IdleSettings")
    add(idle, "StopOnIdleEnd", "false")
    add(idle, "RestartOnIdle", "false")
    action = add(add(task, "Actions", Context="Author"), "Exec")
    add(action, "Command", quiet_python())
    _program, *words = main_command("catalog.schedule.tick", variables=tick_environment(environ))
    add(action, "Arguments", subprocess.list2cmdline(words))
    return bytes(ElementTree.tostring(task, encoding="utf-16", xml_declaration=True))


def differences(wanted: bytes, found: str) -> list[str]:
    """The settings of a task that the Task Scheduler keeps in another way than it was told."""
    try:
        # What schtasks prints says that it is UTF-16, whatever it was decoded from.
        there = dict(_leaves(ElementTree.fromstring(re.sub(r"^\s*<\?xml.*?\?>", "", found))))
    except (ElementTree.ParseError, ValueError) as e:
        return [f"it can't be read back: {e}"]
    ours = dict(_leaves(ElementTree.fromstring(wanted)))
    return [
        f"{path} is {there.get(path, 'not there')!r} and not {text!r}"
        for path, text in ours.items()
        if path != "Principals/Principal/UserId" and there.get(path) != text  # it may say the user's name
    ]


def _leaves(task: ElementTree.Element, path: str = "") -> Iterator[tuple[str, str]]:
    for child in task:
        here = f"{path}/{child.tag.rpartition('}')[2]}".strip("/")
        if len(child):
            yield from _leaves(child, here)
        else:
            yield here, (child.text or "").strip()


class TaskTimer:
    """Implements Timer by the Task Scheduler. `sid` returns this user's SID, `run` runs schtasks."""

    kind = "task scheduler"

    def __init__(
        self,
        *,
        system: bool,
        sid: Callable[[], str] = user_sid,
        run: Run | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._system, self._sid, self._run, self._environ = system, sid, run or run_schtasks, environ

    def is_usable(self) -> bool:
        """See Timer."""
        return True

    def install(self) -> list[str]:
        """See Timer."""
        xml = self._xml()
        create(NAME, xml, self._run)
        wrong = self._differences(xml)
        if wrong:
            raise LocalError(f"the Task Scheduler changed the task {NAME}: {'; '.join(wrong)}", CHECK)
        return [f"Created the task {NAME}"]

    def remove(self) -> list[str]:
        """See Timer."""
        return [f"Removed the task {NAME}"] if delete(NAME, self._run) else []

    def state(self) -> TimerState:
        """See Timer."""
        try:
            if self._run(["/Query", "/TN", NAME]).returncode:
                return TimerState(self.kind, NAME, False)
            wrong = self._differences(self._xml())
        except LocalError as e:
            return TimerState(self.kind, NAME, False, None, (str(e),))
        faults = tuple(f"{text}; run `rpdrive timer install`" for text in wrong)
        return TimerState(self.kind, NAME, True, "Settings/Enabled" not in " ".join(wrong), faults)

    def _xml(self) -> bytes:
        return task_xml(self._sid(), system=self._system, environ=self._environ)

    def _differences(self, xml: bytes) -> list[str]:
        done = self._run(["/Query", "/TN", NAME, "/XML"])
        return ["it can't be read back"] if done.returncode else differences(xml, done.stdout)
