"""One thin snapshot of an item that stays between runs, so that the next run knows what has changed since.

It is handed over from its job: the job's tag is exchanged for a tag of its own, and it is deactivated, so that no
second device has the file system's UUID. A file in the state folder knows its id before that; it is removed only if
file and tag agree. It costs the pool what changes between two runs.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from backup.snapshot import thin, tool
from backup.snapshot.base import Snapshot
from backup.snapshot.lvm import BUSY, LvmSnapshot
from backup.snapshot.lvs import SECONDS, LogicalVolume, by_id, hyphened, is_in_use
from backup.snapshot.thin import Range
from backup.snapshot.tool import Run
from catalog.access.settings import private_folder
from catalog.errors import LocalError, SnapshotFailed
from catalog.systems.this import SYSTEM

FOLDER = "snapshots"  # in the state folder
_PAUSE = 0.5
_TAG = re.compile(r"rpdrive-kept-[0-9a-f]{32}")  # none that a job's mark could be


class _File(msgspec.Struct):
    """What is kept, and what is about to take its place. `time`: ns, as in the point that was made of it.

    `held` is the note of thin.Held.
    """

    tag: str
    id: str = ""
    time: int = 0
    next_id: str = ""
    next_time: int = 0
    held: str = ""


class KeptSnapshot:
    """The kept snapshot of one item; `item` is the item's id (hexadecimal). It is a thin.Held, too."""

    def __init__(
        self, state: Path, item: str, run: Run = tool.run, sys: Path = Path("/sys"), dev: Path = Path("/dev")
    ) -> None:
        self._path = state / FOLDER / f"kept-{item}.json"
        self._run, self._sys, self._dev = run, sys, dev
        self._file = self._load()

    # --- for a run of a backup ------------------------------------------------------------------------------

    def changed(self, snapshot: Snapshot, since: int, grain: int = 1) -> list[Range]:
        """The ranges in which a new snapshot differs from the kept one, which must be of the time `since`.

        `since` is the snapshot's time in the point that the run compares with. Raises SnapshotFailed if the ranges
        can't be known: read everything then.
        """
        self._settle()
        if not isinstance(snapshot, LvmSnapshot) or not snapshot.is_thin:
            raise SnapshotFailed("only thin snapshots say what has changed")
        if not self._file.id or self._file.time != since:
            raise SnapshotFailed("no snapshot was kept of the last point")
        return thin.changed(self._file.id, snapshot.volume_id, self, grain, self._run, self._sys, self._dev)

    def keep(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, of which a point was made, in place of the one before. It must no longer be open.

        Its job then has nothing to remove. Raises SnapshotFailed; then the job removes it as usual, and the one
        before may be gone.
        """
        if not isinstance(snapshot, LvmSnapshot) or not snapshot.is_thin:
            raise SnapshotFailed("only thin snapshots are kept")
        self._settle()
        self._file.next_id, self._file.next_time = snapshot.volume_id, snapshot.time
        self._save()
        mine = f'lv_uuid="{hyphened(snapshot.volume_id)}" && lv_tags={{"{snapshot.tag}"}}'
        group = snapshot.name.partition("/")[0]
        self._change("--activate", "n", "--select", mine, group)
        self._change("--addtag", self._file.tag, "--deltag", snapshot.tag, "--select", mine, group)
        snapshot.hand_over()
        self._settle()

    def drop(self) -> None:
        """Remove what is kept, and the file. No effect if nothing is. Raises SnapshotFailed."""
        if not self._file.tag:
            return
        self._settle()
        thin.release_left(self, self._run, self._sys, self._dev)
        if self._file.id:
            self._remove(self._file.id)
        with suppress(OSError):
            self._path.unlink()
        self._file = _File("")

    # --- thin.Held ------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        self._file.held = text
        self._save()

    def noted(self) -> str:
        return self._file.held

    def forget(self) -> None:
        self._file.held = ""
        self._save()

    # --- the file, and what it names ------------------------------------------------------------------------

    def _settle(self) -> None:
        """Finish an exchange, also one that a kill has cut off: of the two that may be there, one stays."""
        if not self._file.next_id:
            return
        if self._mine(self._file.next_id) is not None:
            if self._file.id and self._file.id != self._file.next_id:
                self._remove(self._file.id)
            self._file.id, self._file.time = self._file.next_id, self._file.next_time
        self._file.next_id, self._file.next_time = "", 0  # else its job's mark still has it
        self._save()

    def _mine(self, volume: str) -> LogicalVolume | None:
        """The volume with this id, if it carries our tag."""
        shown = by_id(self._run, volume).get(volume)
        return shown if shown is not None and self._file.tag in shown.tags and shown.is_snapshot else None

    def _remove(self, volume: str) -> None:
        shown = self._mine(volume)
        if shown is not None:
            which = f'lv_uuid="{hyphened(volume)}" && lv_tags={{"{self._file.tag}"}} && lv_role={{"snapshot"}}'
            self._do("lvremove", "--yes", "--select", which, shown.group)

    def _change(self, *arguments: str) -> None:
        self._do("lvchange", *arguments)

    def _do(self, program: str, *arguments: str) -> None:
        end = time.monotonic() + BUSY
        while (ended := self._run(program, *arguments, seconds=SECONDS, changes=True)).code:
            if not is_in_use(ended.said) or time.monotonic() > end:
                raise SnapshotFailed(f"{program} failed: {ended.said or f'exit code {ended.code}'}")
            time.sleep(_PAUSE)

    def _load(self) -> _File:
        with suppress(OSError, msgspec.MsgspecError):
            found = msgspec.json.decode(self._path.read_bytes(), type=_File)
            if _TAG.fullmatch(found.tag) and all(
                re.fullmatch(r"[A-Za-z0-9]{0,32}", i) for i in (found.id, found.next_id)
            ):
                return found
        return _File("")

    def _save(self) -> None:
        """Write the file; on disk when this returns. Raises LocalError."""
        if not self._file.tag:
            self._file.tag = f"rpdrive-kept-{secrets.token_hex(16)}"
        temporary = self._path.with_suffix(".new")
        try:
            folder = private_folder(self._path.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
            file = os.open(temporary, flags, 0o600)
            try:
                os.write(file, msgspec.json.encode(self._file))
                os.fsync(file)
            finally:
                os.close(file)
            temporary.replace(self._path)
            with SYSTEM.below(str(folder), "") as below:
                SYSTEM.sync_folder(below)
        except OSError as e:
            raise LocalError(f"{self._path} can't be written: {e.strerror}", "check the folder and its disk") from e
