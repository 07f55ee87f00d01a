"""What runs the tick: units checked by systemd's own verifier, a line of cron, a task that is read back."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from catalog.errors import LocalError
from catalog.schedule.timers.base import TimerState, tick_command
from catalog.schedule.timers.cron import CronTimer, cron_line
from catalog.schedule.timers.systemd import SystemdTimer, service_text, timer_text
from catalog.schedule.timers.tasks import NAME, TaskTimer, differences, task_xml
from catalog.schedule.timers.this import install_timer, remove_timer, timer_state

USER = "S-1-5-21-1111111111-2222222222-3333333333-1001"
STRANGE = "/var/lib/a 100% $HOME \"quote\" 'n' back\\slash ü"


# --- systemd ----------------------------------------------------------------------------------------------


@pytest.mark.needs_program("systemd-analyze")
@pytest.mark.parametrize("system", [True, False])
def test_systemd_accepts_the_units(tmp_path: Path, system: bool) -> None:
    environ = {"RPDRIVE_HOME": STRANGE, "PATH": "/bin", "AZURE_STORAGE_KEY": "secret"}
    (tmp_path / "rpdrive-tick.service").write_text(service_text(system=system, environ=environ))
    (tmp_path / "rpdrive-tick.timer").write_text(timer_text())
    units = sorted(tmp_path.iterdir())
    done = subprocess.run(
        ["systemd-analyze", *([] if system else ["--user"]), "--man=no", "--recursive-errors=no", "verify", *units],
        capture_output=True, text=True, check=False, env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    text = units[0].read_text()
    (start,) = re.findall("^ExecStart=(.*)$", text, re.M)
    assert [w.replace("%%", "%").replace("$$", "$") for w in shlex.split(start)] == tick_command()
    (kept,) = re.findall("^Environment=(.*)$", text, re.M)
    assert shlex.split(kept)[0].replace("%%", "%") == f"RPDRIVE_HOME={STRANGE}" and "secret" not in text


@pytest.mark.needs_program("systemd-analyze")
def test_systemd_fires_every_five_minutes() -> None:
    (when,) = re.findall("^OnCalendar=(.*)$", timer_text(), re.M)
    done = subprocess.run(
        ["systemd-analyze", "calendar", "--base-time=2026-03-29 00:58:00 UTC", "--iterations=3", when],
        capture_output=True, text=True, check=True, env=os.environ | {"TZ": "UTC", "LC_ALL": "C"},
    )  # fmt: skip
    assert re.findall(r"(\d\d:\d\d:\d\d) UTC", done.stdout)[-3:] == ["01:00:00", "01:05:00", "01:10:00"]


def test_units_without_systemd(tmp_path: Path) -> None:
    timer = SystemdTimer(system=False, environ={"XDG_CONFIG_HOME": str(tmp_path)}, booted=tmp_path / "none")
    assert not timer.is_usable() and not timer.state().is_installed and timer.remove() == []
    timer.timer.path.parent.mkdir(parents=True)
    timer.timer.path.write_text(timer_text())
    timer.service.path.write_text("[Service]\nExecStart=/old\n")
    state = timer.state()
    assert state.is_installed and state.is_active is None and "another installation" in state.faults[0]
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "RPDRIVE_HOME": STRANGE}
    timer.service.path.write_text(service_text(system=False, environ=environ | {"FUSE_LIBRARY_PATH": "/x"}))
    assert SystemdTimer(system=False, environ=environ, booted=tmp_path / "none").state().faults == ()
    (fault,) = timer.state().faults
    assert "another RPDRIVE_HOME" in fault
    assert len(timer.remove()) == 2 and not timer.state().is_installed


# --- cron -------------------------------------------------------------------------------------------------


class Crontab:
    """What crontab(1) does with one user's table."""

    def __init__(self, text: bytes | None = None) -> None:
        self.text = text

    def __call__(self, arguments: Sequence[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
        if arguments == ["-"]:
            assert not data or data.endswith(b"\n")
            self.text = data
        elif self.text is None:
            return subprocess.CompletedProcess([], 1, b"", b"no crontab for anna\n")
        return subprocess.CompletedProcess([], 0, self.text, b"")


def test_a_line_of_cron() -> None:
    other = b"# mine\n5 4 * * * /bin/true\n"
    for before in (None, other):
        table = Crontab(before)
        cron = CronTimer({"RPDRIVE_HOME": STRANGE}, table)
        assert not cron.state().is_installed
        for _ in range(2):
            assert cron.install() == ["Added a line to the crontab of this user"]
        assert table.text is not None and table.text.count(b"rpdrive tick") == 1
        assert table.text.startswith(before or b"")
        assert cron.state() == TimerState("cron", "crontab", True)
        assert CronTimer({}, table).state().faults, "other folders"
        assert cron.remove() and not cron.remove() and table.text == (before or b"")
    refused = CronTimer({}, lambda arguments, data: subprocess.CompletedProcess([], 1, b"", b"not allowed\n"))
    with pytest.raises(LocalError, match="not allowed"):
        refused.install()
    assert not refused.state().is_installed


def test_cron_runs_the_line_as_it_was_meant(tmp_path: Path) -> None:
    """As cron does: an unescaped per cent sign ends the command, and sh gets the rest."""
    line = cron_line({"RPDRIVE_HOME": f"{tmp_path}/50% of $HOME"})
    assert line.startswith("*/5 * * * * ") and not re.search(r"(?<!\\)%", line)
    command = line.split(" ", 5)[5].replace("\\%", "%").replace(">/dev/null", "")
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, check=False, env={"PATH": "/bin"}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "there is nothing to do in that home"


# --- the Task Scheduler -----------------------------------------------------------------------------------


class Scheduler:
    """Keeps tasks as schtasks does: it adds fields of its own, and prints XML under a wrong declaration."""

    def __init__(self) -> None:
        self.tasks: dict[str, str] = {}
        self.changed: tuple[str, str] = ("", "")

    def __call__(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        verb, name = arguments[0], arguments[arguments.index("/TN") + 1]
        if verb == "/Create":
            xml = Path(arguments[arguments.index("/XML") + 1]).read_bytes().decode("utf-16")
            xml = xml.replace("<RegistrationInfo>", "<RegistrationInfo><Author>PC\\anna</Author>")
            self.tasks[name] = xml.replace(*self.changed).replace(USER, "PC\\anna")
        elif name not in self.tasks:
            return subprocess.CompletedProcess([], 1, "", "ERROR: no such task\n")
        elif verb == "/Delete":
            del self.tasks[name]
        elif "/XML" in arguments:
            return subprocess.CompletedProcess([], 0, "\n" + self.tasks[name], "")
        return subprocess.CompletedProcess([], 0, "SUCCESS", "")


def test_a_task_is_read_back() -> None:
    scheduler = Scheduler()
    timer = TaskTimer(system=False, sid=lambda: USER, run=scheduler, environ={"RPDRIVE_HOME": "C:\\rp 100%"})
    assert not timer.state().is_installed and timer.remove() == []
    assert timer.install() == [f"Created the task {NAME}"]
    assert timer.state() == TimerState("task scheduler", NAME, True, True)
    assert timer.remove() == [f"Removed the task {NAME}"] and not scheduler.tasks
    scheduler.changed = ("<DisallowStartIfOnBatteries>false", "<DisallowStartIfOnBatteries>true")
    with pytest.raises(LocalError, match="Settings/DisallowStartIfOnBatteries is 'true' and not 'false'"):
        timer.install()
    assert timer.state().faults
    assert differences(task_xml(USER, system=True), "not xml")[0].startswith("it can't be read back")


def test_the_settings_of_a_task() -> None:
    root = ElementTree.fromstring(task_xml(USER, system=False, environ={}))
    space = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}

    def text(path: str) -> str | None:
        return root.findtext("/".join(f"t:{part}" for part in path.split("/")), namespaces=space)

    trigger = root.find("t:Triggers/t:TimeTrigger", space)
    assert trigger is not None
    assert [child.tag.rpartition("}")[2] for child in trigger] == ["Enabled", "StartBoundary", "Repetition"]
    assert text("Triggers/TimeTrigger/Repetition/Interval") == "PT5M"
    assert text("Settings/ExecutionTimeLimit") == "PT0S" and text("Settings/StopIfGoingOnBatteries") == "false"
    assert text("Principals/Principal/LogonType") == "InteractiveToken"
    system = ElementTree.fromstring(task_xml(USER, system=True, environ={}))
    assert system.findtext("t:Principals/t:Principal/t:UserId", namespaces=space) == "S-1-5-18"


# --- one of them ------------------------------------------------------------------------------------------


class Fake:
    def __init__(self, kind: str, *, usable: bool = True, installed: bool = False) -> None:
        self.kind, self.usable, self.installed = kind, usable, installed

    def is_usable(self) -> bool:
        return self.usable

    def install(self) -> list[str]:
        self.installed = True
        return [self.kind]

    def remove(self) -> list[str]:
        was, self.installed = self.installed, False
        return [self.kind] if was else []

    def state(self) -> TimerState:
        return TimerState(self.kind, "there", self.installed)


def test_two_ways_at_once_are_refused_and_said() -> None:
    systemd, cron = Fake("systemd"), Fake("cron", installed=True)
    with pytest.raises(LocalError, match="installed by cron already"):
        install_timer([systemd, cron])
    assert remove_timer([systemd, cron]) == ["cron"] and timer_state([systemd, cron]) is None
    assert install_timer([systemd, cron]) == ["systemd"] and install_timer([systemd, cron]) == ["systemd"]
    cron.installed = True
    state = timer_state([systemd, cron])
    assert state is not None and "twice, by systemd and cron" in state.faults[0]
    assert install_timer([Fake("systemd", usable=False), Fake("cron")]) == ["cron"]
    with pytest.raises(LocalError, match="neither systemd nor cron"):
        install_timer([Fake("systemd", usable=False), Fake("cron", usable=False)])
