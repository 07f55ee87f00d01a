"""What this machine alone can tell: no request."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import stat
import time
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from catalog.access.settings import Settings
from catalog.alerts.overdue import hours
from catalog.hooks.config import read_hooks
from catalog.notify.config import read_config
from catalog.notify.notifier import Notifier
from catalog.plans.local import LocalPlans
from catalog.schedule.history import KILLED, History
from catalog.schedule.marks import Marks
from catalog.schedule.timers.this import timer_state
from catalog.systems.this import SYSTEM
from mount.doctor.examine import Check, Result, State
from mount.drivers.choice import check_system

LATE = 20 * 60 * 10**9  # ns without a tick, after which the timer does not fire
SKEW = 300 * 10**9  # ns
LEAST_FREE, LEAST_SHARE = 1 << 30, 0.05  # bytes, and share of a disk
LIBRARIES = ("cryptography", "msgspec", "typer")


class Here:
    """The checks of this machine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state = settings.where("state")

    def checks(self) -> list[Check]:
        return [
            Check("timer", self.timer), Check("clock of this machine", self.clock), Check("plans", self.plans),
            Check("folders", self.folders), Check("room here", self.room), Check("index mirror", self.mirror),
            Check("drives", self.drives), Check("hooks", self.hooks), Check("notifications", self.notifications),
            Check("left behind", self.left_behind), Check("versions", self.versions),
        ]  # fmt: skip

    def timer(self) -> Result:
        """Whether it is installed, and fires."""
        found, last, now = timer_state(), Marks.read(self._state).last, time.time_ns()
        if found is None:
            if not LocalPlans(self._state).all().vaults:
                return State.WARN, "no timer: nothing runs by itself", "rpdrive protect PATH…"
            return State.FAIL, "there is a plan, and no timer to run it", "rpdrive timer install"
        if found.faults:
            return State.FAIL, f"{found.kind}: {found.faults[0]}", "rpdrive timer install"
        if not last:
            return State.WARN, f"{found.kind}: it has not run yet", "wait five minutes, then rpdrive timer show"
        if now - last > LATE:
            return State.FAIL, f"{found.kind}: it last ran {hours(now - last)} ago", "rpdrive timer install"
        return State.OK, f"{found.kind}: it last ran {hours(now - last)} ago"

    def clock(self) -> Result:
        """Whether it was set back."""
        runs = [ran.started for ran in History(self._state).all() if not ran.ahead]
        ahead = max([Marks.read(self._state).last, *runs]) - time.time_ns()
        if ahead > SKEW:
            return State.FAIL, f"the clock says a time that is {hours(ahead)} before earlier jobs", "set the clock"
        return State.OK, "not before that of earlier jobs"

    def plans(self) -> Result:
        """Whether this machine's copies can be read, and their zones are known."""
        found = LocalPlans(self._state).all()
        if found.errors:
            return State.FAIL, str(found.errors[0]), found.errors[0].advice
        for vault in found.vaults:
            for name, plan in [(vault.machine_name, vault.plan), *((i.name, i.plan) for i in vault.items)]:
                if not plan.zone_is_known:
                    text = f"the time zone {plan.zone} of {name} is unknown here, and UTC is used"
                    return State.FAIL, text, "update the package tzdata"
            if vault.faults:
                return State.WARN, vault.faults[0], "rpdrive plan show"
        items = [item for vault in found.vaults for item in vault.items]
        if not items:
            return State.WARN, "no plan: nothing is backed up by itself", "rpdrive protect PATH…"
        return State.OK, ", ".join(item.name for item in items)

    def folders(self) -> Result:
        """Whether rpdrive's own folders are private."""
        for kind in ("config", "state", "cache"):
            folder = self._settings.where(kind)
            try:
                status = folder.stat()
            except FileNotFoundError:
                continue
            if not SYSTEM.is_own(status):
                return State.FAIL, f"{folder} belongs to another user", "run rpdrive as the user that made it"
            if not SYSTEM.is_private(status):
                mode = stat.S_IMODE(status.st_mode)
                return State.FAIL, f"{folder} is open to other users (mode {mode:04o})", f"chmod 700 {folder}"
        return State.OK, "private"

    def room(self) -> Result:
        """Whether state and cache have room."""
        for kind in ("state", "cache"):
            found = room_of(self._settings.where(kind))
            if found is not None:
                return State.WARN, found, "make room there, or rpdrive cache clear"
        return State.OK, "enough for state and cache"

    def mirror(self) -> Result:
        """Whether each index mirror opens and is whole, read-only."""
        paths = sorted(self._state.glob("index-*.sqlite")) if self._state.exists() else []
        for path in paths:
            try:
                # immutable: no file is made beside it, as SQLite else does for a reader, too
                with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True, timeout=5)) as db:
                    db.execute("SELECT count(*) FROM objects").fetchone()
                    db.execute("SELECT id FROM packs LIMIT 1").fetchone()
            except sqlite3.Error as e:
                return State.WARN, f"{path} can't be read: {e}", "the next backup makes it anew: rpdrive backup"
        return (State.OK, f"{len(paths)} opened") if paths else (State.OK, "none yet: no backup was made here")

    def drives(self) -> Result:
        """Whether drives can be opened: FUSE or WinFsp."""
        check_system()
        return State.OK, "the driver can be used"

    def hooks(self) -> Result:
        """Whether hooks.toml is well-formed, and of root's or this user's only."""
        rows = read_hooks(self._settings).rows
        return State.OK, ", ".join(hook.name for hook in rows) or "none"

    def notifications(self) -> Result:
        """Whether there are targets, and they take messages."""
        config, now = self._settings.where("config"), time.time_ns()
        targets = read_config(config).targets
        if not targets:
            return State.WARN, "nobody is told when protection stops working", "rpdrive notify set"
        failing = Notifier(config, self._state).failing(now)
        if failing:
            one = failing[0]
            text = f"{one.target} has taken nothing for {hours(now - one.since)}: {one.error}"
            return State.FAIL, text, f"rpdrive notify test {one.target}"
        return State.OK, ", ".join(targets)

    def left_behind(self) -> Result:
        """Jobs that were killed and not made again, and malformed files that were moved aside."""
        newest: dict[tuple[str, str, str], tuple[str, str]] = {}
        for ran in History(self._state).all():
            if ran.outcome != "skipped":
                newest[ran.vault, ran.kind, ran.item] = ran.outcome, ran.item_name
        killed = [f"{key[1]} {name}".strip() for key, (outcome, name) in newest.items() if outcome == KILLED]
        if killed:
            return State.WARN, f"killed, and not run again since: {', '.join(killed)}", "rpdrive jobs"
        aside = sorted(self._state.rglob("*.malformed")) if self._state.exists() else []
        if aside:
            return State.WARN, f"a malformed file was moved aside: {aside[0]}", f"look at it, then rm {aside[0]}"
        return State.OK, "nothing"

    def versions(self) -> Result:
        """What to say in a report of a bug."""
        rows = [f"{name} {version(name)}" for name in LIBRARIES]
        return State.OK, ", ".join(
            [f"Python {platform.python_version()}", *rows, f"SQLite {sqlite3.sqlite_version}"]
        )


def room_of(folder: Path) -> str | None:
    """What is wrong with the room on the disk of a folder, which may not exist yet; None if nothing is."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    if usage.free < LEAST_FREE or usage.free < LEAST_SHARE * usage.total:
        return f"only {usage.free >> 20:,} MiB are free on the disk of {folder}"
    return None
