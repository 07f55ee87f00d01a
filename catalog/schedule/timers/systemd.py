"""A systemd timer: units of the system for root, of the user for others. The calendar is rpdrive's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from catalog.errors import LocalError
from catalog.program import HOME, user_path
from catalog.schedule.timers.base import TimerState, tick_command, tick_environment
from catalog.units.systemd import Unit, check_program, quoted, run, succeeds, write

NAME = "rpdrive-tick"
_INSTEAD = "install the timer of a user"
_BOOTED = Path("/run/systemd/system")
# It reads all files, writes vaults on local disks, opens drives, and hooks may change to another user.
_LIMITS = """\
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_CHOWN CAP_FOWNER CAP_KILL
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_SYS_NICE CAP_SYS_RESOURCE
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
UMask=0077
"""


def timer_text() -> str:
    """The timer: every five minutes. After sleep the next one is soon, so that none needs to be made up for."""
    return """\
[Unit]
Description=rpdrive: look every five minutes what is due

[Timer]
OnCalendar=*:0/5
AccuracySec=30s
RandomizedDelaySec=30s
FixedRandomDelay=yes

[Install]
WantedBy=timers.target
"""


def service_text(*, system: bool, environ: Mapping[str, str] = os.environ) -> str:
    """What the timer starts. It ends when its jobs have; stopping it interrupts them as Ctrl-C would."""
    program, *words = tick_command()
    lines = [
        "[Unit]",
        "Description=rpdrive: start what is due",
        "",
        "[Service]",
        "Type=oneshot",
        *(
            f"Environment={quoted(f'{name}={value}', program=True)}"
            for name, value in tick_environment(environ).items()
        ),
        f"ExecStart={' '.join([quoted(program, program=True), *map(quoted, words)])}",
        "# A backup may take days; the tick itself stops one that does not get on.",
        "TimeoutStartSec=infinity",
        "KillSignal=SIGINT",
        "TimeoutStopSec=300",
        "Nice=10",
        "IOSchedulingClass=best-effort",
        "IOSchedulingPriority=7",
        "# The keys are in memory.",
        "LimitCORE=0",
    ]
    return "\n".join([*lines, *(_LIMITS.splitlines() if system else []), ""])


class SystemdTimer:
    """Implements Timer. `booted` is the folder that exists where systemd runs."""

    kind = "systemd"

    def __init__(self, *, system: bool, environ: Mapping[str, str] = os.environ, booted: Path = _BOOTED) -> None:
        if system:
            folder = Path("/etc/systemd/system")
        else:
            folder = user_path(environ.get("XDG_CONFIG_HOME") or "~/.config").absolute() / "systemd" / "user"
        self._environ, self._booted, self._system = environ, booted, system
        self.timer = Unit(folder / f"{NAME}.timer", system)
        self.service = Unit(folder / f"{NAME}.service", system)

    def is_usable(self) -> bool:
        """See Timer."""
        return self._booted.exists() and (self._system or succeeds(self.timer, "show-environment"))

    def install(self) -> list[str]:
        """See Timer."""
        if self._system:
            check_program([sys.executable, *sys.path], _INSTEAD)
        write(self.service, service_text(system=self._system, environ=self._environ), _INSTEAD)
        write(self.timer, timer_text(), _INSTEAD)
        lines = [f"Wrote {self.service.path}", f"Wrote {self.timer.path}"]
        if not succeeds(self.timer, "daemon-reload"):
            raise LocalError("systemd does not answer", f"run `{' '.join(self._enable())}` where it does")
        done = run(self.timer, *self._enable()[len(self.timer.systemctl()) :])
        if done is None or done.returncode:
            why = "" if done is None else " ".join(done.stderr.strip().splitlines()[-1:])
            raise LocalError(f"systemd did not start the timer: {why}", f"see `systemctl status {NAME}.timer`")
        if not self._system:
            lines.append("It runs while you are logged in; for always, run `loginctl enable-linger` once")
        return lines

    def _enable(self) -> list[str]:
        return self.timer.systemctl("enable", "--now", "--", self.timer.name)

    def remove(self) -> list[str]:
        """See Timer."""
        lines = []
        if self.timer.path.exists():
            succeeds(self.timer, "disable", "--now", "--", self.timer.name)
        for unit in (self.timer, self.service):
            try:
                unit.path.unlink()
            except FileNotFoundError:
                continue
            except OSError as e:
                raise LocalError(f"{unit.path} can't be deleted: {e.strerror}", "check its permissions") from e
            lines.append(f"Removed {unit.path}")
        if lines:
            succeeds(self.timer, "daemon-reload")
        return lines

    def state(self) -> TimerState:
        """See Timer."""
        where = str(self.timer.path)
        try:
            text = self.service.path.read_bytes() if self.timer.path.exists() else None
        except OSError:
            text = b""
        if text is None:
            return TimerState(self.kind, where, False)
        faults = []
        wanted = os.fsencode(service_text(system=self._system, environ=self._environ))
        if _split(text)[1] != _split(wanted)[1]:
            faults.append("the unit is of another installation or version; run `rpdrive timer install`")
        if _home(text) != _home(wanted):
            faults.append(f"the timer has another {HOME} than you; set it, or run `rpdrive timer install`")
        is_active = succeeds(self.timer, "is-active", "--", self.timer.name) if self.is_usable() else None
        if is_active is False:
            faults.append("the timer is not active; run `rpdrive timer install`")
        return TimerState(self.kind, where, True, is_active, tuple(faults))


def _split(text: bytes) -> tuple[list[bytes], list[bytes]]:
    """The lines of a unit that set variables, some of which only matter to the shell it came from; the others."""
    variables, others = list[bytes](), list[bytes]()
    for line in text.split(b"\n"):
        (variables if line.startswith(b"Environment=") else others).append(line)
    return variables, others


def _home(text: bytes) -> list[bytes]:
    return [line for line in _split(text)[0] if line.startswith(f'Environment="{HOME}='.encode())]
