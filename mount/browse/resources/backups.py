"""`Back up now`, for items of this machine that have a plan: `rpdrive plan now` as a process of its own.

It outlives the page, as one that a person began at a terminal in the background would. The vault's key has to be
saved on this machine, as for backups by plan: the page gives its own to no other process.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from weakref import WeakKeyDictionary

import msgspec

from catalog.access.settings import private_folder
from catalog.errors import AccessDenied, LocalError, NotFound, UsageError
from catalog.plans.local import LocalItem, LocalPlans
from catalog.program import child_environment, main_command, secret_environment
from catalog.screen.text import safe_text
from mount.browse.resources.opened import Opened
from mount.browse.resources.wire import id_of, when

KEPT = 50  # items whose last backup from here is remembered
WARNINGS = 3  # the exit code of a backup that is complete but for some files: docs/exit-codes.md
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)


class BackupWish(msgspec.Struct, forbid_unknown_fields=True):
    """The item (id) that is to be backed up now."""

    item: str


class BackupRow(msgspec.Struct, frozen=True, kw_only=True):
    """The last backup of an item that a page of this process began. `state` is running, done or failed."""

    item: str
    item_name: str
    started: str | None
    state: str
    error: str


class Backups:
    """The backups that pages of this process began. Thread-safe."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._lock = threading.Lock()
        self._rows: OrderedDict[str, BackupRow] = OrderedDict()

    def rows(self) -> list[BackupRow]:
        with self._lock:
            return list(self._rows.values())

    def begin(self, item: str) -> BackupRow:
        """Begin one. Raises AccessDenied on a page that is read-only, NotFound for an item that has no plan here,
        UsageError if it is being backed up, and LocalError."""
        opened = self._opened
        if opened.read_only:
            raise AccessDenied("this page only shows and downloads", "run `rpdrive plan now` on the machine itself")
        id_of(item, "item")
        found = planned_here(opened).get(item)
        if found is None:
            raise NotFound(
                "this item has no plan on this machine", "run `rpdrive protect PATH`, or `rpdrive backup`"
            )
        if opened.session.saved_keys.load(opened.vault.id) is None:
            raise LocalError("the vault's key is not saved on this machine", "run `rpdrive vault unlock --save`")
        with self._lock:
            before = self._rows.get(item)
            if before is not None and before.state == "running":
                raise UsageError(
                    f"{safe_text(found.name)} is being backed up already", "see what runs, at the start"
                )
            log = _log(opened, item)
            process = _start(opened, item, log)
            row = BackupRow(
                item=item, item_name=found.name, started=when(time.time_ns()), state="running", error=""
            )
            self._keep(row)
        threading.Thread(target=self._follow, args=(row, process, log), name="backup", daemon=True).start()
        opened.bus.publish("job")
        return row

    def _follow(self, row: BackupRow, process: subprocess.Popen[bytes], log: Path) -> None:
        code = process.wait()
        good = code in (0, WARNINGS)
        error = "" if good else _last_words(log) or f"it ended with the exit code {code}"
        with self._lock:
            self._keep(msgspec.structs.replace(row, state="done" if good else "failed", error=error))
        self._opened.bus.publish("job")
        self._opened.bus.publish("point")

    def _keep(self, row: BackupRow) -> None:
        self._rows[row.item] = row
        self._rows.move_to_end(row.item)
        while len(self._rows) > KEPT:
            self._rows.popitem(last=False)


def planned_here(opened: Opened) -> dict[str, LocalItem]:
    """The items (ids) that this machine backs up by itself into the vault. No request."""
    with suppress(LocalError):
        copy = LocalPlans(opened.session.settings.where("state")).of(opened.vault.id)
        return {item.id: item for item in copy.items} if copy is not None else {}
    return {}


def _start(opened: Opened, item: str, log: Path) -> subprocess.Popen[bytes]:
    command = [*main_command("rpdrive"), "--vault", opened.session.address, "plan", "now", "--item", item]
    try:
        output = os.open(log, _NEW_FILE, 0o600)
        try:
            return subprocess.Popen(
                command, env=child_environment() | secret_environment(), stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )  # fmt: skip
        finally:
            os.close(output)
    except OSError as e:
        raise LocalError(f"the backup can't be started: {e.strerror}", "run `rpdrive plan now`") from e


def _log(opened: Opened, item: str) -> Path:
    return private_folder(opened.session.settings.state / "logs") / f"backup-{item}.log"


def _last_words(log: Path) -> str:
    """The last line of a log, which is the error."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(log.stat().st_size - 4096, 0))
        lines = file.read(4096).decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return safe_text(last.removeprefix("rpdrive: "))[:1_000]
    return ""


_backups: WeakKeyDictionary[Opened, Backups] = WeakKeyDictionary()
_making = threading.Lock()


def backups_of(opened: Opened) -> Backups:
    """The backups of an opened vault: all pages share them."""
    with _making:
        found = _backups.get(opened)
        if found is None:
            found = _backups[opened] = Backups(opened)
        return found
