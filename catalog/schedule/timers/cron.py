"""A line of cron, in the table of this user: where there is no systemd."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence

from catalog.errors import LocalError
from catalog.schedule.timers.base import TimerState, tick_command, tick_environment

MARK = "# rpdrive tick"
Run = Callable[[Sequence[str], bytes], "subprocess.CompletedProcess[bytes]"]


def cron_line(environ: Mapping[str, str] = os.environ) -> str:
    """The line: every five minutes. In a crontab a per cent sign is a line end, unless a backslash is before it."""
    words = [f"{name}={shlex.quote(value)}" for name, value in tick_environment(environ).items()]
    line = " ".join([*words, *map(shlex.quote, tick_command()), ">/dev/null", MARK])
    if "\n" in line:
        raise LocalError("a folder's name has a line end, which cron can't have in a line", "move that folder")
    return "*/5 * * * * " + line.replace("%", "\\%")


class CronTimer:
    """Implements Timer. `run` runs crontab with arguments and input."""

    kind = "cron"

    def __init__(self, environ: Mapping[str, str] = os.environ, run: Run | None = None) -> None:
        self._environ, self._given, self._run = environ, run, run or _run

    def is_usable(self) -> bool:
        """See Timer."""
        return self._given is not None or shutil.which("crontab") is not None

    def install(self) -> list[str]:
        """See Timer."""
        line = os.fsencode(cron_line(self._environ))
        self._replace([*self._others(), line])
        return ["Added a line to the crontab of this user"]

    def remove(self) -> list[str]:
        """See Timer."""
        if not self.is_usable():
            return []
        lines, others = self._lines(), self._others()
        if len(lines) == len(others):
            return []
        self._replace(others)
        return ["Removed the line from the crontab of this user"]

    def state(self) -> TimerState:
        """See Timer."""
        try:
            lines = self._lines() if self.is_usable() else []
        except LocalError:
            lines = []
        mine = [line for line in lines if _is_ours(line)]
        faults = []
        if mine and mine != [os.fsencode(cron_line(self._environ))]:
            faults.append("the line is of another installation or version; run `rpdrive timer install`")
        return TimerState(self.kind, "crontab", bool(mine), None, tuple(faults))

    def _others(self) -> list[bytes]:
        return [line for line in self._lines() if not _is_ours(line)]

    def _lines(self) -> list[bytes]:
        done = self._run(["-l"], b"")
        if done.returncode and b"no crontab" not in done.stderr:
            raise LocalError(f"the crontab can't be read: {_last(done)}", "check that this user may use cron")
        return done.stdout.splitlines() if not done.returncode else []

    def _replace(self, lines: Sequence[bytes]) -> None:
        done = self._run(["-"], b"".join(line + b"\n" for line in lines))
        if done.returncode:
            raise LocalError(f"the crontab can't be written: {_last(done)}", "check that this user may use cron")


def _is_ours(line: bytes) -> bool:
    return line.rstrip().endswith(MARK.encode())


def _last(done: subprocess.CompletedProcess[bytes]) -> str:
    return " ".join(done.stderr.decode(errors="replace").strip().splitlines()[-1:])


def _run(arguments: Sequence[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("crontab")
    if program is None:
        raise LocalError("there is no cron here", "have `rpdrive tick` run every five minutes by other means")
    try:
        return subprocess.run(
            [program, *arguments], input=data, capture_output=True, check=False, timeout=60,
            env=os.environ | {"LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as e:
        raise LocalError(f"crontab does not answer: {e}", "check cron") from e
