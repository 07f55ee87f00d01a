"""The operations that benchmarks/scale.py measures, each in a process of its own, on a made-up vault."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from machine import say

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests.kit

from tests.kit.made import backup, command, drive
from tests.kit.made.command import Took

MACHINE = "machine-00001"
ONE = ("--machine", MACHINE)
FILE = "/folder-001/file-001.txt"
POLICY = ("--daily", "30", "--weekly", "12 weeks", "--monthly", "36 months", "--yearly", "10 years")
TIMEOUT = 1800.0  # s

# What is asked of one machine, and what of the whole vault. Each is run twice: as a new user, and once more.
OF_ONE: dict[str, tuple[str, ...]] = {
    "points of a machine": ("points", *ONE),
    "points of a machine, JSON": ("points", "--json", *ONE),
    "points, why": ("points", "--why", "--json", *ONE),
    "ls of a folder, newest point": ("ls", "latest:/folder-001", *ONE),
    "find in the newest point": ("find", "file-001.txt", *ONE),
    "find in all points": ("find", "file-001.txt", "--all-points", "--json", *ONE),
    "versions of a file": ("versions", FILE, "--json", *ONE),
    "jobs of a machine": ("jobs", "--json", *ONE),
    "policy preview": ("policy", "preview", *POLICY, "--json", *ONE),
    "check, level 0": ("check", "--level", "0", "--json", *ONE),
    "check, level 1": ("check", "--level", "1", "--json", *ONE),
    "prune, dry run": ("prune", "--dry-run", "--json", *ONE),
}
OF_ALL: dict[str, tuple[str, ...]] = {
    "vault info": ("vault", "info", "--json"),
    "machine list": ("machine", "list", "--json"),
    "jobs, the last 50": ("jobs", "--json"),
    "health of all machines": ("health", "--all", "--json"),
    "watch, one look": ("watch", "--once", "--json"),
}
DRIVE = {
    "mount of all points": None,
    "the drive: machines": "",
    "the drive: a machine": MACHINE,
    "the drive: an item": f"{MACHINE}/root",
    "the drive: a point": f"{MACHINE}/root/latest/",
    "the drive: a folder": f"{MACHINE}/root/latest/folder-001",
}
BACKUPS = ("take-over of a machine", "backup, nothing changed", "backup, a file changed")
AGAIN = ", again"
LOOKS = ("health", "watch")


class Row(NamedTuple):
    """What an operation took; None if it failed or was stopped, and why."""

    step: str
    took: Took | None
    why: str = ""


class Steps:
    """All operations on the vault at an address, each as a user with a new home in `folder`."""

    def __init__(self, folder: Path, url: str, points: int, *, only: str = "", again: bool = True) -> None:
        self._folder, self._url, self._points = folder, url, points
        self._only, self._again = only, again

    def all(self) -> Iterator[Row]:
        for step, words in (OF_ONE | OF_ALL).items():
            if self._only in step:
                yield from self._command(step, words)
        if any(self._only in step for step in DRIVE):
            yield from self._drive()
        if any(self._only in step for step in BACKUPS):
            yield from self._backups()

    def _home(self) -> Path:
        home = self._folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        return home

    def measured(self, step: str, work: Callable[[], Took]) -> Row:
        """Run an operation, and say what it took."""
        try:
            took = work()
        except subprocess.TimeoutExpired:
            return self._failed(step, f"stopped after {TIMEOUT / 60:.0f} minutes")
        except RuntimeError as e:
            lines = str(e).strip().splitlines()
            return self._failed(step, lines[-1][-200:] if lines else "failed")
        say(f"{step:<34}{took.total:>9,} requests {took.carried:>13,} B {took.cpu:>8.2f} s {took.memory:>6} MiB")
        return Row(step, took)

    def _failed(self, step: str, why: str) -> Row:
        say(f"{step:<34}{why}")
        return Row(step, None, why)

    def _command(self, step: str, words: tuple[str, ...]) -> Iterator[Row]:
        home = self._home()
        for name in (step, step + AGAIN) if self._again else (step,):
            if name != step and words[0] in LOOKS:
                self._settle(home, words)
            row = self.measured(name, lambda: command.run(home, self._url, *words, timeout=TIMEOUT)[0])
            yield row
            if row.took is None:
                return

    def _settle(self, home: Path, words: tuple[str, ...]) -> None:
        """Look at the vault until a look finds no job that it has not read: each reads 5,000 at most."""
        for _look in range(10):
            took, _said = command.run(home, self._url, *words, timeout=TIMEOUT)
            if "get jobs" not in took.requests:
                return

    def _drive(self) -> Iterator[Row]:
        home = self._home()
        paths = [path for path in DRIVE.values() if path is not None]
        try:
            found = drive.run(home, self._url, *paths, timeout=TIMEOUT)
        except (RuntimeError, subprocess.TimeoutExpired) as e:
            yield self._failed("mount of all points", str(e).strip()[-200:])
            return
        for step, took in zip(DRIVE, found, strict=True):
            yield self.measured(step, lambda took=took: took)  # type: ignore[misc]

    def _backups(self) -> Iterator[Row]:
        home = self._home()
        for step, point in zip(BACKUPS, (self._points - 1, self._points - 1, self._points), strict=True):
            row = self.measured(
                step,
                lambda point=point: backup.run(home, self._url, MACHINE, "--point", point)[0],  # type: ignore[misc]
            )
            yield row
            if row.took is None:
                return
